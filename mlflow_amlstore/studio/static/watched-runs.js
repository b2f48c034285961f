// A notification of the browser's when a run ends: `button[data-watches=RUN]` asks for it. Which runs are watched is kept
// in the browser, so any page of this Studio tells, also in the background. One page at a time does: it holds a lock, and
// listens as long as a run is watched.

import { atRoot, make, openDialog, say } from "./dom.js";
import { duration } from "./numbers.js";

const KEY = `studio:watched ${atRoot("./")}`;
const MOST_WATCHED = 50; // the oldest give way
const OPENED_AGAIN_MS = 10_000;
const ONLY_SECURE = "A browser shows notifications only of pages that come by HTTPS or from the machine that it runs on. Open Studio by such an address, and press the button again.";
const DENIED = "The browser refuses notifications of this page. Allow them in its settings of this site, and press the button again.";
const UNANSWERED = "The browser's question was closed without an answer. Press the button again to be asked again.";

let isListening = false;
let isLeft = false;
let wake = () => {};

/** Starts: the buttons of now and of later, and telling of runs that are watched. */
export function start() {
  show();
  document.addEventListener("studio:changed", show);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-watches]");
    if (button) toggle(button.dataset.watches);
  });
  addEventListener("storage", changed);
  addEventListener("pagehide", () => {
    isLeft = true;
    wake();
  });
  addEventListener("pageshow", () => {
    isLeft = false;
    listen();
  });
  listen();
}

/** The ids of the runs that are watched. */
function watched() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(kept) ? kept.filter((id) => typeof id === "string") : [];
  } catch {
    return []; // what isn't ours, or a browser that keeps nothing
  }
}

function keep(ids) {
  if (ids.length) localStorage.setItem(KEY, JSON.stringify(ids.slice(-MOST_WATCHED)));
  else localStorage.removeItem(KEY);
  changed();
}

function changed() {
  show();
  listen();
  wake();
}

function show() {
  const ids = watched();
  for (const button of document.querySelectorAll("button[data-watches]")) button.ariaPressed = String(ids.includes(button.dataset.watches));
}

async function toggle(id) {
  if (watched().includes(id)) {
    keep(watched().filter((each) => each !== id));
    return;
  }
  const refusal = await refusalOfBrowser();
  if (refusal) openDialog("No notification can be shown", make("p", { textContent: refusal }));
  else keep([...watched().filter((each) => each !== id), id]);
}

/** Asks the browser whether it shows notifications; the answer says why it doesn't. */
async function refusalOfBrowser() {
  if (!isSecureContext || !("Notification" in window) || !navigator.locks) return ONLY_SECURE;
  const permission = Notification.permission === "default" ? await Notification.requestPermission() : Notification.permission;
  return { granted: "", denied: DENIED }[permission] ?? UNANSWERED;
}

async function listen() {
  if (isListening || isLeft || !navigator.locks || !watched().length) return;
  isListening = true;
  await navigator.locks.request(KEY, tellOfEnds);
  isListening = false;
  listen(); // what was watched since
}

/** Tells of each run that ends, until none is watched. Works without timers, which are slow in the background. */
async function tellOfEnds() {
  const events = new Events();
  while (!isLeft && watched().length) {
    const happens = events.next();
    if (!(await tellOfEnded())) break;
    if (watched().length) await happens;
  }
  events.close();
}

/** Asks once, and tells of the runs that have ended; says whether to go on asking. */
async function tellOfEnded() {
  const asked = watched();
  let response;
  try {
    response = await fetch(`${atRoot("statuses.json")}?${new URLSearchParams({ runs: asked.join(",") })}`);
  } catch {
    return true; // not connected: what happens next asks again
  }
  if (response.status === 401) {
    isLeft = true; // the session has ended; the next page tells
    return false;
  }
  if (!response.ok) return true;
  const { runs } = await response.json();
  const ended = runs.filter((run) => run.has_ended);
  const gone = asked.filter((id) => !runs.some((run) => run.run_id === id));
  const done = [...ended.map((run) => run.run_id), ...gone];
  if (done.length) keep(watched().filter((id) => !done.includes(id)));
  for (const run of ended) tell(run);
  return true;
}

function tell(run) {
  const title = `${run.name}: ${run.status}`;
  const took = run.started_ms !== null && run.ended_ms !== null ? ` · ${duration(run.ended_ms - run.started_ms)}` : "";
  try {
    const notification = new Notification(title, { body: run.experiment + took, tag: run.run_id });
    notification.addEventListener("click", () => {
      window.focus();
      location.assign(atRoot(`runs/${encodeURIComponent(run.run_id)}`));
    });
  } catch {
    say(title); // a browser that has notifications for installed pages alone
  }
}

/** What may have ended a run: a change of the workspace, or of what is watched. */
class Events {
  constructor() {
    this.open();
  }

  open() {
    this.source = new EventSource(new URL(document.body.dataset.live, document.baseURI));
    for (const name of ["open", "changed", "ended"]) this.source.addEventListener(name, () => wake());
    this.source.addEventListener("error", () => {
      if (this.source.readyState === EventSource.CLOSED) this.timer = setTimeout(() => this.open(), OPENED_AGAIN_MS);
    });
  }

  /** Resolves at the next of them. */
  next() {
    return new Promise((resolve) => {
      wake = resolve;
    });
  }

  close() {
    clearTimeout(this.timer);
    this.source.close();
    wake = () => {};
  }
}
