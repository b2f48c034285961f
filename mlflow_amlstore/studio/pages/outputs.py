"""`/runs/ID/outputs` and `/runs/ID/snapshot`: files of a run, looked at and downloaded."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import PurePosixPath
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mlflow_amlstore.errors import NotFound, StorageFailed, WorkspaceCorrupt
from mlflow_amlstore.protocol.log_text import plain_text
from mlflow_amlstore.records.locations import run_container, snapshot_container
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import SNAPSHOT_PROPERTY, FileRecord, RunRecord
from mlflow_amlstore.service.files.transfer import PIECE_BYTES, on_thread, pieces_of
from mlflow_amlstore.service.routing import Area, Call, Content, Right, Role, Routes
from mlflow_amlstore.studio.page import Pages
from mlflow_amlstore.studio.previews import Preview, damage, image_type, preview
from mlflow_amlstore.studio.run_head import RunHead, run_head
from mlflow_amlstore.studio.run_tail import LOG_SUFFIXES, LogPart, Matches, part_of, search, tail_of

PAGES = Pages()
ROUTES = Routes(Area.STUDIO)
_MOST_ENTRIES = 500
_FILES_AT_ONCE = 1000
_ZIP_PIECE_BYTES = 256 * 1024
_LEFT_OUT_NAME = "NOT-IN-THIS-ZIP.txt"
_SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class FilesQuery(msgspec.Struct, frozen=True):
    """Which folder is listed, from which name on, and which file is shown; of a table from which row on.

    `begin` and `row` are `next_begin` of the preview before, and the number of the row there. `level` leaves out lines
    of a log that have a lower one: DEBUG, INFO, WARNING, ERROR or CRITICAL.
    """

    folder: str = ""
    after: str = ""
    path: str = ""
    begin: int = 0
    row: int = 1
    level: str = ""
    against: str = ""  # of a snapshot: the run that it is compared with


class Entry(msgspec.Struct, frozen=True):
    """A file, or a folder with the size of all that is in it."""

    path: str
    name: str
    is_folder: bool
    size_bytes: int


class FilesPage(msgspec.Struct, frozen=True):
    """A folder of a run, and the file of it that is shown. `next_after` continues a long folder.

    `files_in_all` are the files in the folder and in those below, `first_in_all` of them at most.
    """

    run: RunHead
    what: str  # outputs or snapshot
    folder: str
    parents: list[tuple[str, str]]
    entries: list[Entry]
    next_after: str | None
    files_in_all: int
    path: str
    size_bytes: int
    preview: Preview | None
    is_log: bool
    log: LogPart | None  # its last lines
    tail: str  # the same, as text


class Change(msgspec.Struct, frozen=True):
    """A file of two snapshots: added, removed, changed or the same; a change's lines as `diff -u` writes them."""

    path: str
    kind: str
    lines: list[str]


class DifferencePage(msgspec.Struct, frozen=True):
    """What differs between the snapshots of two runs."""

    run: RunHead
    against: RunHead
    changes: list[Change]
    same: int


@PAGES.page("/runs/{run_id}/outputs", "files.html", is_long=True)
def outputs(call: Call, query: FilesQuery) -> FilesPage:
    """Show a run's files and logs."""
    run = call.records.runs.get(call.path["run_id"])
    return _files(call.records, run, "outputs", run_container(run.info.experiment_id, run.info.run_id), query)


@PAGES.page("/runs/{run_id}/snapshot", "files.html", is_long=True)
def snapshot(call: Call, query: FilesQuery) -> FilesPage:
    """Show the source folder that a run was started with."""
    run = call.records.runs.get(call.path["run_id"])
    return _files(call.records, run, "snapshot", _snapshot_of(run), query)


