// What each plot draws: pure functions from data to ECharts options. {empty: "…"} says why there is nothing to draw.
import * as echarts from "./echarts-6.1.0.js";
import {axis, rows} from "./chart.js";
import {flat, isEnded} from "./model.js";
import {duration, num, seconds, sentence} from "./dom.js";

const trialTip = (study, trial, more = []) => rows(`Trial ${trial.number} · ${trial.state}`, [
  [study.metricName, num(trial.value)], ...more, ...study.axes.slice(0, 12).map((one) => [one.name, num(flat(trial)[one.name])])]);
export {trialTip};

// The range in which most values lie: a diverged trial must not make all others look the same.
function robustRange(values) {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  if (!sorted.length) return [0, 1];
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  const spread = at(.95) - at(.05), low = Math.max(sorted[0], at(.05) - 1.5 * spread),
    high = Math.min(sorted.at(-1), at(.95) + 1.5 * spread);
  return low < high ? [low, high] : around(sorted[0]);
}

// One value needs some room on its axis.
const around = (value) => { const room = Math.abs(value) * .05 || .5; return [value - room, value + room]; };

// --- parallel coordinates -----------------------------------------------------------------------------------------

const NOT_SET = "not set";

// An axis of which some trials have no value (its condition does not hold for them) gets a place for them, so that no line crosses it as if
// it had one.
function withNone(one, trials) {
  if (!trials.some((trial) => Number.isNaN(one.at(trial)))) return one;
  if (one.kind === "category") return {...one, raw: one, labels: [...one.labels, NOT_SET],
    at: (trial) => { const v = one.at(trial); return Number.isNaN(v) ? one.labels.length : v; }};
  const none = one.kind === "log" ? one.min * (one.min / one.max) ** .12 : one.min - .12 * (one.max - one.min || 1);
  return {...one, raw: one, none, at: (trial) => { const v = one.at(trial); return Number.isNaN(v) ? none : v; }};
}

