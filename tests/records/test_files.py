"""Files in a workspace's store: written whole or not at all, shared by content, confined to the workspace."""

import hashlib
import io
import os
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ordinary_rights import without_roots_rights

from mlflow_amlstore.errors import InvalidValue, NotFound, PathUnsafe, StorageFailed, TransferBroken, WorkspaceCorrupt
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.schema import create_database
from mlflow_amlstore.records.sql.files import SqlFiles
from mlflow_amlstore.records.types import FileListing

RUN = "0/abc/artifacts"
MODEL = "0/models/m-1/artifacts"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "ws", now_ms=lambda: 1_700_000_000_000)
    create_database(database)
    yield database
    database.close()


@pytest.fixture
def files(database: Database) -> SqlFiles:
    return SqlFiles(database)


def _write(files: SqlFiles, path: str, content: bytes, container: str = RUN) -> None:
    files.write(container, path, io.BytesIO(content))


def _read(files: SqlFiles, path: str, container: str = RUN) -> bytes:
    with files.open(container, path) as content:
        return content.read()


def _contents(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "files").rglob("*") if path.is_file() or path.is_symlink())


def test_a_file_is_kept_with_size_checksum_type_and_time(files: SqlFiles) -> None:
    record = files.write(RUN, "data/table.json", io.BytesIO(b"{}"))

    assert files.find(RUN, "data/table.json") == record
    assert (record.path, record.size_bytes, record.content_type) == ("data/table.json", 2, "application/json")
    assert (record.sha256, record.modified_ms) == (hashlib.sha256(b"{}").hexdigest(), 1_700_000_000_000)
    assert _read(files, "data/table.json") == b"{}"


def test_a_file_that_gets_shorter_while_it_is_copied_is_not_kept(
    files: SqlFiles, database: Database, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.write_bytes(bytes(5 * 1024 * 1024))

    with pytest.raises(TransferBroken, match=r"'.*/log' .*got shorter"):
        files.write_local(RUN, [("log", log)], progress=lambda _: os.truncate(log, 1000))

    assert files.find(RUN, "log") is None
    assert [path for path in _contents(database.folder) if path.parent.name == "incoming"] == []


def test_an_empty_file_is_a_file(files: SqlFiles) -> None:
    _write(files, "empty", b"")

    assert files.list_folder(RUN) == [FileListing("empty", False, 0)]
    assert _read(files, "empty") == b""


def test_equal_contents_lie_once_until_the_last_name_goes(files: SqlFiles, database: Database) -> None:
    _write(files, "a", b"same")
    _write(files, "b", b"same")
    _write(files, "c", b"same", MODEL)
    assert len(_contents(database.folder)) == 1

    files.delete(RUN)
    assert _read(files, "c", MODEL) == b"same"
    files.delete(MODEL, "c")
    assert _contents(database.folder) == []


def test_an_overwritten_content_is_removed(files: SqlFiles, database: Database) -> None:
    for number in range(20):
        _write(files, "last.ckpt", str(number).encode())

    assert _read(files, "last.ckpt") == b"19"
    assert len(_contents(database.folder)) == 1


def test_names_that_differ_in_case_are_two_files(files: SqlFiles) -> None:
    _write(files, "Model.PKL", b"1")
    _write(files, "model.pkl", b"2")

    assert [_read(files, listed.path) for listed in files.list_folder(RUN)] == [b"1", b"2"]


def test_a_folder_lists_its_own_children_with_the_sizes_of_what_is_in_them(files: SqlFiles) -> None:
    for path in ("a/1", "a/b/2", "a0", "a-b/3", "a.txt", "ab/4"):
        _write(files, path, b"12345")

    assert files.list_folder(RUN) == [
        FileListing("a", True, 10),
        FileListing("a-b", True, 5),
        FileListing("a.txt", False, 5),
        FileListing("a0", False, 5),
        FileListing("ab", True, 5),
    ]
    assert files.list_folder(RUN, "a") == [FileListing("a/1", False, 5), FileListing("a/b", True, 5)]
    assert files.list_folder(RUN, "a/1") == []
    assert files.list_folder(RUN, "nothing") == []
    assert files.delete(RUN, "a") == 2
    assert [listed.path for listed in files.list_folder(RUN)] == ["a-b", "a.txt", "a0", "ab"]


def test_a_path_is_a_file_or_a_folder_and_not_both(files: SqlFiles, database: Database) -> None:
    _write(files, "a/b", b"first")

    with pytest.raises(InvalidValue, match=r"'a/b' exists, and a path is either a file or a folder"):
        _write(files, "a", b"second")
    with pytest.raises(InvalidValue, match=r"'a/b' exists, and a path is either a file or a folder"):
        _write(files, "a/b/c", b"second")
    assert [record.path for record in files.list_all(RUN)] == ["a/b"]
    assert len(_contents(database.folder)) == 1


def test_several_files_are_recorded_together_or_not_at_all(files: SqlFiles, database: Database, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"1")
    items = [("new/one", tmp_path / "one"), ("new/two", tmp_path / "missing")]

    with pytest.raises(FileNotFoundError, match="missing"):
        files.write_local(RUN, items)

    assert files.list_all(RUN) == []
    assert _contents(database.folder) == []


def test_a_source_that_fails_in_the_middle_leaves_nothing(files: SqlFiles, database: Database) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise ConnectionResetError("the other side is gone")

    with pytest.raises(StorageFailed, match="the other side is gone"):
        files.write(RUN, "new", Broken())

    assert files.list_all(RUN) == []
    assert _contents(database.folder) == []


def test_a_reader_of_a_file_that_is_overwritten_sees_the_old_or_the_new_one_whole(
    files: SqlFiles, tmp_path: Path
) -> None:
    size = 300_000
    _write(files, "last.ckpt", b"\0" * size)
    is_over = threading.Event()
    seen: list[bytes] = []
    failed: list[BaseException] = []

    def download() -> None:
        try:
            while not is_over.is_set():
                files.download(RUN, "last.ckpt", tmp_path / "downloaded")
                seen.append((tmp_path / "downloaded").read_bytes())
        except BaseException as error:
            failed.append(error)

    reader = threading.Thread(target=download)
    reader.start()
    for number in range(1, 200):
        _write(files, "last.ckpt", bytes([number]) * size)
    is_over.set()
    reader.join()

    assert failed == []
    assert seen
    assert all(content == content[:1] * size for content in seen)
    assert sorted(content[0] for content in seen) == [content[0] for content in seen]  # never an older one again


def test_files_written_by_many_at_once_are_all_whole(files: SqlFiles) -> None:
    def write_several(writer: int) -> None:
        for number in range(10):
            _write(files, f"{writer}/{number}", f"{writer} {number};".encode() * 100_000)
            _write(files, f"{writer}/same", b"shared by all" * 10_000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write_several, range(8)))

    for writer in range(8):
        assert _read(files, f"{writer}/same") == b"shared by all" * 10_000
        for number in range(10):
            assert _read(files, f"{writer}/{number}") == f"{writer} {number};".encode() * 100_000


