"""What a file of a run looks like in a browser: text, Markdown, JSON, CSV, an image, a notebook, or its facts alone.

Nothing of a file is ever taken as HTML. What is shown is capped, and says so.
"""

import csv
import io
import json
from contextlib import closing, suppress
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec

from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.studio.words import plain

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_MOST_BYTES = 256 * 1024
_MOST_ROWS, _MOST_COLUMNS, _MOST_CELL = 200, 50, 500
_MOST_CELLS_OF_NOTEBOOK = 200
_NOTEBOOK_BYTES = 8 * 1024 * 1024
_SIGNATURES = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}
_SHOWN_IN_FRAME = {".svg"}


class NotebookCell(msgspec.Struct, frozen=True):
    """A cell: its source as text or, of Markdown, as HTML; its outputs as texts and images (base64 PNG or JPEG)."""

    kind: str
    text: str = ""
    html: str = ""
    outputs: list[str] = []
    images: list[str] = []


class Preview(msgspec.Struct, frozen=True):
    """A file as it is shown. `kind` says which of the fields hold it.

    `kind` is text, markdown, table, image, frame, pdf, notebook, binary or damaged. `is_cut` is whether there is more.
    """

    kind: str
    text: str = ""
    html: str = ""
    columns: list[str] = []
    rows: list[list[str]] = []
    cells: list[NotebookCell] = []
    is_cut: bool = False


def preview(records: RecordStore, container: str, path: str) -> Preview:
    """The preview of a file. Raises NotFound."""
    record, source = records.files.open_record(container, path)
    suffix = PurePosixPath(path).suffix.lower()
    with closing(source):
        head = source.read(_NOTEBOOK_BYTES if suffix == ".ipynb" else _MOST_BYTES)
    is_cut = record.size_bytes > len(head)
    if image_type(head) is not None:
        return Preview("image")
    if suffix in _SHOWN_IN_FRAME:
        return Preview("frame")
    if head.startswith(b"%PDF-"):
        return Preview("pdf")
    if suffix in (".png", ".jpg", ".jpeg", ".gif", ".webp", ".pdf"):
        return Preview("damaged", text=f"This file isn't what its name says: {suffix[1:].upper()}")
    if b"\0" in head[:8192]:
        return Preview("binary")
    text = plain(head.decode("utf-8", errors="replace"))
    if suffix in (".md", ".markdown"):
        return Preview("markdown", html=markdown(text), is_cut=is_cut)
    if suffix in (".csv", ".tsv"):
        return _table(text, "\t" if suffix == ".tsv" else ",", is_cut=is_cut)
    if suffix == ".json" and not is_cut:
        return _json(text)
    if suffix == ".ipynb" and not is_cut:
        with suppress(ValueError, TypeError, AttributeError, KeyError):
            return _notebook(json.loads(head))
    return Preview("text", text=_without_ansi(text), is_cut=is_cut)


def markdown(text: str) -> str:
    """Markdown as HTML. HTML in it is text, and links have safe schemes alone (markdown-it-py's rules)."""
    return str(_markdown().render(plain(text)))


@cache
def _markdown() -> "MarkdownIt":
    from markdown_it import MarkdownIt  # what rich brings along

    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def image_type(head: bytes) -> str | None:
    """The type of an image that begins so, or None for what is none that a browser is given."""
    for media_type, starts in _SIGNATURES.items():
        if head.startswith(starts) and (media_type != "image/webp" or head[8:12] == b"WEBP"):
            return media_type
    return None


def plain_text(content: bytes) -> str:
    """Bytes of a log as text to show: without colour codes and marks that turn text around."""
    return _without_ansi(plain(content.decode("utf-8", errors="replace")))


def _without_ansi(text: str) -> str:
    if "\x1b" not in text and "\r" not in text:
        return text
    from rich.text import Text  # reads ANSI codes as terminals do

    lines = (line.rpartition("\r")[2] if not line.endswith("\r") else line[:-1] for line in text.split("\n"))
    return "\n".join(Text.from_ansi(line).plain if "\x1b" in line else line for line in lines)


def _table(text: str, delimiter: str, *, is_cut: bool) -> Preview:
    lines = io.StringIO(text.rpartition("\n")[0] if is_cut and "\n" in text else text)
    rows: list[list[str]] = []
    try:
        for row in csv.reader(lines, delimiter=delimiter):
            if len(rows) > _MOST_ROWS:
                is_cut = True
                break
            rows.append([cell[:_MOST_CELL] for cell in row[:_MOST_COLUMNS]])
            is_cut = is_cut or len(row) > _MOST_COLUMNS
    except csv.Error:
        return Preview("text", text=text, is_cut=is_cut)
    return Preview("table", columns=rows[0] if rows else [], rows=rows[1:], is_cut=is_cut)


def _json(text: str) -> Preview:
    """JSON, indented; MLflow's `log_table` and pandas' split form as the table that they are."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return Preview("text", text=text)
    if isinstance(value, dict) and isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        rows = [row for row in value["data"] if isinstance(row, list)]
        shown = [[_cell(cell) for cell in row[:_MOST_COLUMNS]] for row in rows[:_MOST_ROWS]]
        columns = [_cell(name) for name in value["columns"][:_MOST_COLUMNS]]
        return Preview("table", columns=columns, rows=shown, is_cut=len(rows) > _MOST_ROWS)
    with suppress(RecursionError):
        text = plain(json.dumps(value, indent=2, ensure_ascii=False))  # which may have come as escapes
    return Preview("text", text=text)


def _cell(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return plain(text[:_MOST_CELL])


def _notebook(document: dict[str, Any]) -> Preview:
    given = document["cells"]
    cells = [_notebook_cell(cell) for cell in given[:_MOST_CELLS_OF_NOTEBOOK]]
    return Preview("notebook", cells=cells, is_cut=len(given) > _MOST_CELLS_OF_NOTEBOOK)


def _notebook_cell(cell: dict[str, Any]) -> NotebookCell:
    source = plain(_joined(cell.get("source", "")))
    if cell.get("cell_type") == "markdown":
        return NotebookCell("markdown", html=markdown(source))
    outputs, images = [], []
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        for media_type in ("image/png", "image/jpeg"):
            encoded = _joined(data.get(media_type, "")).replace("\n", "")
            if encoded and all(mark.isalnum() or mark in "+/=" for mark in encoded):
                images.append(f"data:{media_type};base64,{encoded}")
        text = _joined(output.get("text", "")) or _joined(data.get("text/plain", ""))
        text = text or "\n".join(map(str, output.get("traceback", ())))
        if text and not images:
            outputs.append(_without_ansi(plain(text[:_MOST_BYTES])))
    return NotebookCell("code", text=source, outputs=outputs, images=images)


def _joined(text: object) -> str:
    return "".join(map(str, text)) if isinstance(text, list) else str(text)
