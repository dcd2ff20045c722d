// A sweep's page: how far it is and what is best, then tabs of plots, trials and the spec.
import {call, get, getIfThere, pages} from "./api.js";
import {clock, confirmed, dialog, duration, h, num, pairs, pill, put, save, seconds, sentence, toast} from "./dom.js";
import {Plot} from "./chart.js";
import * as draw from "./plots.js";
import {Study, elsewhere, flat, isEnded} from "./model.js";
import {TrialTable, comparison, metricsOf} from "./trials.js";
import {createSweep, indented, locate, mergePatch, progressBar, specDialog} from "./sweeps.js";
import {historyView} from "./history.js";
import {concluded, waiting} from "./words.js";
import {ParallelHover} from "./hover.js";

const TABS = [["overview", "Overview"], ["analysis", "Analysis"], ["curves", "Curves"], ["timeline", "Timeline"], ["trials", "Trials"],
  ["spec", "Spec"], ["history", "History"]];
const choice = (label, options, onchange, value) =>
  h("label", {}, label, h("select", {"aria-label": label, onchange: (event) => onchange(event.target.value)},
    options.map(([key, text]) => h("option", {value: key, selected: key === value}, text))));

// Options of a select that come and go with the data; keeps what is chosen.
function offer(select, options) {
  const before = select.value, wanted = options.map(([key]) => key).join("\n");
  if (select.dataset.options === wanted) return;
  select.dataset.options = wanted;
  put(select, options.map(([key, text]) => h("option", {value: key}, text)));
  if (options.some(([key]) => key === before)) select.value = before;
}

