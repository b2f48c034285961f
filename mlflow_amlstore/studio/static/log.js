// Logs: `pre.log[data-src]` shows the end of a log, asked for again when the workspace changes; it follows while it is
// at its end, and `End` takes it there. Lines that warn have a colour. `input[data-search-log=ID]` finds in one.

const MOST_CHARACTERS = 400_000;

/** Starts: the logs of the page. */
export function start() {
  for (const log of document.querySelectorAll("pre.log")) {
    show(log, log.textContent);
    log.scrollTop = log.dataset.src ? log.scrollHeight : 0;
  }
  document.addEventListener("studio:changed", () => {
    for (const log of document.querySelectorAll("pre.log")) {
      if (log.dataset.src) bringUpToDate(log);
      else show(log, log.textContent);
    }
  });
  document.addEventListener("input", (event) => {
    if (event.target.dataset.searchLog) find(event.target, 0);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.dataset?.searchLog) return;
    event.preventDefault();
    find(event.target, event.shiftKey ? -1 : 1);
  });
}

const isAtEnd = (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 24;

async function bringUpToDate(log) {
  if (log.asking) return;
  log.asking = true;
  try {
    const response = await fetch(new URL(log.dataset.src, document.baseURI));
    if (!response.ok) return;
    const text = await response.text();
    if (text === log.shownText) return;
    const follows = isAtEnd(log);
    show(log, text);
    if (follows) log.scrollTop = log.scrollHeight;
  } catch {
    // The next change asks again; whether the connection holds is said elsewhere.
  } finally {
    log.asking = false;
  }
}

/** Puts `text` into `log`: at its end if it begins with what stands there. */
function show(log, text) {
  const before = log.shownText;
  log.shownText = text;
  const isMore = before && text.startsWith(before) && before.endsWith("\n") && text.length < MOST_CHARACTERS;
  const lines = linesOf(isMore ? text.slice(before.length) : text);
  if (isMore) log.append(lines);
  else log.replaceChildren(lines);
}

function linesOf(text) {
  const fragment = document.createDocumentFragment();
  let plain = "";
  for (const line of text.split(/(?<=\n)/)) {
    const loud = /\b(?:(ERROR|CRITICAL|FATAL|Traceback|\w*(?:Error|Exception):)|(WARN(?:ING)?|\w*Warning:))/.exec(line.slice(0, 400));
    if (!loud) {
      plain += line;
      continue;
    }
    const span = document.createElement("span");
    span.className = loud[1] ? "error" : "warning";
    span.textContent = line;
    fragment.append(plain, span);
    plain = "";
  }
  fragment.append(plain);
  return fragment;
}

/** Marks the match before or after the last one, and says how many there are. */
function find(input, by) {
  const log = document.getElementById(input.dataset.searchLog);
  const said = document.querySelector("[data-search-count]");
  const sought = input.value.toLowerCase();
  CSS.highlights?.delete("found");
  CSS.highlights?.delete("found-now");
  if (!log || !sought) {
    said.textContent = "";
    return;
  }
  const ranges = rangesOf(log, sought);
  const at = ranges.length ? (((by === 0 ? 0 : Number(input.dataset.at ?? 0) + by) % ranges.length) + ranges.length) % ranges.length : 0;
  input.dataset.at = at;
  said.textContent = ranges.length ? `${at + 1} of ${ranges.length}` : "Not found";
  if (!ranges.length) return;
  if (CSS.highlights) {
    CSS.highlights.set("found", new Highlight(...ranges));
    CSS.highlights.set("found-now", new Highlight(ranges[at]));
  }
  const place = ranges[at].getBoundingClientRect();
  const frame = log.getBoundingClientRect();
  log.scrollTop += place.top - frame.top - frame.height / 2;
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
