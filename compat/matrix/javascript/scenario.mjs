// The scenario of the matrix (../README.md): each case is an operation, a name and a function that throws if the release does not do
// what its users expect. All releases run all cases; a call that a release lacks throws NotInRelease.
import assert from "node:assert/strict";
import { NotInRelease } from "./sdk.mjs";

const ENDPOINT = process.env.CONFAB_ENDPOINT;

const identity = [
  ["create user", "alone", async (s) => {
    assert.match(await s.sdk.createUser(), /^8:acs:[0-9a-f-]{36}_[0-9a-f-]{36}$/);
  }],
  ["create user", "with token", async (s) => {
    const { id, token } = await s.sdk.createUserAndToken();
    assert.match(id, /^8:acs:/);
    assert.equal(await chatStatus(token), 200);
  }],
  ["issue token", "chat scope", async (s) => {
    const { token, expiresOn } = await s.sdk.issueToken(await s.sdk.createUser());
    assert.equal(await chatStatus(token), 200);
    assert.ok(expiresOn > new Date(), `the token expires on ${expiresOn}`);
  }],
  ["revoke tokens", "old token is refused", async (s) => {
    const user = await s.sdk.user();
    assert.equal(await chatStatus(user.token), 200);
    await s.sdk.revokeTokens(user.id);
    assert.equal(await chatStatus(user.token), 401);
    assert.equal(await chatStatus((await s.sdk.issueToken(user.id)).token), 200);
  }],
  ["delete user", "gone", async (s) => {
    const user = await s.sdk.user();
    await s.sdk.deleteUser(user.id);
    assert.equal(await chatStatus(user.token), 401);
    await refusal(401, () => s.sdk.issueToken(user.id), /resource/);
  }],
  ["exchange token", "refused", async (s) => {
    await refusal(401, () => s.sdk.exchangeToken(), /token/i);
  }],
];

