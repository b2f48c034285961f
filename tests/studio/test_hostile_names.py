"""Files of any name and with any content: each is listed, opened, downloaded and zipped by its own name, and shown as
text. No path leads to anything else."""

import html
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urljoin

import pytest
from filled_workspace import EVIL, Filled

from mlflow_amlstore.records.locations import run_container, snapshot_container
from mlflow_amlstore.records.types import SNAPSHOT_PROPERTY
from mlflow_amlstore.workspace.opening import open_folder

from .conftest import Person

NAMES = {
    "markup": EVIL.replace("/", "_") + ".txt",
    "quotes": '"single\' & "double".txt',
    "percent": "a%2Fb%2ec.txt",
    "percent twice": "a%252fb.txt",
    "question": "what?path=x&download=1.txt",
    "hash": "a#b.txt",
    "plus": "a+b c.txt",
    "ends as data": "table.json",
    "newline": "first\nsecond.txt",
    "tab and bell": "a\tb\x07.txt",
    "escape": "\x1b[31mred\x1b[0m.txt",
    "right to left": "שלום عليكم.txt",
    "turns around": "\u202egpj.txt",
    "emoji": "😀👩‍👩‍👧.txt",
    "long": "n" * 246 + ".txt",
    "blanks": "  spaces at both ends  ",
    "dots": "...",
    "hidden": ".hidden",
    "dashes": "--download",
    "combining": "é" + "e\u0301.txt",
    "semicolon": "a;b,c.txt",
    "template": "{{ 7 * 7 }}{% raw %}.txt",
    "script url": "javascript:alert(1).txt",
}
CONTENTS = {
    "page.html": f"<!doctype html><title>x</title>{EVIL}<script>alert(1)</script>",
    "claims to be a picture.png": f"<svg onload=alert(1)>{EVIL}",
    "claims to be a pdf.pdf": EVIL,
    "claims to be a picture.webp": "RIFF0000WEB?" + EVIL,
    "script.svg": '<svg xmlns="http://www.w3.org/2000/svg"><script>top.document.title="taken"</script>'
    f"<text>{EVIL}</text></svg>",
    "markup.json": '{"a": "</script><script>alert(1)</script>\\u202e"}',
    "deep.json": "[" * 100_000,
    "infinite.json": '{"a": NaN, "b": 1e999}',
    "markup.csv": f'{EVIL},"{EVIL}\n{EVIL}"\n=HYPERLINK("http://evil"),1\n',
    "one long line.csv": "x" * 400_000,
    "quote never closed.csv": '"' + "a,b\n" * 50_000,
    "ragged.tsv": "a\tb\n1\n1\t2\t3\n",
    "markup.md": f"# {EVIL}\n\n{EVIL}\n\n[a](javascript:alert(1)) ![b](http://evil.example/x.png) <b onclick=x>\n",
    "deep.md": ">" * 5000 + " x",
    "markup.ipynb": '{"cells": [{"cell_type": "markdown", "source": "<script>alert(1)</script>"}, {"cell_type": "code",'
    ' "source": 7, "outputs": [{"data": {"text/html": "<script>alert(1)</script>", "image/png": "\\"><script>"}}]}]}',
    "no cells.ipynb": '{"cells": 3}',
    "wrong cells.ipynb": '{"cells": [1, null, {"outputs": 3}, {"outputs": [4]}]}',
    "colours.log": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J\x08\x08 \u202eback\n10%\r20%\r100%\n",
    "empty.txt": "",
    "empty.csv": "",
    "empty.ipynb": "",
    "empty.json": "",
    "not utf-8.txt": "latin \udce9",
    "nul at the end.txt": "x" * 9000 + "\0",
}


@pytest.fixture(scope="module")
def run_id(filled: Filled) -> Iterator[str]:
    """A run with all of them, and a snapshot that has a part of them."""
    records = open_folder(filled.folder).records
    run = records.runs.create(filled.experiment, name="hostile").info.run_id
    snapshot_id = "11111111-2222-4333-8444-555555555555"
    containers = (run_container(filled.experiment, run), snapshot_container(snapshot_id))
    for container in containers:
        for name in NAMES.values():
            records.files.write(container, f"names/{name}", io.BytesIO(f"it is {name}".encode()))
    for name, content in CONTENTS.items():
        records.files.write(
            containers[0], f"contents/{name}", io.BytesIO(content.encode("utf-8", errors="surrogateescape"))
        )
    records.runs.add_properties(run, {SNAPSHOT_PROPERTY: snapshot_id})
    yield run
    records.runs.delete(run)  # others count the experiment's runs
    records.close()


@pytest.mark.parametrize("what", ["outputs", "snapshot"])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_leads_to_its_file_alone(owner: Person, run_id: str, name: str, what: str) -> None:
    content = f"it is {name}"
    path = quote(f"names/{name}", safe="")
    data = owner.data(f"/runs/{run_id}/{what}.json?folder=names&path={path}")
    assert name in [entry["name"] for entry in data["entries"]]
    page = owner.get(f"/runs/{run_id}/{what}?folder=names&path={path}")
    assert page.status_code == 200
    shown = page.text.partition("<main")[2]
    assert "<script>document" not in shown
    assert "<img src=x" not in shown
    assert "49{%" not in shown
    [link] = re.findall(r'href="([^"]*files/names/[^"]*)"', shown)
    answer = owner.get(urljoin(f"/runs/{run_id}/{what}", html.unescape(link)))
    assert answer.content == content.encode()
    assert answer.headers["Content-Disposition"].isascii()
    assert "\n" not in answer.headers["Content-Disposition"]


