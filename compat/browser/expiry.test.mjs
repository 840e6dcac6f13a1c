// A token that expires on a live connection. The server's clock and the page's are moved together, so that the SDK's
// credential sees the expiry too and calls the app's refresher.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { VERSIONS } from "./bundle.mjs";
import { PLACES, Server, Site } from "./harness.mjs";

const HOUR = 3_600_000;

for (const Place of PLACES) {
  for (const version of VERSIONS) {
    describe(`an expired token, chat ${version}, ${Place.title}`, () => {
      for (const [what, webSocket] of [["WebSocket", "normal"], ["long polling", "refused"]]) {
        // Each test needs a server whose clock has not been moved yet.
        test(`${what}: a new one is fetched once, and the page receives on`, async (t) => {
          const server = await Server.start();
          t.after(() => server.stop());
          const site = await Site.start(server.identity);
          t.after(() => site.stop());
          const place = await Place.start(server, site);
          t.after(() => place.stop());

          const page = await place.page(version, await server.newUser(), server.endpoint, { webSocket });
          const { id } = (await page.chat("createChatThread", { topic: "점심" })).chatThread;
          await page.start();
          await page.thread(id, "sendMessage", { content: "before" });
          await page.event("chatMessageReceived", (e) => e.message === "before");
          assert.equal(site.tokens(page.user), 1);

          await page.run("moveClock", 25 * HOUR);
          await server.dev("clock", { advance: "25h" });
          await page.event("realTimeNotificationDisconnected");
          await page.event("realTimeNotificationConnected");
          assert.equal(site.tokens(page.user), 2);

          await page.thread(id, "sendMessage", { content: "after" });
          await page.event("chatMessageReceived", (e) => e.message === "after");
          assert.deepEqual(await page.messages(id), ["before", "after"]);
          assert.equal(site.tokens(page.user), 2);
        });
      }
    });
  }
}
