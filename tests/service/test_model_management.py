"""Azure ML's model management: assets, and versions of models that are registered, found, changed and deleted."""

import base64
import io
import json
import urllib.error
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from mlflow_amlstore.records.locations import run_container, snapshot_container, upload_container
from mlflow_amlstore.service.addresses import workspace_path
from mlflow_amlstore.workspace.opening import open_folder

if TYPE_CHECKING:
    from tests.service.conftest import Service

Call = Callable[..., Any]


@pytest.fixture
def call(service: "Service") -> Call:
    def send(method: str, route: str, body: object = None, **query: object) -> Any:
        prefix = f"/modelmanagement/v1.0{quote(workspace_path(service.workspace_name))}"
        return service.call(method, f"{prefix}/{route}{'?' if query else ''}{urlencode(query)}", service.token, body)

    return send


@pytest.fixture
def run_id(service: "Service") -> str:
    """A run with the file outputs/model.pkl."""
    created = service.call("POST", "/api/2.0/mlflow/runs/create", service.token, {"experiment_id": "0"})
    run_id = str(created["run"]["info"]["run_id"])
    write(service, run_container("0", run_id), "outputs/model.pkl")
    return run_id


def write(service: "Service", container: str, path: str) -> None:
    """Put a file where a client would have uploaded it to."""
    workspace = open_folder(service.folder)
    workspace.records.files.write(container, path, io.BytesIO(b"model"))
    workspace.records.close()


def register(call: Call, run_id: str, name: str, **fields: object) -> Any:
    prefix = f"ExperimentRun/dcid.{run_id}/outputs/model.pkl"
    asset = call("POST", "assets", {"name": name, "artifacts": [{"prefix": prefix}], "runid": run_id})
    return call("POST", "models", {"name": name, "url": f"aml://asset/{asset['id']}", "runId": run_id, **fields})


def refused(call: Call, *arguments: object, **query: object) -> tuple[int, Any]:
    with pytest.raises(urllib.error.HTTPError) as error:
        call(*arguments, **query)
    return error.value.code, json.load(error.value)


def asset_url(location: str) -> str:
    """The URL of the asset that is a file's location, made up by whoever knows how an asset's id is made."""
    return f"aml://asset/{base64.urlsafe_b64encode(location.encode()).decode().rstrip('=')}"


@pytest.mark.parametrize("place", ["ExperimentRun/dcid.{run}/a b/ü.pkl", "LocalUpload/260801T101112-0a1b2c3d/model"])
def test_an_asset_is_the_files_that_it_was_made_of(call: Call, run_id: str, place: str) -> None:
    place = place.format(run=run_id)
    made = call("POST", "assets", {"name": "m", "artifacts": [{"prefix": place}], "kvTags": None})

    assert call("GET", f"assets/{made['id']}")["artifacts"] == made["artifacts"] == [{"id": None, "prefix": place}]


@pytest.mark.parametrize(
    ("artifacts", "status"),
    [
        ([], 400),
        ([{"prefix": "ExperimentRun/dcid.{run}/a"}, {"prefix": "ExperimentRun/dcid.{run}/b"}], 400),
        ([{"prefix": "Elsewhere/dcid.{run}/a"}], 400),
        ([{"prefix": "ExperimentRun/dcid.never/a"}], 404),
        ([{"prefix": "ExperimentRun/dcid.{run}/../../b"}], 400),
        ([{"prefix": "LocalUpload/../secret"}], 400),
    ],
)
def test_an_asset_of_anything_else_is_refused(call: Call, run_id: str, artifacts: list[Any], status: int) -> None:
    named = json.loads(json.dumps(artifacts).replace("{run}", run_id))
    code, body = refused(call, "POST", "assets", {"name": "m", "artifacts": named})
    assert (code, body["statusCode"], bool(body["message"])) == (status, status, True)


