// Shows what any process wrote: the server tells by server-sent events that something changed, and the page asks again.
// A page in the background listens to nothing; when it is seen again it asks once.

import { goToSignIn } from "./dom.js";

const SHORTEST_PAUSE_MS = 200;
const LONGEST_WAIT_MS = 30_000;

let source = null;
let since = null; // the version that the page shows, if the server says it
let lastAt = 0;
let timer = 0;
let retryTimer = 0;
let waitMs = 1000;
let wasBroken = false;

/** Starts listening to the address in `<body data-live>`. */
export function start() {
  since = document.body.dataset.liveSince ?? null;
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : reopen()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => {
    if (event.persisted) reopen();
  });
  document.addEventListener("studio:changed", () => showState(source ? "on" : "broken"));
  if (!document.hidden) open();
}

function open() {
  if (source) return;
  const url = new URL(document.body.dataset.live, document.baseURI);
  if (since !== null) url.searchParams.set("since", since);
  source = new EventSource(url);
  source.addEventListener("open", () => {
    waitMs = 1000;
    showState("on");
    if (wasBroken) changed();
    wasBroken = false;
  });
  source.addEventListener("changed", (event) => {
    since = event.lastEventId || version(event.data) || since;
    changed();
  });
  source.addEventListener("ended", goToSignIn);
  source.addEventListener("error", () => {
    wasBroken = true;
    showState("broken");
    if (source?.readyState !== EventSource.CLOSED) return; // else the browser tries again by itself
    source = null;
    changed(); // which goes to the page for signing in, where the session has ended
    retryTimer = setTimeout(open, waitMs);
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
  });
}

function close() {
  source?.close();
  source = null;
  clearTimeout(timer);
  clearTimeout(retryTimer);
  timer = 0;
}

function reopen() {
  if (source) return;
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
  if (timer || document.hidden) return;
  const pause = Math.max(0, lastAt + SHORTEST_PAUSE_MS - performance.now());
  timer = setTimeout(async () => {
    timer = 0;
    lastAt = performance.now();
    const { refresh } = await import("./morph.js"); // not before there is a change
    await refresh().catch(() => showState("broken"));
  }, pause);
}

function showState(state) {
  for (const element of document.querySelectorAll(".live")) {
    element.dataset.liveState = state;
    const text = state === "on" ? "live" : "connecting again";
    if (element.textContent !== text) element.textContent = text;
  }
}
