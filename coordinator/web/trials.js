// The list of trials (only the lines in view are in the document), a trial's page, and trials side by side.
import {call, get, getIfThere, pages, stream} from "./api.js";
import {clock, confirmed, duration, h, num, pairs, pill, put, seconds, throttle, toast} from "./dom.js";
import {Plot} from "./chart.js";
import {curves} from "./plots.js";
import {Study, flat, isEnded, makeFilter, whyProposed} from "./model.js";

const LINE = 32;

export class TrialTable {
  // onOpen(trial), onSelect(set of ids); names(): worker names by id
  constructor(study, {onOpen, onSelect, names, filter = "", selected = []}) {
    Object.assign(this, {study, onOpen, onSelect, names, sort: {key: "number", up: false}, brushed: null, cursor: 0, items: []});
    this.selected = new Set(selected);
    this.search = h("input", {type: "search", placeholder: "Filter, as in: state:failed lr<1e-4", "aria-label": "Filter", size: "34",
      class: "filter", value: filter, oninput: () => this.draw()});
    this.count = h("span", {class: "soft"});
    this.head = h("div", {class: "vhead", role: "row"});
    this.body = h("div", {class: "vbody", role: "rowgroup"});
    this.box = h("div", {class: "virtual", tabindex: "0", role: "grid", "aria-multiselectable": "true",
      "aria-label": "Trials; arrows move, space selects, enter opens", onscroll: () => this.paint(), onkeydown: (event) => this.key(event)},
      this.head, this.body);
    this.compare = h("button", {type: "button", onclick: () => this.onSelect([...this.selected], true), disabled: true}, "Compare");
    this.clear = h("button", {type: "button", class: "quiet", hidden: true, onclick: () => { this.selected.clear(); this.changed(); }},
      "Clear the selection");
    this.unbrush = h("button", {type: "button", class: "quiet", hidden: true, onclick: () => { this.brushed = null; this.draw(); }},
      "Show all, not only what is brushed");
    this.element = h("div", {},
      h("div", {class: "row"}, this.search, this.count, this.unbrush, h("span", {class: "grow"}), this.clear, this.compare), this.box);
    this.box.style.marginTop = "8px";
    this.sizes = new ResizeObserver(() => this.paint());
    this.sizes.observe(this.box);
  }

  columns() {
    const study = this.study, worker = (trial) => this.names().get(trial.worker) || trial.worker || "";
    return [
      {key: "number", title: "#", width: 64, right: true, of: (trial) => trial.number},
      {key: "state", title: "state", width: 112, of: (trial) => trial.state, show: (trial) => pill(trial.state)},
      {key: "value", title: study.metricName, width: 120, right: true, of: (trial) => trial.value},
      ...study.axes.map((one) => ({key: `p.${one.name}`, title: one.name, width: Math.max(104, Math.min(220, 28 + 8 * one.name.length)),
        right: one.kind !== "category", of: (trial) => flat(trial)[one.name]})),
      ...(study.stages
        ? [{key: "stage", title: "stage", width: 90, of: (trial) => trial.stage, show: (trial) => study.stageName(trial.stage)}] : []),
      {key: "source", title: "source", width: 90, of: (trial) => trial.proposal?.source || ""},
      {key: "worker", title: "worker", width: 130, of: worker},
      {key: "took", title: "took", width: 90, right: true, of: seconds,
        show: (trial) => trial.state === "running" ? `${num(100 * (trial.progress || 0), 3)} %` : duration(seconds(trial))},
      {key: "reason", title: "reason", width: 130, of: (trial) => trial.reason || ""},
    ];
  }

