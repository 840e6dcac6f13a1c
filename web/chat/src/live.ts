import type { ChatClient } from "@azure/communication-chat";
import type { Message, Participant, Receipt } from "./model.ts";
import { participantOf, rawId, type Api } from "./transport.ts";

// Listener is told of live events. Events may come twice, and those of a time without a connection do not come at all.
export interface Listener {
  connected(isConnected: boolean): void;
  message(thread: string, message: Message): void;
  typing(thread: string, user: string, name: string): void;
  receipt(thread: string, receipt: Receipt): void;
  threadCreated(thread: string): void;
  threadDeleted(thread: string): void;
  topic(thread: string, topic: string): void;
  added(thread: string, people: Participant[]): void;
  removed(thread: string, people: Participant[]): void;
}

// Live holds the connection for live events. The official client reconnects by itself, but slowly, and it gives up for good
// after some failures; restart takes a new client.
export class Live {
  #api: Api;
  #listener: Listener;
  #client: ChatClient | undefined;
  #generation = 0;

  constructor(api: Api, listener: Listener) {
    this.#api = api;
    this.#listener = listener;
  }

  // restart drops the connection, if there is one, and begins a new one. It fails if the server does not answer.
  async restart(): Promise<void> {
    const generation = ++this.#generation;
    this.#drop();
    const client = await this.#api.newClient();
    if (generation !== this.#generation) return;
    this.#client = client;
    const isCurrent = (): boolean => generation === this.#generation;
    client.on("realTimeNotificationConnected", () => isCurrent() && this.#listener.connected(true));
    client.on("realTimeNotificationDisconnected", () => isCurrent() && this.#listener.connected(false));
    await client.startRealtimeNotifications();
    if (isCurrent()) subscribe(client, this.#listener, isCurrent);
  }

  // stop ends the connection.
  stop(): void {
    this.#generation++;
    this.#drop();
  }

  #drop(): void {
    this.#client?.stopRealtimeNotifications().catch(() => undefined);
    this.#client = undefined;
  }
}

interface MessageEvent {
  threadId: string;
  id: string;
  version: string;
  type: string;
  sender: unknown;
  senderDisplayName: string;
  message?: string;
  editedOn?: Date;
  deletedOn?: Date;
}

const messageOf = (e: MessageEvent): Message => ({
  id: e.id,
  version: e.version,
  sequence: 0,
  kind: /html/i.test(e.type) ? "html" : "text",
  sender: rawId(e.sender),
  senderName: e.senderDisplayName ?? "",
  text: e.message ?? "",
  createdOn: Number(e.id),
  editedOn: e.editedOn?.getTime(),
  deletedOn: e.deletedOn?.getTime(),
});

function subscribe(client: ChatClient, listener: Listener, isCurrent: () => boolean): void {
  const message = (e: unknown): void => {
    if (isCurrent()) listener.message((e as MessageEvent).threadId, messageOf(e as MessageEvent));
  };
  client.on("chatMessageReceived", message);
  client.on("chatMessageEdited", message);
  client.on("chatMessageDeleted", message);
  client.on("typingIndicatorReceived", (e) => isCurrent() && listener.typing(e.threadId, rawId(e.sender), e.senderDisplayName));
  client.on("readReceiptReceived", (e) => {
    if (isCurrent()) listener.receipt(e.threadId, { user: rawId(e.sender), message: e.chatMessageId, on: e.readOn.getTime() });
  });
  client.on("chatThreadCreated", (e) => isCurrent() && listener.threadCreated(e.threadId));
  client.on("chatThreadDeleted", (e) => isCurrent() && listener.threadDeleted(e.threadId));
  client.on("chatThreadPropertiesUpdated", (e) => isCurrent() && listener.topic(e.threadId, e.properties.topic));
  client.on("participantsAdded", (e) => isCurrent() && listener.added(e.threadId, e.participantsAdded.map(participantOf)));
  client.on("participantsRemoved", (e) => isCurrent() && listener.removed(e.threadId, e.participantsRemoved.map(participantOf)));
}
