"""`Workspace`: making one, finding one by config.json, and its facts."""

import copy
import json
import pickle
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from mlflow_amlstore import core
from mlflow_amlstore.client.tokens.credentials import AccessToken
from mlflow_amlstore.core import Workspace
from mlflow_amlstore.errors import ConfigInvalid, ConfigNotFound, InvalidValue, NotSupported, WorkspaceNotFound
from mlflow_amlstore.workspace.opening import open_folder
from mlflow_amlstore.workspace.tracking_uri import SUBSCRIPTION_ID, Issuer, parse, workspace_path


def write_config(folder: Path, **values: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values))
    return folder / "config.json"


def test_core_promises_what_it_names() -> None:
    promised = ["Environment", "Experiment", "Model", "Run", "RunConfiguration", "ScriptRunConfig", "Workspace"]
    assert core.__all__ == promised


class TestFromConfig:
    def test_the_nearest_config_wins_and_its_subfolders_come_before_the_parents(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("far", "near"):
            Workspace.create(tmp_path / name)
        write_config(tmp_path, path="far")
        work = tmp_path / "work" / "deep"
        work.mkdir(parents=True)
        monkeypatch.chdir(work)
        assert Workspace.from_config().name == "far"

        for subfolder in ("aml_config", ".azureml", "."):
            write_config(work / subfolder, path=str(tmp_path / "near"), workspace_name=f"from {subfolder}")
            assert Workspace.from_config().name == f"from {subfolder}"
            assert Workspace.from_config().path == tmp_path / "near"

    def test_a_file_or_folder_can_be_given(self, tmp_path: Path) -> None:
        Workspace.create(tmp_path / "ws", "mine")
        for given in (tmp_path / "ws", str(tmp_path / "ws"), tmp_path / "ws" / "config.json"):
            assert Workspace.from_config(given).name == "mine"

    def test_without_any_the_error_lists_the_folders_and_both_ways_out(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigNotFound, match=r"run `amlstore init`; for an Azure ML workspace download") as raised:
            Workspace.from_config(tmp_path)
        assert raised.value.searched[:3] == (str(tmp_path), f"{tmp_path}/.azureml", f"{tmp_path}/aml_config")
        assert raised.value.searched[-1] == "/aml_config"

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("{", "it is not JSON"),
            ("[]", "it must hold a JSON object"),
            ("{}", "it names no workspace"),
            ('{"path": 5}', "path must be a string, it is 5"),
            ('{"path": ".", "service_url": "https://x"}', "it has both path and service_url"),
            ('{"subscription_id": "a", "resource_group": "b"}', "for Azure ML it lacks workspace_name"),
        ],
    )
    def test_a_config_that_means_no_workspace_is_refused_and_not_passed_over(
        self, tmp_path: Path, text: str, problem: str
    ) -> None:
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ConfigInvalid, match=f"{tmp_path}/config.json can't be used: .*{problem}"):
            Workspace.from_config(tmp_path)

    def test_a_folder_that_is_gone_is_named(self, tmp_path: Path) -> None:
        write_config(tmp_path, path="gone")
        named = f"No workspace in {tmp_path}/gone, which {tmp_path}/config.json names. Make one with `amlstore init"
        with pytest.raises(WorkspaceNotFound, match=named):
            Workspace.from_config(tmp_path)

    def test_the_sdk_s_other_arguments_are_taken(self, tmp_path: Path) -> None:
        Workspace.create(tmp_path / "ws").write_config(tmp_path, "other.json")
        found = Workspace.from_config(tmp_path, auth=object(), _logger=None, _file_name="other.json")  # type: ignore[arg-type]
        assert found.path == tmp_path / "ws"
        with pytest.raises(ConfigNotFound, match=r"No another.json found"):
            Workspace.from_config(tmp_path, _file_name="another.json")


class TestOnAzure:
    def test_one_credential_is_enough(self) -> None:
        with pytest.raises(InvalidValue, match="'Anything' for auth: means the same as credential"):
            Workspace("s", "g", "w", Anything(), auth=Anything())

    def test_the_cloud_is_chosen_by_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AZUREML_CURRENT_CLOUD", raising=False)
        with pytest.raises(InvalidValue, match="set AZUREML_CURRENT_CLOUD=AzureChinaCloud in the environment"):
            Workspace.get("w", None, "s", "g", cloud="AzureChinaCloud")

    def test_none_is_made(self) -> None:
        arguments = {"name": "w", "subscription_id": "s", "resource_group": "g", "location": "westeurope"}
        with pytest.raises(NotSupported, match=r"with subscription_id, resource_group, location .*in the portal"):
            Workspace.create(**arguments)  # type: ignore[arg-type]
        with pytest.raises(NotSupported, match="without a path or with a name alone"):
            Workspace.create(name="w")

    def test_what_only_azure_has_is_named_with_a_way_out_and_is_otherwise_not_there(self, tmp_path: Path) -> None:
        workspace = Workspace.create(tmp_path / "ws")
        with pytest.raises(NotImplementedError, match=r"Workspace.datastores is not supported.*Read the data by its"):
            workspace.datastores  # type: ignore[attr-defined]  # noqa: B018
        with pytest.raises(NotSupported, match=r"Workspace.list is not supported"):
            Workspace.list("s")  # type: ignore[attr-defined]
        assert not hasattr(workspace, "datasets")
        with pytest.raises(AttributeError, match=r"^'Workspace' object has no attribute 'never'$"):
            workspace.never  # type: ignore[attr-defined]  # noqa: B018
        assert pickle.loads(pickle.dumps(workspace)).name == copy.copy(workspace).name == "ws"


