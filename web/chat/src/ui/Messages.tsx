import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { app } from "../app.ts";
import type { Conversation } from "../conversation.ts";
import { isSameDay, words } from "../i18n.ts";
import { isFromPerson } from "../model.ts";
import type { Row } from "../queue.ts";
import * as state from "../state.ts";
import { follows, indexFrom, present, readers, span, STEP, type Item, type Span } from "../view.ts";
import { Icon } from "./Icon.tsx";
import { MessageRow, OutboxRow } from "./MessageRow.tsx";

const NEAR = 600; // px from an edge at which more rows are put into the document
const AT_END = 24; // px from the end that still count as the end
const OUTBOX_ROWS = 30; // waiting messages in the document

// Place is where the person is in the messages. It outlives renderings and causes none.
interface Place {
  follow: boolean; // at the end: new messages come into view by themselves
  top: string | null; // first message in the document
  anchor: { id: string; offset: number } | null; // first message in view, and its distance from the upper edge
  leftAt: string; // newest message when the person left the end
  placed: boolean;
  put: number; // scrollTop as the page has set or seen it last
  items: readonly Item[];
  span: Span;
}

// Messages shows a part of a thread: about 150 rows around what is in view. Rows come and go at both ends of the part, and
// messages arrive, while the first message in view stays where it is, to the pixel.
export function Messages({ conversation: c }: { conversation: Conversation }) {
  const w = words();
  const me = app.chat?.me ?? "";
  const box = useRef<HTMLDivElement>(null);
  const inner = useRef<HTMLDivElement>(null);
  const place = useRef<Place>({ follow: true, top: null, anchor: null, leftAt: "0", placed: false, put: 0, items: [], span: { from: 0, to: 0 } });
  const [, setDraws] = useState(0);
  const [menu, setMenu] = useState<string | null>(null);
  const redraw = (): void => setDraws((n) => n + 1);
  const p = place.current;

  // What is in view is noted before the document changes, and put back after it. If nobody has scrolled since it was put back,
  // it is as noted, also where the edge of the content did not let it go back by the last pixels yet.
  if (box.current) {
    leaveIfMoved(p, box.current);
    if (!p.anchor || Math.abs(box.current.scrollTop - p.put) >= 1) capture(p, box.current);
  }
  const rows = state.threadRows.value;
  const inFlight = state.inFlight.value;
  const items = present(c.messages.value, rows, me, (r) => r.tries > 0 || inFlight.has(r.id));
  const part = span(items, p.follow ? null : p.top);
  p.items = items;
  p.span = part;
  p.top = items[part.from]?.message.id ?? null;
  const read = readers(items, c.receipts.value.values(), me);
  const sends = rows.filter((r) => r.kind === "send");
  const shownSends = sends.slice(0, OUTBOX_ROWS);
  const newest = items.at(-1)?.message.id ?? "0";
  const isVisible = state.visible.value;
  const newCount = p.follow ? 0 : items.slice(indexFrom(items, p.leftAt)).filter((i) => i.message.id !== p.leftAt && isFromPerson(i.message) && i.message.sender !== me).length;

  // move puts more rows into the document where the person comes near its edge, and asks for older messages.
  const move = (): void => {
    const el = box.current!;
    const { from, to } = p.span;
    const near = Math.min(NEAR, el.clientHeight);
    if (el.scrollTop < near) {
      if (from === 0) return void c.loadOlder();
      leave(p);
      p.top = p.items[Math.max(0, from - STEP)]!.message.id;
      redraw();
    } else if (below(el) < near && to < p.items.length) {
      p.top = p.items[Math.min(from + STEP, p.items.length - 1)]!.message.id;
      redraw();
    }
  };
  const scrolled = (): void => {
    const el = box.current!;
    const follow = p.span.to === p.items.length && below(el) <= AT_END;
    if (follow !== p.follow) {
      if (follow) p.follow = true;
      else leave(p);
      redraw();
    }
    capture(p, el);
    if (menu !== null) setMenu(null);
    move();
  };
  const jump = (): void => {
    p.follow = true;
    p.anchor = null;
    redraw();
    document.querySelector<HTMLElement>("#field")?.focus();
  };

  useLayoutEffect(() => {
    const el = box.current!;
    if (!p.placed && items.length > 0) {
      p.placed = true;
      placeFirst(p, el);
    }
    restore(p, el);
    move();
  });
  useEffect(() => {
    // Images, fonts and the size of the window change heights without a rendering.
    const observer = new ResizeObserver(() => {
      if (!box.current) return;
      // An event of scrolling may still be to come: then the person's place counts, not the one noted before.
      leaveIfMoved(place.current, box.current);
      if (!place.current.follow && Math.abs(box.current.scrollTop - place.current.put) > 1) capture(place.current, box.current);
      else restore(place.current, box.current);
    });
    observer.observe(box.current!);
    observer.observe(inner.current!);
    return () => {
      observer.disconnect();
      c.seen.value = false;
    };
  }, []);
  useEffect(() => {
    c.seen.value = p.follow && isVisible && items.length > 0;
    app.chat?.look();
  }, [p.follow, isVisible, newest, c.status.value]);
  // An own message is a wish to be at the end.
  const lastSend = sends.at(-1)?.id;
  useEffect(() => {
    if (lastSend && !p.follow) jump();
  }, [lastSend]);

  const shown = items.slice(part.from, part.to);
  const isLoading = c.status.value === "loading" && items.length === 0;
  return (
    <div class="log-frame">
      <div
        class="log" ref={box} role="log" aria-label={w.messages} aria-busy={c.loadingOlder.value || isLoading} tabIndex={items.length + sends.length === 0 ? 0 : -1}
        onScroll={scrolled} onKeyDown={(e) => walk(e, box.current!)}
      >
        <div class="log-inner" ref={inner}>
          <p class="log-top">{isLoading || c.loadingOlder.value ? w.loadingMessages : c.log.complete && part.from === 0 && items.length > 0 ? w.beginning : ""}</p>
          {shown.map((item, i) => {
            const before = items[part.from + i - 1];
            const id = item.message.id;
            return (
              <MessageRow
                key={id} item={item} conversation={c} me={me} isLast={part.from + i === items.length - 1 && sends.length === 0}
                isNewDay={!before || !isSameDay(before.message.createdOn, item.message.createdOn)} isNew={c.newFrom.value === id}
                hasHead={!follows(before, item) || c.newFrom.value === id} readBy={read.get(id)} menu={menu === id} setMenu={setMenu}
              />
            );
          })}
          {part.to === items.length && shownSends.map((row, i) => <OutboxRow key={row.id} row={row} isSending={inFlight.has(row.id)} isLast={i === shownSends.length - 1} hasHead={i === 0 && !continues(items.at(-1), row, me)} me={me} />)}
        </div>
      </div>
      {!p.follow && (
        <button type="button" class="jump" data-testid="jump" onClick={jump} aria-label={newCount > 0 ? `${w.jump}, ${w.jumpNew(newCount)}` : w.jump}>
          <Icon name="down" />
          <span>{newCount > 0 ? w.jumpNew(newCount) : w.jump}</span>
        </button>
      )}
    </div>
  );
}

