"""Files received in blocks: in any order, whole or not at all, resumed after a kill, confined to the workspace."""

import base64
import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fork_server import run_forked

from mlflow_amlstore.errors import InvalidValue, NotFound, PathUnsafe, TransferBroken
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.schema import create_database
from mlflow_amlstore.records.sql import blocks as blocks_module
from mlflow_amlstore.records.sql.files import SqlFiles

RUN = "0/abc/artifacts"
PATH = "checkpoints/last.ckpt"


@pytest.fixture(scope="module")
def empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    database = Database(folder)
    create_database(database)
    database.close()
    return folder


@pytest.fixture
def database(empty_folder: Path, tmp_path: Path) -> Iterator[Database]:
    database = Database(shutil.copytree(empty_folder, tmp_path / "ws"))
    yield database
    database.close()


@pytest.fixture
def files(database: Database) -> SqlFiles:
    return SqlFiles(database)


def _id(number: int) -> str:
    return base64.b64encode(f"{number:06d}".encode()).decode()


def _stage(files: SqlFiles, number: int, content: bytes, offset: int | None = None, path: str = PATH) -> None:
    with files.begin_block(RUN, path, _id(number), len(content), offset=offset) as block:
        for start in range(0, len(content), 7):
            block.write(content[start : start + 7])
        block.keep()


def _read(files: SqlFiles, path: str = PATH) -> bytes:
    with files.open(RUN, path) as content:
        return content.read()


def _incoming(database: Database) -> list[Path]:
    folder = database.folder / "files" / "incoming"
    return sorted(folder.rglob("*")) if folder.exists() else []


def _numbers(count: int) -> list[str]:
    return [_id(number) for number in range(count)]


CONTENTS = [os.urandom(20), os.urandom(13), os.urandom(20), os.urandom(20), os.urandom(1)]
WHOLE = b"".join(CONTENTS)
OFFSETS = [0, 20, 33, 53, 73]


@pytest.mark.parametrize("arrival", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]])
@pytest.mark.parametrize("offsets", [OFFSETS, [None] * 5, [0, None, 33, None, 73], [0, 0, 0, 0, 0]])
def test_blocks_in_any_order_become_the_file_of_their_list(
    files: SqlFiles, database: Database, arrival: Sequence[int], offsets: Sequence[int | None]
) -> None:
    for number in arrival:
        _stage(files, number, CONTENTS[number], offsets[number])
    assert files.find(RUN, PATH) is None

    record = files.commit_blocks(RUN, PATH, _numbers(5), md5="0" * 32)

    assert _read(files) == WHOLE
    assert (record.size_bytes, record.sha256) == (len(WHOLE), hashlib.sha256(WHOLE).hexdigest())
    assert record.md5 == "0" * 32
    assert files.find(RUN, PATH) == record
    assert _incoming(database) == []


def test_blocks_in_the_order_of_their_list_are_not_copied(
    files: SqlFiles, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(blocks_module.StagedBlocks, "_copy")

    for number in (0, 2, 1, 4, 3):
        _stage(files, number, CONTENTS[number], OFFSETS[number])

    assert files.commit_blocks(RUN, PATH, _numbers(5)).sha256 == hashlib.sha256(WHOLE).hexdigest()
    assert _read(files) == WHOLE


def test_blocks_sent_at_once_by_several_threads_become_the_file(files: SqlFiles) -> None:
    contents = [os.urandom(300_000) for _ in range(24)]

    def send(number: int) -> None:
        with files.begin_block(RUN, PATH, _id(number), 300_000, offset=number * 300_000) as block:
            for start in range(0, 300_000, 50_000):
                block.write(contents[number][start : start + 50_000])
            block.keep()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(send, range(24)))
    record = files.commit_blocks(RUN, PATH, _numbers(24))

    assert record.sha256 == hashlib.sha256(b"".join(contents)).hexdigest()
    assert _read(files) == b"".join(contents)


def test_the_list_decides_what_the_file_is(files: SqlFiles, database: Database) -> None:
    for number, content in enumerate(CONTENTS):
        _stage(files, number, content)

    files.commit_blocks(RUN, PATH, [_id(3), _id(0), _id(3)])

    assert _read(files) == CONTENTS[3] + CONTENTS[0] + CONTENTS[3]
    assert _incoming(database) == []


def test_an_empty_list_is_an_empty_file(files: SqlFiles) -> None:
    assert files.commit_blocks(RUN, PATH, []).size_bytes == 0
    assert _read(files) == b""


def test_a_block_sent_again_replaces_the_first(files: SqlFiles) -> None:
    _stage(files, 0, b"old!")
    _stage(files, 1, b"more")
    _stage(files, 0, b"new content")

    assert files.list_blocks(RUN, PATH) == [(_id(1), 4), (_id(0), 11)]
    files.commit_blocks(RUN, PATH, _numbers(2))
    assert _read(files) == b"new contentmore"


