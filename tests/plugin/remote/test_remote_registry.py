"""MLflow's registry calls on a service."""

import pickle
import uuid
from pathlib import Path
from urllib.error import HTTPError

import mlflow
import pytest
from forked_service import ForkedService
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_amlstore.core import Model, Workspace
from mlflow_amlstore.plugin.remote_registry import RemoteRegistryStore
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace

HAS_LOGGED_MODELS = hasattr(mlflow.entities, "LoggedModel")
SOURCE = "s3://bucket/model"

pytestmark = pytest.mark.filterwarnings("ignore:.*stages will be removed:FutureWarning")


@pytest.fixture
def name() -> str:
    return f"model {uuid.uuid4().hex}"


def test_a_model_with_its_versions_aliases_tags_and_stages(
    client: MlflowClient, name: str, workspace: EmbeddedWorkspace
) -> None:
    client.create_registered_model(name, {"k": "v"}, "a flower")
    first = client.create_model_version(name, SOURCE, tags={"t": "1"}, description="the first")
    second = client.create_model_version(name, SOURCE)
    assert (first.version, second.version, first.status, first.tags) == ("1", "2", "READY", {"t": "1"})
    client.set_registered_model_alias(name, "best", first.version)
    client.transition_model_version_stage(name, "2", "Production")
    client.update_model_version(name, second.version, "the second")
    client.set_model_version_tag(name, "2", "u", "2")
    assert client.get_model_version_by_alias(name, "best").version == "1"
    read = client.get_model_version(name, "2")
    assert (read.current_stage, read.description, read.tags) == ("Production", "the second", {"u": "2"})
    model = client.get_registered_model(name)
    assert (model.description, model.tags, model.aliases) == ("a flower", {"k": "v"}, {"best": "1"})
    assert {version.version for version in model.latest_versions} == {"1", "2"}
    assert [version.version for version in client.get_latest_versions(name, ["Production"])] == ["2"]
    assert workspace.records.models.get(name).aliases == {"best": 1}


def test_it_is_renamed_changed_and_deleted(client: MlflowClient, name: str) -> None:
    client.create_registered_model(name)
    assert client.update_registered_model(name, "new").description == "new"
    client.rename_registered_model(name, f"{name} 2")
    client.set_registered_model_tag(f"{name} 2", "k", "v")
    client.delete_registered_model_tag(f"{name} 2", "k")
    assert client.get_registered_model(f"{name} 2").tags == {}
    client.delete_registered_model(f"{name} 2")
    with pytest.raises(MlflowException, match="not found") as raised:
        client.get_registered_model(f"{name} 2")
    assert raised.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_models_and_versions_are_found_page_by_page(client: MlflowClient, name: str) -> None:
    for number in range(3):
        client.create_registered_model(f"{name} {number}")
        client.create_model_version(f"{name} {number}", f"{SOURCE}/{number}")
    found = client.search_registered_models(f"name LIKE '{name}%'", max_results=2, order_by=["name DESC"])
    assert [model.name for model in found] == [f"{name} 2", f"{name} 1"]
    (last,) = client.search_registered_models(
        f"name LIKE '{name}%'", max_results=2, order_by=["name DESC"], page_token=found.token
    )
    assert last.name == f"{name} 0"
    (version,) = client.search_model_versions(f"name = '{name} 1'")
    assert (version.source, version.run_id) == (f"{SOURCE}/1", None)


def test_a_model_of_a_run_is_registered_and_its_files_come_back(client: MlflowClient, run_id: str, name: str) -> None:
    client.log_text(run_id, "flavors: {}", "model/MLmodel")
    version = mlflow.register_model(f"runs:/{run_id}/model", name)
    assert (version.version, version.run_id) == ("1", run_id)
    local = mlflow.artifacts.download_artifacts(f"models:/{name}/1")
    with open(f"{local}/MLmodel") as opened:  # noqa: PTH123  # as a user would
        assert opened.read() == "flavors: {}"
    (found,) = client.search_model_versions(f"source_path = '{version.source}'")
    assert found.name == name


@pytest.mark.skipif(not HAS_LOGGED_MODELS, reason="MLflow 2 has no logged models")
def test_a_version_knows_its_logged_model(client: MlflowClient, experiment_id: str, name: str) -> None:
    model = client.create_logged_model(experiment_id)
    client.create_registered_model(name)
    version = client.create_model_version(name, f"models:/{model.model_id}")
    assert (version.model_id, client.get_model_version(name, "1").model_id) == (model.model_id, model.model_id)


@pytest.mark.parametrize("source", ["/etc/passwd", "file:///etc", "http://evil.example/x", ""])
def test_a_source_that_could_name_any_file_is_refused(
    client: MlflowClient, service: ForkedService, name: str, source: str
) -> None:
    client.create_registered_model(name)
    with pytest.raises(HTTPError, match="400"):  # whatever the client: a service opens no file that it is told
        body = {"name": name, "source": source}
        service.call("POST", "/api/2.0/mlflow/model-versions/create", service.token, body)


def test_a_file_of_this_machine_is_uploaded(client: MlflowClient, name: str, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("weights")
    mlflow.register_model(str(tmp_path / "weights"), name)
    model = Model(Workspace.from_tracking_uri(mlflow.get_tracking_uri()), name)
    assert Path(model.download(tmp_path / "back")).read_text() == "weights"


def test_prompts_are_models_of_their_own_kind(client: MlflowClient) -> None:
    prompts = mlflow.genai if hasattr(getattr(mlflow, "genai", None), "register_prompt") else mlflow
    if not hasattr(prompts, "register_prompt"):
        pytest.skip("this MLflow has no prompts")
    name = f"greeting-{uuid.uuid4().hex}"
    prompts.register_prompt(name, "Hello {{name}}")
    prompts.set_prompt_alias(name, alias="best", version=1)
    assert prompts.load_prompt(f"prompts:/{name}@best").format(name="Ada") == "Hello Ada"


def test_a_store_can_be_pickled(client: MlflowClient, service: ForkedService, name: str) -> None:
    store = client._get_registry_client().store
    assert isinstance(store, RemoteRegistryStore)
    copy = pickle.loads(pickle.dumps(store))
    assert copy.connection is store.connection
    copy.create_registered_model(name)
    assert store.get_registered_model(name).name == name
