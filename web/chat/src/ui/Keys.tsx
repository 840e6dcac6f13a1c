import { words } from "../i18n.ts";
import { Dialog } from "./Dialog.tsx";

const isMac = /Mac|iPhone|iPad/.test(navigator.platform);

// Keys lists the keys of the page.
export function Keys() {
  const w = words();
  const rows: [string[], string][] = [
    [["Enter"], w.keySend],
    [["Shift", "Enter"], w.keyBreak],
    [["↑"], w.keyEditLast],
    [["Esc"], w.keyEscape],
    [[isMac ? "⌘" : "Ctrl", "K"], w.keyGoto],
    [["Alt", "↑ ↓"], w.keyWalkThreads],
    [["↑ ↓"], w.keyWalkMessages],
    [["Enter"], w.keyMenu],
    [["F1"], w.keyHelp],
  ];
  return (
    <Dialog title={w.keysTitle}>
      <dl class="keys">
        {rows.map(([keys, what]) => (
          <div key={what}>
            <dt>{keys.map((k) => <kbd key={k}>{k}</kbd>)}</dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