@PAGES.page("/runs/{run_id}/snapshot/difference", "difference.html", is_long=True)
def difference(call: Call, query: FilesQuery) -> DifferencePage:
    """Show what differs between a run's snapshot and another's."""
    records = call.records
    run, against = records.runs.get(call.path["run_id"]), records.runs.get(query.against)
    before, after = (
        {file.path: file for file in records.files.list_all(_snapshot_of(each), max_results=2000)}
        for each in (against, run)
    )
    changes = [
        change
        for path in sorted(before.keys() | after.keys())
        if (change := _change(records, path, (against, before.get(path)), (run, after.get(path)))) is not None
    ]
    same = len(before.keys() | after.keys()) - len(changes)
    return DifferencePage(run_head(records, run), run_head(records, against), changes, same)


@ROUTES.get("/runs/{run_id}/files/{path:path}", Role.READER, Right.LOOK)
async def download(call: Call, request: Request) -> Response:
    """Give a file of a run as it is."""
    run = await on_thread(call.records.runs.get, call.path["run_id"])
    container = run_container(run.info.experiment_id, run.info.run_id)
    return await _file(call.records, container, call.path["path"], as_download="download" in request.query_params)


@ROUTES.get("/runs/{run_id}/snapshot/files/{path:path}", Role.READER, Right.LOOK)
async def download_of_snapshot(call: Call, request: Request) -> Response:
    """Give a file of a run's snapshot as it is."""
    run = await on_thread(call.records.runs.get, call.path["run_id"])
    as_download = "download" in request.query_params
    return await _file(call.records, _snapshot_of(run), call.path["path"], as_download=as_download)


@ROUTES.get("/runs/{run_id}/outputs.zip", Role.READER, Right.LOOK)
async def download_all(call: Call, request: Request) -> Response:
    """Give a run's files, or those of a folder, as a zip file that is made while it is sent."""
    run = await on_thread(call.records.runs.get, call.path["run_id"])
    folder = request.query_params.get("folder", "")
    name = f"{run.info.name}{'-' + PurePosixPath(folder).name if folder else ''}"
    return await zip_answer(call.records, run_container(run.info.experiment_id, run.info.run_id), folder, name)


@ROUTES.get("/runs/{run_id}/snapshot.zip", Role.READER, Right.LOOK)
async def download_snapshot(call: Call, request: Request) -> Response:
    """Give a run's snapshot as a zip file."""
    run = await on_thread(call.records.runs.get, call.path["run_id"])
    return await zip_answer(call.records, _snapshot_of(run), "", f"{run.info.name}-snapshot")


class LogQuery(msgspec.Struct, frozen=True):
    """Which log, and the byte that the lines end at or begin at; without one, the last lines.

    `level` leaves out lines of a lower one: DEBUG, INFO, WARNING, ERROR or CRITICAL.
    """

    path: str
    before: int | None = None
    after: int | None = None
    level: str = ""


@ROUTES.get("/runs/{run_id}/log.json", Role.READER, Right.LOOK, is_long=True)
def log(call: Call, body: LogQuery) -> LogPart:
    """Give lines of a log."""
    run = call.records.runs.get(call.path["run_id"])
    container = run_container(run.info.experiment_id, run.info.run_id)
    return part_of(call.records, container, body.path, before=body.before, after=body.after, level=body.level)


class SearchQuery(msgspec.Struct, frozen=True):
    """Which log, what is sought, and where a search that was begun goes on; `level` is as for the log's lines."""

    path: str
    text: str
    begin: int = 0
    line: int = 1
    level: str = ""


@ROUTES.get("/runs/{run_id}/log/matches.json", Role.READER, Right.LOOK, is_long=True)
def search_log(call: Call, body: SearchQuery) -> Matches:
    """Give the lines of a log that have a text, of a long log in several answers."""
    run = call.records.runs.get(call.path["run_id"])
    container = run_container(run.info.experiment_id, run.info.run_id)
    return search(call.records, container, body.path, body.text, begin=body.begin, line=body.line, level=body.level)


