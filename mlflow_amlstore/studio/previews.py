"""What a file of a run looks like in a browser: text, Markdown, JSON, CSV, an image, a notebook, or its facts alone.

Nothing of a file is ever taken as HTML. What is shown is capped, and says so.
"""

import csv
import json
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec

from mlflow_amlstore.errors import StorageFailed
from mlflow_amlstore.protocol.log_text import without_codes
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.text_direction import plain

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_MOST_BYTES = 256 * 1024
_MOST_ROWS, _MOST_COLUMNS, _MOST_CELL = 200, 50, 500
_MOST_CELLS_OF_NOTEBOOK = 200
_NOTEBOOK_BYTES = 1024 * 1024  # with the images in it
_MOST_IMAGE_BYTES = 20_000_000  # of an image that a page shows unasked
_MOST_FRAME_BYTES = 2_000_000
_HEADING_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"
_CELLS = re.compile(r'(?<!\\)"cells"\s*:\s*\[')
_BETWEEN_CELLS = re.compile(r"[\s,]*")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_PAGES_OF_PDF = re.compile(rb"/Type\s*/Pages\b[^>]*?/Count\s+(\d{1,6})|/Count\s+(\d{1,6})[^>]*?/Type\s*/Pages\b")
_SIGNATURES = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}
_SHOWN_IN_FRAME = {".svg"}
_TABLES = {".csv": ",", ".tsv": "\t"}


class NotebookCell(msgspec.Struct, frozen=True):
    """A cell: its source as text or, of Markdown, as HTML; its outputs as texts and images (base64 PNG or JPEG)."""

    kind: str
    text: str = ""
    html: str = ""
    outputs: list[str] = []
    images: list[str] = []


class Preview(msgspec.Struct, frozen=True):
    """A file as it is shown. `kind` says which of the fields hold it.

    `kind` is text, markdown, table, image, frame, pdf, notebook, binary, large or damaged. `is_cut` is whether there is
    more. A table's `rows` begin with row `first_row` (from 1); the next ones begin at byte `next_begin`, if there are.
    `pages` are a PDF's, where it says how many it has.
    """

    kind: str
    text: str = ""
    html: str = ""
    columns: list[str] = []
    rows: list[list[str]] = []
    cells: list[NotebookCell] = []
    is_cut: bool = False
    first_row: int = 1
    next_begin: int | None = None
    pages: int | None = None


def preview(records: RecordStore, container: str, path: str, *, begin: int = 0, row: int = 1) -> Preview:
    """The preview of a file; of a table the rows from byte `begin` on, which is where row `row` begins.

    Raises NotFound.
    """
    try:
        return _preview(records, container, path, begin=begin, row=row)
    except StorageFailed as error:
        return Preview("damaged", text=damage(error))


def damage(error: StorageFailed) -> str:
    """What is wrong with a file whose content can't be read or isn't what was stored, as text to show."""
    return f"This file can't be shown: {error.problem}. {error.way_out}."


def _preview(records: RecordStore, container: str, path: str, *, begin: int, row: int) -> Preview:
    record, source = records.files.open_record(container, path)
    suffix = PurePosixPath(path).suffix.lower()
    with closing(source):
        head = source.read(_NOTEBOOK_BYTES if suffix == ".ipynb" else _MOST_BYTES)
        of_image = image_type(head)
        if suffix in _TABLES and of_image is None and b"\0" not in head[:8192]:
            source.seek(min(max(begin, 0), record.size_bytes))
            return _table(head, source.read(_MOST_BYTES), _TABLES[suffix], begin=begin, row=row, size=record.size_bytes)
    is_cut = record.size_bytes > len(head)
    if of_image is not None:
        return Preview("image" if record.size_bytes <= _MOST_IMAGE_BYTES else "large")
    if suffix in _SHOWN_IN_FRAME:
        return Preview("frame" if record.size_bytes <= _MOST_FRAME_BYTES else "large")
    if head.startswith(b"%PDF-"):
        return Preview("pdf", pages=_pages_of_pdf(head))
    if suffix in (".png", ".jpg", ".jpeg", ".gif", ".webp", ".pdf"):
        return Preview("damaged", text=f"This file isn't what its name says: {suffix[1:].upper()}")
    if b"\0" in head[:8192]:
        return Preview("binary")
    text = plain(head.decode("utf-8", errors="replace"))
    if suffix in (".md", ".markdown"):
        return Preview("markdown", html=markdown(text), is_cut=is_cut)
    if suffix == ".json" and not is_cut:
        return _json(text)
    if suffix == ".ipynb":
        with suppress(ValueError, TypeError, AttributeError, KeyError, RecursionError):
            cells = _first_cells(head.decode("utf-8", errors="replace")) if is_cut else json.loads(head)["cells"]
            return _notebook(cells, is_cut=is_cut)
    is_cut = is_cut or len(text) > _MOST_BYTES
    return Preview("text", text=without_codes(text[:_MOST_BYTES]), is_cut=is_cut)


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


