// Server-sent events without EventSource, which cannot send an Authorization header.

/** One event of a stream. id is the cursor behind the event, or "" if the stream has sent none yet. */
export type StreamEvent = { event: string; id: string; data: string };

/** The longest event, in characters, that a parser keeps. A longer one means a broken stream. */
const longest = 4 << 20;

/**
 * Returns a function that takes the stream's text piece by piece and calls onEvent for each complete event. It calls onComment
 * for each comment line. It throws an Error if an event is longer than 4 Mi characters.
 */
export function eventParser(onEvent: (e: StreamEvent) => void, onComment: () => void = () => {}): (text: string) => void {
  let rest = "";
  let event = "";
  let id = "";
  let data: string[] = [];
  let size = 0;

  const line = (text: string): void => {
    if (text === "") {
      if (data.length > 0) onEvent({ event: event || "message", id, data: data.join("\n") });
      event = "";
      data = [];
      size = 0;
      return;
    }
    const colon = text.indexOf(":");
    if (colon === 0) {
      onComment();
      return;
    }
    const field = colon < 0 ? text : text.slice(0, colon);
    const after = colon < 0 ? "" : text.slice(colon + 1);
    const value = after.startsWith(" ") ? after.slice(1) : after;
    if (field === "event") event = value;
    else if (field === "data") {
      data.push(value);
      size += value.length;
      if (size > longest) throw new Error("the stream has sent an event that is too long");
    } else if (field === "id" && !value.includes("\0")) id = value;
  };

  return (text) => {
    rest += text;
    for (;;) {
      const end = rest.search(/[\r\n]/);
      // A carriage return at the very end may be half of a line break.
      if (end < 0 || (rest[end] === "\r" && end === rest.length - 1)) break;
      const next = rest.startsWith("\r\n", end) ? end + 2 : end + 1;
      const text = rest.slice(0, end);
      rest = rest.slice(next);
      line(text);
    }
    if (rest.length > longest) throw new Error("the stream has sent a line that is too long");
  };
}
