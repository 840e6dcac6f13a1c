import assert from "node:assert/strict";
import { test } from "node:test";
import { Outbox, type Hooks } from "../src/outbox.ts";
import type { Outcome, Row } from "../src/queue.ts";
import { InMemory } from "../src/storage.ts";

// Tab is an outbox with a server whose answers a test gives.
class Tab {
  rows: Row[] = [];
  done: string[] = [];
  tried: string[] = [];
  outbox: Outbox;
  #answers: Outcome[] = [];
  #waiters: (() => void)[] = [];

  constructor(storage: InMemory, user: string, ...answers: Outcome[]) {
    this.#answers = answers;
    const hooks: Hooks = {
      attempt: async (row) => {
        this.tried.push(row.id);
        return this.#answers.shift() ?? { kind: "done", id: `m-${row.id}` };
      },
      changed: (rows) => {
        this.rows = rows;
        this.#tell();
      },
      done: (row) => {
        this.done.push(row.id);
        this.#tell();
      },
    };
    this.outbox = new Outbox(storage, user, hooks);
  }

  #tell(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }

  add(id: string, kind: Row["kind"] = "send"): Promise<void> {
    return this.outbox.add({ id, thread: "t", kind, text: id, name: "Ann", message: kind === "send" ? "" : "1", after: "0", due: 0 });
  }
}

let users = 0;
const newUser = (): string => `user-${users++}`; // locks and channels are shared by all tests of the process

test("rows are carried out in order, and each is stored before it is tried", async () => {
  const storage = new InMemory();
  const tab = new Tab(storage, newUser());
  await tab.add("a");
  await tab.add("b");
  assert.deepEqual((await storage.all<Row>("outbox")).map((r) => r.id), ["a", "b"]);
  await tab.outbox.start();
  await tab.until(() => tab.done.length === 2 && tab.rows.length === 0);
  assert.deepEqual(tab.done, ["a", "b"]);
  assert.deepEqual(await storage.all("outbox"), []);
  tab.outbox.close();
});

test("a lost answer is asked for again under the same id", async () => {
  const tab = new Tab(new InMemory(), newUser(), { kind: "unknown", status: 0 });
  await tab.outbox.start();
  await tab.add("a");
  await tab.until(() => tab.rows[0]?.tries === 1);
  tab.outbox.hurry();
  await tab.until(() => tab.rows.length === 0);
  assert.deepEqual(tab.tried, ["a", "a"]);
  tab.outbox.close();
});

test("another page goes on with what the first has left", async () => {
  const storage = new InMemory();
  const user = newUser();
  const first = new Tab(storage, user, { kind: "unknown", status: 0 });
  await first.outbox.start();
  await first.add("a");
  await first.until(() => first.rows[0]?.tries === 1);
  first.outbox.close();
  const second = new Tab(storage, user);
  await second.outbox.start();
  second.outbox.hurry();
  await second.until(() => second.rows.length === 0 && second.done.length === 1);
  assert.deepEqual(second.done, ["a"]);
  second.outbox.close();
});

test("two tabs of one user try a row once, and both hear of it", async () => {
  const storage = new InMemory();
  const user = newUser();
  const tabs = [new Tab(storage, user), new Tab(storage, user)] as const;
  await tabs[0].outbox.start();
  await tabs[1].outbox.start();
  await tabs[1].add("a");
  await tabs[1].until(() => tabs[1].rows.length === 0 && tabs[1].done.length === 1);
  await tabs[0].until(() => tabs[0].done.length === 1);
  assert.deepEqual([...tabs[0].tried, ...tabs[1].tried], ["a"]);
  for (const tab of tabs) tab.outbox.close();
});

test("a refused row stays until the person says what to do, and holds nothing up", async () => {
  const tab = new Tab(new InMemory(), newUser(), { kind: "refused", status: 400, reason: "too long" });
  await tab.outbox.start();
  await tab.add("a");
  await tab.add("b");
  await tab.until(() => tab.done.includes("b") && tab.rows.length === 1);
  assert.deepEqual([tab.rows[0]?.id, tab.rows[0]?.state, tab.rows[0]?.reason], ["a", "refused", "too long"]);
  await tab.outbox.retry("a");
  await tab.until(() => tab.rows.length === 0);
  assert.deepEqual(tab.tried, ["a", "b", "a"]);
  tab.outbox.close();
});

test("when the token has ended nothing is tried until there is a new one", async () => {
  const tab = new Tab(new InMemory(), newUser(), { kind: "ended" });
  await tab.outbox.start();
  await tab.add("a");
  await tab.add("b");
  await new Promise<void>((resolve) => setImmediate(resolve));
  assert.deepEqual(tab.tried, ["a"]);
  tab.outbox.hurry();
  await tab.until(() => tab.done.length === 2);
  assert.deepEqual(tab.tried, ["a", "a", "b"]);
  tab.outbox.close();
});
