// Runs the scenario with each release of a lane against the server of CONFAB_ENDPOINT, and writes a line of JSON for each case
// (../README.md). node matrix.mjs FOLDER RESULTS, with the lane's folder and the file for the lines.
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Exchanges } from "./exchanges.mjs";
import { cases } from "./scenario.mjs";
import { NotInRelease, Sdk } from "./sdk.mjs";

const [folder, results] = process.argv.slice(2).map((p) => path.resolve(p));
const { COMPAT_LANE: lane = "check", COMPAT_ONLY: only, COMPAT_POSTGRES: postgres } = process.env;

// PATIENCE is the time that a case may take, in milliseconds.
const PATIENCE = 60_000;

const exchanges = new Exchanges();
const count = { PASS: 0, FAIL: 0, NA: 0 };
const wrong = []; // what is wrong beside the cases that fail
let shown = false;

// write adds a line to the results. The first FAIL is printed, with its exchange.
function write(row, operation, name, result, ms, error) {
  const line = JSON.stringify({ language: "javascript", chat: row.chat ?? "", identity: identityOf(row), operation, case: name, result, ms, error });
  appendFileSync(results, line + "\n");
  count[result]++;
  if (result !== "FAIL" || shown) return;
  shown = true;
  console.error(`${line}\n\n${exchanges.failing()}\n`);
}

function identityOf(row) {
  return `${row.identity.package} ${row.identity.release}`;
}

// run takes a row through the scenario.
async function run(row) {
  exchanges.forget();
  const spoken = { chat: new Set(), identity: new Set() };
  const hear = () => {
    exchanges.versions("/chat/").forEach((v) => spoken.chat.add(v));
    exchanges.versions("/identities", "/teamsUser").forEach((v) => spoken.identity.add(v));
    exchanges.forget();
  };
  let all;
  try {
    all = await within(cases(new Sdk(folder, row)));
  } catch (e) {
    write(row, "scenario", "start", "FAIL", 0, String(e.stack));
    return;
  }
  hear();
  const missing = new Set();
  for (const { operation, name, run } of all) {
    const start = performance.now();
    let [result, error] = ["PASS", ""];
    try {
      await within(run());
    } catch (e) {
      [result, error] = e instanceof NotInRelease ? ["NA", e.message] : ["FAIL", String(e.stack)];
    }
    write(row, operation, name, result, Math.round(performance.now() - start), error);
    if (result === "NA") {
      const known = [`${operation}/${name}`, operation].find((k) => k in row.lacks);
      if (known) missing.add(known);
      else wrong.push(`${title(row)}: ${operation}/${name} is NA (${error}), and "lacks" does not say so`);
    }
    hear();
  }
  for (const key of Object.keys(row.lacks)) {
    if (!missing.has(key)) wrong.push(`${title(row)}: "lacks" says ${key}, but the release has it`);
  }
  for (const [what, listed] of [["chat", row.chat_versions ?? []], ["identity", row.identity_versions]]) {
    const seen = [...spoken[what]].sort().join(", ");
    if (seen !== listed.toSorted().join(", ")) wrong.push(`${title(row)}: it spoke ${what} ${seen}, and the list says ${listed.join(", ")}`);
  }
}

function title(row) {
  return row.chat ? `chat ${row.chat}` : identityOf(row);
}

// within waits for a promise, for PATIENCE at most.
function within(promise) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`not done after ${PATIENCE / 1000} s`)), PATIENCE)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const list = JSON.parse(readFileSync(path.join(import.meta.dirname, "../../releases.json")));
const rows = list.filter((row) => row.language === "javascript" && (lane === "all" || row.lane === lane) &&
  (!postgres || row.postgres) && (!only || (row.chat ?? row.identity.release) === only));
writeFileSync(results, "");
const start = performance.now();
for (const row of rows) await run(row);
wrong.forEach((w) => console.error(w));
console.log(`javascript: ${rows.length} rows, ${count.PASS + count.FAIL + count.NA} cases: ` +
  `${count.PASS} PASS, ${count.NA} NA, ${count.FAIL} FAIL, ${Math.round((performance.now() - start) / 1000)} s`);
process.exit(rows.length && !count.FAIL && !wrong.length ? 0 : 1);