  draw() {
    const study = this.study, columns = this.columns(), test = makeFilter(this.search.value), {key, up} = this.sort;
    const of = (columns.find((one) => one.key === key) || columns[0]).of;
    this.shown = columns;
    this.items = this.study.trials.filter((trial) => (!this.brushed || this.brushed.has(trial.id)) && test(trial));
    const empty = (v) => v === null || v === undefined || v === "" || Number.isNaN(v);
    this.items.sort((a, b) => {
      const x = of(a), y = of(b);
      if (empty(x) || empty(y)) return empty(x) - empty(y) || a.number - b.number;
      const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), undefined, {numeric: true});
      return (up ? order : -order) || a.number - b.number;
    });
    this.grid = `34px ${columns.map((one) => `${one.width}px`).join(" ")}`;
    this.head.style.gridTemplateColumns = this.grid;
    put(this.head, h("span", {role: "columnheader"}),
      columns.map((one) => h("span", {role: "columnheader", class: one.right ? "right" : "", "aria-sort": one.key === key
        ? (up ? "ascending" : "descending") : "none"}, h("button", {type: "button", title: `Sort by ${one.title}`,
      onclick: () => { this.sort = {key: one.key, up: one.key === key ? !up : one.key !== "value" || !study.maximize}; this.draw(); }},
      one.title, one.key === key ? (up ? " ▲" : " ▼") : ""))));
    this.body.style.height = `${this.items.length * LINE}px`;
    this.body.style.minWidth = `${34 + columns.reduce((sum, one) => sum + one.width, 0)}px`;
    this.count.textContent = `${this.items.length} of ${this.study.trials.length} trials`;
    this.unbrush.hidden = !this.brushed;
    this.cursor = Math.min(this.cursor, Math.max(0, this.items.length - 1));
    this.paint();
  }

  paint() {
    if (!this.shown) return;
    const first = Math.max(0, Math.floor(this.box.scrollTop / LINE) - 6),
      last = Math.min(this.items.length, first + Math.ceil((this.box.clientHeight || 600) / LINE) + 14);
    put(this.body, this.items.slice(first, last).map((trial, place) => this.line(trial, first + place)));
    this.box.setAttribute("aria-rowcount", this.items.length + 1);
    this.box.setAttribute("aria-activedescendant", this.items.length ? `row-${this.items[this.cursor]?.number}` : "");
  }

  line(trial, place) {
    const tick = h("input", {type: "checkbox", checked: this.selected.has(trial.id), "aria-label": `Select trial ${trial.number}`,
      tabindex: "-1", onclick: (event) => { event.stopPropagation(); this.toggle(trial); }});
    const cells = this.shown.map((one) => h("span", {role: "gridcell", class: one.right ? "right" : ""}, one.key === "number"
      ? h("a", {href: `#/trial/${trial.id}`, tabindex: "-1", onclick: (event) => event.stopPropagation()}, String(trial.number))
      : one.show ? one.show(trial) : num(one.of(trial))));
    const line = h("div", {class: "vrow", role: "row", id: `row-${trial.number}`, "aria-rowindex": String(place + 2),
      "data-number": String(trial.number), "data-cursor": place === this.cursor ? "" : null,
      "aria-selected": String(this.selected.has(trial.id)), onclick: () => { this.cursor = place; this.onOpen(trial); }},
      h("span", {role: "gridcell", class: "tick"}, tick), cells);
    line.style.gridTemplateColumns = this.grid;
    line.style.top = `${place * LINE}px`;
    return line;
  }

  toggle(trial) {
    if (!this.selected.delete(trial.id)) this.selected.add(trial.id);
    this.changed();
  }

  changed() {
    const n = this.selected.size;
    this.compare.textContent = n ? `Compare ${n}` : "Compare";
    this.compare.disabled = n < 2 || n > 5;
    this.compare.title = n > 5 ? "At most five" : n < 2 ? "Select two to five trials" : "";
    this.clear.hidden = !n;
    this.onSelect([...this.selected], false);
    this.paint();
  }

  key(event) {
    if (event.target !== this.box) return;
    const move = {ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -1e9, End: 1e9}[event.key], trial = this.items[this.cursor];
    if (move) {
      this.cursor = Math.max(0, Math.min(this.items.length - 1, this.cursor + move));
      const top = this.cursor * LINE;
      if (top < this.box.scrollTop) this.box.scrollTop = top;
      else if (top + 2 * LINE + 8 > this.box.scrollTop + this.box.clientHeight)
        this.box.scrollTop = top + 2 * LINE + 8 - this.box.clientHeight;
      this.paint();
    } else if (event.key === "Enter" && trial) this.onOpen(trial);
    else if (event.key === " " && trial) this.toggle(trial);
    else return;
    event.preventDefault();
  }
}

// --- metrics of a trial -----------------------------------------------------------------------------------------------

export async function metricsOf(id, signal) {
  const points = [];
  await pages(`/v1/trials/${id}/metrics`,
    (items) => { points.push(...items); if (points.length > 200000) throw new Error("too many points to draw"); }, {signal});
  const series = new Map();
  for (const point of points) {
    if (!series.has(point.name)) series.set(point.name, []);
    series.get(point.name).push(point);
  }
  return series;
}

