// Elements made in one expression, and dialogs.

/** An element with properties and children; `dataset` and `aria…` are set as attributes. */
export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "dataset") Object.assign(element.dataset, value);
    else if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** A dialog with a heading and a button that closes it; it is gone when it is closed. */
export function openDialog(heading, content, { actions = [], wide = false, closeText = "Close" } = {}) {
  const close = make("button", { type: "button", className: "button", textContent: closeText });
  const title = make("h2", { textContent: heading });
  const dialog = make("dialog", { className: wide ? "wide" : "", "aria-label": heading }, make("header", {}, title), content, make("footer", {}, close, ...actions));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // its backdrop
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Asks whether to go on; the promise says whether. */
export function confirmed(question, action) {
  return new Promise((resolve) => {
    const go = make("button", { type: "button", className: "button primary", textContent: action });
    const dialog = openDialog(question, "", { actions: [go], closeText: "Keep as it is" });
    go.addEventListener("click", () => {
      resolve(true);
      dialog.close();
    });
    go.focus();
    dialog.addEventListener("close", () => resolve(false));
  });
}

/** Whether a key that is pressed now is meant for a field, a chart or a dialog, and not for the page. */
export function isForField(event) {
  const { target } = event;
  return target.isContentEditable || target.closest('input:not([type="checkbox"], [type="radio"]), textarea, select, dialog, [role="application"]') !== null;
}

/** A path of Studio's as an address: it starts at Studio's root, wherever a proxy has that. */
export function atRoot(path) {
  return new URL(path, new URL(document.documentElement.dataset.root ?? "./", location.href)).href;
}

/** Says `text` at the bottom for a while, and to a screen reader. */
export function say(text) {
  let toast = document.querySelector(".toast");
  if (!toast) {
    toast = make("div", { className: "toast", role: "status" });
    document.body.append(toast);
  }
  toast.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => (toast.textContent = ""), 6000);
}

/** Says in the page that the session has ended, with a way to sign in again and come back; what is typed stays. */
export function sayThatSessionEnded() {
  if (document.querySelector(".session-ended")) return;
  const root = new URL(atRoot("./"));
  const here = location.pathname.slice(root.pathname.length - 1) + location.search;
  const link = make("a", { className: "button", href: `${atRoot("sign-in")}?${new URLSearchParams({ to: here })}`, textContent: "Sign in again" });
  document.body.prepend(make("div", { className: "session-ended", role: "alert" }, "Your session has ended; this page isn't brought up to date any more. ", link));
  document.dispatchEvent(new CustomEvent("studio:session-ended"));
}