// The axes drawn: every parameter that varies, then the metric.
export const parallelAxes = (study) => study.memo("parallel", () => {
  const [min, max] = study.valued.reduce(([a, b], {value}) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
  const metric = {name: study.metricName, metric: true, kind: min > 0 && max / min >= 100 ? "log" : "linear", min, max,
    at: (trial) => trial.value};
  return [...study.axes.slice(0, 24).map((one) => withNone(one, study.valued)), metric];
});

function parallelAxis(theme, one, dim, width, flip) {
  const most = Math.max(6, Math.floor(width / 7.4) - 1),
    label = {color: theme.soft, hideOverlap: true, textBorderColor: theme.card, textBorderWidth: 3};
  const common = {dim, name: one.name.length > most ? `…${one.name.slice(1 - most)}` : one.name,
    nameTruncate: {maxWidth: width + 10, ellipsis: ""}, nameGap: 14, nameLocation: flip ? "start" : "end", inverse: flip, axisLabel: label};
  if (one.kind === "category") return {...common, type: "category", data: one.labels, axisTick: {show: false}};
  const [low, high] = one.min === one.max ? around(one.min) : [one.none ?? one.min, one.max],
    near = (v, other) => Math.abs(v - other) <= 1e-6 * Math.abs(other) + 1e-300;
  // 0 … 1 along the axis
  const scaled = one.kind === "log" ? Math.log : (v) => v, part = (v) => (scaled(v) - scaled(low)) / (scaled(high) - scaled(low));
  const text = (v) => near(v, low) ? one.none === undefined ? num(v, 3) : NOT_SET : near(v, high) ? num(v, 3)
    : part(v) < .05 || part(v) > .95 || (v < one.min && !near(v, one.min)) ? "" : num(v, 3);
  return {...common, type: one.kind === "log" ? "log" : "value", scale: true, min: low, max: high, axisLabel: {...label, formatter: text}};
}

function colourColumn(study, axes, by) {
  const found = axes.find((candidate) => candidate.name === by && !candidate.metric), one = found?.raw || found;
  if (!one) return {at: (trial) => trial.value, range: robustRange(study.valued.map((trial) => trial.value)), show: num,
    name: study.metricName};
  if (one.kind === "category")
    return {at: one.at, range: [0, Math.max(1, one.labels.length - 1)], show: (v) => one.labels[Math.round(v)] ?? "", name: one.name};
  if (one.kind === "log") return {at: (trial) => Math.log10(one.at(trial)), range: [Math.log10(one.min), Math.log10(one.max)],
    show: (v) => num(10 ** v, 3), name: one.name};
  return {at: one.at, range: [one.min, one.max], show: (v) => num(v, 3), name: one.name};
}

// view: {by: axis name or "", stage: number or null, flip: better on top}
export function parallel(study, view) {
  return (theme, size) => {
    const trials = study.valued, axes = parallelAxes(study);
    if (!trials.length) return {empty: study.noValue};
    if (axes.length < 2) return {empty: "No parameter varies."};
    const colour = colourColumn(study, axes, view.by), narrow = size.width < 620;
    const clip = (v) => Number.isNaN(v) ? "-" : Math.min(colour.range[1], Math.max(colour.range[0], v));
    const line = (trial) => [...axes.map((one) => one.at(trial)), clip(colour.at(trial))];
    const shown = view.stage === null ? trials : trials.filter((trial) => trial.stage === view.stage);
    const rest = view.stage === null ? [] : trials.filter((trial) => trial.stage !== view.stage);
    const ordered = [...shown].sort((a, b) => study.better(a.value, b.value) ? 1 : -1); // the best are drawn last, on top
    view.order = ordered;
    const opacity = Math.max(.12, Math.min(.75, 60 / Math.sqrt(shown.length * 40 + 1)));
    const folds = narrow && axes.length > 4, step = folds ? 78 : (size.width - 102) / (axes.length - 1);
    const series = {type: "parallel", smooth: false, inactiveOpacity: .03, activeOpacity: Math.min(1, opacity * 1.6),
      progressive: trials.length > 3000 ? 1500 : 0};
    return {
      words: `${shown.length} trials over ${axes.map((one) => one.name).join(", ")}; coloured by ${colour.name}`,
      tooltip: {show: false},
      note: [study.loaded ? "" : `${study.trials.length} trials are loaded so far.`,
        "Drag along an axis to brush, click on it to clear; point at a line to see its trial, click to open it.",
        folds ? "Tap the folded axes to see them." : "",
        study.maximize ? "" : `The axis of ${study.metricName} points downwards: better is up.`].filter(Boolean).join(" "),
      parallel: {left: narrow ? 26 : 46, right: narrow ? 34 : 56, top: 40, bottom: 64,
        ...(folds ? {axisExpandable: true, axisExpandCount: 4, axisExpandWidth: 78, axisExpandCenter: axes.length - 2} : {}),
        parallelAxisDefault: {nameTextStyle: {color: theme.ink, fontSize: 12}, axisLine: {lineStyle: {color: theme.soft}},
          axisTick: {lineStyle: {color: theme.soft}}, realtime: trials.length <= 1500,
          areaSelectStyle: {width: 18, borderColor: theme.accent, color: theme.accent, opacity: .25}}},
      parallelAxis: axes.map((one, dim) => parallelAxis(theme, one, dim, step, Boolean(one.metric && !study.maximize))),
      visualMap: {type: "continuous", seriesIndex: 1, dimension: axes.length, min: colour.range[0], max: colour.range[1], calculable: false,
        orient: "horizontal", left: "center", bottom: 8, itemHeight: narrow ? 110 : 190, itemWidth: 12,
        text: [colour.show(colour.range[1]), `${colour.name}   ${colour.show(colour.range[0])}`], textStyle: {color: theme.soft},
        outOfRange: {color: theme.line}, inRange: {color: study.maximize || view.by ? theme.scale : [...theme.scale].reverse()}},
      series: [{...series, silent: true, lineStyle: {width: 1, opacity: .1, color: theme.soft}, data: rest.map(line)},
        {...series, lineStyle: {width: shown.length > 2000 ? 1 : 1.5, opacity}, data: ordered.map(line)}],
    };
  };
}

// --- optimisation history -------------------------------------------------------------------------------------------

export function history(study, noise) {
  return (theme) => {
    const trials = [...study.valued].sort((a, b) => Date.parse(a.finished) - Date.parse(b.finished) || a.number - b.number);
    if (!trials.length) return {empty: study.noValue};
    const [low, high] = robustRange(trials.map((trial) => trial.value)), sd = noise();
    const stages = [...new Set(trials.map((trial) => trial.stage))].sort((a, b) => a - b);
    let best = null;
    const steps = trials.map((trial, place) => {
      if (best === null || study.better(trial.value, best)) best = trial.value;
      return [place + 1, best];
    });
    const points = (stage) => trials.flatMap((trial, place) => trial.stage === stage ? [{value: [place + 1, trial.value], trial}] : []);
    const margin = (high - low) * .06 || Math.abs(high) * .01 || .1;
    const band = sd ? [
      {type: "line", step: "end", name: "noise", silent: true, showSymbol: false, stack: "band", stackStrategy: "all",
        lineStyle: {opacity: 0}, data: steps.map(([x, y]) => [x, y - sd])},
      {type: "line", step: "end", name: "noise", silent: true, showSymbol: false, stack: "band", stackStrategy: "all",
        lineStyle: {opacity: 0}, areaStyle: {color: theme.accent, opacity: .16}, data: steps.map(([x]) => [x, 2 * sd])}] : [];
    const outside = trials.filter((trial) => trial.value < low - margin || trial.value > high + margin).length;
    return {
      words: `${trials.length} values of ${study.metricName}, the best ${num(best)}`,
      note: [sd ? `Band: ± ${num(sd, 2)}, one standard deviation of a repeated trial.` : "",
        outside ? `${outside} ${outside === 1 ? "value lies" : "values lie"} outside the range drawn.` : ""].join(" ").trim(),
      legend: {data: ["best so far", ...stages.map((stage) => study.stageName(stage))]},
      tooltip: {trigger: "item", formatter: ({data, seriesName, value}) => data.trial ? trialTip(study, data.trial)
        : rows(seriesName, [[study.metricName, num(value[1])]])},
      xAxis: axis(theme, {type: "value", name: "ended trials", nameLocation: "middle", nameGap: 26, min: 1, max: Math.max(2, trials.length),
        minInterval: 1, splitLine: {show: false}}),
      yAxis: axis(theme, {type: "value", name: study.metricName, nameTextStyle: {color: theme.soft, align: "left"}, scale: true,
        min: low - margin, max: high + margin, axisLabel: {formatter: (v) => num(v, 4), showMinLabel: false, showMaxLabel: false}}),
      grid: {left: 14, right: 20, top: 56, bottom: 30, containLabel: true},
      series: [...band, {type: "line", name: "best so far", step: "end", showSymbol: false, data: steps,
        lineStyle: {width: 2, color: theme.ink}, itemStyle: {color: theme.ink}, z: 5},
        ...stages.map((stage, place) => ({type: "scatter", name: study.stageName(stage), data: points(stage),
          symbolSize: trials.length > 500 ? 4 : 7, symbol: theme.symbols[place % theme.symbols.length],
          itemStyle: {color: theme.colours[place % theme.colours.length], opacity: trials.length > 500 ? .5 : .8}, clip: true,
          progressive: 2000}))],
    };
  };
}

// --- curves -------------------------------------------------------------------------------------------------------------

// Exponential smoothing as TensorBoard's, without its bias to the first value.
function smooth(points, weight) {
  if (!weight) return points;
  let last = 0, norm = 0;
  return points.map(([x, y]) => {
    last = last * weight + (1 - weight) * y;
    norm = norm * weight + (1 - weight);
    return [x, last / norm];
  });
}

// lines: [{trial, points: [{step, epoch, time, value}]}]; view: {name, x: "step" | "epoch" | "time", weight, log}
export function curves(study, lines, view) {
  return (theme) => {
    const drawn = lines.filter((one) => one.points.length);
    if (!lines.length) return {empty: "Choose trials in the list of trials (or the best, above) to see their curves."};
    if (!drawn.length) return {empty: `None of the chosen trials has reported ${view.name || "a metric"} yet.`};
    const x = (point, one) => view.x === "epoch" ? point.epoch
      : view.x === "time" ? (Date.parse(point.time) - Date.parse(one.trial.started || point.time)) / 1000 : point.step;
    const series = drawn.flatMap((one, place) => {
      const points = one.points.map((point) => [x(point, one), point.value]).filter(([at]) => at !== null && Number.isFinite(at)),
        colour = theme.colours[place % theme.colours.length];
      const line = {type: "line", name: `trial ${one.trial.number}`, showSymbol: points.length < 40,
        symbol: theme.symbols[place % theme.symbols.length], symbolSize: 6, sampling: points.length > 2000 ? "lttb" : undefined,
        itemStyle: {color: colour},
        lineStyle: {width: 2, color: colour, type: ["solid", "dashed", "dotted"][Math.floor(place / theme.colours.length) % 3]}};
      return view.weight ? [{...line, name: `${line.name} raw`, silent: true, showSymbol: false, lineStyle: {width: 1, color: colour,
        opacity: .25}, data: points}, {...line, showSymbol: false, data: smooth(points, view.weight)}] : [{...line, data: points}];
    });
    if (series.every((one) => !one.data.length)) return {empty: `The points carry no ${view.x}.`};
    return {
      words: `${view.name} of ${drawn.map((one) => `trial ${one.trial.number}`).join(", ")}`, series,
      legend: drawn.length > 1 ? {data: drawn.map((one) => `trial ${one.trial.number}`)} : undefined,
      tooltip: {trigger: "axis", order: "valueDesc",
        formatter: (items) => rows(`${view.x} ${view.x === "time" ? duration(items[0].value[0]) : num(items[0].value[0])}`,
          items.filter((item) => !item.seriesName.endsWith("raw")).map((item) => [item.seriesName, num(item.value[1])]))},
      xAxis: axis(theme, {type: "value", scale: true, name: view.x === "time" ? "seconds since the start" : view.x, nameLocation: "middle",
        nameGap: 26, axisLabel: {formatter: (v) => num(v, 4)}, splitLine: {show: false}}),
      yAxis: axis(theme, {type: view.log ? "log" : "value", scale: true, name: view.name, nameTextStyle: {color: theme.soft, align: "left"},
        axisLabel: {formatter: (v) => num(v, 4)}}),
      grid: {left: 14, right: 22, top: drawn.length > 1 ? 58 : 34, bottom: 30, containLabel: true},
    };
  };
}

// --- importance and slices: the server's model ----------------------------------------------------------------------------

// A bar with a whisker from low to high; data: [index, low, high].
const whisker = (theme, horizontal) => (parameters, api) => {
  const place = api.value(0), a = api.coord(horizontal ? [api.value(1), place] : [place, api.value(1)]),
    b = api.coord(horizontal ? [api.value(2), place] : [place, api.value(2)]);
  const cap = horizontal ? [0, 5] : [5, 0],
    line = (x1, y1, x2, y2) => ({type: "line", shape: {x1, y1, x2, y2}, style: {stroke: theme.ink, lineWidth: 1.5}});
  return {type: "group", children: [line(a[0], a[1], b[0], b[1]), line(a[0] - cap[0], a[1] - cap[1], a[0] + cap[0], a[1] + cap[1]),
    line(b[0] - cap[0], b[1] - cap[1], b[0] + cap[0], b[1] + cap[1])]};
};

export function importance(answer) {
  return (theme, size) => {
    if (!answer) return {empty: "This server does not compute importances."};
    if (answer.problem) return {empty: sentence(answer.problem)};
    const items = [...(answer.parameters || []).map((one) => ({...one, name: one.parameter})),
      ...(answer.pairs || []).map((one) => ({...one, name: one.parameters.join(" × ")}))]
      .filter((one) => one.share !== null).sort((a, b) => a.share - b.share).slice(-12);
    if (!items.length) return {empty: sentence(answer.detail) || "Too few trials to say which parameters matter."};
    const faint = (one) => one.distinguishable === false;
    return {
      height: Math.max(160, 70 + 30 * items.length),
      words: [...items].reverse().map((one) => `${one.name} ${num(100 * one.share, 3)} %`).join(", "),
      note: [sentence(answer.detail), items.some(faint) ? "Pale: not distinguishable from nothing." : "",
        answer.noise?.sd ? `Noise of a repeated trial: ± ${num(answer.noise.sd, 2)}.` : ""].filter(Boolean).join(" "),
      tooltip: {trigger: "item",
        formatter: ({dataIndex}) => rows(items[dataIndex].name, [["share", `${num(100 * items[dataIndex].share, 3)} %`],
          ["range", `${num(100 * items[dataIndex].low, 3)} – ${num(100 * items[dataIndex].high, 3)} %`]])},
      grid: {left: 10, right: 26, top: 10, bottom: 30, containLabel: true},
      xAxis: axis(theme, {type: "value", min: 0, name: "share of the variance explained", nameLocation: "middle", nameGap: 24,
        axisLabel: {formatter: (v) => `${num(100 * v, 3)} %`}}),
      yAxis: axis(theme, {type: "category", data: items.map((one) => one.name),
        axisLabel: {color: theme.ink, interval: 0, width: size.width < 620 ? 100 : 190, overflow: "truncate"}}),
      series: [{type: "bar", barMaxWidth: 18,
        data: items.map((one) => ({value: one.share, itemStyle: {color: theme.colours[0], opacity: faint(one) ? .35 : 1}}))},
        {type: "custom", silent: true, z: 5, renderItem: whisker(theme, true), encode: {x: [1, 2], y: 0},
          data: items.flatMap((one, place) => typeof one.low === "number" ? [[place, one.low, one.high]] : [])}],
    };
  };
}

// Ends of a prediction's 95 %; servers of earlier versions tell the deviation alone.
const intervalOf = (point) => typeof point.low === "number" ? [point.low, point.high]
  : [point.mean - 2 * point.sd, point.mean + 2 * point.sd];
const intervalText = (point) => intervalOf(point).map((end) => num(end, 4)).join(" to ");

function gaussianTip(study, name, item, points) {
  const point = points[item.dataIndex];
  return rows(`${name} ${num(point.params[name])}`, [["predicted", num(point.mean)], ["95 %", intervalText(point)]]);
}

export function slice(study, answer) {
  return (theme, size) => {
    if (!answer) return {empty: "This server does not compute slices of the model."};
    if (answer.problem) return {empty: sentence(answer.problem)};
    const points = answer.points || [];
    if (!points.length) return {empty: sentence(answer.detail) || "There is no model yet."};
    const at = Object.entries(flat({params: answer.at})).filter(([name]) => !answer.parameters.includes(name))
      .map(([name, value]) => `${name} ${num(value)}`).join(", ");
    const note = at ? `All else as in the best configuration: ${at}.` : "";
    return answer.parameters.length === 2 ? surface(study, answer, points, theme, note, size) : curve(study, answer, points, theme, note);
  };
}

function curve(study, answer, points, theme, note) {
  const name = answer.parameters[0], known = study.axes.find((one) => one.name === name), value = (point) => point.params[name];
  const numeric = points.every((point) => typeof value(point) === "number"),
    x = points.map((point) => numeric ? value(point) : String(value(point)));
  const seen = study.valued.filter((trial) => flat(trial)[name] !== undefined)
    .map((trial) => ({value: [numeric ? flat(trial)[name] : String(flat(trial)[name]), trial.value], trial}));
  const ends = points.map(intervalOf), [low, high] = robustRange([...ends.flat(), ...points.map((point) => point.mean)]);
  const common = {type: "line", silent: true, showSymbol: false, stack: "sd", stackStrategy: "all", lineStyle: {opacity: 0}},
    many = seen.length > 500;
  const predicted = {name: "predicted", itemStyle: {color: theme.accent}, data: points.map((point, place) => [x[place], point.mean]), z: 4};
  const model = numeric ? [{...common, data: ends.map((end, place) => [x[place], end[0]])},
    {...common, areaStyle: {color: theme.accent, opacity: .18}, data: ends.map((end, place) => [x[place], end[1] - end[0]])},
    {...predicted, type: "line", showSymbol: false, lineStyle: {color: theme.accent, width: 2}}]
    : [{...predicted, type: "scatter", symbolSize: 11, symbol: "diamond"}, {type: "custom", silent: true, z: 3,
      renderItem: whisker(theme, false), encode: {x: 0, y: [1, 2]}, data: ends.map((end, place) => [place, ...end])}];
  return {
    words: `${study.metricName} predicted over ${name}`,
    note: `${note} ${numeric ? "Band: 95 % of what the model expects" : "Diamonds with bars: predicted, with 95 %"}. `.trimStart()
      + "Dots: evaluated trials.",
    tooltip: {trigger: "item",
      formatter: (item) => item.data.trial ? trialTip(study, item.data.trial) : gaussianTip(study, name, item, points)},
    grid: {left: 14, right: 24, top: 30, bottom: 30, containLabel: true},
    xAxis: axis(theme,
      {...(numeric ? {type: known?.kind === "log" ? "log" : "value", min: Math.min(...x), max: Math.max(...x)} : {type: "category",
        data: x}), name, nameLocation: "middle", nameGap: 26, splitLine: {show: false}, axisLabel: {formatter: (v) => num(v, 3)}}),
    yAxis: axis(theme, {type: "value", scale: true, name: study.metricName, nameTextStyle: {color: theme.soft, align: "left"}, min: low,
      max: high, axisLabel: {formatter: (v) => num(v, 4), showMinLabel: false, showMaxLabel: false}}),
    series: [...model, {type: "scatter", name: "trials", data: seen, symbolSize: many ? 3 : 6, symbolOffset: numeric ? 0 : [16, 0],
      itemStyle: {color: theme.ink, opacity: many ? .15 : .5}, clip: true, progressive: 2000}],
  };
}

const sortedValues = (values) => [...new Map(values.map((v) => [JSON.stringify(v), v])).values()].sort((a, b) => typeof a === "number"
  && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));

