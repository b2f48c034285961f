// Choosing runs: boxes `input[name="run"]` in a table of runs. The choice stands in the page's address as
// `chosen=ID,ID`, so it outlives a page of the list. A run's place in it is its colour; a run that is taken out leaves
// its place empty, so that no other run changes colour.

import { swatchOf } from "./colours.js";
import * as pageQuery from "./page-query.js";

const MOST = 200;
let lastBox = null;

/** Starts: shows the choice of the address, and follows the boxes. */
export function start() {
  show();
  document.addEventListener("studio:changed", show);
  document.addEventListener("click", (event) => {
    const box = event.target.closest('input[name="run"]');
    if (box) whenClicked(box, event.shiftKey);
    else if (event.target.closest("[data-choose-none]")) write([]);
    else if (event.target.matches("input[data-choose-all]")) whenAllClicked(event.target);
  });
  document.addEventListener("studio:sent", (event) => {
    if (event.detail.form.hasAttribute("data-ends-choice")) write([]); // deleted
  });
}

const boxes = () => [...document.querySelectorAll('input[name="run"]')];

/** The chosen runs with their places: an empty place is "". */
function places() {
  return (pageQuery.get("chosen") ?? "").split(",").slice(0, MOST);
}

function write(ids) {
  const trimmed = [...ids];
  while (trimmed.length && !trimmed.at(-1)) trimmed.pop();
  pageQuery.set({ chosen: trimmed.join(",") || null });
  show();
}

function whenClicked(box, isRange) {
  const all = boxes();
  const range = isRange && lastBox?.isConnected ? all.slice(...[all.indexOf(lastBox), all.indexOf(box)].sort((one, other) => one - other).map((at, index) => at + index)) : [box];
  lastBox = box;
  change(range.map((each) => each.value), box.checked);
}

function whenAllClicked(box) {
  change(boxes().map((each) => each.value), box.checked);
}

function change(ids, isChosen) {
  const now = places();
  for (const id of ids) {
    const at = now.indexOf(id);
    if (isChosen && at === -1) {
      const free = now.indexOf("");
      if (free !== -1) now[free] = id;
      else if (now.length < MOST) now.push(id);
    } else if (!isChosen && at !== -1) now[at] = "";
  }
  write(now);
}

function show() {
  const now = places();
  const colours = Object.fromEntries(now.map((id, place) => [id, place]).filter(([id]) => id));
  const chosen = Object.keys(colours);
  const isPlain = chosen.length === 0;
  const charts = document.querySelector("[data-charts-of-chosen]");
  const first = (charts?.dataset.firstRuns ?? boxes().slice(0, 10).map((box) => box.value).join(",")).split(",").filter(Boolean);
  if (isPlain) Object.assign(colours, coloursOfFirst(first));
  for (const box of boxes()) {
    const isChosen = !isPlain && box.value in colours;
    box.checked = isChosen;
    box.closest("tr").classList.toggle("chosen", isChosen);
    const swatch = box.parentElement.querySelector(".swatch") ?? box;
    if (box.value in colours && (isChosen || charts)) swatch.dataset.colour = swatchOf(colours[box.value]);
    else delete swatch.dataset.colour;
  }
  for (const box of document.querySelectorAll("input[data-choose-all]")) {
    const size = boxes().filter((each) => each.checked).length;
    box.checked = size > 0 && size === boxes().length;
    box.indeterminate = size > 0 && !box.checked;
  }
  showBar(chosen);
  if (charts) drawCharts(charts, isPlain ? first : chosen, colours);
}

let coloursOfBefore = {};

/** Colours of the first runs: each keeps the one that it had, whatever runs come before it meanwhile. */
function coloursOfFirst(ids) {
  const kept = Object.fromEntries(ids.filter((id) => id in coloursOfBefore).map((id) => [id, coloursOfBefore[id]]));
  const free = ids.map((_, place) => place).filter((place) => !Object.values(kept).includes(place));
  for (const id of ids) kept[id] ??= free.shift();
  coloursOfBefore = kept;
  return kept;
}

function showBar(chosen) {
  for (const bar of document.querySelectorAll(".chosen-bar")) bar.hidden = chosen.length === 0;
  for (const element of document.querySelectorAll("[data-chosen-count]")) {
    element.textContent = chosen.length;
  }
  for (const link of document.querySelectorAll("a[data-chosen-href]")) link.href = link.dataset.chosenHref + chosen.map(encodeURIComponent).join(",");
  for (const input of document.querySelectorAll("[data-chosen-value]")) input.value = chosen.join(",");
}

function drawCharts(container, runIds, colours) {
  const written = JSON.stringify(colours);
  const isRecoloured = container.dataset.runColours !== written;
  container.dataset.runColours = written;
  for (const chart of container.querySelectorAll("metric-chart[data-src-template]")) {
    const src = runIds.length ? chart.dataset.srcTemplate + runIds.map(encodeURIComponent).join(",") : "";
    if (chart.getAttribute("src") !== src) chart.setAttribute("src", src);
    else if (isRecoloured) chart.recolour?.();
  }
}
