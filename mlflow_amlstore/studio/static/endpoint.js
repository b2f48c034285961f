// An endpoint's page: its numbers, which change though nobody writes into the workspace; the form that tries it; its
// keys, which are asked for when somebody wants to see them and stand in no page otherwise.

import { refusal } from "./answers.js";
import { post, show } from "./changes.js";
import { confirmed, make, say } from "./dom.js";

const REFRESHED_EVERY_MS = 2000;

/** Starts: the forms and buttons of the page, of now and of later. */
export function start() {
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-tries]")) return;
    event.preventDefault();
    send(event.target, event.submitter);
  });
  document.addEventListener("input", (event) => {
    const form = event.target.closest("form[data-tries]");
    if (form) change(form, event.target);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-show-keys], [data-new-key]");
    if (button?.matches("[data-show-keys]")) toggleKeys(button);
    else if (button) renewKey(button);
  });
  setInterval(async () => {
    if (document.hidden || !document.querySelector("[data-refresh]")) return;
    const { refresh } = await import("./morph.js");
    await refresh().catch(() => {}); // live.js says that the page isn't connected
  }, REFRESHED_EVERY_MS);
}

// Trying it

async function send(form, submitter) {
  const answerBox = form.querySelector(".trial-answer");
  form.querySelector(":scope > .refusal")?.remove();
  submitter?.setAttribute("aria-busy", "true");
  try {
    const response = await post(form.dataset.tries, { body: form.elements.body.value });
    if (!response.ok) {
      show(form, await refusal(response));
      return;
    }
    const { status, ms, text, is_cut: isCut } = await response.json();
    const isGood = status !== null && status < 300;
    answerBox.replaceChildren(
      make(
        "p",
        {},
        make("span", { className: "status", "data-status": isGood ? "completed" : "failed", textContent: status === null ? "No answer" : String(status) }),
        make("span", { className: "muted", textContent: ` ${ms.toLocaleString("en", { maximumFractionDigits: 1 })} ms` }),
      ),
      make("pre", { tabIndex: 0, "aria-label": "The answer", textContent: text }),
      ...(isCut ? [make("p", { className: "muted", textContent: "Only the beginning is shown." })] : []),
    );
  } catch (error) {
    show(form, `Not sent: ${error.message}`);
  } finally {
    submitter?.removeAttribute("aria-busy");
  }
}

/** Brings the body and the fields of its first row together after one of them was changed. */
function change(form, changed) {
  const area = form.elements.body;
  let body;
  try {
    body = JSON.parse(area.value);
  } catch {
    area.setCustomValidity("This isn't JSON yet");
    if (changed !== area) show(form, "The request isn't JSON, so that no value can be put into it.");
    return;
  }
  area.setCustomValidity("");
  form.querySelector(":scope > .refusal")?.remove();
  if (changed === area) {
    for (const field of form.querySelectorAll("[data-path]")) {
      const value = JSON.parse(field.dataset.path).reduce((within, step) => within?.[step], body);
      if (value !== undefined && typeof value !== "object") field.value = String(value);
    }
    return;
  }
  if (changed.matches("[data-method]")) {
    if (changed.value) body.method = changed.value;
    else delete body.method;
  } else if (changed.dataset.path) {
    const path = JSON.parse(changed.dataset.path);
    const last = path.pop();
    const row = path.reduce((within, step) => within?.[step], body);
    if (row && typeof row === "object") row[last] = valueOf(changed);
  }
  area.value = written(body);
}

/** JSON as the server writes it: on one line, with spaces. */
function written(value) {
  if (Array.isArray(value)) return `[${value.map(written).join(", ")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${written(each)}`).join(", ")}}`;
}

/** What stands in a field; text that is no number is sent as it is, so that the endpoint says what it takes. */
function valueOf(field) {
  if (field.dataset.kind === "choice") return field.value === "true";
  const isNumber = field.dataset.kind === "number" && field.value.trim() !== "" && Number.isFinite(Number(field.value));
  return isNumber ? Number(field.value) : field.value;
}

// Keys

async function askForKeys(box, address, body) {
  box.querySelector(".refusal")?.remove();
  const response = await post(address, body);
  if (response.ok) return response.json();
  box.prepend(make("p", { className: "error-banner refusal", role: "alert", textContent: await refusal(response) }));
  return null;
}

async function toggleKeys(button) {
  const box = button.closest("[data-keys]");
  const shown = box.querySelector("[data-keys-shown]");
  if (shown.childElementCount) {
    shown.replaceChildren();
    button.textContent = "Show the keys";
    return;
  }
  const keys = await askForKeys(box, box.dataset.keys, {});
  if (keys) showKeys(box, keys);
}

function showKeys(box, keys) {
  const rows = Object.entries(keys).flatMap(([which, key]) => [
    make("dt", { textContent: which === "primary" ? "Primary" : "Secondary" }),
    make(
      "dd",
      {},
      make("code", { id: `key-${which}`, textContent: key }),
      " ",
      make("button", { type: "button", className: "quiet copy", "aria-label": `Copy the ${which} key`, textContent: "Copy", "data-copies": `#key-${which}` }),
      make("button", { type: "button", className: "quiet copy", "aria-label": `Make the ${which} key anew`, textContent: "Make anew", "data-new-key": which }),
    ),
  ]);
  box.querySelector("[data-keys-shown]").replaceChildren(make("dl", { className: "facts addresses" }, ...rows));
  box.querySelector("[data-show-keys]").textContent = "Hide the keys";
}

async function renewKey(button) {
  const box = button.closest("[data-keys]");
  const which = button.dataset.newKey;
  if (!(await confirmed(`Make the ${which} key anew? What asks with the old one is refused.`, "Make anew"))) return;
  const keys = await askForKeys(box, `${box.dataset.keys}/new`, { which });
  if (!keys) return;
  showKeys(box, keys);
  say(`The ${which} key is a new one`);
}
