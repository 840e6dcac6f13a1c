// The console's keys. They are single characters, so they are off while somebody writes, and can be switched off altogether.

/** What a key does. go has the page. */
export type Command = { do: "search" | "next" | "previous" | "open" | "close" | "copy" | "pause" | "help" | "await" } | { do: "go"; page: string };

/** The pages behind "g", by letter. */
export const pageKeys: Readonly<Record<string, string>> = {
  r: "requests",
  o: "overview",
  t: "threads",
  u: "users",
  e: "events",
  k: "keys",
  l: "limits",
  a: "audit",
  s: "settings",
};

/** The part of a KeyboardEvent that decides. inField: the focus is where somebody writes or chooses. */
export type Stroke = { key: string; ctrlKey: boolean; metaKey: boolean; altKey: boolean; isComposing: boolean; inField: boolean; inDialog: boolean; onControl: boolean };

/** How long in milliseconds the letter after "g" is waited for. */
export const awaitLetter = 1500;

/** Returns what a stroke does, or undefined. afterG says that "g" was the stroke before; on says that single characters work. */
export function command(s: Stroke, afterG: boolean, on: boolean): Command | undefined {
  if (s.ctrlKey || s.metaKey || s.altKey || s.isComposing || s.inDialog) return undefined;
  if (s.key === "Escape") return { do: "close" };
  if (s.inField) return undefined;
  // Enter belongs to the link or button that has the focus.
  if (s.key === "Enter") return s.onControl ? undefined : { do: "open" };
  if (!on) return undefined;
  if (afterG) {
    const page = pageKeys[s.key];
    if (page !== undefined) return { do: "go", page };
  }
  switch (s.key) {
    case "/":
      return { do: "search" };
    case "j":
      return { do: "next" };
    case "k":
      return { do: "previous" };
    case "c":
      return { do: "copy" };
    case "p":
      return { do: "pause" };
    case "?":
      return { do: "help" };
    case "g":
      return { do: "await" };
  }
  return undefined;
}

/** Returns the letter of a key that a Korean input method has turned into a letter of its own, else the key. */
export function latin(key: string, code: string): string {
  const letter = /^Key([A-Z])$/.exec(code)?.[1];
  return letter !== undefined && (key === "Process" || /^[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]$/.test(key)) ? letter.toLowerCase() : key;
}
