import { drafts } from "./state.ts";
import type { Storage, Write } from "./storage.ts";

// KEPT is how long an unsent text is kept.
const KEPT = 30 * 86_400_000;

interface Draft {
  key: string;
  user: string;
  thread: string;
  text: string;
  at: number;
}

const keyOf = (user: string, thread: string): string => `${user} ${thread}`;

// Drafts keeps what the person has typed and not sent, for each thread, over reloads and crashes.
export class Drafts {
  #storage: Storage;
  #user: string;
  #sending: string | null = null; // the thread whose draft is becoming a message
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(storage: Storage, user: string) {
    this.#storage = storage;
    this.#user = user;
  }

  // load reads the person's drafts, and forgets old ones of everybody.
  async load(): Promise<void> {
    const all = await this.#storage.all<Draft>("drafts");
    const old = all.filter((d) => Date.now() - d.at > KEPT);
    if (old.length > 0) await this.#storage.write(old.map((d) => ({ store: "drafts", remove: d.key })));
    drafts.value = new Map([...drafts.value, ...all.filter((d) => d.user === this.#user).map((d) => [d.thread, d.text] as const)]);
  }

  // set keeps a text; it is on disk a moment later, and at once when the page is hidden.
  set(thread: string, text: string): void {
    if ((drafts.value.get(thread) ?? "") === text) return;
    const all = new Map(drafts.value);
    if (text === "") all.delete(thread);
    else all.set(thread, text);
    drafts.value = all;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.save(thread), 300);
  }

  // save writes a thread's draft now.
  save(thread: string): void {
    clearTimeout(this.#timer);
    if (this.#sending === thread) return;
    const key = keyOf(this.#user, thread);
    const text = drafts.value.get(thread) ?? "";
    const write: Write = text ? { store: "drafts", put: { key, user: this.#user, thread, text, at: Date.now() } satisfies Draft } : { store: "drafts", remove: key };
    void this.#storage.write([write]).catch(() => undefined);
  }

  // send turns a draft into a message: store gets the change that forgets the draft, to be written together with the message.
  // What the person has typed behind the text meanwhile stays.
  async send(thread: string, text: string, store: (forget: Write) => Promise<void>): Promise<void> {
    clearTimeout(this.#timer);
    this.#sending = thread;
    try {
      await store({ store: "drafts", remove: keyOf(this.#user, thread) });
    } finally {
      this.#sending = null;
    }
    const now = drafts.value.get(thread) ?? "";
    this.set(thread, now.startsWith(text) ? now.slice(text.length) : now);
  }
}