// Cells of two categories of values: [[column, row, value, extra…]]
function cells(theme, study, {size, columns, lines, data, names, tip, note, words}) {
  const values = data.map((cell) => cell[2]), [low, high] = robustRange(values),
    few = columns.length * lines.length <= 60 && (size.width - 170) / columns.length >= 48;
  return {
    words, note, height: Math.max(240, Math.min(440, 130 + 34 * lines.length)),
    tooltip: {trigger: "item", formatter: tip}, grid: {left: 24, right: 90, top: 28, bottom: 34, containLabel: true},
    xAxis: axis(theme, {type: "category", data: columns.map((v) => num(v, 3)), name: names[0], nameLocation: "middle", nameGap: 28,
      splitArea: {show: false}}),
    yAxis: axis(theme, {type: "category", data: lines.map((v) => num(v, 3)), name: names[1], nameLocation: "end",
      nameTextStyle: {color: theme.soft, align: "left"}, nameGap: 6}),
    visualMap: {min: low, max: high, calculable: false, orient: "vertical", right: 4, top: "middle", itemWidth: 12, itemHeight: 120,
      textStyle: {color: theme.soft}, text: [num(high, 4), num(low, 4)], dimension: 2,
      inRange: {color: study.maximize ? theme.scale : [...theme.scale].reverse()}},
    series: [{type: "heatmap", data, label: {show: few, color: "#fff", textBorderColor: "#000", textBorderWidth: 2,
      formatter: ({value}) => num(value[2], 4)}, itemStyle: few ? {borderColor: theme.card, borderWidth: 2} : {}, progressive: 0}],
  };
}

