// A token that expires on a live connection. The server's clock and the page's are moved together, so that the SDK's
// credential sees the expiry too and calls the app's refresher.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { VERSIONS } from "./bundle.mjs";
import { PLACES, Server, Site } from "./harness.mjs";

const HOUR = 3_600_000;

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
  for (const version of VERSIONS) {
    for (const webSocket of ["normal", "refused"]) {
      describe(`expiry, chat ${version}, ${Place.title}, WebSocket ${webSocket}`, () => {
        let place;
        before(async () => {
          place = await Place.start(server, site);
        });
        after(() => place?.stop());

        test("a new token is fetched once, and the page receives on", async () => {
          const page = await place.page(version, await server.newUser(), server.endpoint, { webSocket });
          const { id } = (await page.chat("createChatThread", { topic: "점심" })).chatThread;
          await page.start();
          await page.thread(id, "sendMessage", { content: "before" });
          await page.event("chatMessageReceived", (e) => e.message === "before");

          const tokens = site.tokens(page.user);
          await page.run("moveClock", 25 * HOUR);
          await server.dev("clock", { advance: "25h" });
          await page.event("realTimeNotificationDisconnected");
          await page.event("realTimeNotificationConnected");
          assert.equal(site.tokens(page.user), tokens + 1);

          await page.thread(id, "sendMessage", { content: "after" });
          await page.event("chatMessageReceived", (e) => e.message === "after");
          assert.deepEqual(await page.messages(id), ["before", "after"]);
          assert.equal(site.tokens(page.user), tokens + 1);
        });
      });
    }
  }
}
