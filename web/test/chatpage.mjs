// ChatPage is the chat page of one person in a tab, used as a person uses it: by keyboard, roles and names.
import assert from "node:assert/strict";
import { en } from "../chat/src/words/en.ts";
import { ko } from "../chat/src/words/ko.ts";
import { PATIENCE, until } from "./harness.mjs";

// WORDS are the page's own words in both languages. Tests find things by them; what a test says about a state it says in words of its
// own.
export const WORDS = { en, ko };

export class ChatPage {
  // seen counts the requests of the page that sent a message.
  sends = 0;

  constructor(server, page, language = page.context().language ?? "en") {
    this.server = server;
    this.page = page;
    this.words = WORDS[language];
    page.on("request", (request) => {
      if (request.method() === "POST" && /\/messages$/.test(new URL(request.url()).pathname)) this.sends++;
    });
  }

  // open opens an address of the page in a new tab of a profile. A new tab is a new person.
  static async open(server, profile, path = "/") {
    const chat = new ChatPage(server, await profile.newPage());
    await chat.page.goto(server.origin + path);
    return chat;
  }

  // join opens the page and gives a name, by keyboard alone. It returns when the person can write.
  static async join(server, profile, name, path = "/") {
    const chat = await ChatPage.open(server, profile, path);
    await chat.giveName(name);
    return chat;
  }

  // as opens a tab that already is a person of server.join, in a thread, and waits until the person can write.
  static async as(server, profile, person, thread, { wait = true } = {}) {
    const chat = new ChatPage(server, await profile.newPage());
    await chat.page.addInitScript(([key, value]) => {
      if (!sessionStorage.getItem(key)) sessionStorage.setItem(key, value);
    }, storedPerson(person));
    await chat.page.goto(server.origin + (thread ? `/t/${encodeURIComponent(thread)}` : "/"));
    if (wait) await chat.writable();
    return chat;
  }

  // again opens a second tab of the same person, as "Duplicate tab" does: it begins with a copy of the tab's storage.
  async again() {
    const [page] = await Promise.all([this.page.context().waitForEvent("page"), this.page.evaluate(() => void window.open(location.href))]);
    const chat = new ChatPage(this.server, page);
    await chat.writable();
    return chat;
  }

  get name() {
    return this.page.getByRole("textbox", { name: this.words.yourName });
  }

  get composer() {
    return this.page.getByRole("textbox", { name: this.words.message, exact: true });
  }

  get log() {
    return this.page.getByRole("log", { name: this.words.messages });
  }

  get threads() {
    return this.page.getByRole("navigation", { name: this.words.threads });
  }

  get status() {
    return this.page.getByRole("status").filter({ visible: true });
  }

  async giveName(name) {
    await this.name.waitFor();
    await until("the name field has the focus", () => this.name.evaluate((field) => field === document.activeElement));
    await this.page.keyboard.insertText(name);
    await this.page.keyboard.press("Enter");
    await this.writable();
  }

  // paste pastes a token, as in production: on the first visit with a name, later to go on.
  async paste(token, name) {
    await this.page.getByRole("textbox", { name: this.words.tokenLabel }).fill(token);
    if (name) await this.name.fill(name);
    await this.page.getByRole("button", { name: name ? this.words.startChatting : this.words.pasteToken }).click();
  }

  // writable waits until the thread can be written into.
  writable() {
    return until("the page is ready", async () => ["ready", "empty-thread"].includes(await this.state()) && (await this.composer.isEditable()));
  }

  state() {
    return this.page.evaluate(() => document.body.dataset.state);
  }

  // reaches waits until the page is in a state.
  async reaches(state, patience = PATIENCE) {
    try {
      await this.page.waitForFunction((want) => document.body.dataset.state === want, state, { timeout: patience });
    } catch {
      assert.fail(`the page is in the state ${await this.state()}, not ${state}, after ${patience} ms; it says: ${(await this.page.locator("body").innerText()).slice(0, 1500)}`);
    }
  }

  // says waits until the page shows a text that matches, anywhere.
  async says(pattern, patience = PATIENCE) {
    let text;
    await until(`the page says ${pattern}`, async () => pattern.test((text = await this.page.locator("body").innerText())), patience).catch(() =>
      assert.fail(`the page does not say ${pattern}, but:\n${text?.slice(0, 2000)}`));
  }

