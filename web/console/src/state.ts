// The state that all pages share, as signals.

import { computed, signal } from "@preact/signals";
import { parseRoute, formatRoute, type Route } from "./route.ts";
import type { Session } from "./types.ts";

/**
 * Whether somebody is signed in. "bad-code": the link was used or is too old. "ended": the server does not know the session
 * any more. "expired": its time was over. "left": the person has signed out. "none": nobody has signed in here.
 */
export type SignIn = "starting" | "in" | "none" | "bad-code" | "ended" | "expired" | "left";

export const signIn = signal<SignIn>("starting");
export const session = signal<Session | undefined>(undefined);

/** False while the server does not answer. */
export const reachable = signal(true);

/** What a screen reader is told, and what a sighted person reads in the status line for a few seconds. */
export const notice = signal("");

/** Whether somebody may be looking: false once the tab has been hidden for a minute, so that it holds no connection. */
export const visible = signal(true);

/** Whether pages load and follow: the server answers, and somebody may be looking. */
export const awake = computed(() => reachable.value && visible.value);

export const route = signal<Route>(parseRoute(location.hash));

/** Whether single-character keys work. */
export const keysOn = signal(stored("confab.console.keys") !== "off");

/** Whether the list of keys is open. */
export const helpOpen = signal(false);

/** Whether live lists are paused. */
export const paused = signal(false);

/** What the page in view does for keys; a page sets it while it is shown. */
export type PageCommands = { move?: (step: number) => void; open?: () => void; close?: () => void; copy?: () => void; pause?: () => void };
export const pageCommands = signal<PageCommands>({});

export function mayChange(): boolean {
  return session.value?.role === "operator";
}

/** Goes to a place and leaves the present one in the browser's history. */
export function go(page: string, id = "", filters: Record<string, string | undefined> = {}): void {
  location.hash = formatRoute(page, id, filters);
}

/** Changes filters of the present place. It leaves no entry in the history: there would be one for each key. */
export function setFilters(change: Record<string, string | undefined>): void {
  const now = route.value;
  const address = formatRoute(now.page, now.id, { ...now.filters, ...change });
  history.replaceState(null, "", address);
  route.value = parseRoute(address);
}

let clearing: ReturnType<typeof setTimeout> | undefined;

/** Says a sentence for some seconds. */
export function say(sentence: string): void {
  notice.value = sentence;
  clearTimeout(clearing);
  clearing = setTimeout(() => (notice.value = ""), 6000);
}

export function switchKeys(on: boolean): void {
  keysOn.value = on;
  store("confab.console.keys", on ? "" : "off");
}

/** Reads a choice of this person; "" if there is none, or if the browser keeps nothing. */
export function stored(name: string): string {
  try {
    return localStorage.getItem(name) ?? "";
  } catch {
    return "";
  }
}

export function store(name: string, value: string): void {
  try {
    if (value === "") localStorage.removeItem(name);
    else localStorage.setItem(name, value);
  } catch {
    // Without storage the choice lasts until the page is closed.
  }
}
