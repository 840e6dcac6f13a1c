// The frame of the console: header, navigation, and the page that the address names.

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { signOut } from "./api.ts";
import { searchField } from "./listen.ts";
import { pageKeys } from "./keys.ts";
import { Command, Page } from "./parts/basic.tsx";
import { Dialog } from "./parts/dialog.tsx";
import { Events } from "./pages/events.tsx";
import { Overview } from "./pages/overview.tsx";
import { Requests } from "./pages/requests.tsx";
import { Settings } from "./pages/settings.tsx";
import { Audit, Keys, Limits, Search } from "./pages/small.tsx";
import { Thread } from "./pages/thread.tsx";
import { Threads } from "./pages/threads.tsx";
import { User } from "./pages/user.tsx";
import { Users } from "./pages/users.tsx";
import { formatRoute } from "./route.ts";
import { go, helpOpen, keysOn, notice, reachable, route, session, signIn, switchKeys } from "./state.ts";
import { chooseLanguage, languages, words } from "./words/index.ts";

export function App() {
  const language = words.value.code;
  useEffect(() => {
    document.documentElement.lang = language;
  }, [language]);
  return signIn.value === "in" ? <Console /> : <SignedOut />;
}

/** The page for who is not signed in: why, and the command that signs in. */
function SignedOut() {
  const t = words.value.session;
  const state = signIn.value;
  const [title, text] = {
    starting: [t.startingTitle, ""],
    in: ["", ""],
    none: [t.noneTitle, t.none],
    "bad-code": [t.badCodeTitle, t.badCode],
    ended: [t.endedTitle, t.ended],
    expired: [t.expiredTitle, t.expired],
    left: [t.leftTitle, t.left],
  }[state];
  useEffect(() => {
    document.title = words.value.product;
  });
  return (
    <div class="signed-out">
      <header>
        <b>{words.value.product}</b>
        <Languages />
      </header>
      <main data-state={state}>
        <h1>{title}</h1>
        {state === "starting" ? (
          !reachable.value && <Gone />
        ) : (
          <>
            <p>{text}</p>
            <Command text="confab console" />
            <p>{t.viewerHint}</p>
            <Command text="confab console --viewer --print" />
          </>
        )}
      </main>
    </div>
  );
}

function Console() {
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>
        {words.value.skip}
      </a>
      <Header />
      <Navigation />
      <main id="main" tabIndex={-1}>
        {!reachable.value && <Gone />}
        <CurrentPage />
      </main>
      <div class={notice.value === "" ? "notice" : "notice shown"} role="status">
        {notice.value}
      </div>
      {helpOpen.value && <KeyHelp />}
    </>
  );
}

/** Moves the focus past the navigation. The address has the page, so the link cannot do it. */
function skip(e: Event): void {
  e.preventDefault();
  document.getElementById("main")?.focus();
}

function Gone() {
  const t = words.value.session;
  return (
    <div class="trouble" role="alert">
      {t.gone} <code>confab console</code> {t.goneEnd}
    </div>
  );
}

function Header() {
  const t = words.value;
  const who = session.value;
  const [text, setText] = useState("");
  const submit = (e: Event): void => {
    e.preventDefault();
    if (text.trim() === "") return;
    go("search", "", { q: text.trim() });
    document.getElementById(searchField)?.blur(); // the page's heading takes the focus
  };
  return (
    <header>
      <a class="product" href={formatRoute(home())}>
        {t.product}
      </a>
      <form role="search" aria-label={t.search.label} onSubmit={submit}>
        <input
          id={searchField}
          type="search"
          aria-label={t.search.label}
          placeholder={t.search.placeholder}
          value={text}
          autocomplete="off"
          spellcheck={false}
          onInput={(e) => setText(e.currentTarget.value)}
        />
        <button type="submit">{t.search.button}</button>
      </form>
      <div class="who" role="group" aria-label={t.session.label}>
        <span title={who?.who}>{who?.role === "viewer" ? t.session.viewer : t.session.operator}</span>
        <button type="button" class="small" onClick={() => (helpOpen.value = true)}>
          {t.keys.button}
        </button>
        <Languages />
        <button type="button" class="small" onClick={() => void signOut()}>
          {t.session.signOut}
        </button>
      </div>
    </header>
  );
}

function Languages() {
  const now = words.value;
  return (
    <label class="language">
      <span class="hidden">{now.language}</span>
      <select value={now.code} onChange={(e) => chooseLanguage(e.currentTarget.value)}>
        {languages.map((l) => (
          <option key={l.code} value={l.code} lang={l.code}>
            {l.name}
          </option>
        ))}
      </select>
    </label>
  );
}

const pageNames = ["requests", "overview", "threads", "users", "events", "keys", "limits", "audit", "settings"] as const;

function Navigation() {
  const t = words.value.nav;
  const page = route.value.page || home();
  const letters = Object.fromEntries(Object.entries(pageKeys).map(([letter, name]) => [name, letter]));
  return (
    <nav class="pages" aria-label={t.label}>
      <ul>
        {pageNames.map((name) => (
          <li key={name}>
            <a href={formatRoute(name)} aria-current={name === page ? "page" : undefined} title={keysOn.value ? `g ${letters[name]}` : undefined}>
              {t[name]}
            </a>
          </li>
        ))}
      </ul>
    </nav>
  );
}

/** The page that the console begins with: what arrives now for a developer, whether all is well for an operator. */
function home(): "requests" | "overview" {
  return session.value?.server.dev === true ? "requests" : "overview";
}

function CurrentPage(): ComponentChildren {
  const { page, id } = route.value;
  switch (page || home()) {
    case "requests":
      return <Requests />;
    case "overview":
      return <Overview />;
    case "threads":
      return id === "" ? <Threads key="threads" /> : <Thread key={id} />;
    case "users":
      return id === "" ? <Users key="users" /> : <User key={id} />;
    case "events":
      return <Events />;
    case "keys":
      return <Keys />;
    case "limits":
      return <Limits />;
    case "audit":
      return <Audit />;
    case "settings":
      return <Settings />;
    case "search":
      return <Search key={route.value.filters["q"]} />;
  }
  return <Page title={words.value.nothing} children={null} />;
}

function KeyHelp() {
  const t = words.value.keys;
  return (
    <Dialog title={t.title} onClose={() => (helpOpen.value = false)}>
      <dl class="keys">
        {t.list.map(([keys, text]) => (
          <div key={keys}>
            <dt>
              {keys.split(" ").map((k) => (
                <kbd key={k}>{k}</kbd>
              ))}
            </dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
      <p class="faint">{t.note}</p>
      <label class="check">
        <input type="checkbox" checked={keysOn.value} onChange={(e) => switchKeys(e.currentTarget.checked)} /> {t.on}
      </label>
      <div class="buttons">
        <button type="button" onClick={() => (helpOpen.value = false)}>
          {words.value.close}
        </button>
      </div>
    </Dialog>
  );
}
