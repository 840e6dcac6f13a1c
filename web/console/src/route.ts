// The address of a page stands in the fragment: "#/threads/19%3A...?tab=events". So a reload shows the same page, and the
// server serves one document.

/** A place in the console: a page, the id that it shows, and its filters. */
export type Route = { page: string; id: string; filters: Record<string, string> };

/** Reads a fragment, with or without its "#". An unreadable id or filter is taken as it stands. */
export function parseRoute(fragment: string): Route {
  const text = fragment.replace(/^#?\/?/, "");
  const mark = text.indexOf("?");
  const path = mark < 0 ? text : text.slice(0, mark);
  const slash = path.indexOf("/");
  const filters: Record<string, string> = {};
  for (const [name, value] of new URLSearchParams(mark < 0 ? "" : text.slice(mark + 1))) {
    if (value !== "") filters[name] = value;
  }
  return { page: slash < 0 ? path : path.slice(0, slash), id: slash < 0 ? "" : decoded(path.slice(slash + 1)), filters };
}

/** Writes a route as a fragment that parseRoute reads. Empty filters are left out. */
export function formatRoute(page: string, id = "", filters: Record<string, string | undefined> = {}): string {
  return "#/" + page + (id === "" ? "" : "/" + encodeURIComponent(id)) + query(filters);
}

/** Writes filters as a query string with its "?", or "" if all are empty. */
export function query(filters: Record<string, string | number | undefined>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(filters)) {
    if (value !== undefined && value !== "") search.set(name, String(value));
  }
  const text = search.toString();
  return text === "" ? "" : "?" + text;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
