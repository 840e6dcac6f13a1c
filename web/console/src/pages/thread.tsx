// One thread: its members, messages and events, and what a chosen user sees of it.

import { useEffect, useState } from "preact/hooks";
import { number } from "../format.ts";
import { useLoad, usePages, type Paged } from "../load.ts";
import { Command, Facts, IdLink, More, Page, Trouble, When } from "../parts/basic.tsx";
import { Table } from "../parts/table.tsx";
import { formatRoute } from "../route.ts";
import { route, session, setFilters } from "../state.ts";
import type { Member, Message, Participant, SeenBy, SeenMessage, Thread as ThreadData } from "../types.ts";
import { words } from "../words/index.ts";
import { EventTable, useEvents } from "./events.tsx";

export function Thread() {
  const t = words.value.thread;
  const { id, filters } = route.value;
  const path = "/threads/" + encodeURIComponent(id);
  const { data, problem, again } = useLoad<ThreadData>(path);
  const tab = filters["tab"] ?? "members";
  return (
    <Page title={data === undefined || data.topic === "" ? t.title : data.topic} id={id}>
      <Trouble problem={problem} again={again} />
      {data !== undefined && (
        <>
          <Facts
            rows={[
              [t.created, <><When time={data.createdOn} /> {t.by} <IdLink kind="users" id={data.createdBy} /></>],
              [t.deleted, data.deletedOn === undefined || data.deletedOn === "" ? "" : <When time={data.deletedOn} />],
              [t.expires, data.expiresOn === undefined || data.expiresOn === "" ? "" : <When time={data.expiresOn} />],
              [t.sequence, number(words.value.code, data.lastSequence)],
              [t.metadata, Object.entries(data.metadata ?? {}).map(([name, value]) => `${name}: ${value}`).join(", ")],
            ]}
          />
          <nav class="tabs" aria-label={t.parts}>
            {Object.entries(t.tabs).map(([name, text]) => (
              <a key={name} href={formatRoute("threads", id, { tab: name === "members" ? "" : name })} aria-current={name === tab ? "page" : undefined}>
                {text}
              </a>
            ))}
          </nav>
          {tab === "members" && <Members members={data.members ?? []} thread={id} />}
          {tab === "messages" && <Messages path={path} />}
          {tab === "events" && <Events path={path} />}
          {tab === "seen" && <Seen path={path} members={data.members ?? []} />}
        </>
      )}
    </Page>
  );
}

function Members(p: { members: Member[]; thread: string }) {
  const t = words.value.thread;
  return (
    <Table
      label={t.tabs["members"] ?? ""}
      rows={p.members}
      rowKey={(m) => m.id}
      columns={[
        { head: t.user, cell: (m) => <IdLink kind="users" id={m.id} /> },
        { head: t.name, cell: (m) => m.displayName ?? "" },
        { head: t.state, cell: (m) => (m.left === true ? t.left : t.present) },
        { head: t.intervals, cell: (m) => <Intervals member={m} /> },
        { head: t.joined, cell: (m) => <When time={m.joinedOn} /> },
        { head: t.history, wide: true, cell: (m) => <History member={m} /> },
        { head: t.tabs["seen"] ?? "", wide: true, cell: (m) => <a href={formatRoute("threads", p.thread, { tab: "seen", user: m.id })}>{t.show}</a> },
      ]}
    />
  );
}

/** The ranges of the thread's events in which a member was in it. */
function Intervals(p: { member: Member }) {
  const t = words.value.thread;
  const m = p.member;
  const language = words.value.code;
  return (
    <>
      {m.intervals.map((i) => (
        <div key={i.from}>{i.to === undefined ? t.since(number(language, i.from)) : t.fromTo(number(language, i.from), number(language, i.to))}</div>
      ))}
    </>
  );
}

/** Which messages a member sees. */
function History(p: { member: Member }) {
  const t = words.value.thread;
  const m = p.member;
  return (
    <>
      {Date.parse(m.seesFrom) <= 0 ? t.allHistory : <When time={m.seesFrom} />}
      {m.left === true && m.lastSequence !== undefined && ` ${t.upTo(number(words.value.code, m.lastSequence))}`}
    </>
  );
}

