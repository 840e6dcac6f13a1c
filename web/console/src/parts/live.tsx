// Lists that grow while they are shown, and keep still while somebody looks.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { call, stream, type Problem } from "../api.ts";
import { number } from "../format.ts";
import { append, arrive, liveList, lose, release, type LiveList } from "../livelist.ts";
import { asProblem } from "../load.ts";
import { awake, paused } from "../state.ts";
import { words } from "../words/index.ts";

/** Where a live list comes from. */
export type LiveSource<T, P> = {
  /** The page of newest items, with its filters; a change of it begins anew. */
  list: string;
  items: (page: P) => T[];
  /** The stream with the same filters. */
  stream: string;
  event: string;
  key: (item: T) => string | number;
  /** The cursor behind an item. */
  cursor: (item: T) => string;
};

export type Live<T, P> = {
  list: LiveList<T>;
  first: P | undefined;
  problem: Problem | undefined;
  loading: boolean;
  connected: boolean;
  held: boolean;
  next: string | undefined;
  more: () => void;
  again: () => void;
  show: () => void;
  look: (change: Partial<Looking>) => void;
};

/** The ways in which somebody looks at a list. */
type Looking = { hovered: boolean; scrolled: boolean; focused: boolean };

/** Milliseconds for which items are gathered before they are drawn. */
const gather = 100;

export function useLive<T, P extends { next?: string }>(source: LiveSource<T, P>): Live<T, P> {
  const [list, setList] = useState<LiveList<T>>(liveList<T>());
  const [first, setFirst] = useState<P>();
  const [next, setNext] = useState<string>();
  const [problem, setProblem] = useState<Problem>();
  const [loading, setLoading] = useState(true);
  const [connected, setConnected] = useState(false);
  const [turn, setTurn] = useState(0);
  const [looking, setLooking] = useState<Looking>({ hovered: false, scrolled: false, focused: false });
  const held = paused.value || looking.hovered || looking.scrolled || looking.focused;
  const heldNow = useRef(held);
  heldNow.current = held;
  const listNow = useRef(list);
  listNow.current = list;
  const shownList = useRef(""); // the path of what is shown; "" makes it begin anew
  const back = awake.value;

  const anew = (): void => {
    shownList.current = "";
    setTurn((n) => n + 1);
  };

  useEffect(() => {
    if (!held) setList(release);
  }, [held]);

  useEffect(() => {
    if (!back) return;
    const ends = new AbortController();
    let fresh: T[] = [];
    let lost = 0;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const draw = (): void => {
      timer = undefined;
      const [items, missed] = [fresh.reverse(), lost];
      fresh = [];
      lost = 0;
      setList((l) => {
        const grown = arrive(l, items, heldNow.current, source.key);
        return missed > 0 ? lose(grown, missed) : grown;
      });
    };
    const run = async (): Promise<void> => {
      const page = await call<P>("GET", source.list);
      if (ends.signal.aborted) return;
      const items = source.items(page);
      // A list that goes on after a pause stays as it is, with what is new on top.
      const last = listNow.current.waiting[0] ?? listNow.current.shown[0];
      const follows = shownList.current === source.list && last !== undefined && items.some((item) => source.key(item) === source.key(last));
      shownList.current = source.list;
      setList((l) => (follows ? arrive(l, items, heldNow.current, source.key) : liveList(items)));
      setFirst(page);
      if (!follows) setNext(page.next === "" ? undefined : page.next);
      setLoading(false);
      setProblem(undefined);
      const newest = items[0];
      let gap = newest === undefined;
      await stream(
        source.stream,
        newest === undefined ? "" : source.cursor(newest),
        ends.signal,
        (e) => {
          if (e.event === source.event) fresh.push(JSON.parse(e.data) as T);
          else if (e.event === "lost") {
            const { count } = JSON.parse(e.data) as { count: number };
            // Nobody knows how many: the list begins anew.
            if (count === 0) anew();
            lost += count;
          }
          timer ??= setTimeout(draw, gather);
        },
        (state) => {
          setConnected(state === "open");
          // An empty list has no cursor: what came before the stream had opened is asked for once more.
          if (state === "open" && gap) {
            gap = false;
            call<P>("GET", source.list).then(
              (again) => ends.signal.aborted || setList((l) => arrive(l, source.items(again), false, source.key)),
              () => (gap = true),
            );
          }
        },
      );
    };
    setLoading(true);
    run().catch((error: unknown) => {
      if (ends.signal.aborted) return;
      setProblem(asProblem(error));
      setLoading(false);
      setConnected(false);
    });
    return () => {
      ends.abort();
      clearTimeout(timer);
      setConnected(false);
    };
  }, [source.list, source.stream, turn, back]);

  return {
    list,
    first,
    problem,
    loading,
    connected,
    held,
    next,
    more: () => {
      if (next === undefined) return;
      setLoading(true);
      call<P>("GET", source.list + (source.list.includes("?") ? "&" : "?") + "next=" + encodeURIComponent(next)).then(
        (page) => {
          setList((l) => append(l, source.items(page), source.key));
          setNext(page.next === "" ? undefined : page.next);
          setLoading(false);
        },
        (error: unknown) => {
          setProblem(asProblem(error));
          setLoading(false);
        },
      );
    },
    again: anew,
    show: () => setList(release),
    look: (change) => setLooking((l) => ({ ...l, ...change })),
  };
}

/** The button below a live list: older items, or the newest anew if the list has grown past its bound. */
export function LiveMore<T, P>(p: { live: Live<T, P> }) {
  const { live } = p;
  if (live.next === undefined && !live.list.cut) return null;
  return (
    <p>
      <button type="button" disabled={live.loading} onClick={live.list.cut ? live.again : live.more}>
        {live.list.cut ? words.value.refresh : words.value.more}
      </button>
    </p>
  );
}

/** The frame around a live list: it scrolls by itself, and has "12 new" and the pause button on top. */
export function LiveFrame<T, P>(p: { live: Live<T, P>; label: string; children: ComponentChildren }) {
  const t = words.value.live;
  const language = words.value.code;
  const { live } = p;
  const frame = useRef<HTMLDivElement>(null);
  const waiting = live.list.waiting.length;
  const show = (): void => {
    live.show();
    if (frame.current !== null) frame.current.scrollTop = 0;
  };
  // The pointer on the way to "12 new" must not leave what holds the list, or the button would be gone when it arrives.
  return (
    <div onPointerEnter={(e) => e.pointerType === "mouse" && live.look({ hovered: true })} onPointerLeave={() => live.look({ hovered: false })}>
      <div class="live-head">
        <button type="button" class="small" aria-pressed={paused.value} onClick={() => (paused.value = !paused.value)}>
          {paused.value ? t.resume : t.pause}
        </button>
        <span class="faint">{paused.value ? t.paused : !live.connected ? t.connecting : live.held ? t.still : t.live}</span>
        {live.list.missed > 0 && <span class="faint">{t.lost(number(language, live.list.missed))}</span>}
        {waiting > 0 && (
          <button type="button" class="fresh" onClick={show}>
            {t.fresh(number(language, waiting))}
          </button>
        )}
      </div>
      <div
        class="live"
        ref={frame}
        role="region"
        aria-label={p.label}
        tabIndex={0}
        onScroll={(e) => live.look({ scrolled: e.currentTarget.scrollTop > 0 })}
        onFocusIn={(e) => live.look({ focused: e.target !== e.currentTarget })}
        onFocusOut={() => live.look({ focused: false })}
      >
        {p.children}
      </div>
    </div>
  );
}
