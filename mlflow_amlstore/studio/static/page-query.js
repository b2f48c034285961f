// What scripts keep in the page's address: how charts are drawn, which runs are chosen, how wide columns are.
// It is written without a new entry in the history, and links and forms of the same page take it with them.

const KEPT = ["axis", "scale", "smooth", "clip", "marks", "chosen", "widths", "level"];

/** The value of `name` in the page's query, or null. */
export function get(name) {
  return new URLSearchParams(location.search).get(name);
}

/** Writes `values` into the page's query (null takes a name out) and tells `studio:query` to the document. */
export function set(values) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === "") url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  const readable = url.search.replaceAll("%2C", ",").replaceAll("%3A", ":");
  history.replaceState(history.state, "", url.pathname + readable + url.hash);
  carry();
  document.dispatchEvent(new CustomEvent("studio:query", { detail: { names: Object.keys(values) } }));
}

/** Gives the links of this page, and those marked `data-keep-query`, what is kept. */
export function carry() {
  const kept = new URLSearchParams(location.search);
  for (const link of document.querySelectorAll("a[href]")) {
    if (link.origin !== location.origin || link.getAttribute("href").startsWith("#") || link.hasAttribute("download")) continue;
    if (link.pathname !== location.pathname && !link.hasAttribute("data-keep-query")) continue;
    const url = new URL(link.href);
    for (const name of KEPT) {
      if (kept.has(name)) url.searchParams.set(name, kept.get(name));
      else url.searchParams.delete(name);
    }
    if (url.href !== link.href) link.href = url.href;
  }
}

/** Starts: the links at once, and GET forms of this page when they are sent. Forms that change something are not. */
export function start() {
  carry();
  document.addEventListener("studio:changed", carry);
  document.addEventListener("formdata", (event) => {
    const form = event.target;
    if (form.matches("[data-change]") || form.method !== "get" || new URL(form.action).pathname !== location.pathname) return;
    for (const name of new Set(event.formData.keys())) if (event.formData.getAll(name).every((value) => value === "")) event.formData.delete(name);
    const kept = new URLSearchParams(location.search);
    for (const name of KEPT) if (kept.has(name) && !event.formData.has(name)) event.formData.append(name, kept.get(name));
  });
}
