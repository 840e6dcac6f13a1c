import { conversation, dialog, person, showsList } from "../state.ts";
import { language } from "../i18n.ts";
import { Goto } from "./Goto.tsx";
import { Join } from "./Join.tsx";
import { Keys } from "./Keys.tsx";
import { NewThread } from "./NewThread.tsx";
import { Notice } from "./Notice.tsx";
import { People } from "./People.tsx";
import { ThreadPane } from "./ThreadPane.tsx";
import { Threads } from "./Threads.tsx";

// Page is the whole page: the form to join, or the list of threads beside the open one.
export function Page() {
  document.documentElement.lang = language.value;
  if (!person.value)
    return (
      <>
        <Join />
        {dialog.value === "keys" && <Keys />}
      </>
    );
  const showList = showsList.value || !conversation.value;
  return (
    <div class={showList ? "page shows-list" : "page"}>
      <Threads />
      <ThreadPane />
      {dialog.value === "people" && conversation.value && <People conversation={conversation.value} />}
      {dialog.value === "keys" && <Keys />}
      {dialog.value === "goto" && <Goto />}
      {dialog.value === "new" && <NewThread />}
      <Notice />
    </div>
  );
}
