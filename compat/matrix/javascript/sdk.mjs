// One chat release with one identity release, behind calls that are the same for all releases. Where releases differ, Sdk asks
// the release's own methods and type declarations, and never its number.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { Declarations } from "./declarations.mjs";

const ENDPOINT = process.env.CONFAB_ENDPOINT;
const CONNECTION_STRING = process.env.CONFAB_CONNECTION_STRING;

// The time between the tries of a request. Some releases wait 30 s without it.
const RETRIES = { retryOptions: { retryDelayInMs: 100, maxRetryDelayInMs: 500 } };

// NotInRelease is thrown by a call that the release does not have.
export class NotInRelease extends Error {}

export class Sdk {
  // folder has the package.json and the node_modules of the lane, and row is a row of releases.json. options are further options
  // of the chat client.
  constructor(folder, row, options = {}) {
    this.options = { ...RETRIES, ...options };
    const { package: name, release } = row.identity;
    this.identity = load(folder, `${path.basename(name).replace("communication-", "")}-${release}`);
    if (row.chat) this.chat = load(folder, `chat-${row.chat}`);
  }

  // identityClient returns a new client of the resource.
  identityClient() {
    return new this.identity.module.CommunicationIdentityClient(CONNECTION_STRING, RETRIES);
  }

  async createUser() {
    return (await this.identityClient().createUser()).communicationUserId;
  }

