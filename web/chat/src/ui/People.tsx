import { useState } from "preact/hooks";
import { addressOf } from "../address.ts";
import { app } from "../app.ts";
import type { Conversation } from "../conversation.ts";
import { words } from "../i18n.ts";
import { nameOf } from "../names.ts";
import { dialog, notice } from "../state.ts";
import { Avatar } from "./Avatar.tsx";
import { Dialog } from "./Dialog.tsx";
import { copy } from "./Notice.tsx";
import { reasonOf } from "./reason.ts";

// People shows who is in a thread, adds and removes people, and lets this person leave.
export function People({ conversation }: { conversation: Conversation }) {
  const w = words();
  const me = app.chat?.me ?? "";
  const [error, setError] = useState("");
  const [isSure, setSure] = useState(false);
  const isOpen = conversation.status.value === "open";
  const act = async (action: () => Promise<void>): Promise<void> => {
    setError("");
    try {
      await action();
    } catch (e) {
      setError(reasonOf(e));
    }
  };
  const leave = (): Promise<void> =>
    act(async () => {
      await app.chat?.remove(conversation.id, me);
      dialog.value = null;
    });
  return (
    <Dialog title={w.people}>
      <ul class="people">
        {conversation.people.value.map((p) => {
          const name = p.name || nameOf(p.id, conversation.names.value);
          return (
            <li key={p.id}>
              <Avatar id={p.id} name={name} />
              <span class="person">
                <span class="person-name">{name} {p.id === me && <span class="hint">{w.youSuffix}</span>}</span>
                <span class="person-id" title={p.id}>{p.id}</span>
              </span>
              <button type="button" aria-label={w.copyIdOf(name)} onClick={() => void copy(p.id)}>{w.copyId}</button>
              {p.id !== me && isOpen && (
                <button type="button" class="danger" aria-label={w.removePerson(name)} onClick={() => void act(async () => app.chat?.remove(conversation.id, p.id))}>
                  {w.remove}
                </button>
              )}
            </li>
          );
        })}
      </ul>
      <p class="error" role="alert">{error}</p>
      {isOpen && <AddPerson conversation={conversation} />}
      {isOpen && <Rename key={conversation.topic.value} conversation={conversation} />}
      <div class="buttons">
        <button type="button" onClick={() => void copy(location.origin + addressOf(conversation.id))}>{w.copyLink}</button>
        {isOpen && !isSure && <button type="button" class="danger" onClick={() => setSure(true)}>{w.leave}</button>}
      </div>
      {isSure && (
        <div class="sure" role="group" aria-label={w.leave}>
          <p>{w.leaveSure}</p>
          <div class="buttons">
            <button type="button" class="danger" ref={(b) => b?.focus()} onClick={() => void leave()}>{w.leave}</button>
            <button type="button" onClick={() => setSure(false)}>{w.cancel}</button>
          </div>
        </div>
      )}
    </Dialog>
  );
}

type Share = "all" | "none" | "from";

// AddPerson adds somebody by id, with a choice of how much of the past that person may read.
function AddPerson({ conversation }: { conversation: Conversation }) {
  const w = words();
  const [id, setId] = useState("");
  const [name, setName] = useState("");
  const [share, setShare] = useState<Share>("all");
  const [date, setDate] = useState(() => new Date().toLocaleDateString("sv")); // year-month-day, as the field wants it
  const [error, setError] = useState("");
  const [isBusy, setBusy] = useState(false);
  const submit = async (e: Event): Promise<void> => {
    e.preventDefault();
    if (isBusy || id.trim() === "") return;
    setBusy(true);
    setError("");
    const since = share === "all" ? 0 : share === "none" ? Date.now() : new Date(`${date}T00:00:00`).getTime();
    try {
      await app.chat?.add(conversation.id, { id: id.trim(), name: name.trim(), since });
      setId("");
      setName("");
      notice.value = "";
    } catch (e) {
      setError(reasonOf(e));
    } finally {
      setBusy(false);
    }
  };
  const choice = (value: Share, label: string) => (
    <label class="choice">
      <input type="radio" name="share" value={value} checked={share === value} onChange={() => setShare(value)} />
      <span>{label}</span>
    </label>
  );
  return (
    <form class="section" aria-label={w.addPerson} onSubmit={(e) => void submit(e)}>
      <h3>{w.addPerson}</h3>
      <label for="person-id">{w.personId}</label>
      <input id="person-id" type="text" required autocomplete="off" spellcheck={false} placeholder={w.personIdHint} value={id} onInput={(e) => setId(e.currentTarget.value)} />
      <label for="person-name">{w.personName}</label>
      <input id="person-name" type="text" maxLength={256} autocomplete="off" value={name} onInput={(e) => setName(e.currentTarget.value)} />
      <fieldset>
        <legend>{w.shareHistory}</legend>
        {choice("all", w.shareAll)}
        {choice("none", w.shareNone)}
        {choice("from", w.shareFrom)}
        {share === "from" && <input type="date" aria-label={w.shareDate} value={date} onInput={(e) => setDate(e.currentTarget.value)} />}
      </fieldset>
      <p class="error" role="alert">{error}</p>
      <div class="buttons"><button class="primary" type="submit" aria-disabled={isBusy}>{isBusy ? w.adding : w.add}</button></div>
    </form>
  );
}

// Rename changes the thread's topic.
function Rename({ conversation }: { conversation: Conversation }) {
  const w = words();
  const [topic, setTopic] = useState(conversation.topic.value);
  const [error, setError] = useState("");
  const submit = async (e: Event): Promise<void> => {
    e.preventDefault();
    if (topic.trim() === "") return setError(w.topicMissing);
    try {
      await app.chat?.rename(conversation.id, topic.trim());
      setError("");
    } catch (e) {
      setError(reasonOf(e));
    }
  };
  return (
    <form class="section inline" onSubmit={(e) => void submit(e)}>
      <label for="rename">{w.topic}</label>
      <input id="rename" type="text" maxLength={250} autocomplete="off" value={topic} onInput={(e) => setTopic(e.currentTarget.value)} />
      <button type="submit">{w.rename}</button>
      <p class="error" role="alert">{error}</p>
    </form>
  );
}
