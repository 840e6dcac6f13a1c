// The two tables of words. Their types hold their members equal; this holds their content.
import assert from "node:assert/strict";
import { test } from "node:test";
import { en } from "../src/words/en.ts";
import { ko } from "../src/words/ko.ts";

// leaves lists the paths and values of a table.
const leaves = (value, path = "") => (typeof value === "object" ? Object.entries(value).flatMap(([name, inner]) => leaves(inner, `${path}.${name}`)) : [[path, value]]);

test("every sentence is there in both languages", () => {
  const [english, korean] = [leaves(en), leaves(ko)];
  assert.deepEqual(korean.map(([path]) => path), english.map(([path]) => path));
  const same = new Set([".requests.sdk", ".requests.ms", ".requests.version", ".requests.emptyCommand", ".filter.sdk", ".thread.types.html"]);
  for (const [i, [path, value]] of korean.entries()) {
    if (typeof value !== "string") continue;
    assert.notEqual(value, "", path);
    if (/^\.keys\.list\.\d+\.0$/.test(path) || same.has(path)) continue;
    if (path === ".users.id" || path === ".threads.id") continue;
    assert.notEqual(value, english[i][1], `${path} is not translated`);
  }
});

// A particle behind a name depends on the last sound of the name, so no sentence has one there.
test("no Korean sentence has a particle behind a name", () => {
  const particle = /§(은|는|이|가|을|를|과|와|으로|로|아|야)(?=[\s.,]|$)/;
  for (const [path, value] of leaves(ko)) {
    if (typeof value !== "function") continue;
    const sentence = value("§", "§", "§");
    assert.match(sentence, /§/, path);
    assert.doesNotMatch(sentence, particle, path);
  }
});
