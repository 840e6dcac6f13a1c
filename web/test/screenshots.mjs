// Takes the pictures of docs/screenshots: the chat page on a phone and a desktop, dark, Korean, empty, offline and refused, and each
// page of the console. Usage: web/test/run screenshots FOLDER
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { ChatPage } from "./chatpage.mjs";
import { Console } from "./consolepage.mjs";
import { Browser, Server, until } from "./harness.mjs";

const folder = process.argv[2];
const DESKTOP = { width: 1200, height: 760 };
const PHONE = { width: 390, height: 780 };

const TALK = {
  en: {
    people: ["Ann Lee", "Ben Okafor", "Chris Moreau"],
    topics: ["Lunch on Friday", "Release 1.4", "Hiking trip"],
    lines: [
      [1, "Where do we eat on Friday?"], [2, "The noodle place at the corner has a table for six."], [0, "> Chris Moreau: The noodle place at the corner has a table for six.\nPerfect. Half past twelve?"],
      [1, "Fine with me. Their menu: https://menu.example/friday"], [2, "<p>Please say by <b>Thursday</b>:</p><ul><li>soup</li><li>noodles</li><li>dumplings</li></ul>"], [0, "Dumplings for me."], [1, "Noodles!"],
    ],
  },
  ko: {
    people: ["김민지", "이서준", "박하은"],
    topics: ["금요일 점심", "출시 1.4", "주말 등산"],
    lines: [
      [1, "금요일에 어디서 먹을까요?"], [2, "모퉁이 국숫집에 여섯 자리 있대요."], [0, "> 박하은: 모퉁이 국숫집에 여섯 자리 있대요.\n좋아요. 열두 시 반 어때요?"],
      [1, "저는 괜찮아요. 메뉴: https://menu.example/friday"], [2, "<p><b>목요일</b>까지 골라 주세요:</p><ul><li>국수</li><li>만두</li></ul>"], [0, "저는 만두요."], [1, "국수로 할게요!"],
    ],
  },
};

mkdirSync(folder, { recursive: true });
for (const name of readdirSync(folder)) if (name.endsWith(".png")) rmSync(path.join(folder, name));

const server = await Server.start();
const browser = await Browser.start();
try {
  await chat();
  await consolePages();
  shrink();
} finally {
  await browser.stop();
  await server.stop();
}

// story makes three people and their threads, and returns the first.
async function story(language) {
  const { people, topics, lines } = TALK[language];
  const talkers = [];
  for (const name of people) talkers.push({ ...(await server.join(name)), name });
  const [me, ...others] = talkers;
  const threads = [];
  for (const topic of [...topics].reverse()) threads.unshift(await server.newThread(me, topic, others));
  await server.send(others[1], threads[2], language === "ko" ? "날씨가 좋대요." : "The weather looks good.");
  await server.send(others[0], threads[1], language === "ko" ? "초안을 올렸어요." : "The draft is up.");
  for (const [who, text] of lines) await server.send(talkers[who], threads[0], text, { type: text.startsWith("<") ? "html" : "text" });
  return { me, others, thread: threads[0], last: lines.at(-1)[1] };
}

async function picture(page, name) {
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  await page.screenshot({ path: path.join(folder, `${name}.png`), animations: "disabled", caret: "hide" });
}

async function chat() {
  const english = await story("en");
  const shots = [
    ["chat-desktop", { viewport: DESKTOP }, english],
    ["chat-phone", { viewport: PHONE }, english],
    ["chat-dark", { viewport: DESKTOP, colorScheme: "dark" }, english],
    ["chat-korean", { viewport: DESKTOP, locale: "ko-KR" }],
  ];
  for (const [name, options, told] of shots) {
    const { me, thread, last } = told ?? (await story("ko")); // not before the English pictures: all share the Lobby
    const profile = await browser.profile({ reducedMotion: "reduce", ...options });
    const tab = await ChatPage.as(server, profile, me, thread);
    await tab.sees(last);
    await until("nothing is unread", async () => !/\d/.test((await tab.entry(TALK[profile.language].topics[0]).locator(".badge").allInnerTexts()).join("")));
    await picture(tab.page, name);
    await profile.close();
  }

  const alone = { ...(await server.join("Dana")), name: "Dana" };
  const profile = await browser.profile({ viewport: DESKTOP, reducedMotion: "reduce" });
  const empty = await ChatPage.as(server, profile, alone, await server.newThread(alone, "A new thread"));
  await picture(empty.page, "chat-empty");

  const offline = await ChatPage.as(server, profile, english.me, english.thread);
  await offline.sees(english.last);
  await profile.setOffline(true);
  for (const text of ["I am on the train.", "Order dumplings for me, please."]) {
    await offline.send(text);
    await until("the field is empty", async () => (await offline.composer.inputValue()) === "");
  }
  await offline.reaches("offline");
  await picture(offline.page, "chat-offline");
  await profile.close();

  const another = await browser.profile({ viewport: DESKTOP, reducedMotion: "reduce" });
  const refused = await ChatPage.as(server, another, english.others[0], english.thread);
  await server.fault({ operation: "send message", status: 403 });
  await refused.send("Shall I book it?");
  await refused.reaches("refused");
  await picture(refused.page, "chat-refused");
  await another.close();
}

async function consolePages() {
  const profile = await browser.profile({ viewport: DESKTOP, reducedMotion: "reduce" });
  const { me, thread, others } = await story("en");
  const stranger = await server.join("Eve");
  await server.send(stranger, thread, "Let me in").catch(() => {});
  const console = await Console.open(server, profile);
  for (const [name, at, filters] of [
    ["console-overview", "overview"], ["console-threads", `threads/${encodeURIComponent(thread)}`, { tab: "seen", user: others[0].user }],
    ["console-users", `users/${encodeURIComponent(me.user)}`], ["console-events", "events"], ["console-keys", "keys"], ["console-limits", "limits"],
    ["console-audit", "audit"], ["console-settings", "settings"],
  ]) {
    await console.open(at, filters);
    await console.settled();
    await picture(console.page, name);
  }
  await console.open("requests");
  await console.row(/403/).first().getByRole("link").first().click();
  await console.settled();
  await picture(console.page, "console-requests");
  await profile.close();
}

// shrink gives each picture a palette, if the machine has a tool for it, and says how big all are.
function shrink() {
  const files = readdirSync(folder).filter((name) => name.endsWith(".png")).map((name) => path.join(folder, name));
  try {
    execFileSync("pngquant", ["--force", "--skip-if-larger", "--strip", "--ext", ".png", "64", ...files]);
  } catch (e) {
    console.log(e.code === "ENOENT" ? "screenshots: not made smaller, because there is no pngquant (on Debian: apt-get install pngquant)" : `screenshots: pngquant: ${e.message}`);
  }
  const bytes = files.reduce((sum, file) => sum + statSync(file).size, 0);
  console.log(`screenshots: ${files.length} pictures, ${Math.round(bytes / 1024)} KiB`);
  if (files.length !== 16) throw new Error(`${files.length} pictures, want 16`);
}
