// `details.menu`: one is open at a time; Escape and a click elsewhere close it. `button[data-opens=ID]` opens a dialog
// of the page, `button[data-closes]` closes the one that it is in. `button[data-copies=SELECTOR]` copies a text.

import { say } from "./dom.js";

const EDGE = 8; // pixels that a menu keeps from the window's edges

/** Starts: menus and dialogs of now and of later. */
export function start() {
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
    const button = event.target.closest("button");
    if (button?.dataset.opens) document.getElementById(button.dataset.opens)?.showModal();
    if (button?.hasAttribute("data-closes")) button.closest("dialog")?.close();
    if (button?.dataset.copies) copy(button);
  });
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" ? event.target.closest?.("details.menu[open]") : null;
    if (!menu) return;
    event.preventDefault();
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  document.addEventListener("toggle", (event) => {
    const menu = event.target;
    if (!menu.matches?.("details.menu[open]")) return;
    keepInView(menu.querySelector(":scope > :not(summary)"));
    menu.querySelector("input:not([type=hidden]), textarea, select")?.focus();
  }, { capture: true });
}

/** Moves what a menu opens aside where the window would cut it off. */
function keepInView(body) {
  body.style.translate = "";
  const { left, right } = body.getBoundingClientRect();
  const aside = left < EDGE ? EDGE - left : Math.min(0, document.documentElement.clientWidth - EDGE - right);
  if (aside) body.style.translate = `${aside}px 0`;
}

async function copy(button) {
  const text = document.querySelector(button.dataset.copies)?.textContent ?? "";
  await navigator.clipboard.writeText(text);
  say("Copied");
}
