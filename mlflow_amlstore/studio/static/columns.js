// Columns of a table of runs. `button[data-choose-columns=COLUMNS]` opens a dialog to choose and order them, which goes
// to the page with `columns=`; `th[data-column]` are made wider and narrower by dragging their edge, by Alt and an
// arrow, or in the dialog. Widths are kept in the address as `widths=COLUMN:PIXELS,…`.
//
// A column is written as the server writes it: `metrics.loss:min`, `params.alpha`, `tags.team`, `started`; in a list
// each is percent-encoded, with commas between.

import { make, openDialog } from "./dom.js";
import * as names from "./names.js";
import * as pageQuery from "./page-query.js";

const [NARROWEST, WIDEST, STEP] = [48, 800, 16];
const MOST_OFFERED = 200;
const sheet = new CSSStyleSheet();

/** Starts: widths at once, the dialog when it is asked for. */
export function start() {
  document.adoptedStyleSheets.push(sheet);
  showWidths();
  addEdges();
  document.addEventListener("studio:changed", () => {
    addEdges();
    showWidths();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-choose-columns]");
    if (button) openChoice(button.dataset.chooseColumns);
  });
  document.addEventListener("pointerdown", (event) => {
    if (event.target.matches?.("th > .resize")) drag(event);
  });
  document.addEventListener("keydown", (event) => {
    const cell = event.target.closest?.("th[data-column]");
    if (!cell || !event.altKey || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.preventDefault();
    setWidth(cell.dataset.column, cell.offsetWidth + (event.key === "ArrowRight" ? STEP : -STEP));
  });
}

// Widths

function widths() {
  const written = (pageQuery.get("widths") ?? "").split(",").filter(Boolean);
  return new Map(written.map((each) => [decodeURIComponent(each.slice(0, each.lastIndexOf(":"))), Number(each.slice(each.lastIndexOf(":") + 1))]));
}

function writeWidths(map) {
  pageQuery.set({ widths: [...map].map(([column, width]) => `${encodeURIComponent(column)}:${width}`).join(",") || null });
  showWidths();
}

function setWidth(column, width) {
  const now = widths();
  now.set(column, Math.round(Math.min(WIDEST, Math.max(NARROWEST, width))));
  writeWidths(now);
}

function showWidths() {
  const now = widths();
  const rules = [];
  document.querySelectorAll("table.runs thead th").forEach((cell) => {
    const width = now.get(cell.dataset.column);
    if (!(width >= NARROWEST)) return;
    const place = cell.cellIndex + 1;
    rules.push(`table.runs tr > :nth-child(${place}) { width: ${width}px; min-width: ${width}px; max-width: ${width}px; overflow: hidden; text-overflow: ellipsis; }`);
  });
  sheet.replaceSync(rules.join("\n"));
}

function addEdges() {
  for (const cell of document.querySelectorAll("th[data-column]:not(:has(> .resize))")) cell.append(make("span", { className: "resize" }));
}

function drag(event) {
  const edge = event.target;
  const cell = edge.parentElement;
  const { column } = cell.dataset;
  const [from, width] = [event.clientX, cell.offsetWidth];
  const ending = new AbortController();
  event.preventDefault();
  edge.setPointerCapture(event.pointerId);
  edge.classList.add("dragging");
  edge.addEventListener("pointermove", (moved) => setWidth(column, width + moved.clientX - from), { signal: ending.signal });
  edge.addEventListener("lostpointercapture", () => {
    edge.classList.remove("dragging");
    ending.abort();
  }, { signal: ending.signal });
}

// The choice

function label(column) {
  const { facts = {} } = names.now();
  if (column in facts) return facts[column];
  const [, kind, name] = /^(metrics|params|tags)\.(.*)$/s.exec(column) ?? [null, "", column];
  if (kind === "metrics") {
    const of = /:(min|max)$/.exec(name)?.[1];
    return of ? `${name.slice(0, -4)}, ${of}` : `${name}, last`;
  }
  return kind ? `${name} (${kind.slice(0, -1)})` : column;
}

