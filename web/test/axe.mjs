// What axe-core finds on a page, in light and dark, wide and as narrow as 320 px.
import assert from "node:assert/strict";
import { AxeBuilder } from "@axe-core/playwright";

const WIDE = { width: 1100, height: 720 };
const NARROW = { width: 320, height: 640 };

// Each language is seen in two combinations: together they have each pair of language, colours and width. WEB_ALL=1 runs all.
const PAIRS = {
  en: [["light", WIDE], ["dark", NARROW]],
  ko: [["dark", WIDE], ["light", NARROW]],
};
const ALL = [["light", WIDE], ["dark", NARROW], ["dark", WIDE], ["light", NARROW]];

// accessible fails if axe-core finds a violation of any of its rules, or if the page is wider than the window.
export async function accessible(page, what, language = "en") {
  const faults = [];
  for (const [colorScheme, size] of process.env.WEB_ALL ? ALL : PAIRS[language]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.setViewportSize(size);
    const { violations } = await new AxeBuilder({ page }).setLegacyMode(true).analyze();
    const where = `${what}, ${language}, ${colorScheme}, ${size.width} px`;
    for (const { id, help, nodes } of violations) {
      faults.push(`${where}: ${id} (${help}): ${nodes.slice(0, 5).map((node) => `${node.target.join(" ")} ${node.html.slice(0, 160)} ${node.any.map((c) => c.message).join("; ")}`).join(" | ")}`);
    }
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    if (width > size.width) faults.push(`${where}: the page is ${width} px wide`);
  }
  await page.setViewportSize(WIDE);
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
  assert.deepEqual(faults, [], `axe-core: ${what}`);
}
