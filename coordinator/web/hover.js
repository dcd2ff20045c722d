// Which trial is under the pointer in a plot of parallel coordinates. The lines' places are kept as plain numbers, so that thousands of
// trials cost nothing to search, and the line is drawn over the plot instead of drawing all of it anew.
import {h} from "./dom.js";
import {parallelAxes, trialTip} from "./plots.js";

const NEAR = 8; // pixels

export class ParallelHover {
  constructor(study, view, open) {
    Object.assign(this, {study, view, open, only: null, lines: null, found: null});
    this.tip = h("div", {class: "tip", hidden: true});
  }

  attach(chart, plot) {
    this.chart = chart;
    this.plot = plot;
    this.over = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.over.setAttribute("class", "over");
    this.line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    this.over.append(this.line);
    plot.area.append(this.over, this.tip);
    const pointer = chart.getZr();
    pointer.on("mousemove", (event) => this.move(event.offsetX, event.offsetY, event.event));
    pointer.on("globalout", () => this.hide());
    pointer.on("mousedown", (event) => { this.down = [event.offsetX, event.offsetY]; });
    pointer.on("mouseup", (event) => {
      if (this.found && this.down && Math.hypot(event.offsetX - this.down[0], event.offsetY - this.down[1]) < 3
        && !this.onAxis(event.offsetX)) this.open(this.found);
    });
  }

  forget() { this.lines = null; this.hide(); }
  hide() { this.tip.hidden = true; this.found = null; this.line?.removeAttribute("points"); }
  onAxis(x) { return this.lines?.x.some((one) => Math.abs(one - x) < 10); }

  measure() {
    const system = this.chart.getModel().getComponent("parallel")?.coordinateSystem;
    if (!system) return null;
    const axes = parallelAxes(this.study), trials = this.view.order, n = axes.length, y = new Float32Array(trials.length * n);
    const x = axes.map((one, place) => system.getAxisLayout(`dim${place}`).position[0]);
    trials.forEach((trial, place) => {
      for (let one = 0; one < n; one++) {
        const value = axes[one].at(trial);
        y[place * n + one] = Number.isNaN(value) ? NaN : system.dataToPoint(value, `dim${one}`)[1];
      }
    });
    return {x, y, n, trials};
  }

  move(px, py, event) {
    this.lines ??= this.measure();
    if (!this.lines) return;
    const {x, y, n, trials} = this.lines;
    let gap = -1;
    for (let one = 0; one + 1 < n; one++) if (px >= x[one] && px <= x[one + 1]) gap = one;
    let best = -1, near = NEAR;
    if (gap >= 0) {
      const share = (px - x[gap]) / (x[gap + 1] - x[gap] || 1);
      for (let place = trials.length - 1; place >= 0; place--) {
        if (this.only && !this.only.has(trials[place])) continue;
        const from = y[place * n + gap], to = y[place * n + gap + 1], apart = Math.abs(from + share * (to - from) - py);
        if (apart < near) { near = apart; best = place; }
      }
    }
    if (best < 0) { this.hide(); return; }
    if (this.found !== trials[best]) {
      this.found = trials[best];
      this.line.setAttribute("points",
        x.map((at, one) => [at, y[best * n + one]]).filter(([, at]) => !Number.isNaN(at)).map((pair) => pair.join(",")).join(" "));
      this.tip.replaceChildren(trialTip(this.study, this.found));
    }
    this.tip.hidden = false;
    const clientX = event.clientX ?? 0, clientY = event.clientY ?? 0, width = this.tip.offsetWidth, height = this.tip.offsetHeight;
    this.tip.style.left = `${Math.min(innerWidth - width - 8, clientX + 16)}px`;
    this.tip.style.top = `${clientY + 18 + height > innerHeight ? Math.max(4, clientY - height - 14) : clientY + 18}px`;
  }
}
