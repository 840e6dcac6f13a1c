import { signal } from "@preact/signals";
import { en } from "./words/en.ts";
import { ko } from "./words/ko.ts";

export type Language = "en" | "ko";

const TABLES = { en, ko };
const KEY = "confab.language";

const chosen = (): Language => {
  const stored = readLocal(KEY);
  if (stored === "en" || stored === "ko") return stored;
  const first = navigator.languages.find((l) => /^(en|ko)\b/i.test(l));
  return first && /^ko/i.test(first) ? "ko" : "en";
};

// language is that of the page: the person's choice, otherwise the browser's first language that there is a table for.
export const language = signal<Language>(chosen());

export function choose(l: Language): void {
  language.value = l;
  try {
    localStorage.setItem(KEY, l);
  } catch {
    // A browser that keeps nothing asks again next time.
  }
}

// words returns the table of the page's language.
export const words = (): typeof en => TABLES[language.value];

function readLocal(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

const formats = new Map<string, Intl.DateTimeFormat>();

function format(style: string, options: Intl.DateTimeFormatOptions, time: number): string {
  const key = language.value + style;
  let f = formats.get(key);
  if (!f) formats.set(key, (f = new Intl.DateTimeFormat(language.value, options)));
  return f.format(time);
}

export const clock = (time: number): string => format("clock", { hour: "numeric", minute: "2-digit" }, time);

export const fullTime = (time: number): string => format("full", { dateStyle: "full", timeStyle: "short" }, time);

export const isSameDay = (a: number, b: number): boolean => new Date(a).toDateString() === new Date(b).toDateString();

// day names the day of a time: today and yesterday in words, others with their date.
export function day(time: number, now: number): string {
  if (isSameDay(time, now)) return words().today;
  if (isSameDay(time, now - 86_400_000)) return words().yesterday;
  const sameYear = new Date(time).getFullYear() === new Date(now).getFullYear();
  return sameYear
    ? format("day", { weekday: "long", month: "long", day: "numeric" }, time)
    : format("date", { year: "numeric", month: "long", day: "numeric" }, time);
}

// moment is the short time for the list of threads: the hour today, otherwise the date.
export const moment = (time: number, now: number): string =>
  isSameDay(time, now) ? clock(time) : format("short", { month: "short", day: "numeric" }, time);

export const number = (n: number): string => new Intl.NumberFormat(language.value).format(n);

// list joins names as the language does: "Ann, Bob and Carl".
export const list = (names: readonly string[]): string => new Intl.ListFormat(language.value, { type: "conjunction" }).format(names);
