// The JSON of the operator's API, api/operator.openapi.yaml, as far as the console reads it. Times are in RFC 3339.

export type Role = "operator" | "viewer";

export type Session = {
  role: Role;
  who: string;
  expires?: string;
  /** Whether the content of messages, and the bodies of requests, may be read. */
  messages: boolean;
  server: { version: string; dev: boolean; endpoint: string; storage: string; data: string; started: string; http?: string; now: string };
};

export type Why = { code: string; sentence: string; mend: string };

/** A request that the server has answered; status is 0 if the connection was closed without an answer. */
export type Request = {
  seq: number;
  id: string;
  clientId?: string;
  time: string;
  ms: number;
  status: number;
  method: string;
  path: string;
  operation: string;
  user?: string;
  thread?: string;
  sdk?: string;
  client?: string;
  version?: string;
  why?: Why;
};

export type HttpPart = { headers: Record<string, string>; body?: string; bodyTruncated?: boolean; bodySize: number };
export type RequestDetail = Request & { request: HttpPart; response: HttpPart; canSendAgain: boolean };
export type RequestPage = { requests: Request[]; next?: string; kept: number; seen: number; lost: number };

/** The figures of a second or of a step: numbers of requests in that time; p50, p99 and commit are milliseconds. */
export type Point = {
  t: string;
  requests: number;
  refused: number;
  errors: number;
  sends: number;
  p50: number;
  p99: number;
  commit: number;
  connections: number;
  live: number;
};

export type Overview = {
  now: string;
  /** Seconds between two points. */
  step: number;
  points: Point[];
  totals: { requests: number; refused: number; since: string };
  refusals: { reason: string; count: number }[];
  /** Sizes in bytes. */
  storage: { kind: string; bytes?: number; free?: number; position: number };
  servers: { id: string; version: string; started: string; seen: string; self: boolean }[];
  connections: { open: number; most: number; live: number };
  ready: boolean;
  problems: string[];
};

export type ThreadEntry = { id: string; topic: string; lastMessageOn?: string; deletedOn?: string; members?: number };
export type ThreadPage = { threads: ThreadEntry[]; next?: string; looked?: number; complete?: boolean };

/** A range of a thread's events, by number, in which a user was in the thread; without an end it lasts. */
export type Interval = { from: number; to?: number };
/** A present or past member. Messages from before seesFrom are hidden; one who has left sees those up to lastSequence. */
export type Member = {
  id: string;
  displayName?: string;
  joinedOn: string;
  seesFrom: string;
  left?: boolean;
  lastSequence?: number;
  intervals: Interval[];
};
export type Thread = {
  id: string;
  topic: string;
  createdOn: string;
  createdBy: string;
  deletedOn?: string;
  expiresOn?: string;
  lastMessageOn?: string;
  metadata?: Record<string, string>;
  lastSequence: number;
  lastEvent: number;
  members: Member[];
};

export type Participant = { id: string; displayName?: string };
export type Message = {
  id: string;
  type: string;
  sequence: number;
  createdOn: string;
  editedOn?: string;
  deletedOn?: string;
  sender?: string;
  senderDisplayName?: string;
  content: string;
  initiator?: string;
  participants?: Participant[];
};

export type SeenMessage = { id: string; sequence: number; type: string; createdOn: string; visible: boolean; why: string; sender?: string; content?: string };
export type SeenBy = { user: string; member?: Member; sees: "all" | "part" | "none"; why: string; messages: SeenMessage[]; next?: string };

export type LogEvent = { position: number; time?: string; kind: string; thread: string; number: number; user?: string; message?: string };

/** A live connection; waiting is the bytes of events that wait for the client. */
export type Connection = { protocol: string; from?: string; since: string; agent?: string; waiting: number };
export type User = {
  id: string;
  state: string;
  customId?: string;
  displayName?: string;
  deletedAt?: string;
  tokenIssuedAt?: string;
  revoked: number;
  connections?: Connection[];
};
export type UserPage = { users: User[]; next?: string; looked?: number; complete?: boolean };

export type Key = { name: string; serial: number; liveTokens: number; configured?: boolean };
export type RotatedKey = Key & { ended: number; accessKey: string };

/** A limit; without a window, in seconds, it holds at any time. */
export type Limit = { name: string; scope: string; value: number; unit: string; window?: number };
/** How much of a limit is used. A limit of a whole thread has no user. */
export type LimitUser = { user?: string; thread?: string; limit: string; used: number; of: number; over: boolean; resets?: string };
export type Limits = { profile: string; limits: Limit[]; users: LimitUser[] };

export type AuditRow = {
  id: string;
  time: string;
  who: string;
  kind: string;
  role: string;
  from: string;
  operation: string;
  target?: string;
  outcome: string;
  status: number;
  requestId: string;
};

export type Setting = { name: string; value: string; source: string; default: string; secret: boolean; help: string };

export type Hit = { kind: "user" | "thread" | "message" | "request"; id: string; thread?: string; label: string };

export type Clock = { now: string; ahead: string };
export type Fault = { operation?: string; status?: number; retryAfter?: number; delay?: string; drop?: string; times?: number | string };
export type Faults = { faults: Fault[]; requests: Record<string, number> };
