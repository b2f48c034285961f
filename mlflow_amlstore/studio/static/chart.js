// `<metric-chart>`: a chart of curves over uPlot. It asks the server for as many columns as it has pixels, when it is
// seen; a zoom asks again for the window. It has a cursor for the keyboard that is read out, and a table behind it.
//
// Attributes: `heading`; `description`; `src`, where its JSON is (or a child `<script type="application/json">` has it); `kind`: line,
// xy or scatter; `of`, what its curves are of (runs); `marks` marks minimum and maximum; `legend="none"`; `tall`.

import { refusal } from "./answers.js";
import * as settings from "./chart-settings.js";
import { coloursOfRuns, swatchOf, whenThemeChanges } from "./colours.js";
import { joinedX, nearest, prepare, valueAt, xRange, yRange } from "./chart-data.js";
import { drawCurves } from "./chart-drawing.js";
import { options } from "./chart-options.js";
import { openTable, xText, yText } from "./chart-table.js";
import { make } from "./dom.js";
import { count, number } from "./numbers.js";
import { uPlot } from "./uplot.js";

const ZOOM_WAIT_MS = 120;
const MOST_IN_LEGEND = 12;
const MOST_IN_TIP = 8;
const MOST_READ_OUT = 4;
const KEYS = "Arrow keys move the cursor, up and down choose a curve, plus and minus zoom, 0 shows all, Enter opens a table.";

const PARTS = `
  <div class="chart-head"><h2></h2><span class="chart-value"></span></div>
  <div class="chart-plot" tabindex="0" role="application" aria-roledescription="chart">
    <div class="chart-message" hidden><p></p></div>
    <div class="chart-tip" aria-hidden="true" hidden></div>
  </div>
  <ul class="chart-legend" hidden></ul>
  <div class="chart-foot"><span class="chart-note"></span><button type="button" data-part="all" hidden>Show all</button><button type="button" data-part="table">Table</button></div>
  <p class="visually-hidden" aria-live="polite" data-part="live"></p>`;

class MetricChart extends HTMLElement {
  static observedAttributes = ["src", "heading", "description", "kind", "marks", "legend"];

  #answer = null; // what the server said last, and for which address
  #answerText = "";
  #data = null; // the same, prepared for drawing
  #plot = null;
  #window = null; // the x that is zoomed to, or null for all
  #full = null; // the x of all points
  #ranges = { x: [0, 1], y: [0, 1] };
  #colours = [];
  #near = null; // index of the curve that stands out
  #pinned = null; // the one that the legend or the keyboard holds
  #cursorX = null;
  #seen = false;
  #stale = true;
  #request = null;
  #timer = 0;
  #ends = [];
  #parts = null;

  /** What gives the JSON of an address: the server, or in a notebook its kernel. */
  source = fromServer;