class Anything:
    def get_token(self, *scopes: str, **kwargs: object) -> AccessToken:
        raise AssertionError


class TestEmbedded:
    def test_a_new_workspace_is_one_folder_whose_config_names_no_path(self, tmp_path: Path) -> None:
        workspace = Workspace.create(tmp_path / "ws")
        assert json.loads((tmp_path / "ws" / "config.json").read_text()) == {"workspace_name": "ws", "path": "."}
        assert repr(workspace) == f"Workspace(name='ws', path='{tmp_path}/ws')"
        assert list(workspace.experiments) == ["Default"]
        assert (workspace.models, workspace.webservices) == ({}, {})

    def test_its_facts_have_azures_names(self, tmp_path: Path) -> None:
        workspace = Workspace.create(tmp_path / "ws", "mine")
        assert workspace.get_details() == {
            "id": workspace_path(SUBSCRIPTION_ID, "amlstore", "mine"),
            "type": "Microsoft.MachineLearningServices/workspaces",
            "tags": {},
            "sku": "Basic",
            "workspaceid": open_folder(tmp_path / "ws").records.workspace_id,
            "workspaceId": open_folder(tmp_path / "ws").records.workspace_id,
            "description": "",
            "friendlyName": "mine",
            "provisioningState": "Succeeded",
            "name": "mine",
            "location": "local",
            "subscriptionId": SUBSCRIPTION_ID,
            "resourceGroup": "amlstore",
            "path": f"{tmp_path}/ws",
            "mlFlowTrackingUri": f"amlstore://{tmp_path}/ws",
        }
        assert (workspace.location, workspace.subscription_id, workspace.resource_group) == (
            "local",
            SUBSCRIPTION_ID,
            "amlstore",
        )

    def test_creating_again_opens_what_is_there(self, tmp_path: Path) -> None:
        first = Workspace.create(tmp_path / "ws", "mine")
        open_folder(first.path).records.experiments.create("iris")
        again = Workspace.create(tmp_path / "ws", "other")
        assert (again.name, sorted(again.experiments)) == ("mine", ["Default", "iris"])

    def test_experiments_and_models_come_all_however_many(self, tmp_path: Path) -> None:
        workspace = Workspace.create(tmp_path / "ws")
        records = open_folder(workspace.path).records
        for index in range(1005):
            records.experiments.create(f"e{index}")
        records.models.create("iris")
        records.models.create_version("iris", "s3://bucket/model")
        assert len(workspace.experiments) == 1006
        assert list(workspace.models) == ["iris"]

    def test_a_moved_workspace_is_the_same_one(self, tmp_path: Path) -> None:
        workspace = Workspace.create(tmp_path / "ws")
        open_folder(workspace.path).records.experiments.create("iris")
        workspace.close()
        shutil.move(tmp_path / "ws", tmp_path / "elsewhere")
        moved = Workspace.from_config(tmp_path / "elsewhere")
        assert sorted(moved.experiments) == ["Default", "iris"]
        assert moved.get_mlflow_tracking_uri().startswith(f"amlstore://{tmp_path}/elsewhere?expires=")

    def test_a_written_config_is_found_and_survives_a_common_move(self, tmp_path: Path) -> None:
        workspace = Workspace.create(tmp_path / "all" / "ws", "mine")
        (tmp_path / "all" / "code").mkdir()
        file = workspace.write_config(tmp_path / "all" / "code")
        assert file == tmp_path / "all" / "code" / ".azureml" / "config.json"
        assert json.loads(file.read_text()) == {"workspace_name": "mine", "path": "../../ws"}
        workspace.close()
        (tmp_path / "all").rename(tmp_path / "moved")
        assert Workspace.from_config(tmp_path / "moved" / "code").path == tmp_path / "moved" / "ws"

    def test_a_closed_workspace_can_be_opened_again(self, tmp_path: Path) -> None:
        workspace = Workspace.create(tmp_path / "ws")
        workspace.close()
        workspace.close()
        assert list(Workspace.from_config(tmp_path / "ws").experiments) == ["Default"]


class TestTrackingUri:
    def test_it_is_valid_for_an_hour_and_the_same_while_more_than_five_minutes_are_left(self) -> None:
        now = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
        clock = [now]
        issuer = Issuer("amlstore:///ws", now=lambda: clock[0])
        first = str(issuer.issue())
        assert first == "amlstore:///ws?expires=2026-01-31T13:00:00Z"

        clock[0] = now + timedelta(minutes=54, seconds=59)
        assert str(issuer.issue()) == first
        clock[0] = now + timedelta(minutes=55)
        assert str(issuer.issue()) == "amlstore:///ws?expires=2026-01-31T13:55:00Z"

    def test_a_workspaces_uri_ends_an_hour_ahead(self, tmp_path: Path) -> None:
        uri = Workspace.create(tmp_path / "ws").get_mlflow_tracking_uri()
        left = parse(uri).expires - datetime.now(timezone.utc)
        assert timedelta(minutes=59) < left <= timedelta(hours=1)


@pytest.mark.parametrize("ws", ["embedded", "served"], indirect=True)
def test_a_notebook_shows_where_a_workspace_is(ws: Workspace) -> None:
    html = ws._repr_html_()
    assert ws.name in html
    assert str(ws.path or ws.get_details()["serviceUrl"]) in html
    assert "token" not in html