def test_an_open_file_is_read_to_its_end_though_it_is_deleted_meanwhile(files: SqlFiles) -> None:
    _write(files, "a", b"content")
    with files.open(RUN, "a") as opened:
        files.delete(RUN, "a")
        assert opened.read() == b"content"
    with pytest.raises(NotFound, match=r"File 'a' not found. 0/abc/artifacts has no such file"):
        files.open(RUN, "a")


def test_downloading_the_longest_name_works(files: SqlFiles, tmp_path: Path) -> None:
    _write(files, "n" * 255, b"content")

    files.download(RUN, "n" * 255, tmp_path / ("n" * 255))

    assert (tmp_path / ("n" * 255)).read_bytes() == b"content"


@pytest.mark.parametrize("path", ["../x", "/x", "%2e%2e/x", "a\\b", "a\0b", "file:///x", ""])
def test_a_path_that_leaves_its_container_is_refused_by_every_method(
    files: SqlFiles, database: Database, tmp_path: Path, path: str
) -> None:
    _write(files, "kept", b"1")
    before = sorted(tmp_path.rglob("*"))

    for call in (
        lambda: files.write(RUN, path, io.BytesIO(b"x")),
        lambda: files.write_local(RUN, [(path, database.path)]),
        lambda: files.open(RUN, path),
        lambda: files.download(RUN, path, tmp_path / "downloaded"),
        lambda: files.find(RUN, path),
        lambda: files.list_folder(RUN, path or "/"),
        lambda: files.list_all(RUN, path or "/"),
        lambda: files.delete(RUN, path or "/"),
    ):
        with pytest.raises(PathUnsafe):
            call()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "container", ["", "0/abc", "0/abc/artifacts/x", "../0/abc/artifacts", "0/../artifacts", "files"]
)
def test_a_container_that_is_none_is_refused(files: SqlFiles, container: str) -> None:
    for call in (
        lambda: files.write(container, "x", io.BytesIO(b"x")),
        lambda: files.write_local(container, []),
        lambda: files.delete(container),
    ):
        with pytest.raises(PathUnsafe):
            call()


needs_links = pytest.mark.skipif(os.name != "posix", reason="making symbolic links needs rights here")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder outside the workspace, with a file that nobody may touch."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_bytes(b"secret")
    return folder


