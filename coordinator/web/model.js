// A sweep and its trials as the page holds them, and what plots ask of them: axes, values, what was best.
import {get, pages, stream} from "./api.js";
import {num, sentence, throttle} from "./dom.js";

const ENDED = new Set(["completed", "stopped", "failed", "cancelled"]);
export const isEnded = (trial) => ENDED.has(trial.state);

// {"a": {"b": 1}} → {"a.b": 1}; kept with the trial.
export function flat(trial) {
  if (!trial.flat) {
    trial.flat = {};
    (function walk(prefix, object) {
      for (const [key, value] of Object.entries(object)) {
        if (value && typeof value === "object" && !Array.isArray(value)) walk(`${prefix}${key}.`, value);
        else trial.flat[prefix + key] = value;
      }
    })("", trial.params || {});
  }
  return trial.flat;
}

// The spec's parameters by dotted name.
function specParameters(spec) {
  const found = {};
  (function walk(prefix, parameters) {
    for (const [name, parameter] of Object.entries(parameters || {})) {
      if (parameter && parameter.parameters) walk(`${prefix}${name}.`, parameter.parameters);
      else found[prefix + name] = parameter || {};
    }
  })("", spec.parameters);
  return found;
}

const label = (value) => typeof value === "string" ? value : JSON.stringify(value);
const isLog = (parameter) => /log/.test(parameter?.distribution || "");

// One axis a parameter: {name, kind: "linear" | "log" | "category", labels, min, max, distinct, at(trial)}. `at` gives the number to
// plot (the label's index on a category), NaN where the trial does not have the parameter.
// fallback: what trials of before the parameter count as having had.
function makeAxis(name, parameter, trials, fallback) {
  const of = (trial) => flat(trial)[name] ?? fallback;
  const seen = new Map();
  let numeric = true, min = Infinity, max = -Infinity;
  const see = (value) => {
    if (value === undefined) return;
    if (typeof value === "number") { min = Math.min(min, value); max = Math.max(max, value); } else numeric = false;
    if (seen.size < 200 && !seen.has(label(value))) seen.set(label(value), seen.size);
  };
  for (const value of parameter?.values || []) see(value);
  const planned = seen.size;
  for (const trial of trials) see(of(trial));
  if (!numeric) {
    const labels = [...seen.keys()];
    return {name, kind: "category", labels, distinct: labels.length, at: (trial) => seen.get(label(of(trial))) ?? NaN};
  }
  // how it is drawn says how it is shown; of a list or what nobody described, its range
  const drawn = parameter && (parameter.distribution || "min" in parameter);
  const log = min > 0 && (drawn ? isLog(parameter) : max / min >= 100);
  return {name, kind: log ? "log" : "linear", labels: null, min, max, distinct: seen.size, planned,
    at: (trial) => of(trial) ?? NaN};
}

export class Study {
  constructor(id) {
    this.id = id;
    this.sweep = null;
    this.trials = [];
    this.index = new Map(); // id → place in trials
    this.version = 0;       // grows with every change of trials
    this.metrics = new Set(); // told of metric points: f({trial, name, step, epoch, value, time})
    this.listeners = new Set();
    this.cursor = null;
    this.loaded = false;
    this.ready = false;     // the sweep and the first of its trials are there
    this.stopped = new AbortController();
    // Large sweeps are drawn less often, so that drawing never takes most of the time.
    this.changed = throttle(() => this.tell(), () => 200 + Math.min(2500, this.trials.length / 4));
  }

  // --- loading and staying up to date ---

  // To miss nothing, events are followed first; a trial that they told of is newer than the page that it is on.
  async load() {
    const signal = this.stopped.signal;
    this.told = new Set();
    // few, so that the first plot is there soon
    const [sweep, first] = await Promise.all([get(`/v1/sweeps/${this.id}`, {signal}),
      get(`/v1/sweeps/${this.id}/trials?limit=200`, {signal})]);
    this.sweep = this.newer || sweep;
    this.take(first.items.filter((trial) => !this.told.has(trial.id)));
    this.ready = true;
    this.tell();
    if (first.next) this.cursor = await pages(`/v1/sweeps/${this.id}/trials`,
      (items) => { this.take(items.filter((trial) => !this.told.has(trial.id))); this.changed(); }, {after: first.next, signal});
    this.loaded = true;
    this.told = null;
    this.tell();
  }

  // onState("live" | "polling" | "off")
  follow(onState) {
    this.unfollow = stream(`/v1/events?sweep=${this.id}`, (type, data) => this.event(type, data), (state) => {
      onState(state === "live" ? "live" : state === "none" ? "polling" : "off");
      if (state === "live" && this.missed && this.loaded) this.reload();
      this.missed = state !== "live";
      if (state === "none") this.poll(onState);
    });
  }

  stop() {
    this.stopped.abort();
    this.unfollow?.();
    this.listeners.clear();
    this.metrics.clear();
  }

