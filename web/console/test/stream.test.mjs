// Streams of events: their text, and how they go on after they broke.
import assert from "node:assert/strict";
import { test } from "node:test";
import { eventParser } from "../../shared/api/sse.ts";
import { follow, pause } from "../../shared/api/stream.ts";

const parse = (...parts) => {
  const events = [];
  let comments = 0;
  const feed = eventParser((e) => events.push(e), () => comments++);
  for (const part of parts) feed(part);
  return { events, comments };
};

test("events are read whatever the pieces", () => {
  const text = ": hello\r\n\r\nid: 7\nevent: request\ndata: {\"a\":1}\ndata: 2\n\nid: 8\rdata:x\r\r\nevent: nothing\n\nretry: 3\ndata\n\n";
  const want = [
    { event: "request", id: "7", data: '{"a":1}\n2' },
    { event: "message", id: "8", data: "x" },
    { event: "message", id: "8", data: "" },
  ];
  assert.deepEqual(parse(text), { events: want, comments: 1 });
  assert.deepEqual(parse(...text), { events: want, comments: 1 }, "character by character");
});

test("a line without an end is bounded", () => {
  const feed = eventParser(() => {});
  assert.throws(() => {
    for (let i = 0; i < 6; i++) feed("x".repeat(1 << 20));
  }, /too long/);
});

const body = (text) => new Response(new Blob([text]).stream(), { status: 200 });

test("a broken stream goes on behind its last event", async () => {
  const ends = new AbortController();
  const [asked, got, states] = [[], [], []];
  const answers = [() => body("id: 5\ndata: a\n\nid: 6\ndata: b\n\n"), () => Promise.reject(new TypeError("no network")), () => body("id: 7\ndata: c\n\n")];
  const refusal = await follow({
    after: "4",
    signal: ends.signal,
    open: async (after) => {
      asked.push(after);
      return answers.shift()();
    },
    onEvent: (e) => {
      got.push(e.data);
      if (e.data === "c") ends.abort();
    },
    onState: (state) => states.push(state),
  });
  assert.equal(refusal, undefined);
  assert.deepEqual(asked, ["4", "6", "6"]);
  assert.deepEqual(got, ["a", "b", "c"]);
  assert.deepEqual(states, ["open", "lost", "lost", "open"]);
});

test("a refusal ends the stream", async () => {
  let asked = 0;
  const refusal = await follow({ signal: new AbortController().signal, onEvent: () => {}, open: async () => (asked++, new Response("", { status: 401 })) });
  assert.deepEqual([refusal?.status, asked], [401, 1]);
});

test("a silent stream is opened again", async () => {
  const ends = new AbortController();
  let asked = 0;
  await follow({
    signal: ends.signal,
    silence: 20,
    onEvent: () => ends.abort(),
    open: async (_, signal) => {
      asked++;
      if (asked === 2) return body("data: x\n\n");
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    },
  });
  assert.equal(asked, 2);
});

test("pauses grow and are bounded", () => assert.deepEqual([1, 2, 3, 5, 6, 40].map(pause), [500, 1000, 2000, 8000, 10000, 10000]));
