import { computed, signal } from "@preact/signals";
import { ThreadLog, reachesBack } from "./log.ts";
import { isFromPerson, type Message, type Participant, type Receipt } from "./model.ts";
import { known, learn } from "./people.ts";
import { Failed, type Api } from "./transport.ts";
import { firstNew, newestOfOthers } from "./view.ts";

const PAGE = 60; // messages of a page of history
const NEWEST = 50; // messages of a page when catching up
const CHECK_AFTER = 100; // live events after which the log is compared with the server's list
const TYPING = 9_000; // ms that a typing notification counts; the official client sends one every 8 s

// Conversation is all that the page knows of one thread.
export class Conversation {
  readonly id: string;
  readonly log = new ThreadLog();
  readonly status = signal<"loading" | "open" | "removed" | "deleted" | "failed">("loading");
  readonly reason = signal(""); // the server's sentence, with status failed
  readonly topic = signal("");
  readonly people = signal<readonly Participant[]>([]);
  readonly receipts = signal<ReadonlyMap<string, Receipt>>(new Map());
  readonly typing = signal<ReadonlyMap<string, { name: string; until: number }>>(new Map());
  readonly newFrom = signal<string | null>(null); // the divider stands before this message
  readonly loadingOlder = signal(false);
  readonly seen = signal(false); // the person looks at the newest message right now
  readonly messages = signal<readonly Message[]>([]);

  // names maps user ids to names, from participants, senders and system messages, and from other threads.
  readonly names = computed(() => {
    const names = new Map(known.value);
    for (const m of this.messages.value) {
      if (m.senderName) names.set(m.sender, m.senderName);
      for (const p of m.people ?? []) if (p.name) names.set(p.id, p.name);
    }
    for (const p of this.people.value) if (p.name) names.set(p.id, p.name);
    return names;
  });

  #api: Api;
  #me: string;
  #opening: Promise<void> | undefined;
  #out = 0; // how often the person was told to be out of the thread
  #catching: Promise<void> | undefined;
  #again = false;
  #events = 0;
  #notBefore = 0; // earliest time to read history again after a failure
  #since: string | null = null; // the person's receipt when the thread was opened, while the divider depends on it
  #read = ""; // newest message for which a receipt was sent or is being sent

  constructor(id: string, api: Api, me: string) {
    this.id = id;
    this.#api = api;
    this.#me = me;
  }

  isEmpty(): boolean {
    return !this.messages.value.some((m) => isFromPerson(m));
  }

  // open reads the newest messages, and then who is here and who has read what. It may be called again after a failure.
  open(): Promise<void> {
    this.#opening ??= this.#open().finally(() => (this.#opening = undefined));
    return this.#opening;
  }

  // out notes that the person is out of the thread: it was removed, it left, or the thread was deleted.
  out(status: "removed" | "deleted"): void {
    this.#out++;
    this.status.value = status;
  }

  async #open(): Promise<void> {
    const out = this.#out;
    try {
      // Both run beside the messages. If these fail first, nobody waits for the two any more.
      const topic = this.#api.topic(this.id);
      topic.catch(() => undefined);
      // Who has left may read messages, and nothing else.
      const receipts = this.#api.receipts(this.id).catch(() => undefined);
      const isFirst = !this.log.read;
      if (isFirst) await this.#readOlder();
      const all = await receipts;
      if (all) this.#setReceipts(all);
      if (isFirst) this.#placeDivider();
      this.#show();
      if (!isFirst) await this.catchUp();
      await this.refreshPeople();
      this.topic.value = await topic;
      // What was read above may be from before the person was out. It may be in again, too.
      if (out !== this.#out) return await this.#open();
      this.status.value = "open";
    } catch (e) {
      this.#fail(e);
    }
  }