class TailQuery(msgspec.Struct, frozen=True):
    """Which log."""

    path: str


@ROUTES.get("/runs/{run_id}/tail", Role.READER, Right.LOOK)
def tail(call: Call, body: TailQuery) -> Content:
    """Give the end of a log, as text."""
    run = call.records.runs.get(call.path["run_id"])
    text = tail_of(call.records, run_container(run.info.experiment_id, run.info.run_id), body.path)
    headers = (("content-security-policy", _SANDBOX), ("x-content-type-options", "nosniff"))
    return Content(text.encode(), "text/plain; charset=utf-8", headers)


def _files(records: RecordStore, run: RunRecord, what: str, container: str, query: FilesQuery) -> FilesPage:
    listing = records.files.list_some(container, query.folder, after=query.after, max_results=_MOST_ENTRIES)
    names = query.folder.split("/") if query.folder else []
    shown = None
    size_bytes = 0
    if query.path:
        record = records.files.find(container, query.path)
        if record is None:
            raise NotFound("file", query.path, f"Run {run.info.run_id} has no such file")
        shown = preview(records, container, query.path, begin=query.begin, row=query.row)
        size_bytes = record.size_bytes
    is_log = what == "outputs" and query.path.endswith(LOG_SUFFIXES)
    log = None
    if is_log and shown and shown.kind != "damaged":
        log = part_of(records, container, query.path, level=query.level)
    return FilesPage(
        run=run_head(records, run),
        what=what,
        folder=query.folder,
        parents=[("/".join(names[: count + 1]), name) for count, name in enumerate(names)],
        entries=[
            Entry(each.path, PurePosixPath(each.path).name, each.is_folder, each.size_bytes) for each in listing.items
        ],
        next_after=listing.next_token,
        files_in_all=records.files.count(container, query.folder),
        path=query.path,
        size_bytes=size_bytes,
        preview=shown,
        is_log=is_log,
        log=log,
        tail=log.text + log.rest if log else "",
    )


def _snapshot_of(run: RunRecord) -> str:
    snapshot_id = run.properties.get(SNAPSHOT_PROPERTY)
    if snapshot_id is None:
        raise NotFound("snapshot", run.info.run_id, "The run has none: take_snapshot() keeps a source folder")
    return snapshot_container(snapshot_id)


async def _file(records: RecordStore, container: str, path: str, *, as_download: bool) -> Response:
    record, source = await on_thread(records.files.open_record, container, path)
    first = await on_thread(source.read, min(PIECE_BYTES, record.size_bytes))
    media_type = image_type(first)
    if media_type is None:
        media_type = "image/svg+xml" if path.lower().endswith(".svg") else "text/plain; charset=utf-8"
    # A browser's viewer runs the scripts of a PDF (`app.alert`, say), in whatever sandbox its answer is.
    as_download = as_download or first.startswith(b"%PDF-")
    if as_download:
        media_type = "application/octet-stream"
    name = quote(PurePosixPath(path).name)
    headers = {
        "content-security-policy": _SANDBOX,
        "x-content-type-options": "nosniff",
        "content-length": str(record.size_bytes),
        "content-disposition": f"{'attachment' if as_download else 'inline'}; filename*=UTF-8''{name}",
        "cache-control": "no-cache, private",
    }
    return StreamingResponse(pieces_of(source, first, record.size_bytes), 200, headers, media_type)


async def zip_answer(records: RecordStore, container: str, folder: str, name: str) -> Response:
    """The files of a folder as a zip file that is made while it is sent. Raises NotFound where there are none.

    Files that can't be opened are left out, and `NOT-IN-THIS-ZIP.txt` in it says which and why. One whose content turns
    out at its end not to be what was stored breaks the answer off.
    """
    if not await on_thread(lambda: records.files.list_all(container, folder, max_results=1)):
        raise NotFound("files in", folder or "this run")
    headers = {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(name)}.zip",
        "content-security-policy": _SANDBOX,
        "x-content-type-options": "nosniff",
    }
    return StreamingResponse(_zipped(records, container, folder), 200, headers, "application/zip")


