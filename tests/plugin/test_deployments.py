"""`mlflow.deployments` with targets `amlstore` and `azureml`: a registered model becomes an endpoint that answers."""

import json
import pickle
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.deployments import BaseDeploymentClient, get_deploy_client, run_local
from mlflow.deployments.cli import commands
from mlflow.exceptions import MlflowException
from waiting import wait_for

from mlflow_amlstore.hosting.deploying import deployment_of
from mlflow_amlstore.hosting.endpoint_folder import EndpointFolder
from mlflow_amlstore.plugin.deployments import _shared
from mlflow_amlstore.records.types import EndpointRecord, EndpointSpec
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace

linear_model = pytest.importorskip("sklearn.linear_model")
ENDPOINT = "sums"  # of every test
ROWS = pd.DataFrame({"a": [1.0, 0.1], "b": [2.0, 0.2]})
Deployments = Callable[..., str]


def sums(scale: float) -> Any:
    """A model whose prediction is the sum of two columns, times the scale."""
    rows = pd.DataFrame({"a": [0.0, 1.0, 0.0], "b": [0.0, 0.0, 1.0]})
    return linear_model.LinearRegression().fit(rows, [0.0, scale, scale])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two MLflow models."""
    folder = tmp_path_factory.mktemp("models")
    for name, scale in (("once", 1.0), ("tenfold", 10.0)):
        model, requirements = sums(scale), [f"scikit-learn=={sys.modules['sklearn'].__version__}"]
        mlflow.sklearn.save_model(model, str(folder / name), input_example=ROWS, pip_requirements=requirements)
    return folder


@pytest.fixture
def deploying(client: MlflowClient, workspace: EmbeddedWorkspace, saved: Path) -> Iterator[BaseDeploymentClient]:
    """A client of a workspace with `sum`, whose version 2 gives ten times as much. What it deploys ends with it."""
    for name in ("once", "tenfold"):
        mlflow.register_model(str(saved / name), "sum")
    yield get_deploy_client("amlstore")
    for endpoint in workspace.records.endpoints.list():
        workspace.records.endpoints.delete(endpoint.name)
    wait_for(lambda: not EndpointFolder.of(str(workspace.folder), ENDPOINT).is_looked_after())


@pytest.fixture
def endpoint(deploying: BaseDeploymentClient) -> BaseDeploymentClient:
    """The same with an endpoint of two deployments: `blue` answers, and `green` gets no traffic."""
    deploying.create_deployment("blue", "models:/sum/1", endpoint=ENDPOINT)
    deploying.create_deployment("green", "models:/sum/2", endpoint=ENDPOINT)
    return deploying


def states(client: BaseDeploymentClient) -> dict[str, tuple[str, int]]:
    """State and traffic by the name of a deployment."""
    return {each["name"]: (each["state"], each["traffic"]) for each in client.list_deployments(ENDPOINT)}


def record(workspace: EmbeddedWorkspace) -> EndpointRecord:
    return workspace.records.endpoints.get(ENDPOINT)


class TestDeployments:
    def test_a_model_is_deployed_asked_changed_and_deleted(
        self, deploying: BaseDeploymentClient, workspace: EmbeddedWorkspace
    ) -> None:
        made = deploying.create_deployment(ENDPOINT, "models:/sum/1", "python_function", {"workers": "2"})
        assert made == deploying.get_deployment(ENDPOINT)
        assert (made["name"], made["endpointName"], made["flavor"]) == (ENDPOINT, ENDPOINT, "python_function")
        assert (made["state"], made["error"], made["model"], made["traffic"]) == ("Healthy", None, "sum:1", 100)
        assert record(workspace).newest.spec.workers == 2
        assert deploying.predict(ENDPOINT, ROWS) == pytest.approx([3.0, 0.3])
        assert requests.post(made["scoringUri"], json={"data": [[1, 2]]}, timeout=60).status_code == 401

        updated = deploying.update_deployment(ENDPOINT, "models:/sum/2")
        assert (updated["state"], updated["model"], updated["scoringUri"]) == ("Healthy", "sum:2", made["scoringUri"])
        assert record(workspace).newest.spec.workers == 2
        assert deploying.predict(ENDPOINT, ROWS) == pytest.approx([30.0, 3.0])

        assert [each["name"] for each in deploying.list_deployments()] == [ENDPOINT]
        deploying.delete_deployment(ENDPOINT)
        deploying.delete_deployment(ENDPOINT)
        assert deploying.list_deployments() == []

    def test_inputs_are_what_mlflows_models_take(self, deploying: BaseDeploymentClient) -> None:
        deploying.create_deployment(ENDPOINT, "models:/sum/1")
        for inputs in (ROWS, ROWS.to_numpy(), ROWS.to_numpy().tolist(), {"a": ROWS["a"].to_numpy(), "b": [2.0, 0.2]}):
            answer = deploying.predict(ENDPOINT, inputs)
            assert isinstance(answer, np.ndarray)
            assert answer == pytest.approx([3.0, 0.3])
        assert deploying.predict(endpoint=ENDPOINT, df=ROWS) == pytest.approx([3.0, 0.3])
        exact = 0.1234567890123456
        assert deploying.predict(ENDPOINT, pd.DataFrame({"a": [exact], "b": [0.0]}))[0] == sums(1.0).predict(
            pd.DataFrame({"a": [exact], "b": [0.0]})
        )
        with pytest.raises(MlflowException, match=r"answered with 400: .*'c'"):
            deploying.predict(ENDPOINT, ROWS.rename(columns={"b": "c"}))
        with pytest.raises(MlflowException, match="must be a DataFrame, an array"):
            deploying.predict(ENDPOINT, 3)

    @pytest.mark.parametrize("uri", ["models:/sum/Production", "models:/sum@best", "models:/sum/latest"])
    def test_a_model_is_named_by_stage_alias_or_as_the_latest(
        self, deploying: BaseDeploymentClient, client: MlflowClient, uri: str
    ) -> None:
        client.transition_model_version_stage("sum", "2", "Production")
        client.set_registered_model_alias("sum", "best", "2")
        made = deploying.create_deployment(ENDPOINT, uri, config={"async": True})
        assert (made["model"], made["state"]) == ("sum:2", "Transitioning")

    def test_a_model_of_a_run_is_registered_first(self, deploying: BaseDeploymentClient, saved: Path) -> None:
        with mlflow.start_run() as run:
            mlflow.log_artifacts(str(saved / "once"), "model")
        uri = f"runs:/{run.info.run_id}/model"
        assert deploying.create_deployment(ENDPOINT, uri)["model"] == f"{ENDPOINT}-model:1"
        assert deploying.predict(ENDPOINT, ROWS) == pytest.approx([3.0, 0.3])
        mlflow.set_registry_uri("sqlite://")
        with pytest.raises(MlflowException, match=r"MLflow's registry URI isn't the target's workspace"):
            deploying.update_deployment(ENDPOINT, uri)

    def test_a_model_that_answers_with_columns_gives_a_data_frame(
        self, deploying: BaseDeploymentClient, tmp_path: Path
    ) -> None:
        def both(model_input: pd.DataFrame) -> pd.DataFrame:
            return model_input.assign(sum=model_input.a + model_input.b)

        save, folder = mlflow.pyfunc.save_model, str(tmp_path / "both")
        requirements = [f"pandas=={pd.__version__}"]
        signature = mlflow.models.infer_signature(ROWS, both(ROWS))
        save(folder, python_model=both, signature=signature, pip_requirements=requirements)
        deploying.create_deployment(ENDPOINT, folder)
        pd.testing.assert_frame_equal(deploying.predict(ENDPOINT, ROWS), both(ROWS))

    def test_one_that_fails_says_why_and_an_update_that_fails_changes_nothing(
        self, deploying: BaseDeploymentClient, workspace: EmbeddedWorkspace, tmp_path: Path
    ) -> None:
        (tmp_path / "model.pkl").write_bytes(pickle.dumps(Broken()))
        mlflow.register_model(str(tmp_path / "model.pkl"), "broken")
        with pytest.raises(MlflowException, match="has failed") as failed:
            deploying.create_deployment(ENDPOINT, "models:/broken/1")
        assert "Traceback" in failed.value.message
        assert "RuntimeError: there is no such gland" in failed.value.message
        told = deploying.get_deployment(ENDPOINT)
        assert told["state"] == "Failed"
        assert "RuntimeError" in told["error"]["details"]
        with pytest.raises(MlflowException, match="is Failed, and doesn't answer"):
            deploying.predict(ENDPOINT, ROWS)

        deploying.update_deployment(ENDPOINT, "models:/sum/1")
        with pytest.raises(MlflowException, match="RuntimeError: there is no such gland"):
            deploying.update_deployment(ENDPOINT, "models:/broken/1")
        assert deploying.get_deployment(ENDPOINT)["model"] == "sum:1"
        assert deploying.predict(ENDPOINT, ROWS) == pytest.approx([3.0, 0.3])


class Broken:
    """Can't be unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise RuntimeError('there is no such gland')",)


