// The list of sweeps, and creating one from a pasted spec whose faults are marked where they are.
import {call, pages, stream} from "./api.js";
import {ago, dialog, duration, h, num, pill, put, throttle, toast} from "./dom.js";
import {Study} from "./model.js";
import {readYaml} from "./yaml.js";

const STATES = ["completed", "stopped", "failed", "cancelled", "running"];

// Shares of the expected trials as one bar.
export function progressBar(study) {
  const {ended, total} = study.progress, counts = study.sweep.counts, all = total || ended + counts.queued + counts.running || 1;
  return h("div", {class: "bar", role: "img", "aria-label": `${ended} of ${total ?? "unknown"} trials ended`}, STATES.map((state) => {
    const part = h("i", {"data-state": state});
    part.style.width = `${100 * counts[state] / all}%`;
    return part;
  }));
}

// --- where in the text a JSON pointer points ----------------------------------------------------------------------------

// Offsets [start, end] of every value by pointer; of a member, its key's start. Lenient: what cannot be read ends the walk.
export function locate(text) {
  const found = new Map();
  let at = 0;
  const space = () => { while (/\s/.test(text[at] || "")) at++; };
  const string = () => {
    const start = at++;
    while (at < text.length && text[at] !== "\"") at += text[at] === "\\" ? 2 : 1;
    at++;
    try { return JSON.parse(text.slice(start, at)); } catch { return ""; }
  };
  function value(pointer, start) {
    space();
    start ??= at;
    if (text[at] === "{" || text[at] === "[") {
      const object = text[at++] === "{";
      for (let index = 0; at < text.length; index++) {
        space();
        if (text[at] === "}" || text[at] === "]") { at++; break; }
        const from = at, name = object ? string() : index;
        if (object) { space(); at++; }
        value(`${pointer}/${String(name).replaceAll("~", "~0").replaceAll("/", "~1")}`, from);
        space();
        if (text[at] === ",") at++;
        else if (text[at] !== "}" && text[at] !== "]") break;
      }
    } else if (text[at] === "\"") string();
    else while (at < text.length && !/[\s,\]}]/.test(text[at])) at++;
    found.set(pointer, [start, at]);
  }
  value("");
  return found;
}

// Where JSON text breaks off: the place of the first character that cannot stand there. (Not every browser's message tells it.)
export function jsonFault(text) {
  const string = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/, number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/;
  const token = new RegExp(`\\s*(?:(${string.source}|${number.source}|true|false|null)|([{}[\\],:]))`, "y");
  const open = [];
  let wanted = "value"; // value, key, ":" or "next" (a comma or the end of what is open)
  for (let at = 0; ; at = token.lastIndex) {
    token.lastIndex = at;
    const found = token.exec(text), place = at + text.slice(at).search(/\S|$/);
    if (!found) return wanted === "end" && place === text.length ? -1 : place;
    const [, scalar, sign] = found, start = token.lastIndex - (scalar ?? sign).length, inside = open.at(-1);
    const after = () => { wanted = open.length ? "next" : "end"; };
    if (wanted === "value" && scalar) after();
    else if ((wanted === "value" || wanted === "first") && (sign === "{" || sign === "[")) {
      open.push(sign);
      wanted = sign === "{" ? "firstKey" : "first";
    }
    else if (wanted === "first" && scalar) after();
    else if ((wanted === "key" || wanted === "firstKey") && scalar?.[0] === "\"") wanted = ":";
    else if (wanted === ":" && sign === ":") wanted = "value";
    else if (wanted === "next" && sign === ",") wanted = inside === "{" ? "key" : "value";
    else if ((wanted === "next" || wanted === "first" || wanted === "firstKey") && sign === (inside === "{" ? "}" : "]")) {
      open.pop();
      after();
    }
    else return start;
  }
}

// JSON in lines, its numbers as they stand: parsed and written again, 1.0 would become 1, which means another distribution.
export function indented(text) {
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  return text.replace(/"(?:[^"\\]|\\.)*"|\s+|[{}[\],:]/g, (token) => {
    if (/^\s/.test(token)) return "";
    if (token === "{" || token === "[") { depth++; return token + line(); }
    if (token === "}" || token === "]") { depth--; return line() + token; }
    return token === "," ? token + line() : token === ":" ? ": " : token;
  });
}

const EXAMPLE = `{
  "name": "my sweep",
  "method": "bayes",
  "trainer": "external",
  "metric": {"name": "loss", "goal": "minimize"},
  "run_cap": 20,
  "parameters": {
    "learning_rate": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2},
    "dropout": {"min": 0.0, "max": 0.5}
  }
}
`;