// --- side by side -----------------------------------------------------------------------------------------------------

export function comparison(study, trials) {
  const names = [...new Set(trials.flatMap((trial) => Object.keys(flat(trial))))];
  const line = (name, of) => {
    const values = trials.map(of), differs = new Set(values.map((v) => JSON.stringify(v ?? null))).size > 1;
    return h("tr", {}, h("th", {scope: "row"}, name),
      values.map((v) => h("td", {class: differs ? "num differs" : "num"}, v instanceof Node ? v : num(v))));
  };
  const best = trials.reduce((a, b) => b.value !== null && (a === null || study.better(b.value, a)) ? b.value : a, null);
  return h("div", {class: "scroll"}, h("table", {class: "compare"},
    h("thead", {}, h("tr", {}, h("th", {}, ""),
      trials.map((trial) => h("th", {class: "num"}, h("a", {href: `#/trial/${trial.id}`}, `trial ${trial.number}`))))),
    h("tbody", {}, line(`${study.metricName}${best === null ? "" : " (best in bold)"}`,
      (trial) => trial.value === best ? h("b", {}, num(trial.value)) : trial.value), line("state", (trial) => trial.state),
      names.map((name) => line(name, (trial) => flat(trial)[name])), line("stage", (trial) => study.stageName(trial.stage)),
      line("source", (trial) => trial.proposal?.source ?? null), line("took", (trial) => duration(seconds(trial))),
      line("attempts", (trial) => trial.attempt))));
}

// {"model": {"name": "m", "sha256": "…"}} → [["model name", "m"], …], without what is not known.
const evaluator = (facts) => Object.entries(flat({params: facts})).filter(([, value]) => value !== null)
  .map(([key, value]) => [key.replace(/^facts\./, "").replaceAll(/[._]/g, " "), h("code", {}, num(value))]);

// --- the page of one trial ----------------------------------------------------------------------------------------------