function offered() {
  const { params = [], tags = [], facts = {} } = names.now();
  return [
    ...names.metricColumns(names.now()),
    ...params.map((name) => `params.${name}`),
    ...tags.map((name) => `tags.${name}`),
    ...Object.keys(facts),
  ];
}

function openChoice(written) {
  let shown = written.split(",").filter(Boolean).map(decodeURIComponent);
  const chosen = make("ol", { className: "columns-list", "aria-label": "Columns that are shown" });
  const others = make("ul", { className: "columns-list", "aria-label": "Other columns" });
  const search = make("input", { type: "search", autocomplete: "off" });
  const note = make("p", { className: "hint" });
  const status = make("p", { className: "visually-hidden", role: "status" });
  const kept = widths();

  const drawOthers = () => {
    const focused = others.contains(document.activeElement) ? document.activeElement.value : null;
    const sought = search.value.toLowerCase();
    const fitting = offered().filter((column) => !shown.includes(column) && label(column).toLowerCase().includes(sought));
    others.replaceChildren(...fitting.slice(0, MOST_OFFERED).map(otherItem));
    note.textContent = fitting.length > MOST_OFFERED ? `${fitting.length - MOST_OFFERED} more: write a part of the name.` : "";
    if (focused !== null) [...others.querySelectorAll("input")].find((box) => box.value === focused)?.focus();
  };
  const draw = (focusOn = null) => {
    chosen.replaceChildren(...shown.map((column, at) => chosenItem(column, at)));
    drawOthers();
    if (focusOn) chosen.querySelector(focusOn)?.focus();
  };
  const move = (at, by) => {
    const [column] = shown.splice(at, 1);
    shown.splice(at + by, 0, column);
    status.textContent = `${label(column)}: place ${at + by + 1} of ${shown.length}`;
    const name = by < 0 ? "up" : "down";
    const isEnd = by < 0 ? at + by === 0 : at + by === shown.length - 1;
    draw(`li:nth-child(${at + by + 1}) button[data-moves="${isEnd ? (by < 0 ? "down" : "up") : name}"]`);
  };
  const chosenItem = (column, at) => {
    const box = make("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      shown = shown.filter((each) => each !== column);
      draw();
    });
    const width = make("input", { type: "number", min: NARROWEST, max: WIDEST, step: STEP, value: kept.get(column) ?? "", placeholder: "auto", "aria-label": `Width of ${label(column)} in pixels` });
    width.addEventListener("change", () => (width.value ? kept.set(column, Number(width.value)) : kept.delete(column)));
    const arrow = (text, name, by, isOff) => {
      const button = make("button", { type: "button", textContent: text, "aria-label": `Move ${label(column)} ${name}`, disabled: isOff, dataset: { moves: name } });
      button.addEventListener("click", () => move(at, by));
      return button;
    };
    return make("li", {}, make("label", {}, box, label(column)), width, arrow("↑", "up", -1, at === 0), arrow("↓", "down", 1, at === shown.length - 1));
  };
  const otherItem = (column) => {
    const box = make("input", { type: "checkbox", value: column });
    box.addEventListener("change", () => {
      shown.push(column);
      draw();
      search.focus();
    });
    return make("li", {}, make("label", {}, box, label(column)));
  };

  search.addEventListener("input", drawOthers);
  const apply = make("button", { type: "button", className: "button primary", textContent: "Show" });
  const reset = make("button", { type: "button", className: "button", textContent: "As at first" });
  const go = (columns) => {
    writeWidths(new Map([...kept].filter(([column]) => columns.includes(column))));
    const url = new URL(location.href);
    if (columns.length) url.searchParams.set("columns", columns.map(encodeURIComponent).join(","));
    else url.searchParams.delete("columns");
    location.assign(url);
  };
  apply.addEventListener("click", () => go(shown));
  reset.addEventListener("click", () => {
    kept.clear();
    go([]);
  });
  draw();
  names.all().then(drawOthers);
  const content = make("div", {}, chosen, make("label", { className: "field" }, "Add a column", search), others, note, status);
  openDialog("Columns", content, { actions: [reset, apply], closeText: "Cancel" });
  search.focus();
}