function surface(study, answer, points, theme, note, size) {
  const [a, b] = answer.parameters, columns = sortedValues(points.map((point) => point.params[a])),
    lines = sortedValues(points.map((point) => point.params[b]));
  const data = points.map((point) => [columns.indexOf(point.params[a]), lines.indexOf(point.params[b]), point.mean, intervalText(point)]);
  return cells(theme, study, {size, columns, lines, data, names: [a, b], note, words: `${study.metricName} predicted over ${a} and ${b}`,
    tip: ({value}) =>
      rows("predicted", [[a, num(columns[value[0]])], [b, num(lines[value[1]])], [study.metricName, num(value[2])], ["95 %", value[3]]])});
}

// --- one factor at a time, and grids ------------------------------------------------------------------------------------

// [{name, levels: [{level, value, trial}], impact}] by impact, and the baseline's value.
export function sensitivity(study) {
  return study.memo("sensitivity", () => {
    const stages = study.stages || [{method: study.sweep.method}], stage = stages.findIndex((one) => one.method === "ofat");
    if (stage < 0) return null;
    const trials = study.trials.filter((trial) => trial.stage === stage),
      base = trials.find((trial) => trial.proposal?.source === "baseline");
    const factors = new Map();
    for (const trial of trials) {
      if (trial.proposal?.source !== "ofat") continue;
      const name = trial.proposal.factor;
      if (!factors.has(name)) factors.set(name, {name, levels: []});
      factors.get(name).levels.push({level: trial.proposal.level, value: trial.value, trial});
    }
    const described = [study.sweep.stage, ...(study.sweep.stage?.before || [])].find((one) => one?.index === stage && one.impacts);
    for (const factor of factors.values()) {
      const values = [...factor.levels.map((one) => one.value), base?.value].filter((v) => typeof v === "number");
      factor.impact = described?.impacts.find((one) => one.parameter === factor.name)?.impact
        ?? (values.length > 1 ? Math.max(...values) - Math.min(...values) : 0);
    }
    const next = [...(study.sweep.stage?.before || []), study.sweep.stage].find((one) => one?.index > stage && one.selected?.length);
    return {stage, base, selected: next?.selected || [], factors: [...factors.values()].sort((a, b) => b.impact - a.impact)};
  });
}