class TestEndpoints:
    def test_later_deployments_get_traffic_when_the_endpoint_is_told(self, endpoint: BaseDeploymentClient) -> None:
        assert states(endpoint) == {"blue": ("Healthy", 100), "green": ("Stopped", 0)}
        with pytest.raises(MlflowException, match="green of endpoint sums gets no traffic, and is Stopped"):
            endpoint.predict("green", ROWS, ENDPOINT)
        told = endpoint.update_endpoint(ENDPOINT, {"traffic": {"blue": 60, "green": 40}})
        assert told["properties"]["traffic"] == {"blue": 60, "green": 40}
        assert states(endpoint) == {"blue": ("Healthy", 60), "green": ("Healthy", 40)}
        with pytest.raises(MlflowException, match="Asking one of the deployments that share the traffic"):
            endpoint.predict("green", ROWS, ENDPOINT)
        answers = {round(float(endpoint.predict(None, ROWS, ENDPOINT)[0])) for _ in range(3)}
        assert answers <= {3, 30}

        endpoint.delete_deployment("blue", endpoint=ENDPOINT)
        assert states(endpoint) == {"green": ("Healthy", 100)}
        assert endpoint.predict("green", ROWS, ENDPOINT) == pytest.approx([30.0, 3.0])
        with pytest.raises(MlflowException, match="Endpoint sums has green"):
            endpoint.get_deployment("blue", ENDPOINT)

    def test_the_last_deployment_goes_with_its_endpoint(self, endpoint: BaseDeploymentClient) -> None:
        with pytest.raises(MlflowException, match=r"blue gets all traffic of endpoint sums. Give it to green"):
            endpoint.delete_deployment("blue", endpoint=ENDPOINT)
        endpoint.delete_deployment("green", endpoint=ENDPOINT)
        with pytest.raises(MlflowException, match="delete_empty_endpoint=True"):
            endpoint.delete_deployment("blue", endpoint=ENDPOINT)
        endpoint.delete_deployment("blue", endpoint=ENDPOINT, delete_empty_endpoint=True)
        assert endpoint.list_endpoints() == []

    def test_a_deployment_may_begin_with_a_share_that_an_update_keeps(
        self, deploying: BaseDeploymentClient, workspace: EmbeddedWorkspace
    ) -> None:
        deploying.create_deployment("blue", "models:/sum/1", endpoint=ENDPOINT)
        deploying.create_deployment("green", "models:/sum/2", endpoint=ENDPOINT, config={"traffic": 20})
        assert states(deploying) == {"blue": ("Healthy", 80), "green": ("Healthy", 20)}
        deploying.update_deployment("green", "models:/sum/1", endpoint=ENDPOINT)
        assert record(workspace).serving == {1: 80, 3: 20}
        deploying.update_deployment("green", config={"traffic": 50}, endpoint=ENDPOINT)
        assert record(workspace).serving == {1: 50, 3: 50}

    def test_one_is_told_what_it_is_to_be_and_made_with_its_first_deployment(
        self, deploying: BaseDeploymentClient, workspace: EmbeddedWorkspace, tmp_path: Path
    ) -> None:
        """As azureml-mlflow's documents have it."""
        file = tmp_path / "endpoint.yml"
        file.write_text("auth_mode: key\nidentity: {type: system_assigned}\ntags: {team: blue}\n")
        made = deploying.create_endpoint(ENDPOINT, {"endpoint-config-file": str(file)})
        assert made == deploying.get_endpoint(ENDPOINT) == deploying.list_endpoints()[0]
        assert made["properties"]["scoringUri"] is None
        assert workspace.records.endpoints.list() == []
        with pytest.raises(MlflowException, match="already exists"):
            deploying.create_endpoint(ENDPOINT)

        file.write_text(json.dumps({"instance_type": "Standard_DS3_v2", "instance_count": 1}))
        config = {"deploy-config-file": str(file)}
        deploying.create_deployment("blue", "models:/sum/1", endpoint=ENDPOINT, config=config)
        file.write_text(json.dumps({"traffic": {"blue": 100}}))
        told = deploying.update_endpoint(ENDPOINT, {"endpoint-config-file": str(file), "description": "of two"})
        assert told["properties"]["description"] == "of two"
        assert told["tags"] == {"team": "blue"}
        assert told["properties"]["scoringUri"].endswith("/score")
        assert deploying.predict(endpoint=ENDPOINT, inputs=ROWS) == pytest.approx([3.0, 0.3])
        settings = record(workspace).spec.settings
        assert settings == {"identity": {"type": "system_assigned"}, "instance_type": "Standard_DS3_v2"}
        deploying.delete_endpoint(ENDPOINT)
        deploying.delete_endpoint(ENDPOINT)
        assert deploying.list_endpoints() == []

    def test_deployments_that_others_made_have_the_endpoints_name(
        self, deploying: BaseDeploymentClient, workspace: EmbeddedWorkspace
    ) -> None:
        records = workspace.records
        for number in (1, 2):
            spec = deployment_of(records, [records.models.get_version("sum", number)])
            records.endpoints.create(EndpointSpec(ENDPOINT, "ACI"), spec, overwrite=True)
        assert [(each["name"], each["model"]) for each in deploying.list_deployments()] == [(ENDPOINT, "sum:2")]

    @pytest.mark.parametrize(
        ("parts", "total", "shares"),
        [
            ({1: 100}, 80, {1: 80}),
            ({1: 50, 2: 50}, 25, {1: 13, 2: 12}),
            ({1: 1, 2: 99}, 10, {2: 10}),
            ({1: 33, 2: 33, 3: 34}, 100, {1: 33, 2: 33, 3: 34}),
            ({1: 100}, 0, {}),
            ({}, 0, {}),
        ],
    )
    def test_shares_are_whole_and_add_up(self, parts: dict[int, int], total: int, shares: dict[int, int]) -> None:
        assert _shared(parts, total) == shares


