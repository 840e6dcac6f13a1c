// The newest chat release asks for an api-version that no server knows yet. node tomorrow.mjs FOLDER works|refused: throws unless
// the server of CONFAB_ENDPOINT answers it, or refuses it and names the setting.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { Sdk } from "./sdk.mjs";

const [folder, wanted] = process.argv.slice(2);
const list = JSON.parse(readFileSync(path.join(import.meta.dirname, "../../releases.json")));
const row = list.findLast((r) => r.language === "javascript" && r.chat && r.lane === "check");
const sdk = new Sdk(path.resolve(folder), row, { apiVersion: "2031-01-01" });
const user = await sdk.user();
const create = () => sdk.createThread(user, "Tomorrow", []);
if (wanted === "works") {
  const { id } = await create();
  const message = await sdk.send(user, id, "hello");
  assert.equal((await sdk.message(user, id, message)).text, "hello");
} else {
  await assert.rejects(create, (e) => e.statusCode === 400 && e.code === "UnsupportedApiVersion" && /newer-api-versions/.test(e.message));
}
console.log(`chat ${row.chat} with apiVersion 2031-01-01: ${wanted}`);