const chat = [
  ["create thread", "with participants", async (s) => {
    const { id, shown } = await s.sdk.createThread(s.alice, "Lunch", [named(s.bob, "Bob"), named(s.carol, "Carol")]);
    assert.match(id, /^19:.+@thread\.v2$/);
    if (shown.topic !== undefined) assert.equal(shown.topic, "Lunch");
    assert.deepEqual(await ids(s, id), sorted(s.alice.id, s.bob.id, s.carol.id));
  }],
  ["create thread", "idempotent", async (s) => {
    const token = crypto.randomUUID();
    const first = await s.sdk.createThread(s.alice, "Once", [named(s.bob)], token);
    const second = await s.sdk.createThread(s.alice, "Once", [named(s.bob)], token);
    assert.equal(second.id, first.id);
    const other = await s.sdk.createThread(s.alice, "Once", [named(s.bob)], crypto.randomUUID());
    assert.notEqual(other.id, first.id);
  }],
  ["create thread", "refused participant", async (s) => {
    const { id, refused } = await s.sdk.createThread(s.alice, "Ghost", [named(s.bob), { id: s.nobody }]);
    if (refused) isRefused(refused, s.nobody);
    assert.deepEqual(await ids(s, id), sorted(s.alice.id, s.bob.id));
  }],
  ["get thread", "properties", async (s) => {
    const shown = await s.sdk.properties(s.alice, s.thread);
    assert.equal(shown.id, s.thread);
    assert.equal(shown.topic, "Scene");
    assert.ok(Math.abs(shown.createdOn - Date.now()) < 3600_000, `created on ${shown.createdOn}`);
    assert.equal(shown.createdBy?.communicationUserId ?? shown.createdBy, s.alice.id);
  }],
  ["list threads", "one page", async (s) => {
    const user = await s.sdk.user();
    const { id } = await s.sdk.createThread(user, "Alone", []);
    const [page, ...more] = await s.sdk.threads(user);
    assert.equal(more.length, 0);
    assert.deepEqual(page.map((t) => [t.id, t.topic]), [[id, "Alone"]]);
    assert.ok(page[0].lastMessageReceivedOn instanceof Date);
  }],
  ["list threads", "two pages", async (s) => {
    const user = await s.sdk.user();
    const made = [];
    for (const topic of ["1", "2", "3"]) made.push((await s.sdk.createThread(user, topic, [])).id);
    inPages(await s.sdk.threads(user, { maxPageSize: 2 }), made, (t) => t.id);
  }],
  ["update thread", "topic", async (s) => {
    const id = await s.newThread();
    await s.sdk.updateTopic(s.bob, id, "Dinner");
    assert.equal((await s.sdk.properties(s.alice, id)).topic, "Dinner");
  }],
  ["update thread", "metadata", async (s) => {
    const id = await s.newThread();
    await s.sdk.updateThreadMetadata(s.alice, id, { team: "blue" });
    await s.sdk.updateThreadMetadata(s.alice, id, { floor: "3" });
    const { metadata, topic } = await s.sdk.properties(s.bob, id);
    assert.deepEqual({ ...metadata }, { team: "blue", floor: "3" });
    assert.equal(topic, "Scene");
  }],
  ["delete thread", "once", async (s) => {
    const id = await s.newThread();
    await s.sdk.deleteThread(s.alice, id);
    await refusal(404, () => s.sdk.messages(s.alice, id));
  }],
  ["delete thread", "twice", async (s) => {
    const id = await s.newThread();
    await s.sdk.deleteThread(s.alice, id);
    await s.sdk.deleteThread(s.alice, id);
  }],
  ["send message", "text", async (s) => {
    const id = await s.sdk.send(s.alice, s.thread, "Where do we eat? 오늘 🍜", { senderDisplayName: "Alice" });
    assert.match(id, /^\d+$/);
    const m = await s.sdk.message(s.bob, s.thread, id);
    assert.deepEqual([m.type.toLowerCase(), m.text, m.senderDisplayName], ["text", "Where do we eat? 오늘 🍜", "Alice"]);
  }],
  ["send message", "html", async (s) => {
    const id = await s.sdk.send(s.alice, s.thread, "<b>Hello</b>", { type: "html" });
    const m = await s.sdk.message(s.bob, s.thread, id);
    assert.deepEqual([m.type, m.text], ["html", "<b>Hello</b>"]);
  }],
  ["send message", "metadata", async (s) => {
    const id = await s.sdk.send(s.alice, s.thread, "tagged", { metadata: { tags: "blue" } });
    assert.deepEqual({ ...(await s.sdk.message(s.bob, s.thread, id)).metadata }, { tags: "blue" });
  }],
  ["send message", "lost answer", async (s) => {
    const id = await s.newThread();
    await dev("POST", { operation: "send message", drop: "after" });
    try {
      const sent = [await s.sdk.send(s.alice, id, "hello"), await s.sdk.send(s.alice, id, "hello")];
      assert.deepEqual((await dev("GET")).faults, [], "the answer was not lost");
      const all = (await s.sdk.messages(s.bob, id)).flat().filter((m) => m.text === "hello");
      assert.deepEqual(all.map((m) => m.id).sort(), sent.sort(), "messages in the thread, and the ids that the calls returned");
    } finally {
      await dev("DELETE");
    }
  }],
  ["get message", "text", async (s) => {
    const id = await s.sdk.send(s.alice, s.thread, "read me");
    const m = await s.sdk.message(s.bob, s.thread, id);
    assert.deepEqual([m.id, m.text, m.sender, m.editedOn, m.deletedOn], [id, "read me", s.alice.id, undefined, undefined]);
    assert.ok(m.createdOn instanceof Date);
  }],
  ["list messages", "one page", async (s) => {
    const id = await s.newThread();
    const sent = [await s.sdk.send(s.alice, id, "one"), await s.sdk.send(s.bob, id, "two")];
    const all = (await s.sdk.messages(s.carol, id, { maxPageSize: 100 })).flat().filter((m) => m.type.toLowerCase() === "text");
    assert.deepEqual(all.map((m) => [m.id, m.text, m.sender]), [[sent[1], "two", s.bob.id], [sent[0], "one", s.alice.id]]);
  }],
  ["list messages", "two pages", async (s) => {
    const id = await s.newThread();
    const sent = [];
    for (const text of ["one", "two", "three"]) sent.unshift(await s.sdk.send(s.alice, id, text));
    const pages = await s.sdk.messages(s.bob, id, { maxPageSize: 2 });
    assert.deepEqual(pages.flat().map((m) => m.id).slice(0, 3), sent, "newest first");
    inPages(pages, [...sent, ...pages.flat().slice(3).map((m) => m.id)], (m) => m.id);
    assert.equal(pages.flat().length, 5, "three messages and the two of the creation");
  }],
  ["list messages", "system messages", async (s) => {
    const id = (await s.sdk.createThread(s.alice, "Old", [named(s.bob, "Bob")])).id;
    await s.sdk.updateTopic(s.alice, id, "New");
    await s.sdk.add(s.alice, id, [named(s.carol, "Carol")]);
    await s.sdk.remove(s.alice, id, s.carol.id);
    const all = (await s.sdk.messages(s.bob, id, { maxPageSize: 100 })).flat().reverse();
    assert.deepEqual(all.map(systemMessage), [
      { type: "participantAdded", participants: sorted(s.alice.id, s.bob.id), initiator: s.alice.id },
      { type: "topicUpdated", topic: "Old", initiator: s.alice.id },
      { type: "topicUpdated", topic: "New", initiator: s.alice.id },
      { type: "participantAdded", participants: [s.carol.id], initiator: s.alice.id },
      { type: "participantRemoved", participants: [s.carol.id], initiator: s.alice.id },
    ]);
  }],
  ["update message", "content", async (s) => {
    const id = await s.sdk.send(s.alice, s.thread, "before");
    await s.sdk.updateMessage(s.alice, s.thread, id, { content: "after" });
    const m = await s.sdk.message(s.bob, s.thread, id);
    assert.equal(m.text, "after");
    assert.ok(m.editedOn instanceof Date);
  }],
  ["update message", "metadata", async (s) => {
    const id = await s.sdk.send(s.alice, s.thread, "tagged later");
    await s.sdk.updateMessage(s.alice, s.thread, id, { metadata: { tags: "green" } });
    const m = await s.sdk.message(s.bob, s.thread, id);
    assert.deepEqual([m.text, { ...m.metadata }], ["tagged later", { tags: "green" }]);
  }],
  ["delete message", "tombstone", async (s) => {
    const id = await s.newThread();
    const message = await s.sdk.send(s.alice, id, "oops");
    await s.sdk.deleteMessage(s.alice, id, message);
    const m = (await s.sdk.messages(s.bob, id)).flat().find((m) => m.id === message);
    assert.ok(m?.deletedOn instanceof Date, "the deleted message stays in the list");
    assert.ok(!m.text, `its text is ${m.text}`);
  }],
  ["add participants", "several", async (s) => {
    const id = await s.newThread([]);
    assert.deepEqual(await s.sdk.add(s.alice, id, [named(s.bob, "Bob"), named(s.carol, "Carol")]), []);
    assert.deepEqual(await ids(s, id), sorted(s.alice.id, s.bob.id, s.carol.id));
    await s.sdk.send(s.carol, id, "thanks");
  }],
  ["add participants", "one", async (s) => {
    const id = await s.newThread([]);
    await s.sdk.addOne(s.alice, id, named(s.bob, "Bob"));
    assert.deepEqual(await ids(s, id), sorted(s.alice.id, s.bob.id));
  }],
  ["add participants", "refused participant", async (s) => {
    const id = await s.newThread([]);
    isRefused(await s.sdk.add(s.alice, id, [named(s.bob), { id: s.nobody }]), s.nobody);
    assert.deepEqual(await ids(s, id), sorted(s.alice.id, s.bob.id));
  }],
  ["list participants", "one page", async (s) => {
    const [page, ...more] = await s.sdk.participants(s.bob, s.thread);
    assert.equal(more.length, 0);
    const names = Object.fromEntries(page.map((p) => [p.id, p.displayName]));
    assert.deepEqual([names[s.bob.id], names[s.carol.id], page.length], ["Bob", "Carol", 3]);
  }],
  ["list participants", "two pages", async (s) => {
    inPages(await s.sdk.participants(s.bob, s.thread, { maxPageSize: 2 }), [s.alice.id, s.bob.id, s.carol.id], (p) => p.id);
  }],
  ["remove participant", "gone", async (s) => {
    const id = await s.newThread();
    await s.sdk.remove(s.alice, id, s.bob.id);
    assert.deepEqual(await ids(s, id), sorted(s.alice.id, s.carol.id));
    await refusal(403, () => s.sdk.send(s.bob, id, "still here?"));
  }],
  ["send read receipt", "sent", async (s) => {
    const id = await s.newThread();
    const message = await s.sdk.send(s.alice, id, "seen?");
    await s.sdk.sendReceipt(s.bob, id, message);
    const [receipt] = (await s.sdk.receipts(s.alice, id)).flat();
    assert.deepEqual([receipt.sender, receipt.message], [s.bob.id, message]);
  }],
  ["list read receipts", "one page", async (s) => {
    const { id, message } = await read(s);
    const [page, ...more] = await s.sdk.receipts(s.alice, id);
    assert.equal(more.length, 0);
    assert.deepEqual(page.map((r) => r.message), [message, message, message]);
    assert.ok(page.every((r) => r.readOn instanceof Date));
  }],
  ["list read receipts", "two pages", async (s) => {
    const { id } = await read(s);
    inPages(await s.sdk.receipts(s.alice, id, { maxPageSize: 2 }), [s.alice.id, s.bob.id, s.carol.id], (r) => r.sender);
  }],
  ["send typing notification", "sent", async (s) => {
    assert.equal(await s.sdk.typing(s.alice, s.thread), true);
  }],
  ["send typing notification", "display name", async (s) => {
    assert.equal(await s.sdk.typing(s.alice, s.thread, { senderDisplayName: "Alice" }), true);
  }],
  ["errors", "400", async (s) => {
    await thrown(400, () => s.sdk.add(s.alice, s.thread, [{ id: "8:acs:invalidUserId" }]), /8:acs:invalidUserId/);
  }],
  ["errors", "401", async (s) => {
    const user = await s.sdk.user();
    await s.sdk.revokeTokens(user.id);
    await thrown(401, () => s.sdk.properties(user, s.thread), /^/); // the answer has no body, and the error no message
  }],
  ["errors", "403", async (s) => {
    const stranger = await s.sdk.user();
    await thrown(403, () => s.sdk.send(stranger, s.thread, "hello"), /permission/);
  }],
  ["errors", "404", async (s) => {
    await thrown(404, () => s.sdk.message(s.alice, s.thread, "1"));
  }],
];

