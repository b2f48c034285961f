// What a chart draws, made of what the server answers: times made relative, smoothing, ranges, the nearest point.

/** A list of curves from the server's answer to `kind="line"`, or from the series of `xy` and `scatter`.
 *
 * A curve: `{runId, name, xs, ys, low, high, smoothed, infinite, minimum, maximum, sorted}`; a null in `ys` is a gap.
 * `xKind` is step, elapsed (ms since the run began), clock (ms since 1970), number or words, which are in `xWords` in the
 * order of their places; so are `yKind` and `yWords`. */
export function prepare(answer, settings) {
  if (answer.series) return prepareSeries(answer);
  const xKind = answer.x === "step" ? "step" : answer.x !== "time" ? "number" : settings.axis === "wall" ? "clock" : "elapsed";
  const curves = answer.curves.map((curve) => {
    const begin = xKind === "elapsed" ? (curve.started_ms ?? curve.x[0] ?? 0) : 0;
    const moved = (point) => (point ? [point[0] - begin, point[1]] : null);
    const xs = begin ? curve.x.map((x) => x - begin) : curve.x;
    return {
      runId: curve.run_id,
      name: curve.run_name,
      begin,
      xs,
      ys: curve.y,
      low: curve.low ?? null,
      high: curve.high ?? null,
      runs: curve.runs ?? null, // whose mean it is
      smoothed: settings.smooth && xKind !== "number" ? smooth(xs, curve.y, settings.smooth) : null,
      infinite: (curve.infinite ?? []).map(moved),
      minimum: moved(curve.minimum),
      maximum: moved(curve.maximum),
      sorted: xKind !== "number",
    };
  });
  const sum = (name) => answer.curves.reduce((total, curve) => total + (curve[name] ?? curve.x.length), 0);
  return {
    curves,
    xKind,
    xWords: [],
    yKind: "number",
    yWords: [],
    xName: xKind === "number" ? (answer.x_name ?? answer.x.replace(/^metric:/, "")) : { step: "step", elapsed: "time", clock: "wall clock" }[xKind],
    yName: answer.metric ?? "",
    pointsInAll: sum("points_in_all"),
    pointsInWindow: sum("points_in_window"),
    drawn: answer.curves.reduce((total, curve) => total + curve.x.length, 0),
  };
}

const AXES = { number: "number", time: "clock", duration: "elapsed", words: "words" };

function prepareSeries(answer) {
  const curves = answer.series.map((series) => ({
    runId: series.run_id,
    name: series.run_name ?? series.name,
    begin: 0,
    xs: series.x,
    ys: series.y,
    low: series.low ?? null,
    high: series.high ?? null,
    smoothed: null,
    infinite: [],
    minimum: null,
    maximum: null,
    sorted: series.x.every((x, index) => index === 0 || x >= series.x[index - 1]),
  }));
  const drawn = curves.reduce((total, curve) => total + curve.xs.length, 0);
  const all = answer.points_in_all ?? drawn;
  const shown = { pointsInAll: all, pointsInWindow: all, drawn };
  const x = { xKind: AXES[answer.x_kind] ?? "number", xName: answer.x_name, xWords: answer.x_words ?? [] };
  return { curves, ...shown, ...x, yKind: AXES[answer.y_kind] ?? "number", yName: answer.y_name, yWords: answer.y_words ?? [] };
}

/** TensorBoard's exponential moving average without bias, weighted by the distance of points.
 *
 * A point weighs `weight` per usual distance that has passed since, so evenly spaced points are smoothed exactly as
 * TensorBoard does, and points that the server picked unevenly count for the place where they are. Gaps stay gaps. */
export function smooth(xs, ys, weight) {
  const usual = usualDistance(xs);
  const smoothed = new Array(ys.length).fill(null);
  let [sum, weights, before] = [0, 0, null];
  for (let index = 0; index < ys.length; index += 1) {
    if (ys[index] === null) continue;
    const faded = before === null ? 0 : weight ** ((xs[index] - before) / usual);
    sum = sum * faded + ys[index];
    weights = weights * faded + 1;
    before = xs[index];
    smoothed[index] = sum / weights;
  }
  return smoothed;
}

function usualDistance(xs) {
  const span = xs.length > 1 ? xs[xs.length - 1] - xs[0] : 0;
  return span > 0 ? span / (xs.length - 1) : 1;
}

