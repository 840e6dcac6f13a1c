import { linePath, niceMost } from "../chart.ts";
import { figure } from "../format.ts";
import { words } from "../words/index.ts";

/** A line of a chart and its value of this moment, undefined if there is none. Lines differ in colour and in their dashes. */
export type Series = { name: string; values: readonly number[]; now: number | undefined };

const [width, height] = [300, 80];

/** A small chart of lines over the last 15 minutes, with the values in words below it. */
export function Chart(p: { title: string; series: Series[]; steps: number }) {
  const t = words.value.overview;
  const language = words.value.code;
  const most = niceMost(Math.max(...p.series.flatMap((s) => s.values), 0));
  const current = (s: Series): string => (s.now === undefined ? "–" : figure(language, s.now));
  const parts = p.series.map((s) => t.series(s.name, current(s), figure(language, Math.max(...s.values, 0))));
  return (
    <figure class="chart">
      <figcaption>{p.title}</figcaption>
      <div class="plot">
        <span class="most" aria-hidden="true">
          {figure(language, most)}
        </span>
        <svg viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img" aria-label={t.chart(p.title, parts.join(". "))}>
          <path class="grid" d={`M0 0H${width}M0 ${height / 2}H${width}M0 ${height}H${width}`} />
          {p.series.map((s, i) => (
            <path key={s.name} class={`line line${i}`} d={linePath(s.values, width, height, p.steps, most)} />
          ))}
        </svg>
        <div class="span" aria-hidden="true">
          <span>{t.before}</span>
          <span>{t.now}</span>
        </div>
      </div>
      <ul class="legend">
        {p.series.map((s, i) => (
          <li key={s.name}>
            <svg viewBox="0 0 24 8" class="sample" aria-hidden="true">
              <path class={`line line${i}`} d="M0 4H24" />
            </svg>
            {s.name} <b>{current(s)}</b>{" "}
            <span class="faint">
              {t.most} {figure(language, Math.max(...s.values, 0))}
            </span>
          </li>
        ))}
      </ul>
    </figure>
  );
}
