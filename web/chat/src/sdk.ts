// The official client, in a chunk of its own: the page imports it while the person types a name.
export { ChatClient } from "@azure/communication-chat";
