// The small parts that every page is made of.

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Problem } from "../api.ts";
import { dateTime, shortId, timeOfDay } from "../format.ts";
import { formatRoute } from "../route.ts";
import { say, signIn } from "../state.ts";
import { words } from "../words/index.ts";

/** A page's main heading and content. The heading gets the focus when its text changes, so that a screen reader says where it is. */
export function Page(p: { title: string; id?: string; aside?: ComponentChildren; children: ComponentChildren }) {
  const heading = useRef<HTMLHeadingElement>(null);
  const place = p.title + (p.id ?? "");
  useEffect(() => {
    document.title = `${p.title} · ${words.value.product}`;
    if (document.activeElement === document.body || document.activeElement?.closest("nav") !== null) heading.current?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }, [place]);
  return (
    <>
      <div class="page-head">
        <h1 ref={heading} tabIndex={-1}>
          {p.title}
        </h1>
        {p.aside}
      </div>
      {p.id !== undefined && p.id !== "" && <FullId id={p.id} />}
      {p.children}
    </>
  );
}

/** An id in full, with a button that copies it. */
export function FullId(p: { id: string }) {
  return (
    <p class="full-id">
      <code>{p.id}</code> <Copy text={p.id} />
    </p>
  );
}

/** A link to what an id names, with its end as the text. */
export function IdLink(p: { kind: "users" | "threads"; id: string | undefined; label?: string | undefined }) {
  if (p.id === undefined || p.id === "") return <span class="faint">–</span>;
  return (
    <a href={formatRoute(p.kind, p.id)} title={p.id}>
      {p.label !== undefined && p.label !== "" ? p.label : <code>{shortId(p.id)}</code>}
    </a>
  );
}

export async function copyText(text: string, done = words.value.copied): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    say(done);
  } catch {
    say(words.value.notCopied);
  }
}

export function Copy(p: { text: string; label?: string }) {
  return (
    <button type="button" class="small" onClick={() => void copyText(p.text)}>
      {p.label ?? words.value.copy}
    </button>
  );
}

/** A time; day says whether the date is shown. */
export function When(p: { time: string | undefined; day?: boolean }) {
  if (p.time === undefined || p.time === "") return <span class="faint">–</span>;
  const language = words.value.code;
  return (
    <time dateTime={p.time} title={p.time}>
      {p.day === false ? timeOfDay(language, p.time) : dateTime(language, p.time)}
    </time>
  );
}

/** The status of an answer, with its class as colour beside the number. */
export function Status(p: { status: number }) {
  const kind = p.status === 0 ? "s5" : `s${Math.floor(p.status / 100)}`;
  return <span class={`status ${kind}`}>{p.status === 0 ? words.value.requests.noAnswer : p.status}</span>;
}

/** Why something failed, in words, and a button that tries again if that can help. */
export function Trouble(p: { problem: Problem | undefined; again?: () => void }) {
  const problem = p.problem;
  // An ended session has a page of its own. An absent server is told at the top, and what was to be loaded is tried again by itself.
  if (problem === undefined || signIn.value !== "in" || (problem.status === 0 && p.again !== undefined)) return null;
  const t = words.value.problem;
  return (
    <div class="trouble" role="alert">
      <p>
        <strong>{t.title}.</strong> <Detail problem={problem} />
      </p>
      {problem.request !== "" && <p class="faint">{t.requestId(problem.request)}</p>}
      {p.again !== undefined && (
        <button type="button" onClick={p.again}>
          {words.value.again}
        </button>
      )}
    </div>
  );
}

function Detail(p: { problem: Problem }) {
  const t = words.value.problem;
  if (p.problem.status === 0) return <>{t.noAnswer}</>;
  if (p.problem.code === "no-json") return <>{t.noJson}</>;
  if (p.problem.message === "") return <>{t.unknown(p.problem.status)}</>;
  // The server's sentences are in English.
  return <span lang="en">{p.problem.message.replace(/[^.!?]$/, "$&.")}</span>;
}

/** A list of terms and what they mean; rows without a value are left out. */
export function Facts(p: { rows: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {p.rows
        .filter(([, value]) => value !== undefined && value !== "")
        .map(([term, value]) => (
          <div key={term}>
            <dt>{term}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

/** The button below a list that is longer. */
export function More(p: { next: string | undefined; loading: boolean; more: () => void; label?: string }) {
  if (p.loading) return <p class="faint">{words.value.loading}</p>;
  if (p.next === undefined) return null;
  return (
    <p>
      <button type="button" onClick={p.more}>
        {p.label ?? words.value.more}
      </button>
    </p>
  );
}

/** A command for a terminal, with a button that copies it. */
export function Command(p: { text: string }) {
  return (
    <p class="command">
      <code>{p.text}</code> <Copy text={p.text} />
    </p>
  );
}
