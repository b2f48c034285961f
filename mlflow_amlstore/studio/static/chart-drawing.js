// Draws curves on uPlot's canvas. uPlot draws the axes; the curves are ours, since each has an x of its own and none of
// its points may be left out: gaps, points that stand alone, marks for ±∞, for the minimum and the maximum.

import { SIX, dashOf, theme } from "./colours.js";

const FEW_POINTS = 40;

/** Draws `curves` within the scales of `plot`. `colours` has a number per curve, `near` is the index that stands out. */
export function drawCurves(plot, { curves, colours, kind, near, marks }) {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  const place = placing(plot);
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top - 4 * ratio, bbox.width + 4 * ratio, bbox.height + 8 * ratio);
  ctx.clip();
  ctx.lineJoin = "round";
  const all = curves.map((_, index) => index).filter((index) => index !== near);
  const order = [...all.filter((index) => colours[index] === null), ...all.filter((index) => colours[index] !== null)];
  if (near !== null && near < curves.length) order.push(near);
  for (const index of order) {
    const curve = curves[index];
    const style = {
      colour: colours[index] === null ? theme().faint : theme().curves[colours[index] % SIX],
      dash: dashOf(colours[index]).map((length) => length * ratio),
      width: (index === near ? 2.2 : curves.length > 4 ? 1.1 : 1.5) * ratio,
      alpha: near !== null && index !== near ? 0.25 : colours[index] === null ? 0.5 : 1,
    };
    if (kind === "scatter") drawPlaces(ctx, curve, place, style, Math.floor((colours[index] ?? 0) / SIX), ratio);
    else drawCurve(ctx, curve, place, style, bbox, ratio);
    if (marks) for (const point of [curve.minimum, curve.maximum]) if (point) drawMark(ctx, point, place, style, ratio);
    for (const point of curve.infinite) drawInfinite(ctx, point, place, style, bbox, ratio);
  }
  ctx.restore();
}

/** Where values lie on the canvas, in its own pixels; y is NaN where a log scale has no place for it. */
function placing(plot) {
  const { left, top, width, height } = plot.bbox;
  const { x: xScale, y: yScale } = plot.scales;
  const log = yScale.distr === 3;
  const [least, greatest] = log ? [Math.log10(yScale.min), Math.log10(yScale.max)] : [yScale.min, yScale.max];
  const xFactor = width / (xScale.max - xScale.min);
  const yFactor = height / (greatest - least);
  const [leftmost, bottom] = [xScale.min, top + height];
  return {
    x: (value) => left + (value - leftmost) * xFactor,
    y: log ? (value) => bottom - (value > 0 ? Math.log10(value) - least : NaN) * yFactor : (value) => bottom - (value - least) * yFactor,
  };
}

function drawCurve(ctx, curve, place, style, bbox, ratio) {
  ctx.strokeStyle = ctx.fillStyle = style.colour;
  if (curve.low) {
    ctx.globalAlpha = 0.16 * style.alpha;
    ctx.fill(band(curve, place));
  }
  ctx.lineWidth = style.width;
  if (curve.smoothed) {
    ctx.globalAlpha = 0.3 * style.alpha;
    ctx.lineWidth = ratio;
    ctx.stroke(line(curve.xs, curve.ys, place, bbox, ratio).path);
    ctx.lineWidth = style.width + 0.3 * ratio;
  }
  ctx.globalAlpha = style.alpha;
  ctx.setLineDash(style.dash);
  const { path, alone } = line(curve.xs, curve.smoothed ?? curve.ys, place, bbox, ratio);
  ctx.stroke(path);
  ctx.setLineDash([]);
  ctx.fill(alone);
  if (!curve.smoothed && curve.xs.length <= FEW_POINTS && curve.sorted) drawDots(ctx, curve, place, style, 2 * ratio);
}

