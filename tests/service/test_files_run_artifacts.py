"""Azure ML's routes to files: registering paths, listing in pages, content URLs; in all their layouts."""

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from mlflow_amlstore.service.access import Role
from mlflow_amlstore.service.addresses import workspace_path

if TYPE_CHECKING:
    from tests.service.conftest import Service


class Run:
    """A run (or what stands in its place) and the routes to its files."""

    def __init__(self, service: "Service", run_id: str, experiment: str = "0") -> None:
        self.service, self.run_id, self.experiment = service, run_id, experiment
        self.token = service.token_of(Role.CONTRIBUTOR)
        workspace = quote(workspace_path(service.workspace_name))
        self.history = f"/history/v1.0{workspace}"
        self.generic = f"/artifact/v2.0{workspace}/artifacts"
        self.artifacts = f"{self.history}/experiments/{quote(experiment, safe='')}/runs/{run_id}/artifacts"

    def get(self, path: str) -> Any:
        return self.service.call("GET", path, self.token)

    def create(self, *paths: str, route: str = "") -> Any:
        body = {"paths": [{"path": path} for path in paths]}
        return self.service.call("POST", route or f"{self.artifacts}/batch/metadata", self.token, body)

    def write(self, path: str, content: bytes) -> None:
        created = self.create(path)
        put(created["artifactContentInformation"][path]["contentUri"], content)

    def refused(self, path: str, body: object = None) -> tuple[int, str]:
        """The status and message of an error, which has Azure's shape."""
        with pytest.raises(urllib.error.HTTPError) as refused:
            self.service.call("GET" if body is None else "POST", path, self.token, body)
        error = json.load(refused.value)["error"]
        assert error["code"] == "UserError"
        return refused.value.code, error["message"]


def put(url: str, content: bytes) -> None:
    request = urllib.request.Request(url, content, {"x-ms-blob-type": "BlockBlob"}, method="PUT")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 201