// continues tells whether a waiting message will stand below the last message without a head.
const continues = (last: Item | undefined, row: Row, me: string): boolean =>
  last !== undefined && follows(last, { message: { ...last.message, kind: "text", sender: me, createdOn: row.created }, change: undefined });

// below returns how many px of the content are below what is in view.
const below = (el: HTMLElement): number => el.scrollHeight - el.clientHeight - el.scrollTop;

// leave notes that the person is not at the end any more.
function leave(p: Place): void {
  if (p.follow) p.leftAt = p.items.at(-1)?.message.id ?? "0";
  p.follow = false;
}

// leaveIfMoved notices that the person has gone up although the event of that scrolling is still to come.
function leaveIfMoved(p: Place, el: HTMLElement): void {
  if (p.follow && el.scrollTop < p.put - 1 && below(el) > AT_END) leave(p);
}

// capture notes the first message in view. Rows are in order, so it can search by halves.
function capture(p: Place, el: HTMLElement): void {
  if (p.follow) return;
  const articles = el.querySelectorAll<HTMLElement>("article");
  const edge = el.getBoundingClientRect().top;
  let low = 0;
  let high = articles.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (articles[middle]!.getBoundingClientRect().bottom <= edge) low = middle + 1;
    else high = middle;
  }
  const first = articles[low];
  if (first) p.anchor = { id: first.dataset["id"]!, offset: first.getBoundingClientRect().top - edge };
  p.put = el.scrollTop;
}

// restore puts the first message in view back to its place, or goes to the end.
function restore(p: Place, el: HTMLElement): void {
  if (p.follow) {
    el.scrollTop = el.scrollHeight;
    p.put = el.scrollTop;
    p.anchor = null;
    return;
  }
  if (!p.anchor) return;
  const first = el.querySelector<HTMLElement>(`article[data-id="${CSS.escape(p.anchor.id)}"]`);
  if (!first) return capture(p, el);
  const moved = first.getBoundingClientRect().top - el.getBoundingClientRect().top - p.anchor.offset;
  if (Math.abs(moved) >= 0.5) el.scrollTop += moved;
  p.put = el.scrollTop;
}

// placeFirst goes to the end, or to the divider if more is new than fits.
function placeFirst(p: Place, el: HTMLElement): void {
  el.scrollTop = el.scrollHeight;
  const divider = el.querySelector<HTMLElement>("[data-testid=new-divider]");
  if (!divider) return;
  const offset = divider.getBoundingClientRect().top - el.getBoundingClientRect().top;
  if (offset >= 0) return;
  leave(p);
  el.scrollTop += offset - 32;
  capture(p, el);
}

// walk moves the focus between messages.
function walk(e: KeyboardEvent, el: HTMLElement): void {
  if (e.altKey || e.ctrlKey || e.metaKey || e.shiftKey || !(e.target instanceof HTMLElement) || e.target.closest("[role=menu]")) return;
  const current = e.target.closest("article");
  if (e.key === "Enter" && e.target === current) {
    e.preventDefault();
    current?.querySelector<HTMLElement>(".actions")?.click();
    return;
  }
  if (e.key !== "ArrowUp" && e.key !== "ArrowDown" && e.key !== "Home" && e.key !== "End") return;
  const articles = [...el.querySelectorAll<HTMLElement>("article")];
  const at = current ? articles.indexOf(current) : articles.length;
  const to = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: articles.length - 1 }[e.key];
  e.preventDefault();
  if (to >= articles.length) document.querySelector<HTMLElement>("#field")?.focus();
  else articles[Math.max(0, to)]?.focus();
}
