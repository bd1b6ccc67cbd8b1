// Line charts over time in SVG that share one time range and one current frame.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 46, right: 10, top: 8, bottom: 24 };
const HEIGHT = 178;

function element(name, attributes = {}, parent = null, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function niceTicks(low, high, count) {
  const rough = (high - low) / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((m) => m * power >= rough * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(i * step);
  const digits = Math.max(0, Math.min(6, Math.ceil(-Math.log10(step) - 1e-9)));
  const exact = Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6 ? digits + 1 : digits;
  return ticks.map((value) => ({ value, label: value.toFixed(exact).replace(/^-(0(\.0*)?)$/, "$1").replace("-", "−") }));
}

function dotOf(role) {
  const dot = document.createElement("i");
  dot.className = `dot ${role}`;
  return dot;
}

function format(value, unit) {
  if (value === null) return "no value";
  return value.toFixed(2).replace("-", "−") + (unit === "°" ? unit : " " + unit);
}

// The time range that all charts show. Charts listen to it and to the current frame.
class TimeAxis {
  constructor(seconds) {
    this.seconds = seconds;
    const first = seconds[0], last = seconds[seconds.length - 1];
    this.whole = last > first ? [first, last] : [first - 0.5, first + 0.5];
    this.range = [...this.whole];
    this.listeners = [];
  }

  show(low, high) {
    const [first, last] = this.whole;
    const least = Math.min(last - first, (last - first) / Math.max(this.seconds.length - 1, 1) * 3);
    const width = Math.min(Math.max(high - low, least), last - first);
    const start = Math.min(Math.max((low + high - width) / 2, first), last - width);
    this.range = [start, start + width];
    for (const listener of this.listeners) listener();
  }

  zoom(factor, around = (this.range[0] + this.range[1]) / 2) {
    this.show(around + (this.range[0] - around) * factor, around + (this.range[1] - around) * factor);
  }

  all() { this.show(...this.whole); }

  get zoomed() { return this.range[1] - this.range[0] < (this.whole[1] - this.whole[0]) * 0.999; }

  // Index of the frame whose time is nearest.
  nearest(time) {
    let low = 0, high = this.seconds.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.seconds[middle] <= time) low = middle; else high = middle;
    }
    return time - this.seconds[low] <= this.seconds[high] - time ? low : high;
  }
}

class Chart {
  // `player` has index, names, go(index); it calls markFrame of every chart when the index changes.
  constructor(host, spec, axis, player) {
    Object.assign(this, { spec, axis, player, width: 300, pointers: new Map() });
    this.box = document.createElement("div");
    this.box.className = "card chart";
    const title = document.createElement("h3");
    title.append(spec.title);
    this.now = document.createElement("span");
    title.append(this.now);
    this.svg = element("svg", { tabindex: 0, role: "img", "aria-label": this.describe() });
    this.box.append(title, this.svg);
    host.append(this.box);
    axis.listeners.push(() => this.draw());
    new ResizeObserver(() => {
      this.width = Math.max(this.svg.clientWidth, 160);
      this.draw();
    }).observe(this.svg);
    this.listen();
  }

  describe() {
    const parts = this.spec.series.map((series) => {
      const known = series.values.filter((value) => value !== null);
      if (!known.length) return `${series.name}: no values`;
      const mean = known.reduce((sum, value) => sum + value, 0) / known.length;
      const texts = [Math.min(...known), Math.max(...known), mean].map((value) => format(value, this.spec.unit));
      return `${series.name} from ${texts[0]} to ${texts[1]}, mean ${texts[2]}`;
    });
    return `${this.spec.title} over time. ${parts.join("; ")}. Arrow keys move the frame, plus and minus zoom, 0 shows all.`;
  }

  x(time) {
    const [low, high] = this.axis.range;
    return MARGIN.left + (time - low) / (high - low) * (this.width - MARGIN.left - MARGIN.right);
  }

  y(value) { return MARGIN.top + (this.top - value) / (this.top - this.bottom) * (HEIGHT - MARGIN.top - MARGIN.bottom); }

