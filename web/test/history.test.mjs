// A long thread: how many rows the page keeps, and whether what a person reads moves while older and newer messages arrive.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ChatPage } from "./chatpage.mjs";
import { Browser, Server, until } from "./harness.mjs";

const MESSAGES = 5000;
const PAGES = 100;
const MOST_ROWS = 200;

describe("5,000 messages", () => {
  let server, browser;
  before(async () => {
    server = await Server.start({ options: ["--limits", "off"] }); // one user writes 5,000 messages at once
    browser = await Browser.start();
  });
  after(async () => {
    await browser?.stop();
    await server?.stop();
  });

  test(`${PAGES} pages upward move the first visible row at most 1 px, with at most ${MOST_ROWS} rows`, async (t) => {
    const ann = { ...(await server.join("Ann")), name: "Ann" };
    const ben = { ...(await server.join("Ben")), name: "Ben" };
    const thread = await server.newThread(ann, "long", [ben]);
    const text = (i) => `message ${i}. ${"words and ".repeat(i % 17)}`;
    for (let i = 0; i < MESSAGES; i += 20) { // 20 at a time: they are numbered nearly in order
      await Promise.all(Array.from({ length: 20 }, (_, j) => server.send(ben, thread, text(i + j))));
    }
    await server.send(ben, thread, "the newest");
    const chat = await ChatPage.as(server, await browser.profile(), ann, thread);
    await chat.sees("the newest");

    let arriving = true;
    let arrived = 0;
    const sender = (async () => {
      for (let due = performance.now(); arriving; due += 200) {
        await server.send(ben, thread, `new ${arrived++}`);
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, due + 200 - performance.now())));
      }
    })();
    try {
      const seen = await chat.page.evaluate(walkUp, { pages: PAGES, patience: 20_000 });
      t.diagnostic(`${seen.pages} pages, ${arrived} messages meanwhile, ${seen.frames} frames, at most ${seen.rows} rows, moved by at most ${seen.moved.toFixed(2)} px; the oldest row is ${JSON.stringify(seen.oldest.slice(0, 30))}`);
      assert.equal(seen.stuck, "", "the walk upward");
      assert.ok(seen.moved <= 1, `the first visible row moved by ${seen.moved} px: ${seen.worst}`);
      assert.ok(seen.rows <= MOST_ROWS, `${seen.rows} rows`);
      assert.ok(arrived > 20, `${arrived} messages arrived meanwhile`);
    } finally {
      arriving = false;
      await sender;
    }
    // The way back: one press leads to the newest message.
    await chat.page.getByTestId("jump").click();
    await chat.sees(`new ${arrived - 1}`);
    const rows = await chat.log.getByRole("article").count();
    assert.ok(rows <= MOST_ROWS, `${rows} rows after the jump`);
    browser.check();
  });
});

// walkUp runs in the page. It scrolls to the top of the log as often as older messages appear there, and looks at each frame how
// far the first visible row is from where it was.
async function walkUp({ pages, patience }) {
  const log = document.querySelector("[role=log]");
  const scroller = (() => {
    for (let e = log; e; e = e.parentElement) if (e.scrollHeight > e.clientHeight + 10 && /auto|scroll/.test(getComputedStyle(e).overflowY)) return e;
    return document.scrollingElement;
  })();
  const frame = () => new Promise((resolve) => requestAnimationFrame(() => resolve()));
  const rows = () => [...log.querySelectorAll("article[data-id]")];
  const seen = { pages: 0, frames: 0, rows: 0, moved: 0, worst: "", stuck: "", oldest: "" };
  for (; seen.pages < pages; seen.pages++) {
    const oldest = rows()[0].dataset.id;
    // The last third of the way goes by small steps, as with a wheel.
    const step = seen.pages % 3 === 2 ? scroller.clientHeight / 2 : Infinity;
    scroller.scrollTop = Math.max(0, scroller.scrollTop - Math.min(step, 1e7));
    const top = scroller.getBoundingClientRect().top;
    let anchor = rows().find((row) => row.getBoundingClientRect().bottom > top + 1);
    let at = anchor.getBoundingClientRect().top;
    const deadline = performance.now() + patience;
    for (let settled = 0; settled < 4;) {
      await frame();
      seen.frames++;
      seen.rows = Math.max(seen.rows, rows().length);
      if (!anchor.isConnected) {
        const same = rows().find((row) => row.dataset.id === anchor.dataset.id);
        if (!same) return { ...seen, stuck: `the first visible row (${anchor.dataset.id}) is gone` };
        anchor = same;
      }
      const moved = Math.abs(anchor.getBoundingClientRect().top - at);
      if (moved > seen.moved) Object.assign(seen, { moved, worst: `page ${seen.pages}, scrollTop ${scroller.scrollTop}, ${rows().length} rows` });
      if (rows()[0].dataset.id !== oldest) settled++;
      else if (scroller.scrollTop > 0 && step !== Infinity) {
        scroller.scrollTop = Math.max(0, scroller.scrollTop - step);
        anchor = rows().find((row) => row.getBoundingClientRect().bottom > top + 1);
        at = anchor.getBoundingClientRect().top;
      }
      if (performance.now() > deadline) {
        if (/message 0\./.test(rows()[0].textContent)) return { ...seen, oldest: rows()[0].textContent };
        return { ...seen, stuck: `no older messages in ${patience} ms after page ${seen.pages}: the oldest row is ${rows()[0].textContent.slice(0, 60)}`, oldest: rows()[0].textContent };
      }
    }
  }
  return { ...seen, oldest: rows()[0].textContent };
}
