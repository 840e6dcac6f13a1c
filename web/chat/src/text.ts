// Pure functions on texts.

// bytes returns the length of a text in UTF-8, in which the server counts.
export const bytes = (text: string): number => new TextEncoder().encode(text).length;

export type Part = { kind: "text"; text: string } | { kind: "link"; text: string } | { kind: "quote"; text: string };

const LINK = /https?:\/\/[^\s<>"]+/g;

// parts splits a plain text into quotes (lines that begin with ">"), web addresses and the rest. The texts of all parts
// hold every word of the original.
export function parts(text: string): Part[] {
  const result: Part[] = [];
  let quote: string[] = [];
  let plain: string[] = [];
  const flush = (): void => {
    if (quote.length > 0) result.push({ kind: "quote", text: quote.join("\n") });
    if (plain.length > 0) result.push(...links(plain.join("\n")));
    quote = [];
    plain = [];
  };
  for (const line of text.split("\n")) {
    const isQuote = line.startsWith(">");
    if (isQuote ? plain.length > 0 : quote.length > 0) flush();
    (isQuote ? quote : plain).push(isQuote ? line.replace(/^> ?/, "") : line);
  }
  flush();
  return result;
}

function links(text: string): Part[] {
  const result: Part[] = [];
  let from = 0;
  for (const match of text.matchAll(LINK)) {
    const link = match[0].replace(/[.,;:!?)\]'"]+$/, "");
    if (!isUrl(link)) continue;
    if (match.index > from) result.push({ kind: "text", text: text.slice(from, match.index) });
    result.push({ kind: "link", text: link });
    from = match.index + link.length;
  }
  if (from < text.length) result.push({ kind: "text", text: text.slice(from) });
  return result;
}

// quoted returns a text as a quote at the head of an answer. Long texts are cut after six lines.
export function quoted(name: string, text: string): string {
  const lines = text.split("\n").filter((line) => !line.startsWith(">") && line.trim() !== "");
  const kept = lines.slice(0, 6);
  if (lines.length > kept.length) kept.push("…");
  return [`${name}: ${kept.shift() ?? ""}`, ...kept].map((line) => `> ${line}`).join("\n") + "\n";
}

// oneLine returns the first n characters of a text in one line.
export function oneLine(text: string, n: number): string {
  const line = text.replace(/\s+/g, " ").trim();
  return [...line.slice(0, 2 * n)].slice(0, n).join("");
}

// shortId returns the end of a user's id, for people without a name.
export const shortId = (id: string): string => (id.length > 8 ? `…${id.slice(-6)}` : id);

// initials returns up to two letters for the mark of a person.
export function initials(name: string): string {
  const words = name.replace(/^…/, "").split(/\s+/).filter(Boolean);
  const [first = "?", second] = words;
  return ([...first][0] ?? "?").toUpperCase() + (second && !/\p{Script=Hangul}/u.test(first) ? ([...second][0] ?? "").toUpperCase() : "");
}

// hue returns a stable number from 0 to 7 for a user, which chooses a colour.
export function hue(id: string): number {
  let n = 0x811c9dc5; // FNV-1a
  for (const c of id) n = Math.imul(n ^ c.charCodeAt(0), 0x01000193) >>> 0;
  return (n >>> 16) % 8;
}

function isUrl(text: string): boolean {
  try {
    return new URL(text).host !== "";
  } catch {
    return false;
  }
}