def test_a_zip_has_every_name_as_it_is(owner: Person, run_id: str) -> None:
    for address in ("outputs.zip?folder=names", "snapshot.zip"):
        with zipfile.ZipFile(io.BytesIO(owner.get(f"/runs/{run_id}/{address}").content)) as archive:
            assert set(archive.namelist()) == {f"names/{name}" for name in NAMES.values()}
            assert archive.testzip() is None


def test_every_name_is_opened_by_a_click(visit: Callable[..., Any], run_id: str) -> None:
    visiting = visit()
    for number, name in enumerate(sorted(NAMES.values())):
        page = visiting.open(f"/runs/{run_id}/outputs?folder=names").page
        page.locator(".tree a").nth(number).click()
        page.locator("pre.log").get_by_text("it is").wait_for()
        title = page.locator(".preview, .log-view").locator("xpath=..").locator("h2").text_content()
        assert "names/" in title
        assert not any(mark in title for mark in "\u202e\u202d")
        assert page.title().startswith("Outputs"), name


@pytest.mark.parametrize("name", CONTENTS)
def test_any_content_is_shown_as_text(owner: Person, run_id: str, name: str) -> None:
    path = quote(f"contents/{name}", safe="")
    page = owner.get(f"/runs/{run_id}/outputs?folder=contents&path={path}")
    assert page.status_code == 200
    shown = page.text.partition("<main")[2]
    for markup in ("<script>alert", "<script>document", "<svg", "<img src=x", "<b onclick", 'href="javascript'):
        assert markup not in shown
    assert "\x1b" not in shown
    assert "\u202e" not in re.sub(r'(value|href|data-[a-z-]+)="[^"]*"', "", shown)
    raw = owner.get(f"/runs/{run_id}/files/contents/{quote(name)}")
    assert raw.content == CONTENTS[name].encode("utf-8", errors="surrogateescape")
    assert raw.headers["Content-Security-Policy"].startswith("sandbox;")
    assert raw.headers["Content-Type"].partition(";")[0] in ("text/plain", "image/svg+xml")


def test_in_a_browser_none_of_it_runs(visit: Callable[..., Any], run_id: str) -> None:
    visiting = visit()
    dialogs: list[str] = []
    visiting.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    for name in CONTENTS:
        visiting.open(f"/runs/{run_id}/outputs?path={quote(f'contents/{name}', safe='')}")
        assert visiting.page.title().startswith("Outputs")
    for name in ("page.html", "script.svg", "claims to be a picture.png"):
        visiting.page.goto(f"{visiting.url}/runs/{run_id}/files/contents/{quote(name)}")
        assert "taken" not in visiting.page.title()
    assert dialogs == []
    # Chromium says that it didn't run a script of a sandboxed SVG.
    visiting.complaints[:] = [each for each in visiting.complaints if "sandboxed" not in each]
    assert not [url for url in visiting.requests if "evil.example" in url]


CLIMBING = (
    "..", "../records.db", "../../../../etc/passwd", "names/../../../../records.db", "names/..", "./../x",
    "/etc/passwd", "//etc/passwd", "file:///etc/passwd", "..\\records.db",
    "names\\..\\..\\x", "C:\\Windows\\win.ini",
    "%2e%2e/%2e%2e/records.db", "..%2frecords.db", "%252e%252e%252frecords.db", "%00", "names/x\0.txt",
    "..;/records.db", "....//....//records.db", "\u2025/records.db", "names/\ud800",
)  # fmt: skip
ADDRESSES = (
    "files/{}", "files/{}?download=1", "snapshot/files/{}", "outputs?path={}", "outputs.json?path={}",
    "outputs?folder={}", "snapshot?path={}", "snapshot?folder={}", "outputs.zip?folder={}", "tail?path={}",
    "log.json?path={}", "log/matches.json?path={}&text=a", "snapshot/difference?against={}", "outputs.json?after={}",
)  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("path", CLIMBING, ids=ascii)
def test_no_path_leads_elsewhere(owner: Person, run_id: str, path: str, address: str) -> None:
    raw = path.encode("utf-8", errors="surrogatepass")
    for written in (quote(raw, safe="/"), quote(raw, safe=""), quote(quote(raw, safe="").encode(), safe="")):
        answer = owner.get(f"/runs/{run_id}/" + address.format(written))
        if answer.status_code == 200:  # an empty folder, or a name after which a page begins
            assert "folder={}" in address or "after={}" in address
        else:
            assert answer.status_code in (400, 404), answer.text
        for secret in (b"SQLite format", b"root:", b"workspace_id", b"[fonts]"):
            assert secret not in answer.content