function Messages(p: { path: string }) {
  const t = words.value.thread;
  const allowed = session.value?.messages === true;
  const found = usePages<Message, { messages: Message[]; next?: string }>(allowed ? p.path + "/messages" : undefined, (page) => page.messages);
  const wanted = route.value.filters["message"] ?? "";
  const there = found.items.some((m) => m.id === wanted);
  useEffect(() => {
    if (there) document.getElementById("m" + wanted)?.scrollIntoView({ block: "center" });
  }, [there, wanted]);
  if (!allowed) return <ContentOff />;
  return (
    <>
      <p class="faint">{t.audited}</p>
      <Trouble problem={found.problem} again={found.again} />
      {found.last !== undefined && found.items.length === 0 && <p>{t.noMessages}</p>}
      <ol class="messages">
        {found.items.map((m) => (
          <li key={m.id} id={"m" + m.id} class={m.id === wanted ? "current" : ""}>
            <p class="faint">
              <When time={m.createdOn} /> · {m.sequence} · {t.types[m.type] ?? m.type} · <code>{m.id}</code>
              {m.editedOn !== undefined && m.editedOn !== "" && ` · ${t.edited}`}
            </p>
            <p>
              <Author message={m} />{" "}
              {m.deletedOn !== undefined && m.deletedOn !== "" ? <i>{t.deletedMessage}</i> : <span class="message">{m.content}</span>}
              {m.participants?.map((who: Participant) => (
                <span key={who.id}>
                  {" "}
                  <IdLink kind="users" id={who.id} label={who.displayName} />
                </span>
              ))}
            </p>
          </li>
        ))}
      </ol>
      <More {...pager(found)} />
    </>
  );
}

/** Who has sent a message or, of a system message, who has made the change. */
function Author(p: { message: Message }) {
  const { sender, senderDisplayName, initiator } = p.message;
  const id = sender === undefined || sender === "" ? initiator : sender;
  return id === undefined || id === "" ? null : <IdLink kind="users" id={id} label={senderDisplayName} />;
}

/** Says that the content of messages is not shown, and how to allow it. */
function ContentOff() {
  const t = words.value.thread;
  return (
    <div class="note">
      <p>{t.contentOff}</p>
      <p>{t.contentOffMend}</p>
      <Command text="--admin-reads-messages" />
    </div>
  );
}

function Events(p: { path: string }) {
  const found = useEvents(p.path + "/events");
  const t = words.value.events;
  return (
    <>
      <Trouble problem={found.problem} again={found.again} />
      {found.last !== undefined && found.items.length === 0 && <p>{t.empty}</p>}
      <EventTable label={t.list} events={found.items} thread={false} />
      <More {...pager(found)} />
    </>
  );
}

function Seen(p: { path: string; members: Member[] }) {
  const t = words.value.thread;
  const user = route.value.filters["user"] ?? "";
  const [text, setText] = useState(user);
  const submit = (e: Event): void => {
    e.preventDefault();
    setFilters({ user: text.trim() });
  };
  const content = session.value?.messages === true;
  const found = usePages<SeenMessage, SeenBy>(user === "" ? undefined : `${p.path}/seen-by/${encodeURIComponent(user)}${content ? "?content=true" : ""}`, (page) => page.messages);
  return (
    <>
      <p>{t.seenIntro}</p>
      <form class="filters" onSubmit={submit}>
        <label>
          <span>{t.chooseUser}</span>
          <input type="text" list="members" size={40} value={text} autocomplete="off" spellcheck={false} onInput={(e) => setText(e.currentTarget.value)} />
        </label>
        <datalist id="members">
          {p.members.map((m) => (
            <option key={m.id} value={m.id}>
              {m.displayName ?? ""}
            </option>
          ))}
        </datalist>
        <button type="submit">{t.show}</button>
      </form>
      <Trouble problem={found.problem} again={found.again} />
      {found.last !== undefined && (
        <>
          <div class={found.last.sees === "all" ? "why fine" : "why"} role="status">
            <p>
              <strong>{t.sees[found.last.sees] ?? found.last.sees}</strong>
            </p>
            <p lang="en">{found.last.why}</p>
          </div>
          {found.items.length > 0 && (
            <Table
              label={t.tabs["seen"] ?? ""}
              rows={found.items}
              rowKey={(m) => m.id}
              columns={[
                { head: t.sequenceShort, class: "num", cell: (m) => m.sequence },
                { head: t.time, cell: (m) => <When time={m.createdOn} /> },
                { head: t.type, wide: true, cell: (m) => t.types[m.type] ?? m.type },
                { head: t.message, wide: true, cell: (m) => (m.content === undefined ? <code>{m.id}</code> : <span class="excerpt">{m.content}</span>) },
                { head: t.state, cell: (m) => <span class={m.visible ? "status s2" : "status s4"}>{m.visible ? t.visible : t.hidden}</span> },
                { head: t.why, cell: (m) => <span lang="en">{m.why}</span> },
              ]}
            />
          )}
        </>
      )}
      {user !== "" && <More {...pager(found)} />}
    </>
  );
}

function pager<T, P>(found: Paged<T, P>): { next: string | undefined; loading: boolean; more: () => void } {
  return { next: found.next, loading: found.loading, more: found.more };
}