def test_a_registered_version_tells_all_that_azure_ml_tells(call: Call, run_id: str) -> None:
    fields = {"kvTags": {"t": "1"}, "properties": {"p": "2"}, "description": "d"}
    made = register(
        call, run_id, "all", framework="Onnx", frameworkVersion="1.16", mimeType="application/json", **fields
    )

    assert made == call("GET", "models/all:1")
    assert {name: made[name] for name in ("id", "name", "version", "runId", "experimentName")} == {
        "id": "all:1",
        "name": "all",
        "version": 1,
        "runId": run_id,
        "experimentName": "Default",
    }
    assert {name: made[name] for name in fields} == fields
    assert (made["framework"], made["frameworkVersion"], made["mimeType"]) == ("Onnx", "1.16", "application/json")
    assert (made["unpack"], made["datasets"]) == (False, [])
    (artifact,) = call("GET", f"assets/{made['url'].removeprefix('aml://asset/')}")["artifacts"]
    assert artifact["prefix"] == f"ExperimentRun/dcid.{run_id}/outputs/model.pkl"
    assert register(call, run_id, "all")["id"] == "all:2"


class TestWhatCanBeRegistered:
    @pytest.mark.parametrize("path", ["/outputs/model.pkl", "/outputs", ""])
    def test_a_file_or_folder_of_a_run_or_all_of_it(self, call: Call, run_id: str, path: str) -> None:
        url = asset_url(run_container("0", run_id) + path)
        assert call("POST", "models", {"name": "part of a run", "url": url})["url"] == url

    def test_an_upload_without_a_run(self, service: "Service", call: Call) -> None:
        write(service, upload_container("260801T101112-0a1b2c3d"), "model/weights")
        url = asset_url("uploads/260801T101112-0a1b2c3d/artifacts/model")
        assert call("POST", "models", {"name": "uploaded", "url": url, "runId": None})["runId"] is None

    @pytest.mark.parametrize(
        ("location", "missing"),
        [
            ("0/{run}/artifacts/outputs/never.pkl", "File 'outputs/never.pkl' not found"),
            ("0/{run}/artifacts/out", "File 'out' not found"),
            ("1/{run}/artifacts/outputs/model.pkl", "File 'outputs/model.pkl' not found"),
            ("0/never/artifacts", "File '0/never/artifacts' not found"),
            ("0/models/m-{run}/artifacts/model", "File 'model' not found"),
            ("uploads/never/artifacts/model", "File 'model' not found"),
            ("snapshots/kept/artifacts/train.py", "not found. It is no file or folder of a run"),
            ("snapshots/kept/artifacts", "not found. It is no file or folder of a run"),
        ],
    )
    def test_what_isnt_there_nor_a_snapshot(
        self, service: "Service", call: Call, run_id: str, location: str, missing: str
    ) -> None:
        write(service, snapshot_container("kept"), "train.py")
        given = {"name": "refused", "url": asset_url(location.format(run=run_id)), "runId": run_id}
        code, body = refused(call, "POST", "models", given)
        assert (code, missing in body["message"]) == (404, True), body
        assert call("GET", "models", name="refused")["value"] == []
        assert registered_models(service, "refused") == []

    def test_it_is_of_no_run_that_isnt_there(self, service: "Service", call: Call, run_id: str) -> None:
        url = asset_url(f"{run_container('0', run_id)}/outputs/model.pkl")
        code, body = refused(call, "POST", "models", {"name": "of no run", "url": url, "runId": "never"})
        assert (code, body["message"]) == (404, "Run 'never' not found")
        assert registered_models(service, "of no run") == []


def registered_models(service: "Service", name: str) -> Any:
    """The registered models of a name, as MLflow lists them: without versions, too."""
    query = urlencode({"filter": f"name = '{name}'"})
    found = service.call("GET", f"/api/2.0/mlflow/registered-models/search?{query}", service.token)
    return found.get("registered_models", [])


