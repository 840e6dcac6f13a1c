import assert from "node:assert/strict";
import { test } from "node:test";
import type { Message } from "../src/model.ts";
import type { Row } from "../src/queue.ts";
import { ROWS, firstNew, follows, present, readers, span, type Item } from "../src/view.ts";

const message = (id: number, sender: string, more: Partial<Message> = {}): Message => ({
  id: String(id), version: String(id), sequence: id, kind: "text", sender, senderName: sender, text: `m${id}`, createdOn: id, ...more,
});
const send = (id: string, text: string, more: Partial<Row> = {}): Row => ({
  id, user: "me", thread: "t", kind: "send", text, name: "Me", message: "", after: "10", created: 1, due: 0, tries: 1, state: "waiting",
  throttled: false, reason: "", status: 0, ...more,
});
const shown = (items: readonly Item[]): string[] => items.map((i) => i.message.id);
const always = (): boolean => true;

test("a message that has arrived while its answer is out is not seen twice", () => {
  const messages = [message(5, "me", { text: "ok" }), message(10, "ann"), message(20, "me", { text: "ok" }), message(30, "me", { text: "other" })];
  assert.deepEqual(shown(present(messages, [send("r", "ok")], "me", always)), ["5", "10", "30"], "20 is the row's, 5 was said before");
  assert.deepEqual(shown(present(messages, [send("r", "ok")], "me", () => false)), ["5", "10", "20", "30"], "a row that was never tried is no message yet");
  assert.deepEqual(shown(present(messages, [send("r", "ok"), send("s", "ok")], "me", always)), ["5", "10", "30"], "one message stands for one row");
});

test("an edit that waits is seen at once, a refused one is not", () => {
  const messages = [message(10, "me")];
  const edit = send("e", "new", { kind: "edit", message: "10" });
  assert.equal(present(messages, [edit], "me", always)[0]?.message.text, "new");
  assert.equal(present(messages, [{ ...edit, state: "refused" }], "me", always)[0]?.message.text, "m10");
});

test("what is new begins after what was read, and not with own or deleted messages", () => {
  const messages = [message(10, "ann"), message(20, "me"), message(30, "ann", { deletedOn: 31 }), message(40, "ann"), message(50, "ann")];
  assert.equal(firstNew(messages, "10", "me"), "40");
  assert.equal(firstNew(messages, "50", "me"), null);
  assert.equal(firstNew(messages, "0", "me"), "10");
});

test("a reader's mark stands where the reading ends", () => {
  const items = [10, 20, 30].map((id) => ({ message: message(id, id === 30 ? "ben" : "me"), change: undefined }));
  const marks = readers(items, [
    { user: "ann", message: "20", on: 1 }, { user: "carl", message: "25", on: 1 }, { user: "ben", message: "30", on: 1 }, { user: "me", message: "30", on: 1 },
  ], "me");
  assert.deepEqual([...marks], [["20", ["ann", "carl"]]]);
});

test("the part in the document has a bound, and stays where it is while messages come at both ends", () => {
  const items = (from: number, to: number): Item[] => Array.from({ length: to - from }, (_, i) => ({ message: message(from + i, "ann"), change: undefined }));
  assert.deepEqual(span(items(0, 20), null), { from: 0, to: 20 });
  assert.deepEqual(span(items(0, 1000), null), { from: 1000 - ROWS, to: 1000 });
  assert.deepEqual(span(items(1000, 2000), "1500"), { from: 500, to: 500 + ROWS });
  assert.deepEqual(span(items(900, 2010), "1500"), { from: 600, to: 600 + ROWS });
});

test("messages of one person within five minutes stand under one head", () => {
  const item = (m: Message): Item => ({ message: m, change: undefined });
  const first = item(message(1_000_000, "ann"));
  assert.equal(follows(undefined, first), false);
  assert.equal(follows(first, item(message(1_200_000, "ann"))), true);
  assert.equal(follows(first, item(message(1_400_000, "ann"))), false);
  assert.equal(follows(first, item(message(1_200_000, "ben"))), false);
  assert.equal(follows(first, item(message(1_200_000, "", { kind: "topicUpdated" }))), false);
});
