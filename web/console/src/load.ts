// Hooks that load what a page shows.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { call, isProblem, Problem } from "./api.ts";
import { awake } from "./state.ts";

export type Loaded<T> = { data: T | undefined; problem: Problem | undefined; loading: boolean; again: () => void };

/** Loads a path, again when the path changes or the server is back, and every given number of milliseconds. */
export function useLoad<T>(path: string | undefined, every = 0): Loaded<T> {
  const [state, setState] = useState<{ path?: string; data?: T; problem?: Problem; loading: boolean }>({ loading: true });
  const [turn, setTurn] = useState(0);
  const again = useCallback(() => setTurn((n) => n + 1), []);
  const back = awake.value;
  useEffect(() => {
    if (path === undefined || !back) return;
    let over = false;
    // What another path has brought must not stand below this one's heading.
    setState((s) => (s.path === path ? { ...s, loading: true } : { path, loading: true }));
    call<T>("GET", path).then(
      (data) => over || setState({ path, data, loading: false }),
      (error: unknown) => over || setState((s) => ({ ...s, path, problem: asProblem(error), loading: false })),
    );
    const timer = every > 0 ? setTimeout(again, every) : undefined;
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [path, turn, back, every, again]);
  const fits = state.path === path;
  return { data: fits ? state.data : undefined, problem: fits ? state.problem : undefined, loading: fits ? state.loading : true, again };
}

export type Paged<T, P> = {
  items: T[];
  /** The newest page that has come. */
  last: P | undefined;
  next: string | undefined;
  problem: Problem | undefined;
  loading: boolean;
  more: () => void;
  again: () => void;
};

/** Loads a list page by page. items takes the list out of a page. A path of undefined loads nothing. */
export function usePages<T, P extends { next?: string }>(path: string | undefined, items: (page: P) => T[]): Paged<T, P> {
  const [state, setState] = useState<{ path?: string; items: T[]; last?: P; problem?: Problem; loading: boolean }>({ items: [], loading: true });
  const [turn, setTurn] = useState(0);
  const asked = useRef("");
  const back = awake.value;
  const fetchPage = useCallback(
    (next: string | undefined, over: () => boolean) => {
      if (path === undefined) return;
      const url = next === undefined ? path : path + (path.includes("?") ? "&" : "?") + "next=" + encodeURIComponent(next);
      setState((s) => (s.path === path ? { ...s, loading: true } : { path, items: [], loading: true }));
      call<P>("GET", url).then(
        (page) => over() || setState((s) => ({ path, items: next === undefined ? items(page) : [...s.items, ...items(page)], last: page, loading: false })),
        (error: unknown) => over() || setState((s) => ({ ...s, path, problem: asProblem(error), loading: false })),
      );
    },
    [path],
  );
  useEffect(() => {
    if (!back) return;
    let over = false;
    asked.current = path ?? "";
    fetchPage(undefined, () => over);
    return () => {
      over = true;
    };
  }, [path, turn, back, fetchPage]);
  const fits = state.path === path;
  const next = fits ? state.last?.next : undefined;
  return {
    items: fits ? state.items : [],
    last: fits ? state.last : undefined,
    next: next === "" ? undefined : next,
    problem: fits ? state.problem : undefined,
    loading: path !== undefined && (fits ? state.loading : true),
    more: () => next !== undefined && next !== "" && fetchPage(next, () => asked.current !== path),
    again: () => setTurn((n) => n + 1),
  };
}

/** Returns the error as a Problem; other errors are faults of this page, and are thrown on. */
export function asProblem(error: unknown): Problem {
  if (isProblem(error)) return error;
  throw error;
}
