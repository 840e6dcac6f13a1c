// Parts of all tests: servers, the API as a program calls it, and a browser that watches what its pages do.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import tls from "node:tls";
import { chromium } from "playwright-core";

const CONFAB = process.env.COMPAT_CONFAB;
const CHROMIUM = process.env.COMPAT_CHROMIUM ?? "/usr/bin/chromium";

// ENGINES are the stores that servers of tests keep their data in: the embedded one, and PostgreSQL if its URL is given.
export const ENGINES = ["embedded", ...(process.env.TEST_POSTGRES_URL ? ["postgres"] : [])];

// PATIENCE is the time in which an expected change must be visible, in milliseconds.
export const PATIENCE = 15_000;

export const VERSION = "2025-03-15"; // the api-version of the tests' own requests

// children are the processes that end with this one.
const children = new Set();
process.once("exit", () => children.forEach((child) => child.kill("SIGKILL")));

// Server is a `confab serve` in a process, with a data folder that survives kill.
export class Server {
  #folder = mkdtempSync(path.join(os.tmpdir(), "confab-web-"));
  #settings;
  #process;
  #ports = { listen: 0, http: 0, admin: 0 };
  #said = []; // the last lines of the server's log, over all its processes

  // start starts a server. options are further flags of `confab serve`; dev: false starts a production server.
  static async start({ engine = "embedded", dev = true, options = [] } = {}) {
    const server = new Server();
    server.#settings = { engine, dev, options };
    await server.restart();
    const bundle = readFileSync(server.env.bundleFile, "utf8");
    tls.setDefaultCACertificates([...tls.getCACertificates(), bundle]);
    return server;
  }

  // origin is that of the chat page: plain http in development, https otherwise.
  get origin() {
    return this.#settings.dev ? this.env.http : this.env.localEndpoint;
  }

  get admin() {
    return this.env.admin;
  }

  // log returns the last lines of the server's log.
  get log() {
    return this.#said;
  }