class TestConfig:
    def test_files_of_azure_ml_mean_what_they_can(
        self, deploying: BaseDeploymentClient, workspace: EmbeddedWorkspace, tmp_path: Path
    ) -> None:
        file = tmp_path / "deploy.json"
        told = {
            "computeType": "aks",
            "async": True,
            "containerResourceRequirements": {"cpu": 0.5, "memoryInGB": 1, "cpuLimit": 1.5},
            "authEnabled": False,
            "numReplicas": 2,
            "scoringTimeoutMs": 1500,
            "keys": {"primaryKey": "p" * 20, "secondaryKey": "s" * 20},
            "livenessProbeRequirements": {"periodSeconds": 10},
            "tags": {"team": "blue"},
        }
        file.write_text(json.dumps(told))
        made = deploying.create_deployment(
            ENDPOINT, "models:/sum/1", config={"deploy-config-file": str(file), "concurrency": 3}
        )
        assert made["state"] == "Transitioning"
        there = record(workspace)
        spec = there.newest.spec
        assert (spec.name, spec.cpu, spec.memory_gb, spec.workers, spec.concurrency) == (ENDPOINT, 1.5, 1.0, 2, 3)
        assert spec.predict_limit_s == 1.5
        assert (there.spec.kind, there.spec.auth, there.spec.tags) == ("AKS", False, {"team": "blue"})
        assert there.spec.settings == {"livenessProbeRequirements": {"periodSeconds": 10}}
        assert workspace.records.endpoints.keys(ENDPOINT) == ("p" * 20, "s" * 20)

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({"cpus": 1}, "cpus in the config of a deployment is not supported"),
            ({"cpu": "many"}, "'many' for cpu: must be a number"),
            ({"workers": 1.5}, "must be a whole number"),
            ({"workers": 0}, "workers"),
            ({"async": "later"}, "must be true or false"),
            ({"traffic": 120}, "0 to 100"),
            ({"tags": "team"}, "in a command as JSON"),
            ({"computeType": "mir"}, "must be aci, aks, local"),
            ({"auth_mode": "none"}, "must be key"),
            ({"keys": {"primaryKey": "p" * 20}}, "must have both"),
            ({"environment": "env:1"}, "is said by the arguments"),
            ({"deploy-config-file": "nowhere.yml"}, "nowhere.yml.*can't be read"),
        ],
    )
    def test_a_config_that_cant_be_is_named_before_anything_is_made(
        self, deploying: BaseDeploymentClient, config: dict[str, object], message: str
    ) -> None:
        with pytest.raises(MlflowException, match=message):
            deploying.create_deployment(ENDPOINT, "models:/sum/1", config=config)
        assert deploying.list_endpoints() == []

    @pytest.mark.parametrize(
        ("name", "uri", "flavor", "message"),
        [
            (ENDPOINT, "models:/sum/3", None, "not found"),
            (ENDPOINT, "models:/nothing/1", None, "not found"),
            (ENDPOINT, "models:/sum@nobody", None, "nobody"),
            (ENDPOINT, "models:/sum/1", "sklearn", "must be python_function"),
            ("No Name", "models:/sum/1", None, "3 to 32 small letters"),
        ],
    )
    def test_what_isnt_there_is_named(
        self, deploying: BaseDeploymentClient, name: str, uri: str, flavor: str | None, message: str
    ) -> None:
        with pytest.raises(MlflowException, match=message):
            deploying.create_deployment(name, uri, flavor)
        with pytest.raises(MlflowException, match="not found"):
            deploying.get_deployment("nothing")
        with pytest.raises(MlflowException, match="not found"):
            deploying.update_deployment("nothing", "models:/sum/1")
        with pytest.raises(MlflowException, match="not found"):
            deploying.predict("nothing", ROWS)


