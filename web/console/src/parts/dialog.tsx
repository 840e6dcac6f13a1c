import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { isProblem, type Problem } from "../api.ts";
import { words } from "../words/index.ts";
import { Copy, Trouble } from "./basic.tsx";

/** A modal dialog. The browser keeps the focus inside and gives it back when the dialog closes. */
export function Dialog(p: { title: string; onClose: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    dialog.current?.showModal();
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog ref={dialog} aria-labelledby={id} onClose={p.onClose}>
      <h2 id={id}>{p.title}</h2>
      {p.children}
    </dialog>
  );
}

/** Asks before a change that cannot be taken back, and stays open with the reason if the change fails. */
export function Confirm(p: { title: string; text: string; button: string; subject?: string; run: () => Promise<void>; onClose: () => void; children?: ComponentChildren }) {
  const [problem, setProblem] = useState<Problem>();
  const [running, setRunning] = useState(false);
  const submit = async (e: Event): Promise<void> => {
    e.preventDefault();
    setRunning(true);
    setProblem(undefined);
    try {
      await p.run();
      p.onClose();
    } catch (error) {
      if (!isProblem(error)) throw error;
      setProblem(error);
      setRunning(false);
    }
  };
  return (
    <Dialog title={p.title} onClose={p.onClose}>
      <form onSubmit={(e) => void submit(e)}>
        {p.subject !== undefined && (
          <p>
            <code class="break">{p.subject}</code>
          </p>
        )}
        <p>{p.text}</p>
        {p.children}
        <Trouble problem={problem} />
        <div class="buttons">
          <button type="button" onClick={p.onClose}>
            {words.value.cancel}
          </button>
          <button type="submit" class="danger" disabled={running}>
            {p.button}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** Shows a secret that the server tells once. */
export function Secret(p: { title: string; secret: string; text: string; onClose: () => void }) {
  const id = useId();
  return (
    <Dialog title={p.title} onClose={p.onClose}>
      <p id={id}>{p.text}</p>
      <pre class="secret" tabIndex={0} role="group" aria-labelledby={id}>
        {p.secret}
      </pre>
      <div class="buttons">
        <Copy text={p.secret} />
        <button type="button" onClick={p.onClose}>
          {words.value.close}
        </button>
      </div>
    </Dialog>
  );
}
