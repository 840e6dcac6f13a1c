// The chat page of a production server: --web on, over https with a certificate that the browser checks.
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, describe, test } from "node:test";
import { ChatPage } from "./chatpage.mjs";
import { Browser, Server, until } from "./harness.mjs";
import { accessible } from "./axe.mjs";

describe("the chat page in production", () => {
  let server, browser, host, hostOrigin;
  const granted = []; // what the host application was asked
  let grant; // the token that it gives
  before(async () => {
    // The application that knows who its people are, and gives the page their tokens.
    host = http.createServer((request, response) => {
      granted.push(request.url);
      response.setHeader("Access-Control-Allow-Origin", request.headers.origin ?? "*");
      response.setHeader("Access-Control-Allow-Credentials", "true");
      response.setHeader("Content-Type", "application/json");
      response.end(JSON.stringify({ token: grant, displayName: "Ann" }));
    });
    await new Promise((resolve) => host.listen(0, "127.0.0.1", resolve));
    hostOrigin = `http://127.0.0.1:${host.address().port}`;
    server = await Server.start({ dev: false, options: ["--web", "on", "--tls-names", "localhost"] });
    browser = await Browser.start({ trust: server });
  });
  after(async () => {
    await browser?.stop();
    host?.closeAllConnections();
    host?.close();
    await server?.stop();
  });

  const newToken = () => JSON.parse(server.confab("token", "--new-user", "--json"));
  const token = (id, ...more) => JSON.parse(server.confab("token", "--user", id, "--json", ...more)).token;

  test("a browser that does not know the authority shows no page", async () => {
    const stranger = await Browser.start();
    const profile = await stranger.profile();
    const page = await profile.newPage();
    await assert.rejects(page.goto(server.origin), /ERR_CERT_AUTHORITY_INVALID/);
    await stranger.stop();
  });

  test("a pasted token: two people talk over https", async () => {
    const annToken = newToken();
    const benToken = newToken();
    const thread = await server.newThread({ token: annToken.token }, "Lunch", [{ user: annToken.user, name: "Ann" }, { user: benToken.user, name: "Ben" }]);
    const talkers = [];
    for (const [name, { token }] of [["Ann", annToken], ["Ben", benToken]]) {
      const profile = await browser.profile();
      const chat = await ChatPage.open(server, profile, `/t/${encodeURIComponent(thread)}`);
      await chat.paste(token, name);
      await chat.writable();
      talkers.push(chat);
    }
    const [ann, ben] = talkers;
    await ann.send("over TLS");
    await ben.sees("over TLS");
    await ben.send("indeed");
    await ann.sees("indeed");
    assert.deepEqual((await server.texts(benToken, thread)).map((m) => m.text), ["over TLS", "indeed"]);
    await ann.page.reload();
    await ann.sees("indeed");
    browser.check();
    for (const chat of talkers) await chat.page.context().close();
  });

  test("what is no token is refused in words", async () => {
    const profile = await browser.profile();
    const chat = await ChatPage.open(server, profile);
    await chat.reaches("first");
    await accessible(chat.page, "first, with a token to paste");
    await chat.paste("not a token", "Ann");
    await chat.says(/This is not an access token/);
    browser.check();
    await profile.close();
  });

  test("a pasted token that ends: a new one goes on, and what was written is sent", async () => {
    const annToken = newToken();
    const thread = await server.newThread({ token: annToken.token }, "Ends", [{ user: annToken.user, name: "Ann" }]);
    const profile = await browser.profile();
    const chat = await ChatPage.open(server, profile, `/t/${encodeURIComponent(thread)}`);
    await chat.paste(annToken.token, "Ann");
    await chat.writable();
    server.confab("user", "revoke", annToken.user);
    await chat.send("written too late");
    await chat.reaches("ended");
    await chat.says(/Your access token is over. Paste a new one/);
    await chat.paste(token(annToken.user));
    await until("it is sent", async () => (await server.texts({ token: token(annToken.user) }, thread)).filter((m) => m.text === "written too late").length === 1);
    browser.check();
    await profile.close();
  });

  test("nothing of development is there", async () => {
    for (const path of ["/dev/join", "/dev/token", "/dev/faults"]) {
      await assert.rejects(server.call("POST", path, { body: {} }), { status: 404 });
    }
    const config = await server.call("GET", "/web/config.json");
    assert.equal(config.dev, false);
    const probe = await fetch(server.origin, { headers: { Accept: "*/*" } });
    assert.equal((await probe.text()).trim(), "Trouter", "what the official client asks for");
    const page = await fetch(server.origin, { headers: { Accept: "text/html" } });
    assert.doesNotMatch(page.headers.get("content-security-policy"), /unsafe/);
  });

  test("--web-token-url: the application's people need no token of their own", async () => {
    const withHost = await Server.start({ dev: false, options: ["--web", "on", "--tls-names", "localhost", "--web-token-url", `${hostOrigin}/token`] });
    const trusting = await Browser.start({ trust: withHost });
    try {
      const { user } = JSON.parse(withHost.confab("token", "--new-user", "--json"));
      grant = JSON.parse(withHost.confab("token", "--user", user, "--json")).token;
      const thread = await withHost.newThread({ token: grant }, "Hosted", [{ user, name: "Ann" }]);
      const chat = await ChatPage.open(withHost, await trusting.profile(), `/t/${encodeURIComponent(thread)}`);
      await chat.writable();
      await chat.send("signed in by the application");
      await until("it is sent", async () => (await withHost.texts({ token: grant }, thread)).length === 1);
      assert.ok(granted.length > 0);
      assert.deepEqual(trusting.foreign.filter((url) => !url.includes(`${hostOrigin}/token`)), []);
      trusting.foreign = [];
      trusting.check();
    } finally {
      await trusting.stop();
      await withHost.stop();
    }
  });
});
