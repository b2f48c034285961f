// `<parallel-coordinates>`: a vertical axis per param or metric, a line per run. Dragging along an axis keeps the runs
// that pass there; so do two numbers per axis, for the keyboard. It tells `brushed` with the ids that are kept.
//
// A child `<script type="application/json">` has `{axes: [{name, kind: "number" | "text", values}], runs: [{run_id,
// run_name}]}`, values in the order of the runs.

import { SIX, coloursOfRuns, dashOf } from "./colours.js";
import { make } from "./dom.js";
import { number } from "./numbers.js";

const SVG = "http://www.w3.org/2000/svg";
const [HEIGHT, TOP, BOTTOM, SIDE, NARROWEST] = [280, 30, 22, 56, 96];

class ParallelCoordinates extends HTMLElement {
  #data = null;
  #text = "";
  #axes = []; // `{name, kind, values, least, greatest, words}`
  #brushes = new Map(); // axis index to `[least, greatest]` in places from 0 (bottom) to 1
  #parts = null;
  #near = null;
  #ends = [];

  connectedCallback() {
    this.#parts ??= this.#makeParts();
    const resizing = new ResizeObserver(() => this.#draw());
    resizing.observe(this.#parts.scroll);
    const ending = new AbortController();
    document.addEventListener("studio:changed", () => this.#read(), { signal: ending.signal });
    this.#ends = [() => resizing.disconnect(), () => ending.abort()];
    this.#read();
  }

  connectedMoveCallback() {}

  disconnectedCallback() {
    for (const end of this.#ends) end();
  }

  #makeParts() {
    const scroll = make("div", { className: "parallel-scroll", tabIndex: 0, role: "region", "aria-label": "Parallel coordinates, a line per run" });
    const kept = make("p", { className: "muted", role: "status" });
    const ranges = make("div", { className: "parallel-ranges" });
    const clear = make("button", { type: "button", className: "button", textContent: "Keep all", hidden: true });
    clear.addEventListener("click", () => {
      this.#brushes.clear();
      this.#brushed();
      this.#fillRanges();
    });
    this.append(scroll, make("div", { className: "bar" }, kept, clear), make("details", {}, make("summary", { textContent: "Keep by values" }), ranges));
    return { scroll, kept, ranges, clear };
  }

  #read() {
    const text = this.querySelector(":scope > script")?.textContent ?? "";
    if (!text || text === this.#text) return;
    this.#text = text;
    this.#data = JSON.parse(text);
    this.#axes = this.#data.axes.map(prepareAxis);
    this.#fillRanges();
    this.#draw();
    this.#showKept();
  }

  /** Where run `run` passes axis `at`: 0 at the bottom to 1, or null if it has no value. */
  #place(at, run) {
    const axis = this.#axes[at];
    const value = axis.values[run];
    if (value === null || value === "") return null;
    if (axis.kind === "text") return axis.words.length > 1 ? axis.words.indexOf(String(value)) / (axis.words.length - 1) : 0.5;
    return axis.greatest > axis.least ? (value - axis.least) / (axis.greatest - axis.least) : 0.5;
  }

  #isKept(run) {
    for (const [at, [least, greatest]] of this.#brushes) {
      const place = this.#place(at, run);
      if (place === null || place < least - 1e-9 || place > greatest + 1e-9) return false;
    }
    return true;
  }

  #draw() {
    if (!this.#axes.length || !this.#parts.scroll.clientWidth) return;
    const width = Math.max(this.#parts.scroll.clientWidth, 2 * SIDE + (this.#axes.length - 1) * NARROWEST);
    const apart = this.#axes.length > 1 ? (width - 2 * SIDE) / (this.#axes.length - 1) : 0;
    const x = (at) => SIDE + at * apart;
    const y = (place) => TOP + (1 - place) * (HEIGHT - TOP - BOTTOM);
    const svg = shape("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" });
    const colours = coloursOfRuns(this, this.#data.runs.map((run) => run.run_id));
    const lines = this.#data.runs.map((run, index) => {
      const points = this.#axes.map((_, at) => [x(at), this.#place(at, index)]).filter(([, place]) => place !== null);
      const line = shape("path", { class: "run", d: points.map(([left, place], at) => `${at ? "L" : "M"}${left} ${y(place)}`).join("") });
      line.style.stroke = `var(--curve-${colours[index] % SIX})`;
      line.style.strokeDasharray = dashOf(colours[index]).join(" ");
      line.append(shape("title", {}, run.run_name));
      line.addEventListener("pointerenter", () => this.#standOut(index));
      line.addEventListener("pointerleave", () => this.#standOut(null));
      return line;
    });
    this.#parts.lines = lines;
    svg.append(...lines);
    this.#axes.forEach((axis, at) => svg.append(this.#drawAxis(axis, at, x(at), apart || width / 2, y)));
    this.#parts.scroll.replaceChildren(svg);
    this.#showLines();
  }

  /** Where an axis has its name: in the middle above it; the first and the last within the chart. */
  #nameAt(at, left) {
    if (at === 0) return { x: left - SIDE + 4, "text-anchor": "start" };
    if (at === this.#axes.length - 1) return { x: left + SIDE - 4, "text-anchor": "end" };
    return { x: left, "text-anchor": "middle" };
  }

  #drawAxis(axis, at, left, room, y) {
    const group = shape("g", {});
    const name = axis.name.length > room / 6.6 ? `…${axis.name.slice(-Math.max(3, Math.floor(room / 6.6)))}` : axis.name;
    group.append(
      shape("line", { class: "axis-line", x1: left, x2: left, y1: y(1), y2: y(0) }),
      shape("text", { class: "axis-name", y: 12, ...this.#nameAt(at, left) }, name),
    );
    const ends = axis.kind === "text" ? wordsWithRoom(axis.words) : [[0, number(axis.least, 4)], [1, number(axis.greatest, 4)]];
    for (const [place, text] of ends) {
      const lift = axis.kind === "text" ? 4 : place ? -5 : 14;
      const across = axis.kind === "text" ? { x: left + 6, "text-anchor": "start" } : { x: left, "text-anchor": "middle" };
      group.append(shape("text", { ...across, y: y(place) + lift }, text.length > 14 ? `${text.slice(0, 13)}…` : text));
    }
    const brush = shape("rect", { class: "brush", x: left - 7, width: 14, y: 0, height: 0 });
    const area = shape("rect", { class: "brush-area", x: left - 12, width: 24, y: y(1) - 8, height: y(0) - y(1) + 16 });
    const show = () => {
      const range = this.#brushes.get(at);
      brush.setAttribute("y", range ? y(range[1]) : 0);
      brush.setAttribute("height", range ? Math.max(2, y(range[0]) - y(range[1])) : 0);
    };
    show();
    area.addEventListener("pointerdown", (event) => this.#drag(event, at, area, y, show));
    group.append(brush, area);
    return group;
  }

  #drag(event, at, area, y, show) {
    const top = area.ownerSVGElement.getBoundingClientRect().top;
    const placeOf = (moved) => Math.min(1, Math.max(0, (y(0) - (moved.clientY - top)) / (y(0) - y(1))));
    const from = placeOf(event);
    const ending = new AbortController();
    area.setPointerCapture(event.pointerId);
    this.#brushes.delete(at); // a click alone takes the brush away
    area.addEventListener("pointermove", (moved) => {
      const to = placeOf(moved);
      if (Math.abs(to - from) > 0.01) this.#brushes.set(at, [Math.min(from, to), Math.max(from, to)]);
      show();
      this.#showLines();
    }, { signal: ending.signal });
    area.addEventListener("lostpointercapture", () => {
      ending.abort();
      show();
      this.#brushed();
      this.#fillRanges();
    }, { signal: ending.signal });
  }

  #brushed() {
    this.#showLines();
    this.#showKept();
    if (this.#parts.clear.hidden !== (this.#brushes.size === 0)) this.#parts.clear.hidden = this.#brushes.size === 0;
    this.#draw();
    const runIds = this.#data.runs.filter((_, index) => this.#isKept(index)).map((run) => run.run_id);
    this.dispatchEvent(new CustomEvent("brushed", { bubbles: true, detail: { runIds } }));
  }

  #showLines() {
    this.#parts.lines?.forEach((line, index) => {
      line.classList.toggle("left-out", !this.#isKept(index));
      line.classList.toggle("near", index === this.#near);
    });
  }

  #showKept() {
    const kept = this.#data.runs.filter((_, index) => this.#isKept(index));
    const names = kept.length <= 5 && this.#brushes.size ? `: ${kept.map((run) => run.run_name).join(", ")}` : "";
    this.#parts.kept.textContent = `${kept.length} of ${this.#data.runs.length} runs${names}. Drag along an axis to keep those that pass there.`;
  }

  #standOut(index) {
    this.#near = index;
    this.#showLines();
  }

