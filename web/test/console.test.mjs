// The console: what a developer and an operator do with it, on a server that people use.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { accessible } from "./axe.mjs";
import { Console, PAGES } from "./consolepage.mjs";
import { Browser, Server, until } from "./harness.mjs";

describe("the console", () => {
  let server, browser, ann, ben, thread;
  before(async () => {
    server = await Server.start();
    browser = await Browser.start();
    ann = { ...(await server.join("Ann")), name: "Ann" };
    ben = { ...(await server.join("Ben")), name: "Ben" };
    thread = await server.newThread(ann, "Lunch", [ben]);
    await server.send(ann, thread, "Where do we eat?");
    await server.send(ben, thread, "At the corner.");
  });
  after(async () => {
    await browser?.stop();
    await server?.stop();
  });

  // signedIn opens the console in a profile of its own, at a page. It checks at the end that the page broke no rule.
  const signedIn = async (use, { role = "operator", locale = "en-US", at = "" } = {}) => {
    const profile = await browser.profile({ locale });
    const console = await Console.open(server, profile, { role, at });
    await use(console, profile);
    browser.check();
    await profile.close();
  };

  const refuse = async () => {
    const stranger = await server.join("Stranger");
    await assert.rejects(server.send(stranger, thread, "let me in"), { status: 403 });
    return stranger;
  };

  test("a link signs in once, and leaves no code in the address", () => signedIn(async (console, profile) => {
    await console.says(/Operator/);
    assert.doesNotMatch(console.page.url(), /code/);
    assert.match(await console.page.evaluate(() => JSON.stringify({ ...sessionStorage })), /token/i);
    assert.deepEqual(await profile.cookies(), []);
    await console.page.reload();
    await console.says(/Operator/);
    const other = await profile.newPage();
    await other.goto(console.link);
    await other.getByText("This link does not work any more").waitFor();
    await other.close();
  }));

  test("requests arrive as they are answered, and the refused say why", () => signedIn(async (console) => {
    const began = performance.now();
    await server.send(ann, thread, "watched");
    await console.row(/send message/).first().waitFor();
    assert.ok(performance.now() - began < 5000, "a request is in the list within five seconds");
    const stranger = await refuse();
    const row = console.row(/not-a-participant|never-a-participant/).first();
    await row.waitFor();
    await row.getByRole("link").first().click();
    await console.says(/What to do/i);
    const detail = await console.detail.innerText();
    assert.match(detail, /403/);
    assert.match(detail, /not in this thread|never/i, "the sentence");
    assert.ok(detail.includes(stranger.user.slice(-4)), "the sentence has this request's facts");
    assert.doesNotMatch(await console.page.content(), new RegExp(stranger.token.slice(20, 60)), "no token in the page");
  }));

  test("a request as curl, Python, JavaScript and Go, and sent again", () => signedIn(async (console, profile) => {
    await profile.grantPermissions(["clipboard-read", "clipboard-write"]);
    await server.send(ann, thread, "again");
    await console.open("requests", { operation: "send message", status: "2xx" });
    await console.row(/send message/).first().getByRole("link").first().click();
    for (const [language, words] of [["curl", /curl/], ["Python", /import|requests/], ["JavaScript", /fetch|import/], ["Go", /package main/]]) {
      await console.detail.getByRole("button", { name: language, exact: false }).first().click();
      const copied = await until(`${language} is copied`, async () => {
        const text = await console.page.evaluate(() => navigator.clipboard.readText());
        return words.test(text) && text;
      });
      assert.doesNotMatch(copied, /eyJ[\w-]{20}/, "no token in a copy");
    }
    const before = (await server.texts(ann, thread)).length;
    await console.detail.getByRole("button", { name: "Send again" }).click();
    await until("it is sent again", async () => (await server.texts(ann, thread)).length === before + 1);
  }));

  test("the list keeps still while somebody looks", () => signedIn(async (console) => {
    await server.send(ann, thread, "one");
    await console.row(/send message/).first().waitFor();
    await console.list.hover();
    await console.says(/Keeps still while you look/);
    const first = await console.firstRow();
    for (let i = 0; i < 3; i++) await server.send(ann, thread, `still ${i}`);
    const fresh = console.page.getByRole("button", { name: /^\d+ new$/ });
    await fresh.waitFor();
    await until("three wait", async () => Number((await fresh.innerText()).replace(/\D/g, "")) >= 3);
    assert.equal(await console.firstRow(), first, "the first row");
    await fresh.click();
    await until("they are shown", async () => (await console.firstRow()) !== first);
    // The pause does the same from the keyboard.
    await console.page.mouse.move(0, 0);
    await console.page.keyboard.press("p");
    await console.page.getByRole("button", { name: "Go on" }).waitFor();
    const paused = await console.firstRow();
    await server.send(ann, thread, "paused");
    await fresh.waitFor();
    assert.equal(await console.firstRow(), paused);
    await console.page.keyboard.press("p");
    await until("the list goes on", async () => (await console.firstRow()) !== paused);
  }));

  test("filters are in the address", () => signedIn(async (console) => {
    await refuse();
    await server.send(ann, thread, "fine");
    await console.page.getByRole("combobox", { name: "Status" }).selectOption("4xx");
    await until("the address has the filter", () => /status=4xx/.test(console.page.url()));
    await console.row(/403/).first().waitFor();
    await until("only refused ones are shown", async () => (await console.statuses()).every((s) => /^4/.test(s)));
    await console.page.getByRole("textbox", { name: "Operation" }).or(console.page.getByRole("combobox", { name: "Operation" })).fill("send message");
    await until("the address has both", () => /operation=send/.test(console.page.url()) && /status=4xx/.test(console.page.url()));
    await console.page.reload();
    await console.row(/403/).first().waitFor();
    assert.ok((await console.statuses()).every((s) => /^4/.test(s)));
    await refuse(); // also those that arrive now
    await server.send(ann, thread, "not shown");
    await until("it arrives", async () => (await console.statuses()).length >= 2);
    assert.ok((await console.statuses()).every((s) => /^4/.test(s)));
    await console.page.getByRole("button", { name: "Clear filters" }).click();
    await until("the address has none", () => !/status=/.test(console.page.url()));
  }));

  test("one search box takes any id", () => signedIn(async (console) => {
    const [{ id: message }] = await server.texts(ann, thread);
    for (const [id, words] of [[thread, /Lunch/], [ann.user, /User/], [message, /Message|Lunch/]]) {
      await console.page.keyboard.press("/");
      await console.page.keyboard.insertText(id);
      await console.page.keyboard.press("Enter");
      await console.says(words);
      await until("the search shows a hit or the thing itself", async () => !/Nothing has the id/.test(await console.text()));
      await console.page.getByRole("searchbox").first().fill("");
      await console.page.getByRole("heading", { level: 1 }).first().click();
    }
  }));

  test("a thread: its members, messages, events, and what a user sees and why", () => signedIn(async (console) => {
    const cleo = { ...(await server.join("Cleo")), name: "Cleo" };
    await console.open(`threads/${encodeURIComponent(thread)}`);
    await console.says(/Lunch/);
    await console.page.getByRole("cell", { name: "Ben" }).waitFor();
    await console.page.getByRole("link", { name: "Messages", exact: true }).click();
    await console.says(/Where do we eat\?/);
    await console.page.getByRole("link", { name: "Events", exact: true }).last().click();
    await console.open(`threads/${encodeURIComponent(thread)}`, { tab: "seen", user: ben.user });
    await console.says(/This user sees all of the thread/);
    await console.open(`threads/${encodeURIComponent(thread)}`, { tab: "seen", user: cleo.user });
    await console.says(/This user sees nothing of the thread/);
  }));

  test("changes: a token, the end of all tokens, a deletion, each in the audit", () => signedIn(async (console) => {
    const dora = { ...(await server.join("Dora")), name: "Dora" };
    await console.open(`users/${encodeURIComponent(dora.user)}`);
    await console.page.getByRole("button", { name: "Issue a token" }).click();
    await console.page.getByRole("dialog").getByRole("button", { name: "Issue", exact: true }).click();
    await console.says(/It is shown once/);
    const token = /eyJ[\w-]+\.[\w-]+\.[\w-]+/.exec(await console.page.getByRole("dialog").innerHTML())?.[0];
    assert.ok(token, "the token is shown");
    await server.call("GET", "/chat/threads?api-version=2025-03-15", { token });
    await console.page.keyboard.press("Escape");
    await console.page.getByRole("button", { name: "End all tokens" }).click();
    await console.page.getByRole("dialog").getByRole("button", { name: "End all tokens" }).click();
    await until("the token has ended", async () => server.call("GET", "/chat/threads?api-version=2025-03-15", { token }).then(() => false, (e) => e.status === 401));
    await console.page.getByRole("button", { name: "Delete the user" }).click();
    await console.page.getByRole("dialog").getByRole("button", { name: "Delete for ever" }).click();
    await console.says(/being deleted|deleted/);
    await console.open("audit");
    for (const operation of [/token/i, /revoke/i, /delete/i]) await console.page.getByRole("row").filter({ hasText: operation }).filter({ hasText: dora.user.slice(-6) }).first().waitFor();
    assert.doesNotMatch(await console.page.content(), /eyJ[\w-]{30}/, "no token in the audit");
  }));

  test("settings hide secrets", () => signedIn(async (console) => {
    await console.open("settings");
    await console.says(/access-key/);
    assert.ok(!(await console.page.content()).includes(server.env.accessKey), "the access key is hidden");
  }));

  test("a viewer changes nothing", () => signedIn(async (console) => {
    await console.says(/Viewer/);
    const token = await console.token();
    await console.open("keys");
    await console.says(/primary/);
    assert.equal(await console.page.getByRole("button", { name: /Rotate/ }).count(), 0);
    await console.open(`users/${encodeURIComponent(ann.user)}`);
    await console.says(/Live connections/);
    for (const name of ["Issue a token", "End all tokens", "Delete the user"]) assert.equal(await console.page.getByRole("button", { name }).count(), 0, name);
    const refused = await fetch(`${server.admin}/admin/v1/users`, { method: "POST", headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" }, body: "{}" });
    assert.equal(refused.status, 403);
  }, { role: "viewer" }));

  test("a key rotated", async () => {
    const own = await Server.start();
    const profile = await browser.profile();
    const console = await Console.open(own, profile, { at: "keys" });
    await console.says(/primary/);
    await console.page.getByRole("button", { name: /Rotate/ }).last().click();
    await console.page.getByRole("dialog").getByRole("button", { name: "Rotate" }).click();
    await console.says(/The new key. It is shown once/);
    await console.page.keyboard.press("Escape");
    browser.check();
    await profile.close();
    await own.stop();
  });

  test("a session that ended says so, and what to do", async () => {
    const own = await Server.start();
    const profile = await browser.profile();
    const console = await Console.open(own, profile);
    await own.kill();
    await console.says(/The server does not answer/);
    await own.restart();
    await console.says(/Your session has ended/, 30_000);
    await console.says(/confab console/);
    await accessible(console.page, "a session that ended");
    const other = await Console.open(own, profile);
    await other.page.getByRole("button", { name: "Sign out" }).click();
    await other.says(/You are signed out/);
    await accessible(other.page, "signed out");
    browser.forget(); // requests to a server that was away
    await profile.close();
    await own.stop();
  });

  test("keys of the console", () => signedIn(async (console) => {
    const press = (key) => console.page.keyboard.press(key);
    await server.send(ann, thread, "for the keys");
    await console.row(/send message/).first().waitFor();
    await press("j");
    await until("a row is chosen", () => /#\/requests\/./.test(console.page.url()));
    const first = console.page.url();
    await press("j");
    await until("the next row", () => console.page.url() !== first);
    await press("k");
    await until("the row before", () => console.page.url() === first);
    await press("Escape");
    await until("no row", () => !/#\/requests\/./.test(console.page.url()));
    for (const [letter, page] of Object.entries({ o: "overview", t: "threads", u: "users", e: "events", k: "keys", l: "limits", a: "audit", s: "settings", r: "requests" })) {
      await press("g");
      await press(letter);
      await until(`g ${letter}`, () => console.page.url().includes(`#/${page}`));
    }
    await press("/");
    await console.page.keyboard.type("gtj?");
    assert.equal(await console.page.getByRole("searchbox").first().inputValue(), "gtj?", "keys are off in a field");
    await press("Escape");
    await console.page.getByRole("heading", { level: 1 }).first().click();
    await press("?");
    await console.page.getByRole("dialog").getByRole("checkbox").uncheck();
    await press("Escape");
    await press("g");
    await press("t");
    assert.match(console.page.url(), /#\/requests|\/$/, "keys are switched off");
  }));

  for (const language of ["en", "ko"]) {
    test(`axe-core finds nothing on any page (${language})`, (t) => signedIn(async (console) => {
      await refuse();
      const places = { ...PAGES(thread, ann, ben) };
      for (const [what, { at, filters, ready }] of Object.entries(places)) {
        await t.test(what, async () => {
          await console.open(at, filters);
          await console.page.getByRole("heading", { level: 1 }).first().waitFor();
          await console.settled();
          if (ready) await ready(console);
          await accessible(console.page, what, language);
        });
      }
    }, { locale: language === "ko" ? "ko-KR" : "en-US" }));
  }
});
