// All of a log, however long: `.log-view` shows the lines from byte `data-begin` to `data-end` and gets more where they
// are wanted. It follows a log that grows while its end is shown. A search goes through the whole log on the server, and
// so does a filter by level: lines of a lower one aren't sent (log_levels.py).

import { refusal } from "./answers.js";
import { make } from "./dom.js";
import { isAtEnd, linesOf } from "./log.js";
import * as pageQuery from "./page-query.js";

const FOLLOWED_BYTES = 64 * 1024; // what may be missing of a log that is followed
const MOST_CHARACTERS = 1024 * 1024; // in the page at once
const MOST_MATCHES = 500;
const MOST_MARKS = 10_000;
const TYPING_MS = 300;
const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
// While its run goes on, a log is asked for again and again for a moment after anything was written: what is printed is
// shown sooner than events come, which are some tenths of a second apart.
const CLOSELY_MS = 400;
const [SHORTEST_PAUSE_MS, SHARE] = [100, 5];

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
    this.state = make("span", { className: "log-state" });
    this.level = make("select", {}, make("option", { value: "", textContent: "all lines" }), ...LEVELS.map((level) => make("option", { textContent: level })));
    this.level.value = pageQuery.get("level") ?? "";
    view.prepend(
      make("div", { className: "bar" }, make("label", {}, "Find in the log ", this.search), make("label", {}, "At least ", this.level), this.said, make("span", { className: "space" }), this.earlier),
      this.found,
    );
    view.append(make("div", { className: "bar" }, this.later, this.toEnd, this.state, make("span", { className: "space" }), this.place));
    const rest = this.log.lastElementChild.textContent;
    const text = this.log.textContent.slice(0, -rest.length || undefined);
    this.replace({ text, rest, begin: Number(view.dataset.begin), end: Number(view.dataset.end), size_bytes: Number(view.dataset.size), reaches_end: true });
    this.scrollToEnd();
    this.search.addEventListener("input", () => this.sought());
    this.search.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      this.step(event.shiftKey ? -1 : 1);
    });
    this.level.addEventListener("change", () => {
      pageQuery.set({ level: this.level.value });
      this.tell(() => this.showEnd(false));
      this.tell(() => this.sought());
    });
    this.log.addEventListener("scroll", () => this.showState(), { passive: true });
    document.addEventListener("studio:changed", () => this.follow());
    document.addEventListener("studio:written", () => this.followClosely());
    if (!text && this.begin > 0) this.tell(() => this.showEarlier()); // of a level that is rare
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
    return this.turn;
  }

  async ask(address, query) {
    const url = new URL(address, document.baseURI);
    url.search = new URLSearchParams({ path: this.view.dataset.path, level: this.level.value, ...query });
    const response = await fetch(url, { headers: { Accept: "application/json" } });
    if (!response.ok) throw new Error(await refusal(response));
    const answer = await response.json();
    if (answer.damage) throw new Error(answer.damage);
    return answer;
  }

  part(query) {
    return this.ask(this.view.dataset.part, query);
  }

  async showEnd(focuses = true) {
    this.replace(await this.part({}));
    if (this.isEmpty && this.begin > 0) await this.showEarlier();
    this.scrollToEnd();
    if (focuses) this.log.focus({ preventScroll: true });
  }

  /** Shows lines before those that are shown; where none is of the level, those before these. */
  async showEarlier() {
    const level = this.level.value;
    let part;
    do {
      part = await this.part({ before: this.begin });
      if (level !== this.level.value) return;
      if (this.characters + part.text.length > MOST_CHARACTERS) {
        this.replace(part);
        return;
      }
      const height = this.log.scrollHeight;
      this.log.prepend(linesOf(part.text));
      this.begin = part.begin;
      this.log.scrollTop += this.log.scrollHeight - height;
      this.refresh();
    } while (!part.text && this.begin > 0);
  }

  async showLater() {
    let part;
    do {
      part = await this.part({ after: this.end });
      if (this.characters + part.text.length > MOST_CHARACTERS) this.replace(part);
      else this.add(part);
    } while (!part.text && !part.reaches_end);
  }

  /** Brings what follows on the lines that are shown, where those reach the end: once more if the log changes meanwhile. */
  follow() {
    if (!this.log.isConnected || this.willFollow) return this.turn;
    this.willFollow = true;
    return this.tell(async () => {
      this.willFollow = false;
      if (this.end + FOLLOWED_BYTES < this.size) return;
      const part = await this.part({ after: this.end });
      const follows = isAtEnd(this.log); // now: somebody may have scrolled away meanwhile
      if (part.size_bytes < this.end || (follows && !part.reaches_end)) this.replace(await this.part({}));
      else this.add(part);
      if (follows) this.scrollToEnd();
    });
  }

  scrollToEnd() {
    this.log.scrollTop = this.log.scrollHeight;
    this.showState();
  }

  /** Something was written: follows the log closely for a while, as long as its run goes on. */
  async followClosely() {
    this.followedUntil = performance.now() + CLOSELY_MS;
    if (this.isClose || !this.goesOn) return;
    this.isClose = true;
    while (performance.now() < this.followedUntil && !document.hidden && this.log.isConnected) {
      const begin = performance.now();
      await this.follow();
      const pause = Math.max(SHORTEST_PAUSE_MS, SHARE * (performance.now() - begin));
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
    this.isClose = false;
  }

  get goesOn() {
    return this.view.closest("[data-goes-on]") !== null;
  }

  get characters() {
    return this.log.textContent.length;
  }

  get isEmpty() {
    return this.log.firstChild === this.rest && !this.rest.firstChild;
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
    this.later.hidden = this.reachesEnd;
    const isNone = this.level.value && this.isEmpty;
    const where = this.isWhole ? "" : `Bytes ${inGroups(this.begin)} to ${inGroups(this.end)} of ${inGroups(this.size)}`;
    this.place.textContent = isNone ? `${where || "The log"} ${where ? "have" : "has"} no line of ${this.level.value} or above` : where;
    this.showState();
    if (!this.search.value) return;
    if (!this.isWhole && !this.isListed) this.sought(); // it was whole before
    else this.mark();
  }

  /** Says whether what is written next will be seen. */
  showState() {
    const follows = this.reachesEnd && isAtEnd(this.log);
    this.state.textContent = this.goesOn ? (follows ? "Live: follows the end" : "Live: go to the end to follow") : "";
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
