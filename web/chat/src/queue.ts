// The rules of the outbox, without storage and network.

// Row is one change that waits to be made on the server. Its id is the repeatability-request-id of a send: the server
// answers a repeated id with the first answer, so a row whose fate is unknown can be sent again.
export interface Row {
  id: string;
  user: string;
  thread: string;
  kind: "send" | "edit" | "delete";
  text: string; // of a send or an edit
  html?: boolean; // the text is HTML; absent means plain
  name: string; // display name of the sender
  message: string; // id of the message to edit or delete; empty for a send
  after: string; // of a send: the newest message that was known when it was written
  created: number; // orders the rows of a thread; unique on this machine
  due: number; // earliest time of the next try
  tries: number; // tries whose fate is unknown
  state: "waiting" | "refused";
  throttled: boolean; // the last answer was 429, and due is when the server allows the next try
  reason: string; // why the server refused it
  status: number; // the last status; 0 without an answer
}

// Outcome is what became of a try.
export type Outcome =
  | { kind: "done"; id: string }
  | { kind: "refused"; status: number; reason: string } // certainly not done; another try would be refused too
  | { kind: "throttled"; seconds: number } // certainly not done; allowed later
  | { kind: "unknown"; status: number } // no answer, or one that leaves it open
  | { kind: "ended" }; // the token is over: nothing is sent until there is a new one

const LONGEST_PAUSE = 15_000;

// pause returns how long to wait after a number of tries without an answer, in ms.
export const pause = (tries: number): number => Math.min(LONGEST_PAUSE, 500 * 2 ** Math.max(0, tries - 1));

// settle returns the row after a try, or undefined if the row is done.
export function settle(row: Row, outcome: Outcome, now: number): Row | undefined {
  switch (outcome.kind) {
    case "done":
      return undefined;
    case "refused":
      return { ...row, state: "refused", throttled: false, reason: outcome.reason, status: outcome.status };
    case "throttled":
      return { ...row, due: now + Math.max(1, outcome.seconds) * 1000, throttled: true, status: 429 };
    case "unknown":
      return { ...row, tries: row.tries + 1, due: now + pause(row.tries + 1), throttled: false, status: outcome.status };
    case "ended":
      return row;
  }
}

// next chooses the row to try now, or says how many ms to wait for one; Infinity if none waits. Sends of one thread go in
// order, each after the one before. Edits and deletions wait only for their own time.
export function next(rows: readonly Row[], now: number): { row?: Row; wait: number } {
  const blocked = new Set<string>();
  let wait = Infinity;
  for (const row of [...rows].sort((a, b) => a.created - b.created)) {
    if (row.state !== "waiting") continue;
    if (row.kind === "send") {
      if (blocked.has(row.thread)) continue;
      blocked.add(row.thread);
    }
    if (row.due <= now) return { row, wait: 0 };
    wait = Math.min(wait, row.due - now);
  }
  return { wait };
}
