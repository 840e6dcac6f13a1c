// The judge judged: a page that breaks each rule is found out.
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, describe, test } from "node:test";
import { accessible } from "./axe.mjs";
import { Browser, random, until } from "./harness.mjs";

const POLICY = "default-src 'none'; script-src 'self'; img-src 'self'; connect-src 'self'";
const SCRIPTS = {
  "/assets/chat/probe.js": "try { new Function('return this')() } catch {}",
  "/assets/chat/twice.js": "for (const i of [1, 2]) try { new Function('return this')() } catch {}",
  "/inline.js": "document.body.insertAdjacentHTML('beforeend', '<p onclick=\"x()\">x</p>')",
  "/throws.js": "throw new Error('nobody catches this')",
};

describe("the judge", () => {
  let site, origin, browser;
  before(async () => {
    site = http.createServer((request, response) => {
      const { pathname, searchParams } = new URL(request.url, "http://localhost");
      if (SCRIPTS[pathname]) return response.setHeader("Content-Type", "text/javascript").end(SCRIPTS[pathname]);
      response.setHeader("Content-Type", "text/html; charset=utf-8");
      if (!searchParams.has("open")) response.setHeader("Content-Security-Policy", POLICY);
      const script = searchParams.get("script");
      response.end(`<!doctype html><html lang="en"><title>page</title><main><h1>page</h1>${searchParams.get("html") ?? ""}</main>${script ? `<script src="${script}"></script>` : ""}`);
    });
    await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
    origin = `http://127.0.0.1:${site.address().port}`;
    browser = await Browser.start();
  });
  after(async () => {
    await browser?.stop();
    site?.closeAllConnections();
    site?.close();
  });

  const visit = async (query, use = async () => {}) => {
    browser.forget();
    const profile = await browser.profile();
    const page = await profile.newPage();
    await page.goto(`${origin}/?${new URLSearchParams(query)}`);
    await use(page);
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    await profile.close();
  };

  test("a harmless page passes, with one probe of the SDK a load", async () => {
    await visit({ script: "/assets/chat/probe.js" }, async (page) => {
      await until("the report of the first load", () => browser.reports.length === 1); // a reload would end one on its way
      await page.reload();
      await accessible(page, "harmless");
      await until("a report for each load", () => browser.reports.length === 2);
    });
    browser.check();
  });

  for (const [what, query, words] of [
    ["two probes a load", { script: "/assets/chat/twice.js" }, /reports of the policy/],
    ["a handler in the page", { script: "/inline.js" }, /reports of the policy/],
    ["a request to another origin", { open: "", html: `<img alt="x" src="http://127.0.0.2:1/x.png">` }, /leave the origin/],
    ["an error that nobody catches", { script: "/throws.js" }, /uncaught/],
  ]) {
    test(`${what} is found`, async () => {
      const found = () => {
        try {
          browser.check();
        } catch (e) {
          return words.test(e.message);
        }
      };
      await visit(query, () => until("it is found", found));
    });
  }

  test("a picture without words, a pale text and a wide page are found", async () => {
    for (const [html, words] of [
      [`<img src="/x.png">`, /image-alt/],
      [`<p id="pale">pale</p>`, /color-contrast/],
      [`<p id="wide">wide</p>`, /px wide/],
    ]) {
      await visit({ html }, async (page) => {
        await page.evaluate(() => {
          for (const e of document.querySelectorAll("#pale")) e.style.color = "#ddd";
          for (const e of document.querySelectorAll("#wide")) e.style.width = "2000px";
        });
        await assert.rejects(accessible(page, "a bad page"), words);
      });
    }
  });

  test("a seed gives the same numbers again", () => {
    const [a, b, c] = [random(7), random(7), random(8)];
    const first = Array.from({ length: 5 }, a);
    assert.deepEqual(Array.from({ length: 5 }, b), first);
    assert.notDeepEqual(Array.from({ length: 5 }, c), first);
  });
});