// cases returns the cases of a row, each with a function that runs it. Those of a chat release share three users and a thread.
export async function cases(sdk) {
  const scene = { sdk };
  if (sdk.chat) {
    [scene.alice, scene.bob, scene.carol] = [await sdk.user(), await sdk.user(), await sdk.user()];
    scene.nobody = scene.alice.id.replace(/_.*/, `_${crypto.randomUUID()}`);
    scene.newThread = async (people = [named(scene.bob, "Bob"), named(scene.carol, "Carol")]) =>
      (await sdk.createThread(scene.alice, "Scene", people)).id;
    scene.thread = await scene.newThread();
  }
  return [...identity, ...(sdk.chat ? chat : [])].map(([operation, name, run]) => ({ operation, name, run: () => run(scene) }));
}

// chatStatus returns the status of a list of threads asked with a token, by a client that is no SDK: some rows have no chat release.
async function chatStatus(token) {
  const answer = await fetch(`${ENDPOINT}/chat/threads?api-version=2021-03-07`, { headers: { Authorization: `Bearer ${token}` } });
  await answer.arrayBuffer();
  return answer.status;
}

// dev asks /dev/faults.
async function dev(method, order) {
  const body = order && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(order) };
  const answer = await fetch(`${ENDPOINT}/dev/faults`, { method, ...body });
  if (!answer.ok) throw new Error(`/dev/faults: ${answer.status} ${await answer.text()}`);
  return answer.status === 204 ? undefined : answer.json();
}

