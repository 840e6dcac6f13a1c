// Sixty hostile messages (hostile.mjs), twice: through the API, so that the server cleans them, and put into the server's answers
// behind its back, so that the page alone must. Nothing runs, no request leaves the origin, and the page goes on.
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, describe, test } from "node:test";
import { ChatPage } from "./chatpage.mjs";
import { Browser, Server, until } from "./harness.mjs";
import { HOSTILE } from "./hostile.mjs";

describe("hostile messages", () => {
  let server, browser, evil, ann, ben;
  const asked = []; // what the other host was asked for
  before(async () => {
    server = await Server.start();
    browser = await Browser.start();
    evil = http.createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`);
      response.setHeader("Access-Control-Allow-Origin", "*");
      response.end("ran(99)");
    });
    await new Promise((resolve) => evil.listen(0, "127.0.0.1", resolve));
    ann = { ...(await server.join("Ann")), name: "Ann" };
    ben = { ...(await server.join("Ben")), name: "Ben" };
  });
  after(async () => {
    await browser?.stop();
    evil?.closeAllConnections();
    evil?.close();
    await server?.stop();
  });

  const messages = () => HOSTILE.map((html) => html.replaceAll("EVIL", `http://127.0.0.1:${evil.address().port}`));

  test("the list", () => assert.equal(HOSTILE.length, 60));

  // open opens a thread in a profile in which a call of ran is noted, as is each dialog.
  const open = async (thread, prepare = async () => {}) => {
    const profile = await browser.profile();
    const ran = [];
    await profile.exposeBinding("ran", (_, n) => ran.push(n));
    profile.on("dialog", (dialog) => ran.push(dialog.message()) && dialog.dismiss());
    await prepare(profile);
    const chat = await ChatPage.as(server, profile, ann, thread);
    await chat.sees("the last one");
    return { chat, ran, profile };
  };

  // judge walks over all messages, touches everything in them that can be touched, and looks at what is left of them.
  const judge = async ({ chat, ran, profile }, shown, known) => {
    const rows = await chat.page.evaluate(touchAll);
    await chat.send("still here");
    await until("the page goes on", async () => (await server.texts(ben, chat.thread)).some((m) => m.text === "still here"));
    assert.deepEqual(ran, [], "what ran");
    assert.deepEqual(asked, [], "what the other host was asked for");
    assert.deepEqual(rows.faults, [], "what is left of the messages");
    assert.ok(rows.count >= shown, `${rows.count} messages in the page, want ${shown}`);
    assert.deepEqual(profile.pages().length, 1, "tabs");
    browser.check(known);
    browser.forget();
    await profile.close();
  };

  test("cleaned by the server, then by the page", async () => {
    const thread = await server.newThread(ann, "cleaned", [ben]);
    let stored = 0;
    for (const html of messages()) {
      try {
        await server.send(ben, thread, `${html}<p>end</p>`, { type: "html" });
        stored++;
      } catch (e) {
        if (e.status !== 400) throw e; // nothing of it was allowed
      }
    }
    await server.send(ben, thread, "the last one");
    assert.ok(stored > 50, `${stored} messages were stored`);
    const page = await open(thread);
    page.chat.thread = thread;
    await judge(page, stored);
  });

  test("put into the answers behind the server's back", async () => {
    const thread = await server.newThread(ann, "injected", [ben]);
    const hostile = new Map();
    for (const html of messages()) hostile.set(await server.send(ben, thread, "harmless"), html);
    const last = await server.send(ben, thread, "the last one");
    const page = await open(thread, (profile) => profile.route(/\/messages(\?|\/)/, async (route) => {
      if (route.request().method() !== "GET") return route.continue();
      const response = await route.fetch();
      const answer = await response.json();
      for (const message of answer.value ?? [answer]) {
        if (hostile.has(message.id)) Object.assign(message, { type: "html", content: { message: hostile.get(message.id) }, senderDisplayName: hostile.get(message.id).slice(0, 200) });
      }
      await route.fulfill({ response, json: answer });
    }));
    assert.ok(last);
    page.chat.thread = thread;
    await judge(page, HOSTILE.length, { parsed: true });
  });
});

// touchAll runs in the page. It scrolls over all messages; in each it points at, focuses and presses everything that is no link to
// another page, and lists what a message must not contain.
async function touchAll() {
  const log = document.querySelector("[role=log]");
  let scroller = log;
  while (scroller && !(scroller.scrollHeight > scroller.clientHeight + 10 && /auto|scroll/.test(getComputedStyle(scroller).overflowY))) scroller = scroller.parentElement;
  const frame = () => new Promise((resolve) => requestAnimationFrame(() => resolve()));
  const faults = new Set();
  const seen = new Set();
  const forbidden = "script, iframe, object, embed, style, link, meta, base, form, input, textarea, select, template, noscript, math, video, audio, source, picture, marquee, portal, frame, frameset, xmp, noembed, map, area, isindex, dialog";
  for (let top = scroller ? scroller.scrollTop : 0; ; top -= scroller.clientHeight / 2) {
    if (scroller) scroller.scrollTop = Math.max(0, top);
    for (let i = 0; i < 10; i++) await frame();
    for (const row of log.querySelectorAll("article[data-id]")) {
      if (seen.has(row.dataset.id)) continue;
      seen.add(row.dataset.id);
      for (const e of row.querySelectorAll(forbidden)) faults.add(`<${e.localName}>: ${e.outerHTML.slice(0, 200)}`);
      for (const e of row.querySelectorAll("*")) {
        for (const { name, value } of e.attributes) {
          if (/^on/i.test(name)) faults.add(`${name} on <${e.localName}>`);
          if (/^(src|href|xlink:href|action|formaction|poster|background|data|srcset|ping)$/i.test(name)) {
            const url = /^srcset$/i.test(name) ? null : new URL(value, "https://none.example/");
            if (!url || !["https:", "http:", "mailto:", "tel:"].includes(url.protocol)) faults.add(`${name}=${value.slice(0, 60)} on <${e.localName}>`);
            if (/^ping$/i.test(name)) faults.add(`ping on <${e.localName}>`);
          }
          if (name === "style" && /url\(|position|expression/i.test(value)) faults.add(`style=${value}`);
        }
        if (e.localName === "a" && e.href && !/noopener|noreferrer/.test(e.rel)) faults.add(`a link without rel=noopener: ${e.outerHTML.slice(0, 120)}`);
        if (["a", "area"].includes(e.localName) && /^https?:/.test(e.href)) continue;
        if (e.localName === "button" || e.closest("button")) continue; // of the page itself
        for (const type of ["pointerenter", "mouseover", "focus", "focusin", "click", "toggle", "animationstart"]) e.dispatchEvent(new Event(type, { bubbles: true, cancelable: true }));
        e.focus?.({ preventScroll: true });
      }
      const box = row.getBoundingClientRect();
      for (const e of row.querySelectorAll("*")) if (getComputedStyle(e).position === "fixed") faults.add(`fixed: ${e.outerHTML.slice(0, 100)}`);
      if (box.width > document.documentElement.clientWidth) faults.add(`a message is wider than the page: ${row.textContent.slice(0, 60)}`);
    }
    if (!scroller || top <= 0) break;
  }
  for (const name of ["getElementById", "documentElement", "currentScript", "body"]) {
    if (Object.hasOwn(document, name) || (name === "body" ? document.body.localName !== "body" : false)) faults.add(`document.${name} is clobbered`);
  }
  if (typeof document.getElementById !== "function" || document.documentElement.localName !== "html") faults.add("document is clobbered");
  for (const name of ["app", "config", "confab", "root", "f", "DOMPurify"]) {
    const e = globalThis[name];
    if (e instanceof Element && e.closest("article")) faults.add(`window.${name} is an element of a message`);
  }
  return { faults: [...faults], count: seen.size };
}
