// The pages that are one list each: Keys, Limits, Audit, and the results of a search.

import { useEffect, useState } from "preact/hooks";
import { call } from "../api.ts";
import { number } from "../format.ts";
import { useLoad, usePages } from "../load.ts";
import { Facts, IdLink, More, Page, Status, Trouble, When } from "../parts/basic.tsx";
import { Confirm, Secret } from "../parts/dialog.tsx";
import { Filters } from "../parts/filters.tsx";
import { Table, type Column } from "../parts/table.tsx";
import { formatRoute, query } from "../route.ts";
import { mayChange, route } from "../state.ts";
import type { AuditRow, Hit, Key, Limits as LimitsData, RotatedKey } from "../types.ts";
import { words } from "../words/index.ts";

export function Keys() {
  const t = words.value.accessKeys;
  const language = words.value.code;
  const { data, problem, again } = useLoad<Key[]>("/keys");
  const [asked, setAsked] = useState<string>();
  const [made, setMade] = useState<{ key: RotatedKey; failed: string }>();
  const columns: Column<Key>[] = [
    { head: t.name, cell: (k) => t.names[k.name] ?? k.name },
    { head: t.serial, class: "num", cell: (k) => k.serial },
    { head: t.tokens, class: "num", cell: (k) => number(language, k.liveTokens) },
  ];
  if (mayChange()) {
    columns.push({
      head: t.rotate,
      cell: (k) =>
        k.configured === true ? (
          t.configured
        ) : (
          <button type="button" class="small" aria-label={`${t.rotate}: ${t.names[k.name] ?? k.name}`} onClick={() => setAsked(k.name)}>
            {t.rotate}
          </button>
        ),
    });
  }
  return (
    <Page title={t.title}>
      <p class="faint intro">{t.intro}</p>
      <Trouble problem={problem} again={again} />
      {data !== undefined && <Table label={t.list} rows={data} rowKey={(k) => k.name} columns={columns} />}
      {asked !== undefined && (
        <Confirm
          title={t.rotateTitle(t.names[asked] ?? asked)}
          text={t.rotateText}
          button={t.rotate}
          onClose={() => setAsked(undefined)}
          run={async () => {
            const done = await call<{ keys: RotatedKey[]; failed?: string }>("POST", `/keys/${encodeURIComponent(asked)}/rotate`);
            const key = done.keys[0];
            if (key !== undefined) setMade({ key, failed: done.failed ?? "" });
            again();
          }}
        />
      )}
      {made !== undefined && asked === undefined && (
        <Secret title={t.rotated} text={made.failed !== "" ? `${t.failed}: ${made.failed}` : t.ended(number(language, made.key.ended))} secret={made.key.accessKey} onClose={() => setMade(undefined)} />
      )}
    </Page>
  );
}

export function Limits() {
  const t = words.value.limits;
  const language = words.value.code;
  const { data, problem, again } = useLoad<LimitsData>("/limits", 5000);
  return (
    <Page title={t.title}>
      <Trouble problem={problem} again={again} />
      {data === undefined ? (
        problem === undefined && <p class="faint">{words.value.loading}</p>
      ) : (
        <>
          <Facts rows={[[t.profile, data.profile]]} />
          <h2>{t.users}</h2>
          {data.users.length === 0 ? (
            <p class="faint">{t.noUsers}</p>
          ) : (
            <Table
              label={t.users}
              rows={data.users}
              rowKey={(u) => `${u.user} ${u.thread} ${u.limit}`}
              columns={[
                { head: t.subject, cell: (u) => (u.user === undefined ? <IdLink kind="threads" id={u.thread} /> : <IdLink kind="users" id={u.user} />) },
                { head: t.name, cell: (u) => <span lang="en">{u.limit}</span> },
                {
                  head: t.used,
                  cell: (u) => (
                    <>
                      <meter value={u.used} max={u.of} high={u.of * 0.8} aria-label={`${u.limit} ${u.user ?? u.thread}`} /> {number(language, u.used)} / {number(language, u.of)}{" "}
                      {u.over && <span class="status s4">{t.over}</span>}
                    </>
                  ),
                },
                { head: t.resets, wide: true, cell: (u) => <When time={u.resets} /> },
              ]}
            />
          )}
          <h2>{t.list}</h2>
          {data.limits.length === 0 ? (
            <p class="faint">{t.off}</p>
          ) : (
            <Table
              label={t.list}
              rows={data.limits}
              rowKey={(l) => l.name + l.scope + String(l.window)}
              columns={[
                { head: t.name, cell: (l) => <span lang="en">{l.name}</span> },
                { head: t.scope, cell: (l) => <span lang="en">{l.scope}</span> },
                { head: t.value, class: "num", cell: (l) => `${number(language, l.value)} ${l.unit}` },
                { head: t.window, cell: (l) => (l.window === undefined ? t.always : t.seconds(number(language, l.window))) },
              ]}
            />
          )}
        </>
      )}
    </Page>
  );
}

