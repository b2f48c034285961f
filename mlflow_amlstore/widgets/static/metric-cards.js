// The metrics of a run: numbers at the top, then a card for each chart. A chart of a line has the curve that the kernel
// sent; a zoom or another axis asks it for one.

import { make } from "./dom.js";
import { count, number } from "./numbers.js";

const shownCell = (cell) => (typeof cell === "number" ? number(cell) : cell === null ? "" : String(cell));

export class MetricCards {
  constructor(ask, get) {
    this.ask = ask;
    this.get = get;
    this.controls = make("chart-controls", { hidden: true });
    this.numbers = make("dl", { className: "numbers", hidden: true });
    this.cards = make("div", { className: "cards" });
    this.element = make("section", { className: "metrics" }, this.numbers, this.controls, this.cards);
    this.boxes = new Map(); // by the part's name: its element, its kind, and the run that it is of
  }

  /** Shows the parts of these names as they are now. */
  show(names, shown) {
    for (const name of names) this.showPart(name, this.get(name), shown);
    this.numbers.hidden = !this.numbers.children.length;
    this.controls.hidden = !this.cards.querySelector("metric-chart");
  }

  /** Draws again, in another theme. */
  redraw() {
    for (const chart of this.cards.querySelectorAll("metric-chart")) chart.recolour();
  }

  showPart(name, part, shown) {
    const known = this.boxes.get(name);
    if (known && (!part || known.kind !== part.kind || known.of !== `${shown.run_id} ${part.name}`)) {
      known.element.remove();
      this.boxes.delete(name);
    }
    if (!part) return;
    const box = this.boxes.get(name) ?? this.add(name, part, shown);
    box.fill(part);
  }

  add(name, part, shown) {
    const make_ = { number: numberBox, line: lineBox, xy: xyBox, image: imageBox, matrix: matrixBox, document: documentBox }[part.kind] ?? gridBox;
    const box = make_(part, { ask: this.ask, part: () => this.get(name) });
    box.kind = part.kind;
    box.of = `${shown.run_id} ${part.name}`;
    box.element.dataset.metric = part.name;
    this.boxes.set(name, box);
    const parent = part.kind === "number" ? this.numbers : this.cards;
    const after = [...this.boxes.keys()].map(placeOf).filter((place) => place > placeOf(name));
    const next = after.sort((one, other) => one - other).map((place) => this.boxes.get(`part_${place}`).element).find((element) => element.parentNode === parent);
    parent.insertBefore(box.element, next ?? null);
    return box;
  }
}

/** Says that a grid has more rows than are drawn. */
function cut({ data, rows_in_all: inAll }) {
  const drawn = Math.max(0, ...Object.values(data ?? {}).map((cells) => cells.length));
  return drawn < inAll ? `the first ${count(drawn)} of ${count(inAll)} rows are drawn` : "";
}

const placeOf = (name) => Number(name.slice("part_".length));

function numberBox(part) {
  const value = make("dd");
  const element = make("div", { className: "card" }, make("dt", {}, part.name, ...described(part)), value);
  return { element, fill: (now) => (value.textContent = shownCell(now.value)) };
}

function lineBox(part, { ask, part: latest }) {
  const chart = make("metric-chart", { src: `kernel:curve?${new URLSearchParams({ metric: part.metric })}` });
  chart.setAttribute("heading", part.name);
  chart.setAttribute("description", part.description);
  chart.source = async (url) => {
    const asked = Object.fromEntries(url.searchParams);
    const now = latest();
    if (!("from" in asked) && (asked.x === now.x || asked.x === "step")) return JSON.stringify(now);
    return JSON.stringify(await ask("curve", asked));
  };
  return { element: make("section", { className: "card" }, chart), fill: () => chart.refresh() };
}

/** An x-y line, which has a table of its own behind it. */
function xyBox(part) {
  const script = make("script", { type: "application/json" });
  const chart = make("metric-chart", { kind: "xy" }, script);
  chart.setAttribute("heading", part.name);
  const fill = (now) => {
    const [across, up] = Object.keys(now.data);
    chart.setAttribute("description", [now.description, cut(now)].filter(Boolean).join(" · "));
    const series = [{ run_id: "", run_name: up, x: now.data[across], y: now.data[up] }];
    script.textContent = JSON.stringify({ x_name: across, y_name: up, series });
    if (chart.isConnected) chart.refresh();
  };
  return { element: make("section", { className: "card" }, chart), fill };
}

