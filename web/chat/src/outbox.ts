import { next, settle, type Outcome, type Row } from "./queue.ts";
import type { Storage, Write } from "./storage.ts";

// Hooks connect an outbox with the rest of the page.
export interface Hooks {
  // attempt tries a row once. It never throws.
  attempt(row: Row): Promise<Outcome>;
  // changed is called with all rows of the user after each change, in the order in which they were made.
  changed(rows: Row[]): void;
  // done is called in every tab of the user when a row was carried out. id is the message's.
  done(row: Row, id: string): void;
}

type News = { kind: "changed" } | { kind: "done"; row: Row; id: string } | { kind: "hurry" };

// Outbox carries out the rows of one user, in one tab at a time: the tab that holds the user's lock. Other tabs add rows and
// show what becomes of them. If the tab closes, the next one that waits for the lock goes on.
export class Outbox {
  #storage: Storage;
  #user: string;
  #hooks: Hooks;
  #rows: Row[] = [];
  #channel: BroadcastChannel;
  #closed = new AbortController();
  #wake: () => void = () => undefined;
  #paused = false;
  #last = 0;

  constructor(storage: Storage, user: string, hooks: Hooks) {
    this.#storage = storage;
    this.#user = user;
    this.#hooks = hooks;
    this.#channel = new BroadcastChannel(`confab-outbox-${user}`);
    this.#channel.onmessage = (e: MessageEvent<News>) => void this.#hear(e.data);
  }

  // start reads the rows and begins to carry them out as soon as no other tab of this user does.
  async start(): Promise<void> {
    await this.#reload();
    const run = (): Promise<void> => this.#run();
    // Pages on plain http from another machine have no locks. The server still knows a repeated id, so nothing is doubled.
    if (!navigator.locks) void run();
    else navigator.locks.request(`confab-outbox-${this.#user}`, { signal: this.#closed.signal }, run).catch(() => undefined);
  }

  // close stops after the try that runs.
  close(): void {
    this.#closed.abort();
    this.#wake();
    this.#channel.close();
  }

  // add stores a row, together with other changes that belong to it. The row is safe when it returns.
  async add(row: Omit<Row, "user" | "created" | "tries" | "state" | "throttled" | "reason" | "status">, also: Write[] = []): Promise<void> {
    const newest = this.#rows.at(-1)?.created ?? 0;
    this.#last = Math.max(Date.now(), this.#last + 1, newest + 1);
    const whole: Row = { ...row, user: this.#user, created: this.#last, tries: 0, state: "waiting", throttled: false, reason: "", status: 0 };
    await this.#write([{ store: "outbox", put: whole }, ...also], (rows) => [...rows, whole]);
  }

  // remove takes a row back. A send that is under way may still arrive.
  async remove(id: string): Promise<void> {
    await this.#write([{ store: "outbox", remove: id }], (rows) => rows.filter((r) => r.id !== id));
  }

  // retry lets a refused row be tried again, under the same id: a refusal means that nothing was written.
  async retry(id: string): Promise<void> {
    const row = this.#rows.find((r) => r.id === id);
    if (!row) return;
    await this.#replace({ ...row, state: "waiting", due: 0, tries: 0, reason: "", status: 0 });
  }

  // hurry ends the pauses after tries without an answer: the network is back. Pauses that the server asked for stay.
  hurry(): void {
    this.#hurry();
    this.#tell({ kind: "hurry" });
  }

  #hurry(): void {
    this.#paused = false;
    this.#rows = this.#rows.map((r) => (r.tries > 0 && !r.throttled && r.state === "waiting" ? { ...r, due: 0 } : r));
    this.#wake();
  }

  async #run(): Promise<void> {
    await this.#reload(); // another tab may have been at work until now
    while (!this.#closed.signal.aborted) {
      const { row, wait } = this.#paused ? { row: undefined, wait: Infinity } : next(this.#rows, Date.now());
      if (!row) {
        await this.#sleep(wait);
        continue;
      }
      const outcome = await this.#hooks.attempt(row);
      if (this.#closed.signal.aborted) return; // the row stays, and is tried again by the next page
      await this.#settled(row.id, outcome);
    }
  }

  async #settled(id: string, outcome: Outcome): Promise<void> {
    if (outcome.kind === "ended") this.#paused = true;
    const row = this.#rows.find((r) => r.id === id);
    if (!row) return; // taken back meanwhile
    const after = settle(row, outcome, Date.now());
    if (after) return this.#replace(after);
    if (outcome.kind === "done") {
      this.#hooks.done(row, outcome.id);
      this.#tell({ kind: "done", row, id: outcome.id });
    }
    await this.remove(id);
  }

  #replace(row: Row): Promise<void> {
    return this.#write([{ store: "outbox", put: row }], (rows) => rows.map((r) => (r.id === row.id ? row : r)));
  }

  // change is applied to the rows that are there when the storage is done, since others may have changed them meanwhile.
  async #write(changes: Write[], change: (rows: Row[]) => Row[]): Promise<void> {
    await this.#storage.write(changes);
    this.#show(change(this.#rows));
    this.#tell({ kind: "changed" });
    this.#wake();
  }

  async #reload(): Promise<void> {
    const rows = await this.#storage.all<Row>("outbox");
    this.#show(rows.filter((r) => r.user === this.#user).sort((a, b) => a.created - b.created));
  }

  #show(rows: Row[]): void {
    this.#rows = rows;
    this.#hooks.changed(rows);
  }

  #tell(news: News): void {
    if (!this.#closed.signal.aborted) this.#channel.postMessage(news);
  }

  async #hear(news: News): Promise<void> {
    if (news.kind === "done") return this.#hooks.done(news.row, news.id);
    if (news.kind === "hurry") return this.#hurry();
    await this.#reload();
    this.#wake();
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = ms === Infinity ? undefined : setTimeout(resolve, Math.min(ms, 60_000));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