  // #placeDivider puts the divider before the first message after the person's own receipt, or after the person came.
  #placeDivider(): void {
    const came = this.log.messages.findLast((m) => m.kind === "participantAdded" && m.people?.some((p) => p.id === this.#me));
    this.#since = this.receipts.value.get(this.#me)?.message ?? came?.id ?? null;
    if (this.#since !== null) this.newFrom.value = firstNew(this.log.messages, this.#since, this.#me);
  }

  // refreshPeople reads who is in the thread.
  async refreshPeople(): Promise<void> {
    this.people.value = await this.#api.participants(this.id);
    learn(this.people.value);
  }

  // loadOlder reads the next older page of history, one at a time. It does nothing at the beginning.
  async loadOlder(): Promise<void> {
    if (this.loadingOlder.value || this.log.complete || !this.log.read || Date.now() < this.#notBefore) return;
    this.loadingOlder.value = true;
    const oldest = this.log.messages[0]?.id ?? "0";
    try {
      await this.#readOlder();
      // What is new may begin further up than was known.
      if (this.newFrom.value !== null && this.#since !== null && Number(this.#since) < Number(oldest) && Number(this.newFrom.value) >= Number(oldest))
        this.newFrom.value = firstNew(this.log.messages, this.#since, this.#me);
      this.#show();
    } catch (e) {
      this.#notBefore = Date.now() + 2_000;
      this.#fail(e);
    } finally {
      this.loadingOlder.value = false;
    }
  }

  // #readOlder reads pages until one brings a message that can be shown.
  async #readOlder(): Promise<void> {
    const shown = this.log.messages.length;
    do {
      const { page, next } = await this.#api.messages(this.id, PAGE, this.log.cursor);
      this.log.addHistory(page, next);
    } while (!this.log.complete && this.log.messages.length === shown);
  }

  // catchUp lists from the newest message back to what is known: after a reconnect, and when a live event tells of a system
  // message. A call during a run makes one more run.
  catchUp(): Promise<void> {
    if (this.#catching) {
      this.#again = true;
      return this.#catching;
    }
    this.#catching = this.#catchUp().finally(() => (this.#catching = undefined));
    return this.#catching;
  }

  async #catchUp(): Promise<void> {
    if (!this.log.read) return;
    do {
      this.#again = false;
      this.#events = 0;
      const pages: Message[] = [];
      let cursor: string | undefined;
      for (;;) {
        const { page, next } = await this.#api.messages(this.id, NEWEST, cursor);
        pages.push(...page);
        if (next === undefined || reachesBack(page, this.log.top)) break;
        cursor = next;
      }
      const before = new Set(this.log.messages.map((m) => m.id));
      this.log.addNewest(pages);
      this.#show();
      for (const m of this.log.messages) if (!before.has(m.id)) this.#arrived(m);
    } while (this.#again);
  }

  // receive adds a message of a live event, or of an own send.
  receive(m: Message): void {
    const before = this.log.get(m.id);
    const isNew = before === undefined;
    // A deletion's event has no text, and the event of an edit keeps the place in the list.
    if (!this.log.add(before ? { ...m, sequence: before.sequence } : m)) return;
    this.#show();
    if (isNew) this.#arrived(m);
    if (++this.#events >= CHECK_AFTER) void this.catchUp().catch(() => undefined);
  }

  // amend shows a change of an own message that the server has confirmed.
  amend(id: string, change: Partial<Message>): void {
    this.log.amend(id, change);
    this.#show();
  }

  // #arrived moves the divider before the first message that the person has not seen.
  #arrived(m: Message): void {
    this.#stopTyping(m.sender);
    if (m.sender === this.#me) {
      this.newFrom.value = null;
      return;
    }
    if (!isFromPerson(m) || this.seen.value) return;
    const divider = this.newFrom.value;
    if (divider !== null && Number(this.#read) < Number(divider)) return;
    this.newFrom.value = m.id;
    this.#since = null;
  }

  receipt(r: Receipt): void {
    const old = this.receipts.value.get(r.user);
    if (old && Number(old.message) > Number(r.message)) return;
    this.receipts.value = new Map(this.receipts.value).set(r.user, r);
    if (r.user === this.#me && Number(r.message) > Number(this.#read)) this.#read = r.message;
  }

  #setReceipts(receipts: readonly Receipt[]): void {
    for (const r of receipts) this.receipt(r);
  }

  // markRead sends a receipt for the newest message of others, once. Call it only while the person sees that message.
  async markRead(): Promise<void> {
    const newest = newestOfOthers(this.messages.value, this.#me);
    if (!newest || this.status.value !== "open" || Number(newest.id) <= Number(this.#read)) return;
    const before = this.#read;
    this.#read = newest.id;
    try {
      await this.#api.read(this.id, newest.id);
    } catch {
      if (this.#read === newest.id) this.#read = before; // the next look tries again
    }
  }

  // types notes that somebody writes.
  types(user: string, name: string): void {
    if (user === this.#me) return;
    learn([{ id: user, name }]);
    this.typing.value = new Map(this.typing.value).set(user, { name, until: Date.now() + TYPING });
    setTimeout(() => {
      const entry = this.typing.value.get(user);
      if (entry && entry.until <= Date.now()) this.#stopTyping(user);
    }, TYPING + 50);
  }

  #stopTyping(user: string): void {
    if (!this.typing.value.has(user)) return;
    const typing = new Map(this.typing.value);
    typing.delete(user);
    this.typing.value = typing;
  }

  #show(): void {
    this.messages.value = this.log.messages;
  }

  // #fail turns a refusal into a state. A lost answer changes nothing: the page tries again when the server answers.
  #fail(e: unknown): void {
    if (!(e instanceof Failed) || e.problem.kind !== "refused") return;
    const { status, reason } = e.problem;
    if (status === 404) this.status.value = "deleted";
    else if (status === 403) this.status.value = "removed";
    else {
      this.status.value = "failed";
      this.reason.value = reason;
    }
  }
}
