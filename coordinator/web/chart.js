// A plot in a card: drawn when it comes into view, again when its data, the theme or its size change; as PNG and SVG.
import * as echarts from "./echarts-6.1.0.js";
import {h, put, download, save} from "./dom.js";

const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];
// Okabe and Ito, those that stand out on either ground first.
const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#000000", "#e69f00"];
const DARK = ["#56b4e9", "#ff8a4c", "#2cc295", "#d99abf", "#f0e442", "#9ad0f5", "#ffffff", "#e69f00"];
const SYMBOLS = ["circle", "diamond", "triangle", "rect", "pin", "roundRect", "arrow", "emptyCircle"];

const isDark = () => document.documentElement.dataset.theme === "dark";

// What option builders need: colours by role, palettes, shapes.
function palette() {
  const style = getComputedStyle(document.documentElement), of = (name) => style.getPropertyValue(`--${name}`).trim();
  const states = Object.fromEntries(["queued", "running", "completed", "stopped", "failed",
    "cancelled"].map((state) => [state, of(state)]));
  return {ink: of("ink"), soft: of("soft"), line: of("line"), card: of("card"), accent: of("accent"), states, dark: isDark(),
    colours: isDark() ? DARK : LIGHT, symbols: SYMBOLS, scale: isDark() ? VIRIDIS.slice(2) : VIRIDIS.slice(0, 8)};
}

// Rows of name and value as a tooltip's content: elements, as the page's policy forbids styles inside HTML.
export function rows(title, entries) {
  return h("div", {class: "tip-rows"}, h("b", {}, title), entries.map(([name, value]) => [h("span", {}, name), h("span", {}, value)]));
}

function base(theme) {
  return {
    animation: false, backgroundColor: "transparent", color: theme.colours,
    textStyle: {color: theme.ink, fontFamily: "system-ui, DejaVu Sans, sans-serif"},
    tooltip: {confine: true, backgroundColor: theme.card, borderColor: theme.line, textStyle: {color: theme.ink, fontSize: 13},
      padding: [6, 9]},
    grid: {left: 12, right: 18, top: 34, bottom: 12, containLabel: true}, legend: {textStyle: {color: theme.ink}, inactiveColor: theme.soft,
      itemWidth: 16, itemHeight: 10, type: "scroll", pageTextStyle: {color: theme.ink}, pageIconColor: theme.accent, top: 0},
  };
}

// An axis in the theme's colours.
export function axis(theme, more) {
  return {nameTextStyle: {color: theme.soft}, axisLine: {lineStyle: {color: theme.soft}}, axisTick: {lineStyle: {color: theme.soft}},
    axisLabel: {color: theme.soft, hideOverlap: true, ...more.axisLabel}, splitLine: {lineStyle: {color: theme.line}}, ...more,
    ...(more.axisLabel ? {axisLabel: {color: theme.soft, hideOverlap: true, ...more.axisLabel}} : {})};
}

function merge(theme, option) {
  const from = base(theme);
  const merged = {...from, ...option};
  for (const key of ["tooltip", "legend", "grid"]) if (option[key] && !Array.isArray(option[key]))
    merged[key] = {...from[key], ...option[key]};
  if (!option.legend) delete merged.legend;
  if (!option.xAxis) delete merged.grid;
  if (option.tooltip === null) delete merged.tooltip;
  return merged;
}

const all = new Set();
export function redrawAll() { for (const plot of all) plot.draw(); }
addEventListener("beforeprint", () => { for (const plot of all) { plot.show(); plot.resize(); } });
addEventListener("afterprint", () => { for (const plot of all) plot.resize(); });

export class Plot {
  // build(theme, size) → an ECharts option; {empty: "sentence"} when there is nothing to draw; a `note` in it is shown beneath.
  constructor({title, name, build, height = 320, wide = false, controls = [], onChart = null, fileName = () => name}) {
    Object.assign(this, {title, name, build, height, onChart, fileName, chart: null, option: null, visible: false, dirty: true});
    this.canvas = h("div", {class: "canvas", role: "img", "aria-label": title});
    this.canvas.style.height = `${height}px`;
    this.message = h("div", {class: "empty", hidden: true});
    this.note = h("p", {class: "note", hidden: true});
    this.area = h("div", {class: "plot-area"}, this.canvas, this.message);
    this.saver = [h("button", {type: "button", class: "quiet", title: `${title} as PNG`, onclick: () => this.savePng()}, "PNG"),
      h("button", {type: "button", class: "quiet", title: `${title} as SVG`, onclick: () => this.saveSvg()}, "SVG")];
    this.element = h("section", {class: wide ? "card wide" : "card", "data-plot": name},
      h("div", {class: "plot-head"}, h("h2", {}, title), controls, h("span", {class: "savers"}, this.saver)), this.area, this.note);
    this.eyes = new IntersectionObserver((entries) => {
      this.visible = entries.at(-1).isIntersecting;
      if (this.visible && this.dirty) this.show();
    }, {rootMargin: "300px"});
    this.eyes.observe(this.element);
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(this.area);
    all.add(this);
  }

  draw() {
    this.dirty = true;
    if (this.visible) this.show();
  }

  show() {
    if (!this.element.isConnected) return;
    this.dirty = false;
    this.builtFor = this.area.clientWidth;
    const theme = palette(), option = this.build(theme, {width: this.builtFor, height: this.height});
    const empty = option.empty;
    this.message.hidden = !empty;
    this.canvas.hidden = Boolean(empty);
    for (const button of this.saver) button.hidden = Boolean(empty);
    this.element.dataset.drawn = empty ? "empty" : "yes";
    this.note.hidden = !option.note;
    this.note.textContent = option.note || "";
    this.option = null;
    if (empty) { put(this.message, empty); return; }
    const {note, height, words, ...rest} = option;
    if (height && height !== this.height) { this.height = height; this.canvas.style.height = `${height}px`; this.chart?.resize(); }
    this.canvas.setAttribute("aria-label", words ? `${this.title}: ${words}` : this.title);
    this.option = merge(theme, rest);
    if (!this.chart) {
      this.chart = echarts.init(this.canvas, null, {renderer: "canvas"});
      this.onChart?.(this.chart, this);
    }
    this.chart.setOption(this.option, {notMerge: true});
    this.onDrawn?.();
  }

  resize() {
    if (!this.chart || this.canvas.hidden) return;
    const width = this.area.clientWidth;
    if (width && (this.chart.getWidth() !== width || this.chart.getHeight() !== this.height)) { this.chart.resize(); this.onDrawn?.(); }
    if (width && Math.abs(width - this.builtFor) > 40) this.draw(); // what is built depends on the width, by little steps not much
  }

  savePng() {
    download(`${this.fileName()}.png`,
      this.chart.getDataURL({pixelRatio: 2, backgroundColor: palette().card, excludeComponents: ["toolbox"]}));
  }

  svg() {
    const drawing = echarts.init(null, null, {renderer: "svg", ssr: true, width: this.area.clientWidth || 900, height: this.height});
    drawing.setOption({...this.option, backgroundColor: palette().card});
    const text = drawing.renderToSVGString();
    drawing.dispose();
    return text;
  }

  saveSvg() { save(`${this.fileName()}.svg`, "image/svg+xml", this.svg()); }

  remove() {
    all.delete(this);
    this.eyes.disconnect();
    this.sizes.disconnect();
    this.chart?.dispose();
    this.chart = null;
    this.element.remove();
  }
}
