import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { app } from "../app.ts";
import type { Conversation } from "../conversation.ts";
import { words } from "../i18n.ts";
import { isComposing } from "../keyboard.ts";
import * as state from "../state.ts";
import { bytes } from "../text.ts";
import { present } from "../view.ts";
import { Icon } from "./Icon.tsx";

const TALLEST = 200; // px of the field

// Composer is the field in which one writes, for a new message or to change one.
export function Composer({ conversation, topic }: { conversation: Conversation; topic: string }) {
  const w = words();
  const field = useRef<HTMLTextAreaElement>(null);
  const edited = state.editing.value?.thread === conversation.id ? state.editing.value : null;
  const [change, setChange] = useState("");
  const [error, setError] = useState("");
  const draft = state.drafts.value.get(conversation.id) ?? "";
  const text = edited ? change : draft;
  const status = conversation.status.value;
  const isClosed = status === "removed" || status === "deleted";
  const isEmpty = text.trim() === "";
  const over = Math.max(0, bytes(text) - (state.config.value?.maxContent ?? Infinity));

  // Before the next key, which an effect after the picture would not be: it would undo what was typed until then.
  useLayoutEffect(() => {
    if (edited) setChange(edited.text);
    field.current?.focus();
  }, [edited?.message]);
  useEffect(() => {
    state.overlong.value = over;
    return () => void (state.overlong.value = 0);
  }, [over]);
  useLayoutEffect(() => {
    const f = field.current!;
    f.style.height = "auto";
    f.style.height = `${Math.min(TALLEST, f.scrollHeight + 2)}px`;
  }, [text]);

  const put = (value: string): void => {
    setError("");
    if (edited) setChange(value);
    else app.chat?.draft(value);
  };
  // The text stays in the field until it is safe. A second press meanwhile sends nothing, and what is typed meanwhile stays.
  const isStoring = useRef(false);
  const submit = async (): Promise<void> => {
    if (isStoring.current || isEmpty || over > 0 || isClosed) return;
    isStoring.current = true;
    try {
      await app.chat?.send(text);
    } catch {
      setError(w.notStored);
    } finally {
      isStoring.current = false;
    }
  };
  const cancel = (): void => {
    state.editing.value = null;
    field.current?.focus();
  };
  const editLast = (): boolean => {
    const me = app.chat?.me ?? "";
    const items = present(conversation.messages.value, state.threadRows.value, me, () => true);
    const last = items.findLast((i) => i.message.sender === me && i.message.kind === "text" && i.message.deletedOn === undefined && i.change?.kind !== "delete");
    if (!last) return false;
    state.editing.value = { thread: conversation.id, message: last.message.id, text: last.message.text };
    return true;
  };
  const keys = (e: KeyboardEvent): void => {
    if (isComposing(e)) return; // this Enter ends a syllable or chooses a word
    if (e.key === "Enter" && !e.shiftKey && !e.altKey && !e.ctrlKey && !e.metaKey) {
      e.preventDefault();
      void submit();
    } else if (e.key === "ArrowUp" && text === "" && !edited && !e.altKey && !e.ctrlKey && !e.metaKey && !e.shiftKey) {
      if (editLast()) e.preventDefault();
    } else if (e.key === "Escape") {
      e.preventDefault();
      if (edited) cancel();
      else state.showsList.value = true;
    }
  };

  return (
    <form class={edited ? "composer is-editing" : "composer"} onSubmit={(e) => (e.preventDefault(), void submit())}>
      {edited && (
        <p class="editing">
          <span>{w.editing}</span>
          <button type="button" class="quiet" onClick={cancel}>{w.cancel}</button>
        </p>
      )}
      {error && <p class="error" role="alert">{error}</p>}
      <div class="line">
        <textarea
          id="field" ref={field} rows={1} aria-label={w.message} placeholder={topic ? w.writeTo(topic) : ""} disabled={isClosed} value={text}
          aria-invalid={over > 0} onKeyDown={keys}
          onInput={(e) => {
            put(e.currentTarget.value);
            if (!edited) app.chat?.typing();
          }}
          onBlur={() => app.chat?.saveDraft()}
        />
        <button type="submit" class="send" aria-label={edited ? w.save : w.send} title={edited ? w.save : w.send} aria-disabled={isEmpty || over > 0 || isClosed}>
          <Icon name="send" />
        </button>
      </div>
    </form>
  );
}
