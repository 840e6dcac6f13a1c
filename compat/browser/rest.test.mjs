// Calls the REST operations from a page of another origin. The browser asks the server before each (CORS).
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { VERSIONS } from "./bundle.mjs";
import { Chromium, PLACES, Server, Site } from "./harness.mjs";

let server, site;
before(async () => {
  server = await Server.start();
  site = await Site.start(server.identity);
});
after(async () => {
  await site.stop();
  await server.stop();
});

for (const Place of PLACES) {
  for (const version of VERSIONS) {
    describe(`REST, chat ${version}, ${Place.title}`, () => {
      let place, alice, bob, threadId;
      before(async () => {
        place = await Place.start(server, site);
        alice = await place.page(version, await server.newUser(), server.endpoint);
        bob = await place.page(version, await server.newUser(), server.endpoint);
      });
      after(() => place.stop());

      test("a thread is created, read, listed and changed", async () => {
        const participants = [{ id: { communicationUserId: bob.user }, displayName: "밥 🙂" }];
        const created = await alice.chat("createChatThread", { topic: "점심 100% \"맛\"" }, { participants });
        threadId = created.chatThread.id;
        assert.equal((await bob.thread(threadId, "getProperties")).topic, "점심 100% \"맛\"");
        assert.deepEqual((await bob.chat("listChatThreads")).map((t) => t.id), [threadId]);
        await bob.thread(threadId, "updateTopic", "저녁");
        assert.equal((await alice.thread(threadId, "getProperties")).topic, "저녁");
        assert.deepEqual((await alice.thread(threadId, "listParticipants")).map((p) => p.displayName).filter(Boolean), ["밥 🙂"]);
      });

      test("a message is sent, read, edited and deleted", async () => {
        const { id } = await alice.thread(threadId, "sendMessage", { content: "안녕 🙂 100% %41" }, { senderDisplayName: "앨리스" });
        assert.equal((await bob.thread(threadId, "getMessage", id)).content.message, "안녕 🙂 100% %41");
        await alice.thread(threadId, "updateMessage", id, { content: "고침" });
        assert.equal((await bob.thread(threadId, "listMessages")).find((m) => m.id === id).content.message, "고침");
        await alice.thread(threadId, "deleteMessage", id);
        assert.ok((await bob.thread(threadId, "getMessage", id)).deletedOn);
      });

      test("receipts, typing, adding and removing participants", async () => {
        const { id } = await alice.thread(threadId, "sendMessage", { content: "읽어 줘" });
        await bob.thread(threadId, "sendReadReceipt", { chatMessageId: id });
        assert.deepEqual((await alice.thread(threadId, "listReadReceipts")).map((r) => r.chatMessageId), [id]);
        assert.equal(await bob.thread(threadId, "sendTypingNotification"), true);
        const carol = { communicationUserId: await server.newUser() };
        await alice.thread(threadId, "addParticipants", { participants: [{ id: carol }] });
        await alice.thread(threadId, "removeParticipant", carol);
        assert.equal((await alice.thread(threadId, "listParticipants")).length, 2);
      });

      test("the page sees the status and the code of a refusal", async () => {
        await alice.thread(threadId, "removeParticipant", { communicationUserId: bob.user });
        await assert.rejects(bob.thread(threadId, "getProperties"), { name: "RestError", statusCode: 403, code: "Forbidden" });
      });
    });
  }
}

describe("TLS", () => {
  test("a browser that does not trust the server's authority reaches nothing", async () => {
    const place = await Chromium.start(server, site, { trust: false });
    try {
      const page = await place.page(VERSIONS[0]);
      await assert.rejects(page.run("get", server.endpoint), { message: "Failed to fetch" });
    } finally {
      await place.stop();
    }
  });
});