def test_a_block_that_breaks_off_leaves_no_trace_and_can_be_sent_again(files: SqlFiles, database: Database) -> None:
    _stage(files, 0, CONTENTS[0])
    with files.begin_block(RUN, PATH, _id(1), 13) as broken:
        broken.write(b"XXXXXXX")
        with pytest.raises(TransferBroken, match="after 7 of 13 bytes"):
            broken.keep()
    assert files.list_blocks(RUN, PATH) == [(_id(0), 20)]

    for number in (1, 2, 3, 4):
        _stage(files, number, CONTENTS[number])
    files.commit_blocks(RUN, PATH, _numbers(5))
    assert _read(files) == WHOLE


def test_a_block_may_not_have_more_bytes_than_announced(files: SqlFiles) -> None:
    with files.begin_block(RUN, PATH, _id(0), 4) as block:
        block.write(b"1234")
        with pytest.raises(TransferBroken, match="more than the 4 bytes"):
            block.write(b"5")


def test_what_was_cut_off_at_the_end_is_not_in_the_file(files: SqlFiles) -> None:
    _stage(files, 0, CONTENTS[0])
    with files.begin_block(RUN, PATH, _id(1), 13) as broken:
        broken.write(b"XXXXXXX")

    files.commit_blocks(RUN, PATH, [_id(0)])

    assert _read(files) == CONTENTS[0]


def test_a_list_with_an_unknown_block_changes_nothing(files: SqlFiles) -> None:
    _stage(files, 0, b"first")

    with pytest.raises(NotFound, match=r"Block 'MDAwMDAx' not found\. 1 blocks of"):
        files.commit_blocks(RUN, PATH, _numbers(2))

    assert files.find(RUN, PATH) is None
    assert files.list_blocks(RUN, PATH) == [(_id(0), 5)]


def test_a_list_sent_again_because_its_answer_was_lost_gives_the_same_file(files: SqlFiles) -> None:
    _stage(files, 0, b"content")
    record = files.commit_blocks(RUN, PATH, _numbers(1))

    assert files.commit_blocks(RUN, PATH, _numbers(1)) == record
    with pytest.raises(NotFound):
        files.commit_blocks(RUN, PATH, _numbers(2))


def test_a_list_sent_again_to_another_process_gives_the_same_file(files: SqlFiles, database: Database) -> None:
    _stage(files, 0, b"content")
    record = files.commit_blocks(RUN, PATH, _numbers(1))
    _stage(files, 0, b"newer content")
    newer = files.commit_blocks(RUN, PATH, _numbers(1))

    assert newer != record
    assert SqlFiles(database).commit_blocks(RUN, PATH, _numbers(1)) == newer


def test_a_list_sent_again_after_the_file_was_overwritten_is_refused(files: SqlFiles) -> None:
    _stage(files, 0, b"content")
    files.commit_blocks(RUN, PATH, _numbers(1))
    with files.begin(RUN, PATH) as incoming:
        incoming.write(b"newer")
        incoming.keep()

    with pytest.raises(NotFound):
        files.commit_blocks(RUN, PATH, _numbers(1))
    assert _read(files) == b"newer"


def test_one_list_committed_twice_at_once_is_one_file(files: SqlFiles) -> None:
    for number, content in enumerate(CONTENTS):
        _stage(files, number, content)

    with ThreadPoolExecutor(4) as pool:
        records = list(pool.map(lambda _: files.commit_blocks(RUN, PATH, _numbers(5)), range(4)))

    assert len(set(records)) == 1
    assert _read(files) == WHOLE


def test_content_that_is_not_what_was_announced_is_dropped(files: SqlFiles, database: Database) -> None:
    _stage(files, 0, b"content")
    with pytest.raises(TransferBroken, match="SHA-256"):
        files.commit_blocks(RUN, PATH, _numbers(1), sha256=hashlib.sha256(b"other").hexdigest())
    assert (files.find(RUN, PATH), _incoming(database)) == (None, [])

    _stage(files, 0, b"content")
    files.commit_blocks(RUN, PATH, _numbers(1), sha256=hashlib.sha256(b"content").hexdigest())
    assert _read(files) == b"content"


def test_a_block_that_is_still_on_its_way_when_the_list_is_committed_is_refused_and_spoils_nothing(
    files: SqlFiles,
) -> None:
    _stage(files, 0, CONTENTS[0])
    late = files.begin_block(RUN, PATH, _id(1), 13)
    late.write(b"LATE")
    files.commit_blocks(RUN, PATH, _numbers(1))

    with pytest.raises(TransferBroken, match="meanwhile"):
        late.write(b"LATERLATE")
        late.keep()
    late.close()
    _stage(files, 5, b"next")
    assert _read(files) == CONTENTS[0]
    assert files.list_blocks(RUN, PATH) == [(_id(5), 4)]


