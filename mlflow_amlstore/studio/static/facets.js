// Menus that know more than the page: when `details.menu[data-choices=people|params]` is opened, its list of links gets
// the choices of all runs, as `data-name` in the address; so do the selects of `form[data-adds-chart]`.

import { make } from "./dom.js";
import { all, metricColumns } from "./names.js";

/** Starts: all such menus of the page. */
export function start() {
  document.addEventListener("toggle", async ({ target }) => {
    if (!target.matches?.("details.menu[open]")) return;
    if (target.dataset.choices) addLinks(target, (await all())[target.dataset.choices] ?? []);
    const form = target.querySelector("form[data-adds-chart]");
    if (form) addAxes(form, await all());
  }, { capture: true });
}

function addLinks(menu, choices) {
  const list = menu.querySelector(".list");
  list.dataset.filled = ""; // so that it stays when the page is brought up to date
  const known = new Set([...list.querySelectorAll("a")].map((link) => new URL(link.href).searchParams.get(menu.dataset.name)));
  for (const choice of choices.filter((each) => !known.has(each))) {
    const url = new URL(list.querySelector("a").href);
    url.searchParams.set(menu.dataset.name, choice);
    list.append(make("a", { href: url.href, textContent: choice }));
  }
}

function addAxes(form, names) {
  const columns = [...metricColumns(names), ...(names.params ?? []).map((name) => `params.${name}`)];
  for (const select of form.querySelectorAll("select")) {
    const known = new Set([...select.options].map((option) => option.value));
    const more = columns.filter((column) => !known.has(column));
    select.append(...more.map((column) => new Option(column.replace(/^[a-z]+\./, "").replace(/:(min|max)$/, ", $1"), column)));
  }
}