function gridBox(part) {
  const heading = make("h3");
  const table = make("table");
  const scroll = make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": `Table of ${part.name}` }, table);
  const details = make("details", {}, make("summary", { textContent: "All columns" }), scroll);
  const script = make("script", { type: "application/json" });
  const chart = part.kind === "axes" ? make("axes-chart", { choose: "" }, script) : null;
  const element = make("section", { className: part.columns.length > 4 ? "card wide" : "card" }, heading, chart ? chart : "", chart ? details : scroll);
  const fill = (now) => {
    const isNamed = now.columns.some(Boolean); // what was logged as a text or a list has no names of columns
    const rows = isNamed || now.rows_in_all > 1 ? `${count(now.rows_in_all)} ${now.rows_in_all === 1 ? "row" : "rows"}` : "";
    const shown = now.rows.length < now.rows_in_all ? `${rows}, the first ${count(now.rows.length)} in the table` : rows;
    const said = [shown, chart ? cut(now) : "", now.description].filter(Boolean).join(" · ");
    heading.replaceChildren(now.name, make("span", { className: "muted", textContent: said }));
    table.replaceChildren(...(isNamed ? [tableHead(now.columns)] : []), tableBody(now.rows));
    if (!chart) return;
    chart.hidden = now.rows_in_all < 2;
    script.textContent = JSON.stringify(now.data);
    if (chart.isConnected) chart.refresh();
  };
  return { element, fill };
}

function matrixBox() {
  const heading = make("h3");
  const table = make("table", { className: "matrix" });
  const element = make("section", { className: "card" }, heading, make("div", { className: "scroll", tabIndex: 0 }, table));
  const fill = (now) => {
    heading.replaceChildren(now.name, make("span", { className: "muted", textContent: ["confusion matrix", now.description].filter(Boolean).join(" · ") }));
    const highest = Math.max(...now.matrix.flat().map(Number).filter(Number.isFinite), 0) || 1;
    const body = make("tbody");
    now.matrix.forEach((cells, row) => {
      const line = make("tr", {}, make("th", { scope: "row", textContent: now.labels[row] }));
      cells.forEach((cell, column) => {
        const box = make("td", { className: row === column ? "number right" : "number", textContent: shownCell(cell) });
        box.style.setProperty("--share", String(Math.max(0, Number(cell) || 0) / highest));
        line.append(box);
      });
      body.append(line);
    });
    table.replaceChildren(tableHead(["true \\ predicted", ...now.labels]), body);
  };
  return { element, fill };
}

function documentBox() {
  const heading = make("h3");
  const charts = make("div", { className: "cards" });
  const problem = make("p", { className: "muted" });
  const element = make("section", { className: "card wide" }, heading, problem, charts);
  const fill = (now) => {
    heading.replaceChildren(now.name, ...described(now));
    problem.textContent = now.problem ?? (now.curves.length ? "" : "There is nothing to draw in it");
    problem.hidden = !problem.textContent;
    element.classList.toggle("wide", now.curves.length > 1);
    while (charts.children.length > now.curves.length) charts.lastElementChild.remove();
    now.curves.forEach((curve, index) => {
      const chart = charts.children[index] ?? make("metric-chart", { kind: "xy", of: "curves" }, make("script", { type: "application/json" }));
      chart.setAttribute("heading", curve.heading);
      chart.firstElementChild.textContent = JSON.stringify(curve);
      if (chart.isConnected) chart.refresh();
      else charts.append(chart);
    });
  };
  return { element, fill };
}

function imageBox(part, { ask, part: latest }) {
  const heading = make("h3");
  const image = make("img", { alt: part.name });
  const missing = make("p", { className: "muted", textContent: "It is too large for a notebook, or isn't there any more." });
  const before = make("button", { type: "button", className: "button quiet", textContent: "◂", "aria-label": `The image of ${part.name} before this` });
  const after = make("button", { type: "button", className: "button quiet", textContent: "▸", "aria-label": `The image of ${part.name} after this` });
  const place = make("span", { className: "muted" });
  const steps = make("div", { className: "steps" }, before, place, after);
  const element = make("section", { className: "card image" }, heading, image, missing, steps);
  let at = null; // the index of an image that was chosen, or null for the latest
  const put = (source) => {
    image.hidden = !source;
    missing.hidden = Boolean(source);
    if (source) image.src = source;
  };
  const say = (paths) => {
    const now = at ?? paths.length - 1;
    place.textContent = `${now + 1} of ${paths.length}`;
    steps.hidden = paths.length < 2;
    before.disabled = now <= 0;
    after.disabled = now >= paths.length - 1;
  };
  const step = async (by) => {
    const { paths, source } = latest();
    const next = (at ?? paths.length - 1) + by;
    at = next >= paths.length - 1 ? null : Math.max(0, next);
    say(paths);
    try {
      put(at === null ? source : await ask("image", { path: paths[at] }));
    } catch (error) {
      place.textContent = error.message;
    }
  };
  before.addEventListener("click", () => step(-1));
  after.addEventListener("click", () => step(1));
  const fill = (now) => {
    heading.replaceChildren(now.name, ...described(now));
    say(now.paths);
    if (at === null) put(now.source);
  };
  return { element, fill };
}

const described = (part) => (part.description ? [make("span", { className: "muted", textContent: part.description })] : []);

function tableHead(names) {
  return make("thead", {}, make("tr", {}, ...names.map((name) => make("th", { scope: "col", textContent: name }))));
}

function tableBody(rows) {
  const body = make("tbody");
  for (const row of rows) {
    body.append(make("tr", {}, ...row.map((cell) => make("td", { className: typeof cell === "number" ? "number" : "", textContent: shownCell(cell) }))));
  }
  return body;
}
