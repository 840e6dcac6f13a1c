// What arrives now: a live list of requests, and beside it why one was answered as it was.

import { useLayoutEffect, useRef } from "preact/hooks";
import { Command, Page, Status, Trouble, When } from "../parts/basic.tsx";
import { Filters } from "../parts/filters.tsx";
import { LiveFrame, LiveMore, useLive } from "../parts/live.tsx";
import { figure, number, sdkName, shortId } from "../format.ts";
import { move } from "../livelist.ts";
import { formatRoute, query } from "../route.ts";
import { pageCommands, paused, route, say } from "../state.ts";
import type { Request, RequestPage } from "../types.ts";
import { words } from "../words/index.ts";
import { copyCode } from "../code.ts";
import { isProblem } from "../api.ts";
import { RequestDetailView } from "./request.tsx";

const filterNames = ["status", "operation", "user", "thread", "sdk", "q"];

/** The operations that a filter offers, as docs/testing.md has them. */
const operations = [
  "create thread", "list threads", "get thread", "update thread", "delete thread", "send message", "list messages", "get message",
  "update message", "delete message", "list participants", "add participants", "update participant", "remove participant",
  "send read receipt", "list read receipts", "send typing notification", "upload image", "delete image", "get image",
  "create user", "get user", "delete user", "issue token", "revoke tokens", "exchange token", "open event stream",
];

const requestKey = (r: Request): string => r.id;

/**
 * Shows the request with the id beside the list, or none. Only the first one is an entry of the history, so that Back leads to the
 * list, and not past every row that was looked at.
 */
function select(id: string): void {
  const address = formatRoute("requests", id, route.value.filters);
  if (id !== "" && route.value.id === "") history.pushState(null, "", address);
  else history.replaceState(null, "", address);
  route.value = { ...route.value, id };
}

/** Copies a request as curl for the key. The button beside the request shows why it fails. */
async function copyCurl(id: string): Promise<void> {
  try {
    await copyCode(id, "curl");
  } catch (error) {
    if (!isProblem(error)) throw error;
    say(error.message);
  }
}

export function Requests() {
  const t = words.value.requests;
  const f = words.value.filter;
  const language = words.value.code;
  const { id, filters } = route.value;
  const chosen = Object.fromEntries(filterNames.map((name) => [name, filters[name]]));
  const q = query(chosen);
  const live = useLive<Request, RequestPage>({
    list: "/requests" + q,
    items: (page) => page.requests,
    stream: "/requests/stream" + q,
    event: "request",
    key: requestKey,
    cursor: (r) => String(r.seq),
  });
  const body = useRef<HTMLTableSectionElement>(null);
  const rows = live.list.shown;

  const rowOf = (key: string): HTMLElement | null | undefined => body.current?.querySelector<HTMLElement>(`[data-id="${CSS.escape(key)}"] a`);

  // Before the next key: after the picture, a second j would still begin at the row before the first.
  useLayoutEffect(() => {
    pageCommands.value = {
      move: (step) => {
        const next = rows[move(rows, id, step, requestKey)];
        if (next === undefined) return;
        select(next.id);
        rowOf(next.id)?.focus();
      },
      open: () => document.getElementById("request-detail")?.focus(),
      close: () => {
        if (id === "") return;
        select("");
        requestAnimationFrame(() => rowOf(id)?.focus());
      },
      copy: () => {
        if (id !== "") void copyCurl(id);
      },
      pause: () => (paused.value = !paused.value),
    };
    return () => (pageCommands.value = {});
  });

  const filtered = q !== "";
  return (
    <Page title={t.title}>
      <Filters
        filters={[
          { name: "status", label: f.status, choices: [["2xx", "2xx"], ["4xx", "4xx"], ["5xx", "5xx"], ["4xx,5xx", f.refused], ["0", t.noAnswer]] },
          { name: "operation", label: f.operation, suggestions: operations },
          { name: "user", label: f.user },
          { name: "thread", label: f.thread },
          { name: "sdk", label: f.sdk },
          { name: "q", label: f.text },
        ]}
      />
      <Trouble problem={live.problem} again={live.again} />
      <div class={id === "" ? "split" : "split open"}>
        <div class="split-list">
          <LiveFrame live={live} label={t.list}>
            <table class="requests">
              <caption class="hidden">{t.list}</caption>
              <thead>
                <tr>
                  <th scope="col">{t.time}</th>
                  <th scope="col">{t.status}</th>
                  <th scope="col">{t.operation}</th>
                  <th scope="col" class="wide">{t.user}</th>
                  <th scope="col" class="wide">{t.thread}</th>
                  <th scope="col" class="wide">{t.sdk}</th>
                  <th scope="col" class="num">{t.ms}</th>
                </tr>
              </thead>
              <tbody ref={body}>
                {rows.map((r) => (
                  <Row key={r.id} request={r} current={r.id === id || r.clientId === id} language={language} />
                ))}
              </tbody>
            </table>
            {live.first !== undefined && rows.length === 0 && (filtered ? <p>{t.emptyFiltered}</p> : <Empty />)}
            {live.loading && rows.length === 0 && <p class="faint">{words.value.loading}</p>}
            <LiveMore live={live} />
          </LiveFrame>
          {live.first !== undefined && <p class="faint">{t.kept(number(language, live.first.kept), number(language, live.first.seen))}</p>}
        </div>
        {id !== "" && (
          <section class="split-detail" aria-label={t.detail}>
            <RequestDetailView id={id} close={() => pageCommands.value.close?.()} select={select} />
          </section>
        )}
      </div>
    </Page>
  );
}

// A row is drawn again only if its properties change, because it reads a signal: so they are few and stable.
function Row(p: { request: Request; current: boolean; language: string }) {
  const r = p.request;
  const t = words.value.requests;
  const choose = (e: MouseEvent): void => {
    if (e.ctrlKey || e.metaKey || e.shiftKey || e.button !== 0) return;
    e.preventDefault();
    select(r.id);
    // Enter on a row goes on to what stands beside it.
    if (e.detail === 0) requestAnimationFrame(() => document.getElementById("request-detail")?.focus());
  };
  return (
    <tr data-id={r.id} class={p.current ? "current" : ""} onClick={choose}>
      <td>
        <When time={r.time} day={false} />
      </td>
      <td>
        <Status status={r.status} />
      </td>
      <td>
        <a href={formatRoute("requests", r.id)} aria-current={p.current ? "true" : undefined}>
          {r.operation === "" ? `${r.method} ${r.path}` : r.operation}
        </a>
        {r.why !== undefined && r.why.code !== "" && <span class="why-code">{r.why.code}</span>}
      </td>
      <td class="wide">
        <code title={r.user}>{shortId(r.user ?? "")}</code>
      </td>
      <td class="wide">
        <code title={r.thread}>{shortId(r.thread ?? "")}</code>
      </td>
      <td class="wide">
        <span title={r.sdk}>{sdkName(r.sdk ?? "")}</span>
      </td>
      <td class="num">
        <span aria-label={`${figure(p.language, r.ms)} ${t.ms}`}>{figure(p.language, r.ms)}</span>
      </td>
    </tr>
  );
}

function Empty() {
  const t = words.value.requests;
  return (
    <>
      <p>{t.empty}</p>
      <Command text={t.emptyCommand} />
    </>
  );
}
