// The HTTP interface: requests, pages, server-sent events. The token lives as long as the tab.
import {h, dialog} from "./dom.js";

const KEY = "sweepd-token";
export const token = () => sessionStorage.getItem(KEY);
export function forget() { sessionStorage.removeItem(KEY); }

class Problem extends Error {
  constructor(status, body) {
    super((body.detail || body.title || `the server answered ${status}`)
      + (status === 403 && token() ? ": log out, and in with an admin's" : ""));
    this.status = status;
    this.errors = body.errors || [];
  }
}

let login = null; // the open form, shared by all requests that wait for it

function askToken(why, wrong) {
  login ??= dialog("A token is needed", (close) => {
    const field = h("input", {type: "password", name: "token", autocomplete: "current-password", required: true, autofocus: true});
    const form = h("form", {class: "login"}, h("p", {class: wrong ? "error" : "", role: wrong ? "alert" : null}, why),
      h("div", {class: "row"}, h("label", {}, "Token", field), h("button", {class: "primary", type: "submit"}, "Log in")),
      h("p", {class: "note"}, "A viewer's token shows everything, an admin's may change it. It is kept until this tab is closed."));
    form.addEventListener("submit", (event) => { event.preventDefault(); close(field.value.replace(/[^\x21-\x7e]/g, "")); });
    return form;
  }).then((value) => {
    login = null;
    if (value) sessionStorage.setItem(KEY, value);
    document.getElementById("logout").hidden = !value;
    return value;
  });
  return login;
}

const headers = () => token() ? {Authorization: `Bearer ${token()}`} : {};

async function send(method, path, options) {
  for (;;) {
    const used = token();
    const response = await fetch(path, {...options, method, headers: {...options.headers, ...headers()}, cache: "no-store"});
    if (response.status !== 401) return response;
    if (token() !== used) continue; // another request was given a new one meanwhile
    forget();
    if (!await askToken(used ? "The server does not know this token." : "This server wants to know who asks.", Boolean(used)))
      throw new Problem(401, {detail: "not logged in"});
  }
}

// The decoded answer; a Problem for everything but 2xx. `body` is an object, or JSON text that goes out as it stands.
export async function call(method, path, body, options = {}) {
  const init = {signal: options.signal, headers: {...options.headers}};
  if (body !== undefined) {
    init.body = typeof body === "string" ? body : JSON.stringify(body);
    init.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await send(method, path, init);
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Problem) throw error;
    throw new Problem(0, {detail: "the server cannot be reached"});
  }
  const text = await response.text();
  if (response.ok && options.raw) return text;
  let value = null;
  try { value = text ? JSON.parse(text) : null; } catch { value = {detail: text.slice(0, 200)}; }
  if (!response.ok) throw new Problem(response.status, value || {});
  return value;
}

export const get = (path, options) => call("GET", path, undefined, options);

// null where the server says 404: what it does not have (yet).
export async function getIfThere(path, options) {
  try {
    return await get(path, options);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

// Walks a list; onPage(items, the cursor that led to this page). Returns the last page's cursor.
export async function pages(path, onPage, {limit = 1000, after = null, signal} = {}) {
  for (;;) {
    const page = await get(`${path}${path.includes("?") ? "&" : "?"}limit=${limit}${after ? `&after=${encodeURIComponent(after)}` : ""}`,
      {signal});
    onPage(page.items, after);
    if (!page.next) return after;
    after = page.next;
  }
}

// --- server-sent events -----------------------------------------------------------------------------------------
// By fetch, as an EventSource could not send the token. on(type, data); onState("live" | "retry" | "none"): "none" when
// the server has no such stream, and the caller polls.

function parse(block, on) {
  let type = "message", data = "", id = null;
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon === 0) continue;
    const name = colon < 0 ? line : line.slice(0, colon), value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") type = value;
    else if (name === "data") data += (data ? "\n" : "") + value;
    else if (name === "id") id = value;
  }
  if (data || type === "reset") on(type, data ? JSON.parse(data) : null);
  return id;
}

export function stream(path, on, onState) {
  const stop = new AbortController();
  let last = null, wait = 500;
  async function once() {
    const response = await send("GET", path,
      {signal: stop.signal, headers: {Accept: "text/event-stream", ...(last ? {"Last-Event-ID": last} : {})}});
    if (response.status === 404 || response.status === 405 || response.status === 422) return false;
    if (!response.ok || !(response.headers.get("Content-Type") || "").startsWith("text/event-stream"))
      throw new Error(`events: ${response.status}`);
    onState("live");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = "";;) {
      const {value, done} = await reader.read();
      if (done) return true;
      wait = 500;
      const blocks = (rest + value).replace(/\r\n?/g, "\n").split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) last = parse(block, on) ?? last;
    }
  }
  (async () => {
    while (!stop.signal.aborted) {
      let ended = false; // by the server, in order: what follows is resumed, and nothing was missed
      try {
        ended = await once();
        if (!ended) { onState("none"); return; }
      } catch (error) {
        if (stop.signal.aborted) return;
        if (error.status === 401) { onState("retry"); return; } // nobody wants to log in: a reload asks again
      }
      if (stop.signal.aborted) return;
      if (!ended) onState("retry");
      await new Promise((resolve) => setTimeout(resolve, wait));
      wait = ended ? 500 : Math.min(wait * 2, 15000);
    }
  })();
  return () => stop.abort();
}