def read(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return bytes(answer.read())


@pytest.fixture
def run(service: "Service") -> Run:
    created = service.call(
        "POST", "/api/2.0/mlflow/runs/create", service.token_of(Role.CONTRIBUTOR), {"experiment_id": "0"}
    )
    return Run(service, created["run"]["info"]["run_id"])


def test_a_path_is_registered_written_listed_and_read(run: Run) -> None:
    path = "sub dir/ü&?#.txt"
    created = run.create(path)

    container = f"dcid.{run.run_id}"
    assert created["errors"] == {}
    assert created["artifacts"][path] == {
        "artifactId": f"ExperimentRun/{container}/{path}",
        "origin": "ExperimentRun",
        "container": container,
        "path": path,
        "etag": None,
        "createdTime": None,
        "dataPath": {
            "dataStoreName": "workspaceartifactstore",
            "relativePath": f"ExperimentRun/{container}/{path}",
        },
        "tags": {},
        "contentLength": None,
        "contentType": None,
    }
    assert run.get(run.artifacts) == {"value": [], "continuationToken": None, "nextLink": None}
    put(created["artifactContentInformation"][path]["contentUri"], b"content")

    (listed,) = run.get(run.artifacts)["value"]
    assert (listed["path"], listed["contentLength"], listed["contentType"]) == (path, 7, "text/plain")
    information = run.get(f"{run.artifacts}/contentinfo?path={quote('./' + path, safe='')}")
    assert (information["path"], information["contentLength"]) == (path, 7)
    assert information["etag"] == listed["etag"]
    assert read(information["contentUri"]) == b"content"
    assert run.get(f"{run.artifacts}/metadata?path={quote(path, safe='')}") == listed


def test_the_experiment_is_named_by_id_or_name_and_must_be_the_runs(service: "Service", run: Run) -> None:
    name = "an experiment/with ü"
    created = service.call("POST", "/api/2.0/mlflow/experiments/create", run.token, {"name": name})
    experiment = created["experiment_id"]
    made = service.call("POST", "/api/2.0/mlflow/runs/create", run.token, {"experiment_id": experiment})
    other = Run(service, made["run"]["info"]["run_id"], experiment)
    other.write("a", b"content")

    routes = [f"{other.history}/{kind}/{experiment}" for kind in ("experiments", "experimentids")]
    for route in routes:
        assert len(run.get(f"{route}/runs/{other.run_id}/artifacts")["value"]) == 1
        assert run.get(f"{route}/runs/{other.run_id}/artifacts/contentinfo?path=a")["path"] == "a"
        assert other.create("b", route=f"{route}/runs/{other.run_id}/artifacts/batch/metadata")["errors"] == {}
        status, message = run.refused(f"{route}/runs/{run.run_id}/artifacts")
        assert (status, "has no such run" in message) == (404, True)
    assert len(run.get(f"{run.history}/experiments/Default/runs/{run.run_id}/artifacts")["value"]) == 0


def test_a_logged_model_stands_in_a_runs_place(service: "Service", run: Run) -> None:
    created = service.call("POST", "/api/2.0/mlflow/logged-models", run.token, {"experiment_id": "0", "name": "m"})
    model = Run(service, created["model"]["info"]["model_id"])
    model.write("MLmodel", b"flavors: {}")

    assert [artifact["path"] for artifact in run.get(model.artifacts)["value"]] == ["MLmodel"]
    information = run.get(f"{model.artifacts}/contentinfo?path=MLmodel")
    assert f"/0/models/{model.run_id}/artifacts/MLmodel?" in information["contentUri"]
    listed = run.get(f"/api/2.0/mlflow/logged-models/{model.run_id}/artifacts/directories")
    assert listed == {
        "root_uri": f"mlflow-artifacts:/0/models/{model.run_id}/artifacts",
        "files": [{"path": "MLmodel", "is_dir": False, "file_size": 11}],
    }


def test_listings_are_paged_for_either_client(service: "Service", run: Run) -> None:
    paths = sorted([f"many/{number:04d}" for number in range(1205)] + ["a", "z&=?#"])
    records = {}
    for start in range(0, len(paths), 500):
        records.update(run.create(*paths[start : start + 500])["artifactContentInformation"])
    for path in paths:
        put(records[path]["contentUri"], b"")

    for route in (run.artifacts, f"{run.generic}/ExperimentRun/dcid.{run.run_id}"):
        first = run.get(route)
        assert len(first["value"]) == 1000
        assert first["nextLink"].startswith(f"{service.url}/")
        second = run.get(first["nextLink"].removeprefix(service.url))
        by_token = run.get(f"{route}?continuationToken={quote(first['continuationToken'], safe='')}")
        assert second == by_token
        assert (second["nextLink"], second["continuationToken"]) == (None, None)
        assert [artifact["path"] for artifact in first["value"] + second["value"]] == paths
    first = run.get(f"{run.artifacts}?path=many/&pageSize=800")
    second = run.get(first["nextLink"].removeprefix(service.url))
    assert [artifact["path"] for artifact in first["value"] + second["value"]] == paths[1:-1]
    assert [artifact["path"] for artifact in run.get(f"{run.artifacts}/path?path=many/0007")["value"]] == ["many/0007"]
    status, message = run.refused(f"{run.artifacts}?continuationToken=made-up!")
    assert (status, "start again without a page token" in message) == (400, True)


def test_urls_of_a_whole_folder_are_got_at_once(service: "Service", run: Run) -> None:
    for path in ("model/MLmodel", "model/data/x", "models", "other"):
        run.write(path, path.encode())

    for route in (
        f"{run.artifacts}/prefix/contentinfo?path=model",
        f"{run.generic}/prefix/contentinfo/ExperimentRun/dcid.{run.run_id}/model/",
    ):
        value = run.get(route)["value"]
        assert [information["path"] for information in value] == ["model/MLmodel", "model/data/x"]
        assert [read(information["contentUri"]) for information in value] == [b"model/MLmodel", b"model/data/x"]
    first = run.get(f"{run.generic}/prefix/contentinfo/ExperimentRun/dcid.{run.run_id}/model/?pageSize=1")
    second = run.get(first["nextLink"].removeprefix(service.url))
    assert [information["path"] for information in second["value"]] == ["model/data/x"]


def test_files_by_origin_and_container_are_the_runs(run: Run) -> None:
    container = f"ExperimentRun/dcid.{run.run_id}"
    layouts = {
        f"{run.generic}/{container}/batch/metadata": f"{run.generic}/{container}/contentinfo?path=",
        f"{run.generic}/batch/metadata/{container}": f"{run.generic}/contentinfo/{container}/",
    }
    for number, (create, information) in enumerate(layouts.items()):
        path = f"sub/ü {number}"
        created = run.create(path, route=create)
        put(created["artifactContentInformation"][path]["contentUri"], b"content")
        assert read(run.get(information + quote(path))["contentUri"]) == b"content"
    listed = run.get(f"{run.generic}/{container}")["value"]
    assert listed == run.get(run.artifacts)["value"]
    assert [artifact["path"] for artifact in listed] == ["sub/ü 0", "sub/ü 1"]


@pytest.mark.parametrize(
    ("container", "status", "words"),
    [
        ("Dataset/261121T100000-0123abcd", 501, "origin 'Dataset'"),
        ("LocalUpload/a.b", 400, "for upload: must be letters"),
        ("ExperimentRun/dcid.unknown", 404, "Run 'unknown' not found"),
        ("ExperimentRun/unknown", 404, "dcid.RUN_ID"),
    ],
)
def test_other_containers_are_refused(run: Run, container: str, status: int, words: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        run.get(f"{run.generic}/{container}")
    assert refused.value.code == status
    assert words in json.load(refused.value)["error"]["message"]


BAD_PATHS = ["", "/etc/passwd", "../x", "%2e%2e/x", "%252e%252e%252fx", "a\\b", "C:\\x", "file:///x", "a\0b", "x" * 256]


def test_paths_that_climb_out_are_refused_one_by_one(run: Run) -> None:
    created = run.create("good", *BAD_PATHS)

    assert list(created["artifacts"]) == list(created["artifactContentInformation"]) == ["good"]
    assert list(created["errors"]) == BAD_PATHS
    assert created["errors"]["../x"]["error"]["code"] == "UserError"
    assert "climb" in created["errors"]["../x"]["error"]["message"]


@pytest.mark.parametrize("path", BAD_PATHS[1:-1])
def test_no_route_takes_a_path_that_climbs_out(run: Run, path: str) -> None:
    field = quote(path, safe="")
    for route in (
        f"{run.artifacts}?path={field}",
        f"{run.artifacts}/path?path={field}",
        f"{run.artifacts}/contentinfo?path={field}",
        f"{run.artifacts}/metadata?path={field}",
        f"{run.artifacts}/prefix/contentinfo?path={field}",
        f"{run.generic}/ExperimentRun/dcid.{run.run_id}?path={field}",
        f"{run.generic}/ExperimentRun/dcid.{run.run_id}/contentinfo?path={field}",
        f"{run.generic}/contentinfo/ExperimentRun/dcid.{run.run_id}/{field}",
        f"{run.generic}/prefix/contentinfo/ExperimentRun/dcid.{run.run_id}/{field}",
    ):
        status, message = run.refused(route)
        assert (status, "artifact path" in message) == (400, True), (route, message)


def test_five_hundred_paths_at_once_and_no_more(run: Run) -> None:
    assert len(run.create(*(f"p{number}" for number in range(500)))["artifacts"]) == 500
    status, message = run.refused(
        f"{run.artifacts}/batch/metadata", {"paths": [{"path": f"p{number}"} for number in range(501)]}
    )
    assert (status, "at most 500" in message) == (400, True)


def test_a_deleted_run_takes_files_and_gives_them(service: "Service", run: Run) -> None:
    """As it does in an embedded workspace and in MLflow's own stores."""
    service.call("POST", "/api/2.0/mlflow/runs/delete", run.token, {"run_id": run.run_id})
    run.write("a", b"content")
    assert read(run.get(f"{run.artifacts}/contentinfo?path=a")["contentUri"]) == b"content"


def test_what_is_missing_is_said(run: Run) -> None:
    assert run.refused(f"{run.artifacts}/contentinfo?path=nothing")[0] == 404
    assert run.refused(f"{run.artifacts}/contentinfo")[0] == 400
    assert run.refused(run.artifacts.replace(run.run_id, "unknown"))[0] == 404
    assert run.refused(f"{run.artifacts}/batch/metadata", {"paths": "a"})[0] == 400


def test_a_reader_can_read_but_not_write(service: "Service", run: Run) -> None:
    run.write("a", b"content")
    reader = service.token_of(Role.READER)

    information = service.call("GET", f"{run.artifacts}/contentinfo?path=a", reader)
    with pytest.raises(urllib.error.HTTPError) as refused:
        service.call("POST", f"{run.artifacts}/batch/metadata", reader, {"paths": [{"path": "a"}]})

    assert read(information["contentUri"]) == b"content"
    assert refused.value.code == 403
