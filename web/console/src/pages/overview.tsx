// Is all well: figures of the last 15 minutes from the server's memory.

import { useEffect, useState } from "preact/hooks";
import { stream } from "../api.ts";
import { bytes, dateTime, number } from "../format.ts";
import { useLoad } from "../load.ts";
import { Facts, Page, Trouble, When } from "../parts/basic.tsx";
import { Chart, type Series } from "../parts/chart.tsx";
import { Table } from "../parts/table.tsx";
import { awake } from "../state.ts";
import type { Overview as OverviewData, Point } from "../types.ts";
import { words } from "../words/index.ts";

/** Milliseconds between two looks; the server has a point for each five seconds. */
const lookAgain = 5000;

const minutes = 15;

const counted: ReadonlySet<string> = new Set(["requests", "refused", "errors", "sends"]);

/** Figures that are times. Nothing has taken 0 ms: it means that there was nothing to measure. */
const timed: ReadonlySet<string> = new Set(["p50", "p99", "commit"]);

export function Overview() {
  const t = words.value.overview;
  const language = words.value.code;
  const { data, problem, again } = useLoad<OverviewData>("/overview", lookAgain);
  const now = useNow();
  if (data === undefined) {
    return (
      <Page title={t.title}>
        <Trouble problem={problem} again={again} />
        <p class="faint">{words.value.loading}</p>
      </Page>
    );
  }
  const steps = (minutes * 60) / (data.step || 5);
  const series = (name: string, field: Exclude<keyof Point, "t">): Series => {
    // A point counts what came in its step, and the chart shows how many a second.
    const values = data.points.map((p) => p[field] / (counted.has(field) ? data.step || 1 : 1));
    const last = now?.[field] ?? values[values.length - 1] ?? 0;
    return { name, values, now: last === 0 && timed.has(field) ? undefined : last };
  };
  const well = data.ready && data.problems.length === 0;
  return (
    <Page title={t.title}>
      <Trouble problem={problem} again={again} />
      <p class={well ? "well" : "trouble"} role="status">
        {!data.ready ? t.notReady : well ? t.well : t.problems}
      </p>
      {data.problems.length > 0 && (
        <ul class="problems" lang="en">
          {data.problems.map((p) => (
            <li key={p}>{p}</li>
          ))}
        </ul>
      )}
      <div class="charts">
        <Chart
          title={t.rate}
          steps={steps}
          series={[
            series(t.requests, "requests"),
            series(t.refused, "refused"),
            series(t.errors, "errors"),
          ]}
        />
        <Chart
          title={t.latency}
          steps={steps}
          series={[
            series("p50", "p50"),
            series("p99", "p99"),
          ]}
        />
        <Chart title={t.commit} steps={steps} series={[series(t.mean, "commit")]} />
        <Chart title={t.sends} steps={steps} series={[series(t.sendsName, "sends")]} />
        <Chart
          title={t.connections}
          steps={steps}
          series={[
            series(t.open, "connections"),
            series(t.liveName, "live"),
          ]}
        />
      </div>
      <p>{t.totals(number(language, data.totals.requests), number(language, data.totals.refused), dateTime(language, data.totals.since))}</p>
      <div class="columns">
        <section>
          <h2>{t.refusals}</h2>
          {data.refusals.length === 0 ? (
            <p class="faint">{t.noRefusals}</p>
          ) : (
            <Table
              label={t.refusals}
              rows={data.refusals}
              rowKey={(r) => r.reason}
              columns={[
                { head: t.reason, cell: (r) => <span lang="en">{r.reason}</span> },
                { head: t.count, class: "num", cell: (r) => number(language, r.count) },
              ]}
            />
          )}
        </section>
        <section>
          <h2>{t.storage}</h2>
          <Facts
            rows={[
              [t.engine, data.storage.kind],
              [t.size, data.storage.bytes === undefined ? "" : bytes(language, data.storage.bytes)],
              [t.free, data.storage.free === undefined ? "" : bytes(language, data.storage.free)],
              [t.position, number(language, data.storage.position)],
              [t.connections, number(language, data.connections.open)],
              [t.mostAtOnce, number(language, data.connections.most)],
            ]}
          />
        </section>
      </div>
      <h2>{t.servers}</h2>
      <Table
        label={t.servers}
        rows={data.servers}
        rowKey={(s) => s.id}
        columns={[
          { head: t.server, cell: (s) => <><code>{s.id}</code>{s.self && ` (${t.self})`}</> },
          { head: t.version, cell: (s) => s.version },
          { head: t.started, cell: (s) => <When time={s.started} /> },
          { head: t.seen, cell: (s) => <When time={s.seen} /> },
        ]}
      />
    </Page>
  );
}

/** The figures of the last second; undefined until the stream has brought some. */
function useNow(): Point | undefined {
  const [point, setPoint] = useState<Point>();
  const back = awake.value;
  useEffect(() => {
    if (!back) return;
    const ends = new AbortController();
    stream("/overview/stream", "", ends.signal, (e) => {
      if (e.event === "figures") setPoint(JSON.parse(e.data) as Point);
    }).catch((error: unknown) => {
      // The charts go on without the figures of each second.
      if (!ends.signal.aborted) console.warn(error);
    });
    return () => ends.abort();
  }, [back]);
  return point;
}
