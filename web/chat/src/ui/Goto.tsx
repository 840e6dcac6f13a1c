import { useState } from "preact/hooks";
import { app } from "../app.ts";
import { words } from "../i18n.ts";
import { isComposing } from "../keyboard.ts";
import { dialog, threads } from "../state.ts";
import { Dialog } from "./Dialog.tsx";

// Goto finds a thread by a part of its topic.
export function Goto() {
  const w = words();
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const wanted = text.trim().toLocaleLowerCase();
  const found = threads.value.filter((t) => t.topic.toLocaleLowerCase().includes(wanted)).slice(0, 12);
  const chosen = Math.min(at, found.length - 1);
  const go = (index: number): void => {
    const thread = found[index];
    if (!thread) return;
    dialog.value = null;
    app.chat?.open(thread.id, "push");
    requestAnimationFrame(() => document.querySelector<HTMLElement>("#field")?.focus());
  };
  const keys = (e: KeyboardEvent): void => {
    if (isComposing(e)) return;
    if (e.key === "ArrowDown") setAt(Math.min(found.length - 1, chosen + 1));
    else if (e.key === "ArrowUp") setAt(Math.max(0, chosen - 1));
    else if (e.key === "Enter") go(chosen);
    else return;
    e.preventDefault();
  };
  return (
    <Dialog title={w.goTo}>
      <input
        type="text" role="combobox" aria-label={w.goTo} placeholder={w.goToHint} aria-expanded="true" aria-controls="goto-list" autocomplete="off"
        aria-activedescendant={found[chosen] ? `goto-${chosen}` : undefined} autofocus
        value={text} onInput={(e) => (setText(e.currentTarget.value), setAt(0))} onKeyDown={keys}
      />
      <div id="goto-list" class="goto" role="listbox" aria-label={w.threads}>
        {found.map((t, i) => (
          <div key={t.id} id={`goto-${i}`} role="option" aria-selected={i === chosen} onClick={() => go(i)}>{t.topic || w.untitled}</div>
        ))}
      </div>
      {found.length === 0 && <p class="hint">{w.goToNone}</p>}
    </Dialog>
  );
}
