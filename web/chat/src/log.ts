import type { Message } from "./model.ts";

// ThreadLog merges what is known of one thread's messages: pages of history, which the server lists newest first by sequence,
// live events, which have no sequence, and the answers to own sends. It shows them in the order of their creation, which is
// the order of ids.
//
// An edit moves a message to the front of the server's list. So a page may hold an edited message that is older than
// messages of pages not read yet. Only messages from `floor` on are shown: behind it nothing is missing.
export class ThreadLog {
  #all = new Map<string, Message>();
  #sorted: Message[] = []; // by id; replaced, never changed, so that a view may keep it
  #floor = Infinity;
  #top = 0;
  complete = false; // the first message is known
  cursor: string | undefined; // where the next older page begins; undefined before the first and after the last

  // top is the highest sequence up to which nothing is missing.
  get top(): number {
    return this.#top;
  }

  // read tells whether a page of history was read.
  get read(): boolean {
    return this.#floor !== Infinity;
  }

  // messages returns all messages from the floor on, oldest first. The array is never changed afterwards.
  get messages(): readonly Message[] {
    return this.#sorted;
  }

  get(id: string): Message | undefined {
    return this.#all.get(id);
  }

  // addHistory adds the next older page. next is the cursor of the page after it.
  addHistory(page: readonly Message[], next: string | undefined): void {
    for (const m of page) this.#keep(m);
    // Messages that were never edited are listed in the order of their ids, so the oldest of them is a floor.
    for (const m of page) if (m.version === m.id) this.#floor = Math.min(this.#floor, Number(m.id));
    if (this.#top === 0) this.#top = highest(page);
    this.cursor = next;
    if (next === undefined) {
      this.complete = true;
      this.#floor = 0;
    }
    this.#sort();
  }

  // addNewest adds pages that were listed from the newest message down to a known one. They close every gap up to now.
  addNewest(pages: readonly Message[]): void {
    for (const m of pages) this.#keep(m);
    this.#top = Math.max(this.#top, highest(pages));
    this.#sort();
  }

  // add adds one message of a live event or of an own send. It returns whether anything changed.
  add(m: Message): boolean {
    if (!this.#keep(m)) return false;
    this.#sort();
    return true;
  }

  // amend shows a change of an own message that the server has confirmed, until the change itself comes with its version.
  amend(id: string, change: Partial<Message>): void {
    const m = this.#all.get(id);
    if (!m) return;
    this.#all.set(id, { ...m, ...change });
    this.#sort();
  }

  #keep(m: Message): boolean {
    const old = this.#all.get(m.id);
    if (old && Number(old.version) > Number(m.version)) return false;
    if (old && old.version === m.version && (old.sequence >= m.sequence || m.sequence === 0)) return false;
    this.#all.set(m.id, m);
    return true;
  }

  #sort(): void {
    const shown: Message[] = [];
    for (const m of this.#all.values()) if (Number(m.id) >= this.#floor) shown.push(m);
    this.#sorted = shown.sort((a, b) => Number(a.id) - Number(b.id));
  }
}

const highest = (page: readonly Message[]): number => page.reduce((n, m) => Math.max(n, m.sequence), 0);

// reachesBack tells whether a page, listed newest first, goes back to a sequence that was known.
export const reachesBack = (page: readonly Message[], top: number): boolean => page.some((m) => m.sequence > 0 && m.sequence <= top);
