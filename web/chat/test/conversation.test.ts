import assert from "node:assert/strict";
import { test } from "node:test";

Object.assign(globalThis, { location: { host: "localhost", origin: "http://localhost", protocol: "http:" } });
const { Conversation } = await import("../src/conversation.ts");
const { Failed } = await import("../src/transport.ts");

// An Api of a thread with one person, who is out from the moment that topic is asked for, or in again after that.
function api(isInAgain: boolean) {
  let asked = 0;
  let tell = (): void => undefined;
  const out = { kind: "refused", status: 403, reason: "out" } as const;
  return {
    onTopic: (f: () => void) => (tell = f),
    topic: async () => {
      if (++asked === 1) tell();
      return "lunch";
    },
    receipts: async () => [],
    messages: async () => ({ page: [], next: undefined }),
    participants: async () => {
      if (asked > 1 && !isInAgain) throw new Failed(out);
      return [];
    },
  };
}

for (const isInAgain of [false, true])
  test(`a removal during the opening is not undone by it${isInAgain ? ", and a return is seen" : ""}`, async () => {
    const fake = api(isInAgain);
    const c = new Conversation("19:a", fake as never, "8:acs:ann");
    fake.onTopic(() => c.out("removed"));
    await c.open();
    assert.equal(c.status.value, isInAgain ? "open" : "removed");
  });
