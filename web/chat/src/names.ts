import { list, words } from "./i18n.ts";
import type { Message } from "./model.ts";
import { plainOf } from "./html.ts";
import { oneLine, shortId } from "./text.ts";

// nameOf returns a person's name, or the end of the id of somebody without one.
export const nameOf = (id: string, names: ReadonlyMap<string, string>): string => names.get(id) || shortId(id);

// inWords returns the sentence for a system message.
export function inWords(m: Message, names: ReadonlyMap<string, string>): string {
  const w = words();
  const who = m.initiator && names.has(m.initiator) ? nameOf(m.initiator, names) : "";
  const people = (m.people ?? []).filter((p) => m.people!.length === 1 || p.id !== m.initiator);
  const them = list(people.map((p) => p.name || nameOf(p.id, names)));
  const isOwn = people.length === 1 && people[0]!.id === m.initiator;
  switch (m.kind) {
    case "participantAdded":
      return who && !isOwn ? w.added(who, them) : w.joined(them);
    case "participantRemoved":
      if (isOwn) return w.left(them);
      return who ? w.removed(who, them) : w.wasRemoved(them);
    case "topicUpdated":
      return who ? w.named(who, m.topic ?? "") : w.namedBySystem(m.topic ?? "");
    default:
      return m.text;
  }
}

// summary returns one line about a message, for the list of threads.
export function summary(m: Message, names: ReadonlyMap<string, string>, me: string): string {
  const w = words();
  if (m.kind !== "text" && m.kind !== "html") return inWords(m, new Map([...(m.people ?? []).map((p) => [p.id, p.name] as const), ...names]));
  if (m.deletedOn !== undefined) return w.deletedMessage;
  const text = oneLine(m.kind === "html" ? plainOf(m.text) : m.text, 120);
  return m.sender === me ? `${w.you}: ${text}` : m.senderName ? `${m.senderName}: ${text}` : text;
}
