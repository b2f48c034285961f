// `<time datetime>` in local time, with UTC in its title; `data-since-ms` counts on for what is running.

import { duration, localTime, utcTime } from "./numbers.js";

let timer = 0;

/** Starts: at once, after each change of the page, and every second while something counts. */
export function start() {
  show();
  document.addEventListener("studio:changed", show);
  document.addEventListener("visibilitychange", tick);
}

function show() {
  for (const element of document.querySelectorAll("time[datetime]")) {
    const ms = Date.parse(element.dateTime);
    if (Number.isNaN(ms)) continue;
    element.textContent = localTime(ms);
    element.title = utcTime(ms);
  }
  tick();
}

function tick() {
  clearTimeout(timer);
  const counting = document.querySelectorAll("[data-since-ms]");
  for (const element of counting) element.textContent = duration(Math.max(0, Date.now() - Number(element.dataset.sinceMs)));
  if (counting.length && !document.hidden) timer = setTimeout(tick, 1000 - (Date.now() % 1000) + 5);
}
