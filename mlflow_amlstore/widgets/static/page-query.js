// How charts are drawn, kept as long as the page is open. A notebook's address isn't ours to write into.

const values = new Map();

/** The value of `name`, or null. */
export function get(name) {
  return values.get(name) ?? null;
}

/** Keeps values (null takes a name out) and tells `studio:query` to the document. */
export function set(given) {
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === "") values.delete(name);
    else values.set(name, value);
  }
  document.dispatchEvent(new CustomEvent("studio:query", { detail: { names: Object.keys(given) } }));
}
