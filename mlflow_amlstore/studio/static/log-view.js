// All of a log, however long: `.log-view` shows the lines from byte `data-begin` to `data-end` and gets more where they
// are wanted. It follows a log that grows while its end is shown. A search goes through the whole log on the server.

import { refusal } from "./answers.js";
import { make } from "./dom.js";
import { isAtEnd, linesOf } from "./log.js";

const FOLLOWED_BYTES = 64 * 1024; // what may be missing of a log that is followed
const MOST_BYTES = 1024 * 1024; // in the page at once
const MOST_MATCHES = 500;
const MOST_MARKS = 10_000;
const TYPING_MS = 300;

/** Starts: the logs of the page. */
export function start() {
  for (const element of document.querySelectorAll(".log-view")) new LogView(element);
}

class LogView {
  constructor(view) {
    this.view = view;
    this.log = view.querySelector("pre.log");
    this.turn = Promise.resolve();
    this.at = 0;
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
    const rest = this.log.lastElementChild.textContent;
    const text = this.log.textContent.slice(0, -rest.length || undefined);
    this.replace({ text, rest, begin: Number(view.dataset.begin), end: Number(view.dataset.end), size_bytes: Number(view.dataset.size), reaches_end: true });
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

  /** Does what asks the server, one after the other, and says what went wrong. */
  tell(act) {
    this.turn = this.turn.then(act).catch((error) => {
      this.said.textContent = error.message;
    });
  }

  async ask(address, query) {
    const url = new URL(address, document.baseURI);
    url.search = new URLSearchParams({ path: this.view.dataset.path, ...query });
    const response = await fetch(url, { headers: { Accept: "application/json" } });
    if (!response.ok) throw new Error(await refusal(response));
    const answer = await response.json();
    if (answer.damage) throw new Error(answer.damage);
    return answer;
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
    return this.refresh();
  }

  async showLater() {
    const part = await this.part({ after: this.end });
    if (part.end - this.begin > MOST_BYTES) this.replace(part);
    else this.add(part);
  }

  /** Brings what follows on the lines that are shown, where those reach the end: once more if the log changes meanwhile. */
  follow() {
    if (!this.log.isConnected || this.willFollow) return;
    this.willFollow = true;
    this.tell(async () => {
      this.willFollow = false;
      if (this.end + FOLLOWED_BYTES < this.size) return;
      const follows = isAtEnd(this.log);
      const part = await this.part({ after: this.end });
      if (part.size_bytes < this.end || (follows && !part.reaches_end)) this.replace(await this.part({}));
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
    this.reachesEnd = part.reaches_end;
    this.refresh();
  }

  get isWhole() {
    return this.begin === 0 && this.reachesEnd;
  }

  /** What is shown changed: says which part of the log it is, and marks what is sought in it. */
  refresh() {
    this.earlier.hidden = this.begin === 0;
    this.later.hidden = this.toEnd.hidden = this.reachesEnd;
    this.place.textContent = this.isWhole ? "" : `Bytes ${inGroups(this.begin)} to ${inGroups(this.end)} of ${inGroups(this.size)}`;
    if (!this.search.value) return;
    if (!this.isWhole && !this.isListed) this.sought(); // it was whole before
    else this.mark();
  }

  /** The search field changed: marks what is shown, and looks through all of the log if that is more. */
  sought() {
    this.searching?.abort();
    clearTimeout(this.timer);
    this.found.replaceChildren();
    this.found.hidden = true;
    this.said.textContent = "";
    CSS.highlights?.delete("found-now");
    this.at = 0;
    this.isListed = !this.isWhole;
    this.mark();
    if (!this.search.value) return;
    if (this.isListed) this.timer = setTimeout(() => this.searchAll(this.search.value), TYPING_MS);
    else if (this.ranges.length) this.scrollTo(this.ranges[0]);
  }

  /** Marks what is sought in what is shown; of a log that is shown whole it says which of them is the present one. */
  mark() {
    CSS.highlights?.delete("found");
    this.ranges = this.search.value ? rangesOf(this.log, this.search.value) : [];
    if (this.ranges.length) CSS.highlights?.set("found", new Highlight(...this.ranges));
    if (this.isListed || !this.search.value) return;
    this.at = Math.min(this.at, Math.max(this.ranges.length - 1, 0));
    this.said.textContent = this.ranges.length ? `${this.at + 1} of ${this.ranges.length}` : "Not found";
    if (this.ranges.length) CSS.highlights?.set("found-now", new Highlight(this.ranges[this.at]));
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
    if (!this.isListed) this.said.textContent = `${this.at + 1} of ${count}`;
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
    button.addEventListener("click", () => {
      for (const each of this.found.querySelectorAll("button")) each.ariaCurrent = each === button ? "true" : null;
      this.tell(() => button.ariaCurrent === "true" && this.show(match));
    });
    return make("li", {}, button);
  }

  /** Shows the lines around one that was found. Two parts adjoin where the match begins, so its place is known. */
  async show(match) {
    const [before, after] = await Promise.all([this.part({ before: match.at }), this.part({ after: match.at })]);
    this.replace({ ...after, text: before.text + after.text, begin: before.begin });
    const text = this.log.textContent;
    const begin = before.text.length;
    const pattern = patternOf(this.search.value, "uy");
    pattern.lastIndex = begin;
    // A text that a progress bar wrote over, say, isn't shown: then the rest of its line is marked.
    const end = pattern.test(text) ? pattern.lastIndex : begin + text.slice(begin).search(/\n|$/);
    this.scrollTo(rangesAt(this.log, [[begin, end]])[0]);
  }
}

const inGroups = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, " ");

/** What finds a text. Capitals and small letters of ASCII are the same, and of no others, as for the server (run_tail.py). */
function patternOf(sought, flags) {
  const escaped = sought.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  return new RegExp(escaped.replace(/[a-z]/gi, (letter) => `[${letter.toLowerCase()}${letter.toUpperCase()}]`), flags);
}

function rangesOf(log, sought) {
  const places = [];
  for (const { 0: found, index } of log.textContent.matchAll(patternOf(sought, "gu"))) {
    if (places.push([index, index + found.length]) === MOST_MARKS) break;
  }
  return rangesAt(log, places);
}

/** The ranges of `log` from one character of its text to another; `places` are in their order and don't overlap. */
function rangesAt(log, places) {
  const walker = document.createTreeWalker(log, NodeFilter.SHOW_TEXT);
  let node = walker.nextNode();
  let nodeBegin = 0;
  const goTo = (isBefore) => {
    while (node && isBefore(nodeBegin + node.length)) {
      nodeBegin += node.length;
      node = walker.nextNode();
    }
  };
  const at = (place) => (node ? [node, place - nodeBegin] : [log, log.childNodes.length]);
  return places.map(([begin, end]) => {
    const range = new Range();
    goTo((nodeEnd) => nodeEnd <= begin);
    range.setStart(...at(begin));
    goTo((nodeEnd) => nodeEnd < end);
    range.setEnd(...at(end));
    return range;
  });
}
