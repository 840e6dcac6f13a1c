import { addressOf } from "../address.ts";
import { app } from "../app.ts";
import { choose, language, moment, words } from "../i18n.ts";
import type { Thread } from "../model.ts";
import { known } from "../people.ts";
import { summary } from "../names.ts";
import * as state from "../state.ts";
import { oneLine } from "../text.ts";
import { Avatar } from "./Avatar.tsx";
import { Icon } from "./Icon.tsx";
import { copy } from "./Notice.tsx";

// Threads is the list of threads, the most recent first, and below it who one is.
export function Threads() {
  const w = words();
  const person = state.person.value;
  const leave = (): void => {
    const n = state.waiting.value;
    if (n === 0 || confirm(w.signOutWaiting(n))) app.leave();
  };
  return (
    <nav class="threads" aria-label={w.threads}>
      <header>
        <h1>{w.threads}</h1>
        <button type="button" class="icon-button" aria-label={w.newThread} title={w.newThread} onClick={() => (state.dialog.value = "new")}>
          <Icon name="plus" />
        </button>
      </header>
      <ul>
        {state.threads.value.map((t) => <Entry key={t.id} thread={t} />)}
      </ul>
      {state.moreThreads.value && (
        <button type="button" class="quiet" onClick={() => void app.chat?.list.more().catch(() => undefined)}>{w.moreThreads}</button>
      )}
      <footer>
        {person && <Avatar id={person.user} name={person.name} />}
        <span class="own-name">{person?.name}</span>
        <span class="own-actions">
          <button type="button" class="quiet" onClick={() => void copy(person?.user ?? "")}>{w.copyMyId}</button>
          <button type="button" class="quiet" onClick={() => (state.dialog.value = "keys")}>{w.keys}</button>
          <button type="button" class="quiet" lang={language.value === "ko" ? "en" : "ko"} onClick={() => choose(language.value === "ko" ? "en" : "ko")}>
            {w.languageName}
          </button>
          <button type="button" class="quiet" onClick={leave}>{w.signOut}</button>
        </span>
      </footer>
    </nav>
  );
}

function Entry({ thread }: { thread: Thread }) {
  const w = words();
  const me = app.chat?.me ?? "";
  const isOpen = state.conversation.value?.id === thread.id;
  const draft = isOpen ? "" : (state.drafts.value.get(thread.id) ?? "");
  const names = known.value;
  const line = draft ? `${w.draft} ${oneLine(draft, 100)}` : thread.last ? summary(thread.last, names, me) : "";
  const topic = thread.topic || w.untitled;
  // Whoever looks at the newest message has read it, also until the server has counted again.
  const unread = isOpen && state.conversation.value?.seen.value ? 0 : thread.unread;
  const when = thread.active > 0 ? moment(thread.active, Date.now()) : "";
  const open = (e: MouseEvent): void => {
    if (e.ctrlKey || e.metaKey || e.shiftKey || e.button !== 0) return; // a tab or a window of its own
    e.preventDefault();
    app.chat?.open(thread.id, "push");
  };
  return (
    <li>
      <a href={addressOf(thread.id)} class="entry" aria-current={isOpen ? "page" : undefined} onClick={open}>
        <span class="entry-topic">{topic}</span>{" "}
        <time class="entry-time">{when}</time>{" "}
        <span class={draft ? "entry-line is-draft" : "entry-line"}>{line}</span>{" "}
        {unread > 0 && (
          <span class="badge">
            <span aria-hidden="true">{w.unreadShort(unread)}</span>
            <span class="unseen">{w.unread(unread)}</span>
          </span>
        )}
      </a>
    </li>
  );
}
