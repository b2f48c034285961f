"""Files that are uploaded to be registered as a model, and the other forms in which Azure ML names a run's files."""

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from mlflow_amlstore.service.access import Role
from mlflow_amlstore.service.addresses import tracking_root, workspace_path

if TYPE_CHECKING:
    from tests.service.conftest import Service

UPLOAD = "LocalUpload/261121T100000-0123abcd"


class Client:
    """Calls of one who may write, under the addresses that Azure ML's clients use."""

    def __init__(self, service: "Service") -> None:
        self.service, self.token = service, service.token_of(Role.CONTRIBUTOR)
        workspace = quote(workspace_path(service.workspace_name))
        self.artifacts = f"/artifact/v2.0{workspace}/artifacts"
        self.mlflow = f"/mlflow/v2.0{workspace}/api/2.0/mlflow"

    def get(self, path: str) -> Any:
        return self.service.call("GET", path, self.token)

    def post(self, path: str, **fields: Any) -> Any:
        return self.service.call("POST", path, self.token, fields)

    def write(self, route: str, path: str, content: bytes) -> None:
        created = self.post(f"{route}/batch/metadata", paths=[{"path": path}])
        url = created["artifactContentInformation"][path]["contentUri"]
        request = urllib.request.Request(url, content, {"x-ms-blob-type": "BlockBlob"}, method="PUT")
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 201

    def read(self, information: Any) -> bytes:
        with urllib.request.urlopen(information["contentUri"]) as answer:
            return bytes(answer.read())

    def register(self, name: str, source: str, base: str = "") -> Any:
        self.post(f"{self.mlflow}/registered-models/create", name=name)
        return self.post(f"{base or self.mlflow}/model-versions/create", name=name, source=source)["model_version"]

    def download_uri(self, name: str, base: str = "") -> str:
        query = f"name={quote(name)}&version=1"
        answer = self.get(f"{base or self.mlflow}/model-versions/get-download-uri?{query}")
        return str(answer["artifact_uri"])


@pytest.fixture
def client(service: "Service") -> Client:
    return Client(service)


def test_a_folder_is_uploaded_registered_listed_and_read(client: Client) -> None:
    upload = f"{client.artifacts}/{UPLOAD}"
    client.write(upload, "my model/MLmodel", b"flavors: {}")
    client.write(upload, "my model/data/ü", b"data")

    version = client.register("uploaded", f"azureml://artifacts/{UPLOAD}/my model")

    assert version["source"] == f"azureml://artifacts/{UPLOAD}/my model" == client.download_uri("uploaded")
    listed = client.get(upload)["value"]
    assert [artifact["artifactId"] for artifact in listed] == [
        f"{UPLOAD}/my model/MLmodel",
        f"{UPLOAD}/my model/data/ü",
    ]
    information = client.get(f"{upload}/contentinfo?path=./my%20model/MLmodel")
    assert (information["origin"], information["path"]) == ("LocalUpload", "my model/MLmodel")
    assert client.read(information) == b"flavors: {}"
    assert client.read(client.get(f"{client.artifacts}/contentinfo/{UPLOAD}/my%20model/data/%C3%BC")) == b"data"


def test_mlflow_without_a_plugin_reads_an_upload_through_the_proxy(client: Client) -> None:
    client.write(f"{client.artifacts}/{UPLOAD}", "m/MLmodel", b"flavors: {}")
    client.register("read by mlflow", f"azureml://artifacts/{UPLOAD}/m")

    location = client.download_uri("read by mlflow", "/api/2.0/mlflow").removeprefix("mlflow-artifacts:/")

    assert location == f"uploads/{UPLOAD.partition('/')[2]}/artifacts/m"
    headers = {"Authorization": f"Bearer {client.token}"}
    address = f"{client.service.url}/api/2.0/mlflow-artifacts/artifacts/{location}/MLmodel"
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
        assert answer.read() == b"flavors: {}"
    proxied = client.get(f"/api/2.0/mlflow-artifacts/artifacts?path={location}")["files"]
    assert [file["path"] for file in proxied] == ["MLmodel"]


def test_a_container_that_nobody_wrote_to_is_empty(client: Client) -> None:
    upload = f"{client.artifacts}/LocalUpload/nothing-here"
    assert client.get(upload)["value"] == []
    with pytest.raises(urllib.error.HTTPError) as missing:
        client.get(f"{upload}/contentinfo?path=x")
    assert missing.value.code == 404