/** A path through the values, broken at gaps, and one of dots for the values between two gaps. */
function line(xs, ys, place, bbox, ratio) {
  const [path, alone] = [new Path2D(), new Path2D()];
  const [far, deep] = [bbox.top - 1e4, bbox.top + bbox.height + 1e4]; // canvases lose count far outside
  let open = 0;
  let [lastX, lastY] = [0, 0];
  const close = () => {
    if (open !== 1) return;
    alone.moveTo(lastX + 1.5 * ratio, lastY);
    alone.arc(lastX, lastY, 1.5 * ratio, 0, 7);
  };
  for (let index = 0; index < xs.length; index += 1) {
    const y = ys[index] === null || xs[index] === null ? NaN : place.y(ys[index]);
    if (Number.isNaN(y)) {
      close();
      open = 0;
      continue;
    }
    lastX = place.x(xs[index]);
    lastY = y < far ? far : y > deep ? deep : y;
    if (open) path.lineTo(lastX, lastY);
    else path.moveTo(lastX, lastY);
    open += 1;
  }
  close();
  return { path, alone };
}

/** The area between `low` and `high`, part by part between gaps. */
function band({ xs, low, high }, place) {
  const path = new Path2D();
  let from = 0;
  for (let index = 0; index <= xs.length; index += 1) {
    if (index < xs.length && low[index] !== null && high[index] !== null) continue;
    for (let at = from; at < index; at += 1) path[at === from ? "moveTo" : "lineTo"](place.x(xs[at]), place.y(high[at]));
    for (let at = index - 1; at >= from; at -= 1) path.lineTo(place.x(xs[at]), place.y(low[at]));
    from = index + 1;
  }
  return path;
}

/** Where a run is: a dot; of the colours that come again a ring, a square and a hollow square. */
function drawPlaces(ctx, { xs, ys }, place, style, shape, ratio) {
  const [radius, isSquare, isHollow] = [3.5 * ratio, shape % 4 > 1, shape % 2 === 1];
  const path = new Path2D();
  for (let index = 0; index < xs.length; index += 1) {
    if (xs[index] === null || ys[index] === null) continue;
    const [x, y] = [place.x(xs[index]), place.y(ys[index])];
    if (Number.isNaN(y)) continue;
    if (isSquare) path.rect(x - radius, y - radius, 2 * radius, 2 * radius);
    else {
      path.moveTo(x + radius, y);
      path.arc(x, y, radius, 0, 7);
    }
  }
  ctx.globalAlpha = style.alpha;
  ctx.setLineDash([]);
  ctx.lineWidth = 1.6 * ratio;
  ctx.fillStyle = ctx.strokeStyle = style.colour;
  if (isHollow) ctx.stroke(path);
  else ctx.fill(path);
}

function drawDots(ctx, { xs, ys }, place, style, radius) {
  const path = new Path2D();
  for (let index = 0; index < xs.length; index += 1) {
    if (xs[index] === null || ys[index] === null) continue;
    const [x, y] = [place.x(xs[index]), place.y(ys[index])];
    if (Number.isNaN(y)) continue;
    path.moveTo(x + radius, y);
    path.arc(x, y, radius, 0, 7);
  }
  ctx.globalAlpha = style.alpha;
  ctx.fillStyle = style.colour;
  ctx.fill(path);
}

function drawMark(ctx, [x, y], place, style, ratio) {
  ctx.globalAlpha = style.alpha;
  ctx.strokeStyle = style.colour;
  ctx.fillStyle = theme().panel;
  ctx.lineWidth = 1.5 * ratio;
  ctx.beginPath();
  ctx.arc(place.x(x), place.y(y), 3.5 * ratio, 0, 7);
  ctx.fill();
  ctx.stroke();
}

/** A triangle at the upper edge for +∞, at the lower one for −∞. */
function drawInfinite(ctx, [x, sign], place, style, bbox, ratio) {
  const at = place.x(x);
  const edge = sign > 0 ? bbox.top : bbox.top + bbox.height;
  const size = 5 * ratio;
  ctx.globalAlpha = style.alpha;
  ctx.fillStyle = style.colour;
  ctx.beginPath();
  ctx.moveTo(at, edge - sign * 3 * ratio);
  ctx.lineTo(at - size, edge + sign * (size + 2 * ratio));
  ctx.lineTo(at + size, edge + sign * (size + 2 * ratio));
  ctx.fill();
}
