// What was done to a sweep, and what it did by itself, as the server keeps it.
import {pages} from "./api.js";
import {clock, h, put} from "./dom.js";

export function historyView(study) {
  const body = h("section", {class: "card wide", "data-card": "history"}, h("p", {class: "soft"}, "Loading…"));
  let shown = "", busy = false;
  const line = (item) => h("tr", {}, h("td", {}, clock(item.time)), h("td", {}, item.who === null ? h("span", {class: "soft"}, "sweepd")
    : item.who || h("span", {class: "soft"}, "somebody")), h("td", {class: "num"}, String(item.trials)),
    h("td", {}, h("b", {}, item.what), item.changes.length ? h("ul", {class: "bullets"},
      item.changes.slice(0, 20).map((change) => h("li", {}, h("code", {}, change.pointer.slice(1).replaceAll("/", ".")), " ",
      "before" in change || "after" in change ? [h("code", {}, "before" in change ? JSON.stringify(change.before) : "(none)"), " → ",
        h("code", {}, "after" in change ? JSON.stringify(change.after) : "(none)")] : "")),
    item.changes.length > 20 ? h("li", {}, `and ${item.changes.length - 20} more`) : null) : item.text.slice(item.what.length)));
  async function refresh() {
    if (busy) return;
    busy = true;
    const items = [];
    try {
      await pages(`/v1/sweeps/${study.id}/history`, (some) => items.push(...some), {signal: study.stopped.signal});
      const key = `${items.length}`;
      if (key !== shown) {
        shown = key;
        put(body, h("h2", {}, "History"),
          h("div", {class: "scroll"}, h("table", {class: "history"}, h("thead", {}, h("tr", {}, ["time", "who", "trials before it",
            "what"].map((title, place) => h("th", {class: place === 2 ? "num" : ""}, title)))), h("tbody", {},
              items.reverse().map(line)))));
      }
    } catch (error) { if (error.name !== "AbortError") { shown = ""; put(body, h("p", {class: "error"}, error.message)); } }
    busy = false;
  }
  return {plots: [], element: body, update: refresh};
}
