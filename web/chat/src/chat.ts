import { addressOf, threadOfAddress } from "./address.ts";
import { Conversation } from "./conversation.ts";
import { Drafts } from "./drafts.ts";
import { newId } from "./ids.ts";
import { Live, type Listener } from "./live.ts";
import type { Message, Participant, Person } from "./model.ts";
import { Outbox } from "./outbox.ts";
import { known } from "./people.ts";
import type { Outcome, Row } from "./queue.ts";
import { Session, storePerson } from "./session.ts";
import * as state from "./state.ts";
import type { Storage } from "./storage.ts";
import { ThreadList } from "./threads.ts";
import { Api, Failed, type Problem } from "./transport.ts";

const UNDO = 5_000; // ms to undo a deletion
const WATCH = 2_000; // ms between looks at a connection that is not there
const STALLED = 4_000; // ms after which a connection that does not come is begun anew
const MOST_LEFT = 10; // threads at the head of the list that the person may have left
const KEPT = 12; // conversations in memory

// Chat is all that belongs to one person. Data goes one way: requests and live events change the state, the components show
// it, and what the person does calls a method here.
export class Chat {
  readonly me: string;
  readonly list: ThreadList;
  readonly api: Api;
  #session: Session;
  #outbox: Outbox;
  #drafts: Drafts;
  #live: Live;
  #conversations = new Map<string, Conversation>();
  #restartedAt = 0;
  #wasLive = false;
  #watching = false;
  #silent: ReturnType<typeof setTimeout> | undefined;
  #closed = new AbortController();

