// threadOfAddress returns the thread that the page's address names, or null.
export function threadOfAddress(): string | null {
  const match = /^\/t\/([^/]+)$/.exec(location.pathname);
  if (!match) return null;
  try {
    return decodeURIComponent(match[1]!);
  } catch {
    return null;
  }
}

export const addressOf = (thread: string): string => `/t/${encodeURIComponent(thread).replace(/%3A/gi, ":").replace(/%40/g, "@")}`;
