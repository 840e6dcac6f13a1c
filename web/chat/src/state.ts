import { computed, signal } from "@preact/signals";
import type { Conversation } from "./conversation.ts";
import type { Config, Person, Thread } from "./model.ts";
import type { Row } from "./queue.ts";

// The state of the page. The controller (chat.ts, app.ts) writes it, the components read it.

export const config = signal<Config | null>(null);
export const person = signal<Person | null>(null);
export const ended = signal(false); // the token is over and only the person can give a new one

export const threads = signal<readonly Thread[]>([]);
export const threadsLoaded = signal(false);
export const gone = signal<ReadonlySet<string>>(new Set()); // threads that the person was found to have left
export const moreThreads = signal(false);

export const conversation = signal<Conversation | null>(null); // the open thread
export const showsList = signal(false); // on a narrow screen: the list instead of the open thread

export const rows = signal<readonly Row[]>([]); // the outbox, of all threads
export const inFlight = signal<ReadonlySet<string>>(new Set()); // ids of rows that are being tried

export const online = signal(navigator.onLine);
export const reachable = signal(true); // the server answers
export const live = signal(false); // live events arrive
export const behind = signal(false); // what was missed is being listed

export const visible = signal(document.visibilityState === "visible"); // the page is on the screen

export const overlong = signal(0); // bytes by which the text in the field is too long
export const now = signal(Date.now()); // ticks every second while something counts down

export const drafts = signal<ReadonlyMap<string, string>>(new Map()); // unsent texts by thread
export const editing = signal<{ thread: string; message: string; text: string } | null>(null);
export const dialog = signal<"people" | "keys" | "goto" | "new" | null>(null);
export const notice = signal(""); // a short answer to an action, such as "Copied"

export type PageState =
  | "first" | "empty-list" | "empty-thread" | "ready" | "connecting" | "behind" | "offline"
  | "refused" | "throttled" | "too-long" | "ended" | "removed" | "deleted";

// threadRows are the outbox rows of the open thread.
export const threadRows = computed(() => rows.value.filter((r) => r.thread === conversation.value?.id));

// waiting is the number of messages that have not been sent, in all threads.
export const waiting = computed(() => rows.value.filter((r) => r.kind === "send" && r.state === "waiting").length);

// pause is the number of seconds until the next message of the open thread may be sent, 0 if the server asked for no pause.
export const pause = computed(() => {
  const due = threadRows.value.filter((r) => r.throttled && r.state === "waiting").map((r) => r.due);
  return due.length === 0 ? 0 : Math.max(1, Math.ceil((Math.min(...due) - now.value) / 1000));
});

// pageState names the one state that matters most now.
export const pageState = computed<PageState>(() => {
  if (!person.value) return "first";
  if (ended.value) return "ended";
  const open = conversation.value;
  const status = open?.status.value;
  if (status === "deleted" || status === "removed") return status;
  if (!online.value || !reachable.value) return "offline";
  if (overlong.value > 0) return "too-long";
  if (pause.value > 0) return "throttled";
  if (threadRows.value.some((r) => r.state === "refused")) return "refused";
  if (!live.value) return "connecting";
  if (behind.value) return "behind";
  if (threadsLoaded.value && !open && threads.value.every((t) => gone.value.has(t.id))) return "empty-list";
  if (open && status === "open" && threadRows.value.length === 0 && open.isEmpty()) return "empty-thread";
  return "ready";
});

// unreadTotal is the number of unread messages in all threads, for the title of the window.
export const unreadTotal = computed(() => threads.value.reduce((n, t) => n + t.unread, 0));
