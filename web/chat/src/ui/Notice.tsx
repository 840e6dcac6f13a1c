import { useEffect } from "preact/hooks";
import { words } from "../i18n.ts";
import { notice } from "../state.ts";

// Notice shows a short answer to an action for some seconds.
export function Notice() {
  const text = notice.value;
  useEffect(() => {
    if (!text) return;
    const timer = setTimeout(() => (notice.value = ""), 5_000);
    return () => clearTimeout(timer);
  }, [text]);
  return <div class="notice" aria-live="polite">{text && <span>{text}</span>}</div>;
}

// copy puts a text into the clipboard and says so.
export async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyBySelection(text);
  }
  notice.value = words().copied;
}

// copyBySelection is for browsers that give pages on plain http no clipboard.
function copyBySelection(text: string): void {
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}
