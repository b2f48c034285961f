"""Files whose contents are gone, changed or closed to this user: a page says so there, and a zip has the rest."""

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import requests
from filled_workspace import Filled
from ordinary_rights import AMLSTORE_AS_ORDINARY_USER, without_roots_rights

from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.types import LoggedValues, MetricKind, RunStatus
from mlflow_amlstore.workspace.opening import create_workspace, open_folder

from .conftest import Person, Studio

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions are tested as POSIX has them")

FILES = {
    "model/MLmodel": b"run_id: x",
    "outputs/closed.csv": b"a,b\n1,2\n",
    "outputs/cut.csv": b"a,b\n3,4\n",
    "outputs/gone.csv": b"a,b\n5,6\n",
    "outputs/linked.csv": b"a,b\n7,8\n",
    "outputs/matrix.json": b'{"data": {"matrix": [[1]], "class_labels": ["a"]}}',
    "outputs/whole.csv": b"a,b\n9,10\n",
    "user_logs/std_log.txt": b"it failed\n",
}
CLOSED = "may not be read by this user"
LEFT_OUT = {
    "model/MLmodel": CLOSED,
    "outputs/closed.csv": CLOSED,
    "outputs/cut.csv": "is not what was stored",
    "outputs/gone.csv": "is missing from files/",
    "outputs/linked.csv": "is a symbolic link",
    "outputs/matrix.json": CLOSED,
    "user_logs/std_log.txt": CLOSED,
}


class OrdinaryStudio(Studio):
    """A Studio of a user who may read only what the modes of files let them."""

    command = AMLSTORE_AS_ORDINARY_USER


class Harmed(NamedTuple):
    """A workspace in which contents are harmed, each in its way."""

    folder: Path
    run_id: str
    changed: str  # a run with a file whose content is another one of the same size
    named_so: str  # a run with a file that has the name under which a zip tells what is left out


@pytest.fixture(scope="module")
def harmed(tmp_path_factory: pytest.TempPathFactory) -> Harmed:
    with without_roots_rights():
        pass  # or it skips
    folder = tmp_path_factory.mktemp("harmed") / "workspace"
    create_workspace(folder)
    opened = open_folder(folder)
    records = opened.records
    made = {name: records.runs.create("0", name=name, user_id="ana", start_ms=1).info.run_id for name in "abc"}
    for path, content in FILES.items():
        records.files.write(run_container("0", made["a"]), path, io.BytesIO(content))
    records.files.write(run_container("0", made["b"]), "x.bin", io.BytesIO(b"right" * 100_000))
    for path in ("NOT-IN-THIS-ZIP.txt", "gone.txt"):
        records.files.write(run_container("0", made["c"]), path, io.BytesIO(f"{path} of the run's own".encode()))
    matrix = LoggedValues("matrix", MetricKind.CONFUSION_MATRIX, {"": ["outputs/matrix.json"]}, None, 1)
    records.metrics.log_values(made["a"], [matrix])
    records.models.register("harmed", f"workspace:/{run_container('0', made['a'])}/model", run_id=made["a"])
    records.runs.update(made["a"], status=RunStatus.FAILED, end_ms=2)

    def content_of(run_id: str, path: str) -> Path:
        record = records.files.find(run_container("0", run_id), path)
        assert record is not None
        return folder / "files" / record.sha256[:2] / record.sha256

    for path, why in LEFT_OUT.items():
        if why == CLOSED:
            content_of(made["a"], path).chmod(0)
    content_of(made["a"], "outputs/cut.csv").write_bytes(b"a,b")
    content_of(made["a"], "outputs/gone.csv").unlink()
    content_of(made["c"], "gone.txt").unlink()
    linked = content_of(made["a"], "outputs/linked.csv")
    linked.unlink()
    linked.symlink_to(folder / "config.json")
    content_of(made["b"], "x.bin").write_bytes(b"wrong" * 100_000)
    opened.close()
    return Harmed(folder, made["a"], made["b"], made["c"])


@pytest.fixture(scope="module")
def harmed_studio(harmed: Harmed) -> Iterator[Studio]:
    with OrdinaryStudio(Filled(harmed.folder, "", "", [], "", [], "", "", "", "")) as running:
        yield running  # type: ignore[misc]


@pytest.fixture(scope="module")
def person(harmed_studio: Studio) -> Person:
    return harmed_studio.person()


