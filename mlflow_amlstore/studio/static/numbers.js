// Numbers, times and durations as a person reads them, with the same rules as the pages that the server writes.

const GROUP = "\u202f"; // narrow, and doesn't break

/** A whole number with its thousands apart: `1 000 000`. */
export function count(value) {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, GROUP);
}

/** A value with at most `digits` significant digits, integers whole. */
export function number(value, digits = 6) {
  if (value === null || value === undefined) return "";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return sign(value) + count(Math.abs(value));
  const size = Math.abs(value);
  if (size >= 1e9 || size < 1e-4) return sign(value) + size.toExponential(Math.min(digits, 4) - 1).replace(/\.?0+e/, "e").replace("e+", "e");
  const [whole, decimals] = Number(size.toPrecision(digits)).toString().split(".");
  return sign(value) + whole.replace(/\B(?=(\d{3})+$)/g, GROUP) + (decimals ? `.${decimals}` : "");
}

const sign = (value) => (value < 0 ? "−" : "");
const two = (value) => String(value).padStart(2, "0");

/** Milliseconds as `4:12` or `1:02:03`; with `tenths`, below ten seconds as `0:03.4`. */
export function duration(ms, tenths = false) {
  const minus = ms < 0 ? "−" : "";
  const all = Math.abs(ms);
  if (tenths && all < 10_000) return `${minus}0:0${(Math.floor(all / 100) / 10).toFixed(1)}`;
  const seconds = Math.floor(all / 1000);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return minus + (hours ? `${hours}:${two(minutes)}` : String(minutes)) + `:${two(seconds % 60)}`;
}

/** A moment in local time as `2026-11-28 14:02`, with `:31` if `seconds`. */
export function localTime(ms, seconds = false) {
  const moment = new Date(ms);
  const day = `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}`;
  return `${day} ${two(moment.getHours())}:${two(moment.getMinutes())}` + (seconds ? `:${two(moment.getSeconds())}` : "");
}

/** A moment in UTC as `2026-11-28 14:02:31 UTC`. */
export function utcTime(ms) {
  return new Date(ms).toISOString().slice(0, 19).replace("T", " ") + " UTC";
}
