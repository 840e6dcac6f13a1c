import { hue, initials } from "../text.ts";

// Avatar is the mark of a person: initials on a colour that is always the same for an id.
export const Avatar = ({ id, name }: { id: string; name: string }) => (
  <span class={`avatar hue${hue(id)}`} aria-hidden="true">{initials(name)}</span>
);
