// Takes what stands in the frame from the server again, and changes only what differs, by htmx's morph. Focus, open
// details, what is typed and what is scrolled stay; charts and logs, which look after themselves, are left alone.

import htmx from "./vendored/htmx.esm.min.js";
import { connected, refusal } from "./answers.js";
import { make, sayThatSessionEnded } from "./dom.js";
import { count } from "./numbers.js";

const OWN_CHILDREN = "metric-chart, axes-chart, chart-controls, parallel-coordinates, .filter-box, [data-filled]";
let morph = null;

htmx.registerExtension("studio", {
  init: (api) => {
    morph = api.morph;
  },
  htmx_before_morph_node: (element, { newNode }) => {
    if (element.matches?.("pre.log[data-src]") && element.dataset.src === newNode.dataset?.src) return false;
    if (element.matches?.("pre.log:not([data-src])") && element.textContent === newNode.textContent) return false; // it has colours
    if (element.matches?.("metric-chart, axes-chart, parallel-coordinates")) takeData(element, newNode);
    return true;
  },
  htmx_before_morph_attr: (element, { attrName, newValue }) => {
    if (attrName === "open" && element.matches("details, dialog")) return false;
    if (attrName === "data-filled") return false;
    // A chart of chosen runs has its `src` from the choice.
    return !(attrName === "src" && newValue === null && element.localName === "metric-chart");
  },
});
htmx.config.morphSkipChildren = OWN_CHILDREN;

/** New data of a chart whose JSON stands in the page. */
function takeData(element, newElement) {
  const [now, then] = [element, newElement].map((each) => each.querySelector(':scope > script[type="application/json"]'));
  if (now && then && now.textContent !== then.textContent) now.textContent = then.textContent;
}

let running = null;
let again = false;

/**
 * Brings the page and its charts up to date, and tells `studio:changed`. Calls while one is under way become one more.
 * With `since`, a version of the workspace, an answer that was made for another page at that version or later will do.
 */
export async function refresh(since = null) {
  if (running) {
    again = true;
    return running;
  }
  running = fetchAndMorph(since).finally(() => {
    running = null;
  });
  await running;
  if (!again) return undefined;
  again = false;
  return refresh();
}

async function fetchAndMorph(since) {
  const headers = { Accept: "text/html", "X-Studio-Part": "main" };
  if (since !== null) headers["X-Studio-Since"] = since;
  const response = await connected(fetch(location.href, { headers }));
  if (response.status === 401) {
    sayThatSessionEnded();
    return;
  }
  if (response.status >= 500) {
    await sayTrouble(response);
    return;
  }
  const text = await connected(response.text());
  if (!response.headers.get("content-type")?.startsWith("text/html")) return;
  showCounts(JSON.parse(response.headers.get("x-studio-counts") ?? "{}"));
  if (text !== shown) show(text);
  shown = text;
  const waits = []; // what charts ask for now
  document.dispatchEvent(new CustomEvent("studio:changed", { detail: { waits } }));
  await Promise.allSettled(waits);
}

let shown = ""; // what the server said last, where the page shows it

function show(text) {
  const template = document.createElement("template");
  template.innerHTML = text;
  // A page of its own, such as one that tells of an error, has its frame with it.
  const whole = template.content.querySelector("main");
  if (whole) template.innerHTML = whole.innerHTML;
  const main = document.querySelector("main");
  nameRows(main);
  nameRows(template.content);
  const focused = document.activeElement;
  const refusals = [...main.querySelectorAll("form > .refusal")].map((refusal) => [refusal.parentElement, refusal]);
  morph(main, template.content, true);
  for (const [form, refusal] of refusals) form.prepend(refusal); // which the server doesn't know of
  htmx.process(main);
  if (focused && focused !== document.body && !focused.isConnected) main.focus({ preventScroll: true });
}

/** What the navigation counts; nothing is said of running runs while there are none. */
function showCounts(counts) {
  for (const [name, value] of Object.entries(counts)) {
    const element = document.querySelector(`[data-count="${name}"]`);
    if (!element) continue;
    element.textContent = count(value);
    if (name === "running") element.closest(".count").hidden = value === 0;
  }
}

/** Says above what was shown why there is nothing newer; the next time that there is, this goes. */
async function sayTrouble(response) {
  const page = new DOMParser().parseFromString(await response.clone().text(), "text/html");
  const message = page.querySelector("[role=alert]")?.textContent || (await refusal(response));
  document.getElementById("trouble")?.remove();
  shown = "";
  document.querySelector("main").prepend(make("p", { id: "trouble", className: "error-banner", role: "alert", textContent: message }));
}

/** A row stays the row of its run when others come before it. */
function nameRows(root) {
  for (const row of root.querySelectorAll("tr[data-run]:not([id])")) row.id = `run-${row.dataset.run}`;
}
