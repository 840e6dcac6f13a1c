// Random rounds: two people write while pages are reloaded, the server is killed, the network is away, answers are lost, and one
// person has a second tab. At the end the server's list has each message once. A round prints its seed: WEB_SEED=7 WEB_ROUNDS=1
// repeats round 7.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ChatPage } from "./chatpage.mjs";
import { Browser, ENGINES, random, Server, until } from "./harness.mjs";

const ROUNDS = Number(process.env.WEB_ROUNDS ?? 10);
const FIRST = Number(process.env.WEB_SEED ?? 0) || Math.floor(Math.random() * 1e6);
const STEPS = 8;
const LOST = 5; // Chromium itself repeats a request when its connection closes, once for each idle connection; the page learns of the loss after that

describe("random rounds", () => {
  const servers = {};
  let browser;
  before(async () => {
    for (const engine of ENGINES) servers[engine] = await Server.start({ engine });
    browser = await Browser.start();
  });
  after(async () => {
    await browser?.stop();
    for (const server of Object.values(servers)) await server.stop();
  });

  for (let seed = FIRST; seed < FIRST + ROUNDS; seed++) {
    const engine = ENGINES[seed % ENGINES.length];
    test(`seed ${seed} (${engine})`, async (t) => {
      const round = new Round(servers[engine], browser, seed);
      try {
        await round.run();
      } catch (e) {
        t.diagnostic(`WEB_SEED=${seed} WEB_ROUNDS=1: ${round.history.join("; ")}`);
        throw e;
      } finally {
        await round.end();
      }
      t.diagnostic(`${round.written.length} messages, ${round.history.length} steps, 0 lost, 0 doubled`);
    });
  }

  // The rounds prove something only if they would see a message doubled.
  test("without the id of its send a message is doubled, and a round would see it", async () => {
    const server = servers.embedded;
    const ann = { ...(await server.join("Ann")), name: "Ann" };
    const thread = await server.newThread(ann, "without ids");
    const profile = await browser.profile();
    await profile.route(/\/messages\?/, (route) => {
      const headers = route.request().headers();
      delete headers["repeatability-request-id"];
      return route.continue({ headers });
    });
    const chat = await ChatPage.as(server, profile, ann, thread);
    await server.fault({ operation: "send message", drop: "after", times: LOST });
    await chat.send("twice");
    await until("it is doubled", async () => (await server.texts(ann, thread)).length > 1);
    await profile.unrouteAll({ behavior: "ignoreErrors" });
    await profile.close();
    browser.forget();
  });
});

class Round {
  written = []; // texts that a page took
  history = [];
  #tabs = []; // {chat, profile}
  #profiles = [];
  #n = 0;

  constructor(server, browser, seed) {
    Object.assign(this, { server, browser, seed, random: random(seed) });
  }

  async run() {
    const { server } = this;
    const people = [];
    for (const name of ["Watcher", "Ann", "Ben"]) people.push({ ...(await server.join(name)), name });
    this.watcher = people.shift();
    this.thread = await server.newThread(this.watcher, `round ${this.seed}`, people);
    for (const person of people) {
      const profile = await this.browser.profile();
      this.#profiles.push(profile);
      this.#tabs.push({ profile, chat: await ChatPage.as(server, profile, person, this.thread) });
    }
    for (let i = 0; i < STEPS; i++) await this.#step();
    await this.#judge();
  }

  pick(items) {
    return items[Math.floor(this.random() * items.length)];
  }

