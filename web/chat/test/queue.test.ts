import assert from "node:assert/strict";
import { test } from "node:test";
import { next, pause, settle, type Row } from "../src/queue.ts";

const row = (id: string, more: Partial<Row> = {}): Row => ({
  id, user: "u", thread: "t", kind: "send", text: id, name: "Ann", message: "", after: "0", created: Number(id) || 1, due: 0, tries: 0,
  state: "waiting", throttled: false, reason: "", status: 0, ...more,
});

test("a row whose fate is unknown is tried again under the same id, after a growing pause", () => {
  let r = row("1");
  const pauses: number[] = [];
  for (let i = 0; i < 7; i++) {
    r = settle(r, { kind: "unknown", status: 503 }, 1000)!;
    assert.equal(r.id, "1");
    assert.equal(r.state, "waiting");
    pauses.push(r.due - 1000);
  }
  assert.deepEqual(pauses, [500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
  assert.equal(pause(100), 15_000);
});

test("a refusal stops a row and keeps the server's reason", () => {
  const r = settle(row("1"), { kind: "refused", status: 403, reason: "not yours" }, 0)!;
  assert.deepEqual([r.state, r.reason, r.status], ["refused", "not yours", 403]);
  assert.deepEqual(next([r], 1e9), { wait: Infinity });
});

test("429 waits as long as the server asks, and counts as no try", () => {
  const r = settle(row("1"), { kind: "throttled", seconds: 7 }, 1000)!;
  assert.deepEqual([r.due, r.throttled, r.tries, r.state], [8000, true, 0, "waiting"]);
  assert.deepEqual(next([r], 3000), { wait: 5000 });
  assert.equal(next([r], 8000).row, r);
});

test("a row that is done is gone, and one whose token ended stays", () => {
  assert.equal(settle(row("1"), { kind: "done", id: "9" }, 0), undefined);
  const r = row("1");
  assert.equal(settle(r, { kind: "ended" }, 0), r);
});

test("sends of a thread go one after the other; other threads do not wait for them", () => {
  const first = row("1", { due: 5000 });
  const second = row("2");
  const elsewhere = row("3", { thread: "other" });
  assert.equal(next([second, first, elsewhere], 0).row, elsewhere);
  assert.deepEqual(next([second, first], 0), { wait: 5000 });
  assert.equal(next([second, first], 5000).row, first);
  assert.equal(next([second, { ...first, state: "refused" }], 0).row, second, "a refused one holds nothing up");
});

test("edits and deletions wait for their own time only", () => {
  const blocked = row("1", { due: 9000 });
  const deletion = row("2", { kind: "delete", message: "7", due: 5000 });
  assert.deepEqual(next([blocked, deletion], 0), { wait: 5000 });
  assert.equal(next([blocked, deletion], 5000).row, deletion);
});
