// The colours of curves: six that the common colour-vision deficiencies tell apart (Okabe and Ito), as `studio.css`
// has them for each theme. From the seventh on the same colours come again with dashes.

export const SIX = 6;
const DASHES = [[], [6, 3], [2, 3], [9, 3, 2, 3]];

/** How the curve of colour number `index` is drawn, in pixels of CSS. */
export function dashOf(index) {
  if (index === null) return DASHES[0];
  return DASHES[Math.floor(index / SIX) % DASHES.length];
}

/** The number that a swatch in HTML has for colour number `index`: 0 to 5 plain, 6 to 11 striped; `other` for none. */
export function swatchOf(index) {
  if (index === null) return "other";
  return index < 2 * SIX ? index : SIX + (index % SIX);
}

/** Which colour number each run has: by the nearest `data-colours` or `data-run-colours`, or else the first that's free;
 * with `onlyGiven`, null for a run that these don't name. */
export function coloursOfRuns(element, runIds, { onlyGiven = false } = {}) {
  const carrier = element.closest("[data-colours], [data-run-colours]");
  if (carrier && onlyGiven) {
    const named = JSON.parse(carrier.dataset.colours ?? carrier.dataset.runColours);
    return runIds.map((runId) => named[runId] ?? null);
  }
  const given = carrier ? JSON.parse(carrier.dataset.colours ?? carrier.dataset.runColours) : {};
  const taken = new Set(Object.values(given));
  let next = 0;
  return runIds.map((runId) => {
    if (runId in given) return given[runId];
    while (taken.has(next)) next += 1;
    taken.add(next);
    return next;
  });
}

let known = null;
let themed = document.documentElement;

/** From now on the theme is that of `element`: in a notebook, the page's isn't ours. */
export function takeThemeOf(element) {
  themed = element;
  known = null;
}

/** The theme's colours, for what draws on a canvas. */
export function theme() {
  if (known === null) {
    const style = getComputedStyle(themed);
    const value = (name) => style.getPropertyValue(`--${name}`).trim();
    known = {
      curves: Array.from({ length: SIX }, (_, index) => value(`curve-${index}`)),
      line: value("line"),
      faint: value("faint"),
      text: value("text"),
      panel: value("panel"),
    };
  }
  return known;
}

/** Calls `redraw` when the system's theme changes; returns a function that ends it. */
export function whenThemeChanges(redraw) {
  const query = matchMedia("(prefers-color-scheme: dark)");
  const changed = () => {
    known = null;
    redraw();
  };
  query.addEventListener("change", changed);
  return () => query.removeEventListener("change", changed);
}
