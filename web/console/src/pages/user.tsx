// One user: its threads and live connections, and the changes that an operator makes to it.

import { useState } from "preact/hooks";
import { call } from "../api.ts";
import { bytes, dateTime, number } from "../format.ts";
import { useLoad, usePages } from "../load.ts";
import { Facts, More, Page, Trouble, When } from "../parts/basic.tsx";
import { Confirm, Secret } from "../parts/dialog.tsx";
import { Table } from "../parts/table.tsx";
import { mayChange, route, say } from "../state.ts";
import type { ThreadEntry, ThreadPage, User as UserData } from "../types.ts";
import { words } from "../words/index.ts";
import { ThreadTable } from "./threads.tsx";

export function User() {
  const t = words.value.user;
  const { id } = route.value;
  const path = "/users/" + encodeURIComponent(id);
  const { data, problem, again } = useLoad<UserData>(path);
  const threads = usePages<ThreadEntry, ThreadPage>(data === undefined ? undefined : path + "/threads", (page) => page.threads);
  const connections = data?.connections ?? [];
  return (
    <Page title={t.title} id={id}>
      <Trouble problem={problem} again={again} />
      {data !== undefined && (
        <>
          {data.state === "unknown" && <p class="note">{t.unknown}</p>}
          <Facts
            rows={[
              [words.value.users.state, words.value.users.states[data.state] ?? data.state],
              [t.customId, data.customId ?? ""],
              [t.tokenIssuedAt, data.tokenIssuedAt === undefined ? "" : <When time={data.tokenIssuedAt} />],
              [t.deletedAt, data.deletedAt === undefined || data.deletedAt === "" ? "" : <When time={data.deletedAt} />],
              [words.value.users.revoked, number(words.value.code, data.revoked)],
            ]}
          />
          {mayChange() && data.state === "live" && <Changes id={id} path={path} changed={again} />}
          <h2>{t.connections}</h2>
          {connections.length === 0 ? (
            <p class="faint">{t.noConnections}</p>
          ) : (
            <Table
              label={t.connections}
              rows={connections}
              rowKey={(c) => `${c.protocol} ${c.from} ${c.since}`}
              columns={[
                { head: t.protocol, cell: (c) => c.protocol },
                { head: t.from, cell: (c) => c.from ?? "" },
                { head: t.since, cell: (c) => <When time={c.since} /> },
                { head: t.waiting, class: "num", cell: (c) => bytes(words.value.code, c.waiting) },
                { head: t.agent, wide: true, cell: (c) => c.agent ?? "" },
              ]}
            />
          )}
        </>
      )}
      {data !== undefined && (
        <>
          <h2>{t.threads}</h2>
          <Trouble problem={threads.problem} again={threads.again} />
          {threads.last !== undefined && threads.items.length === 0 && <p class="faint">{t.noThreads}</p>}
          <ThreadTable label={t.threads} threads={threads.items} />
          <More next={threads.next} loading={threads.loading} more={threads.more} />
        </>
      )}
    </Page>
  );
}

/** What an operator can change about a user. Each button opens a dialog that says what it does. */
function Changes(p: { id: string; path: string; changed: () => void }) {
  const t = words.value.user;
  const [open, setOpen] = useState<"token" | "end" | "delete">();
  const [token, setToken] = useState<{ token: string; expires: string }>();
  const [hours, setHours] = useState("24");
  const close = (): void => setOpen(undefined);
  return (
    <section aria-label={t.changes} class="buttons">
      <button type="button" onClick={() => setOpen("token")}>
        {t.token}
      </button>
      <button type="button" onClick={() => setOpen("end")}>
        {t.end}
      </button>
      <button type="button" class="danger" onClick={() => setOpen("delete")}>
        {t.delete}
      </button>
      {open === "token" && (
        <Confirm
          title={t.token}
          text={t.tokenText}
          button={t.issue}
          subject={p.id}
          onClose={close}
          run={async () => setToken(await call("POST", p.path + "/tokens", { scopes: ["chat"], hours: Number(hours) }))}
        >
          <label>
            <span>{t.hours}</span>
            <input type="number" min={1} max={24} required value={hours} onInput={(e) => setHours(e.currentTarget.value)} />
          </label>
        </Confirm>
      )}
      {token !== undefined && open === undefined && (
        <Secret title={t.issued} text={t.expires(dateTime(words.value.code, token.expires))} secret={token.token} onClose={() => setToken(undefined)} />
      )}
      {open === "end" && (
        <Confirm
          title={t.end}
          text={t.endText}
          button={t.end}
          subject={p.id}
          onClose={close}
          run={async () => {
            await call("POST", p.path + "/revoke");
            say(t.ended);
            p.changed();
          }}
        />
      )}
      {open === "delete" && (
        <Confirm
          title={t.delete}
          text={t.deleteText}
          button={t.deleteSure}
          subject={p.id}
          onClose={close}
          run={async () => {
            await call("DELETE", p.path);
            say(t.deleted);
            p.changed();
          }}
        />
      )}
    </section>
  );
}
