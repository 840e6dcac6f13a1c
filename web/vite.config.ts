import { defineConfig } from "vite";

// One build makes one page: `vite build --mode chat` or `--mode console`. Each page is complete
// in itself, because each is served at an origin of its own. The same sources give the same
// bytes, which `make web-check` verifies.
export default defineConfig(({ mode }) => {
  if (mode !== "chat" && mode !== "console") {
    throw new Error(`--mode must be chat or console, not ${mode}`);
  }
  return {
    root: mode,
    base: "/",
    publicDir: false,
    envDir: false, // so that no .env file changes the bytes
    oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
    build: {
      outDir: `../dist/${mode}`,
      emptyOutDir: true,
      assetsDir: `assets/${mode}`,
      assetsInlineLimit: 0, // so that the Content-Security-Policy needs no data: URLs
      modulePreload: { polyfill: false }, // every browser that runs the page has it
      target: ["chrome111", "firefox114", "safari16.4"],
      sourcemap: false,
      reportCompressedSize: false,
      license: { fileName: "licenses.md" }, // what the bundled packages ask to be passed on
    },
  };
});
