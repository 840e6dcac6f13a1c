// The console's pure logic: addresses, the live list, keys, formats and charts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { linePath, niceMost } from "../src/chart.ts";
import { bytes, figure, pretty, sdkName, shortId, timeOfDay } from "../src/format.ts";
import { command, latin } from "../src/keys.ts";
import { append, arrive, liveList, lose, mostShown, move, release } from "../src/livelist.ts";
import { formatRoute, parseRoute, query } from "../src/route.ts";

const own = (n) => n;
const range = (from, to) => Array.from({ length: from - to + 1 }, (_, i) => from - i); // newest first

test("an address is read as it was written", () => {
  for (const [page, id, filters] of [
    ["requests", "", {}],
    ["threads", "19:a/b?c#d%@thread.v2", { tab: "seen", user: "8:acs:x_y" }],
    ["requests", "RQ.0", { status: "4xx,5xx", q: "a b&c=한글" }],
  ]) {
    assert.deepEqual(parseRoute(formatRoute(page, id, filters)), { page, id, filters });
  }
  assert.equal(formatRoute("users", "", { search: "", next: undefined }), "#/users");
  assert.deepEqual(parseRoute(""), { page: "", id: "", filters: {} });
  assert.deepEqual(parseRoute("#/users/%zz"), { page: "users", id: "%zz", filters: {} }, "an id that cannot be decoded");
  assert.equal(query({ a: "1", b: "", c: undefined, d: 0 }), "?a=1&d=0");
});

test("a list that nobody looks at grows at its head", () => {
  let list = arrive(liveList([3, 2, 1]), [5, 4], false, own);
  assert.deepEqual(list.shown, [5, 4, 3, 2, 1]);
  list = arrive(list, [5, 4], false, own);
  assert.deepEqual(list.shown, [5, 4, 3, 2, 1], "an item that the page and the stream bring is there once");
});

test("a list that somebody looks at keeps still", () => {
  let list = arrive(liveList([2, 1]), [3], true, own);
  list = arrive(list, [5, 4, 3], true, own);
  assert.deepEqual([list.shown, list.waiting], [[2, 1], [5, 4, 3]]);
  list = append(list, [1, 0], own);
  assert.deepEqual(list.shown, [2, 1, 0], "older items come at the end");
  assert.deepEqual(release(list).shown, [5, 4, 3, 2, 1, 0]);
  assert.deepEqual(arrive(list, [6], false, own).shown, [6, 5, 4, 3, 2, 1, 0], "what waited comes before what is new");
});

test("a live list is bounded, and says what is missing", () => {
  const full = arrive(liveList(range(mostShown, 1)), [mostShown + 1], false, own);
  assert.equal(full.shown.length, mostShown);
  assert.equal(full.shown[0], mostShown + 1);
  assert.equal(full.cut, true);
  const held = arrive(liveList([0]), range(mostShown + 5, 1), true, own);
  assert.deepEqual([held.waiting.length, held.missed, held.waiting[0]], [mostShown, 5, mostShown + 5]);
  assert.equal(lose(held, 7).missed, 12);
});

test("j and k move one row and stop at the ends", () => {
  const items = ["a", "b", "c"];
  assert.equal(move(items, "", 1, own), 0);
  assert.equal(move(items, "a", 1, own), 1);
  assert.equal(move(items, "c", 1, own), 2);
  assert.equal(move(items, "a", -1, own), 0);
  assert.equal(move([], "", 1, own), -1);
});

test("keys", () => {
  const stroke = { ctrlKey: false, metaKey: false, altKey: false, isComposing: false, inField: false, inDialog: false, onControl: false };
  const press = (change, afterG = false, on = true) => command({ ...stroke, ...change }, afterG, on);
  assert.deepEqual(press({ key: "/" }), { do: "search" });
  assert.deepEqual(press({ key: "g" }), { do: "await" });
  assert.deepEqual(press({ key: "t" }, true), { do: "go", page: "threads" });
  assert.deepEqual(press({ key: "k" }, true), { do: "go", page: "keys" }, "behind g a letter is a page");
  assert.deepEqual(press({ key: "k" }), { do: "previous" });
  assert.equal(press({ key: "t" }), undefined);
  for (const key of ["/", "j", "g", "?", "c", "p"]) {
    assert.equal(press({ key, inField: true }), undefined, `${key} in a field`);
    assert.equal(press({ key }, false, false), undefined, `${key} switched off`);
    assert.equal(press({ key, ctrlKey: true }), undefined, `Ctrl+${key} belongs to the browser`);
    assert.equal(press({ key, isComposing: true }), undefined, `${key} while composing`);
    assert.equal(press({ key, inDialog: true }), undefined, `${key} in a dialog`);
  }
  assert.deepEqual(press({ key: "Escape", inField: true }, false, false), { do: "close" }, "Escape always steps back");
  assert.equal(press({ key: "Enter", onControl: true }), undefined, "Enter belongs to a link");
  assert.equal(latin("ㅓ", "KeyJ"), "j", "a Korean layout");
  assert.equal(latin("Process", "KeyG"), "g", "an input method");
  assert.equal(latin("é", "KeyE"), "é");
});

test("ids, SDKs and figures as people read them", () => {
  assert.equal(shortId("8:acs:0b5f1c1e-3b5e-4c55-a8a9-3f8ac6d0b001_0000001f-aa11-4bc2-91d2-c2d4e6f8a1b3"), "…e6f8a1b3");
  assert.equal(shortId("19:Zk3v9Qh7TtYpLmNo12345678@thread.v2"), "…12345678");
  assert.equal(shortId("8:acs:x"), "8:acs:x");
  assert.equal(sdkName("azsdk-js-communication-chat/1.6.0 core-rest-pipeline/1.19.0 Node/24"), "js chat 1.6.0");
  assert.equal(sdkName("myapp azsdk-java-azure-communication-chat/1.5.4 (17.0.2; Linux)"), "java chat 1.5.4");
  assert.equal(sdkName("azsdk-net-Communication.Chat/1.4.0 (.NET 8.0)"), "net Chat 1.4.0");
  assert.equal(sdkName("curl/8.5.0"), "curl/8.5.0");
  assert.equal(sdkName(""), "");
  assert.match(timeOfDay("en", "2026-11-28T21:03:11.123Z"), /^\d\d:\d\d:11\.123$/);
  assert.equal(timeOfDay("en", "never"), "never");
  assert.equal(bytes("en", 999), "999 bytes");
  assert.equal(bytes("en", 16384), "16.4 kB");
  assert.equal(figure("en", 1234.5), "1,235");
  assert.equal(figure("en", 0.1234), "0.123");
  assert.equal(pretty('{"a":[1]}'), '{\n  "a": [\n    1\n  ]\n}');
  assert.equal(pretty("no JSON"), "no JSON");
});

test("charts", () => {
  assert.equal(linePath([0, 5, 10], 100, 50, 3, 10), "M0 50L50 25L100 0");
  assert.equal(linePath([10], 100, 50, 3, 10), "M100 0", "a short history stands at the right");
  assert.equal(linePath([], 100, 50, 3, 10), "");
  assert.deepEqual([0, 0.3, 1, 7, 19, 2000].map(niceMost), [1, 0.5, 1, 10, 20, 2000]);
});
