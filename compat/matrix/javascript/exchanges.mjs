// The requests of this process and their answers, as they are on the wire.
import { subscribe } from "node:diagnostics_channel";

// Exchanges records what the HTTP client of Node sends and receives, without changing it.
export class Exchanges {
  #all = [];

  constructor() {
    subscribe("http.client.request.created", ({ request }) => this.#record(request));
    subscribe("http.client.request.error", ({ request, error }) => {
      const exchange = this.#all.find((e) => e.request === request);
      if (exchange) exchange.error = error.message;
    });
    subscribe("http.client.response.finish", ({ request, response }) => {
      const exchange = this.#all.find((e) => e.request === request);
      if (!exchange) return;
      exchange.status = response.statusCode;
      // The answer's body is copied as it passes. A listener for "data" would take it from the SDK.
      const push = response.push;
      response.push = (chunk, ...rest) => {
        if (chunk) exchange.answer += chunk;
        return push.call(response, chunk, ...rest);
      };
    });
  }

  // forget empties the record.
  forget() {
    this.#all = [];
  }

  // versions returns the api-versions of the recorded requests whose path begins with one of the prefixes.
  versions(...prefixes) {
    const urls = this.#all.map((e) => new URL(e.request.path, "https://localhost"));
    const asked = urls.filter((url) => prefixes.some((p) => url.pathname.startsWith(p)));
    return [...new Set(asked.map((url) => url.searchParams.get("api-version") ?? "none"))].sort();
  }

  // failing returns the text of the last exchange that had no answer or an error, or else of the last one; "" if there is none.
  // Tokens are left out.
  failing() {
    const e = this.#all.findLast((e) => e.status === undefined || e.status >= 400) ?? this.#all.at(-1);
    if (!e) return "";
    const body = (text) => (text ? `\n${text.replace(/("(?:token|accesskey)"\s*:\s*)"[^"]*"/gi, '$1"..."').slice(0, 4000)}` : "");
    const answer = e.status === undefined ? `no answer: ${e.error ?? "the connection is open"}` : `${e.status}${body(e.answer)}`;
    return `${e.request.method} ${e.request.path}${body(e.sent)}\n--\n${answer}`;
  }

  #record(request) {
    const exchange = { request, sent: "", answer: "", status: undefined, error: undefined };
    this.#all.push(exchange);
    for (const name of ["write", "end"]) {
      const original = request[name];
      request[name] = (chunk, ...rest) => {
        if (typeof chunk === "string" || chunk instanceof Uint8Array) exchange.sent += Buffer.from(chunk).toString();
        return original.call(request, chunk, ...rest);
      };
    }
  }
}
