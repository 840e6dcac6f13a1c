// The program of the page: one chat client of Microsoft's SDK, which a test controls through globalThis.page. bundle.mjs
// bundles it with each version of the SDK. Arguments and results are JSON, so that they can cross to another process.
import { ChatClient } from "@azure/communication-chat";
import { AzureCommunicationTokenCredential } from "@azure/communication-common";
import { AzureLogger, setLogLevel } from "@azure/logger";

const CHAT_EVENTS = [
  "chatMessageReceived", "chatMessageEdited", "chatMessageDeleted", "typingIndicatorReceived", "readReceiptReceived",
  "chatThreadCreated", "chatThreadPropertiesUpdated", "chatThreadDeleted", "participantsAdded", "participantsRemoved",
];
const CONNECTION_EVENTS = ["realTimeNotificationConnected", "realTimeNotificationDisconnected"];

let client;
const seen = []; // every event so far, in order: {name, event}
let waiting = []; // functions to call at the next event

// said has the last lines of the SDK's own log, each with its time. A test that misses an event shows them: they tell
// whether the client got the event, and what it answered.
const said = [];
setLogLevel("verbose");
AzureLogger.log = (...words) => {
  said.push(`${new Date().toISOString()} ${words.map((w) => (typeof w === "string" ? w : JSON.stringify(w))).join(" ").slice(0, 300)}`);
  if (said.length > 400) said.shift();
};

const commands = {
  // open creates the client of a user. The page's own server issues the user's tokens, as an app's server does.
  async open(endpoint, user) {
    const token = async () => {
      const response = await fetch(new URL(`/token?user=${encodeURIComponent(user)}`, location.href));
      if (!response.ok) throw new Error(`no token: ${response.status} ${await response.text()}`);
      return response.text();
    };
    const credential = new AzureCommunicationTokenCredential({ token: await token(), tokenRefresher: token, refreshProactively: false });
    client = new ChatClient(endpoint, credential);
  },

  // chat calls a method of the client.
  chat: (method, ...args) => settle(client[method](...args)),

  // thread calls a method of a thread's client.
  thread: (id, method, ...args) => settle(client.getChatThreadClient(id)[method](...args)),

  // start starts the notifications and subscribes to all events. Stopping removes every listener, so it subscribes each time.
  async start() {
    for (const name of CONNECTION_EVENTS) client.on(name, () => note(name));
    await client.startRealtimeNotifications();
    for (const name of CHAT_EVENTS) client.on(name, (event) => note(name, event));
  },

  stop: () => client.stopRealtimeNotifications(),

  // eventsAfter returns the events after the first n. It waits up to ms milliseconds for one.
  async eventsAfter(n, ms) {
    if (seen.length <= n) {
      await new Promise((resolve) => {
        waiting.push(resolve);
        setTimeout(resolve, ms);
      });
    }
    return seen.slice(n);
  },

  // log returns the last lines of the SDK's log.
  log: () => said,

  // moveClock moves the time that the page reads forward. Timers run on as they did.
  moveClock(ms) {
    const now = Date.now;
    globalThis.Date = new Proxy(Date, {
      construct: (target, args) => (args.length ? new target(...args) : new target(now() + ms)),
      get: (target, key) => (key === "now" ? () => now() + ms : target[key]),
    });
  },

  // get requests a URL and returns the status.
  get: async (url) => (await fetch(url)).status,
};

function note(name, event) {
  seen.push({ name, event });
  for (const resolve of waiting) resolve();
  waiting = [];
}

// settle returns a call's result; for a paged list, its items.
async function settle(result) {
  if (!result?.[Symbol.asyncIterator]) return result;
  const items = [];
  for await (const item of result) items.push(item);
  return items;
}

// page runs a command and returns {result} or {error}, as JSON.
globalThis.page = async (command, ...args) => {
  try {
    return JSON.stringify({ result: await commands[command](...args) });
  } catch (e) {
    return JSON.stringify({ error: { message: e.message, name: e.name, statusCode: e.statusCode, code: e.code } });
  }
};
