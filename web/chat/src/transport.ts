import type { ChatClient, ChatClientOptions, ChatMessage, ChatParticipant, ChatThreadClient } from "@azure/communication-chat";
import type { Message, MessageKind, Participant, Receipt, Thread } from "./model.ts";
import { Ended, type Session } from "./session.ts";

// The api-version of the one request that the official client cannot send: the list of threads with its extension.
const API_VERSION = "2025-03-15";

// PATIENCE is how long the page waits for an answer. The server answers within 20 s or closes the connection.
const PATIENCE = 25_000;

// Problem says why a request failed, as far as that matters to what happens next.
export type Problem =
  | { kind: "refused"; status: number; reason: string }
  | { kind: "throttled"; seconds: number }
  | { kind: "unknown"; status: number } // no answer (0), 408 or 5xx
  | { kind: "ended" };

// Failed is the one error that the methods of Api throw.
export class Failed extends Error {
  readonly problem: Problem;
  constructor(problem: Problem, cause?: unknown) {
    super(problem.kind === "refused" ? problem.reason : problem.kind, { cause });
    this.problem = problem;
  }
}

const SECURE = `https://${location.host}`;

// On plain http the official client believes that it speaks https, since it refuses to send a token otherwise. This policy
// stands behind that check. It sends to the page's own origin, and turns that origin back to https in answers, so that the
// client accepts the links to next pages too. The configuration of live events keeps its http: from it the client takes ws:.
// (signalingClientOptions is in no public type, so the client's version is pinned.)
const sameOrigin = {
  name: "sameOrigin",
  async sendRequest(request: PolicyRequest, next: (request: PolicyRequest) => Promise<PolicyResponse>): Promise<PolicyResponse> {
    if (!request.url.startsWith(`${SECURE}/`)) return next(request);
    request.url = location.origin + request.url.slice(SECURE.length);
    request.allowInsecureConnection = location.protocol === "http:";
    const response = await next(request);
    if (response.bodyAsText && !request.url.startsWith(`${location.origin}/chat/config/`))
      response.bodyAsText = response.bodyAsText.replaceAll(`${location.origin}/`, `${SECURE}/`);
    return response;
  },
};

interface PolicyRequest {
  url: string;
  allowInsecureConnection?: boolean;
}

interface PolicyResponse {
  bodyAsText?: string | null;
}

// loadClient loads the official client. It may be called often; after a failure the next call tries again.
export function loadClient(): Promise<typeof import("./sdk.ts")> {
  loading ??= import("./sdk.ts").catch((e: unknown) => {
    loading = undefined;
    throw e;
  });
  return loading;
}
let loading: Promise<typeof import("./sdk.ts")> | undefined;

// Api makes one user's requests. A token that the server does not accept is renewed once per request.
export class Api {
  #session: Session;
  #client: Promise<ChatClient> | undefined;
  #threads = new Map<string, ChatThreadClient>();
  #watch: (problem: Problem | undefined) => void;

  // watch is told how each request ended; undefined is a success.
  constructor(session: Session, watch: (problem: Problem | undefined) => void) {
    this.#session = session;
    this.#watch = watch;
  }

  // newClient makes a client of its own, for live events: a client whose start has failed cannot be started again.
  async newClient(): Promise<ChatClient> {
    const { ChatClient } = await loadClient();
    const policies = location.protocol === "http:" ? [{ policy: sameOrigin, position: "perRetry" }] : [];
    const options = {
      additionalPolicies: policies,
      signalingClientOptions: { additionalPolicies: policies },
      retryOptions: { maxRetries: 0 }, // the outbox repeats, with an id; the person sees what is awaited
    };
    const credential = {
      // The token counts as expired at once, so that the client asks for it with every request and never keeps an old one.
      getToken: async () => ({ token: await this.#session.token(), expiresOnTimestamp: Date.now() }),
      dispose: () => undefined,
    };
    return new ChatClient(SECURE, credential, options as unknown as ChatClientOptions);
  }

  // send sends a message under a repeatability id and returns the message's id.
  async send(thread: string, id: string, text: string, html: boolean, name: string): Promise<string> {
    const options = {
      type: html ? ("html" as const) : ("text" as const),
      senderDisplayName: name,
      requestOptions: { customHeaders: { "repeatability-request-id": id } },
    };
    return this.#thread(thread, async (t) => (await t.sendMessage({ content: text }, { ...options, ...patience() })).id);
  }

  edit(thread: string, message: string, text: string): Promise<void> {
    return this.#thread(thread, (t) => t.updateMessage(message, { content: text, ...patience() }));
  }

  delete(thread: string, message: string): Promise<void> {
    return this.#thread(thread, (t) => t.deleteMessage(message, patience()));
  }

  // messages returns one page of a thread's messages, newest first, and the cursor of the next, which is absent at the end.
  async messages(thread: string, size: number, cursor?: string): Promise<{ page: Message[]; next: string | undefined }> {
    return this.#thread(thread, async (t) => {
      const settings: { continuationToken?: string } = cursor ? { continuationToken: cursor } : {};
      const { value } = await t.listMessages({ maxPageSize: size, ...patience() }).byPage(settings).next();
      return { page: ((value ?? []) as ChatMessage[]).map(messageOf), next: settings.continuationToken };
    });
  }

