// Console is the operator's console in a tab, signed in.
import assert from "node:assert/strict";
import http from "node:http";
import { PATIENCE, until } from "./harness.mjs";

// operator sends a request through the server's socket, as the command line does, and returns the answer's JSON.
export function operator(server, method, path, body) {
  return new Promise((resolve, reject) => {
    const request = http.request({ socketPath: server.env.adminSocket, method, path: `/admin/v1${path}`, headers: { Host: "localhost", "Content-Type": "application/json" } }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part) => (text += part));
      response.on("end", () => (response.statusCode < 300 ? resolve(text ? JSON.parse(text) : undefined) : reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`))));
    });
    request.on("error", reject);
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

export class Console {
  // open signs in by a link, as "confab console" makes one, and goes to a page.
  static async open(server, profile, { role = "operator", at = "" } = {}) {
    const console = new Console();
    console.page = await profile.newPage();
    console.server = server;
    const { url, code } = await operator(server, "POST", "/codes", { role });
    console.link = url ?? `${server.admin}/?code=${code}`;
    await console.page.goto(console.link);
    await console.page.getByRole("navigation").first().waitFor();
    if (at) await console.open(at);
    return console;
  }

  // open goes to a page of the console, with filters.
  async open(at, filters = {}) {
    const query = new URLSearchParams(filters).toString();
    await this.page.evaluate((hash) => (location.hash = hash), `#/${at}${query && `?${query}`}`);
    await this.page.getByRole("heading", { level: 1 }).first().waitFor();
  }

  get list() {
    return this.page.getByRole("region", { name: /newest first/ });
  }

  get detail() {
    return this.page.getByRole("region", { name: "Request", exact: true });
  }

  row(pattern) {
    return this.list.getByRole("row").filter({ hasText: pattern });
  }

  // firstRow is the id of the newest request in the list.
  firstRow() {
    return this.list.locator("tbody tr").first().getAttribute("data-id");
  }

  // statuses lists the statuses in the list.
  statuses() {
    return this.list.locator("tbody tr td:nth-child(2)").allInnerTexts();
  }

  text() {
    return this.page.locator("body").innerText();
  }

  async says(pattern, patience = PATIENCE) {
    let text;
    await until(`the console says ${pattern}`, async () => pattern.test((text = await this.text())), patience).catch(() =>
      assert.fail(`the console at ${this.page.url()} does not say ${pattern}, but:\n${text?.slice(0, 2000)}`));
  }

  // settled waits until nothing is being loaded.
  async settled() {
    await until("the page has loaded", async () => !/Loading…|불러오는 중/.test(await this.text()));
  }

  // token is the session's token, from the tab's storage.
  token() {
    return this.page.evaluate(() => {
      for (const key of Object.keys(sessionStorage)) {
        const value = sessionStorage.getItem(key);
        try {
          const parsed = JSON.parse(value);
          if (typeof parsed === "string") return parsed;
          if (parsed?.token) return parsed.token;
        } catch {
          return value;
        }
      }
      return undefined;
    });
  }
}

// PAGES are the pages of the console, with something to see on each.
export const PAGES = (thread, ann, ben) => ({
  requests: { at: "requests" },
  "a refused request": {
    at: "requests",
    filters: { status: "4xx" },
    ready: async (console) => {
      await console.page.locator("tbody tr a").first().click();
      await until("the request is shown", async () => /403/.test(await console.page.locator(".split-detail").innerText()));
    },
  },
  overview: { at: "overview" },
  threads: { at: "threads" },
  "a thread": { at: `threads/${encodeURIComponent(thread)}` },
  "messages of a thread": { at: `threads/${encodeURIComponent(thread)}`, filters: { tab: "messages" } },
  "events of a thread": { at: `threads/${encodeURIComponent(thread)}`, filters: { tab: "events" } },
  "what a user sees": { at: `threads/${encodeURIComponent(thread)}`, filters: { tab: "seen", user: ben.user } },
  users: { at: "users" },
  "a user": { at: `users/${encodeURIComponent(ann.user)}` },
  events: { at: "events" },
  keys: { at: "keys" },
  limits: { at: "limits" },
  audit: { at: "audit" },
  settings: { at: "settings" },
  search: { at: "search", filters: { q: ann.user } },
});