export function ofat(study, noise) {
  return (theme) => {
    const found = sensitivity(study);
    if (!found) return {empty: "This sweep has no stage that changes one factor at a time."};
    const factors = found.factors.filter((factor) => factor.levels.some((one) => one.value !== null)).reverse(),
      base = found.base?.value ?? null;
    if (!factors.length) return {empty: study.noValue};
    const spans = factors.map((factor, place) => {
      const v = [...factor.levels.map((one) => one.value), base].filter((x) => x !== null);
      return [place, Math.min(...v), Math.max(...v)];
    });
    const sd = noise(), below = sd ? factors.filter((factor) => factor.impact < 2 * sd).length : 0;
    return {
      height: Math.max(180, 80 + 36 * factors.length),
      words: [...factors].reverse().map((factor, rank) => `${rank + 1} ${factor.name} ${num(factor.impact, 3)}`).join(", "),
      note: [`Ranked by impact, the range of ${study.metricName} over a factor's levels and the baseline.`,
        sd ? `Noise of a repeated trial: ± ${num(sd, 2)}; ${below} of ${factors.length} factors stay within two of it `
          + "(shaded, around the baseline)." : "",
        found.selected.length ? "Darker: what the next stage varies." : ""].join(" ").trim(),
      tooltip: {trigger: "item", formatter: ({data}) => data.one ? rows(`${data.factor.name} = ${num(data.one.level)}`,
        [[study.metricName, num(data.one.value)], ...(base !== null ? [["against the baseline", num(data.one.value - base, 3)]] : []),
          ["trial", String(data.one.trial.number)]]) : rows(data.factor.name, [["impact", num(data.factor.impact)]])},
      grid: {left: 10, right: 24, top: 24, bottom: 30, containLabel: true},
      xAxis: axis(theme, {type: "value", scale: true, name: study.metricName, nameLocation: "middle", nameGap: 24,
        axisLabel: {formatter: (v) => num(v, 4)}}),
      yAxis: axis(theme, {type: "category", data: factors.map((factor, place) => `${factors.length - place}. ${factor.name}`),
        axisLabel: {color: theme.ink, interval: 0}}),
      series: [{type: "custom", z: 1, encode: {x: [1, 2], y: 0}, data: spans.map((value, place) => ({value, factor: factors[place]})),
        renderItem: (parameters, api) => {
        const a = api.coord([api.value(1), api.value(0)]), b = api.coord([api.value(2), api.value(0)]);
        return {type: "rect", shape: {x: a[0], y: a[1] - 7, width: Math.max(1, b[0] - a[0]), height: 14},
          style: {fill: theme.colours[0], opacity: found.selected.includes(factors[api.value(0)].name) ? .55 : .25}};
      }},
      {type: "scatter", symbolSize: 11, itemStyle: {color: theme.colours[1]}, label: {show: true, position: "top", formatter: ({data}) =>
        num(data.one.level, 3), color: theme.soft, fontSize: 11, distance: 3}, labelLayout: {hideOverlap: true}, z: 4,
        data: factors.flatMap((factor, place) => factor.levels.filter((one) => one.value !== null).sort((p, q) => p.value - q.value)
          .map((one, rank) => ({value: [one.value, place], one, factor, label: {position: rank % 2 ? "bottom" : "top"}}))),
        markArea: base === null || !sd ? undefined
          : {silent: true, itemStyle: {color: theme.ink, opacity: .07}, data: [[{xAxis: base - 2 * sd}, {xAxis: base + 2 * sd}]]},
        markLine: base === null ? undefined : {silent: true, symbol: "none", precision: 12, data: [{xAxis: base}],
          lineStyle: {color: theme.ink, type: "dashed"}, label: {formatter: "baseline", color: theme.ink, position: "end"}}}],
    };
  };
}