  event(type, data) {
    if (type === "trial" && data.sweep === this.id) { this.told?.add(data.id); this.take([data]); this.changed(); }
    else if (type === "sweep" && data.id === this.id) { this[this.ready ? "sweep" : "newer"] = data; this.changed(); }
    else if (type === "metric" && data.sweep === this.id) for (const listener of this.metrics) listener(data);
    else if (type === "deleted" && data.sweep === this.id) { this.gone = true; this.tell(); }
    else if (type === "reset") this.reload();
  }

  async reload() {
    const signal = this.stopped.signal;
    this.told ??= new Set();
    try {
      this.sweep = await get(`/v1/sweeps/${this.id}`, {signal});
      await pages(`/v1/sweeps/${this.id}/trials`, (items) => this.take(items.filter((trial) => !this.told?.has(trial.id))), {signal});
    } catch { return; } finally {
      if (this.loaded) this.told = null;
    }
    this.changed();
  }

  // Without events: the sweep every two seconds; its open trials, those that were open, and the newest page when something moved.
  async poll(onState) {
    const signal = this.stopped.signal;
    for (let before = null; !signal.aborted;) {
      await new Promise((resolve) => setTimeout(resolve, document.hidden ? 10000 : 2000));
      if (signal.aborted) return;
      try {
        const sweep = await get(`/v1/sweeps/${this.id}`, {signal});
        const now = JSON.stringify([sweep.counts, sweep.best?.id, sweep.state]);
        this.sweep = sweep;
        if (this.loaded && (now !== before || sweep.counts.running > 0)) await this.refreshOpen(signal);
        if (now !== before) this.changed();
        before = now;
        onState("polling");
      } catch (error) {
        if (signal.aborted) return;
        onState("off");
      }
    }
  }

  async refreshOpen(signal) {
    const open = new Set(this.trials.filter((trial) => !isEnded(trial)).map((trial) => trial.id));
    this.cursor = await pages(`/v1/sweeps/${this.id}/trials`,
      (items) => { for (const item of items) open.delete(item.id); this.take(items); }, {after: this.cursor, signal});
    await pages(`/v1/sweeps/${this.id}/trials?state=running`,
      (items) => { for (const item of items) open.delete(item.id); this.take(items); }, {signal});
    for (const id of [...open].slice(0, 50)) this.take([await get(`/v1/trials/${id}`, {signal})]);
    this.changed();
  }

  take(items) {
    let sorted = true;
    for (const trial of items) {
      const place = this.index.get(trial.id);
      if (place !== undefined) { this.trials[place] = trial; continue; }
      sorted &&= !this.trials.length || this.trials.at(-1).number < trial.number;
      this.index.set(trial.id, this.trials.length);
      this.trials.push(trial);
    }
    if (!sorted) {
      this.trials.sort((a, b) => a.number - b.number);
      this.trials.forEach((trial, place) => this.index.set(trial.id, place));
    }
    this.version++;
  }

  // Nobody is shown the few trials of the first events alone.
  tell() { if (this.ready || this.gone) for (const listener of this.listeners) listener(this); }

  // --- questions ---

  get metricName() { return this.sweep.spec.metric?.name || "value"; }
  get maximize() { return this.sweep.spec.metric?.goal === "maximize"; }
  better(a, b) { return this.maximize ? a > b : a < b; }
  byNumber(number) { return this.trials.find((trial) => trial.number === number); }
  byId(id) { return this.trials[this.index.get(id)]; }
  get valued() { return this.memo("valued", () => this.trials.filter((trial) => trial.value !== null && isEnded(trial))); }
  // Why there is nothing to draw.
  get noValue() {
    const {counts, state} = this.sweep, over = state === "finished" || state === "cancelled";
    return `No trial has a value${over ? "" : " yet"}${counts.failed ? `: ${counts.failed} failed` : ""}.`;
  }
  get fixedOnly() { return this.axes.length === 0; }

  memo(key, make) {
    this.memos ??= {};
    if (this.memos[key]?.version !== this.version) this.memos[key] = {version: this.version, value: make()};
    return this.memos[key].value;
  }

  get parameters() { return specParameters(this.sweep.spec); }

  // Parameters with at least two values, in the spec's order, then as they were first met.
  get axes() {
    return this.memo("axes", () => {
      const spec = this.parameters, names = new Set(Object.keys(spec));
      for (const trial of this.trials) for (const name of Object.keys(flat(trial))) names.add(name);
      const conditional = new Set((this.sweep.spec.conditions || []).map((one) => one.parameter));
      return [...names].map((name) => makeAxis(name, spec[name], this.trials, conditional.has(name) ? undefined : spec[name]?.default))
        .filter((axis) => axis.distinct > 1);
    });
  }

  get stages() { return this.sweep.spec.stages || null; }
  stageName(index) {
    const method = this.stages?.[index]?.method || this.sweep.method;
    return this.stages ? `${index + 1} ${method}` : method;
  }

  // Done and expected trials. total is null when nobody can know it.
  get progress() {
    const {counts, run_cap: cap, stage} = this.sweep;
    const ended = counts.completed + counts.stopped + counts.failed + counts.cancelled, all = ended + counts.queued + counts.running;
    if (this.sweep.state === "finished" || this.sweep.state === "cancelled") return {ended, total: all};
    let total = cap;
    if (!total && stage?.before)
      total = [...stage.before, stage].reduce((sum, one) => sum === null || (one.total ?? null) === null ? null : sum + one.total, 0);
    return {ended, total: total ? Math.max(total, all) : null};
  }
}

