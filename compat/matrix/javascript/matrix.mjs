// Runs the scenario with each release of a lane against the server of CONFAB_ENDPOINT, and writes a line of JSON for each case
// (../README.md). node matrix.mjs FOLDER RESULTS, with the lane's folder and the file for the lines.
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Exchanges } from "./exchanges.mjs";
import { judge } from "./judge.mjs";
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

// write adds a line to the results and returns it. The first FAIL is printed, with its exchange.
function write(row, operation, name, result, ms, error) {
  const line = { language: "javascript", chat: row.chat ?? "", identity: identityOf(row), operation, case: name, result, ms, error };
  appendFileSync(results, JSON.stringify(line) + "\n");
  count[result]++;
  if (result === "FAIL" && !shown) {
    shown = true;
    console.error(`${JSON.stringify(line)}\n\n${exchanges.failing()}\n`);
  }
  return line;
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
  const lines = [];
  for (const { operation, name, run } of all) {
    const start = performance.now();
    let [result, error] = ["PASS", ""];
    try {
      await within(run());
    } catch (e) {
      [result, error] = e instanceof NotInRelease ? ["NA", e.message] : ["FAIL", String(e.stack)];
    }
    lines.push(write(row, operation, name, result, Math.round(performance.now() - start), error));
    hear();
  }
  wrong.push(...judge(row, lines, { chat: [...spoken.chat], identity: [...spoken.identity] }).map((w) => `${title(row)}: ${w}`));
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