  // createUserAndToken returns {id, token}.
  async createUserAndToken() {
    const client = this.identityClient();
    const { user, token } = await client[this.#identityMethod("createUserAndToken", "createUserWithToken")](["chat"]);
    return { id: user.communicationUserId, token };
  }

  // issueToken returns {token, expiresOn}.
  async issueToken(user) {
    return this.identityClient()[this.#identityMethod("getToken", "issueToken")]({ communicationUserId: user }, ["chat"]);
  }

  async revokeTokens(user) {
    await this.identityClient().revokeTokens({ communicationUserId: user });
  }

  async deleteUser(user) {
    await this.identityClient().deleteUser({ communicationUserId: user });
  }

  // exchangeToken offers a token of a Teams user that is none.
  async exchangeToken() {
    const client = this.identityClient();
    const method = this.#identityMethod("getTokenForTeamsUser");
    const options = { teamsUserAadToken: "none", clientId: crypto.randomUUID(), userObjectId: crypto.randomUUID() };
    await client[method](this.identity.declares("GetTokenForTeamsUserOptions", "teamsUserAadToken") ? options : options.teamsUserAadToken);
  }

  // user returns a new user who has a token: {id, token, chat}, where chat is its ChatClient.
  async user() {
    const id = await this.createUser();
    const { token } = await this.issueToken(id);
    return { id, token, chat: this.chat && this.chatClient(token) };
  }

  chatClient(token) {
    const { AzureCommunicationTokenCredential, AzureCommunicationUserCredential } = this.chat.require("@azure/communication-common");
    const Credential = AzureCommunicationTokenCredential ?? AzureCommunicationUserCredential;
    return new this.chat.module.ChatClient(ENDPOINT, new Credential(token), this.options);
  }

  // createThread makes a thread and returns {id, refused, shown}. refused are the participants that the server refused, each with
  // id, code and message; it is undefined if the release shows none. shown is what the release returns of the thread.
  // people are {id, displayName}. The same token twice is one request that was repeated.
  async createThread(user, topic, people, token) {
    const request = { topic };
    const options = {};
    const required = ["members", "participants"].find((m) => this.chat.declares("CreateChatThreadRequest", m));
    if (required) {
      // Such releases want the creator in the list.
      request[required] = this.#participants([{ id: user.id, displayName: "creator" }, ...people]);
    } else {
      options.participants = this.#participants(people);
    }
    if (token) {
      const names = ["idempotencyToken", "repeatabilityRequestId", "repeatabilityRequestID"];
      const name = names.find((n) => this.chat.declares("CreateChatThreadOptions", n));
      if (!name) throw new NotInRelease("no token for a repeated creation");
      options[name] = token;
    }
    const result = await user.chat.createChatThread(request, options);
    if (result.threadId) return { id: result.threadId, refused: undefined, shown: {} };
    return { id: result.chatThread.id, refused: refused(result), shown: result.chatThread };
  }

  async thread(user, id) {
    return user.chat.getChatThreadClient(id);
  }

  // properties returns what the release shows of a thread.
  async properties(user, id) {
    if (this.#threadHas("getProperties")) return (await this.thread(user, id)).getProperties();
    return checked(await user.chat.getChatThread(id));
  }

  // threads returns the pages of the user's threads.
  async threads(user, options = {}) {
    return pages(user.chat.listChatThreads(options));
  }

  async updateTopic(user, id, topic) {
    const thread = await this.thread(user, id);
    await (this.#threadHas("updateTopic") ? thread.updateTopic(topic) : thread.updateThread({ topic }));
  }

  async updateThreadMetadata(user, id, metadata) {
    if (!this.#threadHas("updateProperties")) throw new NotInRelease("no metadata of threads");
    await (await this.thread(user, id)).updateProperties({ metadata });
  }

  async deleteThread(user, id) {
    await user.chat.deleteChatThread(id);
  }

  // send sends a message and returns its id. options may have type, metadata and senderDisplayName.
  async send(user, id, content, options = {}) {
    for (const name of Object.keys(options)) {
      if (!this.chat.declares("SendMessageOptions", name)) throw new NotInRelease(`no ${name} of messages`);
    }
    return checked(await (await this.thread(user, id)).sendMessage({ content }, options)).id;
  }

  async message(user, id, message) {
    return shownMessage(await (await this.thread(user, id)).getMessage(message));
  }

  // messages returns the pages of a thread's messages.
  async messages(user, id, options = {}) {
    return (await pages((await this.thread(user, id)).listMessages(options))).map((page) => page.map(shownMessage));
  }

  // updateMessage changes a message. changes may have content and metadata.
  async updateMessage(user, id, message, changes) {
    for (const name of Object.keys(changes)) {
      if (!this.chat.declares("UpdateMessageOptions", name)) throw new NotInRelease(`no ${name} in an edit`);
    }
    await (await this.thread(user, id)).updateMessage(message, changes);
  }

  async deleteMessage(user, id, message) {
    await (await this.thread(user, id)).deleteMessage(message);
  }

  // add adds people and returns those that the server refused.
  async add(user, id, people) {
    const thread = await this.thread(user, id);
    if (this.#threadHas("addMembers")) return refused(await thread.addMembers({ members: this.#participants(people) }));
    return refused(await thread.addParticipants({ participants: this.#participants(people) }));
  }

  // addOne adds one participant by a method of its own.
  async addOne(user, id, person) {
    if (!this.#threadHas("addParticipant")) throw new NotInRelease("no method for one participant");
    await (await this.thread(user, id)).addParticipant(this.#participants([person])[0]);
  }

  // participants returns the pages of a thread's participants, each {id, displayName}.
  async participants(user, id, options = {}) {
    const [method, type] = this.#threadHas("listMembers") ? ["listMembers", "ListMembersOptions"] : ["listParticipants", "ListParticipantsOptions"];
    this.#demand(type, options);
    return (await pages((await this.thread(user, id))[method](options))).map((page) => page.map(shownParticipant));
  }

  async remove(user, id, person) {
    const thread = await this.thread(user, id);
    await thread[this.#threadHas("removeMember") ? "removeMember" : "removeParticipant"]({ communicationUserId: person });
  }

  async sendReceipt(user, id, message) {
    await (await this.thread(user, id)).sendReadReceipt({ chatMessageId: message });
  }

  // receipts returns the pages of a thread's read receipts, each {sender, message, readOn}.
  async receipts(user, id, options = {}) {
    this.#demand("ListReadReceiptsOptions", options);
    const found = await pages((await this.thread(user, id)).listReadReceipts(options));
    return found.map((page) => page.map((r) => ({ sender: userId(r.sender), message: r.chatMessageId, readOn: r.readOn })));
  }

  // typing sends a typing notification and returns what the release says of it: true if it was sent.
  async typing(user, id, options = {}) {
    this.#demand("SendTypingNotificationOptions", options);
    return (await this.thread(user, id)).sendTypingNotification(options);
  }

  #identityMethod(...names) {
    const found = names.find((n) => n in this.identity.module.CommunicationIdentityClient.prototype);
    if (!found) throw new NotInRelease(`no ${names[0]}`);
    return found;
  }

  #threadHas(method) {
    return method in this.chat.module.ChatThreadClient.prototype;
  }

  #demand(type, options) {
    for (const name of Object.keys(options)) {
      if (!this.chat.declares(type, name)) throw new NotInRelease(`no ${name} in ${type}`);
    }
  }

  #participants(people) {
    const key = this.chat.declares("ChatParticipant", "user") || this.chat.declares("ChatThreadMember", "user") ? "user" : "id";
    return people.map(({ id, ...rest }) => ({ [key]: { communicationUserId: id }, ...rest }));
  }
}

// load returns an installed package: its module, its declarations and its own require.
function load(folder, alias) {
  const home = path.join(folder, "node_modules", alias);
  if (!existsSync(home)) throw new Error(`${alias} is not in ${folder}/package.json`);
  const require = createRequire(path.join(home, "package.json"));
  const types = new Declarations(home);
  return { module: require(home), require, declares: (type, member) => types.has(type, member) };
}

// checked returns a result. The oldest releases return some refusals instead of throwing them, so that an app has to look at the
// status of the answer: checked throws these, with the mark returned.
function checked(result) {
  const { status: statusCode, parsedBody, bodyAsText } = result?._response ?? {};
  if (!(statusCode >= 400)) return result;
  throw Object.assign(new Error(parsedBody?.message || bodyAsText), { statusCode, returned: true });
}

async function pages(iterator) {
  const all = [];
  for await (const page of iterator.byPage()) all.push(Array.isArray(page) ? [...page] : page);
  return all;
}

function userId(identifier) {
  return identifier?.communicationUserId ?? identifier;
}

function shownParticipant(p) {
  return { id: userId(p.user ?? p.id), displayName: p.displayName, shareHistoryTime: p.shareHistoryTime };
}

// shownMessage returns what a release shows of a message. The content of the oldest releases is a text, and XML in a system message.
function shownMessage(m) {
  const content = typeof m.content === "string" ? { message: m.content } : m.content ?? {};
  return {
    id: m.id, type: m.type, text: content.message, metadata: m.metadata, sender: userId(m.sender), senderDisplayName: m.senderDisplayName,
    createdOn: m.createdOn, editedOn: m.editedOn, deletedOn: m.deletedOn, topic: content.topic,
    participants: content.participants?.map((p) => shownParticipant(p).id),
    // One release shows the initiator as it is on the wire.
    initiator: userId(content.initiator ?? content.initiatorCommunicationIdentifier?.communicationUser?.id),
  };
}

// refused returns the participants that an answer names as refused, [] if it names none.
function refused(result) {
  const named = result?.invalidParticipants ?? result?.errors?.invalidParticipants;
  if (named) return named.map(({ target, code, message }) => ({ id: target, code, message }));
  // The oldest releases return the answer with a status for each member.
  const statuses = result?._response?.parsedBody?.multipleStatus ?? [];
  return statuses.filter((s) => s.statusCode >= 400).map((s) => ({ id: s.id, code: String(s.statusCode), message: s.message }));
}
