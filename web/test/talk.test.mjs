// Two people on the chat page, on each engine: how soon they talk, and how soon each sees what the other does.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ChatPage } from "./chatpage.mjs";
import { Browser, ENGINES, Server, until } from "./harness.mjs";

const SOON = 1000; // within this time an action should be seen by the other person, in milliseconds
const TOO_LATE = 5 * SOON; // and at this time the test fails: the machine may be busy
const TEN_SECONDS = 10_000;

for (const engine of ENGINES) {
  describe(`two people (${engine})`, () => {
    let server, browser;
    before(async () => {
      server = await Server.start({ engine });
      browser = await Browser.start();
    });
    after(async () => {
      await browser?.stop();
      await server?.stop();
    });

    test("from the address to the other tab's message in ten seconds, by keyboard alone", async (t) => {
      const profile = await browser.profile();
      const ben = await ChatPage.join(server, profile, "Ben");
      await focusComposer(ben);
      const began = performance.now();
      const ann = await ChatPage.join(server, profile, "Ann");
      await focusComposer(ann);
      await ann.page.keyboard.type("Where do we eat?");
      await ann.page.keyboard.press("Enter");
      await ben.sees("Where do we eat?");
      await ben.page.keyboard.type("At the corner.");
      await ben.page.keyboard.press("Enter");
      await ann.sees("At the corner.");
      const took = performance.now() - began;
      t.diagnostic(`${Math.round(took)} ms`);
      assert.ok(took < TEN_SECONDS, `${took} ms from opening the address to the other tab's message in view`);
      browser.check();
      await profile.close();
    });

    test("the other person sees each action within a second", async (t) => {
      const profile = await browser.profile();
      const ann = await ChatPage.join(server, profile, "Ann");
      const ben = await ChatPage.join(server, profile, "Ben");
      const annId = (await ann.person()).user;
      const benId = (await ben.person()).user;
      const late = [];
      // seen acts, and returns when the other person sees it. What needs preparation prepares it before.
      const seen = async (action, act, see) => {
        const began = performance.now();
        await act();
        await see();
        const took = Math.round(performance.now() - began);
        t.diagnostic(`${action}: ${took} ms${took > SOON ? " LATE" : ""}`);
        if (took > TOO_LATE) late.push(`${action}: ${took} ms`);
      };
      const enter = (chat) => chat.page.keyboard.press("Enter");
      const sees = (chat, words) => () => chat.sees(words);

      // A thread of their own.
      await ann.startThread("Lunch", [benId]);
      await seen("a new thread", () => ann.page.keyboard.press("Enter"), () => ben.entry("Lunch").waitFor());
      await ann.writable();
      await ben.openThread("Lunch");

      await ann.type("soup or salad?");
      await seen("a message", () => enter(ann), sees(ben, "soup or salad?"));
      await seen("a message read", () => ben.composer.focus(), () => ann.says(/Read by Ben/));
      await seen("typing", () => ben.page.keyboard.type("so"), () => ann.says(/Ben is typing/));
      await ben.page.keyboard.type("up");
      await seen("an answer", () => enter(ben), sees(ann, "soup"));

      await ann.act("soup or salad?", "Edit");
      await until("the message is in the field", async () => (await ann.composer.inputValue()) === "soup or salad?");
      await ann.page.keyboard.press("End");
      await ann.page.keyboard.insertText(" or both?");
      await seen("an edit", () => enter(ann), sees(ben, "soup or salad? or both?"));

      await ben.act("soup or salad? or both?", "Quote");
      await until("the quote is in the field", async () => (await ben.composer.inputValue()).includes("> "));
      await ben.page.keyboard.insertText("both, please");
      await seen("a quote", () => enter(ben), sees(ann, "both, please"));

      await ann.send("a slip");
      await ben.sees("a slip");
      const asked = ann.page.waitForRequest((request) => request.method() === "DELETE", { timeout: 20_000 });
      const pressed = performance.now();
      await ann.act("a slip", "Delete");
      await asked;
      assert.ok(performance.now() - pressed > 4000, "five seconds to undo a deletion");
      await seen("a deletion, after its time to undo", () => {}, () => until("Ben does not see it", async () => (await ben.message("a slip").count()) === 0));

      await ann.openPeople();
      await ann.page.getByRole("textbox", { name: ann.words.topic }).fill("Dinner");
      await seen("a new topic", () => enter(ann), () => ben.entry("Dinner").waitFor());

      const cleo = await ChatPage.join(server, profile, "Cleo");
      const cleoId = (await cleo.person()).user;
      await ann.fillPerson(cleoId, "Cleo", "shareAll");
      await ann.page.getByRole("button", { name: ann.words.add, exact: true }).focus();
      await seen("a person added", () => enter(ann), () => cleo.entry("Dinner").waitFor());
      await ben.says(/Ann added Cleo/);
      await cleo.openThread("Dinner");
      await cleo.sees("both, please");
      await ann.page.getByRole("button", { name: ann.words.removePerson("Cleo") }).focus();
      await seen("a person removed", () => enter(ann), () => cleo.reaches("removed"));
      await ben.openPeople();
      await ben.askToLeave(); // the button that says yes has the focus
      await seen("leaving", () => enter(ben), () => ann.says(/Ben left/));
      assert.notEqual(annId, benId);
      assert.deepEqual(late, [], `actions seen after more than ${TOO_LATE} ms`);
      browser.check();
      await profile.close();
    });

    test("unread counts, the divider and the jump", async () => {
      const profile = await browser.profile();
      const ann = await ChatPage.join(server, profile, "Ann");
      const ben = await server.join("Ben");
      const me = await ann.person();
      const other = await server.newThread(me, "Other", [{ ...ben, name: "Ben" }]);
      await ann.entry("Other").waitFor();
      for (let i = 1; i <= 3; i++) await server.send({ ...ben, name: "Ben" }, other, `news ${i}`);
      await ann.threads.getByRole("link", { name: /^Other.* 3 unread$/s }).or(ann.threads.getByRole("button", { name: /^Other.* 3 unread$/s })).waitFor();
      assert.match(await ann.entry("Other").innerText(), /news 3/, "the last message in the list");
      await ann.openThread("Other");
      await ann.sees("news 3");
      await ann.page.getByTestId("new-divider").waitFor();
      assert.ok(await ann.page.evaluate(() => {
        const divider = document.querySelector("[data-testid=new-divider]").getBoundingClientRect();
        const first = [...document.querySelectorAll("[role=log] article")].find((row) => row.textContent.includes("news 1")).getBoundingClientRect();
        return divider.top <= first.top + 1;
      }), "the divider is before the first unread message");
      await until("nothing is unread", async () => !/\d unread$/.test((await ann.threads.getByRole("link", { name: /^Other/ }).or(ann.threads.getByRole("button", { name: /^Other/ })).first().getAttribute("aria-label")) ?? ""));
      // After a reload nothing is unread either: the server has the receipt.
      await ann.page.reload();
      await ann.writable();
      assert.equal(await ann.threads.getByText(/\d unread/).count(), 0);
      // More than 99.
      const many = await server.newThread(me, "Many", [{ ...ben, name: "Ben" }]);
      await ann.entry("Many").waitFor();
      for (let i = 0; i < 105; i += 15) await Promise.all(Array.from({ length: 15 }, (_, j) => server.send({ ...ben, name: "Ben" }, many, `many ${i + j}`)));
      await until("99+ unread", async () => /99\+/.test(await ann.entry("Many").innerText()));
      browser.check();
      await profile.close();
    });

    test("drafts stay with their threads, over a reload", async () => {
      const profile = await browser.profile();
      const ann = await ChatPage.join(server, profile, "Ann");
      const me = await ann.person();
      await server.newThread(me, "One");
      await server.newThread(me, "Two");
      await ann.openThread("One");
      await ann.type("draft one");
      await ann.openThread("Two");
      assert.equal(await ann.composer.inputValue(), "");
      await ann.type("draft two");
      await ann.openThread("One");
      await until("the draft is back", async () => (await ann.composer.inputValue()) === "draft one");
      await until("the draft is in the list", async () => /draft two/.test(await ann.entry("Two").innerText()));
      await ann.page.reload();
      await ann.writable();
      await until("the draft is back after the reload", async () => (await ann.composer.inputValue()) === "draft one");
      await ann.openThread("Two");
      await until("the draft of the other thread too", async () => (await ann.composer.inputValue()) === "draft two");
      browser.check();
      await profile.close();
    });

    test("a deletion can be undone for five seconds", async () => {
      const profile = await browser.profile();
      const ann = await ChatPage.join(server, profile, "Ann");
      const me = await ann.person();
      const thread = await server.newThread(me, "Undo");
      await ann.openThread("Undo");
      await ann.send("kept");
      await until("it is sent", async () => (await server.texts(me, thread)).length === 1);
      await ann.act("kept", "Delete");
      await ann.page.getByRole("button", { name: ann.words.undo }).first().click();
      await ann.message("kept").waitFor();
      await ann.send("deleted");
      await until("it is sent", async () => (await server.texts(me, thread)).length === 2);
      await ann.act("deleted", "Delete");
      await until("it is deleted", async () => (await server.texts(me, thread)).length === 1);
      assert.deepEqual((await server.texts(me, thread)).map((m) => m.text), ["kept"]);
      // A reload in these five seconds deletes too: the person has said so.
      browser.check();
      await profile.close();
    });
  });
}

// focusComposer goes to the message field by Tab, unless the page has put the focus there.
async function focusComposer(chat) {
  for (let i = 0; i < 40; i++) {
    if (await chat.composer.evaluate((field) => field === document.activeElement)) return;
    await chat.page.keyboard.press("Tab");
  }
  assert.fail("40 times Tab do not lead to the message field");
}
