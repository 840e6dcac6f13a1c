import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import test from "node:test";
import { Declarations } from "./declarations.mjs";
import { judge } from "./judge.mjs";

const row = { chat_versions: ["2021-03-07"], identity_versions: ["2021-03-07"], lacks: { "exchange token": "none", "send message/metadata": "none" } };
const spoken = { chat: ["2021-03-07"], identity: ["2021-03-07"] };
const line = (operation, name, result) => ({ operation, case: name, result, error: "" });
const lines = [line("exchange token", "refused", "NA"), line("send message", "metadata", "NA"), line("send message", "text", "PASS")];

test("a run as the list says", () => {
  assert.deepEqual(judge(row, lines, spoken), []);
});

test("what the list does not say", () => {
  for (const [changed, heard, sentence] of [
    [[...lines, line("get message", "text", "NA")], spoken, /get message\/text is NA/],
    [lines.slice(1), spoken, /says exchange token, but the release has it/],
    [[...lines, line("exchange token", "other", "PASS")], spoken, /has a part of it/],
    [[lines[0], line("send message", "metadata", "PASS")], spoken, /says send message\/metadata, but the release has it/],
    [lines, { ...spoken, chat: ["2021-03-07", "2021-09-07"] }, /spoke chat 2021-03-07, 2021-09-07/],
    [lines, { ...spoken, identity: [] }, /spoke identity not at all/],
  ]) {
    const wrong = judge(row, changed, heard);
    assert.equal(wrong.length, 1, wrong.join("\n"));
    assert.match(wrong[0], sentence);
  }
});

test("the declarations of a package", (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "declarations-"));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(path.join(folder, "package.json"), '{"types": "./index.d.ts"}');
  writeFileSync(path.join(folder, "index.d.ts"), `
    export * from "./models.js";
    import { Hidden as Shown } from "./generated.js";
    export type ListOptions = Shown;
    export interface Narrow extends Omit<Wide, "type"> { /** own?: no */ id: string; }`);
  writeFileSync(path.join(folder, "models.d.ts"), "export interface Wide { type?: string; content: string }");
  writeFileSync(path.join(folder, "generated.d.ts"), "export interface Hidden { maxPageSize?: number }\nexport interface Wide { secret: string }");
  const types = new Declarations(folder);
  for (const [type, member, want] of [
    ["Wide", "type", true], ["Narrow", "id", true], ["Narrow", "content", true], ["Narrow", "type", false], ["Narrow", "own", false],
    ["ListOptions", "maxPageSize", true], ["Wide", "secret", false], ["Missing", "id", false],
  ]) {
    assert.equal(types.has(type, member), want, `${type}.${member}`);
  }
});

test("the packages of both lanes are those of the list", () => {
  const list = JSON.parse(readFileSync(path.join(import.meta.dirname, "../../releases.json"))).filter((r) => r.language === "javascript");
  for (const lane of ["check", "all"]) {
    const wanted = {};
    for (const row of list.filter((r) => lane === "all" || r.lane === lane)) {
      const { package: name, release } = row.identity;
      wanted[`${name.replace("@azure/communication-", "")}-${release}`] = `npm:${name}@${release}`;
      if (row.chat) wanted[`chat-${row.chat}`] = `npm:@azure/communication-chat@${row.chat}`;
    }
    const { dependencies } = JSON.parse(readFileSync(path.join(import.meta.dirname, lane, "package.json")));
    assert.deepEqual(dependencies, wanted, `${lane}/package.json`);
    const lock = readFileSync(path.join(import.meta.dirname, lane, "package-lock.json"), "utf8");
    assert.doesNotMatch(lock, /"resolved"/, "the lock file names a registry");
  }
});
