import { words } from "../i18n.ts";
import { nameOf } from "../names.ts";
import { list } from "../i18n.ts";
import * as state from "../state.ts";
import { Composer } from "./Composer.tsx";
import { Icon } from "./Icon.tsx";
import { Messages } from "./Messages.tsx";
import { Status } from "./Status.tsx";

// ThreadPane is the open thread: its topic, its messages, the state in words, and the field to write.
export function ThreadPane() {
  const w = words();
  const c = state.conversation.value;
  if (!c)
    return (
      <main class="pane">
        <Status />
      </main>
    );
  const topic = c.topic.value || state.threads.value.find((t) => t.id === c.id)?.topic || (c.status.value === "open" ? w.untitled : "");
  const people = c.people.value.length;
  return (
    <main class="pane">
      <header class="pane-head">
        <button type="button" class="icon-button back" aria-label={w.backToThreads} title={w.backToThreads} onClick={() => (state.showsList.value = true)}>
          <Icon name="back" />
        </button>
        <h1>{topic || w.title}</h1>
        <button type="button" class="people-button" aria-label={people > 0 ? `${w.people}: ${w.peopleCount(people)}` : w.people} onClick={() => (state.dialog.value = "people")}>
          <Icon name="people" />
          <span>{people > 0 ? w.peopleCount(people) : w.people}</span>
        </button>
      </header>
      <Messages key={c.id} conversation={c} />
      <div class="below">
        <Status />
        <Typing />
      </div>
      <Composer key={`composer ${c.id}`} conversation={c} topic={topic} />
    </main>
  );
}

function Typing() {
  const c = state.conversation.value;
  if (!c || c.typing.value.size === 0) return null;
  const names = [...c.typing.value].map(([id, { name }]) => name || nameOf(id, c.names.value));
  return <p class="typing"><span class="dots" aria-hidden="true"><i /><i /><i /></span>{words().isTyping(list(names), names.length)}</p>;
}
