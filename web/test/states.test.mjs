// Each state of the chat page: it is reached, it says in words what is so and what to do next, and axe-core finds nothing, in both
// languages, light and dark, wide and at 320 px.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { accessible } from "./axe.mjs";
import { ChatPage } from "./chatpage.mjs";
import { Browser, Server, until, VERSION } from "./harness.mjs";

const thread = (id) => `/chat/threads/${encodeURIComponent(id)}`;

// STATES are the states of the page: how it is reached, and the English words that tell a person what is so and what to do. each
// function gets a talk of Ann, whose page it opens, and Ben.
const STATES = {
  first: {
    words: [/your name/i, /start chatting/i],
    reach: ({ server, profile }) => ChatPage.open(server, profile),
  },
  "empty-list": {
    words: [/You are in no thread yet/, /New thread/],
    // Who left a thread sees it in the list still. So this is somebody whom nobody has added anywhere.
    reach: ({ server, profile }) => open(server, profile, { ...JSON.parse(server.confab("token", "--new-user", "--json")), name: "Ann", expires: new Date(Date.now() + 3_600_000).toISOString() }),
  },
  "empty-thread": {
    words: [/Nothing has been said here yet/, /Write the first message/],
    reach: async ({ server, profile, ann }) => open(server, profile, ann, await server.newThread(ann, "Empty")),
  },
  ready: {
    words: [/Where do we eat/],
    reach: ({ server, profile, ann }) => open(server, profile, ann, ann.thread),
  },
  connecting: {
    words: [/Connecting…/],
    async reach({ server, profile, ann }) {
      await profile.routeWebSocket(() => true, () => {});
      await profile.route((url) => /^\/(v\d|go|users|chat|trouter|api|registrations|config)/i.test(url.pathname) && !url.pathname.startsWith("/web/"), () => {});
      return open(server, profile, ann, ann.thread);
    },
  },
  behind: {
    words: [/Catching up/],
    async reach({ server, profile, ann }) {
      const chat = await open(server, profile, ann, ann.thread);
      await chat.writable();
      await server.fault({ operation: "list messages", delay: "20s", times: "always" });
      await server.fault({ operation: "live socket", drop: "after" });
      return chat;
    },
  },
  offline: {
    words: [/You are offline/, /2 messages wait/, /when the connection is back/],
    async reach({ server, profile, ann }) {
      const chat = await open(server, profile, ann, ann.thread);
      await chat.writable();
      await profile.setOffline(true);
      for (const text of ["one", "two"]) {
        await chat.send(text);
        await until("the field is empty", async () => (await chat.composer.inputValue()) === "");
      }
      return chat;
    },
  },
  refused: {
    words: [/Refused: /, /Retry/, /Edit/, /Copy/],
    async reach({ server, profile, ann }) {
      const chat = await open(server, profile, ann, ann.thread);
      await chat.writable();
      await server.fault({ operation: "send message", status: 400 });
      await chat.send("refuse me");
      return chat;
    },
  },
  throttled: {
    words: [/asks for a pause/, /\d+ seconds?/],
    async reach({ server, profile, ann }) {
      const chat = await open(server, profile, ann, ann.thread);
      await chat.writable();
      await server.fault({ operation: "send message", status: 429, retryAfter: 25, times: "always" });
      await chat.send("not so fast");
      return chat;
    },
  },
  "too-long": {
    words: [/bytes too long/, /Shorten it/],
    async reach({ server, profile, ann }) {
      const chat = await open(server, profile, ann, ann.thread);
      await chat.writable();
      const { maxContent } = await server.call("GET", "/web/config.json");
      await chat.composer.fill("x".repeat(maxContent + 5));
      await chat.composer.press("Enter");
      return chat;
    },
  },
  ended: {
    words: [/Your access has ended/, /Start again/],
    async reach({ server, profile, ann }) {
      const chat = await open(server, profile, ann, ann.thread);
      await chat.writable();
      server.confab("user", "delete", ann.user, "--yes");
      await chat.send("is anybody there?");
      return chat;
    },
  },
  removed: {
    words: [/You are not in this thread/, /your id/],
    async reach({ server, profile, ann, ben }) {
      const chat = await open(server, profile, ann, ann.thread);
      await chat.writable();
      await server.call("POST", `${thread(ann.thread)}/participants/:remove?api-version=${VERSION}`, { token: ben.token, body: { rawId: ann.user, communicationUser: { id: ann.user } } });
      return chat;
    },
  },
  deleted: {
    words: [/This thread was deleted/, /another/],
    async reach({ server, profile, ann, ben }) {
      const chat = await open(server, profile, ann, ann.thread);
      await chat.writable();
      await server.call("DELETE", `${thread(ann.thread)}?api-version=${VERSION}`, { token: ben.token });
      return chat;
    },
  },
};

const open = async (server, profile, person, thread) => ChatPage.as(server, profile, person, thread, { wait: false });

