// Bundles page.mjs for browsers with each version of Microsoft's chat SDK: .bundles/VERSION.js. `node bundle.mjs` does it.
import { fileURLToPath } from "node:url";

export const VERSIONS = ["1.5.4", "1.6.0"];

export const bundleFile = (version) => new URL(`.bundles/${version}.js`, import.meta.url);

async function bundle() {
  const { build } = await import("esbuild");
  for (const version of VERSIONS) {
    await build({
      absWorkingDir: import.meta.dirname,
      entryPoints: ["page.mjs"],
      outfile: `.bundles/${version}.js`,
      bundle: true,
      platform: "browser",
      alias: { "@azure/communication-chat": `chat-${version}` },
      logLevel: "warning",
    });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundle();
