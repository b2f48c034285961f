// The keyboard: keys for what every page also has as a button or a link. Never while something is being typed.

import { atRoot, isForField, make, openDialog } from "./dom.js";

const KEYS = [
  [["/"], "Filter"],
  [["j"], "Next row"],
  [["k"], "Previous row"],
  [["x"], "Choose the run of the row"],
  [["c"], "Compare the chosen runs"],
  [["Enter"], "Open the row"],
  [["e"], "Edit tags"],
  [["["], "Previous run"],
  [["]"], "Next run"],
  [["g", "r"], "Go to runs"],
  [["g", "e"], "Go to experiments"],
  [["g", "m"], "Go to models"],
  [["g", "c"], "Go to compute"],
  [["?"], "This list"],
  [["←", "→"], "In a chart: the next point; with Shift ten, Page Up and Down fifty"],
  [["↑", "↓"], "In a chart: choose a curve"],
  [["+", "−", "0"], "In a chart: zoom, show all"],
  [["Enter"], "In a chart: its points as a table"],
  [["Alt", "←", "→"], "On a column's heading: its width"],
  [["End"], "In a log: follow"],
];
const PAGES = { r: "runs", e: "experiments", m: "models", c: "compute" };
const SECOND_KEY_WITHIN_MS = 1200;
let goPressedAt = -Infinity;

/** Starts listening. */
export function start() {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isForField(event)) return;
    const isSecond = event.timeStamp - goPressedAt < SECOND_KEY_WITHIN_MS;
    goPressedAt = -Infinity;
    if (isSecond && PAGES[event.key]) location.assign(atRoot(PAGES[event.key]));
    else if (event.key === "g") goPressedAt = event.timeStamp;
    else if (!press(event)) return;
    event.preventDefault();
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-keys-help]")) showKeys();
  });
}

/** Does what the key means; says whether it meant anything. */
function press({ key, target }) {
  if (key === "/") return focus(document.querySelector("input.filter, main input[type=search]"));
  if (key === "j" || key === "k") return moveRow(key === "j" ? 1 : -1);
  if (key === "x") return click(currentRow()?.querySelector('input[name="run"]'));
  if (key === "[" || key === "]") return click(document.querySelector(`a[rel="${key === "[" ? "prev" : "next"}"]`));
  if (key === "?") return showKeys();
  if (key === "Enter") return target.matches("tr") && open(target);
  return use(visible(`[data-key="${CSS.escape(key)}"]`));
}

const rows = () => [...document.querySelectorAll("table[data-rows] tbody tr, table.runs tbody tr:has(a[href])")];
const currentRow = () => document.activeElement?.closest("tbody tr");
const visible = (selector) => [...document.querySelectorAll(selector)].find((element) => element.checkVisibility());

function moveRow(by) {
  const all = rows();
  if (!all.length) return false;
  const at = all.indexOf(currentRow());
  const row = all[at === -1 ? (by > 0 ? 0 : all.length - 1) : Math.max(0, Math.min(all.length - 1, at + by))];
  const target = row.tabIndex === -1 && row.hasAttribute("tabindex") ? row : row.querySelector("a[href]");
  target.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
  return true;
}

function open(row) {
  const address = row.dataset.href ?? row.querySelector("a[href]")?.getAttribute("href");
  if (address) location.assign(new URL(address, document.baseURI));
  return Boolean(address);
}

function click(element) {
  element?.click();
  return Boolean(element);
}

function focus(element) {
  element?.focus();
  element?.select?.();
  return Boolean(element);
}

function use(element) {
  if (element?.matches("details")) {
    element.open = true;
    return focus(element.querySelector("input:not([type=hidden]), textarea, select"));
  }
  return element?.matches("input, textarea, select") ? focus(element) : click(element);
}

function showKeys() {
  const list = make("dl", { className: "keys" });
  for (const [keys, text] of KEYS) {
    const term = make("dt");
    keys.forEach((key, index) => term.append(index ? " " : "", make("kbd", { textContent: key })));
    list.append(term, make("dd", { textContent: text }));
  }
  openDialog("Keys", list);
  return true;
}
