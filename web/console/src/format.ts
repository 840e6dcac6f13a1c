// Times, numbers and ids as people read them. Each function takes the language, so that it is pure.

/** The time of day with milliseconds, in the browser's time zone; the text itself if it is no time. */
export function timeOfDay(language: string, time: string): string {
  return format(language, time, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" });
}

/** The date and the time of day in seconds, in the browser's time zone. */
export function dateTime(language: string, time: string): string {
  return format(language, time, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
}

const formats = new Map<string, Intl.DateTimeFormat>();

function format(language: string, time: string, options: Intl.DateTimeFormatOptions): string {
  const at = Date.parse(time);
  if (Number.isNaN(at)) return time;
  const key = language + JSON.stringify(options);
  let f = formats.get(key);
  if (f === undefined) formats.set(key, (f = new Intl.DateTimeFormat(language, options)));
  return f.format(at);
}

/** A number with the separators of the language, and at most the given number of digits behind the point. */
export function number(language: string, n: number, digits = 0): string {
  return n.toLocaleString(language, { maximumFractionDigits: digits });
}

/** A figure with about three digits: 1,234, 12.3, 0.123. */
export function figure(language: string, n: number): string {
  return number(language, n, n >= 100 ? 0 : n >= 10 ? 1 : n >= 1 ? 2 : 3);
}

/** A size in bytes, in the unit that leaves the fewest digits. */
export function bytes(language: string, n: number): string {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
  let i = 0;
  let size = n;
  while (size >= 1000 && i < units.length - 1) {
    size /= 1000;
    i++;
  }
  return new Intl.NumberFormat(language, { style: "unit", unit: units[i] ?? "byte", unitDisplay: i === 0 ? "long" : "short", maximumFractionDigits: i > 0 && size < 100 ? 1 : 0 }).format(size);
}

/** The end of an id, which tells users and threads of one server apart: their beginnings are alike. */
export function shortId(id: string): string {
  const user = /^8:acs:[^_]*_(?:[0-9a-f-]*)([0-9a-f]{8})$/i.exec(id);
  if (user?.[1] !== undefined) return "…" + user[1];
  const thread = /^19:(.+)@thread\.v2$/.exec(id);
  if (thread?.[1] !== undefined && thread[1].length > 8) return "…" + thread[1].slice(-8);
  return id.length > 24 ? "…" + id.slice(-20) : id;
}

/** The name and version of the SDK in a user agent: "js chat 1.6.0", or its first product, "curl/8.5.0". */
export function sdkName(agent: string): string {
  const azure = /\bazsdk-([a-z]+)-(?:azure-)?communication[-.]([a-z]+)\/([^\s;,)]+)/i.exec(agent);
  if (azure !== null) return `${azure[1]} ${azure[2]} ${azure[3]}`;
  const product = /\S+\/\S+/.exec(agent)?.[0] ?? agent;
  return product.length > 32 ? product.slice(0, 31) + "…" : product;
}

/** Indents JSON; returns other texts as they are. */
export function pretty(body: string): string {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === "object" ? JSON.stringify(value, null, 2) : body;
  } catch {
    return body;
  }
}
