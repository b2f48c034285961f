"""Snapshots, as they are on the wire: of files that were sent for them, and of no others."""

import io
import uuid
import zipfile
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.service.access import Role
from mlflow_amlstore.service.addresses import BLOB_PREFIX
from mlflow_amlstore.workspace.opening import open_folder
from tests.service.run_history.conftest import Call, calls_of, refused

if TYPE_CHECKING:
    from tests.service.conftest import Service

SECRET = b"what only the run's readers know"


def put(url: str, content: bytes) -> None:
    urlopen(Request(url, content, {"x-ms-blob-type": "BlockBlob"}, method="PUT")).close()


def sent(call: Call, *names: str) -> dict[str, str]:
    """Send files for a snapshot, each with its name as its content; where each was sent to."""
    nodes = call("content", "POST", "snapshots/getblob", {"FileNames": names})["fileNodes"]
    for node in nodes:
        put(node["blobUri"], node["fullName"].encode())
    return {node["fullName"]: node["blobUri"] for node in nodes}


def snapshot(places: dict[str, str], *unchanged: str, parent: str | None = None) -> dict[str, Any]:
    children = {name: {"name": name, "type": "File"} for name in (*places, *unchanged)}
    nodes = [{"FullName": name, "BlobUri": url, "FileSize": 1} for name, url in places.items()]
    tree = {"name": "", "type": "Directory", "children": children}
    return {"ParentSnapshotId": parent, "DirTreeNode": tree, "FileRevisionList": {"FileNodes": nodes}}


def contents(call: Call, snapshot_id: str) -> dict[str, bytes]:
    with urlopen(call("content", "POST", f"snapshots/{snapshot_id}/zip", {})["zipSasUri"]) as answer:
        archive = zipfile.ZipFile(io.BytesIO(answer.read()))
    return {name: archive.read(name) for name in archive.namelist()}


def count_files(service: "Service") -> int:
    """How many files the service keeps, whatever they are of."""
    return sum(1 for file in (service.folder / "files").rglob("*") if file.is_file())


@pytest.fixture
def snapshot_id() -> str:
    return str(uuid.uuid4())


def test_a_snapshot_has_what_was_sent_and_what_the_one_before_has(call: Call, snapshot_id: str) -> None:
    call("content", "POST", f"snapshots/{snapshot_id}", snapshot(sent(call, "a.py", "b.py")))
    later = str(uuid.uuid4())
    call("content", "POST", f"snapshots/{later}", snapshot(sent(call, "c.py"), "b.py", parent=snapshot_id))
    assert contents(call, later) == {"b.py": b"b.py", "c.py": b"c.py"}


class TestPlacesThatWereNotGivenForASnapshot:
    @pytest.fixture
    def secret(self, service: "Service", run_id: str) -> str:
        """Where a run's file is."""
        records = open_folder(service.folder).records
        container = run_container(records.runs.get(run_id).info.experiment_id, run_id)
        records.files.write(container, "secret.txt", io.BytesIO(SECRET))
        records.close()
        return f"{container}/secret.txt"

    @pytest.mark.parametrize(
        ("place", "statuses"),
        [
            ("{secret}", [404]),
            ("uploads/snapshot-x/artifacts/../../../{secret}", [400]),
            ("uploads/snapshot-x/artifacts/%2e%2e/%2e%2e/%2e%2e/{secret}", [400]),
            ("uploads/snapshot-x/../../{secret}", [400]),
            ("uploads/elsewhere/artifacts/secret.txt", [404]),
            ("uploads/snapshot-never/artifacts/secret.txt", [404]),
            ("uploads/snapshot-never/artifacts", [404]),
            ("snapshots/{other}/artifacts/a.py", [404]),
            ("", [400]),
        ],
    )
    @pytest.mark.parametrize("is_signed", [True, False])
    def test_a_file_of_a_run_is_no_snapshot_s(
        self, call: Call, snapshot_id: str, secret: str, place: str, statuses: list[int], is_signed: bool
    ) -> None:
        other = str(uuid.uuid4())
        places = sent(call, "a.py")
        call("content", "POST", f"snapshots/{other}", snapshot(places))
        origin, _, query = places["a.py"].partition(BLOB_PREFIX)
        location = place.format(secret=secret, other=other)
        url = f"{origin}{BLOB_PREFIX}/{quote(location)}" + (f"?{query.partition('?')[2]}" if is_signed else "")

        answer = refused(call, "content", "POST", f"snapshots/{snapshot_id}", snapshot({"stolen": url}))
        assert answer.status in statuses, answer
        assert SECRET.decode() not in answer.body
        assert refused(call, "content", "POST", f"snapshots/{snapshot_id}/zip", {}).status == 404

    def test_nor_is_one_beside_files_that_were_sent(self, call: Call, snapshot_id: str, secret: str) -> None:
        places = sent(call, "a.py")
        origin = places["a.py"].partition(BLOB_PREFIX)[0]
        places["stolen"] = f"{origin}{BLOB_PREFIX}/{secret}"
        assert refused(call, "content", "POST", f"snapshots/{snapshot_id}", snapshot(places)).status == 404
        assert refused(call, "content", "POST", f"snapshots/{snapshot_id}/zip", {}).status == 404

    def test_nor_is_a_run_a_snapshot_to_take_files_from(self, call: Call, snapshot_id: str, secret: str) -> None:
        parent = secret.partition("/")[2].partition("/")[0]
        given = snapshot({}, "secret.txt", parent=parent)
        assert refused(call, "content", "POST", f"snapshots/{snapshot_id}", given).status == 404


def test_who_may_only_read_makes_no_zip_files(service: "Service", call: Call, snapshot_id: str) -> None:
    call("content", "POST", f"snapshots/{snapshot_id}", snapshot(sent(call, "a.py")))
    before = count_files(service)
    answer = refused(calls_of(service, Role.READER), "content", "POST", f"snapshots/{snapshot_id}/zip", {})
    assert (answer.status, "needs the role contributor" in answer.body) == (403, True)
    assert count_files(service) == before
    assert contents(calls_of(service, Role.CONTRIBUTOR), snapshot_id) == {"a.py": b"a.py"}