// DIALOGS are what opens over the page.
const DIALOGS = {
  "the menu of a message": async (chat) => {
    const row = chat.message("Where do we eat").first();
    await row.hover();
    await row.getByRole("button", { name: chat.words.actions }).click();
    await chat.page.getByRole("menuitem").first().waitFor();
  },
  people: (chat) => chat.openPeople(),
  "a new thread": async (chat) => {
    await chat.page.getByRole("button", { name: chat.words.newThread }).first().click();
    await chat.page.getByRole("textbox", { name: chat.words.topic, exact: true }).waitFor();
  },
  "go to a thread": async (chat) => {
    await chat.page.keyboard.press("Control+k");
    await chat.page.getByRole("dialog").first().waitFor();
  },
  keys: async (chat) => {
    await chat.page.keyboard.press("F1");
    await chat.page.getByRole("dialog").first().waitFor();
  },
};

describe("states of the chat page", () => {
  let server, browser;
  before(async () => {
    server = await Server.start();
    browser = await Browser.start();
  });
  after(async () => {
    await browser?.stop();
    await server?.stop();
  });

  // talk makes Ann and Ben and a thread with something of everything in it.
  const talk = async (language) => {
    const ann = { ...(await server.join("Ann")), name: "Ann" };
    const ben = { ...(await server.join("Ben")), name: "Ben" };
    ann.thread = await server.newThread(ben, language === "ko" ? "점심" : "Lunch", [ann]);
    await server.send(ben, ann.thread, "Where do we eat?");
    await server.send(ann, ann.thread, "> Ben: Where do we eat?\nAt the corner: https://a.example/menu");
    await server.send(ben, ann.thread, "<h2>Menu</h2><ul><li><b>soup</b></li><li><a href=\"https://a.example/\">salad</a></li></ul><blockquote>or <code>both</code></blockquote>", { type: "html" });
    const slip = await server.send(ben, ann.thread, "a slip");
    await server.call("DELETE", `${thread(ann.thread)}/messages/${slip}?api-version=${VERSION}`, { token: ben.token });
    return { server, ann, ben, profile: await browser.profile({ locale: language === "ko" ? "ko-KR" : "en-US" }) };
  };

  for (const language of ["en", "ko"]) {
    for (const [state, { words, reach }] of Object.entries(STATES)) {
      test(`${state} (${language})`, async () => {
        const setting = await talk(language);
        try {
          const chat = await reach(setting);
          await chat.reaches(state);
          if (language === "en") for (const pattern of words) await chat.says(pattern);
          else await chat.says(/[가-힣]/);
          await accessible(chat.page, state, language);
          await chat.reaches(state);
          browser.check();
        } finally {
          await server.heal();
          await setting.profile.unrouteAll({ behavior: "ignoreErrors" });
          await setting.profile.close();
          browser.forget();
        }
      });
    }

    test(`what opens over the page (${language})`, async (t) => {
      const setting = await talk(language);
      for (const [what, show] of Object.entries(DIALOGS)) {
        await t.test(what, async () => {
          const chat = await open(server, setting.profile, setting.ann, setting.ann.thread);
          await chat.writable();
          await show(chat);
          await accessible(chat.page, what, language);
          browser.check();
          await chat.close();
        });
      }
      await setting.profile.close();
    });
  }

  test("a server that does not answer is told from a network that is away", async () => {
    const { ann, profile } = await talk("en");
    const chat = await open(server, profile, ann, ann.thread);
    await chat.writable();
    await server.kill();
    await chat.send("waits");
    await chat.reaches("offline");
    await chat.says(/The server does not answer\. 1 message waits/);
    await server.restart();
    await chat.reaches("ready", 30_000);
    await until("the message is sent", async () => (await server.texts(ann, ann.thread)).filter((m) => m.text === "waits").length === 1);
    browser.forget();
    await profile.close();
  });

  test("what was refused can be edited and sent", async () => {
    const setting = await talk("en");
    const { ann, profile } = setting;
    const chat = await STATES.refused.reach(setting);
    await chat.reaches("refused");
    const row = chat.message("refuse me");
    assert.equal(await row.getAttribute("data-state"), "refused");
    await row.getByRole("button", { name: chat.words.retry }).click();
    await until("it is sent", async () => (await server.texts(ann, ann.thread)).filter((m) => m.text === "refuse me").length === 1);
    await chat.reaches("ready");
    browser.forget();
    await profile.close();
  });

  test("a throttled message is sent when the pause is over", async () => {
    const { ann, profile } = await talk("en");
    const chat = await open(server, profile, ann, ann.thread);
    await chat.writable();
    await server.fault({ operation: "send message", status: 429, retryAfter: 2 });
    await chat.send("after a pause");
    await chat.reaches("throttled");
    await chat.reaches("ready");
    await until("it is sent", async () => (await server.texts(ann, ann.thread)).filter((m) => m.text === "after a pause").length === 1);
    browser.forget();
    await profile.close();
  });
});
