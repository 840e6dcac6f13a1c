// The keys of the chat page.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ChatPage } from "./chatpage.mjs";
import { Browser, Server, until } from "./harness.mjs";

describe("keys of the chat page", () => {
  let server, browser, profile, ann, chat, threads;
  before(async () => {
    server = await Server.start();
    browser = await Browser.start();
    profile = await browser.profile();
    ann = { ...(await server.join("Ann")), name: "Ann" };
    threads = [];
    for (const topic of ["Alpha", "Beta", "Gamma"]) {
      threads.push(await server.newThread(ann, topic));
      for (const text of ["first", "second", "third"]) await server.send(ann, threads.at(-1), `${text} in ${topic}`);
    }
    chat = await ChatPage.as(server, profile, ann, threads[2]); // the newest is on top of the list
    await chat.sees("third in Gamma");
  });
  after(async () => {
    await browser?.stop();
    await server?.stop();
  });

  const press = (key) => chat.page.keyboard.press(key);
  const texts = async (thread) => (await server.texts(ann, thread)).map((m) => m.text);
  const focused = () => chat.page.evaluate(() => document.activeElement?.closest("article")?.textContent ?? document.activeElement?.localName);

  test("Up in an empty field edits the last message; Escape stops", async () => {
    await chat.composer.focus();
    await press("ArrowUp");
    await until("the message is in the field", async () => (await chat.composer.inputValue()) === "third in Gamma");
    await press("Escape");
    await until("the field is empty again", async () => (await chat.composer.inputValue()) === "");
    await press("ArrowUp");
    await until("the message is in the field", async () => (await chat.composer.inputValue()) === "third in Gamma");
    await press("End");
    await chat.page.keyboard.insertText(", edited");
    await press("Enter");
    await until("it is edited", async () => (await texts(threads[2])).includes("third in Gamma, edited"));
    assert.equal((await texts(threads[2])).length, 3, "an edit sends no new message");
    await chat.type("a text");
    await press("ArrowUp");
    assert.equal(await chat.composer.inputValue(), "a text", "Up in a text only moves the cursor");
    await chat.composer.fill("");
  });

  test("Shift+Enter breaks the line", async () => {
    await chat.type("one");
    await press("Shift+Enter");
    await chat.page.keyboard.insertText("two");
    await press("Enter");
    await until("it is sent", async () => (await texts(threads[2])).includes("one\ntwo"));
  });

  test("Ctrl+K goes to a thread by a part of its topic", async () => {
    await press("Control+k");
    await chat.page.getByRole("dialog").waitFor();
    await chat.page.keyboard.type("alph");
    await press("Enter");
    await chat.sees("third in Alpha");
    await press("Control+k");
    await chat.page.getByRole("dialog").waitFor();
    await press("Escape");
    await chat.page.getByRole("dialog").waitFor({ state: "hidden" });
  });

  test("Alt+Up and Alt+Down walk the threads", async () => {
    await chat.composer.focus();
    const visited = [];
    const current = () => chat.page.evaluate(() => location.pathname);
    for (const key of ["Alt+ArrowDown", "Alt+ArrowUp", "Alt+ArrowUp"]) {
      const before = await current();
      await press(key);
      await until(`${key} goes to another thread`, async () => (await current()) !== before);
      visited.push(await current());
    }
    assert.ok(new Set(visited).size >= 2, `visited ${visited}`);
  });

  test("arrows walk the messages, and a key opens their actions", async () => {
    await chat.openThread("Beta");
    await chat.sees("third in Beta");
    await chat.log.getByRole("article").last().focus();
    await press("ArrowUp");
    await until("the message before has the focus", async () => /second in Beta/.test(await focused()));
    await press("ArrowDown");
    await until("the next message has the focus", async () => /third in Beta/.test(await focused()));
    await press("Enter");
    await chat.page.getByRole("menuitem").first().waitFor();
    await press("Escape");
    await chat.page.getByRole("menuitem").first().waitFor({ state: "hidden" });
    await until("the focus is back at the message", async () => /third in Beta/.test(await focused()));
    await press("Escape");
    await until("Escape leads back to the field", () => chat.composer.evaluate((field) => field === document.activeElement));
  });

  test("F1 lists the keys, and no single letter does anything", async () => {
    await press("F1");
    const dialog = chat.page.getByRole("dialog");
    await dialog.waitFor();
    for (const word of [/Enter/, /Shift/, /Escape|Esc/, /K/, /Alt/, /F1/]) assert.match(await dialog.innerText(), word);
    await press("Escape");
    await dialog.waitFor({ state: "hidden" });
    await chat.composer.evaluate((field) => field.blur());
    const before = await chat.page.evaluate(() => [location.href, document.body.dataset.state, document.querySelectorAll("[role=dialog], [role=menu]").length].join());
    for (const letter of "abcdefghijklmnopqrstuvwxyz/?.") await press(letter);
    await chat.page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    assert.equal(await chat.page.evaluate(() => [location.href, document.body.dataset.state, document.querySelectorAll("[role=dialog], [role=menu]").length].join()), before);
    browser.check();
  });
});
