// The settings and where they come from; on a development server also its clock and its faults.

import { useState } from "preact/hooks";
import { call, isProblem, type Problem } from "../api.ts";
import { number } from "../format.ts";
import { useLoad } from "../load.ts";
import { Facts, Page, Trouble, When } from "../parts/basic.tsx";
import { Table } from "../parts/table.tsx";
import { keysOn, mayChange, say, session, switchKeys } from "../state.ts";
import type { Clock as ClockData, Fault, Faults as FaultsData, Setting } from "../types.ts";
import { words } from "../words/index.ts";

export function Settings() {
  const t = words.value.settings;
  const { data, problem, again } = useLoad<{ settings: Setting[] }>("/settings");
  const [changedOnly, setChangedOnly] = useState(false);
  const server = session.value?.server;
  const shown = (data?.settings ?? []).filter((s) => !changedOnly || !s.source.endsWith("default"));
  return (
    <Page title={t.title}>
      <h2>{t.server}</h2>
      {server !== undefined && (
        <Facts
          rows={[
            [t.version, server.version],
            [t.endpoint, <code class="break">{server.endpoint}</code>],
            [t.chat, server.http === undefined || server.http === "" ? "" : <a href={server.http}>{server.http}</a>],
            [t.storage, server.storage],
            [t.data, <code class="break">{server.data}</code>],
            [t.started, <When time={server.started} />],
          ]}
        />
      )}
      <h2>{t.page}</h2>
      <label class="check">
        <input type="checkbox" checked={keysOn.value} onChange={(e) => switchKeys(e.currentTarget.checked)} /> {words.value.keys.on}
      </label>
      {server?.dev === true && (
        <>
          <Clock />
          <Faults />
        </>
      )}
      <h2>{t.list}</h2>
      <Trouble problem={problem} again={again} />
      <label class="check">
        <input type="checkbox" checked={changedOnly} onChange={(e) => setChangedOnly(e.currentTarget.checked)} /> {t.changedOnly}
      </label>
      {data !== undefined && (
        <Table
          label={t.list}
          rows={shown}
          rowKey={(s) => s.name}
          columns={[
            {
              head: t.name,
              cell: (s) => (
                <>
                  <code>{s.name}</code>
                  <div class="faint" lang="en">
                    {s.help}
                  </div>
                </>
              ),
            },
            { head: t.value, cell: (s) => (s.secret && s.value !== "" ? <i>{t.hidden}</i> : s.value === "" ? <span class="faint">{t.unset}</span> : <code class="break">{s.value}</code>) },
            { head: t.source, cell: (s) => <span lang="en">{s.source}</span> },
            { head: t.default, wide: true, cell: (s) => (s.default === "" ? "" : <code class="break">{s.default}</code>) },
          ]}
        />
      )}
    </Page>
  );
}

function Clock() {
  const t = words.value.settings;
  const { data, problem, again } = useLoad<ClockData>("/clock", 10_000);
  const [advance, setAdvance] = useState("");
  const change = useChange();
  const move = (e: Event): void => {
    e.preventDefault();
    void change.run(async () => {
      await call("POST", "/clock", { advance: advance.trim() });
      setAdvance("");
      say(t.clockMoved);
      again();
    });
  };
  return (
    <>
      <h2>{t.clock}</h2>
      <Trouble problem={problem} again={again} />
      {data !== undefined && <Facts rows={[[t.clockNow, <When time={data.now} />], [t.clockAhead, data.ahead]]} />}
      {mayChange() && (
        <form class="filters" onSubmit={move}>
          <label>
            <span>{t.clockAdvance}</span>
            <input type="text" required size={16} value={advance} autocomplete="off" onInput={(e) => setAdvance(e.currentTarget.value)} />
          </label>
          <button type="submit">{t.clockMove}</button>
        </form>
      )}
      <Trouble problem={change.problem} />
      <p class="faint">{t.clockNote}</p>
    </>
  );
}

