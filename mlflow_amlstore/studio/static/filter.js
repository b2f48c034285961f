// The filter: completion of names (a combobox with a list, by the ARIA pattern), and a mark under the word that is wrong.
// Names come from `names.js`; `data-error-at` and `data-error-length` say
// which characters are wrong.

import { make } from "./dom.js";
import * as names from "./names.js";

const MOST_SHOWN = 12;
const GROUPS = { attributes: "attribute", metrics: "metric", params: "param", tags: "tag" };

/** Starts: the filter of the page. */
export function start() {
  const input = document.querySelector("input.filter");
  if (input) new Completion(input);
}

class Completion {
  #input;
  #list;
  #options = []; // `{text, kind}`
  #at = -1;

  constructor(input) {
    this.#input = input;
    this.#list = make("ul", { className: "completions", id: "filter-completions", role: "listbox", "aria-label": "Names", hidden: true });
    input.parentElement.append(this.#list);
    for (const [name, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": this.#list.id })) {
      input.setAttribute(name, value);
    }
    input.addEventListener("focus", () => names.all(), { once: true });
    input.addEventListener("input", () => this.#suggest());
    input.addEventListener("keydown", (event) => this.#whenKey(event));
    input.addEventListener("blur", () => this.#close());
    this.#list.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // the input keeps the focus
      const at = [...this.#list.children].indexOf(event.target.closest("li"));
      if (at !== -1) this.#take(at);
    });
    this.#markWrong();
  }

  /** The word before the cursor, from where to where. */
  #word() {
    const end = this.#input.selectionStart;
    const before = this.#input.value.slice(0, end);
    const isInText = (before.replace(/\\./g, "").match(/'/g) ?? []).length % 2 === 1;
    const found = /(?:^|[\s(,])([\w.]*(?:[`"][^`"]*)?)$/.exec(before);
    return isInText || !found ? null : { text: found[1], from: end - found[1].length, end };
  }

  #suggest() {
    const word = this.#word();
    if (!word?.text) return this.#close();
    const sought = word.text.toLowerCase().replace(/[`"]/g, "");
    const starting = (text) => text.toLowerCase().replace(/[`"]/g, "").startsWith(sought);
    const all = filterNames();
    const found = [...all.filter((each) => starting(each.text)), ...all.filter((each) => !starting(each.text) && each.name.toLowerCase().includes(sought))];
    this.#options = found.filter((each) => each.text !== word.text).slice(0, MOST_SHOWN);
    if (!this.#options.length) return this.#close();
    this.#at = -1;
    this.#list.replaceChildren(
      ...this.#options.map(({ text, kind }, index) => make("li", { role: "option", id: `filter-completion-${index}`, "aria-selected": "false" }, make("span", { textContent: text }), make("small", { textContent: kind }))),
    );
    this.#list.hidden = false;
    this.#input.setAttribute("aria-expanded", "true");
    this.#input.removeAttribute("aria-activedescendant");
    return undefined;
  }

  #whenKey(event) {
    if (event.key === "Escape" && this.#list.hidden && this.#input.value === "") this.#input.blur();
    if (this.#list.hidden) {
      if (event.key === "ArrowDown") this.#suggest();
      return;
    }
    const size = this.#options.length;
    if (event.key === "ArrowDown") this.#select((this.#at + 1) % size);
    else if (event.key === "ArrowUp") this.#select((this.#at <= 0 ? size : this.#at) - 1);
    else if (event.key === "Enter" && this.#at !== -1) this.#take(this.#at);
    else if (event.key === "Tab" && this.#at !== -1) this.#take(this.#at);
    else if (event.key === "Escape") this.#close();
    else return;
    event.preventDefault();
  }

  #select(at) {
    this.#list.children[this.#at]?.setAttribute("aria-selected", "false");
    this.#at = at;
    const option = this.#list.children[at];
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    this.#input.setAttribute("aria-activedescendant", option.id);
  }

  #take(at) {
    const { from, end } = this.#word();
    const { text } = this.#options[at];
    this.#input.setRangeText(`${text} `, from, end, "end");
    this.#close();
    this.#input.dispatchEvent(new Event("change", { bubbles: true }));
  }

  #close() {
    this.#list.hidden = true;
    this.#input.setAttribute("aria-expanded", "false");
    this.#input.removeAttribute("aria-activedescendant");
  }

  #markWrong() {
    const { errorAt, errorLength } = this.#input.dataset;
    if (errorAt === undefined) return;
    const [at, length] = [Number(errorAt), Math.max(1, Number(errorLength ?? 1))];
    const mark = make("span", { className: "filter-wrong" });
    const place = () => {
      const style = getComputedStyle(this.#input);
      const left = Number.parseFloat(style.paddingLeft) + Number.parseFloat(style.borderLeftWidth);
      mark.style.font = style.font;
      mark.style.left = `calc(${left - this.#input.scrollLeft}px + ${at}ch)`;
      mark.style.width = `${length}ch`;
    };
    this.#input.parentElement.append(mark);
    place();
    this.#input.addEventListener("scroll", place);
    this.#input.addEventListener("input", () => mark.remove(), { once: true });
    this.#input.addEventListener("focus", () => this.#input.setSelectionRange(at, at + length), { once: true });
  }
}

/** All names as a filter writes them: `metrics.loss`, `` params.`learning rate` ``. */
function filterNames() {
  const known = names.now();
  const found = [];
  for (const [group, kind] of Object.entries(GROUPS)) {
    for (const name of known[group] ?? []) {
      const quoted = /^[A-Za-z_][\w.]*$/.test(name) ? name : name.includes("`") ? `"${name}"` : `\`${name}\``;
      found.push({ name, kind, text: group === "attributes" ? name : `${group}.${quoted}` });
    }
  }
  for (const word of ["and", "like", "ilike"]) found.push({ name: word, kind: "", text: word });
  return found;
}