/** The least and the greatest x of all curves, or null if there is no point. */
export function xRange(curves) {
  let [least, greatest] = [Infinity, -Infinity];
  for (const curve of curves) {
    const ends = curve.sorted ? [curve.xs[0], curve.xs[curve.xs.length - 1]] : curve.xs;
    for (const x of [...ends, ...curve.infinite.map((point) => point[0])]) {
      if (x === null || x === undefined) continue;
      if (x < least) least = x;
      if (x > greatest) greatest = x;
    }
  }
  return least > greatest ? null : [least, greatest];
}

/** The range of y that shows the values between the x of `window`.
 *
 * With `clip` it is that of the values between the 5th and the 95th percentile; on a log scale only values above 0
 * count. `beyond` is how many values it doesn't show, `belowZero` how many of them a log scale can't have. */
export function yRange(curves, window, { clip, scale }) {
  const log = scale === "log";
  const values = [];
  let belowZero = 0;
  for (const { xs, ys, low, high } of curves) {
    for (let index = 0; index < ys.length; index += 1) {
      if (ys[index] === null || xs[index] < window[0] || xs[index] > window[1]) continue;
      for (const value of low ? [ys[index], low[index], high[index]] : [ys[index]]) {
        if (value === null) continue;
        if (log && value <= 0) belowZero += 1;
        else values.push(value);
      }
    }
  }
  if (!values.length) return { range: log ? [0.1, 1] : [0, 1], beyond: belowZero, belowZero, empty: true };
  let [least, greatest] = [Infinity, -Infinity];
  if (clip && values.length > 4) {
    const sorted = Float64Array.from(values).sort();
    least = sorted[Math.floor(0.05 * (sorted.length - 1))];
    greatest = sorted[Math.ceil(0.95 * (sorted.length - 1))];
  } else {
    for (const value of values) {
      if (value < least) least = value;
      if (value > greatest) greatest = value;
    }
  }
  const range = log ? paddedLog(least, greatest) : padded(least, greatest);
  const outside = clip ? values.filter((value) => value < range[0] || value > range[1]).length : 0;
  return { range, beyond: outside + belowZero, belowZero, empty: false };
}

function padded(least, greatest) {
  const room = greatest > least ? (greatest - least) * 0.06 : Math.abs(greatest) * 0.1 || 1;
  return [least - room, greatest + room];
}

function paddedLog(least, greatest) {
  const room = greatest > least ? (greatest / least) ** 0.06 : 2;
  return [least / room, greatest * room];
}

/** The index of the point of `curve` that is nearest to `x` and has a value, or null. */
export function nearest(curve, x) {
  const { xs, ys } = curve;
  if (!curve.sorted) {
    let best = null;
    for (let index = 0; index < xs.length; index += 1) {
      if (ys[index] === null || xs[index] === null) continue;
      if (best === null || Math.abs(xs[index] - x) < Math.abs(xs[best] - x)) best = index;
    }
    return best;
  }
  let [low, high] = [0, xs.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle] < x) low = middle + 1;
    else high = middle;
  }
  let [left, right] = [low - 1, low];
  while (left >= 0 && ys[left] === null) left -= 1;
  while (right < xs.length && ys[right] === null) right += 1;
  if (left < 0) return right < xs.length ? right : null;
  if (right >= xs.length) return left;
  return x - xs[left] <= xs[right] - x ? left : right;
}

/** Every x within `window` at which one of the curves has a point, ascending. */
export function joinedX(curves, window) {
  const all = new Set();
  for (const { xs, infinite } of curves) {
    for (const x of xs) if (x !== null && x >= window[0] && x <= window[1]) all.add(x);
    for (const [x] of infinite) if (x >= window[0] && x <= window[1]) all.add(x);
  }
  return Float64Array.from(all).sort();
}

/** The value of `curve` at exactly `x`: a number, ±Infinity, NaN for a gap, or undefined where it has no point. */
export function valueAt(curve, x) {
  const infinite = curve.infinite.find((point) => point[0] === x);
  if (infinite) return infinite[1] * Infinity;
  const index = curve.sorted ? firstAt(curve.xs, x) : curve.xs.indexOf(x);
  return curve.xs[index] === x ? (curve.ys[index] ?? NaN) : undefined;
}

function firstAt(xs, x) {
  let [low, high] = [0, xs.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low;
}