export async function trialPage(main, id, context) {
  let trial = await get(`/v1/trials/${id}`);
  const study = new Study(trial.sweep), plots = [];
  study.sweep = await get(`/v1/sweeps/${trial.sweep}`);
  const place = h("div", {}), charts = h("div", {class: "plots"});
  let series = new Map();
  const view = {x: "step", weight: 0}, stop = new AbortController();
  const act = (verb, what, question) => async () => {
    if (question && !await confirmed(`${what} trial ${trial.number}?`, question, what === "Cancel" ? "Cancel the trial" : what,
      what === "Cancel")) return;
    try {
      trial = await call("POST", `/v1/trials/${id}/${verb}`);
      toast(`Trial ${trial.number} is ${trial.state}.`);
      show();
    } catch (error) { toast(error.message, true); }
  };
  const copy = async () => {
    try {
      const answer = await call("POST", `/v1/sweeps/${trial.sweep}/trials`, {params: trial.params});
      toast(`Trial ${answer.items[0].number} is queued with the same parameters.`);
    } catch (error) { toast(error.message, true); }
  };

  function show() {
    study.take([trial]);
    put(place, h("div", {class: "row head"}, h("h1", {}, h("a", {href: `#/sweep/${trial.sweep}/trials`}, study.sweep.name || study.id),
      ` · trial ${trial.number}`), pill(trial.state), h("span", {class: "grow"}),
      h("span", {class: "row actions"},
        h("button", {type: "button", onclick: copy, title: "Enqueue the same parameters once more"}, "Run again"),
        isEnded(trial)
          ? h("button", {type: "button", onclick: act("retry", "Retry", "It is queued again with a fresh allowance of attempts.")}, "Retry")
          : h("button", {type: "button", class: "danger", onclick: act("cancel", "Cancel", "Its worker is told to abandon it.")},
            "Cancel"))),
    h("div", {class: "cards"},
      h("section", {class: "card"}, h("h2", {}, study.metricName), h("div", {class: "stat"}, num(trial.value)), pairs([
        ...(trial.reason ? [["reason", h("b", {class: "error"}, trial.reason)]] : []), ["stage", study.stageName(trial.stage)],
        ["attempt", String(trial.attempt)], ["worker", context.names().get(trial.worker) || trial.worker || "–"],
        ["created", clock(trial.created)], ["started", clock(trial.started)],
        ["finished", clock(trial.finished)], ["took", duration(seconds(trial))],
        ...(trial.state === "running" ? [["progress", `${num(100 * (trial.progress || 0), 3)} %`]] : []), ["seed", String(trial.seed)],
        ["id", h("code", {}, trial.id)]])),
      h("section", {class: "card"}, h("h2", {}, "Parameters"),
        pairs(Object.entries(flat(trial)).map(([name, value]) => [name, h("code", {}, num(value, 8))]))),
      h("section", {class: "card"}, h("h2", {}, "Why was this proposed?"),
        h("ul", {class: "bullets why"}, whyProposed(trial, study).map((words) => h("li", {}, words))),
        ...(trial.evaluator ? [h("h3", {}, "Evaluated by"), pairs(evaluator(trial.evaluator))] : []))),
    trial.detail ? h("section", {class: "card"}, h("h2", {}, trial.state === "failed" ? "What it said last" : "Detail"),
      h("pre", {class: "detail", tabindex: "0"}, trial.detail)) : null);
  }

  function drawCharts() {
    const late = (name) => name.startsWith("perf/"), names = [...series.keys()].sort((a, b) =>
      (b === study.metricName) - (a === study.metricName) || late(a) - late(b) || a.localeCompare(b));
    for (const name of names) {
      if (plots.some((plot) => plot.metric === name)) continue;
      const plot = new Plot({title: name, name: `curve-${name}`, height: 240,
        fileName: () => `trial-${trial.number}-${name.replaceAll("/", "-")}`,
        build: (theme) => curves(study, [{trial, points: series.get(name) || []}], {...view, name})(theme)});
      plot.metric = name;
      plots.push(plot);
      charts.append(plot.element);
    }
    for (const plot of plots) plot.draw();
    if (!names.length) put(charts, h("p", {class: "soft"}, "No metric has been reported."));
    else charts.querySelector(":scope > p")?.remove();
  }

  put(main, place, h("h2", {class: "row"}, "Metrics", h("label", {}, "over", h("select", {"aria-label": "Horizontal axis",
    onchange: (event) => { view.x = event.target.value; drawCharts(); }}, ["step", "epoch", "time"].map((x) => h("option", {}, x)))),
    h("label", {}, "smoothing", h("input", {type: "range", min: "0", max: "0.98", step: "0.02", value: "0", "aria-label": "smoothing",
      oninput: (event) => { view.weight = Number(event.target.value); drawCharts(); }}))), charts);
  show();
  const refresh = async () => {
    try {
      series = await metricsOf(id, stop.signal);
      if (!stop.signal.aborted) drawCharts();
    } catch (error) { if (!stop.signal.aborted) toast(error.message, true); }
  };
  const reload = async () => {
    const now = await getIfThere(`/v1/trials/${id}`).catch(() => null);
    if (!now || stop.signal.aborted) return;
    trial = now;
    show();
    await refresh();
  };
  await refresh();
  // What happens comes as events; where there are none, it is asked for.
  const soon = throttle(() => { if (!stop.signal.aborted) drawCharts(); }, 500);
  const point = (data) => {
    if (!series.has(data.name)) series.set(data.name, []);
    const points = series.get(data.name);
    if (!points.length || points.at(-1).step < data.step) points.push(data);
    else if (points.at(-1).step === data.step) points[points.length - 1] = data;
    soon();
  };
  let timer = null, missed = true;
  const unfollow = stream(`/v1/events?sweep=${trial.sweep}`, (type, data) => {
    if (type === "trial" && data.id === id) { trial = data; show(); } else if (type === "metric" && data.trial === id) point(data);
    else if (type === "reset") reload();
    else if (type === "deleted" && data.sweep === trial.sweep) put(main, h("section", {class: "card empty"},
      h("h2", {}, "The sweep of this trial was deleted"), h("p", {}, h("a", {href: "#/sweeps"}, "All sweeps"))));
  }, (state) => {
    if (stop.signal.aborted) return;
    context.live(state === "live" ? "live" : state === "none" ? "polling" : "off");
    if (state === "live" && missed && !isEnded(trial)) reload();
    missed = state !== "live";
    if (state === "none") timer ??= setInterval(() => { if (!isEnded(trial) && !document.hidden) reload(); }, 2000);
  });
  return () => { stop.abort(); unfollow(); clearInterval(timer); for (const plot of plots) plot.remove(); study.stop(); };
}
