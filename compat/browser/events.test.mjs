// Compares all ten events, field by field, with the answers of REST to the same page, for everybody in the thread. REST knows
// nothing of typing notifications, so these are compared with the request.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { VERSIONS } from "./bundle.mjs";
import { PLACES, Server, Site } from "./harness.mjs";

// Text that breaks encoders: Korean, emoji, percent signs, an escape of JavaScript's unescape, quotes, separators of the protocol.
const ODD = "안녕 é 🙂👩‍👩‍👧 100% %41 %uC548 \"'\\ ::: <b>&amp;</b>";
const ODD_LINES = `${ODD}\r\n\t\u2028\ufffd${ODD}`;
const METADATA = { "키": ODD, "deliveryMode": "" };

let server, site;
before(async () => {
  server = await Server.start();
  site = await Site.start(server.identity);
});
after(async () => {
  await site.stop();
  await server.stop();
});

// seconds returns a time without its milliseconds. REST gives times of whole seconds, as the real service does, and events give
// milliseconds (docs/contract/realtime.md §13).
const seconds = (time) => time?.replace(/\.\d+Z$/, ".000Z");

// inSeconds returns an event with times that can be compared with those of REST.
const inSeconds = (event) => Object.fromEntries(Object.entries(event).map(([key, value]) => [key, /(On|Time)$/.test(key) ? seconds(value) : value]));

