// Runs a bundle of page.mjs in this Node process, with the parts of a browser that the SDK needs. The parent process sends
// {id, command, args} and receives {id, answer}.
//
//   node-page.mjs BUNDLE ORIGIN WEBSOCKET     WEBSOCKET is "normal" or "refused"
import WebSocket from "ws";

const [bundle, origin, webSocket] = process.argv.slice(2);

// FetchRequest is an XMLHttpRequest over fetch, with the parts that the SDK uses: asynchronous requests, answers in text.
class FetchRequest {
  readyState = 0;
  status = 0;
  statusText = "";
  responseText = "";
  timeout = 0;
  withCredentials = false;
  #abort = new AbortController();
  #headers = {};
  #response;

  open(method, url) {
    this.method = method;
    this.url = new URL(url, location.href);
    this.#enter(1);
  }

  setRequestHeader(name, value) {
    this.#headers[name] = value;
  }

  getResponseHeader(name) {
    return this.#response?.headers.get(name) ?? null;
  }

  getAllResponseHeaders() {
    return [...(this.#response?.headers ?? [])].map(([name, value]) => `${name}: ${value}\r\n`).join("");
  }

  abort() {
    this.#abort.abort();
  }

  async send(body = null) {
    const timer = this.timeout && setTimeout(() => this.#abort.abort("timeout"), this.timeout);
    try {
      this.#response = await fetch(this.url, { method: this.method, headers: this.#headers, body, signal: this.#abort.signal });
      this.responseText = await this.#response.text();
      this.status = this.#response.status;
      this.statusText = this.#response.statusText;
      this.#enter(4);
      this.onload?.();
    } catch {
      const { aborted, reason } = this.#abort.signal;
      this.#enter(4);
      if (reason === "timeout") this.ontimeout?.();
      else if (aborted) this.onabort?.();
      else this.onerror?.();
    } finally {
      clearTimeout(timer);
      this.onloadend?.();
    }
  }

  get response() {
    return this.responseText;
  }

  #enter(state) {
    this.readyState = state;
    this.onreadystatechange?.();
  }
}

// RefusedWebSocket fails at once, as behind a proxy that does not know WebSockets.
class RefusedWebSocket {
  constructor() {
    setTimeout(() => {
      this.onerror?.({ type: "error" });
      this.onclose?.({ type: "close", code: 1006, wasClean: false });
    });
  }

  close() {}
}

globalThis.location = new URL(origin);
globalThis.XMLHttpRequest = FetchRequest;
globalThis.WebSocket = webSocket === "refused" ? RefusedWebSocket : WebSocket;

await import(bundle);

process.on("message", async ({ id, command, args }) => process.send({ id, answer: await globalThis.page(command, ...args) }));
process.send("ready");
