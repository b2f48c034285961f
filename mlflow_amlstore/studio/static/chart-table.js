// The table behind a chart: the points that are drawn, in a dialog.

import { joinedX, valueAt } from "./chart-data.js";
import { count, duration, localTime, number, utcTime } from "./numbers.js";

const MOST_ROWS = 1000;

/** How an x of a chart is written. */
export const xText = (data, x) => textOn(data.xKind, data.xWords, x, 9);

/** How a y of a chart is written. */
export const yText = (data, y, digits = 6) => textOn(data.yKind, data.yWords, y, digits);

function textOn(kind, words, value, digits) {
  if (kind === "clock") return localTime(value, true);
  if (kind === "elapsed") return duration(value, true);
  if (kind === "words") return words[value] ?? "";
  return number(value, digits);
}

/** Opens the table of the points of `data` within `window`, on `host`; it is gone when it is closed. */
export function openTable(host, heading, data, window, kind) {
  const dialog = document.createElement("dialog");
  dialog.className = "wide";
  dialog.setAttribute("aria-label", `${heading}, table`);
  const { table, rows } = kind === "line" ? tableByX(data, window) : tableOfPairs(data, window);
  const header = document.createElement("header");
  const title = document.createElement("h2");
  title.textContent = heading;
  const close = document.createElement("button");
  close.type = "button";
  close.className = "button";
  close.textContent = "Close";
  close.addEventListener("click", () => dialog.close());
  header.append(title, close);
  const note = document.createElement("p");
  note.className = "muted";
  note.textContent = noteOf(rows, data);
  const scroll = document.createElement("div");
  scroll.className = "scroll";
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", `Points of ${heading}`);
  scroll.append(table);
  dialog.append(header, note, scroll);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("keydown", (event) => event.stopPropagation());
  host.append(dialog);
  dialog.showModal();
}

function noteOf(rows, data) {
  const shown = rows > MOST_ROWS ? `The first ${count(MOST_ROWS)} of ${count(rows)} rows: zoom in for the others.` : `${count(rows)} rows.`;
  const drawn = data.drawn < data.pointsInWindow ? ` They are ${count(data.drawn)} of ${count(data.pointsInWindow)} points: the first, minimum, maximum and last of each column.` : "";
  return shown + drawn;
}

function tableByX(data, window) {
  const xs = joinedX(data.curves, window);
  const names = data.curves.map((curve) => curve.name);
  const table = tableWith([data.xName, ...names]);
  for (const x of xs.slice(0, MOST_ROWS)) {
    const values = data.curves.map((curve) => valueAt(curve, x));
    const row = addRow(table, [xText(data, x), ...values.map((value) => (value === undefined ? "" : number(value, 9)))]);
    if (data.xKind === "clock") row.cells[0].title = utcTime(x);
  }
  return { table, rows: xs.length };
}

function tableOfPairs(data, window) {
  const table = tableWith(["run", data.xName, data.yName]);
  let rows = 0;
  for (const { name, xs, ys } of data.curves) {
    for (let index = 0; index < xs.length; index += 1) {
      if (xs[index] === null || xs[index] < window[0] || xs[index] > window[1]) continue;
      rows += 1;
      if (rows <= MOST_ROWS) addRow(table, [name, xText(data, xs[index]), ys[index] === null ? "NaN" : yText(data, ys[index], 9)]);
    }
  }
  return { table, rows };
}

function tableWith(headings) {
  const table = document.createElement("table");
  const row = table.createTHead().insertRow();
  headings.forEach((text, index) => {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = text;
    if (index) cell.className = "number";
    row.append(cell);
  });
  table.createTBody();
  return table;
}

function addRow(table, texts) {
  const row = table.tBodies[0].insertRow();
  texts.forEach((text, index) => {
    const cell = row.insertCell();
    cell.textContent = text;
    if (index) cell.className = "number";
  });
  return row;
}