  // person is who the page is: {user, token, name}, from its session storage.
  person() {
    return this.page.evaluate(() => {
      for (const key of Object.keys(sessionStorage)) {
        try {
          const value = JSON.parse(sessionStorage.getItem(key));
          if (value?.user && value?.token) return value;
        } catch {}
      }
      return undefined;
    });
  }

  // message is the article whose text has the given words.
  message(words) {
    return this.page.getByRole("article").filter({ hasText: words });
  }

  // sees waits until a message is in view.
  async sees(words, patience = PATIENCE) {
    await this.page.waitForFunction((text) => {
      const log = document.querySelector("[role=log]")?.getBoundingClientRect();
      return log && [...document.querySelectorAll("article")].some((row) => {
        const box = row.getBoundingClientRect();
        return row.textContent.includes(text) && box.height > 0 && box.bottom > log.top && box.top < log.bottom;
      });
    }, words, { timeout: patience, polling: "raf" }).catch(async () =>
      assert.fail(`${JSON.stringify(words)} is not in view after ${patience} ms (state ${await this.state()}); the log has:\n${(await this.log.innerText().catch(() => "no log")).slice(-1500)}`));
  }

  // ids returns the ids of the messages in the page by their texts' words, for texts that match.
  rows() {
    return this.page.evaluate(() => [...document.querySelectorAll("[role=log] article")].map((row) => ({
      id: row.dataset.id, state: row.dataset.state, text: row.textContent,
    })));
  }

  // type puts a text into the composer, by keyboard.
  async type(text) {
    await this.composer.focus();
    await this.page.keyboard.insertText(text);
  }

  async send(text) {
    await this.type(text);
    await this.page.keyboard.press("Enter");
  }

  // act opens the menu of the message with the given words and chooses an item.
  async act(words, item) {
    // A row that waits is replaced when its message is sent, and loses the focus with that.
    await this.page.locator('article[data-state="sent"]').filter({ hasText: words }).last().focus();
    await this.page.keyboard.press("Enter");
    await this.page.getByRole("menuitem", { name: item }).click();
  }

  // waiting returns the number of messages that the page has not sent yet.
  async waiting() {
    const count = this.page.getByTestId("outbox-count");
    return (await count.count()) ? Number(((await count.first().textContent()) ?? "").replace(/\D/g, "") || 0) : 0;
  }

  // entry is the line of a thread in the list.
  entry(topic) {
    return this.threads.getByRole("listitem").filter({ hasText: topic });
  }

  async openThread(topic) {
    const entry = this.threads.getByRole("link", { name: topic }).or(this.threads.getByRole("button", { name: topic }));
    await entry.first().click();
    await this.writable();
  }

  // startThread fills the form of a new thread; Enter in its topic field, which has the focus, creates it.
  async startThread(topic, users = []) {
    await this.page.getByRole("button", { name: this.words.newThread }).first().click();
    if (users.length > 0) await this.page.getByRole("textbox", { name: this.words.newThreadPeople }).fill(users.join("\n"));
    await this.page.getByRole("textbox", { name: this.words.topic, exact: true }).fill(topic);
  }

  async openPeople() {
    await this.page.getByRole("button", { name: new RegExp(`^(${this.words.people}|.*\\d+ (people|person))`) }).first().click();
    await this.page.getByRole("button", { name: this.words.leave }).waitFor();
  }

  // fillPerson fills the form that adds a person. share is shareAll, shareNone or shareFrom.
  async fillPerson(user, name, share) {
    await this.page.getByRole("textbox", { name: this.words.personId }).fill(user);
    await this.page.getByRole("textbox", { name: this.words.personName }).fill(name);
    await this.page.getByRole("radio", { name: this.words[share] }).check();
  }

  // askToLeave presses the button to leave, and waits for the question whether it is meant so.
  async askToLeave() {
    const leave = this.page.getByRole("button", { name: this.words.leave });
    await leave.click();
    await this.page.getByText(this.words.leaveSure).waitFor();
    await until("the button that says yes has the focus", () => leave.evaluate((button) => button === document.activeElement));
  }

  close() {
    return this.page.close();
  }
}

// storedPerson returns the key and the value under which the page keeps a person in its session storage.
export function storedPerson({ user, token, name, expires }) {
  return ["confab.person", JSON.stringify({ user, token, name, expires: Date.parse(expires), source: "dev" })];
}
