// uPlot's options for a chart: scales that we set, axes in the theme's colours, no legend and no series of its own.

import { theme } from "./colours.js";
import { duration, localTime, number } from "./numbers.js";

const FONT = "11px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const [SECOND, MINUTE, HOUR, DAY] = [1000, 60_000, 3_600_000, 86_400_000];
const ELAPSED_STEPS = [
  1, 10, 100, SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 30 * MINUTE,
  HOUR, 2 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 30 * DAY, 90 * DAY, 365 * DAY,
];

/** `data` has the kinds of x and y; `ranges` gives `[least, greatest]` of x and of y whenever uPlot asks; `when` has draw,
 * cursor, select and reset. */
export function options({ width, height, data, log, ranges, when }) {
  return {
    width,
    height,
    padding: [10, 14, 0, 0],
    legend: { show: false },
    series: [{}, { scale: "y", paths: () => null, points: { show: false } }],
    scales: {
      x: { time: data.xKind === "clock", auto: false, range: () => ranges().x },
      y: { distr: log ? 3 : 1, auto: false, range: () => ranges().y },
    },
    ms: 1,
    axes: [xAxis(data), yAxis(data, log)],
    cursor: {
      y: false,
      points: { show: false },
      drag: { x: true, y: false, setScale: false, dist: 4 },
      bind: { dblclick: () => () => when.reset() },
    },
    hooks: { draw: [when.draw], setCursor: [when.cursor], setSelect: [when.select] },
  };
}

function axis() {
  return {
    font: FONT,
    stroke: () => theme().faint,
    ticks: { show: false },
    gap: 4,
  };
}

const elapsedValues = (_, splits) => splits.map((value) => duration(value, splits[1] - splits[0] < SECOND));
const shortened = (word) => (word.length > 16 ? `${word.slice(0, 15)}…` : word);
const wordValues = (words) => (_, splits) => splits.map((value) => shortened(words[value] ?? ""));

function xAxis({ xKind, xWords }) {
  const values = { clock: clockValues, elapsed: elapsedValues, words: wordValues(xWords) };
  return {
    ...axis(),
    size: 20,
    space: xKind === "clock" ? (_, axisIndex, least, greatest) => (greatest - least > 2 * DAY ? 76 : 50) : 56,
    grid: { show: false },
    border: { show: true, width: 1, stroke: () => theme().line },
    ...(xKind === "elapsed" ? { incrs: ELAPSED_STEPS } : {}),
    ...(xKind === "step" || xKind === "words" ? { incrs: wholeSteps() } : {}),
    values: values[xKind] ?? ((_, splits) => splits.map((value) => number(value, 5))),
  };
}

function wholeSteps() {
  return Array.from({ length: 15 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();
}

/** The time of day, and the date where a new day begins and at the first. */
function clockValues(_, splits) {
  const apart = splits.length > 1 ? splits[1] - splits[0] : MINUTE;
  let day = "";
  return splits.map((value) => {
    const [date, time] = localTime(value, apart < MINUTE).split(" ");
    const exact = apart < SECOND ? `${time}${(((value % SECOND) + SECOND) % SECOND / SECOND).toFixed(3).slice(1)}` : time;
    const shown = apart >= DAY ? date : date === day || (day === "" && apart < HOUR) ? exact : `${date.slice(5)} ${exact}`;
    day = date;
    return shown;
  });
}

function yAxis({ yKind, yWords }, log) {
  const values = { clock: clockValues, elapsed: elapsedValues, words: wordValues(yWords) };
  return {
    ...axis(),
    size: (_, values) => 12 + 6.4 * Math.max(2, ...(values ?? []).map((value) => value?.length ?? 0)),
    space: 28,
    grid: { width: 1, stroke: () => theme().line, ...(log ? { filter: readableSplits } : {}) },
    values: values[yKind] ?? ((_, splits) => splits.map((value) => (value === null ? "" : number(value, 5)))),
    ...(yKind === "elapsed" ? { incrs: ELAPSED_STEPS } : {}),
    ...(yKind === "words" ? { incrs: wholeSteps() } : {}),
    ...(log ? { filter: readableSplits } : {}),
  };
}

const LABELS_APART = 15;

/** Of uPlot's splits of a log scale the powers of ten, or 1, 2, 5, or all whole digits: the first that are two or more. */
function readableSplits(plot, splits) {
  const digit = (value) => value / 10 ** Math.floor(Math.log10(value) + 1e-9);
  const among = (digits) => (value) => digits.some((each) => Math.abs(digit(value) - each) < 1e-6);
  const tiers = [among([1]), among([1, 2, 5]), among([1, 2, 3, 4, 5, 6, 7, 8, 9]), () => true];
  const isReadable = tiers.find((tier) => splits.filter(tier).length > 1) ?? tiers[3];
  let last = Infinity;
  return splits.map((value) => {
    const place = plot.valToPos(value, "y");
    if (!isReadable(value) || last - place < LABELS_APART) return null;
    last = place;
    return value;
  });
}