// What was typed as JSON text, and where each value stands: {json, places}. Throws with an offset where it can be told.
function readSpec(text) {
  if (!/^\s*[{[]/.test(text)) {
    try {
      return readYaml(text);
    } catch (error) { throw Object.assign(new Error(`This cannot be read: ${error.message}.`), {offset: error.offset ?? NaN}); }
  }
  try { JSON.parse(text); } catch {
    const offset = jsonFault(text), found = text.slice(offset).match(/^(?:[\w.+-]+|.)/)?.[0];
    throw Object.assign(new Error(found ? `This is not JSON from “${found}” on.` : "This is not JSON: it ends too early."),
      {offset: Math.max(0, Math.min(offset, text.length - 1))});
  }
  return {json: text, places: locate(text)};
}

// A spec to write or change. send(JSON text) asks the server; faults that it finds below `prefix` are marked where they are.
export function specDialog({title, text, verb, note, send, prefix = ""}) {
  return dialog(title, (close) => {
    const area = h("textarea", {spellcheck: false, "aria-label": "Spec as JSON or YAML", wrap: "off"}),
      gutter = h("pre", {"aria-hidden": "true"}), list = h("ul", {class: "faults"}),
      summary = h("p", {class: "error summary", role: "alert"});
    const button = h("button", {type: "button", class: "primary", onclick: submit}, verb);
    area.value = text;
    area.setSelectionRange(0, 0);
    let marked = new Map(); // line → true
    const number = () => put(gutter, area.value.split("\n")
      .map((_, place) => marked.has(place) ? h("b", {}, `${place + 1}`) : `${place + 1}`).flatMap((one) => [one, "\n"]));
    area.addEventListener("input", () => { marked = new Map(); number(); });
    area.addEventListener("scroll", () => { gutter.scrollTop = area.scrollTop; });
    const lineOf = (offset) => area.value.slice(0, offset).split("\n").length - 1;
    const go = ([start, end]) => {
      area.focus();
      area.setSelectionRange(start, end);
      area.scrollTop = Math.max(0, lineOf(start) * 20 - 120);
    };

    function show(error, places) {
      const faults = error.errors?.length ? error.errors : [];
      let first = null;
      marked = new Map();
      summary.textContent = faults.length ? `${faults.length === 1 ? "One fault" : `${faults.length} faults`}; nothing was changed.`
        : error.message;
      const placed = faults.map((fault) => {
        const full = fault.pointer.startsWith(prefix) ? fault.pointer.slice(prefix.length) : fault.pointer;
        let pointer = full;
        // a missing key: what it is missing in
        while (!places.has(pointer) && pointer) pointer = pointer.slice(0, pointer.lastIndexOf("/"));
        const place = places.get(pointer) || [0, 0];
        return {fault, full, place};
      }).sort((a, b) => a.place[0] - b.place[0]);
      first = placed[0]?.place;
      put(list, placed.map(({fault, full, place}) => {
        marked.set(lineOf(place[0]), true);
        return h("li", {}, h("button", {type: "button", onclick: () => go(place)}, h("b", {}, `line ${lineOf(place[0]) + 1}`), " ",
          h("code", {}, full || "/"), ` ${fault.detail}`));
      }));
      number();
      if (first) go(first);
    }

    async function submit() {
      summary.textContent = "";
      put(list);
      let spec;
      try {
        spec = readSpec(area.value);
      } catch (error) {
        marked = new Map(Number.isNaN(error.offset) ? [] : [[lineOf(error.offset), true]]);
        summary.textContent = `${Number.isNaN(error.offset) ? "" : `Line ${lineOf(error.offset) + 1}: `}${error.message}`;
        number();
        if (!Number.isNaN(error.offset)) go([error.offset, error.offset + 1]);
        return;
      }
      button.disabled = true;
      try {
        close(await send(spec.json)); // as typed: 1.0 stays a real number
      } catch (error) { show(error, spec.places); }
      button.disabled = false;
    }

    number();
    return [h("p", {class: "note"}, note), h("div", {class: "editor"}, gutter, area), summary, list,
      h("div", {class: "row end"}, h("button", {type: "button", onclick: () => close(null)}, "Back"), button)];
  }, true);
}

export const createSweep = (text = EXAMPLE, title = "New sweep") => specDialog({title, text, verb: "Create",
  note: "A sweep's spec as JSON or YAML; a Weights & Biases sweep means what it means there.",
  send: (json) => call("POST", "/v1/sweeps", json)});

// The merge patch that makes `after` of `before`, both JSON texts: what is the same is not sent, as somebody else may change it meanwhile.
export function mergePatch(before, after) {
  const places = [locate(before), locate(after)], isObject = (one) => one !== null && typeof one === "object" && !Array.isArray(one),
    old = JSON.parse(before), now = JSON.parse(after);
  const member = (text, [start, end]) => text.slice(start, end).replace(/^"(?:[^"\\]|\\.)*"\s*:/, ""); // its value, as it was typed
  function patch(pointer, old, now) {
    const parts = Object.keys(old).filter((key) => !Object.hasOwn(now, key)).map((key) => `${JSON.stringify(key)}:null`);
    for (const [key, value] of Object.entries(now)) {
      const inner = `${pointer}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`, known = Object.hasOwn(old, key);
      if (known && isObject(old[key]) && isObject(value)) {
        const change = patch(inner, old[key], value);
        if (change !== "{}") parts.push(`${JSON.stringify(key)}:${change}`);
        continue;
      }
      const text = member(after, places[1].get(inner));
      if (!known || indented(text) !== indented(member(before, places[0].get(inner)))) parts.push(`${JSON.stringify(key)}:${text}`);
    }
    return `{${parts.join(",")}}`;
  }
  return isObject(now) ? patch("", old, now) : after;
}

// --- the list -----------------------------------------------------------------------------------------------------------

export async function sweepsPage(main, context) {
  const sweeps = new Map(), body = h("div", {});
  let gone = false, filter = "";
  const fresh = h("button", {type: "button", class: "primary",
    onclick: async () => { const sweep = await createSweep(); if (sweep) location.hash = `#/sweep/${sweep.id}`; }}, "New sweep");
  const search = h("input", {type: "search", class: "filter", placeholder: "Filter", "aria-label": "Filter",
    oninput: (event) => { filter = event.target.value.toLowerCase(); show(); }});
  put(main, h("div", {class: "row head"}, h("h1", {}, "Sweeps"), h("span", {class: "grow"}), search,
    h("span", {class: "actions"}, fresh)), body);

  function line(sweep) {
    const study = new Study(sweep.id);
    study.sweep = sweep;
    const {ended, total} = study.progress, at = sweep.stage?.count > 1 && sweep.state === "running"
      ? `stage ${sweep.stage.index + 1} of ${sweep.stage.count}: ${sweep.stage.method}` : sweep.method;
    return h("tr", {class: "link", "data-id": sweep.id}, h("td", {}, h("a", {href: `#/sweep/${sweep.id}`}, sweep.name || sweep.id)),
      h("td", {}, pill(sweep.state)), h("td", {class: "hide-narrow"}, at),
      h("td", {}, progressBar(study), h("span", {class: "soft"},
        `${ended}${total ? ` of ${total}` : ""}${sweep.counts.failed ? `, ${sweep.counts.failed} failed` : ""}`
        + (sweep.eta_s ? `, ${duration(sweep.eta_s)} left` : ""))),
      h("td", {class: "num"}, sweep.best ? [h("b", {}, num(sweep.best.value)), h("div", {class: "soft"}, study.metricName)] : "–"),
      h("td", {class: "hide-narrow"}, ago(sweep.created)));
  }

  function show() {
    if (gone) return;
    const list = [...sweeps.values()].filter((one) => !filter || `${one.name} ${one.id} ${one.state} ${one.method}`.toLowerCase()
      .includes(filter)).reverse();
    if (!sweeps.size) {
      put(body, h("section", {class: "card empty"}, h("h2", {}, "No sweep yet"), h("p", {}, "Create one here, or with sweepctl:"),
        h("pre", {}, `sweepctl --server ${location.origin} create sweep.yaml`)));
      return;
    }
    put(body, h("section", {class: "card scroll"}, h("table", {class: "sweeps"},
      h("thead", {}, h("tr", {}, h("th", {}, "name"), h("th", {}, "state"), h("th", {class: "hide-narrow"}, "method"),
        h("th", {}, "trials"), h("th", {class: "num"}, "best"), h("th", {class: "hide-narrow"}, "created"))),
      h("tbody", {}, list.map(line)))));
  }

  async function load() {
    try {
      const now = new Map();
      await pages("/v1/sweeps", (items) => { for (const one of items) now.set(one.id, one); });
      sweeps.clear();
      for (const [id, one] of now) sweeps.set(id, one);
      show();
      return true;
    } catch (error) {
      if (!gone && !sweeps.size) put(body, h("p", {class: "error"}, error.message));
      return false;
    }
  }

  await load();
  let timer = null;
  const later = throttle(show, 400);
  const unfollow = stream("/v1/events", (type, data) => {
    if (type === "sweep") { sweeps.set(data.id, data); later(); } else if (type === "deleted" && sweeps.delete(data.sweep)) later();
    else if (type === "reset") load();
  }, (state) => {
    if (gone) return;
    context.live(state === "live" ? "live" : state === "none" ? "polling" : "off");
    if (state === "live") load();
    if (state === "none")
      timer ??= setInterval(async () => { if (!document.hidden) context.live(await load() ? "polling" : "off"); }, 3000);
  });
  return () => { gone = true; unfollow(); clearInterval(timer); };
}
