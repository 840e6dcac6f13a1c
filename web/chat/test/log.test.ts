import assert from "node:assert/strict";
import { test } from "node:test";
import { ThreadLog, reachesBack } from "../src/log.ts";
import type { Message } from "../src/model.ts";

const message = (id: number, sequence: number, more: Partial<Message> = {}): Message => ({
  id: String(id), version: String(id), sequence, kind: "text", sender: "a", senderName: "Ann", text: `m${id}`, createdOn: id, ...more,
});
const ids = (log: ThreadLog): number[] => log.messages.map((m) => Number(m.id));

test("pages of history are shown in the order of creation", () => {
  const log = new ThreadLog();
  log.addHistory([message(40, 4), message(30, 3)], "more");
  assert.deepEqual(ids(log), [30, 40]);
  assert.equal(log.complete, false);
  log.addHistory([message(20, 2), message(10, 1)], undefined);
  assert.deepEqual(ids(log), [10, 20, 30, 40]);
  assert.equal(log.complete, true);
});

test("an edited message is held back until all messages after it are known", () => {
  const log = new ThreadLog();
  log.addHistory([message(10, 6, { version: "60", text: "edited" }), message(50, 5), message(40, 4)], "more");
  assert.deepEqual(ids(log), [40, 50], "10 is known, 20 and 30 are not");
  log.addHistory([message(30, 3), message(20, 2)], undefined);
  assert.deepEqual(ids(log), [10, 20, 30, 40, 50]);
  assert.equal(log.get("10")?.text, "edited");
});

test("a page of edited messages alone shows nothing", () => {
  const log = new ThreadLog();
  log.addHistory([message(20, 6, { version: "60" }), message(10, 5, { version: "50" })], "more");
  assert.deepEqual(ids(log), []);
});

test("the newest version wins, in whatever order versions come", () => {
  const log = new ThreadLog();
  log.addHistory([message(10, 1)], undefined);
  assert.equal(log.add(message(10, 0, { version: "30", text: "second edit" })), true);
  assert.equal(log.add(message(10, 0, { version: "20", text: "first edit" })), false);
  assert.equal(log.add(message(10, 0)), false, "the same event again");
  assert.equal(log.get("10")?.text, "second edit");
  log.add(message(10, 0, { version: "40", text: "", deletedOn: 40 }));
  assert.equal(log.get("10")?.deletedOn, 40);
});

test("a list gives the sequence that a live event has not", () => {
  const log = new ThreadLog();
  log.addHistory([message(10, 1)], undefined);
  log.add(message(20, 0));
  assert.equal(log.top, 1, "an event says nothing about what is missing before it");
  log.addNewest([message(20, 2), message(10, 1)]);
  assert.equal(log.get("20")?.sequence, 2);
  assert.equal(log.top, 2);
  log.add(message(20, 0));
  assert.equal(log.get("20")?.sequence, 2, "a late event takes nothing away");
});

test("live events before the first page are kept for it", () => {
  const log = new ThreadLog();
  log.add(message(50, 0));
  assert.deepEqual(ids(log), []);
  log.addHistory([message(40, 4), message(30, 3)], "more");
  assert.deepEqual(ids(log), [30, 40, 50]);
});

test("catching up ends at a page that reaches what is known", () => {
  const log = new ThreadLog();
  log.addHistory([message(20, 2), message(10, 1)], undefined);
  assert.equal(reachesBack([message(50, 5), message(40, 4)], log.top), false);
  assert.equal(reachesBack([message(30, 3), message(20, 2)], log.top), true);
  log.addNewest([message(50, 5), message(40, 4), message(30, 3), message(20, 2)]);
  assert.deepEqual(ids(log), [10, 20, 30, 40, 50]);
  assert.equal(log.top, 5);
});

test("an own change is shown until its version comes", () => {
  const log = new ThreadLog();
  log.addHistory([message(10, 1)], undefined);
  const before = log.messages;
  log.amend("10", { text: "mine" });
  assert.equal(log.get("10")?.text, "mine");
  assert.equal(before[0]?.text, "m10", "an array that was handed out does not change");
  log.add(message(10, 0, { version: "30", text: "theirs" }));
  assert.equal(log.get("10")?.text, "theirs");
});
