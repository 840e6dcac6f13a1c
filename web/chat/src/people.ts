import { signal } from "@preact/signals";
import type { Participant } from "./model.ts";

// known maps user ids to the names under which the page has met them, in any thread. A thread may have people without a name.
export const known = signal<ReadonlyMap<string, string>>(new Map());

const MOST = 2_000; // names that are kept

// learn notes the names of people.
export function learn(people: readonly Pick<Participant, "id" | "name">[]): void {
  const fresh = people.filter((p) => p.name && known.value.get(p.id) !== p.name);
  if (fresh.length === 0) return;
  const all = new Map([...known.value, ...fresh.map((p) => [p.id, p.name] as const)]);
  known.value = all.size > MOST ? new Map([...all].slice(-MOST)) : all;
}
