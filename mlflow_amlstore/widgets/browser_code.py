"""The widget's code for the browser: Studio's own modules and styles, with what differs in a notebook, as one text.

There is no build step. The text has the modules' sources in the order of their imports; in the browser each becomes a
module of its own under a blob URL, so that what imports it finds it, offline. Files of `static/` here stand in for
Studio's of the same name: there is no server to ask, and the page's address isn't ours.
"""

import hashlib
import json
import re
from functools import cache
from pathlib import Path

_HERE = Path(__file__).with_name("static")
_STUDIO = Path(__file__).parents[1] / "studio" / "static"
_IMPORT = re.compile(r'^import [^"]*"\./([^"]+)"', re.MULTILINE)
_FIRST = "widget.js"
_UPLOT = "uplot.js"
_STYLES = (_STUDIO / "vendored" / "uPlot.min.css", _STUDIO / "studio.css", _HERE / "widget.css")
# The widget is a shadow tree: its host is what the page's root is, and a part of it what the page's body is. Whether it
# is dark is the notebook's choice, not the system's.
_IN_SHADOW = (
    ("@media (prefers-color-scheme: dark) {\n  :root {", "@media all {\n  :host([data-theme=dark]) {"),
    (":root", ":host"),
    ("\nbody {", "\n.page {"),
)

_LOADER = """
const sources = %(sources)s;
const styles = %(styles)s;

async function load() {
  const urls = {};
  for (const [name, source] of Object.entries(sources)) {
    const text = source.replace(/^(import [^"]*)"\\.\\/([^"]+)"/gm, (_, begin, of) => `${begin}"${urls[of]}"`);
    urls[name] = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  }
  const { render } = await import(urls["%(first)s"]);
  for (const url of Object.values(urls)) URL.revokeObjectURL(url);
  return render;
}

// Every widget of a page is given this text, and the first one loads what is in it.
const loaded = Symbol.for("mlflow_amlstore.widgets %(digest)s");

export default {
  async render({ model, el }) {
    const render = await (globalThis[loaded] ??= load());
    return render({ model, el, styles });
  },
};
"""


@cache
def module_text() -> str:
    """The text of the widget's one module (`_esm` of anywidget)."""
    sources = _sources()
    digest = hashlib.sha256("\0".join([*sources, *sources.values()]).encode()).hexdigest()[:12]
    given = {"sources": _literal(sources), "styles": _literal(_styles()), "first": _FIRST, "digest": digest}
    return _LOADER % given


def _sources() -> dict[str, str]:
    """The sources of the first module and of all that it imports, each after those that it imports itself."""
    found: dict[str, str] = {}

    def add(name: str) -> None:
        if name in found:
            return
        source = _source(name)
        for imported in _IMPORT.findall(source):
            add(imported)
        found[name] = source

    add(_FIRST)
    return found


def _source(name: str) -> str:
    if name == _UPLOT:  # a classic script, which Studio's module of that name loads by its address
        script = (_STUDIO / "vendored" / "uPlot.iife.min.js").read_text(encoding="utf-8")
        return f"{script}\nexport {{ uPlot }};\n"
    here = _HERE / name
    return (here if here.exists() else _STUDIO / name).read_text(encoding="utf-8")


def _styles() -> str:
    text = "\n".join(file.read_text(encoding="utf-8") for file in _STYLES)
    for of_page, of_shadow in _IN_SHADOW:
        text = text.replace(of_page, of_shadow)
    return text


def _literal(value: object) -> str:
    """A value as JavaScript, which may stand in a script of a page."""
    return json.dumps(value, ensure_ascii=False).replace("</", "<\\/")