  timeAt(event) {
    const left = this.svg.getBoundingClientRect().left;
    const share = (event.clientX - left - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right);
    return this.axis.range[0] + share * (this.axis.range[1] - this.axis.range[0]);
  }

  // The values seen decide the height; an error always starts at 0.
  scale() {
    const [low, high] = this.axis.range;
    let bottom = Infinity, top = -Infinity;
    for (const { values } of this.spec.series) {
      values.forEach((value, i) => {
        const time = this.axis.seconds[i];
        if (value === null || time < low - 1e-9 || time > high + 1e-9) return;
        bottom = Math.min(bottom, value);
        top = Math.max(top, value);
      });
    }
    if (bottom > top) [bottom, top] = [0, 1];
    if (this.spec.group === "error") bottom = 0;
    const least = this.spec.group === "error" ? 0.1 : this.spec.unit === "°" ? 2 : 0.2;
    const space = Math.max((top - bottom) * 0.08, (least - (top - bottom)) / 2, 1e-6);
    this.bottom = this.spec.group === "error" ? 0 : bottom - space;
    this.top = top + space;
  }

  draw() {
    this.scale();
    const { svg, width } = this;
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    svg.replaceChildren();
    const right = width - MARGIN.right, floor = HEIGHT - MARGIN.bottom;
    const clip = `clip-${this.spec.group}-${this.spec.title.replace(/\W/g, "")}`;
    const area = { x: MARGIN.left, y: 0, width: right - MARGIN.left, height: floor + 1 };
    element("rect", area, element("clipPath", { id: clip }, element("defs", {}, svg)));
    for (const tick of niceTicks(this.bottom, this.top, 4)) {
      const y = this.y(tick.value);
      element("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y, y2: y }, svg);
      element("text", { x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" }, svg, tick.label);
    }
    for (const tick of niceTicks(...this.axis.range, width / 80)) {
      const x = this.x(tick.value);
      const anchor = x > right - 14 ? "end" : "middle";
      element("text", { x, y: HEIGHT - 6, "text-anchor": anchor }, svg, `${tick.label} s`);
    }
    const curves = element("g", { "clip-path": `url(#${clip})` }, svg);
    for (const series of this.spec.series) {
      element("path", { class: `curve ${series.role}`, d: this.path(series.values) }, curves);
      if (this.spec.group === "error") {
        const known = series.values.filter((value) => value !== null);
        const y = this.y(known.reduce((sum, value) => sum + value, 0) / known.length);
        element("line", { class: `mean ${series.role}`, x1: MARGIN.left, x2: right, y1: y, y2: y }, curves);
      }
    }
    this.marks = element("g", { "clip-path": `url(#${clip})` }, svg);
    this.hover = element("line", { class: "hover", x1: -9, x2: -9, y1: MARGIN.top, y2: floor }, svg);
    this.pick = element("rect", { class: "pick", y: MARGIN.top, height: floor - MARGIN.top, width: 0 }, svg);
    this.markFrame();
  }

  path(values) {
    let d = "", open = false;
    values.forEach((value, i) => {
      if (value === null) { open = false; return; }
      const point = `${this.x(this.axis.seconds[i]).toFixed(1)} ${this.y(value).toFixed(1)}`;
      const alone = !open && (i + 1 === values.length || values[i + 1] === null);
      d += (open ? "L" : "M") + point + (alone ? "h0.1" : "");
      open = true;
    });
    return d;
  }

  markFrame() {
    if (!this.marks) return;
    const i = this.player.index, x = this.x(this.axis.seconds[i]);
    this.marks.replaceChildren();
    element("line", { class: "now", x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }, this.marks);
    const shown = this.spec.series.filter(({ role }) => role !== "truth");
    this.now.replaceChildren();
    for (const { values, role } of this.spec.series) {
      if (values[i] !== null) element("circle", { class: role, cx: x, cy: this.y(values[i]), r: 4 }, this.marks);
    }
    for (const { name, values, role } of shown) {
      if (shown.length > 1) this.now.append(dotOf(role), `${name} `);
      this.now.append(format(values[i], this.spec.unit));
    }
  }

  listen() {
    const { svg, axis, player, pointers } = this;
    svg.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      svg.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, event.clientX);
      this.from = pointers.size === 1 ? this.timeAt(event) : null;
      this.spread = pointers.size === 2 ? this.gap() : null;
    });
    svg.addEventListener("pointermove", (event) => {
      if (pointers.has(event.pointerId)) pointers.set(event.pointerId, event.clientX);
      if (pointers.size === 2) return this.pinch(event);
      if (pointers.size === 1 && this.from !== null) this.showPick(this.timeAt(event));
      this.showTip(event);
    });
    const end = (event) => {
      if (!pointers.delete(event.pointerId)) return;
      const start = this.from, stop = this.timeAt(event);
      this.from = null;
      this.pick.setAttribute("width", 0);
      if (start === null || event.type === "pointercancel") return;
      if (Math.abs(this.x(stop) - this.x(start)) > 8) axis.show(Math.min(start, stop), Math.max(start, stop));
      else player.go(axis.nearest(stop));
    };
    svg.addEventListener("pointerup", end);
    svg.addEventListener("pointercancel", end);
    svg.addEventListener("pointerleave", () => {
      this.tip?.remove();
      for (const end of ["x1", "x2"]) this.hover.setAttribute(end, -9);
    });
    svg.addEventListener("dblclick", () => axis.all());
    svg.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // else the page scrolls
      event.preventDefault();
      axis.zoom(Math.exp(event.deltaY * 0.004), this.timeAt(event));
    }, { passive: false });
    svg.addEventListener("keydown", (event) => {
      const now = axis.seconds[player.index];
      const actions = {
        ArrowRight: () => player.go(player.index + 1), ArrowLeft: () => player.go(player.index - 1),
        "+": () => axis.zoom(0.6, now), "=": () => axis.zoom(0.6, now), "-": () => axis.zoom(1 / 0.6, now),
        0: () => axis.all(), Escape: () => axis.all(),
      };
      if (!actions[event.key]) return;
      event.preventDefault();
      actions[event.key]();
      const texts = this.spec.series.map((s) => `${s.name} ${format(s.values[player.index], this.spec.unit)}`);
      player.say(`Frame ${player.names[player.index]}, ${texts.join(", ")}`);
    });
  }

  gap() {
    const [a, b] = [...this.pointers.values()];
    return Math.max(Math.abs(a - b), 10);
  }

  pinch(event) {
    const gap = this.gap();
    this.axis.zoom(this.spread / gap, this.timeAt(event));
    this.spread = gap;
  }

  showPick(time) {
    const a = this.x(this.from), b = Math.min(Math.max(this.x(time), MARGIN.left), this.width - MARGIN.right);
    this.pick.setAttribute("x", Math.min(a, b));
    this.pick.setAttribute("width", Math.abs(b - a));
  }

  showTip(event) {
    const i = this.axis.nearest(this.timeAt(event));
    this.tip ??= document.createElement("div");
    this.tip.className = "tip";
    this.tip.replaceChildren();
    const title = document.createElement("b");
    title.textContent = `${this.axis.seconds[i].toFixed(2)} s · frame ${this.player.names[i]}`;
    this.tip.append(title);
    for (const { name, role, values } of this.spec.series) {
      const line = document.createElement("div");
      line.append(dotOf(role), `${name} ${format(values[i], this.spec.unit)}`);
      this.tip.append(line);
    }
    this.box.append(this.tip);
    const inside = this.svg.getBoundingClientRect(), outside = this.box.getBoundingClientRect();
    const x = inside.left - outside.left + this.x(this.axis.seconds[i]), room = this.box.clientWidth - this.tip.offsetWidth - 4;
    const side = x + 14 + this.tip.offsetWidth < this.box.clientWidth ? x + 14 : x - 14 - this.tip.offsetWidth;
    this.tip.style.left = `${Math.min(Math.max(side, 4), Math.max(room, 4))}px`;
    this.tip.style.top = `${inside.top - outside.top + 6}px`;
    for (const end of ["x1", "x2"]) this.hover.setAttribute(end, this.x(this.axis.seconds[i]));
  }
}
