import { useLayoutEffect, useRef } from "preact/hooks";

export interface Choice {
  label: string;
  act: () => void;
  isDanger?: boolean;
}

// Menu hangs below the button before it, or above where there is no room. Arrows walk it, Escape and a press elsewhere close it.
export function Menu({ choices, close }: { choices: readonly Choice[]; close: () => void }) {
  const ref = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const menu = ref.current!;
    const button = menu.previousElementSibling!.getBoundingClientRect();
    const isAbove = button.bottom + menu.offsetHeight > innerHeight - 8;
    menu.style.top = `${isAbove ? Math.max(8, button.top - menu.offsetHeight) : button.bottom}px`;
    menu.style.left = `${Math.max(8, Math.min(innerWidth - menu.offsetWidth - 8, button.right - menu.offsetWidth))}px`;
    menu.querySelector<HTMLElement>("[role=menuitem]")?.focus({ preventScroll: true });
    const outside = (e: PointerEvent): void => {
      if (e.target instanceof Node && !menu.contains(e.target) && !menu.previousElementSibling!.contains(e.target)) close();
    };
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, []);
  const leave = (): void => {
    const article = ref.current?.closest("article");
    close();
    article?.focus({ preventScroll: true });
  };
  const keys = (e: KeyboardEvent): void => {
    const items = [...ref.current!.querySelectorAll<HTMLElement>("[role=menuitem]")];
    const at = items.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[e.key];
    if (to !== undefined) items[(to + items.length) % items.length]?.focus();
    else if (e.key === "Escape" || e.key === "Tab") leave();
    else return;
    e.preventDefault();
    e.stopPropagation();
  };
  return (
    <div ref={ref} class="menu" role="menu" onKeyDown={keys}>
      {choices.map((c) => (
        <button
          key={c.label} type="button" role="menuitem" tabIndex={-1} class={c.isDanger ? "danger" : ""}
          onClick={() => {
            leave();
            c.act();
          }}
        >
          {c.label}
        </button>
      ))}
    </div>
  );
}