// refusal calls, and throws unless the call throws what a user of the SDK can catch by its status and read.
async function refusal(status, call, sentence = /[a-z]+ [a-z]+/i) {
  try {
    await call();
  } catch (e) {
    if (e instanceof NotInRelease) throw e;
    assert.equal(e.statusCode, status, `the status of the error: ${e.stack}`);
    assert.match(String(e.message), sentence, "the message of the error");
    assert.doesNotMatch(String(e.message), /\[object Object\]/);
    return;
  }
  assert.fail(`nothing was thrown, but ${status} is expected`);
}

// thrown does so too, but for a release that returns the refusal and throws nothing, which an app takes for a success.
async function thrown(status, call, sentence) {
  await refusal(status, async () => {
    try {
      await call();
    } catch (e) {
      throw e.returned ? new NotInRelease("the refusal is returned instead of thrown") : e;
    }
  }, sentence);
}

function isRefused(refused, id) {
  assert.deepEqual(refused.map((r) => r.id), [id], "the refused participants");
  assert.match(refused[0].code, /^(403|404)$/);
  assert.match(refused[0].message, /[a-z]+/i);
}

// inPages throws unless pages of at most two items have the wanted items, each once.
function inPages(pages, wanted, key) {
  assert.ok(pages.length > 1, `${pages.length} pages`);
  assert.ok(pages.every((p) => p.length <= 2), `pages of ${pages.map((p) => p.length)}`);
  assert.deepEqual(pages.flat().map(key).sort(), [...wanted].sort());
}

// read makes a thread in which all three have read a message.
async function read(s) {
  const id = await s.newThread();
  const message = await s.sdk.send(s.alice, id, "all read this");
  for (const user of [s.alice, s.bob, s.carol]) await s.sdk.sendReceipt(user, id, message);
  return { id, message };
}

// systemMessage returns the form of today of a system message, also if the release shows XML.
function systemMessage({ type, text, topic, participants, initiator }) {
  if (!type.startsWith("ThreadActivity/")) {
    return topic === undefined ? { type, participants: participants?.toSorted(), initiator } : { type, topic, initiator };
  }
  const all = (tag) => [...text.matchAll(new RegExp(`<${tag}>(.*?)</${tag}>`, "g"))].map((m) => m[1]);
  const name = { AddMember: "participantAdded", DeleteMember: "participantRemoved", TopicUpdate: "topicUpdated" }[type.split("/")[1]];
  if (name === "topicUpdated") return { type: name, topic: all("value")[0], initiator: all("initiator")[0] };
  return { type: name, participants: all("target").sort(), initiator: all("initiator")[0] };
}

function named(user, displayName) {
  return displayName ? { id: user.id, displayName } : { id: user.id };
}

async function ids(s, thread) {
  return (await s.sdk.participants(s.alice, thread)).flat().map((p) => p.id).sort();
}

function sorted(...all) {
  return all.sort();
}
