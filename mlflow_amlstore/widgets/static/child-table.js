// The child runs as a table: the best one is marked, a heading sorts, a click on a run shows its charts and log.

import { make } from "./dom.js";
import { duration, number } from "./numbers.js";
import { setStatus } from "./status.js";

export class ChildTable {
  constructor(open) {
    this.open = open;
    this.table = make("table", { className: "runs" });
    this.count = make("span", { className: "muted" });
    const scroll = make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Child runs" }, this.table);
    this.element = make("section", { className: "child-runs", hidden: true }, make("h2", {}, "Child runs ", this.count), scroll);
    this.sort = null; // `{name, isDescending}` of a heading that was clicked
  }

  /** Shows the table of `children`, null for none; `shownId` is the run whose charts are shown. */
  show(children, head, shownId) {
    this.element.hidden = !children;
    this.children = children;
    this.shownId = shownId;
    if (!children) return;
    this.count.textContent = `${number(children.rows.length)}${children.is_cut ? ", the latest" : ""}`;
    const focused = this.table.getRootNode().activeElement?.closest("[data-key]")?.dataset.key;
    this.table.replaceChildren(this.heads(), this.body());
    if (focused) this.table.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  /** Counts on the durations of runs that go on. */
  tick() {
    for (const cell of this.table.querySelectorAll("[data-since-ms]")) cell.textContent = duration(Date.now() - Number(cell.dataset.sinceMs));
  }

  get order() {
    if (this.sort) return this.sort;
    const { best } = this.children;
    return best ? { name: `metrics ${best.metric}`, isDescending: best.goal === "maximize" } : null;
  }

  heads() {
    const { params, metrics } = this.children;
    const row = make("tr", {}, make("th", { scope: "col", className: "name", textContent: "Run" }), make("th", { scope: "col", textContent: "Status" }));
    for (const [kind, names] of [["params", params], ["metrics", metrics]]) {
      for (const name of names) row.append(this.head(kind, name));
    }
    row.append(make("th", { scope: "col", className: "number", textContent: "Duration" }));
    return make("thead", {}, row);
  }

  head(kind, name) {
    const key = `${kind} ${name}`;
    const isSorted = this.order?.name === key;
    const button = make("button", { type: "button", className: "sort", textContent: name, dataset: { key } });
    button.addEventListener("click", () => {
      this.sort = { name: key, isDescending: isSorted ? !this.order.isDescending : false };
      this.show(this.children, null, this.shownId);
    });
    const head = make("th", { scope: "col", className: "number" }, button);
    if (isSorted) head.ariaSort = this.order.isDescending ? "descending" : "ascending";
    return head;
  }

  body() {
    const { params, metrics } = this.children;
    const body = make("tbody");
    const order = this.order;
    const valueOf = (row) => {
      const [kind, ...name] = order.name.split(" ");
      const value = row[kind][name.join(" ")];
      return value === undefined || value === "" ? NaN : Number(value);
    };
    const rows = [...this.children.rows];
    if (order) rows.sort((one, other) => compare(valueOf(one), valueOf(other), order.isDescending));
    const best = order && rows.length > 1 && Number.isFinite(valueOf(rows[0])) ? rows[0] : null;
    for (const row of rows) {
      const open = make("button", { type: "button", className: "open", textContent: row.name, title: row.run_id, dataset: { key: row.run_id } });
      const status = make("span", { className: "status" });
      setStatus(status, row.status);
      const line = make("tr", { dataset: { run: row.run_id } }, make("th", { scope: "row", className: "name" }, open), make("td", {}, status));
      if (row.run_id === this.shownId) {
        line.className = "chosen";
        open.ariaCurrent = "true";
      }
      for (const name of params) line.append(make("td", { className: "number", textContent: row.params[name] ?? "" }));
      for (const name of metrics) line.append(metricCell(row, name, row === best && order.name === `metrics ${name}`));
      line.append(durationCell(row));
      line.addEventListener("click", () => this.open(row.run_id));
      body.append(line);
    }
    return body;
  }
}

function metricCell(row, name, isBest) {
  const value = row.metrics[name];
  const cell = make("td", { className: isBest ? "number best" : "number", textContent: typeof value === "string" ? value : number(value) });
  if (isBest) cell.prepend(make("span", { className: "best-word", textContent: "best" }));
  return cell;
}

function durationCell(row) {
  const cell = make("td", { className: "number" });
  if (row.started_ms === null) return cell;
  if (row.ended_ms === null) cell.dataset.sinceMs = row.started_ms;
  cell.textContent = duration((row.ended_ms ?? Date.now()) - row.started_ms);
  return cell;
}

/** Numbers in their order, and what is none at the end. */
function compare(one, other, isDescending) {
  if (Number.isNaN(one) || Number.isNaN(other)) return Number(Number.isNaN(one)) - Number(Number.isNaN(other));
  return isDescending ? other - one : one - other;
}
