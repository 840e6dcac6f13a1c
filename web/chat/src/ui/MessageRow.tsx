import { useLayoutEffect, useRef } from "preact/hooks";
import { app } from "../app.ts";
import type { Conversation } from "../conversation.ts";
import { fragmentOf, plainOf } from "../html.ts";
import { clock, day, fullTime, list, words } from "../i18n.ts";
import { isFromPerson, type Message } from "../model.ts";
import { inWords, nameOf } from "../names.ts";
import type { Row } from "../queue.ts";
import * as state from "../state.ts";
import { parts, quoted } from "../text.ts";
import type { Item } from "../view.ts";
import { Avatar } from "./Avatar.tsx";
import { Icon } from "./Icon.tsx";
import { Menu, type Choice } from "./Menu.tsx";
import { copy } from "./Notice.tsx";

interface Props {
  item: Item;
  conversation: Conversation;
  me: string;
  isLast: boolean;
  isNewDay: boolean;
  isNew: boolean; // the divider stands before it
  hasHead: boolean;
  readBy: readonly string[] | undefined;
  menu: boolean;
  setMenu: (id: string | null) => void;
}

// MessageRow is one message, with what stands before it: its day, or the divider before what is new.
export function MessageRow({ item, conversation, me, isLast, isNewDay, isNew, hasHead, readBy, menu, setMenu }: Props) {
  const w = words();
  const m = item.message;
  const names = conversation.names.value;
  const isPerson = isFromPerson(m);
  const head = hasHead || isNewDay;
  const name = isPerson ? m.senderName || nameOf(m.sender, names) : "";
  const change = item.change;
  const isDeleted = m.deletedOn !== undefined;
  const dataState = change?.state === "refused" ? "refused" : change ? "waiting" : isDeleted ? "deleted" : "sent";
  return (
    <div class="row">
      {isNewDay && <p class="day"><span>{day(m.createdOn, Date.now())}</span></p>}
      {isNew && <p class="divider" data-testid="new-divider"><span>{w.newDivider}</span></p>}
      <article
        class={`message${isPerson ? "" : " is-system"}${head ? " has-head" : ""}${m.sender === me ? " is-own" : ""}${menu ? " has-menu" : ""}`}
        data-id={m.id} data-state={dataState} tabIndex={isLast ? 0 : -1} aria-label={isPerson ? `${name}, ${clock(m.createdOn)}` : undefined}
      >
        {isPerson && (head ? <Avatar id={m.sender} name={name} /> : <time class="side-time" aria-hidden="true">{clock(m.createdOn)}</time>)}
        <div class="body">
          {isPerson && head && (
            <p class="head">
              <span class="sender">{name}</span>
              <time dateTime={new Date(m.createdOn).toISOString()} title={fullTime(m.createdOn)}>{clock(m.createdOn)}</time>
            </p>
          )}
          {isPerson ? <Content message={m} /> : <p class="text">{inWords(m, names)}</p>}
          {change && <Change row={change} />}
        </div>
        {readBy && <ReadBy users={readBy} names={names} />}
        {isPerson && !isDeleted && change?.kind !== "delete" && (
          <>
            <button
              type="button" class="actions icon-button" aria-label={w.actions} aria-haspopup="menu" aria-expanded={menu} tabIndex={-1}
              onClick={() => setMenu(menu ? null : m.id)}
            >
              <Icon name="more" />
            </button>
            {menu && <Menu choices={choicesFor(m, name, me, conversation)} close={() => setMenu(null)} />}
          </>
        )}
      </article>
    </div>
  );
}

function choicesFor(m: Message, name: string, me: string, conversation: Conversation): Choice[] {
  const w = words();
  const text = m.kind === "html" ? plainOf(m.text) : m.text;
  const isOpen = conversation.status.value === "open";
  const choices: Choice[] = [];
  // The field writes plain text; an edit of HTML would take its form away.
  if (m.sender === me && m.kind === "text" && isOpen)
    choices.push({ label: w.edit, act: () => (state.editing.value = { thread: conversation.id, message: m.id, text: m.text }) });
  if (m.sender === me && isOpen) choices.push({ label: w.delete, act: () => void app.chat?.delete(m.id), isDanger: true });
  if (isOpen) choices.push({ label: w.quote, act: () => quote(conversation.id, quoted(name, text)) });
  choices.push({ label: w.copy, act: () => void copy(text) });
  return choices;
}

function quote(thread: string, text: string): void {
  const before = state.drafts.value.get(thread) ?? "";
  state.editing.value = null;
  app.chat?.draft(before ? `${before}\n${text}` : text);
  requestAnimationFrame(() => {
    const field = document.querySelector<HTMLTextAreaElement>("#field");
    field?.focus();
    field?.setSelectionRange(field.value.length, field.value.length);
  });
}

