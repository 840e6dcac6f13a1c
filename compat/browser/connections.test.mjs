// Breaks a page's connection in every way, and checks that no event is missing afterwards.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { VERSIONS } from "./bundle.mjs";
import { Chromium, PLACES, Server, Site, Wire } from "./harness.mjs";

const CONNECTED = "realTimeNotificationConnected";
const DISCONNECTED = "realTimeNotificationDisconnected";

let server, site, wire;
before(async () => {
  // Alice's pages connect through a wire that can be cut. Bob's pages and the tests connect to the server itself.
  wire = await Wire.start();
  server = await Server.start("--public-endpoint", wire.endpoint);
  wire.target = server.port;
  site = await Site.start(server.identity);
});
after(async () => {
  await site?.stop();
  await wire.stop();
  await server?.stop();
});

// Talk is a new thread of two new users, Bob and Alice. Bob only sends. Tests open pages for Alice.
class Talk {
  static async start(place, version) {
    const talk = new Talk();
    Object.assign(talk, { place, version, alice: await server.newUser() });
    talk.bob = await place.page(version, await server.newUser(), server.localEndpoint);
    const participants = [{ id: { communicationUserId: talk.alice }, displayName: "앨리스" }];
    talk.threadId = (await talk.bob.chat("createChatThread", { topic: "점심" }, { participants })).chatThread.id;
    return talk;
  }

  // page opens a page of Alice, with the notifications started.
  async page(options) {
    const page = await this.place.page(this.version, this.alice, server.endpoint, options);
    await page.start();
    return page;
  }

  async send(content) {
    await this.bob.thread(this.threadId, "sendMessage", { content });
  }

  // arrives waits until a page has a message.
  arrives(page, content) {
    return page.event("chatMessageReceived", (e) => e.threadId === this.threadId && e.message === content);
  }

  messages(page) {
    return page.messages(this.threadId);
  }

  // hasAll checks that a page has these messages and no others, in this order. One may have come twice.
  async hasAll(page, want) {
    if (!isDeepStrictEqual(unique(await this.messages(page)), want)) throw await page.missed(this.threadId, want, server);
  }
}

for (const Place of PLACES) {
  for (const version of VERSIONS) {
    describe(`connections, chat ${version}, ${Place.title}`, () => {
      let place;
      before(async () => {
        place = await Place.start(server, site);
      });
      after(() => place?.stop());

      test("two tabs of one user each receive every event once", async () => {
        const talk = await Talk.start(place, version);
        const tabs = [await talk.page(), await talk.page()];
        const sent = Array.from({ length: 5 }, (_, i) => `${i} 안녕`);
        for (const content of sent) await talk.send(content);
        for (const tab of tabs) {
          await talk.arrives(tab, sent.at(-1));
          assert.deepEqual(await talk.messages(tab), sent);
        }
        await tabs[0].close();
        await talk.send("한 탭만");
        await talk.arrives(tabs[1], "한 탭만");
      });

      test("stopped and started again", async () => {
        const talk = await Talk.start(place, version);
        const page = await talk.page();
        const other = await talk.page();
        await talk.send("before");
        await talk.arrives(page, "before");
        await page.run("stop");
        await talk.send("while it is stopped");
        await talk.arrives(other, "while it is stopped");
        assert.deepEqual(await talk.messages(page), ["before"]);
        await page.start();
        await talk.send("after");
        await talk.arrives(page, "after");
        assert.deepEqual(await talk.messages(page), ["before", "after"]);
      });

      test("a dropped socket", async () => {
        const talk = await Talk.start(place, version);
        const page = await talk.page();
        await talk.send("before");
        await talk.arrives(page, "before");
        wire.cut();
        await talk.send("while it is away");
        await page.event(DISCONNECTED);
        await page.event(CONNECTED);
        await talk.send("after");
        await talk.arrives(page, "after");
        await talk.hasAll(page, ["before", "while it is away", "after"]);
      });

      for (const [what, end] of [["a killed server", () => server.kill()], ["a server that is stopped", () => server.terminate()]]) {
        test(`${what}, and started again`, async () => {
          const talk = await Talk.start(place, version);
          const page = await talk.page();
          await talk.send("before");
          await talk.arrives(page, "before");
          await end();
          await server.restart();
          await talk.send("while it is away");
          await page.event(DISCONNECTED);
          await page.event(CONNECTED);
          await talk.send("after");
          await talk.arrives(page, "after");
          await talk.hasAll(page, ["before", "while it is away", "after"]);
        });
      }

      for (const webSocket of Place === Chromium ? ["refused", "mute"] : ["refused"]) {
        test(`no WebSocket (${webSocket}): long polling`, async () => {
          const talk = await Talk.start(place, version);
          const page = await talk.page({ webSocket });
          const sent = [...Array.from({ length: 20 }, (_, i) => `${i} 안녕 🙂 \ufffd5\ufffd %41`), "긴 ".repeat(7000)];
          for (const content of sent) await talk.send(content);
          await talk.arrives(page, sent.at(-1));
          assert.deepEqual(await talk.messages(page), sent);
        });
      }
    });
  }
}

const unique = (items) => [...new Set(items)];
