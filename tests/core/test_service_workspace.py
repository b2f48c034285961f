"""`Workspace` of a service: opened by address or config.json, and the same to its users as one in a folder."""

import json
import logging
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import mlflow
import pytest
from fork_server import run_forked
from forked_service import ForkedService

from mlflow_amlstore.client.tokens.credentials import KeyCredential
from mlflow_amlstore.client.tokens.stored_keys import announce_service
from mlflow_amlstore.core import Experiment, Model, Workspace
from mlflow_amlstore.errors import ConfigInvalid, InvalidValue, LoginNeeded, ServiceUnreachable
from mlflow_amlstore.workspace.opening import open_folder
from mlflow_amlstore.workspace.tracking_uri import parse


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedService]:
    with ForkedService(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    for name in ("AMLSTORE_KEY", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def workspace(service: ForkedService) -> Iterator[Workspace]:
    opened = Workspace.from_url(service.url, KeyCredential(service.url, service.key))
    yield opened
    opened.close()


def write_config(folder: Path, **values: object) -> None:
    (folder / "config.json").write_text(json.dumps(values))


class OwnToken(NamedTuple):
    token: str
    expires_on: int


class OwnCredential:
    """A credential of one's own: anything with azure-identity's `get_token` will do."""

    def __init__(self, service: ForkedService) -> None:
        self._service = service

    def get_token(self, *scopes: str, **_: Any) -> OwnToken:
        return OwnToken(self._service.exchange(self._service.key), 0)


class TestOpening:
    def test_by_address_no_key_is_needed_until_something_is_asked(self, service: ForkedService) -> None:
        workspace = Workspace.from_url(f"{service.url}/")
        assert (workspace.name, workspace.path, workspace.location) == ("workspace", None, "local")
        assert repr(workspace) == f"Workspace(name='workspace', service_url='{service.url}')"
        with pytest.raises(LoginNeeded, match=f"No credential for {service.url}"):
            _ = workspace.experiments

    def test_by_config_json(self, service: ForkedService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AMLSTORE_KEY", service.key)
        write_config(tmp_path, service_url=service.url)
        assert list(Workspace.from_config(tmp_path).experiments) == ["Default"]
        write_config(tmp_path, service_url=service.url, workspace_name="workspace")
        assert Workspace.from_config(tmp_path).name == "workspace"

    def test_a_config_that_means_another_workspace_than_the_service_has_is_refused(
        self, service: ForkedService, tmp_path: Path
    ) -> None:
        write_config(tmp_path, service_url=service.url, workspace_name="other")
        with pytest.raises(
            ConfigInvalid, match=r"it means the workspace 'other', and the service at .* has 'workspace'"
        ):
            Workspace.from_config(tmp_path)

    def test_a_config_with_no_address_of_a_service_is_refused_by_its_name(self, tmp_path: Path) -> None:
        write_config(tmp_path, service_url="http://far.example")
        with pytest.raises(ConfigInvalid, match=f"{tmp_path}/config.json can't be used: .*http:// is for this machine"):
            Workspace.from_config(tmp_path)

    def test_what_is_no_service_is_said_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(ServiceUnreachable, match="connection refused"):
            Workspace.from_url("http://127.0.0.1:1")
        with pytest.raises(InvalidValue, match="must be https://HOST"):
            Workspace.from_url("not an address")

    def test_a_service_of_this_user_on_this_machine_needs_no_login(self, service: ForkedService) -> None:
        announce_service(service.url, service.key, service.folder)
        port = service.url.rpartition(":")[2]
        for url in (service.url, f"http://localhost:{port}"):
            assert "Default" in Workspace.from_url(url).experiments

    def test_a_credential_of_ones_own_is_used(self, service: ForkedService) -> None:
        assert "Default" in Workspace.from_url(service.url, OwnCredential(service)).experiments


class TestFacts:
    def test_they_have_azures_names(self, service: ForkedService, workspace: Workspace) -> None:
        details = workspace.get_details()
        root = parse(service.tracking_uri).root
        assert details == {
            "id": unquote(root.partition("/mlflow/v2.0")[2]),
            "type": "Microsoft.MachineLearningServices/workspaces",
            "tags": {},
            "sku": "Basic",
            "workspaceid": open_folder(service.folder).records.workspace_id,
            "description": "",
            "friendlyName": "workspace",
            "provisioningState": "Succeeded",
            "name": "workspace",
            "location": "local",
            "subscriptionId": workspace.subscription_id,
            "resourceGroup": workspace.resource_group,
            "workspaceId": open_folder(service.folder).records.workspace_id,
            "serviceUrl": service.url,
            "mlFlowTrackingUri": root,
        }
        assert f"/subscriptions/{workspace.subscription_id}/resourceGroups/{workspace.resource_group}/" in root

    def test_experiments_and_models_are_those_of_its_folder(self, service: ForkedService, workspace: Workspace) -> None:
        records = open_folder(service.folder).records
        for number in range(3):
            records.experiments.create(f"e{number}", tags={"k": "v"})
        records.experiments.create("elsewhere", artifact_location="s3://bucket/x")
        records.models.create("iris", description="a flower", tags={"k": "v"})
        records.models.create_version("iris", "s3://bucket/model", tags={"t": "1"})
        embedded = Workspace.create(service.folder)
        assert {name: (found.id, found.tags) for name, found in workspace.experiments.items()} == {
            name: (found.id, found.tags) for name, found in embedded.experiments.items()
        }
        assert workspace.models.keys() == embedded.models.keys()
        model = workspace.models["iris"]
        assert (model.id, model.url, model.tags) == ("iris:1", "s3://bucket/model", {"t": "1"})
        assert workspace.webservices == {}

    def test_they_come_all_however_many(self, service: ForkedService, workspace: Workspace) -> None:
        records = open_folder(service.folder).records
        before = len(workspace.experiments)
        for number in range(1005):
            records.experiments.create(f"many {number}")
        assert len(workspace.experiments) == before + 1005


class TestFileUris:
    def test_those_that_run_and_model_give_are_read_by_mlflow(
        self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", workspace.get_mlflow_tracking_uri())
        monkeypatch.chdir(tmp_path)
        (tmp_path / "a b.txt").write_text("kept")
        run = Experiment(workspace, "uris").start_logging(snapshot_directory=None)
        run.upload_file("logs/a b.txt", str(tmp_path / "a b.txt"))
        model = run.register_model("of uris", model_path="logs/a b.txt")
        registered = Model.register(workspace, str(tmp_path / "a b.txt"), "uploaded")
        run.complete()

        for uri in (run.get_details()["logFiles"]["logs/a b.txt"], model.url, registered.url):
            assert mlflow.artifacts.load_text(uri) == "kept"


class TestTrackingUri:
    def test_it_is_valid_for_an_hour_and_the_same_when_asked_again(
        self, service: ForkedService, workspace: Workspace
    ) -> None:
        uri = workspace.get_mlflow_tracking_uri()
        assert workspace.get_mlflow_tracking_uri() == uri
        parsed = parse(uri)
        assert parsed.root == parse(service.tracking_uri).root
        left = parsed.expires - datetime.now(timezone.utc)
        assert timedelta(minutes=59) < left <= timedelta(hours=1, seconds=1)

    def test_its_token_can_do_no_more_than_track(self, service: ForkedService, workspace: Workspace) -> None:
        token = parse(workspace.get_mlflow_tracking_uri()).token
        with pytest.raises(Exception, match="403"):
            service.call("GET", "/auth/keys", token)


def test_a_written_config_opens_it_again_and_has_no_key(
    service: ForkedService, workspace: Workspace, tmp_path: Path
) -> None:
    file = workspace.write_config(tmp_path)
    assert json.loads(file.read_text()) == {"workspace_name": "workspace", "service_url": service.url}
    assert Workspace.from_config(tmp_path).name == "workspace"


def test_a_pickled_workspace_works_in_a_process_without_a_key(service: ForkedService, workspace: Workspace) -> None:
    workspace.get_mlflow_tracking_uri()
    pickled = pickle.dumps(workspace)
    assert service.key.encode() not in pickled
    script = f"import pickle; ws = pickle.loads({pickled!r}); print(ws.name, 'Default' in ws.experiments)"
    assert run_forked(["-c", script], check=True).stdout.split() == ["workspace", "True"]


def test_opening_one_in_a_folder_loads_no_http_client() -> None:
    script = (
        "import sys, tempfile; from mlflow_amlstore.core import Workspace\n"
        "Workspace.create(tempfile.mkdtemp()).get_mlflow_tracking_uri()\n"
        "print({'requests', 'urllib3', 'keyring', 'azure'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_at_debug_the_log_tells_what_the_client_does_and_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with ForkedService(tmp_path / "service") as service:
        _log_a_little(service, tmp_path, caplog)


def _log_a_little(service: ForkedService, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workspace = Workspace.from_url(service.url, KeyCredential(service.url, service.key))
    uri = workspace.get_mlflow_tracking_uri()
    with Experiment(workspace, "debug").start_logging(snapshot_directory=None, outputs=False) as run:
        run.log("loss", 0.5)
        run.upload_file("a.txt", __file__)
    run.download_file("a.txt", tmp_path / "a.txt")
    workspace.close()

    told = [record.getMessage() for record in caplog.records if record.name.startswith("mlflow_amlstore")]
    for pattern in (
        r"POST http://127\.0\.0\.1:\d+/auth/tracking-token answered 200 after \d+\.\d ms",
        r"PUT http://127\.0\.0\.1:\d+/[\w.]+/\S+ answered 201 after \d+\.\d ms",
        r"Got a token of azureml\+http://\S+, valid for 3\d{3} s",
        rf"Wrote 1 values of run {run.id} in \d+\.\d ms",
        r"Uploaded 1 files in \d+\.\d\d s",
        r"Downloaded a\.txt in \d+\.\d\d s",
    ):
        assert any(re.fullmatch(pattern, line) for line in told), (pattern, told)
    shown = caplog.text
    assert re.search(r"sig=(?!REDACTED)", shown) is None
    for secret in (service.key, parse(uri).token or "", "Bearer ey"):
        assert secret not in shown