def test_blocks_survive_the_process_that_received_them(files: SqlFiles, database: Database) -> None:
    for number in (0, 1, 2):
        _stage(files, number, CONTENTS[number])

    restarted = SqlFiles(database)
    assert restarted.list_blocks(RUN, PATH) == [(_id(0), 20), (_id(1), 13), (_id(2), 20)]
    for number in (3, 4):
        _stage(restarted, number, CONTENTS[number])
    restarted.commit_blocks(RUN, PATH, _numbers(5))

    assert _read(restarted) == WHOLE
    assert _incoming(database) == []


def test_a_killed_process_leaves_its_whole_blocks_usable(files: SqlFiles, database: Database) -> None:
    script = f"""
import os, signal
from pathlib import Path
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.sql.files import SqlFiles
files = SqlFiles(Database(Path({str(database.folder)!r})))
whole = files.begin_block({RUN!r}, {PATH!r}, {_id(0)!r}, 5)
whole.write(b"first")
whole.keep()
files.begin_block({RUN!r}, {PATH!r}, {_id(1)!r}, 6).write(b"sec")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run_forked(["-c", script]).returncode < 0

    assert files.list_blocks(RUN, PATH) == [(_id(0), 5)]
    _stage(files, 1, b"second")
    files.commit_blocks(RUN, PATH, _numbers(2))
    assert _read(files) == b"firstsecond"


def test_an_index_that_was_cut_off_or_made_up_is_read_as_far_as_it_goes(files: SqlFiles, database: Database) -> None:
    _stage(files, 0, b"first")
    (index,) = [path for path in _incoming(database) if path.suffix == ".index"]
    with index.open("ab") as lines:
        lines.write(b'{"id": "eA==", "offset": -1, "size": 5, "time_ns": 1}\n[]\n{"id": "eA==", "off')

    assert files.list_blocks(RUN, PATH) == [(_id(0), 5)]


def test_an_index_that_claims_more_than_there_is_is_refused(files: SqlFiles, database: Database) -> None:
    _stage(files, 0, b"first")
    (index,) = [path for path in _incoming(database) if path.suffix == ".index"]
    with index.open("ab") as lines:
        lines.write(b'{"id": "MDAwMDAx", "offset": 0, "size": 500, "time_ns": 1}\n')

    with pytest.raises(TransferBroken, match="is gone"):
        files.commit_blocks(RUN, PATH, _numbers(2))
    assert files.find(RUN, PATH) is None


def test_blocks_are_swept_a_day_after_the_last(files: SqlFiles, database: Database) -> None:
    _stage(files, 0, b"first")
    _stage(files, 0, b"first", path="another")
    _stage(files, 0, b"first", path="recent")
    day_ago = time.time() - 25 * 3600
    for path in _incoming(database):
        os.utime(path, (day_ago, day_ago))
    _stage(files, 1, b"second", path="recent")

    assert files.sweep() > 10
    assert files.list_blocks(RUN, PATH) == []
    assert files.list_blocks(RUN, "recent") == [(_id(0), 5), (_id(1), 6)]


def test_folders_that_are_not_ours_are_not_swept(files: SqlFiles, database: Database) -> None:
    stranger = database.folder / "files" / "incoming" / "mine"
    stranger.mkdir(parents=True)
    (stranger / "precious").write_text("x")
    for path in (stranger / "precious", stranger):
        os.utime(path, (0, 0))

    files.sweep()

    assert (stranger / "precious").exists()


def test_discarded_blocks_are_gone(files: SqlFiles, database: Database) -> None:
    _stage(files, 0, b"first")
    files.discard_blocks(RUN, PATH)
    files.discard_blocks(RUN, PATH)

    assert files.list_blocks(RUN, PATH) == []
    assert _incoming(database) == []


def test_a_name_of_a_folder_is_refused_when_the_list_is_committed_and_the_blocks_stay(files: SqlFiles) -> None:
    with files.begin(RUN, f"{PATH}/inside") as incoming:
        incoming.keep()
    _stage(files, 0, b"first")

    with pytest.raises(InvalidValue, match="either a file or a folder"):
        files.commit_blocks(RUN, PATH, _numbers(1))

    files.delete(RUN, PATH)
    files.commit_blocks(RUN, PATH, _numbers(1))
    assert _read(files) == b"first"


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "%2e%2e/x", "a\\..\\x", "file:x", "a\0b"])
def test_paths_that_climb_out_are_refused(files: SqlFiles, database: Database, path: str) -> None:
    with pytest.raises(PathUnsafe):
        files.begin(RUN, path)
    with pytest.raises(PathUnsafe):
        files.begin_block(RUN, path, _id(0), 5)
    with pytest.raises(PathUnsafe):
        files.commit_blocks(RUN, path, [])
    with pytest.raises(PathUnsafe):
        files.list_blocks(RUN, path)
    with pytest.raises(PathUnsafe):
        files.discard_blocks(RUN, path)
    assert _incoming(database) == []


@pytest.mark.parametrize("block_id", ["", "../../x", "no base64", "YQ", "Ā", base64.b64encode(b"x" * 65).decode()])
def test_block_ids_are_base64_of_64_bytes_at_most(files: SqlFiles, block_id: str) -> None:
    with pytest.raises(InvalidValue, match="block id"):
        files.begin_block(RUN, PATH, block_id, 5)


def test_a_block_that_is_said_to_be_far_away_makes_no_huge_file(files: SqlFiles, database: Database) -> None:
    for number, offset in enumerate([10**12, 0, 10**12]):
        _stage(files, number, b"%05d" % number, offset)
    assert sum(file.stat().st_size for file in database.folder.rglob("*") if file.is_file()) < 10**6

    files.commit_blocks(RUN, PATH, [_id(number) for number in range(3)])
    with files.open(RUN, PATH) as content:
        assert content.read() == b"000000000100002"


@pytest.mark.parametrize(("size", "offset"), [(0, None), (-1, None), (2**60, None), (5, -1), (5, 2**60)])
def test_sizes_and_offsets_are_bounded(files: SqlFiles, size: int, offset: int | None) -> None:
    with pytest.raises(InvalidValue, match=r"block (size|offset)"):
        files.begin_block(RUN, PATH, _id(0), size, offset=offset)


def test_the_number_of_blocks_is_bounded(files: SqlFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "MAX_STAGED_BLOCKS", 3)
    monkeypatch.setattr(blocks_module, "MAX_BLOCKS", 2)
    for number in range(3):
        _stage(files, number, b"x")

    with pytest.raises(InvalidValue, match="one too many"):
        _stage(files, 3, b"x")
    with pytest.raises(InvalidValue, match="at most 2 blocks"):
        files.commit_blocks(RUN, PATH, _numbers(3))


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
def test_a_link_in_the_place_of_the_staging_folder_is_not_followed(
    files: SqlFiles, database: Database, tmp_path: Path
) -> None:
    _stage(files, 0, b"first")
    (folder,) = [path for path in _incoming(database) if path.is_dir()]
    outside = tmp_path / "outside"
    folder.rename(outside)
    folder.symlink_to(outside)

    assert files.list_blocks(RUN, PATH) == []
    with pytest.raises(PathUnsafe):
        _stage(files, 1, b"second")
    assert len(list(outside.iterdir())) == 2


def test_a_file_received_in_chunks_appears_when_it_is_kept(files: SqlFiles, database: Database) -> None:
    with files.begin(RUN, "model.bin", content_type="application/x-model") as incoming:
        incoming.write(b"one ")
        incoming.write(b"two")
        assert files.find(RUN, "model.bin") is None
        record = incoming.keep(md5="ab" * 16, sha256=hashlib.sha256(b"one two").hexdigest())

    assert files.find(RUN, "model.bin") == record
    assert (record.size_bytes, record.content_type, record.md5) == (7, "application/x-model", "ab" * 16)
    opened, source = files.open_record(RUN, "model.bin")
    with source:
        assert (opened, source.read()) == (record, b"one two")
    assert _incoming(database) == []


def test_a_file_that_is_not_kept_leaves_no_trace(files: SqlFiles, database: Database) -> None:
    with files.begin(RUN, "model.bin") as incoming:
        incoming.write(b"one ")
        with pytest.raises(TransferBroken, match="SHA-256"):
            incoming.keep(sha256="0" * 64)

    assert (files.find(RUN, "model.bin"), _incoming(database)) == (None, [])


def test_a_file_written_again_without_an_md5_has_none(files: SqlFiles) -> None:
    for md5 in ("ab" * 16, None):
        with files.begin(RUN, "a") as incoming:
            incoming.write(b"x")
            incoming.keep(md5=md5)

    record = files.find(RUN, "a")
    assert record is not None
    assert record.md5 is None


def test_files_are_listed_in_pages(files: SqlFiles) -> None:
    for name in ("a", "b/1", "b/2", "b/3", "c"):
        with files.begin(RUN, name) as incoming:
            incoming.keep()

    assert [file.path for file in files.list_all(RUN, max_results=2)] == ["a", "b/1"]
    assert [file.path for file in files.list_all(RUN, after="b/1", max_results=2)] == ["b/2", "b/3"]
    assert [file.path for file in files.list_all(RUN, "b", after="b/2")] == ["b/3"]
