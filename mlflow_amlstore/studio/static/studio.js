// The one module that every page loads. What a page has no use for isn't loaded.

import * as changes from "./changes.js";
import * as choose from "./choose.js";
import * as keys from "./keys.js";
import * as menus from "./menus.js";
import * as pageQuery from "./page-query.js";
import * as places from "./places.js";
import * as times from "./times.js";

const has = (selector) => document.querySelector(selector) !== null;

/** Whether the browser keeps that a run is watched, which any page tells of. */
function isWatching() {
  try {
    return Object.keys(localStorage).some((key) => key.startsWith("studio:watched "));
  } catch {
    return false; // a browser that keeps nothing
  }
}

/** Loads what the elements of the page need; again after a change, which may bring new ones. */
const LAZY = [
  ["metric-chart", () => import("./chart.js")],
  ["axes-chart", () => import("./axes-chart.js")],
  ["chart-controls", () => import("./chart-controls.js")],
  ["parallel-coordinates", () => import("./parallel.js")],
  ["input.filter", () => import("./filter.js")],
  ["[data-choose-columns], th[data-column]", () => import("./columns.js")],
  ["details.menu[data-choices]", () => import("./facets.js")],
  ["form[data-adds-chart], form[data-draws-together]", () => import("./choices.js")],
  ["pre.log", () => import("./log.js")],
  [".log-view", () => import("./log-view.js")],
  ["body[data-live]", () => import("./live.js")],
  ["button[data-watches]", () => import("./watched-runs.js"), isWatching],
];
const loaded = new Set();

/** Loads what is needed; `<html data-started>` says that all of it has started. */
async function load() {
  const needed = LAZY.filter(([selector, , isWanted]) => !loaded.has(selector) && (has(selector) || isWanted?.()));
  await Promise.all(
    needed.map(async ([selector, take]) => {
      loaded.add(selector);
      (await take()).start?.();
    }),
  );
  document.documentElement.dataset.started = "";
}

for (const part of [changes, pageQuery, choose, times, keys, menus, places]) part.start();
load();
document.addEventListener("studio:changed", load);
addEventListener("storage", load); // another page watches a run