  async participants(thread: string): Promise<Participant[]> {
    return this.#thread(thread, async (t) => {
      const people: Participant[] = [];
      for await (const p of t.listParticipants({ maxPageSize: 200, ...patience() })) people.push(participantOf(p));
      return people;
    });
  }

  async receipts(thread: string): Promise<Receipt[]> {
    return this.#thread(thread, async (t) => {
      const receipts: Receipt[] = [];
      for await (const r of t.listReadReceipts({ maxPageSize: 200, ...patience() }))
        receipts.push({ user: rawId(r.sender), message: r.chatMessageId, on: r.readOn.getTime() });
      return receipts;
    });
  }

  read(thread: string, message: string): Promise<void> {
    return this.#thread(thread, (t) => t.sendReadReceipt({ chatMessageId: message }, patience()));
  }

  async typing(thread: string, name: string): Promise<void> {
    await this.#thread(thread, (t) => t.sendTypingNotification({ senderDisplayName: name, ...patience() }));
  }

  async topic(thread: string): Promise<string> {
    return (await this.#thread(thread, (t) => t.getProperties(patience()))).topic;
  }

  rename(thread: string, topic: string): Promise<void> {
    return this.#thread(thread, (t) => t.updateTopic(topic, patience()));
  }

  // add adds one person, who may read messages from `since` on. It fails if the server does not know the person.
  async add(thread: string, person: Participant): Promise<void> {
    const refusal = await this.#thread(thread, async (t) => {
      const participant = { id: { communicationUserId: person.id }, shareHistoryTime: new Date(person.since ?? 0) };
      const named = person.name ? { ...participant, displayName: person.name } : participant;
      return (await t.addParticipants({ participants: [named] }, patience())).invalidParticipants?.[0];
    });
    if (refusal) throw new Failed({ kind: "refused", status: Number(refusal.code) || 400, reason: refusal.message });
  }

  remove(thread: string, user: string): Promise<void> {
    return this.#thread(thread, (t) => t.removeParticipant({ communicationUserId: user }, patience()));
  }

  // create makes a thread with these people and returns its id. The same token never makes a second thread.
  async create(topic: string, people: Participant[], token: string): Promise<string> {
    const participants = people.map((p) => ({ id: { communicationUserId: p.id }, ...(p.name ? { displayName: p.name } : {}) }));
    return this.#call(async () => {
      const client = await this.#own();
      const result = await client.createChatThread({ topic }, { participants, idempotencyToken: token, ...patience() });
      if (!result.chatThread) throw new Error("the server made no thread");
      return result.chatThread.id;
    });
  }

  // threads returns one page of the user's threads, the most recent first, each with its last message and what is unread.
  // Both come from an extension of this server, which the official client does not send.
  async threads(cursor?: string): Promise<{ page: Thread[]; next: string | undefined }> {
    const url = cursor ?? `${location.origin}/chat/threads?expand=lastMessage%2Cunread&maxPageSize=50&api-version=${API_VERSION}`;
    return this.#call(async () => {
      const headers = { authorization: `Bearer ${await this.#session.token()}`, accept: "application/json" };
      const response = await fetch(url, { headers, signal: AbortSignal.timeout(PATIENCE) });
      if (!response.ok) throw new Failed(await problemOf(response));
      const answer = (await response.json()) as { value: WireThread[]; nextLink?: string };
      return { page: answer.value.map(threadOf), next: answer.nextLink?.replace(`${SECURE}/`, `${location.origin}/`) };
    });
  }

  // #own returns the client of all requests but live events. If it could not be loaded, the next request tries again.
  #own(): Promise<ChatClient> {
    this.#client ??= this.newClient().catch((e: unknown) => {
      this.#client = undefined;
      throw e;
    });
    return this.#client;
  }

  #thread<T>(id: string, request: (client: ChatThreadClient) => Promise<T>): Promise<T> {
    return this.#call(async () => {
      const client = await this.#own();
      let thread = this.#threads.get(id);
      if (!thread) this.#threads.set(id, (thread = client.getChatThreadClient(id)));
      return request(thread);
    });
  }

  async #call<T>(request: () => Promise<T>): Promise<T> {
    try {
      const result = await this.#twice(request);
      this.#watch(undefined);
      return result;
    } catch (e) {
      const failed = e instanceof Failed ? e : new Failed(classify(e), e);
      this.#watch(failed.problem);
      throw failed;
    }
  }

  // #twice makes a request again with a new token if the server does not accept the present one.
  async #twice<T>(request: () => Promise<T>): Promise<T> {
    const token = this.#session.person.token;
    try {
      return await request();
    } catch (e) {
      if (classify(e).kind !== "ended" || e instanceof Ended) throw e;
    }
    await this.#session.renew(token);
    return request();
  }
}

