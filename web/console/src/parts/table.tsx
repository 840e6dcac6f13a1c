import type { ComponentChildren } from "preact";

/** A column of a table. wide columns are hidden where the window is narrow. */
export type Column<T> = { head: string; cell: (row: T) => ComponentChildren; class?: string; wide?: boolean };

/** A table with a caption for screen readers. It scrolls sideways inside its frame where it is too wide. */
export function Table<T>(p: { label: string; columns: Column<T>[]; rows: readonly T[]; rowKey: (row: T) => string | number }) {
  return (
    <div class="scroll" role="region" aria-label={p.label} tabIndex={0}>
      <table>
        <caption class="hidden">{p.label}</caption>
        <thead>
          <tr>
            {p.columns.map((c) => (
              <th key={c.head} scope="col" class={classOf(c)}>
                {c.head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {p.rows.map((row) => (
            <tr key={p.rowKey(row)}>
              {p.columns.map((c) => (
                <td key={c.head} class={classOf(c)}>
                  {c.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function classOf<T>(c: Column<T>): string {
  return [c.class ?? "", c.wide === true ? "wide" : ""].join(" ").trim();
}