// Parameters of which a heat map can be made: few values, many trials each.
export const gridAxes = (study) => study.memo("gridAxes", () => {
  const chosen = study.valued.filter((trial) => trial.proposal?.source === "grid"), trials = chosen.length >= 4 ? chosen : study.valued;
  // those that every trial has come first
  const often = [...study.axes].sort((a, b) =>
    trials.some((trial) => Number.isNaN(a.at(trial))) - trials.some((trial) => Number.isNaN(b.at(trial))));
  return {trials, axes: often.map((one) =>
    ({name: one.name, values: sortedValues(trials.map((trial) => flat(trial)[one.name]).filter((v) => v !== undefined))}))
    .filter((one) => one.values.length > 1 && one.values.length <= 24)};
});

export function heat(study, view) {
  return (theme, size) => {
    const {trials, axes} = gridAxes(study);
    if (axes.length < 2) return {empty: "A heat map needs two parameters with few values each, as a grid gives them."};
    const a = axes.find((one) => one.name === view.a) || axes[0],
      b = axes.find((one) => one.name === view.b && one !== a) || axes.find((one) => one !== a);
    const found = new Map();
    for (const trial of trials) {
      const column = a.values.indexOf(flat(trial)[a.name]), line = b.values.indexOf(flat(trial)[b.name]);
      if (column < 0 || line < 0) continue;
      const key = `${column},${line}`, cell = found.get(key);
      if (!cell) found.set(key, {column, line, best: trial, sum: trial.value, n: 1});
      else { cell.n++; cell.sum += trial.value; if (study.better(trial.value, cell.best.value)) cell.best = trial; }
    }
    const list = [...found.values()];
    return cells(theme, study,
      {size, columns: a.values, lines: b.values, names: [a.name, b.name], words: `best ${study.metricName} over ${a.name} and ${b.name}`,
      data: list.map((cell) => [cell.column, cell.line, view.mean ? cell.sum / cell.n : cell.best.value]),
      note: `Each cell: the ${view.mean ? "mean" : "best"} of the trials there, over all values of the others.`,
      tip: ({dataIndex}) => rows(`${num(a.values[list[dataIndex].column])} × ${num(b.values[list[dataIndex].line])}`,
        [["best", num(list[dataIndex].best.value)], ["mean", num(list[dataIndex].sum / list[dataIndex].n)],
          ["trials", String(list[dataIndex].n)], ["best trial", String(list[dataIndex].best.number)]])});
  };
}

