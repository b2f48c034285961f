// The widget of a run. What it shows are the model's values, which the kernel sets whenever something changed:
// `head`, `children`, `shown`, `part_0`, …, `log`, `log_0`, …, `problem` (run_widget.py says what each of them is).

import "./axes-chart.js";
import "./chart-controls.js";
import { ChildTable } from "./child-table.js";
import { make } from "./dom.js";
import { askingOf } from "./kernel.js";
import { LogPane } from "./log-pane.js";
import { MetricCards } from "./metric-cards.js";
import { followTheme } from "./notebook-theme.js";
import { duration } from "./numbers.js";
import { setStatus } from "./status.js";

const MOST_PARTS = 100;
const LOG_PIECES = 8;
const SCRIPTS_LOG = "/std_log.txt";

/** Shows the run of `model` in `el`; returns what ends it. */
export function render({ model, el, styles }) {
  const host = make("div", { "data-lm-suppress-shortcuts": "true" });
  const page = make("div", { className: "page run-widget" });
  host.attachShadow({ mode: "open" }).append(make("style", { textContent: styles }), page);
  el.append(host);
  const widget = new RunWidget(model, page);
  const endTheme = followTheme(host, () => widget.cards.redraw());
  return () => {
    widget.end();
    endTheme();
    host.remove();
  };
}

class RunWidget {
  constructor(model, page) {
    this.model = model;
    this.seen = new Map();
    this.ask = askingOf(model, (isSlow) => (this.waits.hidden = !isSlow));
    const show = (runId, given = {}) => this.tell(() => this.ask("show", { run_id: runId, ...given }));
    this.name = make("h1");
    this.status = make("span", { className: "status" });
    this.time = make("span", { className: "muted" });
    this.link = make("a", { className: "button", target: "_blank", rel: "noopener", textContent: "Open in Studio" });
    this.experiment = make("span", { className: "muted" });
    this.problem = make("p", { className: "problem", role: "status", hidden: true });
    this.waits = make("p", { className: "problem", role: "status", hidden: true, textContent: "The kernel doesn't answer yet. While it works on a cell, it answers when that has ended." });
    this.said = make("span");
    this.errorLines = make("pre", { tabIndex: 0, role: "region", "aria-label": "Details of the error" });
    this.details = make("details", {}, make("summary", { textContent: "Details" }), this.errorLines);
    this.error = make("div", { className: "error-banner", role: "alert", hidden: true }, this.said, this.details);
    this.children = new ChildTable(show);
    this.shownName = make("h2");
    this.shownStatus = make("span", { className: "status" });
    this.back = make("button", { type: "button", className: "button", textContent: "Back to the parent" });
    this.back.addEventListener("click", () => show(this.get("head").run_id));
    this.shownHead = make("div", { className: "head shown-head", hidden: true }, this.shownName, this.shownStatus, make("span", { className: "actions" }, this.back));
    this.cards = new MetricCards(this.ask, this.get.bind(this));
    this.log = new LogPane((path) => show(this.get("shown").run_id, { log: path }));
    page.append(
      make("div", { className: "head run-head" }, this.name, this.status, this.time, this.experiment, make("span", { className: "actions" }, this.link)),
      this.problem, this.waits, this.error, this.children.element, this.shownHead, this.cards.element, this.log.element,
    );
    this.names = ["head", "shown", "children", "problem", "log"];
    for (let place = 0; place < MOST_PARTS; place += 1) this.names.push(`part_${place}`);
    for (let place = 0; place < LOG_PIECES; place += 1) this.names.push(`log_${place}`);
    this.changed = () => {
      this.timer ||= setTimeout(() => this.update()); // once for all values of one message
    };
    for (const name of this.names) model.on(`change:${name}`, this.changed);
    this.update();
    this.ticking = setInterval(() => this.tick(), 1000);
    this.ask("hello", { view: this.ask.view }).catch(() => {}); // the kernel tells what is new without it
  }

  get(name) {
    return this.model.get(name);
  }

  end() {
    for (const name of this.names) this.model.off(`change:${name}`, this.changed);
    clearTimeout(this.timer);
    clearInterval(this.ticking);
    this.log.end();
    this.model.send({ id: "", ask: "bye", view: this.ask.view });
    this.ask.end();
  }

  /** Does what asks the kernel, and says what went wrong. */
  async tell(act) {
    try {
      await act();
      this.say(this.get("problem"));
    } catch (error) {
      this.say(error.message);
    }
  }

  say(text) {
    this.problem.hidden = !text;
    this.problem.textContent = text || "";
  }

  /** Shows those values that are others than before. */
  update() {
    this.timer = 0;
    const changed = new Set(this.names.filter((name) => this.get(name) !== this.seen.get(name)));
    for (const name of changed) this.seen.set(name, this.get(name));
    const [head, shown] = [this.get("head"), this.get("shown")];
    if (!head || !shown) return;
    if (changed.has("problem")) this.say(this.get("problem") ? `Not up to date: ${this.get("problem")}` : "");
    if (changed.has("head")) this.showHead(head);
    if (changed.has("shown") || changed.has("head")) this.showShown(head, shown);
    if (changed.has("children") || changed.has("shown")) this.children.show(this.get("children"), head, shown.run_id);
    this.cards.show([...changed].filter((name) => name.startsWith("part_")), shown);
    if (changed.has("shown") || [...changed].some((name) => name.startsWith("log"))) {
      this.log.show(this.get("log"), Array.from({ length: LOG_PIECES }, (_, place) => this.get(`log_${place}`)), shown);
    }
    this.tick();
  }

  showHead(head) {
    this.name.textContent = head.name;
    this.name.title = head.run_id;
    this.experiment.textContent = head.experiment;
    setStatus(this.status, head.status);
    this.link.href = head.url;
    this.link.hidden = !/^https?:/.test(head.url);
  }

  showShown(head, shown) {
    const isChild = shown.run_id !== head.run_id;
    this.shownHead.hidden = !isChild;
    this.shownName.textContent = shown.name;
    setStatus(this.shownStatus, shown.status);
    this.error.hidden = !shown.error;
    if (this.said.textContent !== shown.error || this.errorLines.textContent !== shown.error_lines) {
      this.said.textContent = shown.error;
      this.errorLines.textContent = shown.error_lines;
      this.details.hidden = !shown.error_lines;
      this.details.open = !this.get("log")?.path.endsWith(SCRIPTS_LOG); // which ends with these lines, and is shown below
    }
    // A run that failed says why, and how its log ends, before all else.
    put(this.error, isChild ? this.shownHead : this.waits);
    put(this.log.element, shown.status === "Failed" ? this.error : this.cards.element);
  }

  tick() {
    const head = this.get("head");
    if (!head?.started_ms) return;
    const text = duration((head.ended_ms ?? Date.now()) - head.started_ms);
    if (this.time.textContent !== text) this.time.textContent = text;
    this.children.tick();
  }
}

/** Puts `element` after another, unless it is there: what is moved would scroll back. */
function put(element, after) {
  if (after.nextElementSibling !== element) after.after(element);
}
