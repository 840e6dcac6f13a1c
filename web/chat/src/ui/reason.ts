import { words } from "../i18n.ts";
import { Failed } from "../transport.ts";

// reasonOf says why an action failed: the server's sentence, or that there was no answer.
export const reasonOf = (e: unknown): string =>
  e instanceof Failed && e.problem.kind === "refused" ? words().actionFailed(e.problem.reason) : words().noAnswerShort;