// --- time -------------------------------------------------------------------------------------------------------------------

// Bars from start to end, a line a worker's slot or a stage. groups: [{name, colour, data: [{value: [line, start, end]}]}]
function bars(theme, size, {lines, groups, tip, words, note, slider}) {
  return {
    words, note, height: Math.max(slider ? 190 : 130, Math.min(640, (slider ? 130 : 60) + 26 * lines.length)),
    tooltip: {trigger: "item", formatter: tip},
    grid: {containLabel: false, left: size.width < 620 ? 92 : 150, right: 24, top: slider ? 32 : 10, bottom: slider ? 78 : 44},
    legend: slider ? {data: groups.map((group) => group.name)} : undefined,
    dataZoom: slider ? [{type: "slider", height: 16, bottom: 6, borderColor: theme.line, textStyle: {color: theme.soft},
      filterMode: "weakFilter", brushSelect: false, showDataShadow: false}] : undefined,
    xAxis: axis(theme,
      {type: "time", name: "time of day", nameLocation: "middle", nameGap: 24, splitLine: {show: true, lineStyle: {color: theme.line}}}),
    yAxis: axis(theme, {type: "category", data: lines, inverse: true, axisTick: {show: false},
      axisLabel: {color: theme.ink, interval: 0, width: size.width < 620 ? 80 : 135, overflow: "truncate"}}),
    series: groups.map((group) => ({type: "custom", name: group.name, itemStyle: {color: group.colour}, clip: true,
      encode: {x: [1, 2], y: 0}, data: group.data, progressive: 0, renderItem: (parameters, api) => {
      const a = api.coord([api.value(1), api.value(0)]), b = api.coord([api.value(2), api.value(0)]),
        height = Math.min(18, api.size([0, 1])[1] * .72);
      const shape = echarts.graphic.clipRectByRect({x: a[0], y: a[1] - height / 2, width: Math.max(2, b[0] - a[0] - .5), height},
        parameters.coordSys);
      return shape && {type: "rect", shape, style: {fill: group.colour, stroke: theme.card, lineWidth: shape.width > 5 ? 1 : 0}};
    }})),
  };
}