for (const Place of PLACES) {
  for (const version of VERSIONS) {
    describe(`the ten events, chat ${version}, ${Place.title}`, () => {
      const old = version === "1.5.4"; // knows no metadata of threads and participants, and no retention policies
      let place, alice, bob, carol, threadId, messageId;
      before(async () => {
        place = await Place.start(server, site);
        [alice, bob, carol] = await Promise.all([1, 2, 3].map(async () => place.page(version, await server.newUser(), server.endpoint)));
        await Promise.all([alice, bob, carol].map((page) => page.start()));
      });
      after(() => place?.stop());

      const user = (page) => ({ kind: "communicationUser", communicationUserId: page.user });
      const ofThread = (event) => event.threadId === threadId;

      // check waits until each page has received the event that match accepts, and compares it with want(page).
      async function check(pages, name, match, want) {
        for (const page of pages) {
          assert.deepEqual(inSeconds(await page.event(name, (e) => ofThread(e) && match(e))), inSeconds(await want(page)), `${name}: received (actual), REST (expected)`);
        }
      }

      // people converts participants, of an event or of REST, to one form, sorted by id. It drops the fields that this version
      // does not have in events, and the share-history time 1970 (full history), which the newer version leaves out.
      function people(participants, { shared = !old } = {}) {
        return participants
          .map((p) => ({
            id: p.id,
            displayName: p.displayName ?? "",
            ...(old ? {} : { metadata: p.metadata ?? {} }),
            ...(shared ? { shareHistoryTime: p.shareHistoryTime === "1970-01-01T00:00:00.000Z" ? undefined : seconds(p.shareHistoryTime) } : {}),
          }))
          .sort((a, b) => (a.id.communicationUserId < b.id.communicationUserId ? -1 : 1));
      }

      // actor returns the user of an event, such as its createdBy, without the fields that only participants have.
      const actor = ({ id, displayName }) => ({ id, displayName: displayName ?? "" });

      // properties and policy return a thread's properties and retention policy, from REST, as an event must have them.
      const properties = (thread) => ({ topic: thread.topic, metadata: thread.metadata ?? {} });
      const policy = (thread) => thread.retentionPolicy ?? { kind: "none" };

      // told returns the properties of an event in the form of properties. The old version passes on the object of the wire.
      function told({ topic, metadata, acsChatThreadMetadata }) {
        return { topic, metadata: (old ? JSON.parse(acsChatThreadMetadata || "null") : metadata) ?? {} };
      }

      const participant = async (page) => (await alice.thread(threadId, "listParticipants")).find((p) => p.id.communicationUserId === page.user);

      // lastOf returns the thread's newest system message of a type.
      async function lastOf(type) {
        const messages = (await alice.thread(threadId, "listMessages")).filter((m) => m.type === type);
        return messages.sort((a, b) => b.sequenceId - a.sequenceId)[0];
      }

      // message requests a message by REST and returns the event that announces it.
      async function message(page, id) {
        const m = await page.thread(threadId, "getMessage", id);
        return {
          threadId,
          sender: m.sender,
          senderDisplayName: m.senderDisplayName ?? "",
          recipient: user(page),
          id,
          createdOn: m.createdOn,
          version: m.version,
          type: { text: "Text", html: "RichText/Html" }[m.type],
          message: m.content?.message,
          metadata: m.metadata ?? {},
          attachments: [],
          ...(m.editedOn ? { editedOn: m.editedOn } : {}),
        };
      }

      test("chatThreadCreated", async () => {
        const participants = [
          { id: { communicationUserId: alice.user }, displayName: `앨리스 ${ODD}`, metadata: METADATA },
          { id: { communicationUserId: bob.user }, displayName: `밥 ${ODD}`, shareHistoryTime: "2026-01-15T03:04:05.678Z" },
        ];
        const options = { participants, metadata: METADATA, retentionPolicy: { kind: "threadCreationDate", deleteThreadAfterDays: 90 } };
        const created = await alice.chat("createChatThread", { topic: ODD }, options);
        threadId = created.chatThread.id;
        const thread = await alice.thread(threadId, "getProperties");
        const members = await alice.thread(threadId, "listParticipants");
        assert.equal(thread.topic, ODD);
        for (const page of [alice, bob]) {
          const e = await page.event("chatThreadCreated", ofThread);
          assert.equal(seconds(e.createdOn), seconds(thread.createdOn));
          assert.match(e.version, /^\d+$/);
          assert.deepEqual(actor(e.createdBy), actor(await participant(alice)));
          assert.deepEqual(people(e.participants), people(members));
          assert.deepEqual(told(e.properties), properties(thread));
          if (!old) assert.deepEqual(e.retentionPolicy, policy(thread));
        }
      });

      for (const [what, content, options] of [
        ["odd text", ODD_LINES, { senderDisplayName: `앨리스 ${ODD}`, type: "text", metadata: METADATA }],
        ["HTML without a name", "<p>안녕 🙂 100% %41 &#34;&#39;&amp;</p>", { type: "html" }],
        ["28 KB", fill(28 * 1024), {}],
      ]) {
        test(`chatMessageReceived: ${what}`, async () => {
          const { id } = await alice.thread(threadId, "sendMessage", { content }, options);
          messageId ??= id;
          assert.equal((await message(bob, id)).message, content);
          await check([alice, bob], "chatMessageReceived", (e) => e.id === id, (page) => message(page, id));
        });
      }

      test("chatMessageEdited", async () => {
        await alice.thread(threadId, "updateMessage", messageId, { content: `고침 ${ODD_LINES}`, metadata: { ...METADATA, "고침": "%" } });
        assert.ok((await message(bob, messageId)).editedOn);
        await check([alice, bob], "chatMessageEdited", (e) => e.id === messageId, (page) => message(page, messageId));
      });

      test("typingIndicatorReceived", async () => {
        const earliest = (await server.dev("clock")).now;
        await bob.thread(threadId, "sendTypingNotification", { senderDisplayName: `밥 ${ODD}` });
        const latest = (await server.dev("clock")).now;
        for (const page of [alice, bob]) {
          const { version, receivedOn, ...e } = await page.event("typingIndicatorReceived", ofThread);
          assert.deepEqual(e, { threadId, sender: user(bob), senderDisplayName: `밥 ${ODD}`, recipient: user(page) });
          assert.match(version, /^\d+$/);
          assert.ok(within(receivedOn, earliest, latest), `received on ${receivedOn}, sent between ${earliest} and ${latest}`);
        }
      });

      test("readReceiptReceived", async () => {
        await bob.thread(threadId, "sendReadReceipt", { chatMessageId: messageId });
        const [receipt] = await alice.thread(threadId, "listReadReceipts");
        await check([alice, bob], "readReceiptReceived", () => true, (page) => ({
          threadId, sender: receipt.sender, senderDisplayName: "", recipient: user(page), chatMessageId: receipt.chatMessageId, readOn: receipt.readOn,
        }));
      });

      test("chatThreadPropertiesUpdated: the topic", async () => {
        await bob.thread(threadId, "updateTopic", `저녁 ${ODD}`);
        const thread = await alice.thread(threadId, "getProperties");
        const said = await lastOf("topicUpdated");
        assert.equal(thread.topic, `저녁 ${ODD}`);
        for (const page of [alice, bob]) {
          const e = await page.event("chatThreadPropertiesUpdated", ofThread);
          assert.equal(seconds(e.updatedOn), seconds(said.createdOn));
          assert.match(e.version, /^\d+$/);
          assert.deepEqual(actor(e.updatedBy), actor(await participant(bob)));
          assert.deepEqual(told(e.properties), properties(thread));
          if (!old) assert.deepEqual(e.retentionPolicy, policy(thread));
          page.forget();
        }
      });

      if (!old) {
        test("chatThreadPropertiesUpdated: metadata and retention policy", async () => {
          const earliest = (await server.dev("clock")).now;
          await alice.thread(threadId, "updateProperties", { metadata: { "새": ODD }, retentionPolicy: { kind: "none" } });
          const latest = (await server.dev("clock")).now;
          const thread = await alice.thread(threadId, "getProperties");
          for (const page of [alice, bob]) {
            const e = await page.event("chatThreadPropertiesUpdated", (e) => ofThread(e) && e.retentionPolicy.kind === "none");
            assert.ok(within(e.updatedOn, earliest, latest), `updated on ${e.updatedOn}, sent between ${earliest} and ${latest}`);
            assert.match(e.version, /^\d+$/);
            assert.deepEqual(actor(e.updatedBy), actor(await participant(alice)));
            assert.deepEqual(told(e.properties), properties(thread));
            assert.deepEqual(e.retentionPolicy, policy(thread));
          }
        });
      }

      test("participantsAdded", async () => {
        const added = { id: { communicationUserId: carol.user }, displayName: `캐롤 ${ODD}`, shareHistoryTime: "2026-02-03T04:05:06.789Z", metadata: METADATA };
        await alice.thread(threadId, "addParticipants", { participants: [added] });
        const said = await lastOf("participantAdded");
        for (const page of [alice, bob, carol]) {
          const e = await page.event("participantsAdded", ofThread);
          assert.equal(seconds(e.addedOn), seconds(said.createdOn));
          assert.match(e.version, /^\d+$/);
          assert.deepEqual(actor(e.addedBy), actor(await participant(alice)));
          assert.deepEqual(people(e.participantsAdded, { shared: true }), people([await participant(carol)], { shared: true }));
        }
      });

      test("participantsRemoved, also to the removed user", async () => {
        const gone = await participant(carol);
        await bob.thread(threadId, "removeParticipant", { communicationUserId: carol.user });
        const said = await lastOf("participantRemoved");
        for (const page of [alice, bob, carol]) {
          const e = await page.event("participantsRemoved", ofThread);
          assert.equal(seconds(e.removedOn), seconds(said.createdOn));
          assert.match(e.version, /^\d+$/);
          assert.deepEqual(actor(e.removedBy), actor(await participant(bob)));
          assert.deepEqual(e.participantsRemoved.map(actor), [actor(gone)]);
        }
      });

      test("chatMessageDeleted", async () => {
        await alice.thread(threadId, "deleteMessage", messageId);
        const { deletedOn } = await alice.thread(threadId, "getMessage", messageId);
        assert.ok(deletedOn);
        await check([alice, bob], "chatMessageDeleted", (e) => e.id === messageId, async (page) => {
          const { message: _, metadata, attachments, editedOn, ...rest } = await message(page, messageId);
          return { ...rest, deletedOn };
        });
      });

      test("chatThreadDeleted", async () => {
        const by = await participant(alice);
        const earliest = (await server.dev("clock")).now;
        await alice.chat("deleteChatThread", threadId);
        const latest = (await server.dev("clock")).now;
        for (const page of [alice, bob]) {
          const e = await page.event("chatThreadDeleted", ofThread);
          assert.ok(within(e.deletedOn, earliest, latest), `deleted on ${e.deletedOn}, sent between ${earliest} and ${latest}`);
          assert.match(e.version, /^\d+$/);
          assert.deepEqual(actor(e.deletedBy), actor(by));
          if (!old) assert.equal(e.reason, "deletedByUser");
        }
      });

      test("each event arrived once, in order, and no other", async () => {
        const want = [
          "chatThreadCreated", "chatMessageReceived", "chatMessageReceived", "chatMessageReceived", "chatMessageEdited",
          "typingIndicatorReceived", "readReceiptReceived", ...Array(old ? 1 : 2).fill("chatThreadPropertiesUpdated"),
          "participantsAdded", "participantsRemoved", "chatMessageDeleted", "chatThreadDeleted",
        ];
        assert.deepEqual(await alice.names(threadId), want);
        assert.deepEqual(await bob.names(threadId), want);
        assert.deepEqual(await carol.names(threadId), ["participantsAdded", "participantsRemoved"]);
      });
    });
  }
}

// within returns whether a time lies between two others, or is one of them.
function within(time, earliest, latest) {
  return new Date(earliest) <= new Date(time) && new Date(time) <= new Date(latest);
}

// fill returns odd text of a number of bytes in UTF-8.
function fill(bytes) {
  const text = ODD_LINES.repeat(Math.floor(bytes / Buffer.byteLength(ODD_LINES)));
  return text + "x".repeat(bytes - Buffer.byteLength(text));
}
