// Whether the notebook around us is dark: as JupyterLab, VS Code or marimo says it, or else as the system has it.

import { takeThemeOf } from "./colours.js";

const system = matchMedia("(prefers-color-scheme: dark)");
const hosts = new Set();
let observer = null;

/** Gives `host` the notebook's theme, now and whenever that changes; `changed` is called then. Returns what ends it. */
export function followTheme(host, changed) {
  const entry = { host, changed };
  hosts.add(entry);
  if (!observer) {
    observer = new MutationObserver(update);
    const filter = { attributes: true, attributeFilter: ["class", "data-jp-theme-light", "data-vscode-theme-kind", "data-theme"] };
    observer.observe(document.body, filter);
    observer.observe(document.documentElement, filter);
    system.addEventListener("change", update);
  }
  host.dataset.theme = theme();
  takeThemeOf(host);
  return () => {
    hosts.delete(entry);
    const [other] = hosts;
    if (other) takeThemeOf(other.host);
  };
}

function update() {
  const now = theme();
  for (const { host } of hosts) host.dataset.theme = now;
  for (const { host, changed } of hosts) {
    takeThemeOf(host);
    changed();
  }
}

function theme() {
  const { body, documentElement } = document;
  const { jpThemeLight, vscodeThemeKind } = body.dataset;
  if (jpThemeLight !== undefined) return jpThemeLight === "false" ? "dark" : "light";
  if (vscodeThemeKind !== undefined) return ["vscode-dark", "vscode-high-contrast"].includes(vscodeThemeKind) ? "dark" : "light";
  for (const element of [body, documentElement]) {
    for (const name of ["dark", "light"]) {
      if (element.classList.contains(name) || element.classList.contains(`${name}-theme`) || element.dataset.theme === name) return name;
    }
  }
  return system.matches ? "dark" : "light";
}
