import { effect } from "@preact/signals";
import { threadOfAddress } from "./address.ts";
import { Chat } from "./chat.ts";
import { words } from "./i18n.ts";
import type { Person } from "./model.ts";
import { fetchToken, join, personOfToken, readConfig, storePerson, storedPerson } from "./session.ts";
import * as state from "./state.ts";
import { openStorage, type Storage } from "./storage.ts";
import { loadClient } from "./transport.ts";

const AGAIN = 2_000; // ms after which a server that did not answer is asked again

// App starts and ends the Chat of this tab's person.
class App {
  chat: Chat | undefined;
  #storage: Promise<Storage> | undefined;

  // start reads the configuration and goes on with the person of this tab, if there is one.
  async start(): Promise<void> {
    void loadClient().catch(() => undefined); // while the person types a name
    this.#follow();
    const person = storedPerson();
    if (person) state.person.value = person;
    for (;;) {
      try {
        state.config.value = await readConfig();
        break;
      } catch {
        if (person) state.reachable.value = false;
        await new Promise((resolve) => setTimeout(resolve, AGAIN));
      }
    }
    state.reachable.value = true;
    if (person) await this.#enter(person, null);
    else if (state.config.value.tokenUrl) await this.fromApplication().catch(() => undefined);
  }

  // join starts with a name, on a development server.
  async join(name: string): Promise<void> {
    const { person, thread } = await join(name, threadOfAddress() ?? undefined);
    await this.#enter(person, thread);
  }

  // paste starts with a token that the person has. It throws if the text is no token.
  async paste(token: string, name: string): Promise<void> {
    await this.#enter(personOfToken(token, name, "pasted"), null);
  }

  // fromApplication starts with a token of the host application.
  async fromApplication(): Promise<void> {
    const { token, name } = await fetchToken(state.config.value!.tokenUrl!);
    await this.#enter(personOfToken(token, name, "url"), null);
  }

  // leave forgets the person of this tab.
  leave(): void {
    this.chat?.close();
    this.chat = undefined;
    storePerson(null);
    state.person.value = null;
    state.drafts.value = new Map();
    history.replaceState(null, "", "/");
  }

  // startAgain lets a person whose access has ended choose a name anew. The address stays.
  startAgain(): void {
    this.chat?.close();
    this.chat = undefined;
    storePerson(null);
    state.person.value = null;
  }

  async #enter(person: Person, thread: string | null): Promise<void> {
    storePerson(person);
    this.#storage ??= openStorage();
    this.chat?.close();
    this.chat = new Chat(person, await this.#storage);
    state.person.value = person;
    await this.chat.start(thread);
  }

  // #follow keeps the document in step with the state: its title, its state for styles and tests, the clock of countdowns.
  #follow(): void {
    effect(() => {
      document.body.dataset["state"] = state.pageState.value;
    });
    effect(() => {
      const n = state.unreadTotal.value;
      document.title = n > 0 ? `(${words().unreadShort(n)}) ${words().title}` : words().title;
    });
    let timer: ReturnType<typeof setInterval> | undefined;
    effect(() => {
      const counts = state.rows.value.some((r) => r.throttled || (r.kind === "delete" && r.state === "waiting"));
      if (counts && timer === undefined) {
        state.now.value = Date.now();
        timer = setInterval(() => (state.now.value = Date.now()), 250);
      } else if (!counts) {
        clearInterval(timer);
        timer = undefined;
      }
    });
  }
}

export const app = new App();