export async function sweepPage(main, {id, tab, query}, context) {
  const study = new Study(id), began = performance.now();
  const top = h("div", {}), tabs = h("nav", {class: "tabs", "aria-label": "Views of the sweep"}), body = h("div", {});
  put(main, top, tabs, body);
  let answer = {best: null, importance: undefined}, current = null, closed = false;
  const chosen = new Set((query.get("t") || "").split(",").filter(Boolean).map(Number)); // trial numbers, as they are in the address
  const noise = () => answer.importance?.noise?.sd ?? null;
  const file = (name) => () => `${(study.sweep.name || id).replace(/[^\w.-]+/g, "-")}-${name}`;
  const open = (trial) => { location.hash = `#/trial/${trial.id}`; };
  let words = query.get("filter") || ""; // of the list of trials, in the address too
  const address = (where = current?.name || "overview") => {
    const asked = [...(chosen.size ? [`t=${[...chosen].join(",")}`] : []),
      ...(where === "trials" && words ? [`filter=${encodeURIComponent(words)}`] : [])];
    return `#/sweep/${id}/${where}${asked.length ? `?${asked.join("&")}` : ""}`;
  };
  const pick = (numbers) => {
    chosen.clear();
    for (const number of numbers) chosen.add(number);
    history.replaceState(null, "", address());
    links();
  };

  // --- what the server concludes; asked again when trials have ended ---

  let asked = -1, cost = 0;
  async function conclude() {
    const ended = study.progress.ended, begun = performance.now();
    if (ended === asked || closed) return;
    asked = ended;
    const quietly = (path) => getIfThere(path, {signal: study.stopped.signal}).catch((error) => ({problem: error.message}));
    const [best, importance] = await Promise.all([quietly(`/v1/sweeps/${id}/best`), quietly(`/v1/sweeps/${id}/importance`)]);
    answer = {best, importance};
    cost = performance.now() - begun;
    if (closed) return;
    header();
    current?.update?.();
    if (current?.name === "overview") current.after(); // its noise band
  }
  let timer = null;
  // a model is fitted for it: at most a tenth of the time
  const soon = () => { timer ??= setTimeout(() => { timer = null; conclude(); }, Math.max(3000, 10 * cost)); };

  // --- head ---

  // How it came to be paused, finished or cancelled, as its history has it.
  const why = {state: "", text: "", timer: null};
  async function learnWhy() {
    const state = study.sweep.state;
    if (why.state === state || why.timer || closed) return;
    Object.assign(why, {state, text: ""});
    if (state === "running") return;
    const items = [];
    try { await pages(`/v1/sweeps/${id}/history`, (some) => items.push(...some), {signal: study.stopped.signal}); } catch {
      if (why.state !== state || closed) return;
      why.state = "";
      why.timer = setTimeout(() => { why.timer = null; learnWhy(); }, 5000);
      return;
    }
    const last = items.filter((item) => item.what === state).at(-1);
    if (!last || why.state !== state || closed) return;
    why.text = `${sentence(last.text).replace(/\.$/, "")} (${last.who ? `${last.who}, ` : ""}${clock(last.time)}).`;
    header();
  }

  // Why nothing of it runs although it should: looked at when the head is drawn, then every five seconds.
  const held = {text: "", timer: null};
  async function learnWaiting() {
    const still = study.sweep.state === "running" && !study.sweep.counts.running;
    if (!still) held.text = "";
    if (!still || held.timer || closed) return;
    held.timer = setTimeout(() => { held.timer = null; learnWaiting(); }, 5000);
    if (document.hidden) return;
    const workers = [];
    try { await pages("/v1/workers", (some) => workers.push(...some), {signal: study.stopped.signal}); } catch { return; }
    const text = waiting(study.sweep, workers);
    if (closed || held.text === text) return;
    held.text = text;
    header();
  }

  async function act(what, path, body, question) {
    if (question && !await confirmed(`${what}?`, question, what, true)) return;
    try {
      study.sweep = await call("PATCH", path, body);
      study.tell();
      toast(`The sweep is ${study.sweep.state}.`);
    } catch (error) { toast(error.message, true); }
  }

  function ask(title, field, text, use) {
    return dialog(title, (close) => {
      const error = h("p", {class: "error", role: "alert"});
      const form = h("form", {}, h("p", {}, text), field, error, h("div", {class: "row end"},
        h("button", {type: "button", onclick: () => close(null)}, "Back"), h("button", {type: "submit", class: "primary"}, title)));
      form.addEventListener("submit", async (event) => {
        event.preventDefault();
        try { close(await use(field.value)); } catch (problem) {
          put(error, problem.errors?.length ? problem.errors.map((one) => h("div", {}, `${one.pointer} ${one.detail}`)) : problem.message);
        }
      });
      return form;
    });
  }

  async function extend() {
    const field = h("input", {type: "number", min: "1", step: "1", required: true, "aria-label": "run_cap",
      value: String((study.sweep.run_cap || study.progress.ended) + 10)});
    const sweep = await ask("Extend", field, "The number of trials that may be proposed or enqueued in all (run_cap):",
      (value) => call("PATCH", `/v1/sweeps/${id}`, {run_cap: Number(value)}));
    if (sweep) { study.sweep = sweep; study.tell(); toast(`run_cap is ${sweep.run_cap}.`); }
  }

  async function enqueue() {
    const best = study.sweep.best, field = h("textarea", {rows: "10", spellcheck: false, "aria-label": "Parameters as JSON"});
    field.value = JSON.stringify(best?.params || study.sweep.spec.baseline || {}, null, 2);
    const done = await ask("Enqueue", field, "A configuration as JSON. It is claimed before any proposal.", (value) => {
      try { JSON.parse(value); } catch (error) { throw new Error(`This is not JSON: ${error.message}`); }
      return call("POST", `/v1/sweeps/${id}/trials`, `{"params":${value}}`);
    });
    if (done) { study.take(done.items); study.tell(); toast(`Trial ${done.items[0].number} is queued.`); }
  }

  // The spec as the server keeps it, character by character.
  async function specText() {
    const text = await call("GET", `/v1/sweeps/${id}`, undefined, {raw: true}), [start, end] = locate(text).get("/spec");
    return text.slice(text.indexOf(":", start) + 1, end);
  }

  async function clone() {
    try {
      const text = await specText(), at = locate(text).get("/name"), name = `"name":${JSON.stringify(`${study.sweep.name} again`)}`;
      const named = at ? text.slice(0, at[0]) + name + text.slice(at[1]) : text.replace("{", () => `{${name},`);
      const sweep = await createSweep(`${indented(named)}\n`, "New sweep from this one");
      if (sweep) location.hash = `#/sweep/${sweep.id}`;
    } catch (error) { toast(error.message, true); }
  }

  async function edit() {
    try {
      const before = (await specText()).trim();
      const sweep = await specDialog({title: "Edit the spec", verb: "Change", text: `${indented(before)}\n`, prefix: "/spec",
        note: "Trials stay as they are, and stay evidence; what is proposed from then on keeps to this. "
          + "A new parameter needs a default: what the trials before it had.",
        send: (json) => call("PATCH", `/v1/sweeps/${id}`, `{"spec":${mergePatch(before, json)}}`)});
      if (sweep) {
        study.sweep = sweep;
        study.version++;
        if (current.name === "spec") { const now = current; close(); current = null; go({tab: now.name, query}); }
        study.tell();
        toast(`This is version ${sweep.spec_version} of the spec.`);
      }
    } catch (error) { toast(error.message, true); }
  }

  async function report() {
    try {
      save(`${file("report")()}.html`, "text/html", await call("GET", `/v1/sweeps/${id}/report?format=html`, undefined, {raw: true}));
    } catch (error) { toast(error.message, true); }
  }

  async function exportAs(format, type) {
    try {
      const text = await call("GET", `/v1/sweeps/${id}/export?format=${format}`, undefined, {raw: true});
      save(`${file("trials")()}.${format}`, type, text);
    } catch (error) { toast(error.message, true); }
  }

  function header() {
    const sweep = study.sweep, path = `/v1/sweeps/${id}`, {ended, total} = study.progress,
      best = sweep.best, interval = answer.best?.posterior, others = answer.best?.within_noise,
      better = answer.best?.recommended && answer.best.recommended.id !== best?.id ? answer.best.recommended : null, stage = sweep.stage,
      button = (text, onclick, more = {}) => h("button", {type: "button", onclick, ...more}, text);
    const counts = Object.entries(sweep.counts).filter(([, n]) => n > 0);
    document.title = `${sweep.name || id} · sweepd`;
    learnWhy();
    learnWaiting();
    put(top, h("div", {class: "row head"}, h("h1", {}, sweep.name || id), pill(sweep.state), h("span", {class: "soft"}, sweep.method),
      h("span", {class: "grow"}), h("span", {class: "row actions"},
      sweep.state === "running" ? button("Pause", () => act("Pause", path, {state: "paused"}))
        : sweep.state === "paused" ? button("Resume", () => act("Resume", path, {state: "running"}), {class: "primary"}) : null,
      sweep.state !== "cancelled" ? [button("Edit", edit, {title: "Bounds, values, parameters, stages to come"}), button("Extend", extend),
        button("Enqueue", enqueue)] : null, button("Clone", clone), button("Report", report, {title: "The study as one HTML file"}),
      sweep.state === "running" || sweep.state === "paused" ? button("Cancel", () => act("Cancel the sweep", path, {state: "cancelled"},
        "Its trials are abandoned, and it cannot go on afterwards."), {class: "danger"}) : null)),
    sweep.spec.description ? h("p", {class: "note head"}, sweep.spec.description) : null,
    h("div", {class: "cards"},
      h("section", {class: "card", "data-card": "progress"}, h("h2", {}, "Progress"),
        h("div", {class: "stat"}, `${ended}${total ? ` of ${total}` : ""}`, h("span", {class: "soft"}, " trials")), progressBar(study),
        h("div", {class: "row"}, counts.map(([state, n]) => h("span", {}, pill(state), ` ${n}`))),
        h("p", {class: "note"}, sweep.eta_s ? `About ${duration(sweep.eta_s)} left. ` : "",
          stage && study.stages ? `Stage ${stage.index + 1} of ${study.stages.length}: ${stage.method}`
            + `${stage.total ? `, ${stage.proposed} of ${stage.total} proposed` : ""}. ` : "",
          `Created ${clock(sweep.created)}. `, why.text),
        held.text ? h("p", {class: "note", "data-waits": ""}, h("a", {href: "#/workers"}, held.text)) : null),
      h("section", {class: "card", "data-card": "best"}, h("h2", {}, `Best ${study.metricName}`), best ? [
        h("div", {class: "stat"}, num(best.value), h("span", {class: "soft"}, "  "),
          h("a", {href: `#/trial/${best.id}`, class: "note"}, `trial ${best.number}`)),
        elsewhere(best) ? h("p", {class: "note"}, elsewhere(best)) : null,
        interval ? h("p", {class: "note"}, better ? ["The model recommends ",
          h("a", {href: `#/trial/${better.id}`}, `trial ${better.number}`), ` (observed ${num(better.value)}). `] : "",
          `Without the noise of a single trial${better ? " that is" : ":"} ${num(interval.mean, 4)}, `
          + `between ${num(interval.low, 4)} and ${num(interval.high, 4)} (95 %).`)
          : null,
        others ? h("p", {class: "note"},
          `${others} other configuration${others === 1 ? " is" : "s are"} better with a chance of 5 % or more.`
          + (answer.best.recommend_repeats ? " Repeats would tell them apart." : ""))
          : null,
        pairs(Object.entries(flat(best)).slice(0, 10).map(([name, value]) => [name, h("code", {}, num(value))]))] : h("p", {class: "soft"},
          study.noValue))));
  }

  function stagesCard(stage) {
    const all = [...(stage.before || []), stage];
    return h("section", {class: "card wide", "data-card": "stages"}, h("h2", {}, "Stages"),
      h("ol", {class: "stages"}, study.stages.map((one, place) => {
      const known = all.find((candidate) => candidate.index === place);
      return h("li", {}, h("h3", {}, `${place + 1} ${one.method}`,
        h("span", {class: "soft"}, known ? ` ${known.proposed}${known.total ? ` of ${known.total}` : ""} proposed` : " to come")),
        known ? concluded(study, known, all, noise()).map((words) => h("p", {class: "note"}, words)) : null);
    })));
  }

  // --- tabs ---

  const select = (label, onchange) => h("select", {"aria-label": label, onchange: (event) => onchange(event.target.value)});

  function overview() {
    const view = {by: "", stage: null, order: []}, told = h("div", {class: "told wide"}),
      brushed = h("p", {class: "note row", hidden: true});
    const by = select("colour", (value) => { view.by = value; plot.draw(); }),
      stage = select("stage", (value) => { view.stage = value === "" ? null : Number(value); plot.draw(); });
    const hover = new ParallelHover(study, view, open);
    const plot = new Plot({title: "Parallel coordinates", name: "parallel", wide: true, height: 440, fileName: file("parallel"),
      build: draw.parallel(study, view), controls: [h("label", {}, "colour", by), h("label", {}, "stage", stage)],
      onChart: (chart, self) => {
        hover.attach(chart, self);
        chart.on("axisareaselected", () => {
          const model = chart.getModel().getSeriesByIndex(1), active = model.getRawIndicesByActiveState("active"),
            any = active.length < view.order.length && model.getRawIndicesByActiveState("normal").length === 0;
          const trials = active.map((place) => view.order[place]).filter(Boolean);
          hover.only = any ? new Set(trials) : null;
          put(brushed, `${trials.length} of ${view.order.length} trials lie in the brushed ranges.`,
            h("button", {type: "button", class: "quiet", onclick: () => {
              location.hash = address("trials");
              setTimeout(() => current.brush?.(new Set(trials.map((trial) => trial.id))));
            }}, "List them"),
            h("button", {type: "button", class: "quiet",
              onclick: () => { brushed.hidden = true; hover.only = null; plot.draw(); }}, "Clear"));
          brushed.hidden = !any;
        });
      }});
    plot.onDrawn = () => {
      hover.forget();
      main.dataset.firstPlot ??= String(Math.round(performance.now() - began));
      requestAnimationFrame(() => setTimeout(() => { main.dataset.firstPlotAt ??= String(Math.round(performance.now())); }));
    };
    plot.area.after(brushed);
    const past = new Plot({title: "Optimisation history", name: "history", wide: true, height: 340, fileName: file("history"),
      build: draw.history(study, noise), onChart: (chart) => chart.on("click", ({data}) => { if (data?.trial) open(data.trial); })});
    return {plots: [plot, past], element: h("div", {class: "plots"}, told, plot.element, past.element),
      update() {
        put(told, study.sweep.stage && study.stages ? stagesCard(study.sweep.stage) : null);
        told.hidden = !told.firstChild;
        offer(by, [["", study.metricName], ...study.axes.map((one) => [one.name, one.name])]);
        offer(stage, [["", "all"], ...(study.stages || []).map((_, place) => [String(place), study.stageName(place)])]);
        stage.parentElement.hidden = !study.stages;
        if (!brushed.hidden) return; // a brush is not taken away by news; the history goes on
        plot.draw();
      }, after() { past.draw(); }};
  }

  function analysis() {
    const view = {a: "", b: "", mean: false}, cut = {a: "", b: "", answer: undefined, asked: ""};
    const ofat = new Plot({title: "One factor at a time", name: "ofat", fileName: file("ofat"), build: draw.ofat(study, noise),
      onChart: (chart) => chart.on("click", ({data}) => { if (data?.one) open(data.one.trial); })});
    const a = select("across", (value) => { view.a = value; heat.draw(); }), b = select("up", (value) => { view.b = value; heat.draw(); });
    const pairOf = h("span", {class: "row"}, a, "×", b), axesOf = h("span", {class: "row"});
    const heat = new Plot({title: "Heat map", name: "heat", fileName: file("heat"), build: draw.heat(study, view), controls: [pairOf,
      choice("show", [["best", "best"], ["mean", "mean"]], (value) => { view.mean = value === "mean"; heat.draw(); }, "best")]});
    const importance = new Plot({title: "Importance", name: "importance", fileName: file("importance"), height: 220, build: (theme, size) =>
      answer.importance === undefined ? {empty: "Asking the server…"} : draw.importance(answer.importance)(theme, size)});
    const one = select("parameter", (value) => { cut.a = value; fetchSlice(); }),
      two = select("second parameter", (value) => { cut.b = value; fetchSlice(); });
    const slice = new Plot({title: "Slice of the model", name: "slice", fileName: file("slice"),
      build: (theme, size) => cut.answer === undefined ? {empty: "Asking the server…"} : draw.slice(study, cut.answer)(theme, size),
      controls: [axesOf], onChart: (chart) => chart.on("click", ({data}) => { if (data?.trial) open(data.trial); })});

    axesOf.append(one, "×", two);

    async function fetchSlice() {
      const first = cut.a || one.value, second = cut.b && cut.b !== first ? cut.b : "";
      if (!first) { cut.answer = {points: [], detail: "No parameter varies yet."}; slice.draw(); return; }
      const path =
        `/v1/sweeps/${id}/slice?parameter=${encodeURIComponent(first)}${second ? `&parameter2=${encodeURIComponent(second)}` : ""}`;
      cut.asked = path;
      const got = await getIfThere(path, {signal: study.stopped.signal}).catch((error) => ({problem: error.message}));
      if (cut.asked !== path || closed) return;
      cut.answer = got;
      slice.draw();
    }

    let ended = -1;
    const plots = [...(draw.sensitivity(study) ? [ofat] : []), importance, slice, heat];
    return {plots, element: h("div", {class: "plots"}, plots.map((plot) => plot.element)), update() {
      const {axes} = draw.gridAxes(study);
      offer(a, axes.map((axis) => [axis.name, axis.name]));
      offer(b, axes.map((axis) => [axis.name, axis.name]));
      if (!view.b && axes.length > 1) { view.a = axes[0].name; view.b = axes[1].name; b.value = view.b; }
      offer(one, study.axes.map((axis) => [axis.name, axis.name]));
      offer(two, [["", "–"], ...study.axes.map((axis) => [axis.name, axis.name])]);
      pairOf.hidden = axes.length < 2;
      axesOf.hidden = !study.axes.length;
      for (const plot of plots) plot.draw();
      if (study.progress.ended !== ended || (!cut.asked && one.value)) { ended = study.progress.ended; fetchSlice(); }
    }};
  }

  function curvesTab() {
    // series: id → Map(name → points)
    const view = {name: "", x: "step", weight: 0, log: false}, series = new Map(), list = h("div", {class: "row"});
    const name = select("metric", (value) => { view.name = value; plot.draw(); }), amount = h("output", {}, "0");
    const plot = new Plot({title: "Training curves", name: "curves", wide: true, height: 440,
      fileName: () => file(`curves-${view.name.replaceAll("/", "-")}`)(), build: (theme) => draw.curves(study, lines(), view)(theme),
      controls: [h("label", {}, "metric", name),
      choice("over", [["step", "step"], ["epoch", "epoch"], ["time", "time"]], (value) => { view.x = value; plot.draw(); }, "step"),
      h("label", {}, "smoothing", h("input", {type: "range", min: "0", max: "0.98", step: "0.02", value: "0", "aria-label": "smoothing",
        oninput: (event) => { view.weight = Number(event.target.value); amount.textContent = event.target.value; plot.draw(); }}), amount),
      h("label", {}, h("input", {type: "checkbox", onchange: (event) => { view.log = event.target.checked; plot.draw(); }}), "log")]});
    const trials = () => [...chosen].map((number) => study.byNumber(number)).filter(Boolean).slice(0, 16);
    const lines = () => trials().map((trial) => ({trial, points: series.get(trial.id)?.get(view.name) || []}));
    const rank = () => [...study.valued].sort((p, q) => study.better(p.value, q.value) ? -1 : 1).slice(0, 5);
    const use = (some) => { pick(some.map((trial) => trial.number)); refresh(); };

    async function refresh() {
      put(list, h("span", {class: "soft"}, chosen.size ? "Trials:" : study.loaded ? "No trial is chosen." : "Loading…"),
        trials().map((trial) => h("span", {class: "chip"}, h("a", {href: `#/trial/${trial.id}`}, String(trial.number)),
          h("button", {type: "button", class: "quiet", "aria-label": `Leave out trial ${trial.number}`,
            onclick: () => { chosen.delete(trial.number); pick([...chosen]); refresh(); }}, "×"))),
        h("button", {type: "button", onclick: () => use(rank())}, "The best five"), h("button",
          {type: "button", onclick: () => use(study.trials.filter((trial) => trial.state === "running").slice(0, 8))}, "Those running"),
        h("a", {href: address("trials")}, "Choose in the list"));
      await Promise.all(trials().filter((trial) => !series.has(trial.id) || (!isEnded(trial) && !live)).map(async (trial) => {
        const got = await metricsOf(trial.id, study.stopped.signal).catch(() => null);
        if (got) series.set(trial.id, got);
      }));
      if (closed) return;
      const names = [...new Set(trials().flatMap((trial) => [...(series.get(trial.id)?.keys() || [])]))].sort((p, q) =>
        (q === study.metricName) - (p === study.metricName) || p.localeCompare(q));
      offer(name, names.map((one) => [one, one]));
      if (!names.includes(view.name)) view.name = names[0] || "";
      name.value = view.name;
      plot.draw();
    }

    const point = (data) => {
      const one = series.get(data.trial);
      if (!one) return;
      if (!one.has(data.name)) one.set(data.name, []);
      const points = one.get(data.name), last = points.at(-1);
      if (last && last.step >= data.step) {
        const place = points.findIndex((candidate) => candidate.step >= data.step);
        points.splice(place, points[place].step === data.step ? 1 : 0, data);
      } else points.push(data);
      if (data.name === view.name) plot.later ??= setTimeout(() => { plot.later = null; plot.draw(); }, 300);
    };
    study.metrics.add(point);
    let first = true;
    return {plots: [plot], element: h("div", {class: "plots"}, h("section", {class: "card wide"}, list), plot.element), update() {
      if (first && study.loaded && study.valued.length) {
        first = false;
        if (!chosen.size) pick(rank().map((trial) => trial.number));
      }
      refresh();
    }, leave: () => study.metrics.delete(point)};
  }

  function timeline() {
    const workers = new Plot({title: "Trials by worker", name: "workers", wide: true,
      fileName: file("workers"), build: draw.workersTimeline(study, context.names),
      onChart: (chart) => chart.on("click", ({data}) => { if (data?.trial) open(data.trial); })});
    const stages = new Plot({title: "Stages", name: "stages", wide: true, height: 180, fileName: file("stages"),
      build: draw.stagesTimeline(study)}), table = h("section", {class: "card wide scroll"});
    const plots = study.stages ? [stages, workers] : [workers];
    return {plots, element: h("div", {class: "plots"}, plots.map((plot) => plot.element), table), update() {
      context.learnNames();
      for (const plot of plots) plot.draw();
      const found = new Map();
      for (const trial of study.trials) {
        if (!trial.worker) continue;
        const one = found.get(trial.worker) || {id: trial.worker, n: 0, failed: 0, time: 0, timed: 0, running: 0};
        if (isEnded(trial)) one.n++; else one.running++;
        if (trial.state === "failed") one.failed++;
        const took = seconds(trial);
        if (took !== null && trial.state === "completed") { one.time += took; one.timed++; }
        found.set(trial.worker, one);
      }
      table.hidden = !found.size;
      put(table, h("h2", {}, "Workers of this sweep"), h("table", {}, h("thead", {}, h("tr", {},
        ["worker", "running", "ended", "failed", "mean time", "speed"].map((title, place) => h("th", {class: place ? "num" : ""}, title)))),
        h("tbody", {}, [...found.values()].map((one) => h("tr", {}, h("td", {}, context.names().get(one.id) || one.id),
          [one.running, one.n, one.failed, one.timed ? duration(one.time / one.timed) : "–",
            one.time ? `${num(3600 * one.timed / one.time, 3)} trials/h` : "–"].map((cell) => h("td", {class: "num"}, String(cell))))))));
    }};
  }

  function trialsTab() {
    const side = h("section", {class: "card", hidden: true, "data-card": "comparison"});
    const compare = (ids) => {
      const trials = ids.map((one) => study.byId(one)).filter(Boolean);
      side.hidden = trials.length < 2 || trials.length > 5;
      if (!side.hidden) put(side, h("div", {class: "row"}, h("h2", {}, "Side by side"), h("span", {class: "grow"}),
        h("a", {href: address("curves")}, "Their curves")), comparison(study, trials));
    };
    const table = new TrialTable(study,
      {onOpen: open, names: context.names, selected: [...chosen].map((number) => study.byNumber(number)?.id).filter(Boolean),
      onSelect: (ids, show) => {
        pick(ids.map((one) => study.byId(one).number));
        compare(ids);
        if (show) side.scrollIntoView({block: "nearest"});
      }});
    table.search.value = words;
    table.search.addEventListener("input", () => { words = table.search.value; history.replaceState(null, "", address()); links(); });
    return {plots: [], element: h("div", {class: "cards single"}, h("section", {class: "card"}, h("div", {class: "row actions"},
      h("span", {class: "soft"}, "All trials as"), h("button", {type: "button", onclick: () => exportAs("csv", "text/csv")}, "CSV"),
      h("button", {type: "button", onclick: () => exportAs("json", "application/json")}, "JSON"),
      h("button", {type: "button", onclick: () => exportAs("jsonl", "application/x-ndjson")}, "JSON lines")), table.element), side),
      brush(ids) { table.brushed = ids; table.draw(); }, update() { table.draw(); }, after() { if (table.selected.size) table.changed(); }};
  }

  function spec() {
    const text = h("pre", {tabindex: "0", class: "whole"}, "Loading…"), more = Object.entries(study.sweep)
      .filter(([key, value]) => !["spec", "best", "counts", "stage", "name"].includes(key) && value !== null && typeof value !== "object");
    specText().then((typed) => { text.textContent = indented(typed.trim()); }, (error) => { text.textContent = error.message; });
    return {plots: [], element: h("div", {class: "cards"}, h("section", {class: "card"},
      h("div", {class: "row"}, h("h2", {}, "Spec"), h("span", {class: "grow"}), h("button", {type: "button", onclick: async () => {
        try {
          save(`${file("spec")()}.json`, "application/json", `${indented(await specText())}\n`);
        } catch (error) { toast(error.message, true); }
      }}, "Download")), text),
      h("section", {class: "card"}, h("h2", {}, "Sweep"),
        pairs(more.map(([key, value]) => [key.replaceAll("_", " "), h("code", {}, key === "created" ? clock(value) : String(value))])))),
      update() {}};
  }

  const makers = {overview, analysis, curves: curvesTab, timeline, trials: trialsTab, spec, history: () => historyView(study)};

  function links() {
    put(tabs, TABS.map(([name, title]) => h("a", {href: address(name), "aria-current": name === current?.name ? "page" : null}, title)));
    const now = tabs.querySelector("[aria-current]");
    if (now) tabs.scrollLeft = now.offsetLeft - tabs.offsetLeft - 60; // on a phone they do not all fit
  }

  function close() {
    current?.leave?.();
    for (const plot of current?.plots || []) plot.remove();
  }

  function go({tab: name = "overview", query: now}) {
    query = now;
    if (current?.name === name) return;
    close();
    current = {name: Object.hasOwn(makers, name) ? name : "overview"};
    current = {...makers[current.name](), name: current.name};
    links();
    put(body, current.element);
    current.update();
    current.after?.();
  }

  // --- life ---

  let live = false;
  study.listeners.add(() => {
    if (closed) return;
    if (study.gone) {
      close();
      current = null;
      closed = true;
      study.stop();
      context.live("");
      put(main,
        h("section", {class: "card empty"}, h("h2", {}, "This sweep was deleted"), h("p", {}, h("a", {href: "#/sweeps"}, "All sweeps"))));
      return;
    }
    header();
    if (!current) return;
    current.update();
    if (current.name === "overview") current.after();
    if (study.loaded) soon();
  });
  study.follow((state) => { live = state === "live"; if (!closed) context.live(state); });
  const loading = study.load();
  loading.catch(() => { if (!study.ready) { closed = true; study.stop(); } });
  await new Promise((resolve, reject) => {
    const wait = () => { if (study.ready) { study.listeners.delete(wait); resolve(); } };
    study.listeners.add(wait);
    loading.then(resolve, reject);
  });
  go({tab, query});
  loading.then(() => {
    if (closed) return;
    if (current.name === "trials") { close(); current = null; go({tab: "trials", query}); }
    conclude();
  }, (error) => {
    if (closed) return;
    toast(error.message, true);
    setTimeout(() => { if (!closed) { study.loaded = true; study.reload(); } }, 3000);
  });
  return {go,
    leave: () => { closed = true; clearTimeout(timer); clearTimeout(held.timer); clearTimeout(why.timer); close(); study.stop(); }};
}