@pytest.mark.parametrize("name", ["..", "%2e%2e", "a.b", "a%20b", "-x", "x" * 101, "%252e%252e"])
def test_an_uploads_name_cant_lead_elsewhere(client: Client, name: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        client.post(f"{client.artifacts}/LocalUpload/{name}/batch/metadata", paths=[{"path": "x"}])
    assert refused.value.code in (400, 404)


class TestFormsOfARunsFiles:
    @pytest.fixture
    def run(self, client: Client) -> dict[str, str]:
        """A run with a file, in an experiment whose name no path could have unquoted."""
        name = f"interop {id(self)}"
        experiment = client.post(f"{client.mlflow}/experiments/create", name=name)["experiment_id"]
        run_id = client.post(f"{client.mlflow}/runs/create", experiment_id=experiment)["run"]["info"]["run_id"]
        route = f"/history/v1.0{quote(workspace_path(client.service.workspace_name))}"
        client.write(f"{route}/experimentids/{experiment}/runs/{run_id}/artifacts", "m/MLmodel", b"flavors: {}")
        root = tracking_root(client.service.url, client.service.workspace_name)
        return {"name": name, "id": experiment, "run": run_id, "root": root, "old_root": root.replace("v2.0", "v1.0")}

    @pytest.mark.parametrize("base", ["", "/api/2.0/mlflow"], ids=["Azure ML's paths", "plain paths"])
    @pytest.mark.parametrize(
        "form",
        [
            "azureml://artifacts/ExperimentRun/dcid.{run}/m",
            "azureml://experiments/{id}/runs/{run}/artifacts/m",
            "azureml://experiments/{name}/runs/{run}/artifacts/m",
            "azureml://jobs/{run}/outputs/artifacts/paths/m",
            "azureml://jobs/{run}/outputs/artifacts/paths/m/",
        ],
    )
    def test_each_means_the_same_files(self, client: Client, run: dict[str, str], form: str, base: str) -> None:
        name = f"of {form.format(**run)} {base}".translate(str.maketrans("/:", "--"))

        version = client.register(name, form.format(**run), base)

        own_form = f"mlflow-artifacts:/{run['id']}/{run['run']}/artifacts/m"
        if not base:
            own_form = f"{run['root']}/experiments/{run['id']}/runs/{run['run']}/artifacts/m"
        assert version["source"] == client.download_uri(name, base) == own_form

    @pytest.mark.parametrize("root", ["root", "old_root"])
    @pytest.mark.parametrize("experiment", ["id", "name"])
    def test_so_does_one_with_the_workspaces_address(
        self, client: Client, run: dict[str, str], root: str, experiment: str
    ) -> None:
        source = f"{run[root]}/experiments/{run[experiment]}/runs/{run['run']}/artifacts/m"

        client.register(f"{root} {experiment} {run['run']}", source)

        same_source = quote(f"source_path = '{source}'")
        found = client.get(f"{client.mlflow}/model-versions/search?filter={same_source}")
        assert [one["name"] for one in found["model_versions"]] == [f"{root} {experiment} {run['run']}"]

    @pytest.mark.parametrize(
        "form",
        [
            "azureml://artifacts/ExperimentRun/dcid.gone/m",
            "azureml://jobs/gone/outputs/artifacts/paths/m",
            "azureml://experiments/{name}/runs/gone/artifacts/m",
            "azureml://experiments/another/runs/{run}/artifacts/m",
        ],
    )
    def test_a_run_that_isnt_there_is_said(self, client: Client, run: dict[str, str], form: str) -> None:
        assert self.refused(client, run, form)[0] == 404

    @pytest.mark.parametrize(
        "form",
        [
            "azureml://artifacts/LocalUpload/../m",
            "azureml://artifacts/LocalUpload/x/../../m",
            "azureml://artifacts/LocalUpload/%2e%2e/m",
            "azureml://artifacts/ExperimentRun/dcid.{run}/../x",
            "azureml://jobs/{run}/outputs/artifacts/paths/../../x",
            "azureml://experiments/{name}/runs/{run}/artifacts/%2e%2e/x",
        ],
    )
    def test_one_that_climbs_is_refused(self, client: Client, run: dict[str, str], form: str) -> None:
        status, code = self.refused(client, run, form)
        assert (status, code) == (400, "INVALID_PARAMETER_VALUE")

    @pytest.mark.parametrize(
        "form",
        [
            "azureml://registries/shared/models/m/versions/1",
            "azureml://host/mlflow/v2.0/registries/shared/models/m/versions/1/storage/a/paths/c/m",
            "azureml://host/mlflow/v1.0/subscriptions/s/resourceGroups/g/providers/"
            "Microsoft.MachineLearningServices/registries/shared",
        ],
    )
    def test_a_registrys_model_is_not_supported(self, client: Client, run: dict[str, str], form: str) -> None:
        assert self.refused(client, run, form) == (501, "NOT_IMPLEMENTED")

    def refused(self, client: Client, run: dict[str, str], form: str) -> tuple[int, str]:
        with pytest.raises(urllib.error.HTTPError) as error:
            client.register(f"refused {form.format(**run)}".translate(str.maketrans("/:", "--")), form.format(**run))
        return error.value.code, json.load(error.value)["error_code"]
