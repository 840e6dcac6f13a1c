// What Enter does while a text is being composed, as Korean and Japanese are written.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ChatPage } from "./chatpage.mjs";
import { Browser, Server, until } from "./harness.mjs";

describe("composition", () => {
  let server, browser, ann, thread;
  before(async () => {
    server = await Server.start();
    browser = await Browser.start();
    const person = { ...(await server.join("Ann")), name: "Ann" };
    thread = await server.newThread(person, "조합");
    ann = await ChatPage.as(server, await browser.profile(), person, thread);
    ann.me = person;
  });
  after(async () => {
    await browser?.stop();
    await server?.stop();
  });

  // sent returns the texts that the server has got, after the page had time to send: another message came and went.
  const sent = async () => (await server.texts(ann.me, thread)).map((m) => m.text);

  test("Enter while composing sends nothing, after it one message", async () => {
    const keys = await ann.page.context().newCDPSession(ann.page);
    await ann.composer.focus();
    for (const text of ["ㅎ", "하", "한"]) await keys.send("Input.imeSetComposition", { text, selectionStart: 1, selectionEnd: 1 });
    assert.equal(await ann.composer.inputValue(), "한");
    // The key that ends the composition, as a browser reports it: isComposing, key code 229.
    await ann.page.evaluate(() => addEventListener("keydown", (e) => (window.composed = e.isComposing), { once: true, capture: true }));
    await keys.send("Input.dispatchKeyEvent", { type: "rawKeyDown", key: "Enter", code: "Enter", windowsVirtualKeyCode: 13 });
    await keys.send("Input.dispatchKeyEvent", { type: "keyUp", key: "Enter", code: "Enter", windowsVirtualKeyCode: 13 });
    await until("the browser says that the text is being composed", () => ann.page.evaluate(() => window.composed));
    assert.equal(await ann.composer.inputValue(), "한");
    assert.equal(ann.sends, 0, "requests that sent a message");
    await keys.send("Input.insertText", { text: "한" });
    assert.equal(await ann.composer.inputValue(), "한");
    await ann.page.keyboard.press("Enter");
    await until("the message is sent", async () => (await sent()).length > 0);
    await until("the field is empty", async () => (await ann.composer.inputValue()) === "");
    assert.deepEqual(await sent(), ["한"]);
    assert.equal(ann.sends, 1, "requests that sent a message");
  });

  test("Safari's order sends nothing: the composition ends before the key, whose code is 229", async () => {
    const before = ann.sends;
    await ann.type("안녕");
    await ann.composer.evaluate((field) => {
      field.dispatchEvent(new CompositionEvent("compositionstart", { bubbles: true, data: "" }));
      field.dispatchEvent(new CompositionEvent("compositionend", { bubbles: true, data: "안녕" }));
      for (const type of ["keydown", "keyup"]) {
        field.dispatchEvent(new KeyboardEvent(type, { key: "Enter", code: "Enter", keyCode: 229, which: 229, bubbles: true, cancelable: true }));
      }
    });
    assert.equal(await ann.composer.inputValue(), "안녕");
    await ann.page.keyboard.press("Shift+Enter");
    await ann.page.keyboard.insertText("하세요");
    assert.equal(await ann.composer.inputValue(), "안녕\n하세요", "Shift+Enter breaks the line");
    assert.equal(ann.sends, before, "requests that sent a message");
    await ann.page.keyboard.press("Enter");
    await until("the message is sent", async () => (await sent()).length === 2);
    assert.equal(ann.sends, before + 1, "requests that sent a message");
    browser.check();
  });

  test("Enter pressed twice, and what is typed while a message is being stored", async () => {
    const before = (await sent()).length;
    await ann.composer.focus();
    await ann.page.keyboard.insertText("once");
    // All in one go, so that the page has no time to store the message in between.
    await ann.composer.evaluate((field) => {
      for (let i = 0; i < 3; i++) field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", code: "Enter", keyCode: 13, bubbles: true, cancelable: true, repeat: i > 0 }));
      document.execCommand("insertText", false, "next");
    });
    await until("it is sent", async () => (await sent()).includes("once"));
    await until("nothing waits", async () => (await ann.waiting()) === 0);
    assert.deepEqual((await sent()).slice(before), ["once"]);
    assert.equal(await ann.composer.inputValue(), "next", "what was typed meanwhile");
    browser.check();
  });
});
