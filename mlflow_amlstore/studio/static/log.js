// Logs: `pre.log[data-src]` shows the end of a log, asked for again when the workspace changes; it follows while it is
// at its end, and `End` takes it there; `pre.log[data-end]` is the end of one that grows no more. Lines that look like
// trouble have a colour, times are faint; which level a line has is said by the server alone (log_levels.py).
// log-view.js shows all of a log.

const MOST_CHARACTERS = 400_000;
const LOGS = "pre.log:not(.log-view > *)";
const TIME = /^\[?(?:\d{4}-\d\d-\d\d[T ])?\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]?(?=\s)/;

/** Starts: the logs of the page. */
export function start() {
  for (const log of document.querySelectorAll(LOGS)) {
    show(log, log.textContent);
    log.scrollTop = log.dataset.src || log.matches("[data-end]") ? log.scrollHeight : 0;
  }
  document.addEventListener("studio:changed", () => {
    for (const log of document.querySelectorAll(LOGS)) {
      if (log.dataset.src) bringUpToDate(log);
      else if (log.shownText !== log.textContent) showAnew(log);
    }
  });
}

/** Whether a log is scrolled to its end. */
export const isAtEnd = (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 24;

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

/** Gives its colours to a log whose text was replaced. */
function showAnew(log) {
  log.shownText = "";
  show(log, log.textContent);
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

/** Lines as they are shown. */
export function linesOf(text) {
  const fragment = document.createDocumentFragment();
  let plain = "";
  const add = (className, of) => {
    const span = document.createElement("span");
    span.className = className;
    span.textContent = of;
    fragment.append(plain, span);
    plain = "";
  };
  for (const line of text.split(/(?<=\n)/)) {
    const time = TIME.exec(line)?.[0] ?? "";
    if (time) add("time", time);
    const rest = line.slice(time.length);
    const loud = /\b(?:(ERROR|CRITICAL|FATAL|Traceback|\w*(?:Error|Exception):)|(WARN(?:ING)?|\w*Warning:))/.exec(rest.slice(0, 400));
    if (loud) add(loud[1] ? "error" : "warning", rest);
    else plain += rest;
  }
  fragment.append(plain);
  return fragment;
}
