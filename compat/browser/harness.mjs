// Parts of all tests: a confab server, the app's own web server, and pages in Chromium and in Node.
import { execFileSync, fork, spawn } from "node:child_process";
import { createReadStream, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import tls from "node:tls";
import { CommunicationIdentityClient } from "@azure/communication-identity";
import { chromium } from "playwright-core";
import { bundleFile } from "./bundle.mjs";

const CONFAB = process.env.COMPAT_CONFAB;
const DATABASE = process.env.COMPAT_DATABASE;
const CHROMIUM = process.env.COMPAT_CHROMIUM ?? "/usr/bin/chromium";

// children are the processes that end with this one.
const children = new Set();
process.once("exit", () => children.forEach((child) => child.kill("SIGKILL")));

// PATIENCE is the time in which an expected event must arrive, in milliseconds.
export const PATIENCE = 15_000;

// Server is a `confab serve --dev` in a process, with a data folder that survives kill.
export class Server {
  #folder = mkdtempSync(path.join(os.tmpdir(), "confab-browser-"));
  #options;
  #process;
  #port = 0;
  #said = []; // the last lines of the server's log, over all its processes

  // start starts a server. options are further flags of `confab serve`.
  static async start(...options) {
    const server = new Server();
    server.#options = options;
    await server.restart();
    // NODE_EXTRA_CA_CERTS of `confab env` is read only when a process starts, and this process runs already.
    const bundle = readFileSync(server.env.env.NODE_EXTRA_CA_CERTS, "utf8");
    tls.setDefaultCACertificates([...tls.getCACertificates(), bundle]);
    server.identity = new CommunicationIdentityClient(server.env.connectionString);
    return server;
  }

  get endpoint() {
    return this.env.endpoint;
  }

  // localEndpoint is the address of the server itself, if endpoint is that of a wire before it.
  get localEndpoint() {
    return this.env.localEndpoint;
  }

  // port is the port of the https listener. A restarted server has the same one.
  get port() {
    return this.#port;
  }

  // log returns the last lines of the server's log.
  get log() {
    return this.#said;
  }

  get dataFolder() {
    return path.join(this.#folder, "data");
  }

  // restart starts the server's process, the first time and after kill, and waits until the server is ready.
  async restart() {
    const args = ["serve", "--dev", "--data", this.dataFolder, "--listen", `localhost:${this.#port}`, "--listen-http", "off",
      "--listen-ops", "localhost:0", "--log-format", "json", "--log-level", "debug", ...this.#options];
    const env = DATABASE ? { ...process.env, CONFAB_DATABASE: DATABASE } : process.env; // not a flag: it may hold a password
    this.#process = spawn(CONFAB, args, { env, stdio: ["ignore", "ignore", "pipe"] });
    children.add(this.#process);
    const said = this.#said;
    await new Promise((ready, failed) => {
      const late = setTimeout(() => failed(new Error(`confab serve is not ready after 30 s:\n${said.join("\n")}`)), 30_000);
      readline.createInterface(this.#process.stderr).on("line", (line) => {
        said.push(line);
        if (said.length > 1000) said.shift();
        if (!line.includes('"msg":"ready"')) return;
        clearTimeout(late);
        ready();
      });
      this.#process.once("exit", (code) => failed(new Error(`confab serve ended with ${code}:\n${said.join("\n")}`)));
    });
    this.env = JSON.parse(execFileSync(CONFAB, ["env", "--data", this.dataFolder, "--json"]));
    this.#port = Number(new URL(this.env.localEndpoint).port);
  }

  // kill ends the server's process at once, with SIGKILL.
  kill() {
    return this.#end("SIGKILL");
  }

  // terminate ends the server's process in order, with SIGTERM, and waits for its end.
  terminate() {
    return this.#end("SIGTERM");
  }

  async stop() {
    await this.terminate();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #end(signal) {
    const { exitCode, signalCode } = this.#process;
    if (exitCode !== null || signalCode !== null) return;
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill(signal);
    await ended;
  }

  // newUser creates a user and returns its id.
  async newUser() {
    return (await this.identity.createUser()).communicationUserId;
  }

  // dev sends an order to the development API, such as dev("clock", {advance: "25h"}), and returns the answer. Without an
  // order it asks for the state.
  async dev(what, order) {
    const options = order && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(order) };
    const response = await fetch(`https://localhost:${this.#port}/dev/${what}`, options);
    if (!response.ok) throw new Error(`/dev/${what}: ${response.status} ${await response.text()}`);
    return response.json();
  }
}

// Wire carries bytes between clients and a port of a server, and can be cut. TLS passes through it unread.
export class Wire {
  #sockets = new Set();
  #listener = net.createServer((client) => {
    const server = net.connect(this.target, "localhost");
    for (const [from, to] of [[client, server], [server, client]]) {
      this.#sockets.add(from);
      from.pipe(to);
      from.on("error", () => {});
      from.on("close", () => {
        this.#sockets.delete(from);
        to.destroy();
      });
    }
  });

  static async start() {
    const wire = new Wire();
    await listen(wire.#listener, "localhost");
    return wire;
  }

  get endpoint() {
    return `https://localhost:${this.#listener.address().port}`;
  }

  // cut resets every open connection. New ones are carried as before.
  cut() {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  stop() {
    this.cut();
    return new Promise((resolve) => this.#listener.close(resolve));
  }
}

// Site is the web server of the app whose pages use the chat: another origin than confab's, without TLS. It has the pages
// of both SDKs, and issues tokens to them.
export class Site {
  #tokens = new Map(); // the number of tokens issued, by user
  #server = http.createServer((request, response) => this.#answer(request, response));

  constructor(identity) {
    this.identity = identity;
  }

  static async start(identity) {
    const site = new Site(identity);
    await listen(site.#server, "127.0.0.1");
    return site;
  }

  get origin() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  // tokens returns the number of tokens that were issued to a user.
  tokens(user) {
    return this.#tokens.get(user) ?? 0;
  }

  stop() {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request, response) {
    const url = new URL(request.url, this.origin);
    const version = url.searchParams.get("sdk");
    if (url.pathname === "/") {
      response.setHeader("Content-Type", "text/html; charset=utf-8");
      response.end(`<!doctype html><title>${version}</title>` + (version ? `<script src="/bundle.js?sdk=${version}"></script>` : ""));
    } else if (url.pathname === "/bundle.js") {
      response.setHeader("Content-Type", "text/javascript; charset=utf-8");
      createReadStream(bundleFile(version)).pipe(response);
    } else if (url.pathname === "/token") {
      const user = url.searchParams.get("user");
      try {
        const { token } = await this.identity.getToken({ communicationUserId: user }, ["chat"]);
        this.#tokens.set(user, this.tokens(user) + 1);
        response.end(token);
      } catch (e) {
        response.writeHead(502).end(String(e));
      }
    } else {
      response.writeHead(404).end();
    }
  }
}

// Page is an open page that runs page.mjs. transport calls globalThis.page there, and close closes the page.
class Page {
  #transport;
  #close;
  #seen = []; // the events that were fetched from the page
  #from = 0; // the number of events that event does not look at any more

  constructor(user, transport, close) {
    Object.assign(this, { user });
    this.#transport = transport;
    this.#close = close;
  }

  // run runs a command of page.mjs in the page and returns its result. An error in the page becomes an error here, with the
  // SDK's message, status and code.
  async run(command, ...args) {
    const { result, error } = JSON.parse(await this.#transport(command, args));
    if (error) throw Object.assign(new Error(error.message), error);
    return result;
  }

  chat(method, ...args) {
    return this.run("chat", method, ...args);
  }

  thread(id, method, ...args) {
    return this.run("thread", id, method, ...args);
  }

  // start starts the notifications and waits until they are connected.
  async start() {
    await this.run("start");
    await this.event("realTimeNotificationConnected");
    this.forget();
  }

  // forget makes event skip all events that it has seen so far.
  forget() {
    this.#from = this.#seen.length;
  }

  // event returns the first event with this name that match accepts. It waits for it, and fails after patience milliseconds.
  async event(name, match = () => true, patience = PATIENCE) {
    const deadline = Date.now() + patience;
    for (let i = this.#from; ; i++) {
      while (i >= this.#seen.length) {
        const left = deadline - Date.now();
        if (left <= 0) throw new Error(`${name}: none arrived in ${patience} ms, but:\n${this.#history()}`);
        this.#seen.push(...(await this.run("eventsAfter", this.#seen.length, left)));
      }
      const { name: other, event } = this.#seen[i];
      if (other === name && match(event)) return event;
    }
  }

  // names returns the names of the chat events of a thread that have arrived, in order.
  async names(threadId) {
    this.#seen.push(...(await this.run("eventsAfter", this.#seen.length, 0)));
    return this.#seen.filter((s) => s.event?.threadId === threadId).map((s) => s.name);
  }

  // messages returns the texts of the thread's messages that have arrived, in order.
  async messages(threadId) {
    this.#seen.push(...(await this.run("eventsAfter", this.#seen.length, 0)));
    return this.#seen.filter((s) => s.name === "chatMessageReceived" && s.event.threadId === threadId).map((s) => s.event.message);
  }

  // missed waits until the messages of a thread that a test misses have arrived, for at most patience milliseconds. It
  // returns an error that says whether they came late or not at all, and what the client and the server logged.
  async missed(threadId, want, server, patience = 10_000) {
    const got = await this.messages(threadId);
    for (const content of want) {
      await this.event("chatMessageReceived", (e) => e.threadId === threadId && e.message === content, patience).catch(() => {});
    }
    const later = await this.messages(threadId);
    const said = [...(await this.run("log")), "the server:", ...server.log.filter((line) => line.includes(this.user) || !line.includes('"user":"8:'))];
    return new Error(`messages ${JSON.stringify(got)}, later ${JSON.stringify(later)}, but want ${JSON.stringify(want)}. The client:\n${said.join("\n")}`);
  }

  close() {
    return this.#close();
  }

  #history() {
    return this.#seen.slice(this.#from).map((s) => `  ${s.name} ${JSON.stringify(s.event ?? null).slice(0, 300)}`).join("\n") || "  nothing";
  }
}

// Chromium opens pages in the system's browser. The browser's certificate database has the server's authority, as after
// `confab trust`. With trust: false it is empty.
export class Chromium {
  static title = "Chromium";
  #home = mkdtempSync(path.join(os.tmpdir(), "confab-browser-home-"));
  #contexts = new Map(); // by user: the tabs of one user are of one browser profile

  static async start(server, site, { trust = true } = {}) {
    const place = new Chromium();
    const folder = path.join(place.#home, ".pki/nssdb");
    const database = `sql:${folder}`;
    mkdirSync(folder, { recursive: true });
    execFileSync("certutil", ["-d", database, "-N", "--empty-password"]);
    if (trust) execFileSync("certutil", ["-d", database, "-A", "-t", "C,,", "-n", "confab", "-i", server.env.caFile]);
    place.site = site;
    place.browser = await chromium.launch({
      executablePath: CHROMIUM,
      env: { ...process.env, HOME: place.#home, XDG_DATA_HOME: place.#home, XDG_CONFIG_HOME: place.#home, XDG_CACHE_HOME: place.#home },
      args: ["--disable-gpu", "--disable-quic", "--no-first-run"],
    });
    return place;
  }

  // page opens a page with a version of the SDK and, with an endpoint, creates the chat client of a user. webSocket is
  // "normal", "refused" (every WebSocket fails at once) or "mute" (a WebSocket opens, and then no byte passes).
  async page(version, user = "nobody", endpoint, { webSocket = "normal" } = {}) {
    if (!this.#contexts.has(user)) this.#contexts.set(user, await this.browser.newContext());
    const page = await this.#contexts.get(user).newPage();
    if (webSocket === "refused") await page.addInitScript(refuseWebSockets);
    if (webSocket === "mute") await page.routeWebSocket(() => true, () => {});
    await page.goto(`${this.site.origin}/?sdk=${version}`);
    const opened = new Page(user, (command, args) => page.evaluate(([c, a]) => globalThis.page(c, ...a), [command, args]), () => page.close());
    if (endpoint) await opened.run("open", endpoint, user);
    return opened;
  }

  async stop() {
    await this.browser.close();
    rmSync(this.#home, { recursive: true, force: true });
  }
}

// refuseWebSockets runs in a page. It makes every WebSocket fail, as behind a proxy that does not know WebSockets.
function refuseWebSockets() {
  globalThis.WebSocket = class {
    constructor() {
      setTimeout(() => {
        this.onerror?.(new Event("error"));
        this.onclose?.(new CloseEvent("close", { code: 1006 }));
      });
    }
    close() {}
  };
}

// Node opens each page in a Node process (node-page.mjs), with the variables of `confab env`.
export class Node {
  static title = "Node";
  #pages = [];

  static async start(server, site) {
    return Object.assign(new Node(), { server, site });
  }

  async page(version, user = "nobody", endpoint, { webSocket = "normal" } = {}) {
    const child = fork(new URL("node-page.mjs", import.meta.url), [bundleFile(version).href, this.site.origin, webSocket], {
      env: { ...process.env, ...this.server.env.env },
      execArgv: [],
    });
    children.add(child);
    this.#pages.push(child);
    const calls = new Map();
    let ids = 0;
    await new Promise((ready, failed) => {
      child.once("message", ready);
      child.once("exit", (code) => failed(new Error(`node-page.mjs ended with ${code}`)));
    });
    child.on("message", ({ id, answer }) => calls.get(id).resolve(answer));
    child.on("exit", () => calls.forEach(({ reject }) => reject(new Error("the page has ended"))));
    const transport = (command, args) => {
      const call = Promise.withResolvers();
      calls.set(++ids, call);
      child.send({ id: ids, command, args });
      return call.promise;
    };
    const opened = new Page(user, transport, () => child.kill());
    if (endpoint) await opened.run("open", endpoint, user);
    return opened;
  }

  async stop() {
    for (const page of this.#pages) page.kill();
  }
}

export const PLACES = [Chromium, Node];

const listen = (server, host) => new Promise((resolve, reject) => server.once("error", reject).listen(0, host, resolve));
