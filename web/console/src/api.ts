// Requests to the operator's API, and the session with which they are sent.

import { batch } from "@preact/signals";
import { follow } from "../../shared/api/stream.ts";
import type { StreamEvent } from "../../shared/api/sse.ts";
import { reachable, session, signIn, type SignIn } from "./state.ts";
import type { Session } from "./types.ts";

const base = "/admin/v1";
const tokenKey = "confab.console.session";

/** Why a request failed: the server's problem (RFC 9457), or status 0 if there was no answer. */
export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  readonly request: string;

  constructor(status: number, code: string, detail: string, request = "") {
    super(detail);
    this.status = status;
    this.code = code;
    this.request = request;
  }
}

type Kept = { token: string; expires?: string };

/** The session of this tab. It lives as long as the tab, reloads included. */
let kept: Kept | undefined = readKept();

function readKept(): Kept | undefined {
  try {
    const found: unknown = JSON.parse(sessionStorage.getItem(tokenKey) ?? "null");
    return typeof found === "object" && found !== null && "token" in found ? (found as Kept) : undefined;
  } catch {
    return undefined;
  }
}

function keep(next: Kept | undefined): void {
  kept = next;
  try {
    if (next === undefined) sessionStorage.removeItem(tokenKey);
    else sessionStorage.setItem(tokenKey, JSON.stringify(next));
  } catch {
    // Without storage the session lasts until the page is left.
  }
}

/** Takes a code out of the address, so that neither history nor a bookmark has it, and returns it; "" if there is none. */
export function takeCode(): string {
  const search = new URLSearchParams(location.search);
  const inFragment = /^#code=([^&]+)/.exec(location.hash)?.[1];
  const code = search.get("code") ?? inFragment ?? "";
  if (code !== "") {
    search.delete("code");
    const rest = search.toString();
    history.replaceState(null, "", location.pathname + (rest === "" ? "" : "?" + rest) + (inFragment === undefined ? location.hash : ""));
  }
  return code;
}

/** Signs in with a code, or with the session of this tab if the code is "". It sets signIn. */
export async function start(code: string): Promise<void> {
  if (code !== "") {
    try {
      keep(await request<Kept>("POST", "/sessions", { code }, ""));
    } catch (error) {
      if (isProblem(error) && error.status === 0) return void setTimeout(() => void start(code), 2000);
      // An old session of this tab is still good, though its link is not.
      if (kept === undefined) return void (signIn.value = "bad-code");
    }
  }
  if (kept === undefined) return void (signIn.value = "none");
  try {
    const found = await call<Session>("GET", "/session");
    batch(() => {
      session.value = found;
      signIn.value = "in";
    });
  } catch (error) {
    if (isProblem(error) && error.status === 0) setTimeout(() => void start(""), 2000);
    else if (signIn.value === "starting") end("ended");
  }
}

/** Ends the session. A server that does not answer ends it by itself later; this tab forgets it at once. */
export async function signOut(): Promise<void> {
  try {
    await call("DELETE", "/session");
  } catch (error) {
    if (!isProblem(error)) throw error;
  }
  end("left");
}

/** Sends a request and returns the JSON of its answer. It fails with a Problem alone. */
export async function call<T = unknown>(method: string, path: string, body?: unknown): Promise<T> {
  return request<T>(method, path, body, kept?.token ?? "");
}

export function isProblem(error: unknown): error is Problem {
  return error instanceof Problem;
}

/** Follows a stream of events until the signal ends it. A refusal is thrown as a Problem. */
export async function stream(
  path: string,
  after: string,
  signal: AbortSignal,
  onEvent: (e: StreamEvent) => void,
  onState?: (state: "open" | "lost") => void,
): Promise<void> {
  const refusal = await follow({
    after,
    signal,
    onEvent,
    open: async (after, signal) => {
      const headers: Record<string, string> = { Accept: "text/event-stream", Authorization: "Bearer " + (kept?.token ?? "") };
      if (after !== "") headers["Last-Event-ID"] = after;
      return fetch(base + path, { headers, signal, cache: "no-store" });
    },
    onState: (state) => {
      if (state === "open") reachable.value = true;
      else void probe();
      onState?.(state);
    },
  });
  if (refusal !== undefined && !signal.aborted) throw await problemOf(refusal);
}

async function request<T>(method: string, path: string, body: unknown, token: string): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (token !== "") headers["Authorization"] = "Bearer " + token;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(base + path, { method, headers, cache: "no-store", body: body === undefined ? null : JSON.stringify(body) });
  } catch {
    gone();
    throw new Problem(0, "no-answer", "");
  }
  reachable.value = true;
  if (!response.ok) throw await problemOf(response);
  if (response.status === 204) return undefined as T;
  try {
    return (await response.json()) as T;
  } catch {
    throw new Problem(response.status, "no-json", "");
  }
}

async function problemOf(response: Response): Promise<Problem> {
  let found: { code?: string; detail?: string; title?: string; instance?: string } = {};
  try {
    found = (await response.json()) as typeof found;
  } catch {
    // An answer that is no problem in JSON still has a status.
  }
  const problem = new Problem(
    response.status,
    found.code ?? "",
    found.detail ?? found.title ?? response.statusText,
    found.instance ?? response.headers.get("x-ms-request-id") ?? "",
  );
  if (problem.status === 401 && kept !== undefined && problem.code !== "bad-code") {
    end(kept.expires !== undefined && Date.parse(kept.expires) <= Date.now() ? "expired" : "ended");
  }
  return problem;
}

function end(how: SignIn): void {
  keep(undefined);
  batch(() => {
    signIn.value = how;
    session.value = undefined;
  });
}

let probing = false;

/** Notes that the server does not answer, and asks every two seconds until it does. */
function gone(): void {
  reachable.value = false;
  if (probing || kept === undefined) return;
  probing = true;
  setTimeout(() => {
    probing = false;
    void probe();
  }, 2000);
}

async function probe(): Promise<void> {
  if (kept === undefined || probing) return;
  try {
    session.value = await call<Session>("GET", "/session");
  } catch {
    // call has noted what this means.
  }
}
