// The language in use: the person's choice, else the browser's.

import { computed, signal } from "@preact/signals";
import { stored, store } from "../state.ts";
import { en, type Words } from "./en.ts";
import { ko } from "./ko.ts";

export const languages: readonly Words[] = [en, ko];

const chosen = signal(pick(stored("confab.console.language"), navigator.languages));

/** The words of the language in use. */
export const words = computed<Words>(() => languages.find((l) => l.code === chosen.value) ?? en);

export function chooseLanguage(code: string): void {
  chosen.value = code;
  store("confab.console.language", code);
}

/** Returns the first language that somebody has chosen, or else that the browser prefers, of those that there are. */
export function pick(choice: string, preferred: readonly string[]): string {
  const codes = languages.map((l) => l.code);
  return [choice, ...preferred.map((l) => l.slice(0, 2).toLowerCase())].find((code) => codes.includes(code)) ?? "en";
}
