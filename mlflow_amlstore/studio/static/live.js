// Shows what any process wrote: the server tells by server-sent events that something changed, and the page asks again.
// A page in the background listens to nothing; when it is seen again it asks once. `studio:written` tells the document of
// each event at once, before the page is brought up to date.

import { NotConnected } from "./answers.js";
import { make, sayThatSessionEnded } from "./dom.js";

const [SHORTEST_PAUSE_MS, LONGEST_PAUSE_MS] = [200, 5000];
const SHARE = 15; // a page waits so many times as long as it took to be brought up to date: a busy service stays free to log
const TOGETHER_MS = 1000; // pages that wait longer ask at whole seconds: the server makes one answer for all that ask then
const LONGEST_WAIT_MS = 10_000;
const SAID_AFTER_MS = 2000; // a session's next token, and a proxy, break the connection for a moment

let source = null;
let since = null; // the version that the page shows, if the server says it
let heardOf = null; // the version that the server told of last, on the connection that is open
let lastAt = 0; // when the page was last up to date, and how long that took
let tookMs = 0;
let isAtIt = false;
let isBehind = false;
let timer = 0;
let retryTimer = 0;
let waitMs = 1000;
let wasBroken = false;
let hasEnded = false;
let sayingTimer = 0;
let banner = null; // which says that the page isn't connected

/** Starts listening to the address in `<body data-live>`. */
export function start() {
  since = document.body.dataset.liveSince ?? null;
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : reopen()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => {
    if (event.persisted) reopen();
  });
  document.addEventListener("studio:session-ended", () => {
    hasEnded = true;
    close();
  });
  if (!document.hidden) open();
}

function open() {
  if (source || hasEnded) return;
  const url = new URL(document.body.dataset.live, document.baseURI);
  if (since !== null) url.searchParams.set("since", since);
  source = new EventSource(url);
  source.addEventListener("open", () => {
    waitMs = 1000;
    sayNothing();
    if (wasBroken) changed();
    wasBroken = false;
  });
  source.addEventListener("changed", (event) => {
    heardOf = event.lastEventId || version(event.data) || null;
    since = heardOf ?? since;
    document.dispatchEvent(new CustomEvent("studio:written"));
    changed();
  });
  source.addEventListener("ended", sayThatSessionEnded);
  source.addEventListener("error", () => {
    wasBroken = true;
    heardOf = null;
    sayThatNotConnected();
    if (source?.readyState !== EventSource.CLOSED) return; // else the browser tries again by itself
    source = null;
    changed(); // which says so where the session has ended
    retryTimer = setTimeout(open, waitMs);
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
  });
}

function close() {
  source?.close();
  source = null;
  heardOf = null;
  clearTimeout(timer);
  clearTimeout(retryTimer);
  timer = 0;
  sayNothing();
}

function reopen() {
  if (source || hasEnded) return;
  open();
  changed();
}

function version(data) {
  try {
    return String(JSON.parse(data).version ?? "");
  } catch {
    return "";
  }
}

/** Brings the page up to date now, or as soon as the last time is long enough ago. */
function changed() {
  if (document.hidden || timer) return;
  if (isAtIt) {
    isBehind = true;
    return;
  }
  const pause = Math.min(LONGEST_PAUSE_MS, Math.max(SHORTEST_PAUSE_MS, SHARE * tookMs));
  let waits = Math.max(0, lastAt + pause - performance.now());
  if (pause > TOGETHER_MS) waits += TOGETHER_MS - ((Date.now() + waits) % TOGETHER_MS);
  timer = setTimeout(bringUpToDate, waits);
}

async function bringUpToDate() {
  const begin = performance.now();
  timer = 0;
  isAtIt = true;
  try {
    const { refresh } = await import("./morph.js"); // not before there is a change
    await refresh(heardOf);
    if (source?.readyState === EventSource.OPEN) sayNothing();
  } catch (error) {
    if (error instanceof NotConnected) askAgain();
    else console.error(error);
  } finally {
    isAtIt = false;
  }
  lastAt = performance.now();
  tookMs = lastAt - begin;
  if (!isBehind) return;
  isBehind = false;
  changed();
}

/** Where the connection of events is whole, nothing else would ask again. */
function askAgain() {
  sayThatNotConnected();
  if (source?.readyState !== EventSource.OPEN) return;
  clearTimeout(retryTimer);
  retryTimer = setTimeout(changed, waitMs);
}

/** Says at the bottom, unless it is connected again soon, that the page may be old. */
function sayThatNotConnected() {
  if (hasEnded || document.hidden) return;
  sayingTimer ||= setTimeout(() => {
    banner = make("div", { className: "not-connected", role: "status" });
    document.body.append(banner);
    banner.textContent = "Not connected: what is shown may be old. Trying again.";
  }, SAID_AFTER_MS);
}

function sayNothing() {
  clearTimeout(sayingTimer);
  sayingTimer = 0;
  banner?.remove();
  banner = null;
}
