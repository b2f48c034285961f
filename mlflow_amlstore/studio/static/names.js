// Names to choose from: at once those of the runs that the page shows, and where they are asked for those of all runs.
// `<script type="application/json" id="filter-names" data-all=URL>` has the first.

let known = null;
let asked = null;

/** The names that are known by now. */
export function now() {
  return known ?? JSON.parse(document.getElementById("filter-names")?.textContent ?? "{}");
}

/** The names that all runs have, asked for once; those that the page shows where the server gives none. */
export function all() {
  asked ??= ask();
  return asked;
}

async function ask() {
  const address = document.getElementById("filter-names")?.dataset.all;
  const response = address ? await fetch(new URL(address, document.baseURI), { headers: { Accept: "application/json" } }) : null;
  if (response?.ok) known = await response.json();
  return now();
}

/** All metrics as a last, lowest and highest value, as columns are written. */
export function metricColumns(names) {
  return (names.metrics ?? []).flatMap((name) => ["", ":min", ":max"].map((of) => `metrics.${name}${of}`));
}
