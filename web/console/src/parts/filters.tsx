import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { route, setFilters } from "../state.ts";
import { words } from "../words/index.ts";

/** A filter of a list: a text, or one of the given values with their words. */
export type Filter = { name: string; label: string; choices?: [string, string][]; suggestions?: readonly string[] };

/** The filters of a list. They stand in the address, so that a link shows the same rows. */
export function Filters(p: { filters: Filter[] }) {
  const t = words.value.filter;
  const set = route.value.filters;
  const some = p.filters.some((f) => set[f.name] !== undefined);
  const clear = (): void => setFilters(Object.fromEntries(p.filters.map((f) => [f.name, undefined])));
  return (
    <form class="filters" role="search" aria-label={t.title} onSubmit={(e) => e.preventDefault()}>
      {p.filters.map((f) => (f.choices === undefined ? <Text key={f.name} filter={f} /> : <Choice key={f.name} filter={f} choices={f.choices} />))}
      {some && (
        <button type="button" class="small" onClick={clear}>
          {t.clear}
        </button>
      )}
    </form>
  );
}

function Choice(p: { filter: Filter; choices: [string, string][] }) {
  const value = route.value.filters[p.filter.name] ?? "";
  // A link may name a value that is not offered here.
  const choices: [string, string][] = value === "" || p.choices.some(([v]) => v === value) ? p.choices : [...p.choices, [value, value]];
  return (
    <label>
      <span>{p.filter.label}</span>
      <select value={value} onChange={(e) => setFilters({ [p.filter.name]: e.currentTarget.value })}>
        {[["", words.value.filter.any], ...choices].map(([v, text]) => (
          <option key={v} value={v}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

/** A text that counts when it has been left alone for a moment. */
function Text(p: { filter: Filter }) {
  const value = route.value.filters[p.filter.name] ?? "";
  const [text, setText] = useState(value);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  // A space at the end is kept while somebody writes on.
  useLayoutEffect(() => setText((now) => (now.trim() === value ? now : value)), [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const listId = "suggest-" + p.filter.name;
  return (
    <label>
      <span>{p.filter.label}</span>
      <input
        type="text"
        value={text}
        size={14}
        autocomplete="off"
        spellcheck={false}
        {...(p.filter.suggestions === undefined ? {} : { list: listId })}
        onInput={(e) => {
          const typed = e.currentTarget.value;
          setText(typed);
          clearTimeout(timer.current);
          timer.current = setTimeout(() => setFilters({ [p.filter.name]: typed.trim() }), 300);
        }}
      />
      {p.filter.suggestions !== undefined && (
        <datalist id={listId}>
          {p.filter.suggestions.map((s) => (
            <option key={s} value={s} />
          ))}
        </datalist>
      )}
    </label>
  );
}