  connectedCallback() {
    this.#parts ??= this.#makeParts();
    this.#nameParts();
    const observer = new IntersectionObserver((entries) => this.#whenSeen(entries.at(-1).isIntersecting), { rootMargin: "120px" });
    observer.observe(this);
    const resizing = new ResizeObserver(() => this.#whenResized());
    resizing.observe(this.#parts.plot);
    const ending = new AbortController();
    document.addEventListener("studio:changed", (event) => event.detail.waits.push(this.refresh()), { signal: ending.signal });
    document.addEventListener("studio:query", (event) => this.#whenSettingsChange(event.detail.names), { signal: ending.signal });
    this.#ends = [() => observer.disconnect(), () => resizing.disconnect(), () => ending.abort(), whenThemeChanges(() => this.#plot?.redraw())];
  }

  connectedMoveCallback() {} // moved within the page: nothing to make again

  disconnectedCallback() {
    for (const end of this.#ends) end();
    this.#request?.abort();
    clearTimeout(this.#timer);
    this.#plot?.destroy();
    this.#plot = null;
    this.#seen = false;
    this.#stale = true;
  }

  attributeChangedCallback(name, before, after) {
    if (!this.#parts || before === after) return;
    if (name === "heading" || name === "description") this.#nameParts();
    else if (name === "src") this.#askSoon(0);
    else this.#prepareAndDraw();
  }

  /** Asks the server again, now if the chart is seen and else when it is; the zoom stays. */
  async refresh() {
    if (this.getAttribute("src") === null) {
      this.recolour();
      this.#readInline();
      return;
    }
    clearTimeout(this.#timer);
    this.#stale = true;
    if (this.#seen) await this.#ask();
  }

  /** Takes the colours of its runs from the page again. */
  recolour() {
    if (!this.#data) return;
    this.#colours = this.#coloursOf(this.#data.curves);
    this.#fillLegend();
    this.#plot?.redraw();
  }

  /** Shows the x from `from` to `to`, and asks the server for the points between them. */
  zoom(from, to) {
    if (!this.#full || !(to > from)) return;
    this.#window = [from, to];
    this.#prepareAndDraw();
    this.#askSoon(ZOOM_WAIT_MS);
  }

  /** Shows all points. */
  showAll() {
    if (this.#window === null) return;
    this.#window = null;
    this.#prepareAndDraw();
    this.#askSoon(ZOOM_WAIT_MS);
  }

  /** Whether the latest answer is drawn, were it that there is nothing to draw. */
  get isDrawn() {
    return this.#answer !== null && !this.#stale;
  }

  /** The x and the y from edge to edge of the plot. */
  get ranges() {
    return this.#ranges;
  }

  #coloursOf(curves) {
    return coloursOfRuns(this, curves.map((curve) => curve.runId), { onlyGiven: this.#kind === "scatter" });
  }

  // What the server knows

  get #of() {
    return this.getAttribute("of") ?? "runs";
  }

  get #kind() {
    return this.getAttribute("kind") ?? "line";
  }

  #whenSeen(isSeen) {
    this.#seen = isSeen;
    if (!isSeen || !this.#stale) return;
    if (this.getAttribute("src") === null) this.refresh();
    else this.#ask();
  }

  #askSoon(waitMs) {
    this.#stale = true;
    clearTimeout(this.#timer);
    if (this.#seen && this.getAttribute("src") !== null) this.#timer = setTimeout(() => this.#ask(), waitMs);
  }

  async #ask() {
    const src = this.getAttribute("src");
    this.#stale = false;
    this.#request?.abort();
    if (!src) {
      this.#say("No run is chosen");
      return;
    }
    const request = new AbortController();
    this.#request = request;
    try {
      const text = await this.source(this.#address(src), request.signal);
      if (request.signal.aborted) return;
      if (text !== this.#answerText) {
        const answer = JSON.parse(text);
        this.#answerText = text;
        this.#answer = answer;
        this.#prepareAndDraw();
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#stale = true;
      this.#say(this.#data ? "" : error.message, "error");
      this.#parts.note.textContent = this.#data ? `Not up to date: ${error.message}` : "";
    }
  }

  #address(src) {
    const url = new URL(src, document.baseURI);
    if (this.#kind === "line") {
      url.searchParams.set("points", String(this.#columns()));
      url.searchParams.set("x", settings.serverAxis(settings.read().axis));
      if (this.#window) {
        const begins = this.#data.curves.map((curve) => curve.begin); // the window of relative times, in each run's own
        url.searchParams.set("from", String(Math.floor(this.#window[0] + Math.min(...begins))));
        url.searchParams.set("to", String(Math.ceil(this.#window[1] + Math.max(...begins))));
      }
    }
    return url;
  }

  #columns() {
    const width = this.#plot ? this.#plot.bbox.width / devicePixelRatio : this.#parts.plot.clientWidth - 44;
    return Math.max(50, Math.round(width));
  }

  #readInline() {
    const script = this.querySelector(':scope > script[type="application/json"]');
    this.#stale = false;
    if (!script || script.textContent === this.#answerText) return;
    this.#answerText = script.textContent;
    this.#answer = JSON.parse(this.#answerText);
    this.#prepareAndDraw();
  }

  #whenSettingsChange(names) {
    if (names.includes("axis") && this.getAttribute("src") !== null && this.#kind === "line") {
      this.#window = null;
      this.#askSoon(0);
      // The same times are drawn from another start at once; steps have to be asked for.
      if (this.#answer?.x === settings.serverAxis(settings.read().axis)) this.#prepareAndDraw();
    } else if (names.some((name) => ["axis", "scale", "smooth", "clip", "marks"].includes(name))) this.#prepareAndDraw();
  }

  // Drawing

  #prepareAndDraw() {
    if (!this.#answer) return;
    const how = settings.read();
    this.#data = prepare(this.#answer, how);
    if (this.#data.yKind !== "number") how.scale = "linear";
    const { curves } = this.#data;
    this.#pinned = this.#pinned !== null && this.#pinned < curves.length ? this.#pinned : null;
    this.#near = this.#pinned;
    if (!this.#window || !this.#full) this.#full = xRange(curves);
    const shown = this.#window ?? this.#full;
    if (!shown) {
      this.#plot?.destroy();
      this.#plot = null;
      this.#say(this.#answer.message ?? (curves.length > 1 ? "None of these runs has points yet" : "No points yet"));
      this.#fill({ beyond: 0, belowZero: 0 });
      return;
    }
    const y = yRange(curves, shown, how);
    this.#say(y.empty && how.scale === "log" && y.belowZero ? "A log scale has no place for values of 0 and less" : "");
    this.#ranges = { x: roomFor(shown, this.#window === null, this.#kind, this.#data.xKind), y: y.range };
    this.#colours = this.#coloursOf(curves);
    this.#fill(y);
    this.#plotAgain(how);
  }

  #plotAgain(how) {
    const { clientWidth: width, clientHeight: height } = this.#parts.plot;
    if (!width) return;
    const shape = [this.#data.xKind, this.#data.yKind, how.scale, ...this.#data.xWords, ...this.#data.yWords].join(" ");
    if (this.#plot && this.#plot.shape !== shape) {
      this.#plot.destroy();
      this.#plot = null;
    }
    if (this.#plot) {
      this.#plot.setData([this.#ranges.x, [0, 0]]);
      return;
    }
    const when = { draw: (plot) => this.#draw(plot), cursor: (plot) => this.#whenCursorMoves(plot), select: (plot) => this.#whenSelected(plot), reset: () => this.showAll() };
    const made = options({ width, height, data: this.#data, log: how.scale === "log", ranges: () => this.#ranges, when });
    this.#plot = new uPlot(made, [this.#ranges.x, [0, 0]], this.#parts.plot);
    this.#plot.shape = shape;
    this.#parts.dots = [];
  }

  #draw(plot) {
    const marks = this.hasAttribute("marks") || settings.read().marks;
    drawCurves(plot, { curves: this.#data.curves, colours: this.#colours, kind: this.#kind, near: this.#near, marks });
  }

  #whenResized() {
    const { clientWidth: width, clientHeight: height } = this.#parts.plot;
    if (!width || !this.#data) return;
    if (!this.#plot) {
      this.#prepareAndDraw();
      return;
    }
    if (this.#plot.width === width && this.#plot.height === height) return;
    const before = this.#columns();
    this.#plot.setSize({ width, height });
    if (this.#columns() > before * 1.25) this.#askSoon(ZOOM_WAIT_MS);
  }

  // Words around the plot

  #makeParts() {
    const template = document.createElement("template");
    template.innerHTML = PARTS;
    this.append(template.content);
    const part = (selector) => this.querySelector(selector);
    const parts = {
      heading: part(".chart-head > h2"),
      value: part(".chart-value"),
      plot: part(".chart-plot"),
      message: part(".chart-message"),
      tip: part(".chart-tip"),
      legend: part(".chart-legend"),
      note: part(".chart-note"),
      all: part('[data-part="all"]'),
      table: part('[data-part="table"]'),
      live: part('[data-part="live"]'),
      dots: [],
    };
    parts.plot.addEventListener("keydown", (event) => this.#whenKey(event));
    parts.plot.addEventListener("blur", () => this.#leave());
    parts.plot.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch") this.#touch(event);
    });
    parts.table.addEventListener("click", () => this.#openTable());
    parts.all.addEventListener("click", () => {
      this.showAll();
      parts.plot.focus({ preventScroll: true });
    });
    return parts;
  }

  #nameParts() {
    const heading = this.getAttribute("heading") ?? "";
    const description = this.getAttribute("description") || this.#answer?.description || "";
    this.#parts.heading.replaceChildren(heading);
    this.#parts.heading.title = description ? `${heading}: ${description}` : heading;
    if (description) {
      const small = document.createElement("small");
      small.textContent = description;
      this.#parts.heading.append(small);
    }
    this.#parts.plot.setAttribute("aria-label", `${heading}, chart. ${KEYS}`);
    this.#parts.table.setAttribute("aria-label", `Table of ${heading}`);
    this.#parts.all.setAttribute("aria-label", `Show all of ${heading}`);
  }

  #fill({ beyond, belowZero }) {
    const { curves, drawn, pointsInAll, pointsInWindow } = this.#data;
    this.#nameParts();
    this.#parts.value.textContent = this.#valueText();
    const unit = (size) => `${count(size)} ${size === 1 ? "point" : "points"}`;
    const notes = [];
    const runs = curves.reduce((sum, curve) => sum + (curve.runs ?? 0), 0);
    if (runs > 0) notes.push(`Mean ± deviation of ${count(runs)} ${runs === 1 ? "run" : "runs"}`);
    else if (this.#window) notes.push(`${count(pointsInWindow)} of ${unit(pointsInAll)}`);
    else if (this.#answer.is_cut) notes.push(`The ${count(drawn)} latest started; others aren't drawn`);
    else if (pointsInAll > 0) notes.push(drawn < pointsInWindow ? unit(pointsInAll) : pointsInAll === 1 ? "1 point" : `All ${unit(pointsInAll)}`);
    const outliers = beyond - belowZero;
    if (outliers > 0) notes.push(`${count(outliers)} ${outliers === 1 ? "outlier" : "outliers"} beyond the edge`);
    if (belowZero > 0) notes.push(`${count(belowZero)} of 0 or less not drawn`);
    if (drawn < pointsInWindow && runs === 0) notes.push("minimum and maximum of each column drawn");
    const over = `${this.#data.yName} over ${this.#data.xName}`;
    if (this.#kind !== "line" && this.getAttribute("heading") !== over) notes.push(over);
    this.#parts.note.textContent = this.#parts.note.title = notes.join(", ");
    this.#parts.all.hidden = this.#window === null;
    this.#fillLegend();
  }

  #valueText() {
    const { curves } = this.#data;
    if (curves.length !== 1 || this.#kind !== "line") return curves.length < 2 ? "" : `${count(curves.length)} ${this.#of}`;
    if (this.#window) return this.#parts.value.textContent;
    const [{ xs, ys, infinite }] = curves;
    const lastX = xs.at(-1);
    const beyond = infinite.at(-1);
    if (beyond && (lastX === undefined || beyond[0] >= lastX)) return number(beyond[1] * Infinity);
    return ys.length ? number(ys.at(-1) ?? NaN) : "";
  }

  #fillLegend() {
    const { curves } = this.#data;
    const { legend } = this.#parts;
    const isShown = this.getAttribute("legend") !== "none" && curves.length > 1;
    legend.hidden = !isShown;
    if (!isShown) return legend.replaceChildren();
    const shown = curves.slice(0, MOST_IN_LEGEND);
    const more = curves.length - shown.length;
    legend.querySelector(":scope > .muted")?.remove();
    while (legend.children.length > shown.length) legend.lastElementChild.remove();
    while (legend.children.length < shown.length) legend.append(this.#legendItem(legend.children.length));
    shown.forEach((curve, index) => {
      const button = legend.children[index].firstElementChild;
      button.firstElementChild.dataset.colour = swatchOf(this.#colours[index] ?? index);
      button.lastElementChild.textContent = curve.name;
      button.setAttribute("aria-pressed", String(this.#pinned === index));
    });
    if (more > 0) legend.append(make("li", { className: "muted", textContent: `and ${count(more)} more` }));
    return undefined;
  }

  #legendItem(index) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    button.append(swatch, document.createElement("span"));
    button.addEventListener("pointerenter", () => this.#standOut(index));
    button.addEventListener("pointerleave", () => this.#standOut(this.#pinned));
    button.addEventListener("click", () => {
      this.#pinned = this.#pinned === index ? null : index;
      this.#standOut(this.#pinned);
      this.#fillLegend();
    });
    item.append(button);
    return item;
  }

  #standOut(index) {
    if (this.#near === index) return;
    this.#near = index;
    this.#plot?.redraw(false);
  }

  #say(text, kind = "") {
    this.#parts.message.hidden = !text;
    this.#parts.message.dataset.kind = kind;
    this.#parts.message.firstElementChild.textContent = text;
  }

  // The pointer

  #whenCursorMoves(plot) {
    const { left, top } = plot.cursor;
    if (this.#movedByKey) return;
    if (left === undefined || left < 0) {
      if (this.getRootNode().activeElement !== this.#parts.plot || this.#cursorX === null) this.#leave();
      return;
    }
    this.#cursorX = null;
    const points = this.#pointsAt(plot.posToVal(left, "x"), top);
    if (this.#pinned === null) this.#standOut(points.length > 1 && points[0].distance < 24 ? points[0].index : null);
    this.#tip(points, left);
  }

  /** The point of each curve that is nearest to `x`, the one nearest to the height `top` first. */
  #pointsAt(x, top) {
    const points = [];
    this.#data.curves.forEach((curve, index) => {
      const at = nearest(curve, x);
      if (at === null) return;
      const shown = curve.smoothed?.[at] ?? curve.ys[at];
      const [left, height] = [this.#plot.valToPos(curve.xs[at], "x"), this.#plot.valToPos(shown, "y")];
      if (left < -4 || left > this.#plot.bbox.width / devicePixelRatio + 4) return;
      const distance = top === null ? 0 : Math.abs(height - top) + (curve.sorted ? 0 : Math.abs(left - this.#plot.valToPos(x, "x")));
      points.push({ index, at, x: curve.xs[at], y: curve.ys[at], smoothed: curve.smoothed?.[at] ?? null, left, height, distance });
    });
    return top === null ? points : points.sort((one, other) => one.distance - other.distance);
  }

  #tip(points, left) {
    const { tip } = this.#parts;
    tip.hidden = points.length === 0;
    this.#dots(points);
    if (!points.length) return;
    const head = document.createElement("div");
    head.textContent = `${this.#data.xName} ${xText(this.#data, points[0].x)}`;
    const rows = points.slice(0, MOST_IN_TIP).map((point) => this.#tipRow(point));
    if (points.length > MOST_IN_TIP) {
      const more = document.createElement("div");
      more.className = "muted";
      more.textContent = `and ${points.length - MOST_IN_TIP} more`;
      rows.push(more);
    }
    tip.replaceChildren(head, ...rows);
    const offset = this.#plot.over.offsetLeft;
    const { clientWidth } = this.#parts.plot;
    const right = offset + left + 14;
    tip.style.left = `${right + tip.offsetWidth > clientWidth ? Math.max(0, offset + left - tip.offsetWidth - 14) : right}px`;
  }

  #tipRow({ index, x, y, smoothed }) {
    const curve = this.#data.curves[index];
    const row = document.createElement("div");
    if (index === this.#near) row.className = "near";
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.dataset.colour = swatchOf(this.#colours[index]);
    const name = document.createElement("span");
    name.textContent = curve.sorted ? curve.name : `${curve.name} at ${xText(this.#data, x)}`;
    const value = document.createElement("span");
    value.textContent = smoothed === null ? yText(this.#data, y) : `${number(y)} (${number(smoothed)})`;
    row.append(swatch, name, value);
    return row;
  }

  #dots(points) {
    const { dots } = this.#parts;
    const shown = points.slice(0, MOST_IN_TIP);
    while (dots.length < shown.length) {
      const dot = document.createElement("span");
      dot.className = "swatch chart-dot";
      this.#plot.over.append(dot);
      dots.push(dot);
    }
    dots.forEach((dot, index) => {
      const point = shown[index];
      dot.hidden = !point || !Number.isFinite(point.height);
      if (dot.hidden) return;
      dot.dataset.colour = swatchOf(this.#colours[point.index]);
      dot.style.transform = `translate(${point.left - 4}px, ${point.height - 4}px)`;
    });
  }

  #leave() {
    this.#parts.tip.hidden = true;
    this.#cursorX = null;
    this.#standOut(this.#pinned);
    for (const dot of this.#parts.dots) dot.hidden = true;
  }

  #touch(event) {
    if (!this.#plot) return;
    const place = this.#plot.over.getBoundingClientRect();
    this.#plot.setCursor({ left: event.clientX - place.left, top: event.clientY - place.top });
  }

  #whenSelected(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    const [from, to] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.zoom(from, to);
  }

  // The keyboard

  #movedByKey = false;

  #whenKey(event) {
    if (!this.#plot || event.ctrlKey || event.metaKey || event.altKey) return;
    const far = event.shiftKey ? 10 : 1;
    const actions = {
      ArrowLeft: () => this.#step(-far),
      ArrowRight: () => this.#step(far),
      PageUp: () => this.#step(-50),
      PageDown: () => this.#step(50),
      Home: () => this.#step(-Infinity),
      End: () => this.#step(Infinity),
      ArrowUp: () => this.#choose(-1),
      ArrowDown: () => this.#choose(1),
      "+": () => this.#zoomBy(0.5),
      "=": () => this.#zoomBy(0.5),
      "-": () => this.#zoomBy(2),
      0: () => {
        this.showAll();
        this.#readOut("All points");
      },
      Enter: () => this.#openTable(),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  /** Moves the cursor by points: those of the chosen curve, or of all. */
  #step(by) {
    const xs = joinedX(this.#pinned === null ? this.#data.curves : [this.#data.curves[this.#pinned]], this.#window ?? this.#full);
    if (!xs.length) return;
    let at = this.#cursorX === null ? (by < 0 ? xs.length : -1) : xs.findIndex((x) => x >= this.#cursorX);
    if (at === -1 && this.#cursorX !== null) at = xs.length - 1;
    at = Math.max(0, Math.min(xs.length - 1, at + by));
    this.#showAt(xs[at]);
  }

  #choose(by) {
    const size = this.#data.curves.length;
    if (size < 2) return;
    const places = size + 1; // each curve, and all of them
    const now = this.#pinned === null ? size : this.#pinned;
    const next = (now + by + places) % places;
    this.#pinned = next === size ? null : next;
    this.#standOut(this.#pinned);
    this.#fillLegend();
    const name = this.#pinned === null ? `All ${size} ${this.#of}` : this.#data.curves[this.#pinned].name;
    if (this.#cursorX === null) this.#readOut(name);
    else this.#showAt(this.#cursorX);
  }

  #zoomBy(factor) {
    const [from, to] = this.#window ?? this.#full;
    const centre = this.#cursorX ?? (from + to) / 2;
    const [least, greatest] = this.#full;
    const width = (to - from) * factor;
    if (width >= greatest - least) this.showAll();
    else {
      const start = Math.min(Math.max(least, centre - width * ((centre - from) / (to - from))), greatest - width);
      this.zoom(start, start + width);
    }
    const [now, then] = this.#window ?? this.#full;
    this.#readOut(`${this.#data.xName} ${xText(this.#data, now)} to ${xText(this.#data, then)}`);
    if (this.#cursorX !== null) this.#moveCursor(this.#cursorX);
  }

  #showAt(x) {
    const points = this.#moveCursor(x);
    const said = [];
    for (const [index, curve] of this.#data.curves.entries()) {
      if (this.#pinned !== null && this.#pinned !== index) continue;
      const value = valueAt(curve, x);
      if (value !== undefined) said.push(this.#data.curves.length > 1 ? `${curve.name} ${yText(this.#data, value)}` : yText(this.#data, value));
    }
    const more = said.length > MOST_READ_OUT ? `, and ${said.length - MOST_READ_OUT} more` : "";
    this.#readOut(`${this.#data.xName} ${xText(this.#data, x)}: ${said.slice(0, MOST_READ_OUT).join(", ")}${more}`);
    return points;
  }

  #moveCursor(x) {
    this.#cursorX = x;
    const points = this.#pointsAt(x, null).filter((point) => point.x === x && (this.#pinned === null || point.index === this.#pinned));
    const left = this.#plot.valToPos(x, "x");
    this.#movedByKey = true;
    this.#plot.setCursor({ left, top: points[0]?.height ?? 0 });
    this.#movedByKey = false;
    this.#tip(points, left);
    return points;
  }

  #readOut(text) {
    this.#parts.live.textContent = text;
  }

  #openTable() {
    if (this.#data && this.#full) openTable(this, this.getAttribute("heading") ?? "", this.#data, this.#window ?? this.#full, this.#kind);
  }
}

/** The x to show: at the full range a single point has room around it, and dots aren't cut in half. */
function roomFor([from, to], isFull, kind, xKind) {
  if (from === to) {
    const aside = xKind === "elapsed" || xKind === "clock" ? 30_000 : 1;
    return [from - aside, to + aside];
  }
  const room = isFull && kind !== "line" ? (to - from) * 0.04 : 0;
  return [from - room, to + room];
}

async function fromServer(url, signal) {
  const response = await fetch(url, { signal, headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(await refusal(response));
  return response.text();
}

if (!customElements.get("metric-chart")) customElements.define("metric-chart", MetricChart);
