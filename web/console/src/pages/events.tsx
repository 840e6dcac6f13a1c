import { usePages, type Paged } from "../load.ts";
import { IdLink, Page, Trouble, When } from "../parts/basic.tsx";
import { Filters } from "../parts/filters.tsx";
import { LiveFrame, LiveMore, useLive } from "../parts/live.tsx";
import { Table, type Column } from "../parts/table.tsx";
import { query } from "../route.ts";
import { pageCommands, paused, route } from "../state.ts";
import type { LogEvent } from "../types.ts";
import { words } from "../words/index.ts";
import { useLayoutEffect } from "preact/hooks";

type EventPage = { events: LogEvent[]; next?: string; looked?: number; complete?: boolean };

/** The kinds of events, as the log names them. */
const kinds = [
  "threadCreated", "messageReceived", "messageEdited", "messageDeleted", "receiptReceived", "threadUpdated", "threadDeleted",
  "participantsAdded", "participantsRemoved", "tokensRevoked", "userDeleted",
];

const eventKey = (e: LogEvent): number => e.position;

export function Events() {
  const t = words.value.events;
  const f = words.value.filter;
  const { thread, user, kind } = route.value.filters;
  const q = query({ thread, user, kind });
  const live = useLive<LogEvent, EventPage>({
    list: "/events" + q,
    items: (page) => page.events,
    stream: "/events/stream" + q,
    event: "event",
    key: eventKey,
    cursor: (e) => String(e.position),
  });
  useLayoutEffect(() => {
    pageCommands.value = { pause: () => (paused.value = !paused.value) };
    return () => (pageCommands.value = {});
  }, []);
  const events = live.list.shown;
  return (
    <Page title={t.title}>
      <Filters
        filters={[
          { name: "thread", label: f.thread },
          { name: "user", label: f.user },
          { name: "kind", label: f.kind, choices: kinds.map((k) => [k, k]) },
        ]}
      />
      <Trouble problem={live.problem} again={live.again} />
      <LiveFrame live={live} label={t.list}>
        <EventTable label={t.title} events={events} thread />
        {live.first !== undefined && events.length === 0 && <p>{q === "" ? t.empty : t.emptyFiltered}</p>}
        {live.loading && events.length === 0 && <p class="faint">{words.value.loading}</p>}
        <LiveMore live={live} />
      </LiveFrame>
    </Page>
  );
}

export function useEvents(path: string): Paged<LogEvent, EventPage> {
  return usePages<LogEvent, EventPage>(path, (page) => page.events);
}

/** Events as rows; thread says whether the thread is a column. */
export function EventTable(p: { label: string; events: readonly LogEvent[]; thread: boolean }) {
  const t = words.value.events;
  if (p.events.length === 0) return null;
  const columns: Column<LogEvent>[] = [
    { head: t.time, cell: (e) => <When time={e.time} /> },
    { head: t.kind, cell: (e) => <span lang="en">{e.kind}</span> },
    { head: t.thread, cell: (e) => <IdLink kind="threads" id={e.thread} /> },
    { head: t.number, class: "num", wide: true, cell: (e) => e.number },
    { head: t.user, cell: (e) => <IdLink kind="users" id={e.user} /> },
    { head: t.message, wide: true, cell: (e) => <code>{e.message ?? ""}</code> },
    { head: t.position, class: "num", wide: true, cell: (e) => e.position },
  ];
  return <Table label={p.label} rows={p.events} rowKey={eventKey} columns={p.thread ? columns : columns.filter((c) => c.head !== t.thread)} />;
}
