import { useState } from "preact/hooks";
import { call, isProblem, type Problem } from "../api.ts";
import { usePages } from "../load.ts";
import { More, Page, Trouble } from "../parts/basic.tsx";
import { Table } from "../parts/table.tsx";
import { formatRoute, query } from "../route.ts";
import { go, mayChange, route, say } from "../state.ts";
import type { User as UserData, UserPage } from "../types.ts";
import { words } from "../words/index.ts";
import { Looked, SearchForm } from "./threads.tsx";

export function Users() {
  const t = words.value.users;
  const search = route.value.filters["search"] ?? "";
  const found = usePages<UserData, UserPage>("/users" + query({ search }), (page) => page.users);
  return (
    <Page title={t.title} aside={mayChange() && <NewUser />}>
      <SearchForm label={t.search} value={search} />
      <Trouble problem={found.problem} again={found.again} />
      {search !== "" && <Looked page={found.last} some={t.looked} all={t.lookedAll} />}
      {found.items.length > 0 && (
        <Table
          label={t.list}
          rows={found.items}
          rowKey={(u) => u.id}
          columns={[
            { head: t.id, cell: (u) => <a href={formatRoute("users", u.id)}><code class="break">{u.id}</code></a> },
            ...(search === "" ? [] : [{ head: t.name, cell: (u: UserData) => u.displayName ?? "" }]),
            { head: t.state, cell: (u) => t.states[u.state] ?? u.state },
            { head: t.revoked, class: "num", wide: true, cell: (u) => u.revoked },
          ]}
        />
      )}
      {found.last !== undefined && found.items.length === 0 && (search === "" || found.last.complete === true) && <p>{search === "" ? t.empty : t.noHit}</p>}
      <More next={found.next} loading={found.loading} more={found.more} label={search === "" ? words.value.more : t.goOn} />
    </Page>
  );
}

function NewUser() {
  const t = words.value.users;
  const [problem, setProblem] = useState<Problem>();
  const create = async (): Promise<void> => {
    setProblem(undefined);
    try {
      const made = await call<UserData>("POST", "/users", {});
      say(t.created);
      go("users", made.id);
    } catch (error) {
      if (!isProblem(error)) throw error;
      setProblem(error);
    }
  };
  return (
    <>
      <button type="button" onClick={() => void create()}>
        {t.create}
      </button>
      <Trouble problem={problem} />
    </>
  );
}
