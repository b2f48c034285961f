"""The widget's code for the browser: one text of Studio's own files, which needs nothing but itself."""

import json
import re

from mlflow_amlstore.widgets.browser_code import module_text

TEXT = module_text()
SOURCES = json.loads(re.search(r"^const sources = (.*);$", TEXT, re.MULTILINE)[1])
STYLES = json.loads(re.search(r"^const styles = (.*);$", TEXT, re.MULTILINE)[1])
IMPORT = re.compile(r'^import [^"]*"([^"]+)"', re.MULTILINE)


def test_each_module_comes_after_those_that_it_imports() -> None:
    known: set[str] = set()
    for name, source in SOURCES.items():
        assert {f"./{each}" for each in known} >= set(IMPORT.findall(source)), name
        known.add(name)
    assert list(SOURCES)[-1] == "widget.js"
    assert {"chart.js", "chart-data.js", "chart-drawing.js", "log.js", "uplot.js"} <= known


def test_nothing_is_asked_of_another_host_and_nothing_of_the_page_is_changed() -> None:
    loaded = [*(source for name, source in SOURCES.items() if name != "uplot.js"), STYLES]
    assert [found for text in loaded for found in re.findall(r"https?://(?!www\.w3\.org/)[^\s\"']*", text)] == []
    assert not any("history.replaceState" in source for source in SOURCES.values())
    assert "location" not in SOURCES["page-query.js"]
    assert "import.meta" not in SOURCES["uplot.js"]


def test_the_styles_are_for_a_shadow_tree_in_the_notebooks_theme() -> None:
    assert ":root" not in STYLES
    assert "prefers-color-scheme" not in STYLES
    assert re.search(r":host\(\[data-theme=dark\]\) \{\s+--ground:", STYLES)


def test_it_is_as_large_as_said() -> None:
    assert len(TEXT.encode()) < 220_000
