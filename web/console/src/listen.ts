// Listens to the window: its address, and its keys.

import { awaitLetter, command, latin, pageKeys } from "./keys.ts";
import { copyText } from "./parts/basic.tsx";
import { parseRoute } from "./route.ts";
import { go, helpOpen, keysOn, pageCommands, route, signIn, visible } from "./state.ts";

/** The id of the search field. */
export const searchField = "search";

/** Milliseconds after which a hidden tab gives its connections up: a browser has six for all tabs. */
const hiddenTime = 60_000;

export function listen(): void {
  addEventListener("hashchange", () => (route.value = parseRoute(location.hash)));
  let hidden: ReturnType<typeof setTimeout> | undefined;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hidden);
    if (document.hidden) hidden = setTimeout(() => (visible.value = false), hiddenTime);
    else visible.value = true;
  });
  let afterG = -Infinity; // when "g" was pressed; events count from the start of the page
  addEventListener("keydown", (e) => {
    if (signIn.value !== "in" || e.defaultPrevented || !(e.target instanceof Element)) return;
    const key = latin(e.key, e.code);
    const found = command(
      {
        key,
        ctrlKey: e.ctrlKey,
        metaKey: e.metaKey,
        altKey: e.altKey,
        isComposing: e.isComposing,
        inField: e.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null,
        inDialog: document.querySelector("dialog[open]") !== null,
        onControl: e.target.closest("a, button, summary, input") !== null,
      },
      e.timeStamp - afterG < awaitLetter,
      keysOn.value,
    );
    afterG = -Infinity;
    if (found === undefined) return;
    const page = pageCommands.value;
    switch (found.do) {
      case "await":
        afterG = e.timeStamp;
        break;
      case "go":
        if (Object.values(pageKeys).includes(found.page)) go(found.page);
        break;
      case "search":
        document.querySelector<HTMLInputElement>("#" + searchField)?.select();
        break;
      case "help":
        helpOpen.value = true;
        break;
      case "close":
        if (e.target instanceof HTMLElement && e.target.id === searchField) e.target.blur();
        else page.close?.();
        return;
      case "next":
        (page.move ?? moveFocus)(1);
        break;
      case "previous":
        (page.move ?? moveFocus)(-1);
        break;
      case "open":
        page.open?.();
        break;
      case "copy":
        if (page.copy !== undefined) page.copy();
        else if (route.value.id !== "") void copyText(route.value.id);
        break;
      case "pause":
        page.pause?.();
        break;
    }
    e.preventDefault();
  });
}

/** Moves the focus by one row: to the first link of the row behind or before that with the focus. */
function moveFocus(step: number): void {
  const links = [...document.querySelectorAll("main tbody tr")].flatMap((row) => row.querySelector<HTMLElement>("a, button") ?? []);
  const now = document.activeElement?.closest("tr");
  const at = links.findIndex((link) => link.closest("tr") === now);
  links[at < 0 ? 0 : Math.min(Math.max(at + step, 0), links.length - 1)]?.focus();
}
