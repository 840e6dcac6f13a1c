// A list that grows at its head and keeps still while somebody looks at it.

/** A live list, newest item first. Values are never changed: each function returns a new one. */
export type LiveList<T> = {
  shown: readonly T[];
  /** Items that arrived while the list was held, newest first. */
  waiting: readonly T[];
  /** Number of items that arrived and are in neither list, because too many arrived or the server dropped them. */
  missed: number;
  /** Whether older items were dropped, so that the page behind the first one does not follow on the last item any more. */
  cut: boolean;
};

/** The most items that a list shows, and the most that wait. The server keeps as many requests. */
export const mostShown = 2000;

/** Returns a list of the given items, newest first. */
export function liveList<T>(items: readonly T[] = []): LiveList<T> {
  return { shown: items, waiting: [], missed: 0, cut: false };
}

/**
 * Adds new items, newest first. A held list lets them wait. key tells items apart, so that an item that a page and the stream
 * both bring is there once.
 */
export function arrive<T>(list: LiveList<T>, items: readonly T[], held: boolean, key: (item: T) => string | number): LiveList<T> {
  const known = new Set([...list.shown, ...list.waiting].map(key));
  const fresh = items.filter((item) => !known.has(key(item)));
  if (fresh.length === 0) return list;
  if (held) return capWaiting({ ...list, waiting: [...fresh, ...list.waiting] });
  return show(list, [...fresh, ...list.waiting]);
}

/** Shows the items that wait. */
export function release<T>(list: LiveList<T>): LiveList<T> {
  if (list.waiting.length === 0) return list;
  return show(list, list.waiting);
}

/** Adds older items, of the next page, at the end. */
export function append<T>(list: LiveList<T>, items: readonly T[], key: (item: T) => string | number): LiveList<T> {
  const known = new Set([...list.shown, ...list.waiting].map(key));
  return { ...list, shown: [...list.shown, ...items.filter((item) => !known.has(key(item)))] };
}

/** Counts items that the server has dropped from the stream. */
export function lose<T>(list: LiveList<T>, count: number): LiveList<T> {
  return { ...list, missed: list.missed + count };
}

function show<T>(list: LiveList<T>, items: readonly T[]): LiveList<T> {
  const shown = [...items, ...list.shown];
  return { ...list, shown: shown.slice(0, mostShown), waiting: [], cut: list.cut || shown.length > mostShown };
}

function capWaiting<T>(list: LiveList<T>): LiveList<T> {
  const over = list.waiting.length - mostShown;
  if (over <= 0) return list;
  return { ...list, waiting: list.waiting.slice(0, mostShown), missed: list.missed + over };
}

/** Returns the index that is step away from the item with the key, kept inside the list; 0 if no item has it, -1 if the list is empty. */
export function move<T>(items: readonly T[], current: string, step: number, key: (item: T) => string | number): number {
  if (items.length === 0) return -1;
  const at = items.findIndex((item) => String(key(item)) === current);
  if (at < 0) return 0;
  return Math.min(Math.max(at + step, 0), items.length - 1);
}
