import { useState } from "preact/hooks";
import { number } from "../format.ts";
import { usePages } from "../load.ts";
import { IdLink, More, Page, Trouble, When } from "../parts/basic.tsx";
import { Table, type Column } from "../parts/table.tsx";
import { formatRoute, query } from "../route.ts";
import { route, setFilters } from "../state.ts";
import type { ThreadEntry, ThreadPage } from "../types.ts";
import { words } from "../words/index.ts";

export function Threads() {
  const t = words.value.threads;
  const search = route.value.filters["search"] ?? "";
  const found = usePages<ThreadEntry, ThreadPage>("/threads" + query({ search }), (page) => page.threads);
  const searched = search !== "" && found.last !== undefined;
  return (
    <Page title={t.title}>
      <SearchForm label={t.search} value={search} />
      <Trouble problem={found.problem} again={found.again} />
      {search !== "" && <Looked page={found.last} some={t.looked} all={t.lookedAll} />}
      <ThreadTable label={search === "" ? t.recent : t.searching} threads={found.items} />
      {found.last !== undefined && found.items.length === 0 && (!searched || found.last.complete === true) && <p>{search === "" ? t.empty : t.noHit}</p>}
      <More next={found.next} loading={found.loading} more={found.more} label={search === "" ? words.value.more : t.goOn} />
    </Page>
  );
}

/** The threads of a list; nothing if there is none. */
export function ThreadTable(p: { label: string; threads: ThreadEntry[] }) {
  const t = words.value.threads;
  const language = words.value.code;
  if (p.threads.length === 0) return null;
  const columns: Column<ThreadEntry>[] = [
    {
      head: t.topic,
      cell: (thread) => (
        <>
          <a href={formatRoute("threads", thread.id)}>{thread.topic === "" ? words.value.noTopic : thread.topic}</a>
          {thread.deletedOn !== undefined && <span class="tag">{t.deleted}</span>}
        </>
      ),
    },
    { head: t.id, wide: true, cell: (thread) => <IdLink kind="threads" id={thread.id} /> },
    { head: t.last, cell: (thread) => <When time={thread.lastMessageOn} /> },
  ];
  if (p.threads.some((thread) => thread.members !== undefined)) {
    columns.push({ head: t.members, class: "num", cell: (thread) => (thread.members === undefined ? "" : number(language, thread.members)) });
  }
  return <Table label={p.label} rows={p.threads} rowKey={(thread) => thread.id} columns={columns} />;
}

/** How far a bounded search has looked. */
export function Looked(p: { page: { looked?: number; complete?: boolean } | undefined; some: (n: string) => string; all: (n: string) => string }) {
  if (p.page?.looked === undefined) return null;
  const n = number(words.value.code, p.page.looked);
  return (
    <p class="faint" role="status">
      {p.page.complete === true ? p.all(n) : p.some(n)}
    </p>
  );
}

/** A field for a text to search for, which stands in the address. */
export function SearchForm(p: { label: string; value: string }) {
  const [text, setText] = useState(p.value);
  const submit = (e: Event): void => {
    e.preventDefault();
    setFilters({ search: text.trim() });
  };
  return (
    <form class="filters" role="search" aria-label={p.label} onSubmit={submit}>
      <label>
        <span>{p.label}</span>
        <input type="search" value={text} size={30} autocomplete="off" onInput={(e) => setText(e.currentTarget.value)} />
      </label>
      <button type="submit">{words.value.search.button}</button>
    </form>
  );
}
