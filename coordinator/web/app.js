// The frame: which view the address asks for, theme, keys, login state.
import {forget, pages, token} from "./api.js";
import {dialog, h, put} from "./dom.js";
import {redrawAll} from "./chart.js";
import {sweepsPage} from "./sweeps.js";
import {sweepPage} from "./sweep.js";
import {trialPage} from "./trials.js";
import {workersPage} from "./workers.js";

const main = document.getElementById("main"), live = document.getElementById("live");
const LIVE = {live: "live", polling: "asking every few seconds", off: "no connection, trying again"};

// --- theme: light, dark, or the system's ----------------------------------------------------------------------------------

const system = matchMedia("(prefers-color-scheme: dark)");
function applyTheme() {
  const chosen = localStorage.getItem("sweepd-theme");
  document.documentElement.dataset.theme = chosen || (system.matches ? "dark" : "light");
  put(document.getElementById("theme"), h("span", {class: "hide-narrow"}, "Theme: "), chosen || "system");
  redrawAll();
}
function nextTheme() {
  const order = [null, "light", "dark"], next = order[(order.indexOf(localStorage.getItem("sweepd-theme")) + 1) % 3];
  if (next) localStorage.setItem("sweepd-theme", next); else localStorage.removeItem("sweepd-theme");
  applyTheme();
}
system.addEventListener("change", applyTheme);
document.getElementById("theme").addEventListener("click", nextTheme);
applyTheme();

// --- workers' names, which every view shows ---------------------------------------------------------------------------------

const names = new Map();
async function learnNames() {
  try {
    await pages("/v1/workers", (items) => { for (const one of items) names.set(one.id, one.name); });
  } catch { /* ids are shown instead */ }
}

const context = {
  names: () => names,
  learnNames,
  live(state) { live.dataset.state = state; live.textContent = LIVE[state] || ""; },
};

// --- addresses: #/sweeps, #/sweep/ID[/tab][?query], #/trial/ID, #/workers ---------------------------------------------------

let leave = null, turn = 0, shown = null;

function decoded(part) { try { return decodeURIComponent(part); } catch { return part; } }

async function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?"), [view = "sweeps", id, tab] = path.split("/").map(decoded);
  const key = `${view}/${id ?? ""}`, arguments_ = {id, tab, query: new URLSearchParams(query)};
  if (shown?.key === key && shown.go) { shown.go(arguments_); return; }
  const mine = ++turn;
  leave?.();
  leave = null;
  shown = {key};
  context.live("");
  document.title = "sweepd";
  for (const link of document.querySelectorAll("[data-nav]")) {
    if (link.dataset.nav === (view === "workers" ? "workers" : "sweeps")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  put(main, h("p", {class: "wait"}, "Loading…"));
  const place = h("div", {"data-view": view || "sweeps"});
  try {
    const open = new Map([["", sweepsPage], ["sweeps", sweepsPage], ["sweep", sweepPage], ["trial", trialPage],
      ["workers", workersPage]]).get(view);
    if (!open) throw new Error(`There is no view “${view}”.`);
    const opening = view === "trial" ? open(place, id, context) : view === "sweep" ? open(place, arguments_, context)
      : open(place, context);
    put(main, place);
    const closing = await opening;
    if (mine !== turn) { (closing.leave || closing)(); return; }
    leave = closing.leave || closing;
    shown.go = closing.go;
  } catch (error) {
    if (mine !== turn) return;
    context.live("");
    put(main, h("section", {class: "card empty"}, h("h2", {class: "error"}, error.status === 404 ? "There is nothing at this address"
      : "This could not be shown"), h("p", {}, error.message), h("p", {}, h("a", {href: "#/sweeps"}, "All sweeps"))));
  }
}
addEventListener("hashchange", route);

// --- keys -------------------------------------------------------------------------------------------------------------------

const KEYS = [["/", "to the filter"], ["1 … 7", "a sweep's tabs"], ["s · w", "sweeps, workers"], ["t", "light, dark, system"],
  ["↑ ↓ space enter", "in the list of trials: move, select, open"], ["Esc", "close"], ["?", "this list"]];
const showKeys = () =>
  dialog("Keys", (close) => [h("table", {}, h("tbody", {}, KEYS.map(([key, what]) => h("tr", {}, h("th", {}, key), h("td", {}, what))))),
  h("p", {class: "note"}, "Charts by ", h("a", {href: "/assets/echarts-notice.txt"}, "Apache ECharts"), " (",
    h("a", {href: "/assets/echarts-licence.txt"}, "licence"), ", ", h("a", {href: "/assets/echarts-licence-d3.txt"}, "d3’s"),
    "). The interface is described at ", h("a", {href: "/openapi.json"}, "/openapi.json"), "."),
  h("div", {class: "row end"}, h("button", {type: "button", autofocus: true, onclick: () => close(null)}, "Close"))]);
document.getElementById("help").addEventListener("click", showKeys);
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)
    || document.querySelector("dialog[open]")) return;
  const tabs = document.querySelectorAll(".tabs a");
  if (event.key === "/") main.querySelector("input.filter")?.focus();
  else if (event.key === "?") showKeys();
  else if (event.key === "t") nextTheme();
  else if (event.key === "s") location.hash = "#/sweeps";
  else if (event.key === "w") location.hash = "#/workers";
  else if (/^[1-9]$/.test(event.key) && tabs[event.key - 1]) tabs[event.key - 1].click();
  else return;
  event.preventDefault();
});

const logout = document.getElementById("logout");
logout.hidden = !token();
logout.addEventListener("click", () => { forget(); location.reload(); });

document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
learnNames();
route();
