// Run eval "$(confab env)" first. This needs Node 18 or later alone: save it as request.mjs.
import { createHash, createHmac } from "node:crypto";

const settings = Object.fromEntries(
  process.env.CONFAB_CONNECTION_STRING.split(";").filter(Boolean).map((part) => [part.slice(0, part.indexOf("=")), part.slice(part.indexOf("=") + 1)]),
);
const endpoint = settings.endpoint.replace(/\/$/, "");

// signature returns the headers that sign a request with the access key.
function signature(method, path, body) {
  const date = new Date().toUTCString();
  const digest = createHash("sha256").update(body).digest("base64");
  const text = `${method}\n${path}\n${date};${new URL(endpoint).host};${digest}`;
  const sign = createHmac("sha256", Buffer.from(settings.accesskey, "base64")).update(text).digest("base64");
  return {
    "x-ms-date": date,
    "x-ms-content-sha256": digest,
    Authorization: `HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=${sign}`,
  };
}

// send sends a request and returns the answer.
function send(method, path, body, headers, kind = "application/json") {
  return fetch(endpoint + path, { method, headers: body ? { ...headers, "Content-Type": kind } : headers, body: body || undefined });
}

const body = "";
const scopes = '{"scopes":["chat"]}', tokenPath = "/identities/8:acs:11111111-2222-4333-8444-555555555555_00000000-0000-0000-0000-000000000001/:issueAccessToken?api-version=2025-06-30";
const issued = await send("POST", tokenPath, scopes, signature("POST", tokenPath, scopes));
if (!issued.ok) throw new Error(`no token: ${issued.status} ${await issued.text()}`);
const headers = { Authorization: "Bearer " + (await issued.json()).token };
const answer = await send("GET", "/chat/../threads/[1-1000]?api-version=2025-03-15\u0026a={b,c}", body, headers, "application/json");
console.log(answer.status);
console.log(await answer.text());
