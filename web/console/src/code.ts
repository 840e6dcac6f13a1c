// A request as a program that a person pastes.

import { call } from "./api.ts";
import { copyText } from "./parts/basic.tsx";
import { words } from "./words/index.ts";

/** The languages, by the name that the API gives them. */
export const languageNames: Readonly<Record<string, string>> = { curl: "curl", python: "Python", javascript: "JavaScript", go: "Go" };

/** Copies a request as a program and returns the program. It fails with a Problem if the server makes none. */
export async function copyCode(id: string, language: string): Promise<string> {
  const found = await call<{ code: string }>("GET", `/requests/${encodeURIComponent(id)}/code?language=${language}`);
  await copyText(found.code, words.value.requests.copiedAs(languageNames[language] ?? language));
  return found.code;
}
