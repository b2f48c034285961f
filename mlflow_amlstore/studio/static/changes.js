// Forms that change something: `form[data-change=URL]` is sent as JSON with the page's form token; afterwards the page
// is brought up to date. `data-confirm` asks first, `data-then` is the page to go to, `data-with-query=NAME` sends the
// page's query as NAME along, `data-then-run` goes to the run that the answer names. What the server
// refuses stands in the form.

import { refusal } from "./answers.js";
import { atRoot, confirmed, make, say, sayThatSessionEnded } from "./dom.js";

/** Starts: forms of now and of later. */
export function start() {
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("form[data-change]")) return;
    event.preventDefault();
    send(form, event.submitter);
  });
}

async function send(form, submitter) {
  const action = submitter?.textContent.trim() || "Go on";
  const question = submitter?.dataset.confirm ?? form.dataset.confirm;
  if (question && !(await confirmed(question, action))) return;
  form.querySelector(":scope > .refusal")?.remove();
  submitter?.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(new URL(form.dataset.change, document.baseURI), {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Form-Token": document.querySelector('meta[name="form-token"]')?.content ?? "" },
      body: JSON.stringify(fields(form)),
    });
    if (response.status === 401) {
      sayThatSessionEnded();
      show(form, "Not sent, as your session has ended. Sign in again, and send it once more");
    } else if (!response.ok) show(form, await refusal(response));
    else if ("thenRun" in form.dataset) location.assign(atRoot(`runs/${encodeURIComponent((await response.json()).run_id)}`));
    else await done(form);
  } catch (error) {
    show(form, `Not sent: ${error.message}`);
  } finally {
    submitter?.removeAttribute("aria-busy");
  }
}

function fields(form) {
  const sent = {};
  for (const [name, value] of new FormData(form)) sent[name] = form.elements[name]?.type === "number" ? Number(value) : value;
  if (form.dataset.withQuery) sent[form.dataset.withQuery] = location.search.slice(1);
  return sent;
}

async function done(form) {
  if (form.dataset.then) {
    location.assign(new URL(form.dataset.then, document.baseURI));
    return;
  }
  form.reset();
  form.closest("dialog")?.close();
  const menu = form.closest("details.menu, details");
  if (menu?.open) {
    menu.open = false;
    menu.querySelector("summary").focus({ preventScroll: true });
  }
  document.dispatchEvent(new CustomEvent("studio:sent", { detail: { form } }));
  const { refresh } = await import("./morph.js");
  await refresh();
  if (form.dataset.said) say(form.dataset.said);
}

function show(form, message) {
  const banner = make("p", { className: "error-banner refusal", role: "alert" });
  form.prepend(banner);
  banner.textContent = message;
  const menu = form.closest("details.menu"); // which a click on a question's answer has closed
  if (menu) menu.open = true;
  form.querySelector("input:not([type=hidden]), textarea, select")?.focus();
}
