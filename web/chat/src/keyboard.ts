import { app } from "./app.ts";
import { conversation, dialog, person, threads } from "./state.ts";

// Keys that work everywhere. There are no single letters: elsewhere such keys have cost people their drafts.

// isComposing tells whether a key belongs to the composition of a syllable or a word. Safari ends a composition before the key
// that ended it, and then gives the key the code 229.
export const isComposing = (e: KeyboardEvent): boolean => e.isComposing || e.keyCode === 229;

// focusField puts the cursor into the message field.
export function focusField(): void {
  document.querySelector<HTMLTextAreaElement>("#field")?.focus();
}

// listenForKeys handles the keys of the whole page.
export function listenForKeys(): void {
  document.addEventListener("keydown", (e) => {
    if (isComposing(e) || e.defaultPrevented) return;
    if (e.key === "F1") {
      e.preventDefault();
      dialog.value = dialog.value === "keys" ? null : "keys";
      return;
    }
    if (!person.value) return;
    if ((e.ctrlKey || e.metaKey) && !e.altKey && !e.shiftKey && e.key.toLowerCase() === "k") {
      e.preventDefault();
      dialog.value = dialog.value === "goto" ? null : "goto";
    } else if (e.altKey && !e.ctrlKey && !e.metaKey && (e.key === "ArrowUp" || e.key === "ArrowDown") && dialog.value === null) {
      e.preventDefault();
      walkThreads(e.key === "ArrowUp" ? -1 : 1);
    } else if (e.key === "Escape" && dialog.value === null) {
      focusField();
    }
  });
}

function walkThreads(step: number): void {
  const all = threads.value;
  if (all.length === 0) return;
  const at = all.findIndex((t) => t.id === conversation.value?.id);
  const to = all.at((at + step + all.length) % all.length); // after the last comes the first
  if (!to || to.id === conversation.value?.id) return;
  app.chat?.open(to.id, "push");
  focusField();
}
