// One request: why it was answered so, what was sent, what was answered, and the request as a program.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { call, isProblem, type Problem } from "../api.ts";
import { Copy, Facts, IdLink, Status, Trouble, When } from "../parts/basic.tsx";
import { bytes, figure, pretty } from "../format.ts";
import { useLoad } from "../load.ts";
import { formatRoute } from "../route.ts";
import { mayChange, say } from "../state.ts";
import type { HttpPart, RequestDetail } from "../types.ts";
import { words } from "../words/index.ts";
import { copyCode, languageNames } from "../code.ts";

type Props = { id: string; close: () => void; select: (id: string) => void };

export function RequestDetailView(p: Props) {
  const t = words.value.requests;
  const { data, problem, loading, again } = useLoad<RequestDetail>("/requests/" + encodeURIComponent(p.id));
  return (
    <>
      <div class="detail-head">
        <h2 id="request-detail" tabIndex={-1}>
          {data === undefined ? t.detail : data.operation === "" ? data.method : data.operation}
        </h2>
        <button type="button" onClick={p.close}>
          {words.value.close}
        </button>
      </div>
      {loading && data === undefined && <p class="faint">{words.value.loading}</p>}
      {problem?.status === 404 ? <p>{t.gone}</p> : <Trouble problem={problem} again={again} />}
      {data !== undefined && <Detail {...p} request={data} />}
    </>
  );
}

function Detail(p: Props & { request: RequestDetail }) {
  const t = words.value.requests;
  const language = words.value.code;
  const r = p.request;
  return (
    <>
      <Why request={r} />
      <CopyAs id={r.id} />
      {r.canSendAgain && mayChange() && <SendAgain id={r.id} select={p.select} />}
      <h3>{t.facts}</h3>
      <Facts
        rows={[
          [t.status, <Status status={r.status} />],
          [t.operation, r.operation],
          [t.time, <><When time={r.time} /> <code>{r.time}</code></>],
          [t.duration, `${figure(language, r.ms)} ms`],
          [t.user, r.user === undefined ? "" : <IdLink kind="users" id={r.user} label={r.user} />],
          [t.thread, r.thread === undefined ? "" : <IdLink kind="threads" id={r.thread} label={r.thread} />],
          [t.path, <code class="break">{`${r.method} ${r.path}`}</code>],
          [t.version, r.version ?? ""],
          [t.from, r.client ?? ""],
          [t.agent, r.sdk ?? ""],
          [t.id, <WithCopy text={r.id} />],
          [t.clientId, r.clientId === undefined ? "" : <WithCopy text={r.clientId} />],
        ]}
      />
      <Part title={t.sent} part={r.request} />
      <Part title={t.answered} part={r.response} />
    </>
  );
}

/** The sentence of the server's table, and the mend; of a request that went well, that it did. */
function Why(p: { request: RequestDetail }) {
  const t = words.value.requests;
  const { why, status } = p.request;
  if (why === undefined || why.sentence === "") {
    return (
      <p>
        <Status status={status} /> {status > 0 && status < 400 ? t.fine : ""}
      </p>
    );
  }
  return (
    <div class="why">
      <h3>
        {t.why} <Status status={status} /> <code>{why.code}</code>
      </h3>
      <p lang="en">{why.sentence}</p>
      {why.mend !== "" && (
        <p>
          <strong>{t.mend}:</strong> <span lang="en">{why.mend}</span>
        </p>
      )}
    </div>
  );
}

function CopyAs(p: { id: string }) {
  const t = words.value.requests;
  const [shown, setShown] = useState<{ id: string; language: string; code: string }>();
  const [problem, setProblem] = useState<Problem>();
  const copy = async (language: string): Promise<void> => {
    setProblem(undefined);
    try {
      setShown({ id: p.id, language, code: await copyCode(p.id, language) });
    } catch (error) {
      if (!isProblem(error)) throw error;
      setProblem(error);
    }
  };
  return (
    <>
      <div class="buttons" role="group" aria-label={t.copyAs}>
        <span class="faint">{t.copyAs}</span>
        {Object.entries(languageNames).map(([language, name]) => (
          <button key={language} type="button" class="small" onClick={() => void copy(language)}>
            {name}
          </button>
        ))}
      </div>
      <Trouble problem={problem} />
      {shown?.id === p.id && (
        <>
          <Code label={languageNames[shown.language] ?? ""}>{shown.code}</Code>
          <p class="faint">{t.codeNote}</p>
        </>
      )}
    </>
  );
}

function SendAgain(p: { id: string; select: (id: string) => void }) {
  const t = words.value.requests;
  const [sent, setSent] = useState<{ of: string; id: string; status: number }>();
  const [problem, setProblem] = useState<Problem>();
  const current = useRef(p.id);
  useEffect(() => {
    current.current = p.id;
  }, [p.id]);
  const repeat = async (): Promise<void> => {
    setProblem(undefined);
    try {
      const made = await call<{ id: string; status: number }>("POST", `/requests/${encodeURIComponent(p.id)}/repeat`);
      say(t.repeated(made.status));
      if (current.current === p.id) setSent({ of: p.id, ...made });
    } catch (error) {
      if (!isProblem(error)) throw error;
      setProblem(error);
    }
  };
  return (
    <>
      <div class="buttons">
        <button type="button" onClick={() => void repeat()}>
          {t.repeat}
        </button>
        {sent?.of === p.id && (
          <>
            <Status status={sent.status} />
            <a
              href={formatRoute("requests", sent.id)}
              onClick={(e) => {
                e.preventDefault();
                p.select(sent.id);
              }}
            >
              {t.repeatOf}
            </a>
          </>
        )}
      </div>
      <Trouble problem={problem} />
    </>
  );
}

function Part(p: { title: string; part: HttpPart }) {
  const t = words.value.requests;
  const language = words.value.code;
  const { headers, body, bodyTruncated, bodySize } = p.part;
  return (
    <>
      <h3>{p.title}</h3>
      <details>
        <summary>
          {t.headers} ({Object.keys(headers).length})
        </summary>
        <Code label={`${p.title}: ${t.headers}`}>
          {Object.entries(headers)
            .map(([name, value]) => `${name}: ${value}`)
            .join("\n")}
        </Code>
      </details>
      {body !== undefined && body !== "" ? (
        <>
          <Code label={`${p.title}: ${t.body}`}>{pretty(body)}</Code>
          {bodyTruncated === true && <p class="faint">{t.truncated(bytes(language, bodySize))}</p>}
        </>
      ) : (
        <p class="faint">{bodySize > 0 ? t.bodyOff(bytes(language, bodySize)) : t.noBody}</p>
      )}
    </>
  );
}

/** A block of text of fixed width. It can have the focus, so that a keyboard can scroll it. */
function Code(p: { label: string; children: ComponentChildren }) {
  return (
    <pre tabIndex={0} role="region" aria-label={p.label}>
      <code>{p.children}</code>
    </pre>
  );
}

function WithCopy(p: { text: string }) {
  return (
    <>
      <code class="break">{p.text}</code> <Copy text={p.text} />
    </>
  );
}