/** Outcomes that the filter offers: that of a change, and the usual refusals. */
const outcomes = ["done", "role", "no-credential", "session-ended", "bad-code", "foreign-origin", "foreign-host"] as const;

export function Audit() {
  const t = words.value.audit;
  const f = words.value.filter;
  const { operation, who, target, outcome } = route.value.filters;
  const q = query({ operation, who, target, outcome });
  const found = usePages<AuditRow, { rows: AuditRow[]; next?: string }>("/audit" + q, (page) => page.rows);
  return (
    <Page
      title={t.title}
      aside={
        <button type="button" onClick={found.again}>
          {words.value.refresh}
        </button>
      }
    >
      <Filters
        filters={[
          { name: "operation", label: f.operation },
          { name: "who", label: f.who },
          { name: "target", label: f.target },
          { name: "outcome", label: f.outcome, suggestions: outcomes },
        ]}
      />
      <Trouble problem={found.problem} again={found.again} />
      {found.last !== undefined && found.items.length === 0 && <p>{q === "" ? t.empty : t.emptyFiltered}</p>}
      {found.items.length > 0 && (
        <Table
          label={t.list}
          rows={found.items}
          rowKey={(r) => r.id}
          columns={[
            { head: t.time, cell: (r) => <When time={r.time} /> },
            { head: t.who, cell: (r) => <><span class="nowrap">{r.who}</span>{!r.who.startsWith(r.kind) && <span class="tag">{t.kinds[r.kind] ?? r.kind}</span>}</> },
            { head: t.operation, cell: (r) => <span lang="en">{r.operation}</span> },
            { head: t.target, cell: (r) => <Target target={r.target ?? ""} /> },
            { head: t.outcome, cell: (r) => <span class="nowrap"><Status status={r.status} /> <span lang="en">{r.outcome}</span></span> },
            { head: t.role, wide: true, cell: (r) => <span lang="en">{r.role}</span> },
            { head: t.from, wide: true, cell: (r) => r.from },
            { head: t.requestId, wide: true, cell: (r) => <code class="long-id">{r.requestId}</code> },
          ]}
        />
      )}
      <More next={found.next} loading={found.loading} more={found.more} />
    </Page>
  );
}

/** What an operation was about: ids as links. What a user sees of a thread is about both. */
function Target(p: { target: string }) {
  return (
    <>
      {p.target.split(/[\s/]+(?=8:|19:)/).map((id) => (
        <span key={id}>
          {id.startsWith("8:") ? <IdLink kind="users" id={id} /> : id.startsWith("19:") ? <IdLink kind="threads" id={id} /> : <span class="break">{id}</span>}{" "}
        </span>
      ))}
    </>
  );
}

export function Search() {
  const t = words.value.search;
  const q = route.value.filters["q"] ?? "";
  const { data, problem, loading, again } = useLoad<{ hits: Hit[] }>(q === "" ? undefined : "/search" + query({ q }));
  const only = data?.hits.length === 1 ? data.hits[0] : undefined;
  useEffect(() => {
    // The one thing that has this id takes the place of the search in the history.
    if (only !== undefined) location.replace(hitAddress(only));
  }, [only]);
  return (
    <Page title={t.title}>
      <Trouble problem={problem} again={again} />
      {loading && q !== "" && <p class="faint">{words.value.loading}</p>}
      {data !== undefined && (
        <>
          <p role="status">{data.hits.length === 0 ? t.nothing(q) : t.found(data.hits.length)}</p>
          {data.hits.length === 0 && <p>{t.nothingMore}</p>}
          <ul>
            {data.hits.map((hit) => (
              <li key={hit.kind + hit.id}>
                {t.kinds[hit.kind] ?? hit.kind}: <a href={hitAddress(hit)}>{hit.label === "" ? hit.id : hit.label}</a> <code class="break">{hit.id}</code>
              </li>
            ))}
          </ul>
        </>
      )}
    </Page>
  );
}

/** The page that shows what a search has found. */
export function hitAddress(hit: Hit): string {
  switch (hit.kind) {
    case "user":
      return formatRoute("users", hit.id);
    case "thread":
      return formatRoute("threads", hit.id);
    case "message":
      return formatRoute("threads", hit.thread ?? "", { tab: "messages", message: hit.id });
    case "request":
      return formatRoute("requests", hit.id);
  }
}
