// Pages to which nothing happens for longer than any timer of the SDK, with a WebSocket and with long polling, all at once.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { VERSIONS } from "./bundle.mjs";
import { PLACES, Server, Site } from "./harness.mjs";

// The SDK asks for a sign of life every 40 s, and connects anew if none comes in 5 s. A long poll lasts at most 40 s.
const QUIET = 47_000;

let server, site;
before(async () => {
  server = await Server.start();
  site = await Site.start(server.identity);
});
after(async () => {
  await site?.stop();
  await server?.stop();
});

for (const Place of PLACES) {
  describe(`a page without news, ${Place.title}`, { concurrency: true }, () => {
    let place;
    before(async () => {
      place = await Place.start(server, site);
    });
    after(() => place?.stop());

    for (const version of VERSIONS) {
      for (const [what, webSocket] of [["WebSocket", "normal"], ["long polling", "refused"]]) {
        test(`chat ${version}, ${what}: stays connected`, async () => {
          const page = await place.page(version, await server.newUser(), server.endpoint, { webSocket });
          const { id } = (await page.chat("createChatThread", { topic: "점심" })).chatThread;
          await page.start();
          await assert.rejects(page.event("realTimeNotificationDisconnected", () => true, QUIET), /none arrived/);
          await page.thread(id, "sendMessage", { content: "still there?" });
          await page.event("chatMessageReceived", (e) => e.message === "still there?");
        });
      }
    }
  });
}
