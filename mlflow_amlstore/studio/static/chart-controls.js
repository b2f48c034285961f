// `<chart-controls>`: what is common to all charts of a page: the x axis, the scale of y, smoothing, outliers, marks.
//
// Attributes: `x-metrics`, a JSON list of metrics that can be the x axis; `only`, the names of the controls to show,
// of axis, scale, smooth, clip and marks.

import * as settings from "./chart-settings.js";

class ChartControls extends HTMLElement {
  #form = null;
  #ending = null;

  connectedCallback() {
    this.#form ??= this.#make();
    this.#show();
    this.#ending = new AbortController();
    document.addEventListener("studio:query", () => this.#show(), { signal: this.#ending.signal });
  }

  connectedMoveCallback() {}

  disconnectedCallback() {
    this.#ending.abort();
  }

  #make() {
    const form = document.createElement("form");
    form.className = "chart-controls";
    form.setAttribute("aria-label", "How charts are drawn");
    const only = this.getAttribute("only")?.split(/[\s,]+/) ?? ["axis", "scale", "smooth", "clip", "marks"];
    if (only.includes("axis")) form.append(segments("axis", "X axis", settings.AXES), ...this.#metrics());
    if (only.includes("scale")) form.append(segments("scale", "Scale of y", settings.SCALES));
    if (only.includes("smooth")) form.append(smoothing());
    const toggles = document.createElement("span");
    toggles.className = "segments";
    if (only.includes("clip")) toggles.append(toggle("clip", "Clip outliers", "Show the values between the 5th and the 95th percentile"));
    if (only.includes("marks")) toggles.append(toggle("marks", "Min and max", "Mark the minimum and the maximum of each curve"));
    if (toggles.children.length) form.append(toggles);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => this.#write());
    form.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const { name, value } = button;
      const now = settings.read();
      settings.write({ ...now, [name]: name === "clip" || name === "marks" ? !now[name] : value });
    });
    this.append(form);
    return form;
  }

  #metrics() {
    const names = JSON.parse(this.getAttribute("x-metrics") ?? "[]");
    if (!names.length) return [];
    const select = document.createElement("select");
    select.name = "metric";
    select.setAttribute("aria-label", "A metric as the x axis");
    select.append(new Option("by metric…", ""), ...names.map((name) => new Option(`by ${name}`, `metric:${name}`)));
    return [select];
  }

  #write() {
    const now = settings.read();
    const { smooth, metric } = this.#form.elements;
    const axis = metric?.value || (now.axis.startsWith("metric:") ? "step" : now.axis);
    settings.write({ ...now, axis, smooth: smooth ? Number(smooth.value) : now.smooth });
  }

  #show() {
    const now = settings.read();
    for (const button of this.#form.querySelectorAll("button")) {
      const isOn = button.value ? now[button.name] === button.value : now[button.name];
      button.setAttribute("aria-pressed", String(isOn));
    }
    const { smooth, metric } = this.#form.elements;
    if (metric) metric.value = now.axis.startsWith("metric:") ? now.axis : "";
    if (!smooth) return;
    if (Number(smooth.value) !== now.smooth) smooth.value = now.smooth;
    smooth.nextElementSibling.textContent = String(now.smooth);
  }
}

function segments(name, label, choices) {
  const group = document.createElement("span");
  group.className = "segments";
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", label);
  for (const [value, text] of Object.entries(choices)) group.append(toggle(name, text, "", value));
  return group;
}

function toggle(name, text, title, value = "") {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", name, value, title, textContent: text });
  return button;
}

function smoothing() {
  const label = document.createElement("label");
  label.className = "smoothing";
  const input = document.createElement("input");
  Object.assign(input, { type: "range", name: "smooth", min: "0", max: String(settings.MOST_SMOOTH), step: "0.01", value: "0" });
  label.append("Smooth", input, document.createElement("output"));
  return label;
}

if (!customElements.get("chart-controls")) customElements.define("chart-controls", ChartControls);