const patience = (): { abortSignal: AbortSignal } => ({ abortSignal: AbortSignal.timeout(PATIENCE) });

interface ErrorOfClient {
  statusCode?: number;
  message?: string;
  response?: { headers: { get(name: string): string | undefined } };
}

function classify(e: unknown): Problem {
  if (e instanceof Failed) return e.problem;
  if (e instanceof Ended) return { kind: "ended" };
  const { statusCode = 0, message = "", response } = e as ErrorOfClient;
  return judge(statusCode, message, response?.headers.get("retry-after") ?? null);
}

async function problemOf(response: Response): Promise<Problem> {
  const body = (await response.json().catch(() => null)) as { error?: { message?: string } } | null;
  return judge(response.status, body?.error?.message ?? response.statusText, response.headers.get("retry-after"));
}

function judge(status: number, reason: string, retryAfter: string | null): Problem {
  if (status === 401) return { kind: "ended" };
  if (status === 429) return { kind: "throttled", seconds: Number(retryAfter) || 5 };
  if (status === 0 || status === 408 || status >= 500) return { kind: "unknown", status };
  return { kind: "refused", status, reason: reason || String(status) };
}

interface AnyIdentifier {
  rawId?: string;
  communicationUserId?: string;
  communicationUser?: { id: string };
  phoneNumber?: string | { value: string };
  id?: string;
}

// rawId returns the full id of a user from a shape of the client or of the wire.
export function rawId(identifier: unknown): string {
  const i = (identifier ?? {}) as AnyIdentifier;
  return i.rawId ?? i.communicationUserId ?? i.communicationUser?.id ?? i.id ?? "";
}

export const participantOf = (p: { id: unknown; displayName?: string; shareHistoryTime?: Date }): Participant => ({
  id: rawId(p.id),
  name: p.displayName ?? "",
  since: p.shareHistoryTime ? new Date(p.shareHistoryTime).getTime() : 0,
});

function messageOf(m: ChatMessage): Message {
  return {
    id: m.id,
    version: m.version,
    sequence: Number(m.sequenceId) || 0,
    kind: m.type as MessageKind,
    sender: rawId(m.sender),
    senderName: m.senderDisplayName ?? "",
    text: m.content?.message ?? "",
    createdOn: Number(m.id) || m.createdOn.getTime(), // the id has milliseconds, the date has not
    editedOn: m.editedOn?.getTime(),
    deletedOn: m.deletedOn?.getTime(),
    topic: m.content?.topic,
    initiator: m.content?.initiator && rawId(m.content.initiator),
    people: m.content?.participants?.map((p: ChatParticipant) => participantOf(p)),
  };
}

interface WireThread {
  id: string;
  topic: string;
  deletedOn?: string;
  lastMessageReceivedOn?: string;
  unread?: number;
  lastMessage?: WireMessage;
}

interface WireMessage {
  id: string;
  type: MessageKind;
  sequenceId: string;
  version?: string;
  senderDisplayName?: string;
  senderCommunicationIdentifier?: AnyIdentifier;
  deletedOn?: string;
  content?: {
    message?: string;
    topic?: string;
    initiatorCommunicationIdentifier?: AnyIdentifier;
    participants?: { communicationIdentifier: AnyIdentifier; displayName?: string }[];
  };
}

function threadOf(t: WireThread): Thread {
  const thread: Thread = {
    id: t.id,
    topic: t.topic,
    // The date has whole seconds; the id of the last message has milliseconds.
    active: Math.max(Date.parse(t.lastMessageReceivedOn ?? "") || 0, Number(t.lastMessage?.id) || 0),
    unread: t.unread ?? 0,
    deleted: t.deletedOn !== undefined,
  };
  const last = t.lastMessage;
  if (last)
    thread.last = {
      id: last.id,
      version: last.version ?? last.id,
      sequence: Number(last.sequenceId) || 0,
      kind: last.type,
      sender: rawId(last.senderCommunicationIdentifier),
      senderName: last.senderDisplayName ?? "",
      text: last.content?.message ?? "",
      createdOn: Number(last.id) || 0,
      deletedOn: last.deletedOn ? Date.parse(last.deletedOn) : undefined,
      topic: last.content?.topic,
      initiator: last.content?.initiatorCommunicationIdentifier && rawId(last.content.initiatorCommunicationIdentifier),
      people: last.content?.participants?.map((p) => ({ id: rawId(p.communicationIdentifier), name: p.displayName ?? "" })),
    };
  return thread;
}