def test_root_gives_its_rights_up_for_a_block_alone(harmed: Harmed) -> None:
    (closed, *_) = [each for each in (harmed.folder / "files").rglob("*") if each.stat().st_mode & 0o777 == 0]
    with without_roots_rights(), pytest.raises(PermissionError):
        closed.read_bytes()
    if os.geteuid() == 0:
        assert closed.read_bytes() in FILES.values()


def test_every_page_of_the_run_is_there(harmed: Harmed, person: Person) -> None:
    run = f"/runs/{harmed.run_id}"
    for path in (
        run,
        f"{run}/outputs",
        f"{run}/images",
        f"/runs?beside={harmed.run_id}",
        f"/compare?runs={harmed.run_id}",
    ):
        for suffixed in (path, path.replace("?", ".json?") if "?" in path else f"{path}.json"):
            answer = person.get(suffixed)
            assert answer.status_code == 200, (suffixed, answer.text)
    [chart] = [chart for chart in person.data(f"{run}.json")["charts"] if chart["name"] == "matrix"]
    assert CLOSED in chart["description"]
    [version] = person.data("/models/harmed.json")["versions"]
    [[name, told]] = version["signature"]
    assert (name, CLOSED in told) == ("MLmodel", True)


@pytest.mark.parametrize("path", LEFT_OUT)
def test_a_file_that_cannot_be_read_says_why_in_its_place(harmed: Harmed, person: Person, path: str) -> None:
    run = f"/runs/{harmed.run_id}"
    shown = person.data(f"{run}/outputs.json?path={path}")["preview"]
    assert shown["kind"] == "damaged"
    assert shown["text"].startswith(f"This file can't be shown: the content of '{path}'")
    assert LEFT_OUT[path] in shown["text"]
    assert str(harmed.folder) not in shown["text"]
    assert LEFT_OUT[path] in person.get(f"{run}/outputs?path={path}").text
    for where in ("log.json?", "log/matches.json?text=a&"):
        assert LEFT_OUT[path] in person.data(f"{run}/{where}path={path}")["damage"]
    download = person.get(f"{run}/files/{path}", "application/json")
    assert (download.status_code, download.json()["error_code"]) == (500, "INTERNAL_ERROR")
    assert LEFT_OUT[path] in download.json()["message"]


def test_a_closed_file_says_what_to_do(harmed: Harmed, person: Person) -> None:
    shown = person.data(f"/runs/{harmed.run_id}/outputs.json?path=outputs/closed.csv")["preview"]["text"]
    assert shown.endswith("Give this user permission to read files/ and what is in it.")


@pytest.mark.parametrize(
    "address", ["/runs/{}/outputs.zip", "/runs/{}/outputs.zip?folder=outputs", "/models/harmed/1.zip"]
)
def test_a_zip_has_the_rest_and_names_what_is_left_out(harmed: Harmed, person: Person, address: str) -> None:
    answer = person.get(address.format(harmed.run_id))
    folder = "outputs/" if "folder" in address else "model/" if "models" in address else ""
    left_out = {path: why for path, why in LEFT_OUT.items() if path.startswith(folder)}
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        rest = {path for path in FILES if path.startswith(folder)} - left_out.keys()
        assert set(archive.namelist()) == rest | {"NOT-IN-THIS-ZIP.txt"}
        for path in rest:
            assert archive.read(path) == FILES[path]
        lines = archive.read("NOT-IN-THIS-ZIP.txt").decode().splitlines()
    assert len(lines) == len(left_out)
    for line, (path, why) in zip(lines, left_out.items(), strict=True):
        assert line.startswith(repr(path))
        assert why in line
        assert str(harmed.folder) not in line


def test_a_file_of_that_name_stays_what_it_is(harmed: Harmed, person: Person) -> None:
    answer = person.get(f"/runs/{harmed.named_so}/outputs.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["NOT-IN-THIS-ZIP.txt", "_NOT-IN-THIS-ZIP.txt"]
        assert archive.read("NOT-IN-THIS-ZIP.txt") == b"NOT-IN-THIS-ZIP.txt of the run's own"
        assert b"'gone.txt'" in archive.read("_NOT-IN-THIS-ZIP.txt")


def test_a_content_that_turns_out_wrong_breaks_the_zip_off(harmed: Harmed, person: Person) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        person.get(f"/runs/{harmed.changed}/outputs.zip")
