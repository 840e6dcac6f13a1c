import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { addressOf } from "../address.ts";
import { app } from "../app.ts";
import { words } from "../i18n.ts";
import * as state from "../state.ts";
import { copy } from "./Notice.tsx";

// Status says in words how things are, and offers what to do next.
export function Status() {
  const s = state.pageState.value;
  const waiting = state.waiting.value;
  return (
    <div class={`status is-${s}`}>
      <div class="status-words">
        <span role="status">{sentence(s)}</span>
        <span class={waiting > 0 ? "outbox-count" : "outbox-count hidden"} data-testid="outbox-count" aria-hidden="true">{waiting}</span>
      </div>
      {next(s)}
    </div>
  );
}

function sentence(s: state.PageState): string {
  const w = words();
  const n = state.waiting.value;
  switch (s) {
    case "first":
      return w.stateFirst;
    case "empty-list":
      return w.stateEmptyList;
    case "empty-thread":
      return state.config.value?.dev ? w.stateEmptyThreadDev : w.stateEmptyThread;
    case "connecting":
      return w.stateConnecting;
    case "behind":
      return w.stateBehind;
    case "offline":
      return state.online.value ? w.stateUnreachable(n) : w.stateOffline(n);
    case "refused":
      return w.stateRefused;
    case "throttled":
      return w.stateThrottled(state.pause.value);
    case "too-long":
      return w.stateTooLong(state.overlong.value);
    case "ended":
      return { dev: w.stateEndedDev, pasted: w.stateEndedToken, url: w.stateEndedUrl }[state.person.value?.source ?? "pasted"];
    case "removed":
      return w.stateRemoved;
    case "deleted":
      return w.stateDeleted;
    case "ready": {
      const c = state.conversation.value;
      return c?.status.value === "failed" ? w.stateFailed(c.reason.value) : w.stateReady;
    }
  }
}

function next(s: state.PageState): ComponentChildren {
  const w = words();
  const c = state.conversation.value;
  // On a development server the link lets anybody join the thread; elsewhere it opens it for participants alone.
  if (s === "empty-thread" && c && state.config.value?.dev) return <button type="button" onClick={() => void copy(location.origin + addressOf(c.id))}>{w.copyLink}</button>;
  if (s === "empty-list" || s === "removed") return <button type="button" onClick={() => void copy(app.chat?.me ?? "")}>{w.copyMyId}</button>;
  if (s === "ready" && c?.status.value === "failed") return <button type="button" onClick={() => void c.open()}>{w.tryAgain}</button>;
  if (s !== "ended") return null;
  if (state.person.value?.source === "dev") return <button type="button" onClick={() => app.startAgain()}>{w.startAgain}</button>;
  if (state.person.value?.source === "url")
    return <button type="button" onClick={() => void app.chat?.renew().catch(() => undefined)}>{w.tryAgain}</button>;
  return <NewToken />;
}

function NewToken() {
  const w = words();
  const [token, setToken] = useState("");
  const [error, setError] = useState("");
  const submit = (e: Event): void => {
    e.preventDefault();
    app.chat?.renew(token).catch(() => setError(w.badToken));
  };
  return (
    <form class="new-token" onSubmit={submit}>
      <textarea aria-label={w.tokenLabel} rows={2} spellcheck={false} value={token} onInput={(e) => setToken(e.currentTarget.value)} />
      <button type="submit">{w.pasteToken}</button>
      <p class="error" role="alert">{error}</p>
    </form>
  );
}
