import type { Config, Person } from "./model.ts";

// Ended means that the person's token is over and no new one could be got without the person.
export class Ended extends Error {}

const KEY = "confab.person";

// storedPerson returns the person of this tab. It lives in sessionStorage, so a second tab is a second person.
export function storedPerson(): Person | null {
  try {
    const text = sessionStorage.getItem(KEY);
    return text ? (JSON.parse(text) as Person) : null;
  } catch {
    return null;
  }
}

export function storePerson(person: Person | null): void {
  if (person) sessionStorage.setItem(KEY, JSON.stringify(person));
  else sessionStorage.removeItem(KEY);
}

// readConfig asks the server how it is set up.
export async function readConfig(): Promise<Config> {
  const response = await fetch("/web/config.json", { signal: AbortSignal.timeout(10_000) });
  if (!response.ok) throw new Error(`config.json: ${response.status}`);
  return (await response.json()) as Config;
}

interface JoinAnswer {
  user: string;
  token: string;
  expires: string;
  lobby: string;
  thread: string;
}

// join makes a user on a development server and a member of the lobby, and of the given thread. It returns the person and
// the thread to open. It fails with the server's own sentence if the server refuses.
export async function join(name: string, thread?: string): Promise<{ person: Person; thread: string }> {
  const answer = await post<JoinAnswer>("/dev/join", thread ? { name, thread } : { name });
  const person: Person = { user: answer.user, token: answer.token, expires: Date.parse(answer.expires), name, source: "dev" };
  return { person, thread: answer.thread || answer.lobby };
}

async function post<T>(path: string, body: object): Promise<T> {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(15_000),
  });
  if (response.ok) return (await response.json()) as T;
  const answer = (await response.json().catch(() => null)) as { error?: { message?: string } } | null;
  throw new RefusedBy(response.status, answer?.error?.message ?? `${response.status} ${response.statusText}`);
}

// RefusedBy is an answer other than a success; its message is the server's.
export class RefusedBy extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

// personOfToken reads user and expiry from a token that was pasted or fetched. It throws if the text is no token of a user.
export function personOfToken(token: string, name: string, source: Person["source"]): Person {
  const claims = JSON.parse(decode(token.trim().split(".")[1] ?? "")) as { skypeid?: string; exp?: number };
  if (!claims.skypeid || !claims.exp) throw new Error("no claims");
  return { user: `8:${claims.skypeid}`, token: token.trim(), expires: claims.exp * 1000, name, source };
}

const decode = (part: string): string => {
  const binary = atob(part.replace(/-/g, "+").replace(/_/g, "/"));
  return new TextDecoder().decode(Uint8Array.from(binary, (c) => c.charCodeAt(0)));
};

interface TokenAnswer {
  token: string;
  displayName?: string;
  name?: string;
}

// fetchToken gets a token from the host application (--web-token-url), which knows the person by its own cookies.
export async function fetchToken(url: string): Promise<{ token: string; name: string }> {
  const response = await fetch(url, { credentials: "include", headers: { accept: "application/json" }, signal: AbortSignal.timeout(15_000) });
  if (!response.ok) throw new RefusedBy(response.status, `${new URL(url, location.href).host}: ${response.status}`);
  const answer = (await response.json()) as TokenAnswer;
  return { token: answer.token, name: answer.displayName ?? answer.name ?? "" };
}

// Session keeps the person's token fresh.
export class Session {
  #person: Person;
  #config: Config;
  #renewal: Promise<void> | undefined;
  #renewed: (person: Person) => void;

  constructor(person: Person, config: Config, renewed: (person: Person) => void) {
    this.#person = person;
    this.#config = config;
    this.#renewed = renewed;
  }

  get person(): Person {
    return this.#person;
  }

  // token returns a token that is valid for a minute at least by this machine's clock. It fails with Ended.
  async token(): Promise<string> {
    if (this.#person.expires - Date.now() < 60_000) await this.renew(this.#person.token);
    return this.#person.token;
  }

  // renew replaces a token that the server does not accept any more, once for all callers. It fails with Ended if only the
  // person can give a new one.
  async renew(old: string): Promise<void> {
    if (this.#person.token !== old) return;
    this.#renewal ??= this.#renew().finally(() => (this.#renewal = undefined));
    await this.#renewal;
  }

  // replace takes a token that the person has pasted. It throws if the token is of somebody else.
  replace(token: string): void {
    this.#set(personOfToken(token, this.#person.name, this.#person.source));
  }

  async #renew(): Promise<void> {
    const { user, name, source } = this.#person;
    try {
      if (source === "dev") {
        const answer = await post<{ token: string; expires: string }>("/dev/token", { user });
        this.#set({ ...this.#person, token: answer.token, expires: Date.parse(answer.expires) });
      } else if (source === "url" && this.#config.tokenUrl) {
        this.#set(personOfToken((await fetchToken(this.#config.tokenUrl)).token, name, source));
      } else throw new Ended("the token was pasted");
    } catch (e) {
      // 5xx and a lost answer say nothing about the person.
      if (e instanceof RefusedBy && e.status < 500 && e.status !== 408 && e.status !== 429) throw new Ended(e.message);
      throw e;
    }
  }

  #set(person: Person): void {
    if (person.user !== this.#person.user) throw new Ended("the token is of another user");
    this.#person = person;
    this.#renewed(person);
  }
}