  async #step() {
    const step = this.pick(["reload", "reload at once", "kill", "offline", "lost answer", "lost answer", "refused before", "second tab", "write", "live"]);
    this.history.push(step);
    const tab = this.pick(this.#tabs);
    const { chat, profile } = tab;
    switch (step) {
      case "write":
        for (const { chat } of this.#tabs) await this.#write(chat);
        break;
      case "reload": // while messages wait to be sent
        await this.server.fault({ operation: "send message", drop: "after", times: LOST });
        await this.#write(chat);
        await this.#write(chat);
        await chat.page.reload();
        break;
      case "reload at once":
        await this.#writeAndReload(chat);
        break;
      case "kill":
        await this.#write(chat);
        await this.server.kill();
        for (const { chat } of this.#tabs) await this.#write(chat);
        await this.server.restart();
        break;
      case "offline":
        await profile.setOffline(true);
        await this.#write(chat);
        if (this.random() < 0.5) await this.#write(chat);
        for (const other of this.#tabs) if (other.profile !== profile) await this.#write(other.chat);
        await profile.setOffline(false);
        break;
      case "lost answer":
        await this.server.fault({ operation: "send message", drop: "after", times: LOST + Math.floor(this.random() * 2) });
        await this.#write(chat);
        await this.#write(chat);
        break;
      case "refused before":
        await this.server.fault(this.pick([
          { operation: "send message", drop: "before", times: LOST }, { operation: "send message", status: 503 },
          { operation: "send message", status: 429, retryAfter: 1 }, { operation: "send message", delay: "700ms", drop: "after", times: LOST },
        ]));
        await this.#write(chat);
        break;
      case "second tab":
        if (this.#tabs.length > 3) return;
        await this.server.fault({ operation: "send message", drop: "after", times: LOST });
        await this.#write(chat);
        this.#tabs.push({ profile, chat: await chat.again() });
        await this.#write(this.#tabs.at(-1).chat);
        await this.#write(chat);
        break;
      case "live":
        await this.server.fault({ operation: "live socket", drop: "after" });
        await this.#write(chat);
        break;
    }
  }

  // write sends a message and returns when the page has taken it: when the field is empty. From then on the page must not lose it.
  async #write(chat) {
    const text = `r${this.seed}-${++this.#n}.`;
    await until("the field is empty", async () => (await chat.composer.isEditable()) && (await chat.composer.inputValue()) === "");
    await chat.send(text);
    await until(`the page takes ${text}`, async () => (await chat.composer.inputValue()) === "");
    this.written.push(text);
  }

  // writeAndReload reloads the page right after Enter. What the page has not taken is in the field still.
  async #writeAndReload(chat) {
    const text = `r${this.seed}-${++this.#n}.`;
    await until("the field is empty", async () => (await chat.composer.isEditable()) && (await chat.composer.inputValue()) === "");
    await chat.type(text);
    if (this.random() < 0.5) await sleep(this.random() * 60); // the draft is stored, or not yet
    await chat.page.keyboard.press("Enter");
    if (this.random() < 0.7) await sleep(this.random() * 40);
    await chat.page.reload();
    await chat.writable();
    const kept = await until(`${text} is in the log or in the field`, async () => {
      if ((await chat.composer.inputValue()) === text) return "draft";
      return (await chat.rows()).some((row) => row.text.includes(text)) && "taken";
    }, 5000).catch(() => "lost"); // a key press that the page had no time to store at all is none of its messages
    this.history.push(kept);
    if (kept === "draft") await this.#enter(chat, text);
    if (kept !== "lost") this.written.push(text);
    else this.maybe = [...(this.maybe ?? []), text];
  }

  async #enter(chat, text) {
    await chat.composer.focus();
    await chat.page.keyboard.press("Enter");
    await until(`the page takes ${text}`, async () => (await chat.composer.inputValue()) === "");
  }

  // judge heals everything, waits until no page has anything left to send, and compares: the server's list, and each page.
  async #judge() {
    await this.server.heal();
    for (const { profile } of this.#tabs) await profile.setOffline(false);
    await until("all is sent", async () => {
      for (const { chat } of this.#tabs) if ((await chat.waiting()) > 0) return false;
      const have = new Set((await this.server.texts(this.watcher, this.thread)).map((m) => m.text));
      return this.written.every((text) => have.has(text));
    }, 40_000).catch(async (e) => {
      const have = (await this.server.texts(this.watcher, this.thread)).map((m) => m.text);
      const states = await Promise.all(this.#tabs.map(async ({ chat }) => `${await chat.state()}, ${await chat.waiting()} waiting`));
      throw new Error(`lost: ${this.written.filter((text) => !have.includes(text))}; tabs: ${states.join("; ")}`, { cause: e });
    });
    const listed = await this.server.texts(this.watcher, this.thread);
    const maybe = new Set(this.maybe);
    assert.deepEqual(listed.map((m) => m.text).filter((text) => !maybe.has(text)).sort(), [...this.written].sort(), "messages in the server's list");
    assert.equal(new Set(listed.map((m) => m.text)).size, listed.length, "doubled messages");
    const want = listed.map((m) => `${m.id} ${m.text}`).sort();
    for (const [i, { chat }] of this.#tabs.entries()) {
      let got;
      await until("the page has all", async () => {
        got = (await chat.rows()).flatMap((row) => (/r\d+-\d+\./.exec(row.text) ? [`${row.id} ${/r\d+-\d+\./.exec(row.text)[0]}`] : [])).sort();
        return JSON.stringify(got) === JSON.stringify(want);
      }).catch(() => assert.deepEqual(got, want, `messages in tab ${i}`));
    }
    this.browser.check();
  }

  async end() {
    await this.server.heal().catch(() => {});
    for (const profile of this.#profiles) await profile.close();
    this.browser.forget();
  }
}
