import { useState } from "preact/hooks";
import { threadOfAddress } from "../address.ts";
import { app } from "../app.ts";
import { choose, language, words } from "../i18n.ts";
import { RefusedBy } from "../session.ts";
import { config, reachable } from "../state.ts";

// Join asks for a name, or for a token where the server is no development server.
export function Join() {
  const w = words();
  const [name, setName] = useState("");
  const [token, setToken] = useState("");
  const [error, setError] = useState("");
  const [isBusy, setBusy] = useState(false);
  const c = config.value;
  const asksToken = c !== null && !c.dev;

  const submit = async (e: Event): Promise<void> => {
    e.preventDefault();
    if (isBusy) return;
    if (name.trim() === "") return setError(w.nameMissing);
    setBusy(true);
    setError("");
    try {
      if (asksToken) await app.paste(token, name.trim());
      else await app.join(name.trim());
    } catch (e) {
      setError(e instanceof RefusedBy ? w.joinFailed(e.message) : asksToken ? w.badToken : w.noAnswer);
    } finally {
      setBusy(false);
    }
  };

  const fromApplication = (): void => {
    setError("");
    app.fromApplication().catch((e: unknown) => setError(e instanceof RefusedBy ? w.joinFailed(e.message) : w.noAnswer));
  };

  return (
    <main class="join">
      <form aria-label="Join" onSubmit={(e) => void submit(e)}>
        <h1>{w.welcome}</h1>
        <p id="join-intro">{asksToken ? w.tokenIntro : threadOfAddress() ? w.joinThreadIntro : w.joinIntro}</p>
        <label for="name">{w.yourName}</label>
        <input
          id="name" type="text" autocomplete="nickname" maxLength={256} autofocus ref={focusOnce}
          aria-describedby="join-intro join-error" value={name} onInput={(e) => setName(e.currentTarget.value)}
        />
        {asksToken && (
          <>
            <label for="token">{w.tokenLabel}</label>
            <textarea id="token" rows={4} spellcheck={false} autocomplete="off" value={token} onInput={(e) => setToken(e.currentTarget.value)} />
          </>
        )}
        <p id="join-error" class="error" role="alert">{error}</p>
        <button class="primary" type="submit" aria-disabled={isBusy}>{isBusy ? w.starting : w.startChatting}</button>
        {c?.tokenUrl && <button type="button" onClick={fromApplication}>{w.tryAgain}</button>}
        <p class="hint" role="status">{reachable.value ? "" : w.noAnswer}</p>
      </form>
      <p class="foot">
        <button class="quiet" type="button" lang={language.value === "ko" ? "en" : "ko"} onClick={() => choose(language.value === "ko" ? "en" : "ko")}>
          {w.languageName}
        </button>
      </p>
    </main>
  );
}

const focusOnce = (field: HTMLInputElement | null): void => {
  if (field && document.activeElement === document.body) field.focus();
};
