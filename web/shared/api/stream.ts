import { eventParser, type StreamEvent } from "./sse.ts";

/** What a stream is told by its owner. */
export type StreamOptions = {
  /** Sends one request for the stream. after is the cursor behind which the stream goes on, or "" for its present end. */
  open: (after: string, signal: AbortSignal) => Promise<Response>;
  onEvent: (e: StreamEvent) => void;
  /** Is called when the stream opens, and again when it is lost: then it will be opened again by itself. */
  onState?: (state: "open" | "lost") => void;
  /** Ends the stream for good. */
  signal: AbortSignal;
  /** The cursor to begin behind. */
  after?: string;
  /** The longest silence in milliseconds; the server sends a comment every 15 s. Zero: 40 s. */
  silence?: number;
};

/** The pause in milliseconds before the given attempt, counted from 1, to open a lost stream again. */
export function pause(attempt: number): number {
  return Math.min(500 * 2 ** (attempt - 1), 10_000);
}

/**
 * Follows a stream of events until the signal ends it, and opens it again, behind its last event, whenever it breaks or is
 * silent for too long. It returns the response of a refusal (status 4xx), after which it does not try again, and undefined
 * when the signal has ended it.
 */
export async function follow(o: StreamOptions): Promise<Response | undefined> {
  let after = o.after ?? "";
  for (let attempt = 1; !o.signal.aborted; attempt++) {
    const attemptEnds = new AbortController();
    const end = (): void => attemptEnds.abort();
    o.signal.addEventListener("abort", end);
    let silent: ReturnType<typeof setTimeout> | undefined;
    const heard = (): void => {
      clearTimeout(silent);
      silent = setTimeout(end, o.silence || 40_000);
    };
    try {
      heard();
      const response = await o.open(after, attemptEnds.signal);
      if (response.status >= 400 && response.status < 500 && response.status !== 429) return response;
      if (response.ok && response.body !== null) {
        o.onState?.("open");
        attempt = 0;
        const parse = eventParser((e) => {
          after = e.id || after;
          o.onEvent(e);
        });
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let part = await reader.read(); !part.done; part = await reader.read()) {
          heard();
          parse(part.value);
        }
      }
    } catch (error) {
      // The network's errors and the end of the attempt are ordinary; a fault of the page must be seen.
      if (!(error instanceof TypeError) && !attemptEnds.signal.aborted) console.error(error);
    } finally {
      clearTimeout(silent);
      o.signal.removeEventListener("abort", end);
      attemptEnds.abort();
    }
    if (o.signal.aborted) return undefined;
    o.onState?.("lost");
    await sleep(pause(Math.max(attempt, 1)), o.signal);
  }
  return undefined;
}

/** Waits for the given number of milliseconds, or until the signal. */
function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
