import { isFromPerson, type Message, type Thread } from "./model.ts";
import { learn } from "./people.ts";
import { moreThreads, threads, threadsLoaded } from "./state.ts";
import type { Api } from "./transport.ts";

// ThreadList keeps the list of the user's threads, the most recent first.
export class ThreadList {
  #api: Api;
  #me: string;
  #next: string | undefined;
  #refreshing: Promise<void> | undefined;
  #again = false;

  constructor(api: Api, me: string) {
    this.#api = api;
    this.#me = me;
  }

  // refresh reads the first page again. Threads of later pages stay. A call during a run makes one more run, since what the
  // run has read may be too old for the caller.
  refresh(): Promise<void> {
    if (this.#refreshing) {
      this.#again = true;
      return this.#refreshing;
    }
    this.#refreshing = this.#refresh().finally(() => (this.#refreshing = undefined));
    return this.#refreshing;
  }

  async #refresh(): Promise<void> {
    do {
      this.#again = false;
      const { page, next } = await this.#api.threads();
      if (!threadsLoaded.value) this.#setNext(next);
      this.#merge(page);
      threadsLoaded.value = true;
    } while (this.#again);
  }

  // more reads the next page.
  async more(): Promise<void> {
    if (!this.#next) return;
    const { page, next } = await this.#api.threads(this.#next);
    this.#setNext(next);
    this.#merge(page);
  }

  // message notes a message of a live event. It returns false if the thread is not in the list.
  message(thread: string, m: Message, isSeen: boolean): boolean {
    const old = threads.value.find((t) => t.id === thread);
    if (!old) return false;
    const isNew = m.version === m.id;
    const last = !old.last || Number(m.id) >= Number(old.last.id) ? m : old.last;
    const counts = isNew && isFromPerson(m) && m.sender !== this.#me && !isSeen && m.id !== old.last?.id;
    this.#put({ ...old, last, active: isNew ? Math.max(old.active, m.createdOn) : old.active, unread: old.unread + (counts ? 1 : 0) });
    return true;
  }

  // read notes that the person has read everything in a thread.
  read(thread: string): void {
    const old = threads.value.find((t) => t.id === thread);
    if (old && old.unread > 0) this.#put({ ...old, unread: 0 });
  }

  rename(thread: string, topic: string): void {
    const old = threads.value.find((t) => t.id === thread);
    if (old) this.#put({ ...old, topic });
  }

  drop(thread: string): void {
    threads.value = threads.value.filter((t) => t.id !== thread);
  }

  #setNext(next: string | undefined): void {
    this.#next = next;
    moreThreads.value = next !== undefined;
  }

  #merge(page: readonly Thread[]): void {
    const all = new Map(threads.value.map((t) => [t.id, t]));
    for (const t of page) {
      const old = all.get(t.id);
      if (t.deleted) all.delete(t.id);
      else all.set(t.id, { ...t, active: Math.max(t.active, old?.active ?? 0) });
    }
    threads.value = sorted([...all.values()]);
    learn(page.flatMap((t) => [...(t.last?.people ?? []), { id: t.last?.sender ?? "", name: t.last?.senderName ?? "" }]));
  }

  #put(thread: Thread): void {
    threads.value = sorted(threads.value.map((t) => (t.id === thread.id ? thread : t)));
  }
}

const sorted = (all: Thread[]): Thread[] => all.sort((a, b) => b.active - a.active || (a.id < b.id ? -1 : 1));
