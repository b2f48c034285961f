// How all charts of a page are drawn. It stands in the page's address, so that they agree and a link keeps it.

import * as pageQuery from "./page-query.js";

export const AXES = { step: "Step", time: "Time", wall: "Wall clock" };
export const SCALES = { linear: "Linear", log: "Log" };
export const MOST_SMOOTH = 0.99;

/** `axis` (step, time, wall or `metric:NAME`), `scale`, `smooth` (0 to 0.99), `clip` and `marks`. */
export function read() {
  const axis = pageQuery.get("axis") ?? "step";
  const smooth = Number(pageQuery.get("smooth") ?? 0);
  return {
    axis: axis in AXES || axis.startsWith("metric:") ? axis : "step",
    scale: pageQuery.get("scale") === "log" ? "log" : "linear",
    smooth: smooth > 0 ? Math.min(smooth, MOST_SMOOTH) : 0,
    clip: pageQuery.get("clip") === "1",
    marks: pageQuery.get("marks") === "1",
  };
}

/** Writes what differs from the defaults. */
export function write(settings) {
  pageQuery.set({
    axis: settings.axis === "step" ? null : settings.axis,
    scale: settings.scale === "linear" ? null : settings.scale,
    smooth: settings.smooth ? String(settings.smooth) : null,
    clip: settings.clip ? "1" : null,
    marks: settings.marks ? "1" : null,
  });
}

/** What the server is asked for as `x`: it knows steps, times and metrics; relative time is made of times here. */
export function serverAxis(axis) {
  return axis === "time" || axis === "wall" ? "time" : axis;
}
