// The shapes that the modules of the chat page hand to each other. Times are milliseconds since 1970.

export interface Config {
  dev: boolean;
  version: string;
  endpoint: string;
  tokenUrl: string | null;
  maxContent: number; // longest message, in bytes of UTF-8
  htmlImages: boolean;
  lobby: string | null;
}

export interface Person {
  user: string;
  token: string;
  expires: number;
  name: string;
  // How a new token is got: from this development server, from the application's address, or from the person.
  source: "dev" | "url" | "pasted";
}

export interface Participant {
  id: string;
  name: string;
  since?: number; // earliest message that this participant may read; 0 or absent is everything
}

export type MessageKind = "text" | "html" | "participantAdded" | "participantRemoved" | "topicUpdated";

export interface Message {
  id: string; // milliseconds of its creation, unique in the thread
  version: string; // equals id until the message is edited or deleted
  sequence: number; // place in the server's list; 0 if it came as a live event, which has none
  kind: MessageKind;
  sender: string; // empty for system messages
  senderName: string;
  text: string;
  createdOn: number;
  editedOn?: number;
  deletedOn?: number;
  topic?: string;
  initiator?: string;
  people?: Participant[];
}

export interface Thread {
  id: string;
  topic: string;
  active: number; // time of the last message
  unread: number; // 100 means 100 or more
  last?: Message;
  deleted: boolean;
}

export interface Receipt {
  user: string;
  message: string;
  on: number;
}

// isFromPerson tells messages that somebody wrote from those of the system.
export const isFromPerson = (m: Message): boolean => m.kind === "text" || m.kind === "html";