class _Sink(io.RawIOBase):
    """What a zip file is written to: it gives up what it has, and can't go back."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, piece: object) -> int:
        content = bytes(piece)  # type: ignore[call-overload]  # what zipfile writes
        self._pieces.append(content)
        self.size_bytes += len(content)
        return len(content)

    def taken(self) -> bytes:
        pieces, self._pieces, self.size_bytes = self._pieces, [], 0
        return b"".join(pieces)


async def _zipped(records: RecordStore, container: str, folder: str) -> AsyncIterator[bytes]:
    """A zip file, in pieces of some hundred kilobytes, each made on a thread while none is waited for here."""
    pieces = _zip_pieces(records, container, folder)
    try:
        while piece := await on_thread(next, pieces, b""):
            yield piece
    finally:
        await asyncio.shield(on_thread(pieces.close))


def _zip_pieces(records: RecordStore, container: str, folder: str) -> Generator[bytes, None, None]:
    sink = _Sink()
    archive = zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    left_out: list[str] = []
    for file in _listed(records, container, folder):
        try:
            opened = records.files.open(container, file.path)
        except StorageFailed as error:
            left_out.append(f"{file.path!r}: {error.problem}. {error.way_out}.\n")
            continue
        except (NotFound, WorkspaceCorrupt) as error:  # deleted meanwhile; a checksum that is none
            left_out.append(f"{file.path!r}: {error}.\n")
            continue
        entry = zipfile.ZipInfo(file.path)
        entry.compress_type = zipfile.ZIP_DEFLATED
        with opened as source, archive.open(entry, "w", force_zip64=True) as target:
            while content := source.read(PIECE_BYTES):
                target.write(content)
                if sink.size_bytes >= _ZIP_PIECE_BYTES:
                    yield sink.taken()
        if sink.size_bytes >= _ZIP_PIECE_BYTES:
            yield sink.taken()
    if left_out:
        name = _LEFT_OUT_NAME
        while records.files.list_all(container, name, max_results=1):  # a file of the run's own
            name = f"_{name}"
        archive.writestr(zipfile.ZipInfo(name), "".join(left_out))
    archive.close()
    yield sink.taken()


def _listed(records: RecordStore, container: str, folder: str) -> Iterator[FileRecord]:
    """The files of a folder, a thousand at a time."""
    after = ""
    while listed := records.files.list_all(container, folder, after=after, max_results=_FILES_AT_ONCE):
        yield from listed
        after = listed[-1].path


def _change(
    records: RecordStore,
    path: str,
    before: tuple[RunRecord, FileRecord | None],
    after: tuple[RunRecord, FileRecord | None],
) -> Change | None:
    (run_before, old), (run_after, new) = before, after
    if old is not None and new is not None and old.sha256 == new.sha256:
        return None
    kind = "added" if old is None else "removed" if new is None else "changed"
    try:
        texts = [_text(records, run, file) for run, file in ((run_before, old), (run_after, new))]
    except StorageFailed as error:
        return Change(path, kind, [damage(error)])
    if any(text is None for text in texts):
        return Change(path, kind, ["This file isn't text, or is too long to compare here"])
    from difflib import unified_diff  # rarely needed

    old_lines, new_lines = ((text or "").splitlines() for text in texts)
    lines = list(unified_diff(old_lines, new_lines, run_before.info.name, run_after.info.name, lineterm=""))
    return Change(path, kind, lines[:2000])


def _text(records: RecordStore, run: RunRecord, file: FileRecord | None) -> str | None:
    if file is None:
        return ""
    if file.size_bytes > PIECE_BYTES // 4:
        return None
    with records.files.open(_snapshot_of(run), file.path) as source:
        content = source.read()
    return None if b"\0" in content else plain_text(content)