def _pages_of_pdf(head: bytes) -> int | None:
    counts = [int(first or second) for first, second in _PAGES_OF_PDF.findall(head)]
    return max(counts, default=None)


def _table(head: bytes, content: bytes, delimiter: str, *, begin: int, row: int, size: int) -> Preview:
    """The rows of a table that begin in `content`, which begins at byte `begin` of a file that begins with `head`."""
    try:
        heading, after_heading = next(_rows(head[:_HEADING_BYTES].removeprefix(_BOM), delimiter), ([], 0))
        if begin <= 0:
            begin, row = after_heading + (len(_BOM) if head.startswith(_BOM) else 0), 1
            content = head[begin:]
        rows: list[list[str]] = []
        is_cut, read = len(heading) > _MOST_COLUMNS, 0
        for cells, end in _rows(content, delimiter):
            if begin + end < size and end >= len(content) and rows:
                break  # the row goes on beyond what was read
            read = end
            rows.append([cell[:_MOST_CELL] for cell in cells[:_MOST_COLUMNS]])
            is_cut = is_cut or len(cells) > _MOST_COLUMNS
            if len(rows) == _MOST_ROWS:
                break
    except csv.Error:
        text = plain(content[:_MOST_BYTES].decode("utf-8", errors="replace"))
        return Preview("text", text=text, is_cut=begin + len(content) < size)
    next_begin = begin + read if rows and begin + read < size else None
    columns = heading[:_MOST_COLUMNS]
    return Preview("table", columns=columns, rows=rows, is_cut=is_cut, first_row=row, next_begin=next_begin)


def _rows(content: bytes, delimiter: str) -> Iterator[tuple[list[str], int]]:
    """The rows of a table, each with the byte after it."""
    end = 0

    def lines() -> Iterator[str]:
        nonlocal end
        while end < len(content):
            begin, end = end, (content.find(b"\n", end) + 1) or len(content)
            yield plain(content[begin:end].decode("utf-8", errors="replace"))

    for cells in csv.reader(lines(), delimiter=delimiter):
        yield cells, end


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


def _first_cells(text: str) -> list[Any]:
    """The cells of a notebook that are whole in its beginning. Raises ValueError where there are none."""
    found = _CELLS.search(text)
    if found is None:
        raise ValueError("the beginning has no cells")
    cells: list[Any] = []
    decoder, place = json.JSONDecoder(), found.end()
    with suppress(ValueError):
        while len(cells) < _MOST_CELLS_OF_NOTEBOOK:
            gap = _BETWEEN_CELLS.match(text, place)
            cell, place = decoder.raw_decode(text, gap.end() if gap else place)
            cells.append(cell)
    return cells


def _notebook(given: list[Any], *, is_cut: bool) -> Preview:
    cells = [_notebook_cell(cell) for cell in given[:_MOST_CELLS_OF_NOTEBOOK]]
    return Preview("notebook", cells=cells, is_cut=is_cut or len(given) > _MOST_CELLS_OF_NOTEBOOK)


def _notebook_cell(cell: dict[str, Any]) -> NotebookCell:
    source = plain(_joined(cell.get("source", "")))
    if cell.get("cell_type") == "markdown":
        return NotebookCell("markdown", html=markdown(source))
    outputs, images = [], []
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        for media_type in ("image/png", "image/jpeg"):
            encoded = _joined(data.get(media_type, "")).replace("\n", "")
            if _BASE64.fullmatch(encoded):
                images.append(f"data:{media_type};base64,{encoded}")
        text = _joined(output.get("text", "")) or _joined(data.get("text/plain", ""))
        text = text or "\n".join(map(str, output.get("traceback", ())))
        if text and not images:
            outputs.append(without_codes(plain(text[:_MOST_BYTES])))
    return NotebookCell("code", text=source, outputs=outputs, images=images)


def _joined(text: object) -> str:
    return "".join(map(str, text)) if isinstance(text, list) else str(text)
