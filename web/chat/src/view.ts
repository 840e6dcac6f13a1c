import { isFromPerson, type Message, type Receipt } from "./model.ts";
import type { Row } from "./queue.ts";

// Item is one message as the person shall see it: with the changes of its own that are still on their way.
export interface Item {
  message: Message;
  change: Row | undefined; // an edit or a deletion that waits or was refused
}

// present lays the outbox over the messages of a thread. A send may have arrived while its answer is still out: such a
// message is left out, since its row stands for it, so that nothing is seen twice. messages are in the order of ids.
export function present(messages: readonly Message[], rows: readonly Row[], me: string, tried: (row: Row) => boolean): Item[] {
  const changes = new Map<string, Row>();
  const arrived = new Set<string>();
  for (const row of rows) {
    if (row.kind !== "send") changes.set(row.message, row);
    else if (tried(row)) {
      const twin = lastMatch(messages, (m) => m.sender === me && m.text === row.text && Number(m.id) > Number(row.after) && !arrived.has(m.id), row.after);
      if (twin) arrived.add(twin.id);
    }
  }
  const items: Item[] = [];
  for (const message of messages) {
    if (arrived.has(message.id)) continue;
    const change = changes.get(message.id);
    items.push({ message: change?.kind === "edit" && change.state === "waiting" ? { ...message, text: change.text, kind: "text" } : message, change });
  }
  return items;
}

// lastMatch looks from the end back to the message with the id `until`, and returns the earliest match in between.
function lastMatch(messages: readonly Message[], match: (m: Message) => boolean, until: string): Message | undefined {
  let found: Message | undefined;
  for (let i = messages.length - 1; i >= 0; i--) {
    const m = messages[i]!;
    if (Number(m.id) <= Number(until)) break;
    if (match(m)) found = m;
  }
  return found;
}

// indexFrom returns the index of the first item whose id is id or later. Items are in the order of ids.
export function indexFrom(items: readonly Item[], id: string): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (Number(items[middle]!.message.id) < Number(id)) low = middle + 1;
    else high = middle;
  }
  return low;
}

// readers tells under which message each person's reading ends: a map from the message's id to user ids. A receipt for a
// message that is not shown counts for the one before it.
export function readers(items: readonly Item[], receipts: Iterable<Receipt>, me: string): Map<string, string[]> {
  const result = new Map<string, string[]>();
  for (const { user, message } of receipts) {
    if (user === me) continue;
    let i = indexFrom(items, message);
    if (items[i]?.message.id !== message) i--;
    const item = items[i];
    if (!item || item.message.sender === user) continue; // people have read what they wrote themselves
    result.set(item.message.id, [...(result.get(item.message.id) ?? []), user]);
  }
  return result;
}

// GROUP is how long after a message the next one of the same person stands below it without a head.
const GROUP = 5 * 60_000;

// follows tells whether an item stands below the one before it without a head of its own.
export const follows = (before: Item | undefined, item: Item): boolean =>
  before !== undefined &&
  isFromPerson(before.message) &&
  isFromPerson(item.message) &&
  before.message.sender === item.message.sender &&
  item.message.createdOn - before.message.createdOn < GROUP &&
  new Date(before.message.createdOn).getDate() === new Date(item.message.createdOn).getDate();

// firstNew returns the id of the first message by others after the one that was read, or null if all was read.
export function firstNew(messages: readonly Message[], read: string, me: string): string | null {
  for (let i = messages.length - 1, found: string | null = null; ; i--) {
    const m = messages[i];
    if (!m || Number(m.id) <= Number(read)) return found;
    if (isFromPerson(m) && m.sender !== me && m.deletedOn === undefined) found = m.id;
  }
}

// newestOfOthers returns the newest message that somebody else wrote; its receipt says that all before was read too.
export function newestOfOthers(messages: readonly Message[], me: string): Message | undefined {
  for (let i = messages.length - 1; i >= 0; i--) {
    const m = messages[i]!;
    if (isFromPerson(m) && m.sender !== me) return m;
  }
  return undefined;
}

// Span is the part of the items that is in the document: [from, to).
export interface Span {
  from: number;
  to: number;
}

// ROWS is how many items are in the document at most, and STEP by how many the part moves.
export const ROWS = 150;
export const STEP = 40;

// span returns the part that begins with the item `top`, or the last part if top is null.
export function span(items: readonly Item[], top: string | null): Span {
  const from = top === null ? Math.max(0, items.length - ROWS) : indexFrom(items, top);
  return { from, to: Math.min(items.length, from + ROWS) };
}