function Faults() {
  const t = words.value.settings;
  const { data, problem, again } = useLoad<FaultsData>("/faults", 5000);
  const change = useChange();
  const clear = (): void =>
    void change.run(async () => {
      await call("DELETE", "/faults");
      say(t.faultsCleared);
      again();
    });
  return (
    <>
      <h2>{t.faults}</h2>
      <p class="faint">{t.faultsNote}</p>
      <Trouble problem={problem} again={again} />
      {data !== undefined && data.faults.length === 0 && <p>{t.noFaults}</p>}
      {data !== undefined && data.faults.length > 0 && (
        <Table
          label={t.faults}
          rows={data.faults.map((fault, i) => ({ ...fault, i }))}
          rowKey={(f) => f.i}
          columns={[
            { head: t.faultOperation, cell: (f) => (f.operation === undefined || f.operation === "" ? t.faultEvery : <span lang="en">{f.operation}</span>) },
            { head: t.faultStatusShort, cell: (f) => f.status ?? "" },
            { head: t.faultRetry, cell: (f) => f.retryAfter ?? "" },
            { head: t.faultDelayShort, cell: (f) => f.delay ?? "" },
            { head: t.faultDrop, cell: (f) => (f.drop === "before" ? t.dropBefore : f.drop === "after" ? t.dropAfter : "") },
            { head: t.faultLeft, cell: (f) => (f.times === -1 || f.times === "always" ? t.faultAlways : (f.times ?? 1)) },
          ]}
        />
      )}
      {mayChange() && data !== undefined && data.faults.length > 0 && (
        <p>
          <button type="button" onClick={clear}>
            {t.faultClear}
          </button>
        </p>
      )}
      {mayChange() && <FaultForm added={again} />}
      <Trouble problem={change.problem} />
      {data !== undefined && Object.keys(data.requests).length > 0 && (
        <details>
          <summary>{t.counted}</summary>
          <Facts rows={Object.entries(data.requests).map(([operation, n]) => [operation, number(words.value.code, n)])} />
        </details>
      )}
    </>
  );
}

function FaultForm(p: { added: () => void }) {
  const t = words.value.settings;
  const change = useChange();
  const add = (e: SubmitEvent): void => {
    e.preventDefault();
    const form = e.currentTarget as HTMLFormElement;
    const given = new FormData(form);
    const text = (name: string): string => String(given.get(name) ?? "").trim();
    const fault: Fault = {
      ...(text("operation") !== "" && { operation: text("operation") }),
      ...(text("status") !== "" && { status: Number(text("status")) }),
      ...(text("retryAfter") !== "" && { retryAfter: Number(text("retryAfter")) }),
      ...(text("delay") !== "" && { delay: text("delay") }),
      ...(text("drop") !== "" && { drop: text("drop") }),
      ...(given.has("always") ? { times: "always" } : text("times") !== "" && { times: Number(text("times")) }),
    };
    void change.run(async () => {
      await call("POST", "/faults", fault);
      form.reset();
      say(t.faultAdded);
      p.added();
    });
  };
  return (
    <form class="filters" onSubmit={add} aria-label={t.faultAdd}>
      <label>
        <span>{t.faultOperation}</span>
        <input type="text" name="operation" size={18} placeholder="send message" autocomplete="off" />
      </label>
      <label>
        <span>{t.faultStatus}</span>
        <input type="number" name="status" min={400} max={599} />
      </label>
      <label>
        <span>{t.faultRetry}</span>
        <input type="number" name="retryAfter" min={0} />
      </label>
      <label>
        <span>{t.faultDelay}</span>
        <input type="text" name="delay" size={8} autocomplete="off" />
      </label>
      <label>
        <span>{t.faultDrop}</span>
        <select name="drop">
          <option value="">{t.dropNo}</option>
          <option value="before">{t.dropBefore}</option>
          <option value="after">{t.dropAfter}</option>
        </select>
      </label>
      <label>
        <span>{t.faultTimes}</span>
        <input type="number" name="times" min={1} placeholder="1" />
      </label>
      <label class="check">
        <input type="checkbox" name="always" /> {t.faultAlways}
      </label>
      <button type="submit">{t.faultAdd}</button>
      <Trouble problem={change.problem} />
    </form>
  );
}

/** Runs a change and keeps the problem of the last one. */
function useChange(): { problem: Problem | undefined; run: (change: () => Promise<void>) => Promise<void> } {
  const [problem, setProblem] = useState<Problem>();
  return {
    problem,
    run: async (change) => {
      setProblem(undefined);
      try {
        await change();
      } catch (error) {
        if (!isProblem(error)) throw error;
        setProblem(error);
      }
    },
  };
}
