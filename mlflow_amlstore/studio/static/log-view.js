// All of a log, however long: `.log-view` shows the lines from byte `data-begin` to `data-end` and gets more where they
// are wanted. It follows a log that grows while its end is shown. A search goes through the whole log on the server.

import { refusal } from "./answers.js";
import { make } from "./dom.js";
import { isAtEnd, linesOf } from "./log.js";

const AROUND_BYTES = 32 * 1024;
const MOST_BYTES = 1024 * 1024; // in the page at once
const MOST_MATCHES = 500;
const TYPING_MS = 300;

/** Starts: the logs of the page. */
export function start() {
  for (const element of document.querySelectorAll(".log-view")) new LogView(element);
}

class LogView {
  constructor(view) {
    this.view = view;
    this.log = view.querySelector("pre.log");
    for (const name of ["begin", "end", "size"]) this[name] = Number(view.dataset[name]);
    this.rest = document.createElement("span"); // the line that isn't ended yet
    this.search = make("input", { type: "search", autocomplete: "off" });
    this.said = make("span", { className: "muted", role: "status" });
    this.found = make("ol", { className: "log-matches", hidden: true, "aria-label": "Lines found" });
    this.place = make("span", { className: "muted" });
    this.earlier = this.button("Earlier lines", () => this.showEarlier());
    this.later = this.button("Later lines", () => this.showLater());
    this.toEnd = this.button("To the end", () => this.showEnd());
    view.prepend(
      make("div", { className: "bar" }, make("label", {}, "Find in the log ", this.search), this.said),
      this.found,
      make("div", { className: "bar" }, this.earlier, this.place),
    );
    view.append(make("div", { className: "bar" }, this.later, this.toEnd));
    const text = this.log.textContent;
    const ended = text.lastIndexOf("\n") + 1;
    this.replace({ text: text.slice(0, ended), rest: text.slice(ended), begin: this.begin, end: this.end, size_bytes: this.size });
    this.log.scrollTop = this.log.scrollHeight;
    this.search.addEventListener("input", () => this.sought());
    this.search.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      this.step(event.shiftKey ? -1 : 1);
    });
    document.addEventListener("studio:changed", () => this.follow());
  }

  button(text, act) {
    const button = make("button", { type: "button", className: "button", textContent: text });
    button.addEventListener("click", () => this.tell(act));
    return button;
  }

  /** Does what asks the server, once at a time, and says what went wrong. */
  async tell(act) {
    if (this.busy) return;
    this.busy = true;
    try {
      await act();
    } catch (error) {
      this.said.textContent = error.message;
    } finally {
      this.busy = false;
    }
  }

  async ask(address, query) {
    const url = new URL(address, document.baseURI);
    url.search = new URLSearchParams({ path: this.view.dataset.path, ...query });
    const response = await fetch(url, { headers: { Accept: "application/json" } });
    if (!response.ok) throw new Error(await refusal(response));
    return response.json();
  }

  part(query) {
    return this.ask(this.view.dataset.part, query);
  }

  async showEnd() {
    this.replace(await this.part({}));
    this.log.scrollTop = this.log.scrollHeight;
    this.log.focus({ preventScroll: true });
  }

  async showEarlier() {
    const part = await this.part({ before: this.begin });
    if (this.end - part.begin > MOST_BYTES) return this.replace(part);
    const height = this.log.scrollHeight;
    this.log.prepend(linesOf(part.text));
    this.begin = part.begin;
    this.log.scrollTop += this.log.scrollHeight - height;
    return this.showPlace();
  }

  async showLater() {
    const part = await this.part({ after: this.end });
    if (part.end - this.begin > MOST_BYTES) this.replace(part);
    else this.add(part);
  }

  /** Brings what follows on the lines that are shown, where those reach the end. */
  follow() {
    if (!this.log.isConnected || this.end + AROUND_BYTES * 2 < this.size) return;
    this.tell(async () => {
      const follows = isAtEnd(this.log);
      const part = await this.part({ after: this.end });
      if (part.size_bytes < this.end || (follows && part.end < part.size_bytes && !part.rest)) this.replace(await this.part({}));
      else this.add(part);
      if (follows) this.log.scrollTop = this.log.scrollHeight;
    });
  }

  replace(part) {
    this.log.replaceChildren(this.rest);
    this.begin = part.begin;
    this.add(part);
  }

  add(part) {
    this.rest.before(linesOf(part.text));
    this.rest.replaceChildren(linesOf(part.rest));
    this.end = part.end;
    this.size = part.size_bytes;
    this.reachesEnd = part.rest !== "" || part.end === part.size_bytes;
    this.showPlace();
  }

  showPlace() {
    this.earlier.hidden = this.begin === 0;
    this.later.hidden = this.toEnd.hidden = this.reachesEnd;
    const isWhole = this.begin === 0 && this.reachesEnd;
    this.place.textContent = isWhole ? "" : `Bytes ${inGroups(this.begin)} to ${inGroups(this.end)} of ${inGroups(this.size)}`;
  }

  /** The search field changed: marks what is shown, and looks through all of the log if that is more. */
  sought() {
    this.searching?.abort();
    clearTimeout(this.timer);
    this.found.replaceChildren();
    this.found.hidden = true;
    this.at = 0;
    if (this.mark() || !this.search.value) return;
    this.timer = setTimeout(() => this.searchAll(this.search.value), TYPING_MS);
  }

  /** Marks what is shown; whether that is the whole log. */
  mark() {
    CSS.highlights?.delete("found");
    CSS.highlights?.delete("found-now");
    const isWhole = this.begin === 0 && this.reachesEnd;
    const sought = this.search.value.toLowerCase();
    this.ranges = sought ? rangesOf(this.log, sought) : [];
    if (this.ranges.length) CSS.highlights?.set("found", new Highlight(...this.ranges));
    if (isWhole || !sought) this.said.textContent = !sought ? "" : this.ranges.length ? `${this.at + 1} of ${this.ranges.length}` : "Not found";
    if (isWhole && this.ranges.length) this.scrollTo(this.ranges[this.at]);
    return isWhole;
  }

  step(by) {
    const buttons = this.found.querySelectorAll("button");
    if (buttons.length) {
      const at = [...buttons].findIndex((each) => each.ariaCurrent === "true") + by;
      buttons[(at + buttons.length) % buttons.length].click();
      return;
    }
    const count = this.ranges?.length;
    if (!count) return;
    this.at = (this.at + by + count) % count;
    if (this.begin === 0 && this.reachesEnd) this.said.textContent = `${this.at + 1} of ${count}`;
    this.scrollTo(this.ranges[this.at]);
  }

  scrollTo(range) {
    CSS.highlights?.set("found-now", new Highlight(range));
    const place = range.getBoundingClientRect();
    const frame = this.log.getBoundingClientRect();
    this.log.scrollTop += place.top - frame.top - frame.height / 2;
  }

  async searchAll(text) {
    const searching = (this.searching = new AbortController());
    let next = { begin: 0, line: 1 };
    let count = 0;
    try {
      while (next && count < MOST_MATCHES && !searching.signal.aborted) {
        const answer = await this.ask(this.view.dataset.matches, { text, ...next });
        if (searching.signal.aborted) return;
        const shown = answer.matches.slice(0, MOST_MATCHES - count);
        count += shown.length;
        this.found.append(...shown.map((match) => this.item(match)));
        this.found.hidden = !count;
        next = answer.next_from === null ? null : { begin: answer.next_from, line: answer.next_line };
        const done = next ? `, ${Math.floor((100 * next.begin) / answer.size_bytes)} % searched` : "";
        this.said.textContent = `${count} ${count === 1 ? "line" : "lines"} found${done}`;
      }
      if (next) this.said.textContent = `The first ${count} lines are shown; there may be more`;
      else if (!count) this.said.textContent = "Not found";
    } catch (error) {
      if (!searching.signal.aborted) this.said.textContent = error.message;
    }
  }

  item(match) {
    const line = make("span", { className: "muted number", textContent: inGroups(match.line) });
    const button = make("button", { type: "button", className: "quiet" }, line, ` ${match.text}`);
    button.addEventListener("click", () => this.tell(() => this.show(match, button)));
    return make("li", {}, button);
  }

  /** Shows the lines around one that was found. */
  async show(match, button) {
    const begins = Math.max(match.at - AROUND_BYTES, 0);
    const around = await this.part({ before: Math.min(begins + 2 * AROUND_BYTES, this.size) });
    this.replace(around);
    for (const each of this.found.querySelectorAll("button")) each.ariaCurrent = each === button ? "true" : null;
    this.mark();
    const text = this.log.textContent;
    const at = text.indexOf(match.text);
    const range = this.ranges.find((each) => offsetIn(this.log, each) >= at) ?? this.ranges[0];
    if (range) this.scrollTo(range);
  }
}

const inGroups = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, " ");

/** How many characters of `log` are before a range. */
function offsetIn(log, range) {
  const before = document.createRange();
  before.setStart(log, 0);
  before.setEnd(range.startContainer, range.startOffset);
  return before.toString().length;
}

function rangesOf(log, sought) {
  const ranges = [];
  const walker = document.createTreeWalker(log, NodeFilter.SHOW_TEXT);
  while (walker.nextNode() && ranges.length < 10_000) {
    const text = walker.currentNode.data.toLowerCase();
    for (let at = text.indexOf(sought); at !== -1; at = text.indexOf(sought, at + sought.length)) {
      const range = new Range();
      range.setStart(walker.currentNode, at);
      range.setEnd(walker.currentNode, at + sought.length);
      ranges.push(range);
    }
  }
  return ranges;
}