def test_versions_are_found_by_the_query_that_the_sdk_sends(call: Call, run_id: str) -> None:
    for number in range(3):
        register(call, run_id, "found", kvTags={"n": str(number), "of": run_id}, framework="Onnx")
    register(call, run_id, "found too", properties={"n": "1"})

    def ids(**query: object) -> list[str]:
        return [model["id"] for model in call("GET", "models", runId=run_id, **query)["value"]]

    assert ids() == ["found:3", "found:2", "found:1", "found too:1"]
    assert ids(latestVersionOnly="true") == ["found:3", "found too:1"]
    assert ids(name="found too") == ids(properties="n=1") == ids(properties="n") == ["found too:1"]
    assert ids(tags=f"of={run_id},n=1") == ids(tags="n=1", framework="Onnx") == ["found:2"]
    assert ids(tag="n") == ["found:3", "found:2", "found:1"]
    assert ids(datasetId="any") == []
    assert [asset["name"] for asset in call("GET", "assets", runId=run_id, name="found too")["value"]] == ["found too"]


def test_pages_are_followed_by_link_or_by_token(call: Call, run_id: str) -> None:
    for _ in range(3):
        register(call, run_id, "paged")
    first = call("GET", "models", name="paged", count=2)
    (token,) = parse_qs(urlsplit(first["nextLink"]).query)["$skipToken"]
    assert token == first["continuationToken"]
    for field in ("$skipToken", "continuationToken"):
        rest = call("GET", "models", name="paged", count=2, **{field: token})
        assert ([model["version"] for model in rest["value"]], rest["nextLink"]) == ([1], None)


def test_a_version_is_changed_by_json_patch(call: Call, run_id: str) -> None:
    register(call, run_id, "changed", kvTags={"a": "1", "b/c": "2"}, properties={"p": "1"})

    def patch(op: str, path: str, **value: object) -> Any:
        return call("PATCH", "models/changed:1", [{"op": op, "path": path, **value}])

    assert patch("add", "/kvTags/d", value="3")["kvTags"] == {"a": "1", "b/c": "2", "d": "3"}
    assert patch("remove", "/kvTags/b~1c")["kvTags"] == {"a": "1", "d": "3"}
    assert patch("replace", "/kvTags", value={"only": "this"})["kvTags"] == {"only": "this"}
    assert patch("replace", "/description", value="new")["description"] == "new"
    assert patch("add", "/properties", value={"p": "1", "q": "2"})["properties"] == {"p": "1", "q": "2"}


def test_a_patch_is_refused_as_a_whole(call: Call, run_id: str) -> None:
    before = register(call, run_id, "kept", properties={"p": "1"})
    good = {"op": "add", "path": "/kvTags/x", "value": "1"}
    for wrong in (
        {"op": "add", "path": "/properties", "value": {"p": "9"}},
        {"op": "remove", "path": "/properties/p"},
        {"op": "replace", "path": "/name", "value": "another"},
        {"op": "move", "path": "/kvTags/x"},
        {"op": "add", "path": "/kvTags/x", "value": 1},
        {"op": "add", "path": "/kvTags", "value": ["x"]},
    ):
        assert refused(call, "PATCH", "models/kept:1", [good, wrong])[0] == 400, wrong
    assert call("GET", "models/kept:1") == before


def test_what_isnt_there_is_told_in_the_form_that_the_sdk_reads(call: Call, run_id: str) -> None:
    register(call, run_id, "deleted")
    call("DELETE", "models/deleted:1")
    for where in ("models/deleted:1", "models/never:1", "assets/bm9uZQ", "assets/!"):
        code, body = refused(call, "GET", where)
        assert code == body["statusCode"] in (400, 404), where
        assert body.keys() == {"code", "statusCode", "message", "details", "correlation"}
    assert refused(call, "GET", "models/no-number")[0] == 400
    assert refused(call, "POST", "models", {"name": "m", "url": "https://example.com/model"})[0] == 400
