import assert from "node:assert/strict";
import { test } from "node:test";
import { bytes, hue, initials, oneLine, parts, quoted } from "../src/text.ts";
import { en } from "../src/words/en.ts";
import { ko } from "../src/words/ko.ts";

// sample calls an entry of a table with arguments that can be found in its sentence.
const sample = (entry: unknown): string => {
  if (typeof entry === "string") return entry;
  const f = entry as (...a: unknown[]) => string;
  for (const args of [["NAME", "TEXT"], [7, 7]]) {
    try {
      const text = f(...args);
      if (!text.includes("NaN")) return text;
    } catch {
      // the other kind of argument
    }
  }
  throw new Error(`no sentence: ${String(entry)}`);
};

test("both tables say everything, and Korean is Korean", () => {
  assert.deepEqual(Object.keys(ko).sort(), Object.keys(en).sort());
  for (const [key, entry] of Object.entries(ko)) {
    const text = sample(entry);
    assert.notEqual(text.trim(), "", key);
    if (key !== "languageName" && key !== "unreadShort") assert.match(text, /[가-힣]/, key);
    assert.equal((sample(en[key as keyof typeof en]).match(/NAME|TEXT/g) ?? []).length >= (text.match(/NAME|TEXT/g) ?? []).length, true, `${key} leaves nothing out`);
  }
});

test("no Korean sentence puts a particle after a name", () => {
  for (const [key, entry] of Object.entries(ko)) assert.doesNotMatch(sample(entry), /(NAME|TEXT)(은|는|이|가|을|를|과|와|으로|로|에게)/, key);
});

test("unread stops at a hundred", () => {
  assert.equal(en.unread(1), "1 unread");
  assert.equal(en.unread(100), "99+ unread");
});

test("lengths are bytes of UTF-8", () => {
  assert.equal(bytes("é한😀"), 9);
});

test("a text is shown whole: quotes, addresses, and the rest", () => {
  assert.deepEqual(parts("> a\n>b\nsee https://x.example/y?z=1. Ok"), [
    { kind: "quote", text: "a\nb" }, { kind: "text", text: "see " }, { kind: "link", text: "https://x.example/y?z=1" }, { kind: "text", text: ". Ok" },
  ]);
  assert.deepEqual(parts("javascript:alert(1) <b>x</b>"), [{ kind: "text", text: "javascript:alert(1) <b>x</b>" }]);
  assert.deepEqual(parts(""), []);
});

test("a quote names its author and is cut after six lines", () => {
  assert.equal(quoted("Ann", "one\n> older\ntwo"), "> Ann: one\n> two\n");
  assert.equal(quoted("Ann", "1\n2\n3\n4\n5\n6\n7").split("\n").length, 8);
});

test("marks of people", () => {
  assert.equal(initials("Ann Miller"), "AM");
  assert.equal(initials("김하늘"), "김");
  assert.equal(initials(""), "?");
  assert.equal(hue("8:acs:a_b"), hue("8:acs:a_b"));
  assert.equal(oneLine(" a\n b  c ", 3), "a b");
});