// Trials on a worker that overlap in time ran in slots of their own: a line each. trials come by start. A worker asks for its next trial a
// little before the last one has ended, which is no second slot.
function slots(trials, now) {
  const workers = new Map();
  for (const trial of trials) {
    const id = trial.worker || "none", start = Date.parse(trial.started), end = trial.finished ? Date.parse(trial.finished) : now;
    if (!workers.has(id)) workers.set(id, []);
    const lanes = workers.get(id),
      lane = lanes.find((one) => one.until - start <= Math.min(1000, .3 * (end - start))) || lanes[lanes.push({until: 0, trials: []}) - 1];
    lane.until = end;
    lane.trials.push({trial, start, end});
  }
  return [...workers].flatMap(([id, lanes]) => lanes.map((lane, place) => ({id, place, trials: lane.trials})));
}

export function workersTimeline(study, names) {
  return (theme, size) => {
    const started = study.trials.filter((trial) => trial.started),
      trials = started.slice(-4000).sort((a, b) => Date.parse(a.started) - Date.parse(b.started));
    if (!trials.length)
      return {empty: study.trials.some(isEnded) ? "No trial ran on a worker: their values were imported." : "No trial has started yet."};
    const list = slots(trials, Date.now()), found = new Map();
    list.forEach((lane, line) => {
      for (const {trial, start, end} of lane.trials) {
        if (!found.has(trial.state)) found.set(trial.state, []);
        found.get(trial.state).push({value: [line, start, end], trial});
      }
    });
    return bars(theme, size, {slider: true, lines: list.map(({id, place}) => place ? "" : names().get(id) || id),
      words: `${trials.length} trials in ${list.length} slots of ${new Set(list.map(({id}) => id)).size} workers`,
      note: trials.length < started.length ? "The latest 4000 trials." : "",
      groups: Object.keys(theme.states).filter((state) => found.has(state))
        .map((state) => ({name: state, colour: theme.states[state], data: found.get(state)})),
      tip: ({data: {trial}}) => trialTip(study, trial,
        [["took", duration(seconds(trial))], ["attempt", String(trial.attempt)], ...(trial.reason ? [["reason", trial.reason]] : [])])});
  };
}

export function stagesTimeline(study) {
  return (theme, size) => {
    const found = new Map(), now = Date.now();
    for (const trial of study.trials) {
      if (!trial.started) continue;
      const start = Date.parse(trial.started), end = trial.finished ? Date.parse(trial.finished) : now,
        one = found.get(trial.stage) || {stage: trial.stage, start, end, n: 0, ended: 0, best: null};
      one.start = Math.min(one.start, start);
      one.end = Math.max(one.end, end);
      one.n++;
      if (isEnded(trial)) one.ended++;
      if (trial.value !== null && (one.best === null || study.better(trial.value, one.best))) one.best = trial.value;
      found.set(trial.stage, one);
    }
    const list = [...found.values()].sort((a, b) => a.stage - b.stage);
    if (!list.length) return {empty: "No trial has started yet."};
    return bars(theme, size, {lines: list.map((one) => study.stageName(one.stage)),
      words: list.map((one) => `${study.stageName(one.stage)}: ${one.n} trials, best ${num(one.best)}`).join("; "), note: "",
      groups: list.map((one, place) => ({name: study.stageName(one.stage), colour: theme.colours[place % theme.colours.length],
        data: [{value: [place, one.start, one.end], one}]})),
      tip: ({data: {one}}) => rows(`Stage ${study.stageName(one.stage)}`, [["trials", `${one.ended} of ${one.n} ended`],
        [`best ${study.metricName}`, num(one.best)], ["took", duration((one.end - one.start) / 1000)]])});
  };
}
