import { useState } from "preact/hooks";
import { app } from "../app.ts";
import { words } from "../i18n.ts";
import { newId } from "../ids.ts";
import { dialog } from "../state.ts";
import { Dialog } from "./Dialog.tsx";
import { reasonOf } from "./reason.ts";

// NewThread asks for a topic and for people, and makes the thread.
export function NewThread() {
  const w = words();
  const [topic, setTopic] = useState("");
  const [users, setUsers] = useState("");
  const [error, setError] = useState("");
  const [token] = useState(newId); // a second try after a lost answer makes no second thread
  const [isBusy, setBusy] = useState(false);
  const submit = async (e: Event): Promise<void> => {
    e.preventDefault();
    if (isBusy) return;
    if (topic.trim() === "") return setError(w.topicMissing);
    setBusy(true);
    try {
      await app.chat?.create(topic.trim(), users.split(/[\s,]+/).filter(Boolean), token);
      dialog.value = null;
    } catch (e) {
      setError(reasonOf(e));
      setBusy(false);
    }
  };
  return (
    <Dialog title={w.newThread}>
      <form onSubmit={(e) => void submit(e)}>
        <label for="topic">{w.topic}</label>
        <input id="topic" type="text" maxLength={250} autofocus autocomplete="off" value={topic} onInput={(e) => setTopic(e.currentTarget.value)} />
        <label for="users">{w.newThreadPeople}</label>
        <textarea id="users" rows={3} spellcheck={false} value={users} onInput={(e) => setUsers(e.currentTarget.value)} />
        <p class="error" role="alert">{error}</p>
        <div class="buttons"><button class="primary" type="submit" aria-disabled={isBusy}>{w.createThread}</button></div>
      </form>
    </Dialog>
  );
}
