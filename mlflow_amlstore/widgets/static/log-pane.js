// The end of a run's log, while it grows. It follows as long as its end is in view.

import { make } from "./dom.js";
import { isAtEnd, linesOf } from "./log.js";

export class LogPane {
  constructor(choose) {
    this.paths = make("select", { "aria-label": "Log" });
    this.paths.addEventListener("change", () => choose(this.paths.value));
    this.path = make("h2");
    this.note = make("span", { className: "muted" });
    this.log = make("pre", { className: "log", tabIndex: 0, role: "region" });
    this.rest = document.createElement("span"); // the line that isn't ended yet
    this.element = make("section", { className: "log-pane", hidden: true }, make("div", { className: "head" }, this.path, this.paths, this.note), this.log);
    this.pieces = new Map(); // by number: the span, and the text that stands in it
    this.of = "";
    this.follows = true;
    this.width = 0; // narrower, it has more lines: the browser scrolls, and nobody else has
    this.log.addEventListener("scroll", () => {
      if (this.width === this.log.clientWidth) this.follows = isAtEnd(this.log);
    });
    this.resized = new ResizeObserver(() => {
      this.width = this.log.clientWidth;
      if (this.follows) this.goToEnd();
    });
    this.resized.observe(this.log);
  }

  end() {
    this.resized.disconnect();
  }

  goToEnd() {
    this.log.scrollTop = this.log.scrollHeight;
  }

  /** Shows the pieces of `log`, in the order of their numbers; null for those that aren't used. */
  show(log, pieces, shown) {
    this.element.hidden = !log;
    const of = `${shown.run_id} ${log?.path}`;
    if (of !== this.of) {
      this.of = of;
      this.pieces.clear();
      this.log.replaceChildren(this.rest);
    }
    if (!log) return;
    this.heading(log, shown);
    this.follows ||= !this.pieces.size;
    const used = pieces.filter(Boolean).sort((one, other) => one.number - other.number);
    const least = used[0]?.number ?? 0;
    for (const [number, { span }] of this.pieces) {
      if (number >= least) continue;
      span.remove();
      this.pieces.delete(number);
    }
    for (const piece of used) this.put(piece);
    this.rest.replaceChildren(linesOf(log.rest));
    if (this.follows) this.goToEnd();
  }

  heading(log, shown) {
    const hasMany = shown.logs.length > 1;
    this.path.hidden = hasMany;
    this.paths.hidden = !hasMany;
    this.path.textContent = log.path;
    this.log.ariaLabel = `The end of ${log.path}`;
    this.note.textContent = log.is_cut ? "the last lines" : "";
    if (!hasMany) return;
    const known = [...this.paths.options].map((option) => option.value);
    if (known.join("\n") !== shown.logs.join("\n")) this.paths.replaceChildren(...shown.logs.map((path) => new Option(path)));
    this.paths.value = log.path;
  }

  put({ number, text }) {
    const known = this.pieces.get(number);
    if (known?.text === text) return;
    const span = known?.span ?? document.createElement("span");
    if (known && text.startsWith(known.text)) span.append(linesOf(text.slice(known.text.length)));
    else span.replaceChildren(linesOf(text));
    if (!known) this.rest.before(span);
    this.pieces.set(number, { span, text });
  }
}