@needs_links
@pytest.mark.parametrize("where", ["files", "files/incoming", "files/XX"])
def test_a_folder_that_was_made_a_link_is_neither_written_nor_read(
    files: SqlFiles, database: Database, outside: Path, where: str
) -> None:
    content = b"content"
    sha256 = hashlib.sha256(content).hexdigest()
    _write(files, "old", content)
    folder = database.folder / where.replace("XX", sha256[:2])
    folder.rename(outside / "moved")
    folder.symlink_to(outside / "moved")
    before = {path: path.is_file() and path.read_bytes() for path in outside.rglob("*")}

    with pytest.raises(PathUnsafe, match="is a symbolic link, which could lead out of the workspace"):
        _write(files, "new", content)
    assert files.find(RUN, "new") is None
    if where != "files/incoming":
        with pytest.raises(StorageFailed, match=r"can't be opened: its files folder is a symbolic link"):
            _read(files, "old")
        with pytest.raises(PathUnsafe, match="is a symbolic link"):
            files.delete(RUN, "old")
    assert files.find(RUN, "old") is not None
    assert {path: path.is_file() and path.read_bytes() for path in outside.rglob("*")} == before


@needs_links
def test_a_content_that_was_made_a_link_is_not_read_and_writing_it_replaces_the_link(
    files: SqlFiles, database: Database, outside: Path
) -> None:
    _write(files, "old", b"content")
    (content,) = _contents(database.folder)
    content.unlink()
    content.symlink_to(outside / "secret")

    for call in (lambda: _read(files, "old"), lambda: files.download(RUN, "old", outside / "downloaded")):
        with pytest.raises(StorageFailed, match=r"the content of 'old' .* its file content is a symbolic link"):
            call()
    _write(files, "new", b"content")
    assert _read(files, "old") == b"content"
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"secret": b"secret"}


def test_what_is_no_plain_file_is_not_read_as_a_content(files: SqlFiles, database: Database) -> None:
    _write(files, "old", b"content")
    (content,) = _contents(database.folder)
    content.unlink()
    content.mkdir()
    with pytest.raises(StorageFailed, match=r"the content of 'old' \([0-9a-f]{64}\) can't be"):
        files.open(RUN, "old")


@pytest.mark.skipif(os.name != "posix", reason="permissions are tested as POSIX has them")
@pytest.mark.parametrize("place", ["files", "files/XX", "files/XX/content"])
def test_a_content_that_this_user_may_not_read_is_told_with_the_way_out(
    files: SqlFiles, database: Database, place: str
) -> None:
    _write(files, "a/b.txt", b"content")
    (content,) = _contents(database.folder)
    barred = {"files": content.parent.parent, "files/XX": content.parent, "files/XX/content": content}[place]
    mode = barred.stat().st_mode
    barred.chmod(0)
    told = r"the content of 'a/b.txt' \([0-9a-f]{64}\) may not be read by this user\. Give this user permission to read"
    try:
        with without_roots_rights():
            for call in (files.open, files.open_record):
                with pytest.raises(StorageFailed, match=told):
                    call(RUN, "a/b.txt")
    finally:
        barred.chmod(mode)
    assert _read(files, "a/b.txt") == b"content"


@needs_links
def test_deleting_a_file_whose_content_was_made_a_link_removes_the_link_only(
    files: SqlFiles, database: Database, outside: Path
) -> None:
    _write(files, "old", b"content")
    (content,) = _contents(database.folder)
    content.unlink()
    content.symlink_to(outside / "secret")

    files.delete(RUN, "old")

    assert not content.is_symlink()
    assert (outside / "secret").read_bytes() == b"secret"


def test_a_database_from_elsewhere_cant_make_a_file_of_this_machine_a_content(
    files: SqlFiles, database: Database, outside: Path
) -> None:
    _write(files, "old", b"content")
    planted = f"../../{outside.name}/secret"
    with sqlite3.connect(database.path) as connection:
        connection.execute("UPDATE files SET sha256 = ?", (planted,))

    for call in (lambda: _read(files, "old"), lambda: files.delete(RUN, "old")):
        with pytest.raises(WorkspaceCorrupt, match=r"a file's checksum is '\.\./\.\./outside/secret', which is none"):
            call()
    assert (outside / "secret").read_bytes() == b"secret"


def test_a_database_from_elsewhere_cant_list_names_that_climb(files: SqlFiles, database: Database) -> None:
    _write(files, "old", b"content")
    with sqlite3.connect(database.path) as connection:
        connection.execute("UPDATE files SET path = '../../.bashrc'")

    for call in (lambda: files.list_all(RUN), lambda: files.list_folder(RUN)):
        with pytest.raises(PathUnsafe, match="must not climb out"):
            call()


def test_sweep_removes_contents_without_a_name_and_uploads_abandoned_a_day_ago(
    files: SqlFiles, database: Database
) -> None:
    _write(files, "kept", b"kept")
    (kept,) = _contents(database.folder)
    nameless = database.folder / "files/ab" / ("ab" * 32)
    nameless.parent.mkdir(exist_ok=True)
    nameless.write_bytes(b"12345")
    fresh, abandoned = (database.folder / "files/incoming" / name for name in ("fresh", "abandoned"))
    fresh.write_bytes(b"1")
    abandoned.write_bytes(b"1234567")
    os.utime(abandoned, (0, 0))

    assert files.sweep() == 5 + 7

    assert _contents(database.folder) == sorted([kept, fresh])
    assert _read(files, "kept") == b"kept"