class TestTargets:
    def test_a_target_is_a_folder_or_where_mlflow_tracks_or_what_config_json_names(
        self, deploying: BaseDeploymentClient, workspace: EmbeddedWorkspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mlflow.set_tracking_uri("sqlite://")
        monkeypatch.chdir(workspace.folder)
        for target in (workspace.root_uri, "amlstore", "azureml"):
            found = get_deploy_client(target)
            assert found.workspace.path == workspace.folder
        with pytest.raises(MlflowException, match="No workspace in"):
            get_deploy_client("amlstore:///nowhere/at/all")

    def test_a_workspace_of_azure_ml_is_refused_plainly(self, client: MlflowClient) -> None:
        workspace = "subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
        with pytest.raises(MlflowException, match=r"on a workspace of Azure ML is not supported.*azureml-mlflow"):
            get_deploy_client(f"azureml://westeurope.api.azureml.ms/mlflow/v1.0/{workspace}")

    def test_a_local_deployment_answers_on_the_port_that_is_wanted(
        self, deploying: BaseDeploymentClient, workspace: EmbeddedWorkspace, free_port: int
    ) -> None:
        run_local("amlstore", ENDPOINT, "models:/sum/1", config={"port": free_port})
        assert record(workspace).spec.kind == "LOCAL"
        assert deploying.get_deployment(ENDPOINT)["scoringUri"] == f"http://127.0.0.1:{free_port}/score"


@pytest.fixture
def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class TestCommands:
    @pytest.fixture
    def deployments(self, deploying: BaseDeploymentClient) -> Deployments:
        """Returns what `mlflow deployments COMMAND … -t amlstore` prints."""

        def run(command: str, *options: str) -> str:
            done = CliRunner().invoke(commands, [command, "-t", "amlstore", *options], catch_exceptions=False)
            assert done.exit_code == 0, done.output
            return done.stdout

        return run

    def test_a_model_is_deployed_asked_listed_and_deleted(self, deployments: Deployments, tmp_path: Path) -> None:
        created = deployments("create", "--name", ENDPOINT, "-m", "models:/sum/1", "-C", "workers=2", "-C", "cpu=1")
        assert f"python_function deployment {ENDPOINT} is created" in created
        rows, answer = tmp_path / "rows.json", tmp_path / "answer.json"
        ROWS.to_json(rows)
        predicted = deployments("predict", "--name", ENDPOINT, "-I", str(rows))
        assert json.loads(predicted) == pytest.approx([3.0, 0.3])
        deployments("predict", "--endpoint", ENDPOINT, "-I", str(rows), "-O", str(answer))
        assert json.loads(answer.read_text()) == pytest.approx([3.0, 0.3])
        updated = deployments("update", "--name", ENDPOINT, "-m", "models:/sum/2")
        assert f"Deployment {ENDPOINT} is updated (with flavor python_function)" in updated
        assert ENDPOINT in deployments("list")
        assert "state: Healthy" in deployments("get", "--name", ENDPOINT)
        assert f"Deployment {ENDPOINT} is deleted" in deployments("delete", "--name", ENDPOINT)
        assert ENDPOINT not in deployments("list")

    def test_help_names_the_config(self, deployments: Deployments) -> None:
        told = deployments("help")
        assert "amlstore:///FOLDER" in told
        assert "max_batch_size" in told