  #fillRanges() {
    this.#parts.ranges.replaceChildren(...this.#axes.map((axis, at) => (axis.kind === "text" ? this.#wordField(axis, at) : this.#numberFields(axis, at))));
  }

  #numberFields(axis, at) {
    const range = this.#brushes.get(at);
    const value = (place) => axis.least + place * (axis.greatest - axis.least);
    const fields = [0, 1].map((end) => make("input", { type: "number", step: "any", value: range ? Number(value(range[end]).toPrecision(6)) : "", placeholder: number(end ? axis.greatest : axis.least, 4), "aria-label": `${axis.name}, ${end ? "greatest" : "least"}` }));
    const changed = () => {
      const span = axis.greatest - axis.least || 1;
      const [least, greatest] = fields.map((field, end) => (field.value === "" ? end : (Number(field.value) - axis.least) / span));
      if (fields.every((field) => field.value === "")) this.#brushes.delete(at);
      else this.#brushes.set(at, [least, greatest]);
      this.#brushed();
    };
    for (const field of fields) field.addEventListener("change", changed);
    return make("fieldset", {}, make("legend", { textContent: axis.name }), fields[0], "to", fields[1]);
  }

  #wordField(axis, at) {
    const select = make("select", { "aria-label": axis.name }, new Option("all", ""), ...axis.words.map((word) => new Option(word, word)));
    const range = this.#brushes.get(at);
    select.value = range && range[0] === range[1] ? axis.words[Math.round(range[0] * (axis.words.length - 1))] : "";
    select.addEventListener("change", () => {
      const place = axis.words.length > 1 ? axis.words.indexOf(select.value) / (axis.words.length - 1) : 0.5;
      if (select.value === "") this.#brushes.delete(at);
      else this.#brushes.set(at, [place, place]);
      this.#brushed();
    });
    return make("fieldset", {}, make("legend", { textContent: axis.name }), select);
  }
}

function prepareAxis(axis) {
  if (axis.kind === "text") {
    const words = [...new Set(axis.values.filter((value) => value !== null && value !== "").map(String))].sort();
    return { ...axis, words, least: 0, greatest: 1 };
  }
  const known = axis.values.filter((value) => value !== null);
  return { ...axis, words: [], least: known.length ? Math.min(...known) : 0, greatest: known.length ? Math.max(...known) : 1 };
}

function wordsWithRoom(words) {
  const every = Math.ceil(words.length / 12);
  return words.map((word, index) => [words.length > 1 ? index / (words.length - 1) : 0.5, word]).filter((_, index) => index % every === 0);
}

function shape(name, attributes, text = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
}

customElements.define("parallel-coordinates", ParallelCoordinates);
