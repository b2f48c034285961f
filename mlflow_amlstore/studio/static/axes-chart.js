// `<axes-chart heading>`: an x-y line of two columns of a table; with `choose`, a select for each axis. A child
// `<script type="application/json">` has `{COLUMN: [numbers]}`.

import "./chart.js";
import { make } from "./dom.js";

class AxesChart extends HTMLElement {
  #chart = null;
  #selects = [];
  #text = "";
  #columns = {};
  #ending = null;

  connectedCallback() {
    this.#ending = new AbortController();
    document.addEventListener("studio:changed", () => this.refresh(), { signal: this.#ending.signal });
    this.refresh();
  }

  connectedMoveCallback() {}

  disconnectedCallback() {
    this.#ending.abort();
  }

  /** Draws what its script has now. */
  refresh() {
    const text = this.querySelector(":scope > script")?.textContent ?? "";
    if (!text || text === this.#text) return;
    this.#text = text;
    this.#columns = JSON.parse(text);
    if (!this.#chart) this.#make(Object.keys(this.#columns));
    this.#draw();
  }

  #make(names) {
    if (this.hasAttribute("choose")) {
      this.#selects = ["Across", "Up"].map((label, at) => {
        const select = make("select", {}, ...names.map((name) => new Option(name)));
        select.selectedIndex = Math.min(at, names.length - 1);
        select.addEventListener("change", () => this.#draw());
        return make("label", {}, `${label} `, select);
      });
      this.append(make("div", { className: "bar" }, ...this.#selects));
    }
    this.#chart = make("metric-chart", { kind: "xy" }, make("script", { type: "application/json" }));
    this.append(this.#chart);
  }

  #draw() {
    const names = Object.keys(this.#columns);
    const [across, up] = this.#selects.length ? this.#selects.map((label) => label.querySelector("select").value) : names;
    const series = [{ run_id: "", run_name: up, x: this.#columns[across] ?? [], y: this.#columns[up] ?? [] }];
    this.#chart.setAttribute("heading", `${up} over ${across}`);
    this.#chart.firstElementChild.textContent = JSON.stringify({ x_name: across, y_name: up, series });
    this.#chart.refresh();
  }
}

if (!customElements.get("axes-chart")) customElements.define("axes-chart", AxesChart);