  constructor(person: Person, storage: Storage) {
    const config = state.config.value!;
    this.me = person.user;
    this.#session = new Session(person, config, (renewed) => this.#renewed(renewed));
    this.api = new Api(this.#session, (problem) => this.#watchRequest(problem));
    this.list = new ThreadList(this.api, this.me);
    this.#drafts = new Drafts(storage, this.me);
    this.#outbox = new Outbox(storage, this.me, {
      attempt: (row) => this.#attempt(row),
      changed: (rows) => (state.rows.value = rows),
      done: (row, id) => this.#done(row, id),
    });
    this.#live = new Live(this.api, this.#listener());
  }

  // start shows a thread, or the most recent one, and connects.
  async start(thread: string | null): Promise<void> {
    await this.#drafts.load();
    await this.#outbox.start();
    this.#listen();
    const listed = this.list.refresh().catch(() => undefined);
    const wanted = thread ?? threadOfAddress();
    if (wanted) this.open(wanted, "replace");
    void this.#restartLive();
    await listed;
    if (!wanted) await this.#openFirst();
  }

  // #openFirst opens the most recent thread that the person is still in. Those that the person has left are in the list too,
  // without a mark.
  async #openFirst(): Promise<void> {
    for (const { id } of state.threads.value.slice(0, MOST_LEFT)) {
      const c = this.#conversationOf(id);
      await c.open();
      if (state.conversation.value || this.#closed.signal.aborted) return; // the person was faster
      if (c.status.value !== "removed" && c.status.value !== "deleted") return this.open(id, "replace", state.showsList.value);
      state.gone.value = new Set(state.gone.value).add(id);
    }
  }

  // close ends everything of this person in this tab.
  close(): void {
    this.#closed.abort();
    this.#outbox.close();
    this.#live.stop();
    state.conversation.value = null;
    state.threads.value = [];
    state.threadsLoaded.value = false;
    state.gone.value = new Set();
    state.rows.value = [];
    state.ended.value = false;
    state.live.value = false;
    state.dialog.value = null;
    state.editing.value = null;
  }

  // open shows a thread. history says what becomes of the page's address.
  open(thread: string, history: "push" | "replace" | "none", keepList = false): void {
    const c = this.#conversationOf(thread);
    if (state.conversation.value !== c) {
      state.conversation.value = c;
      state.editing.value = null;
    }
    state.showsList.value = keepList;
    if (history !== "none" && threadOfAddress() !== thread) window.history[`${history}State`](null, "", addressOf(thread));
    void c.open();
  }

  // draft keeps what is in the field of the open thread.
  draft(text: string): void {
    const c = state.conversation.value;
    if (c) this.#drafts.set(c.id, text);
  }

  // saveDraft brings the draft of the open thread to the disk now.
  saveDraft(): void {
    const c = state.conversation.value;
    if (c) this.#drafts.save(c.id);
  }

  // send stores a message for the open thread, or the change of one, and returns when it is safe. The outbox sends it.
  async send(text: string): Promise<void> {
    const c = state.conversation.value;
    if (!c) return;
    const edited = state.editing.value;
    if (edited) {
      if (edited.text !== text) await this.#change("edit", c.id, edited.message, text, 0);
      state.editing.value = null;
      return;
    }
    const after = c.log.messages.at(-1)?.id ?? "0";
    const row = { id: newId(), thread: c.id, kind: "send" as const, text, name: this.#session.person.name, message: "", after, due: 0 };
    await this.#drafts.send(c.id, text, (forget) => this.#outbox.add(row, [forget]));
    c.newFrom.value = null;
  }

  // delete deletes a message in five seconds, unless undo is called.
  delete(message: string): Promise<void> {
    const c = state.conversation.value;
    return c ? this.#change("delete", c.id, message, "", Date.now() + UNDO) : Promise.resolve();
  }

  // undo takes back a row of the outbox.
  undo(row: Row): Promise<void> {
    return this.#outbox.remove(row.id);
  }

  retry(row: Row): Promise<void> {
    return this.#outbox.retry(row.id);
  }

  // takeBack removes a refused message from the outbox and puts its text into the field, to be sent as a new one.
  async takeBack(row: Row): Promise<void> {
    const before = state.drafts.value.get(row.thread) ?? "";
    this.#drafts.set(row.thread, before ? `${before}\n${row.text}` : row.text);
    await this.#outbox.remove(row.id);
  }

  async #change(kind: "edit" | "delete", thread: string, message: string, text: string, due: number): Promise<void> {
    for (const r of state.rows.value) if (r.thread === thread && r.message === message) await this.#outbox.remove(r.id);
    await this.#outbox.add({ id: newId(), thread, kind, text, name: this.#session.person.name, message, after: "", due });
  }

  // typing tells the others that this person writes. The official client sends it once in 8 s at most.
  typing(): void {
    const c = state.conversation.value;
    if (c && c.status.value === "open" && state.live.value) void this.api.typing(c.id, this.#session.person.name).catch(() => undefined);
  }

  // look is called when the person sees the newest message of the open thread.
  look(): void {
    const c = state.conversation.value;
    if (!c?.seen.value) return;
    this.list.read(c.id);
    void c.markRead();
  }

  // add, remove and leave change who is in a thread. They throw Failed.
  async add(thread: string, person: Participant): Promise<void> {
    await this.api.add(thread, { ...person, name: person.name || known.value.get(person.id) || "" });
    await this.#refresh(thread);
  }

  async remove(thread: string, user: string): Promise<void> {
    await this.api.remove(thread, user);
    if (user !== this.me) return this.#refresh(thread);
    this.#conversationOf(thread).out("removed");
    await this.list.refresh();
  }

  async rename(thread: string, topic: string): Promise<void> {
    await this.api.rename(thread, topic);
    this.#setTopic(thread, topic);
  }

  // create makes a thread with these users and opens it.
  async create(topic: string, users: readonly string[], token: string): Promise<void> {
    const own = { id: this.me, name: this.#session.person.name };
    const id = await this.api.create(topic, [own, ...users.filter((u) => u !== this.me).map((u) => ({ id: u, name: known.value.get(u) ?? "" }))], token);
    await this.list.refresh().catch(() => undefined);
    this.open(id, "push");
  }

  // renew goes on with a token that the person has pasted, or tries the application again.
  async renew(token?: string): Promise<void> {
    if (token !== undefined) this.#session.replace(token);
    else await this.#session.renew(this.#session.person.token);
  }

  #renewed(person: Person): void {
    storePerson(person);
    state.person.value = person;
    if (!state.ended.value) return;
    state.ended.value = false;
    this.#outbox.hurry();
    void this.#restartLive();
    void this.#refreshAll().catch(() => undefined); // #watch tries again
  }

  async #refresh(thread: string): Promise<void> {
    const c = this.#conversationOf(thread);
    await Promise.all([c.refreshPeople(), c.catchUp()]).catch(() => undefined);
  }

  #conversationOf(thread: string): Conversation {
    let c = this.#conversations.get(thread);
    if (!c) {
      c = new Conversation(thread, this.api, this.me);
      this.#conversations.set(thread, c);
      for (const [id, old] of this.#conversations) {
        if (this.#conversations.size <= KEPT) break;
        if (old !== state.conversation.value && old !== c) this.#conversations.delete(id);
      }
    }
    return c;
  }

  // #attempt makes one try of an outbox row.
  async #attempt(row: Row): Promise<Outcome> {
    state.inFlight.value = new Set(state.inFlight.value).add(row.id);
    try {
      if (row.kind === "send") return { kind: "done", id: await this.api.send(row.thread, row.id, row.text, row.html ?? false, row.name) };
      if (row.kind === "edit") await this.api.edit(row.thread, row.message, row.text);
      else await this.api.delete(row.thread, row.message);
      return { kind: "done", id: row.message };
    } catch (e) {
      return e instanceof Failed ? e.problem : { kind: "unknown", status: 0 };
    } finally {
      const rest = new Set(state.inFlight.value);
      rest.delete(row.id);
      state.inFlight.value = rest;
    }
  }

  // #done shows what the server has confirmed, before the live event tells it.
  #done(row: Row, id: string): void {
    const c = this.#conversations.get(row.thread);
    if (row.kind === "edit") c?.amend(id, { text: row.text, kind: "text", editedOn: Date.now() });
    if (row.kind === "delete") c?.amend(id, { text: "", deletedOn: Date.now() });
    if (row.kind !== "send") return;
    const m: Message = {
      id, version: id, sequence: 0, kind: row.html ? "html" : "text", sender: this.me, senderName: row.name, text: row.text, createdOn: Number(id),
    };
    c?.receive(m);
    this.list.message(row.thread, m, true);
  }

  // #watchRequest keeps `reachable` and `ended`. One lost answer is no news; a second of silence is.
  #watchRequest(problem: Problem | undefined): void {
    if (this.#closed.signal.aborted) return;
    if (problem?.kind === "ended") state.ended.value = true;
    if (problem?.kind === "unknown" && problem.status === 0) {
      this.#silent ??= setTimeout(() => (state.reachable.value = false), 1_000);
      return;
    }
    clearTimeout(this.#silent);
    this.#silent = undefined;
    if (!state.reachable.value) {
      state.reachable.value = true;
      this.#outbox.hurry();
    }
  }

  // #listen follows the browser: the network, the address, visibility; and looks after the connection.
  #listen(): void {
    const { signal } = this.#closed;
    window.addEventListener("online", () => void this.#cameOnline(), { signal });
    window.addEventListener("offline", () => this.#wentOffline(), { signal });
    window.addEventListener("popstate", () => this.#goToAddress(), { signal });
    document.addEventListener("visibilitychange", () => (state.visible.value = document.visibilityState === "visible"), { signal });
    window.addEventListener("pagehide", () => state.conversation.value && this.#drafts.save(state.conversation.value.id), { signal });
    const timer = setInterval(() => void this.#watch(), WATCH);
    signal.addEventListener("abort", () => clearInterval(timer));
  }

  #goToAddress(): void {
    const thread = threadOfAddress();
    if (thread) this.open(thread, "none");
    else state.showsList.value = true;
  }

  #wentOffline(): void {
    state.online.value = false;
    state.live.value = false;
    this.#live.stop();
  }

  async #cameOnline(): Promise<void> {
    state.online.value = true;
    this.#outbox.hurry();
    await this.#restartLive();
  }

  async #restartLive(): Promise<void> {
    this.#restartedAt = Date.now();
    await this.#live.restart().catch(() => undefined); // #watch tries again
  }

  // #watch tries to get back what is missing: live events, the server, the open thread.
  async #watch(): Promise<void> {
    const open = state.conversation.value;
    const isWhole = state.live.value && state.reachable.value && state.threadsLoaded.value && open?.status.value !== "loading";
    if (isWhole || this.#watching || !state.online.value || state.ended.value) return;
    this.#watching = true;
    try {
      await this.#refreshAll();
      if (!state.live.value && Date.now() - this.#restartedAt > STALLED) await this.#restartLive();
    } catch {
      // The server does not answer; the next look tries again.
    } finally {
      this.#watching = false;
    }
  }

  // #refreshAll lists what was missed in the list of threads and in the open thread.
  async #refreshAll(): Promise<void> {
    const open = state.conversation.value;
    await Promise.all([this.list.refresh(), open?.open()]);
  }

  async #connected(isConnected: boolean): Promise<void> {
    state.live.value = isConnected;
    if (!isConnected) {
      this.#restartedAt = Date.now(); // the client tries by itself first
      return;
    }
    if (this.#wasLive) state.behind.value = true;
    this.#wasLive = true;
    this.#outbox.hurry();
    try {
      await this.#refreshAll();
    } catch {
      // #watch tries again: the server does not answer.
    } finally {
      state.behind.value = false;
    }
  }

  #setTopic(thread: string, topic: string): void {
    this.list.rename(thread, topic);
    const c = this.#conversations.get(thread);
    if (c) c.topic.value = topic;
  }

  #listener(): Listener {
    const catchUp = (thread: string): void => void this.#conversations.get(thread)?.catchUp().catch(() => undefined);
    const relist = (): void => void this.list.refresh().catch(() => undefined);
    const people = (thread: string): void => void this.#conversations.get(thread)?.refreshPeople().catch(() => undefined);
    const isMe = (p: Participant): boolean => p.id === this.me;
    return {
      connected: (isConnected) => void this.#connected(isConnected),
      message: (thread, m) => {
        const c = this.#conversations.get(thread);
        c?.receive(m);
        const isSeen = c !== undefined && c === state.conversation.value && c.seen.value;
        if (!this.list.message(thread, m, isSeen)) relist();
      },
      typing: (thread, user, name) => this.#conversations.get(thread)?.types(user, name),
      receipt: (thread, r) => {
        this.#conversations.get(thread)?.receipt(r);
        if (r.user === this.me && !this.#conversations.has(thread)) this.list.read(thread);
      },
      threadCreated: relist,
      threadDeleted: (thread) => {
        this.#conversations.get(thread)?.out("deleted");
        this.list.drop(thread);
      },
      topic: (thread, topic) => {
        this.#setTopic(thread, topic);
        catchUp(thread);
      },
      added: (thread, added) => {
        if (added.some(isMe)) {
          relist();
          void this.#conversations.get(thread)?.open();
          return;
        }
        people(thread);
        catchUp(thread);
      },
      removed: (thread, removed) => {
        catchUp(thread);
        if (removed.some(isMe)) this.#conversations.get(thread)?.out("removed");
        else people(thread);
      },
    };
  }
}