function Content({ message: m }: { message: Message }) {
  const w = words();
  if (m.deletedOn !== undefined) return <p class="text is-deleted">{w.deletedMessage}</p>;
  const edited = m.editedOn !== undefined && <span class="edited" title={fullTime(m.editedOn)}> ({w.edited})</span>;
  if (m.kind === "html") return <div class="text is-html"><Html html={m.text} />{edited}</div>;
  return <div class="text">{plain(m.text)}{edited}</div>;
}

// plain shows a plain text: quotes as quotes, web addresses as links.
const plain = (text: string) =>
  parts(text).map((part, i) => {
    if (part.kind === "quote") return <blockquote key={i}>{part.text}</blockquote>;
    if (part.kind === "link") return <a key={i} href={part.text} target="_blank" rel="noopener noreferrer">{part.text}</a>;
    return part.text;
  });

// Html shows the harmless part of an HTML message. It never passes text to innerHTML.
function Html({ html }: { html: string }) {
  const ref = useRef<HTMLDivElement>(null);
  const images = state.config.value?.htmlImages ?? false;
  useLayoutEffect(() => {
    ref.current!.replaceChildren(fragmentOf(html, images ? imageButton : null));
  }, [html, images]);
  return <div class="html" ref={ref} />;
}

// imageButton stands for an image until the person wants to see it: loading one tells its owner who reads.
function imageButton(address: URL, alt: string): HTMLElement {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "image-button";
  button.textContent = words().showImage(address.host);
  button.addEventListener("click", () => {
    const image = document.createElement("img");
    image.alt = alt;
    image.referrerPolicy = "no-referrer";
    image.src = address.href;
    button.replaceWith(image);
  });
  return button;
}

function ReadBy({ users, names }: { users: readonly string[]; names: ReadonlyMap<string, string> }) {
  const label = words().readBy(list(users.map((u) => nameOf(u, names))));
  return (
    <span class="read-by" title={label}>
      <span class="unseen">{label}</span>
      {users.slice(0, 3).map((u) => <Avatar key={u} id={u} name={nameOf(u, names)} />)}
      {users.length > 3 && <span aria-hidden="true">+{users.length - 3}</span>}
    </span>
  );
}

// Change tells of an edit or a deletion that is on its way, and lets it be undone.
function Change({ row }: { row: Row }) {
  const w = words();
  if (row.state === "refused")
    return (
      <p class="fate is-refused">
        <span>{w.changeRefused(row.reason)}</span>
        <button type="button" onClick={() => void app.chat?.retry(row)}>{w.retry}</button>
        <button type="button" onClick={() => void app.chat?.undo(row)}>{w.discard}</button>
      </p>
    );
  if (row.kind === "edit") return <p class="fate">{w.editWaiting}</p>;
  const seconds = Math.max(0, Math.ceil((row.due - state.now.value) / 1000));
  return (
    <p class="fate">
      <span>{w.deleting(seconds)}</span>
      <button type="button" onClick={() => void app.chat?.undo(row)}>{w.undo}</button>
    </p>
  );
}

// OutboxRow is a message that has not been sent yet, or that the server has refused. It looks as it will when it is sent.
export function OutboxRow({ row, isSending, isLast, hasHead, me }: { row: Row; isSending: boolean; isLast: boolean; hasHead: boolean; me: string }) {
  const w = words();
  const isRefused = row.state === "refused";
  return (
    <div class="row">
      <article
        class={hasHead ? "message is-own is-waiting has-head" : "message is-own is-waiting"} data-id={row.id} data-state={isRefused ? "refused" : "waiting"}
        tabIndex={isLast ? 0 : -1} aria-label={`${row.name}, ${clock(row.created)}`}
      >
        {hasHead ? <Avatar id={me} name={row.name} /> : <time class="side-time" aria-hidden="true">{clock(row.created)}</time>}
        <div class="body">
          {hasHead && <p class="head"><span class="sender">{row.name}</span><time>{clock(row.created)}</time></p>}
          <div class="text">
            {plain(row.text)}
            {!isRefused && <span class="edited"> · {isSending ? w.sending : w.waitingToSend}</span>}
          </div>
          {isRefused && (
            <p class="fate is-refused">
              <span>{w.refusedBecause(row.reason)}</span>
              <button type="button" onClick={() => void app.chat?.retry(row)}>{w.retry}</button>
              <button type="button" onClick={() => void app.chat?.takeBack(row)}>{w.edit}</button>
              <button type="button" onClick={() => void copy(row.text)}>{w.copy}</button>
              <button type="button" onClick={() => void app.chat?.undo(row)}>{w.discard}</button>
            </p>
          )}
        </div>
      </article>
    </div>
  );
}