// --- in words ---------------------------------------------------------------------------------------------------

const SOURCES = {
  user: "A person enqueued this configuration.",
  random: "It was drawn at random from the search space.",
  sobol: "It is the next point of a Sobol sequence, which fills the space evenly.",
  grid: "It is the next point of the grid.",
  baseline: "It is the baseline, which the others of this stage are compared with.",
  ofat: "One factor at a time: everything else is at the baseline.",
  gp: "The model expected the largest improvement here.",
  repeat: "It repeats a configuration, as each is evaluated more than once.",
  confirm: "It repeats one of the best configurations with a fresh seed.",
  exploit: "It repeats the configuration that the model holds for the best.",
  fallback: "The model could not be used, so that it was chosen without it.",
};

// Of a trial that this sweep did not run: where its value is from.
export function elsewhere(trial) {
  const p = trial?.proposal;
  if (p?.source === "import") return "It was not run here: it was evaluated elsewhere and imported.";
  if (p?.source !== "warm_start") return "";
  return p.sweep ? `It was not run here: the warm start brought trial ${p.number} of sweep ${p.sweep}.`
    : "It was not run here: the sweep's warm start told its value.";
}

export function whyProposed(trial, study) {
  const p = trial.proposal;
  if (!p) return ["Nothing was recorded about where this configuration comes from."];
  const words = [elsewhere(trial) || SOURCES[p.source] || `Its source is “${p.source}”.`];
  if (p.source === "ofat") words.push(`The factor changed is ${p.factor}, to ${label(p.level)}.`);
  if (p.source === "grid" && p.index !== undefined) words.push(`It is number ${p.index + 1} of the grid.`);
  if (p.of !== undefined) words.push(`The configuration is that of trial ${p.of}${p.repeat === undefined ? "" : `, repeat ${p.repeat}`}.`);
  if (p.why) words.push(sentence(p.why));
  if (typeof p.mean === "number") {
    words.push(`The model predicted ${study?.metricName || "the metric"} of ${num(p.mean)} ± ${num(p.sd, 2)}` +
      (typeof trial.value === "number"
        ? `; it became ${num(trial.value)}${p.sd > 0 ? ` (${num((trial.value - p.mean) / p.sd, 2)} standard deviations off)` : ""}.`
        : "."));
  }
  if (typeof p.log_ei === "number") words.push(`The expected improvement, as a logarithm: ${num(p.log_ei, 3)}.`);
  if (p.length_scales) words.push(
    "The model's length scales, as shares of the ranges; the shorter, the more it matters: "
    + `${Object.entries(flat({params: p.length_scales})).sort((a, b) => a[1] - b[1])
      .map(([name, value]) => `${name} ${num(value, 3)}`).join(", ")}.`);
  const known = new Set(["source", ...(p.source === "warm_start" ? ["sweep", "trial", "number"] : []), "factor", "level", "index", "why",
    "mean", "sd", "of", "repeat", "log_ei", "length_scales"]);
  for (const [key, value] of Object.entries(flat({params: p}))) if (!known.has(key.split(".")[0]))
    words.push(`${key.replaceAll("_", " ")}: ${num(value)}`);
  return words;
}

// A trial's filter: words like state:failed, stage:2, worker:w1, lr<1e-4, value>=0.8, dropout=0.1; others are searched in all fields.
export function makeFilter(text) {
  const tests = text.trim().split(/\s+/).filter(Boolean).map((word) => {
    const colon = word.match(/^(state|stage|worker|source|reason):(.*)$/i);
    if (colon) {
      const [, key, wanted] = colon;
      return (trial) => String(key === "source" ? trial.proposal?.source : key === "stage" ? trial.stage + 1 : trial[key] ?? "")
        .toLowerCase().startsWith(wanted.toLowerCase());
    }
    const compare = word.match(/^([^<>=!]+)(<=|>=|!=|=|<|>)(.+)$/);
    if (compare) {
      const [, name, operator, wanted] = compare, number = Number(wanted);
      return (trial) => {
        const value = name === "value" || name === "number" || name === "attempt" ? trial[name] : flat(trial)[name];
        if (value === undefined || value === null) return false;
        if (operator === "=") return typeof value === "number" ? value === number : label(value) === wanted;
        if (operator === "!=") return typeof value === "number" ? value !== number : label(value) !== wanted;
        return operator === "<" ? value < number : operator === ">" ? value > number : operator === "<=" ? value <= number
          : value >= number;
      };
    }
    const plain = word.toLowerCase();
    return (trial) => [trial.number, trial.id, trial.state, trial.worker || "", trial.reason || "", trial.proposal?.source || "",
      JSON.stringify(trial.params)].join(" ").toLowerCase().includes(plain);
  });
  return (trial) => tests.every((test) => test(trial));
}