  get data() {
    return path.join(this.#folder, "data");
  }

  // restart starts the server's process, the first time and after kill, and waits until the server is ready. All listeners keep
  // their ports.
  async restart() {
    const { engine, dev, options } = this.#settings;
    const args = ["serve", "--data", this.data, "--listen", `localhost:${this.#ports.listen}`, "--listen-ops", "localhost:0",
      "--listen-admin", `localhost:${this.#ports.admin}`, "--log-format", "json", "--log-level", "debug",
      ...(dev ? ["--dev", "--listen-http", `localhost:${this.#ports.http}`] : []), ...options];
    const env = { ...process.env };
    for (const name of Object.keys(env)) if (name.startsWith("CONFAB_")) delete env[name];
    if (engine === "postgres") env.CONFAB_DATABASE = process.env.TEST_POSTGRES_URL; // not a flag: it may hold a password
    this.#process = spawn(CONFAB, args, { env, stdio: ["ignore", "ignore", "pipe"] });
    children.add(this.#process);
    const said = this.#said;
    await new Promise((ready, failed) => {
      const late = setTimeout(() => failed(new Error(`confab serve is not ready after 30 s:\n${said.slice(-8).join("\n")}`)), 30_000);
      readline.createInterface(this.#process.stderr).on("line", (line) => {
        said.push(line);
        if (said.length > 2000) said.shift();
        if (!line.includes('"msg":"ready"')) return;
        clearTimeout(late);
        ready();
      });
      this.#process.once("exit", (code) => {
        clearTimeout(late);
        failed(new Error(`confab serve ended with ${code}:\n${said.slice(-8).join("\n")}`));
      });
    });
    this.env = JSON.parse(this.confab("env", "--json"));
    const port = (url) => Number(new URL(url).port);
    this.#ports = { listen: port(this.env.localEndpoint), http: this.env.http ? port(this.env.http) : 0, admin: port(this.env.admin) };
  }

  // confab runs a command of the program against this server and returns what it prints.
  confab(...args) {
    return execFileSync(CONFAB, [...args, "--data", this.data], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  }

  // kill ends the server's process at once, with SIGKILL.
  async kill() {
    await this.#end("SIGKILL");
  }

  async stop() {
    await this.#end("SIGTERM");
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #end(signal) {
    const { exitCode, signalCode } = this.#process;
    if (exitCode !== null || signalCode !== null) return;
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill(signal);
    await ended;
    children.delete(this.#process);
  }

  // call sends a request to the server and returns the answer's JSON. A refusal is an error with the member status.
  async call(method, path, { token, body, headers } = {}) {
    const response = await fetch(this.origin + path, {
      method,
      headers: {
        ...(token ? { Authorization: `Bearer ${token}` } : {}),
        ...(body === undefined ? {} : { "Content-Type": method === "PATCH" ? "application/merge-patch+json" : "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw Object.assign(new Error(`${method} ${path}: ${response.status} ${text}`), { status: response.status });
    return text ? JSON.parse(text) : undefined;
  }

  // dev sends an order to the development API, such as dev("clock", {advance: "25h"}).
  dev(what, order) {
    return this.call(order ? "POST" : "GET", `/dev/${what}`, { body: order });
  }

  fault(order) {
    return this.dev("faults", order);
  }

  heal() {
    return this.call("DELETE", "/dev/faults");
  }

  // join makes a person as the page does: a user with a token, in the lobby, and in the thread if one is given.
  join(name, thread) {
    return this.call("POST", "/dev/join", { body: { name, ...(thread ? { thread } : {}) } });
  }

  // newThread creates a thread of a person for others, who see all of its history, and returns its id.
  async newThread(person, topic, others = []) {
    const participants = others.map(({ user, name }) => ({
      communicationIdentifier: { rawId: user, communicationUser: { id: user } }, displayName: name, shareHistoryTime: "1970-01-01T00:00:00Z",
    }));
    const made = await this.call("POST", `/chat/threads?api-version=${VERSION}`, { token: person.token, body: { topic, participants } });
    return made.chatThread.id;
  }

  // send sends a message with a person's token and returns its id.
  async send(person, thread, content, { type = "text", name } = {}) {
    const path = `/chat/threads/${encodeURIComponent(thread)}/messages?api-version=${VERSION}`;
    const body = { content, type, senderDisplayName: name ?? person.name };
    return (await this.call("POST", path, { token: person.token, body })).id;
  }

  // messages lists a thread through the API, oldest first.
  async messages(person, thread) {
    const all = [];
    let next = `/chat/threads/${encodeURIComponent(thread)}/messages?api-version=${VERSION}&maxPageSize=200`;
    while (next) {
      const page = await this.call("GET", next, { token: person.token });
      all.push(...page.value);
      next = page.nextLink && new URL(page.nextLink).pathname + new URL(page.nextLink).search;
    }
    return all.reverse();
  }

  // texts lists what people wrote into a thread, oldest first: {id, text}.
  async texts(person, thread) {
    const all = await this.messages(person, thread);
    return all.filter((m) => (m.type === "text" || m.type === "html") && !m.deletedOn).map((m) => ({ id: m.id, text: m.content.message }));
  }
}

// Browser is a Chromium that checks certificates; it trusts a server's authority if trust names one, as after `confab trust`. It
// watches all pages: what they ask of other origins, what their policy (CSP) refuses, and errors that nothing in the page caught.
export class Browser {
  #home = mkdtempSync(path.join(os.tmpdir(), "confab-web-home-"));
  #contexts = new Set();
  foreign = []; // requests that left the page's origin
  reports = []; // violations of the policy: {load, directive, blocked, source, sample}
  errors = []; // errors that nothing caught

  static async start({ trust } = {}) {
    const browser = new Browser();
    const folder = path.join(browser.#home, ".pki/nssdb");
    mkdirSync(folder, { recursive: true });
    execFileSync("certutil", ["-d", `sql:${folder}`, "-N", "--empty-password"]);
    if (trust) execFileSync("certutil", ["-d", `sql:${folder}`, "-A", "-t", "C,,", "-n", "confab", "-i", trust.env.caFile]);
    const home = browser.#home;
    browser.chromium = await chromium.launch({
      executablePath: CHROMIUM,
      env: { ...process.env, HOME: home, XDG_DATA_HOME: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home },
      args: ["--disable-gpu", "--disable-quic", "--no-first-run"],
    });
    return browser;
  }

  // profile opens a browser profile with nothing stored. Its pages speak English and are light, unless options say otherwise
  // (those of Playwright's newContext).
  async profile(options = {}) {
    const context = await this.chromium.newContext({ locale: "en-US", colorScheme: "light", viewport: { width: 1100, height: 720 }, ...options });
    context.setDefaultTimeout(PATIENCE);
    context.language = options.locale?.startsWith("ko") ? "ko" : "en";
    this.#contexts.add(context);
    await context.exposeBinding("reportOfPolicy", ({ page }, report) => this.reports.push({ page: page.url(), ...report }));
    await context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (e) => {
        globalThis.reportOfPolicy({
          load: performance.timeOrigin, directive: e.effectiveDirective, blocked: e.blockedURI, source: e.sourceFile, sample: e.sample,
        });
      });
    });
    context.on("page", (page) => this.#watch(page));
    return context;
  }

  #watch(page) {
    page.on("pageerror", (e) => this.errors.push(`${page.url()}: ${e.stack ?? e}`));
    page.on("request", (request) => {
      const url = new URL(request.url());
      if (["data:", "blob:", "about:"].includes(url.protocol) || page.url() === "about:blank") return;
      if (url.origin !== new URL(page.url()).origin) this.foreign.push(`${request.method()} ${url.href}`);
    });
    page.on("websocket", (socket) => {
      const host = new URL(socket.url()).host;
      if (host !== new URL(page.url()).host) this.foreign.push(`WebSocket ${host}`);
    });
  }

  // check fails if a page asked another origin for something, if its policy refused something, or if an error stayed uncaught. One
  // report for each load is known: the SDK tries `new Function` once, to find its global object, and goes on without it. With parsed,
  // handlers, styles and bases in messages are known too: Chromium reports them when they are parsed, also into a document that runs
  // nothing, which is the first step of every sanitizer.
  check({ parsed = false } = {}) {
    const probes = new Set();
    const unexpected = this.reports.filter((r) => {
      if (parsed && (r.blocked === "inline" || r.directive === "base-uri")) return false;
      const probe = r.directive === "script-src" && r.blocked === "eval" && new URL(r.source || "http://none").pathname.startsWith("/assets/chat/");
      if (!probe || probes.has(r.load)) return true;
      probes.add(r.load);
      return false;
    });
    assert.deepEqual(unexpected, [], "reports of the policy");
    assert.deepEqual(this.foreign, [], "requests that leave the origin");
    assert.deepEqual(this.errors, [], "uncaught errors in pages");
  }

  // forget drops what was seen so far, after a part of a test that broke something on purpose.
  forget() {
    this.foreign = [];
    this.reports = [];
    this.errors = [];
  }

  async stop() {
    await this.chromium.close();
    rmSync(this.#home, { recursive: true, force: true });
  }
}

// until waits until probe returns something true, and returns it. An error of the probe counts as "not yet".
export async function until(what, probe, patience = PATIENCE) {
  const deadline = Date.now() + patience;
  let last;
  for (;;) {
    try {
      const got = await probe();
      if (got) return got;
      last = got;
    } catch (e) {
      last = e;
    }
    if (Date.now() > deadline) throw new Error(`${what}: not within ${patience} ms, the last answer was ${last?.stack ?? JSON.stringify(last)}`);
    await sleep(20);
  }
}

// random returns a generator of numbers from 0 to 1 that gives the same ones for the same seed (mulberry32).
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
