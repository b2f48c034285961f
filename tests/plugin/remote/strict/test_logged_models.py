"""MLflow 3's logged models in a workspace that has no endpoints for them, beside one that has."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from forked_service import ForkedService
from mlflow import MlflowClient

from mlflow_amlstore.client.connection import connection_of
from mlflow_amlstore.pytest_plugin import mlflow_pointed_at

from .conftest import OtherProcess, run_script

entities = pytest.importorskip("mlflow.entities")
if not hasattr(entities, "LoggedModel"):
    pytest.skip("MLflow 2 has no logged models", allow_module_level=True)

import mlflow  # noqa: E402
from mlflow.entities import LoggedModelInput, LoggedModelOutput, Metric  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedService]:
    """A service that has the endpoints."""
    with ForkedService(tmp_path_factory.mktemp("roomy")) as running:
        yield running


class Constant(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined,misc]
    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return [7] * len(model_input)


def train(client: MlflowClient) -> dict[str, Any]:
    """What a training script does with models; returns what it can read back, without ids and times."""
    mlflow.set_experiment("trained")
    with mlflow.start_run() as run:
        mlflow.log_params({"depth": 3})
        mlflow.log_metric("acc", 0.5, step=0)
        info = mlflow.pyfunc.log_model(name="net", python_model=Constant(), step=0, registered_model_name="net")
        mlflow.log_metric("acc", 0.9, step=1, model_id=info.model_id)
        mlflow.log_metric("loss", float("nan"), step=1, model_id=info.model_id)
        mlflow.log_model_params({"extra": "1"}, model_id=info.model_id)
        mlflow.set_logged_model_tags(info.model_id, {"team": "red", "gone": "x"})
        mlflow.delete_logged_model_tag(info.model_id, "gone")
    with mlflow.start_run() as using:
        client.log_inputs(using.info.run_id, models=[LoggedModelInput(info.model_id)])
    model = mlflow.get_logged_model(info.model_id)
    version = client.get_model_version("net", "1")
    history = client.get_metric_history(run.info.run_id, "acc")
    outputs = client.get_run(run.info.run_id).outputs.model_outputs
    return {
        "name": model.name,
        "status": str(model.status),
        "type": model.model_type,
        "of its run": model.source_run_id == run.info.run_id,
        "params": model.params,
        "tags": {name: value for name, value in model.tags.items() if not name.startswith("mlflow.")},
        "metrics": [(m.key, str(m.value), m.step, m.run_id == run.info.run_id) for m in model.metrics],
        "outputs": [(o.model_id == model.model_id, o.step) for o in outputs],
        "inputs": [i.model_id == model.model_id for i in client.get_run(using.info.run_id).inputs.model_inputs],
        "history": [(m.step, m.value) for m in history],
        "versions": {str(v["version"]) for v in json.loads(model.tags["mlflow.modelVersions"])},
        "version": (version.run_id == run.info.run_id, version.model_id == model.model_id),
        "by id": mlflow.pyfunc.load_model(info.model_uri).predict([1, 2]),
        "by run": mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/net").predict([1]),
        "by version": mlflow.pyfunc.load_model("models:/net/1").predict([1]),
    }


def test_a_training_script_reads_back_what_it_reads_where_the_endpoints_are(
    service: ForkedService, roomy: ForkedService
) -> None:
    found = []
    for workspace in (service, roomy):
        with mlflow_pointed_at(workspace.tracking_uri):
            found.append(train(MlflowClient()))
    here, there = found
    assert here == there
    assert here["metrics"] == [("acc", "0.5", 0, True), ("acc", "0.9", 1, True), ("loss", "nan", 1, True)]
    assert here["history"] == [(0, 0.5), (1, 0.9)]


SEARCHES: list[dict[str, Any]] = [
    {},
    {"filter_string": "name = 'b'"},
    {"filter_string": "metrics.acc > 1"},
    {"filter_string": "metrics.acc >= 1 and params.size = 'small'"},
    {"filter_string": "tags.team = 'red'"},
    {"filter_string": "status = 'READY'"},
    {"order_by": [{"field_name": "metrics.acc", "ascending": False}]},
    {"order_by": [{"field_name": "name", "ascending": True}]},
    {"datasets": [{"dataset_name": "test"}]},
    {"filter_string": "metrics.acc > 0", "datasets": [{"dataset_name": "test"}]},
    {"max_results": 2, "order_by": [{"field_name": "name", "ascending": False}]},
]


def make_models(client: MlflowClient, experiment_id: str) -> None:
    run_id = client.create_run(experiment_id).info.run_id
    for number, name in enumerate("abcd"):
        size = "small" if number % 2 else "large"
        model = client.create_logged_model(
            experiment_id,
            name=name,
            source_run_id=run_id,
            params={"size": size},
            tags={"team": "red"} if number else {},
        )
        about = {"dataset_name": "test", "dataset_digest": "d"} if number == 2 else {}
        client.log_batch(run_id, [Metric("acc", number, 5, 0, model_id=model.model_id, run_id=run_id, **about)])
        if number != 3:
            client.finalize_logged_model(model.model_id, "READY")
    client.create_logged_model(experiment_id, name="of no run")
    gone = client.create_logged_model(experiment_id, name="gone", source_run_id=run_id)
    client.delete_logged_model(gone.model_id)


@pytest.fixture(scope="module")
def both(service: ForkedService, roomy: ForkedService) -> list[tuple[str, str]]:
    """Two workspaces with the same models: each one's URI and the experiment."""
    made = []
    for workspace in (service, roomy):
        client = MlflowClient(workspace.tracking_uri)
        experiment_id = client.create_experiment("searched")
        make_models(client, experiment_id)
        made.append((workspace.tracking_uri, experiment_id))
    return made


@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_a_search_finds_what_it_finds_where_the_endpoints_are(
    both: list[tuple[str, str]], search: dict[str, Any]
) -> None:
    here, there = (
        [model.name for model in MlflowClient(uri).search_logged_models([experiment_id], **search)]
        for uri, experiment_id in both
    )
    assert here == there
    assert here


def test_another_process_finds_a_model_by_its_id(
    client: MlflowClient, experiment_id: str, run_id: str, other_process: OtherProcess
) -> None:
    model = client.create_logged_model(experiment_id, name="mine", source_run_id=run_id, params={"a": "b"})
    script = "m = mlflow.get_logged_model(sys.argv[1]); print(m.name, m.params, m.status)"
    assert other_process(script, model.model_id).split() == ["mine", "{'a':", "'b'}", "PENDING"]


def test_threads_that_log_a_runs_first_models_lose_none(
    client: MlflowClient, experiment_id: str, run_id: str, other_process: OtherProcess
) -> None:
    together = threading.Barrier(4)

    def create(number: int) -> str:
        together.wait()
        return str(client.create_logged_model(experiment_id, name=f"n{number}", source_run_id=run_id).model_id)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(create, range(4)))
    script = "print(*[mlflow.get_logged_model(model).name for model in sys.argv[1:]])"
    assert other_process(script, *made).split() == ["n0", "n1", "n2", "n3"]


def test_a_change_by_a_clock_that_is_behind_counts(
    client: MlflowClient, experiment_id: str, run_id: str, other_process: OtherProcess
) -> None:
    model = client.create_logged_model(experiment_id, name="mine", source_run_id=run_id, tags={"by": "first"})
    script = """
        import time
        real = time.time
        time.time = lambda: real() - 60
        client.set_logged_model_tags(sys.argv[1], {"by": "second"})
        client.finalize_logged_model(sys.argv[1], "READY")
    """
    other_process(script, model.model_id)
    found = client.get_logged_model(model.model_id)
    assert (str(found.status), found.tags) == ("READY", {"by": "second"})


def test_a_run_with_fifty_models(client: MlflowClient, experiment_id: str, run_id: str) -> None:
    for number in range(50):
        model = client.create_logged_model(experiment_id, name=f"epoch-{number}", source_run_id=run_id)
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, number)])
    found = client.search_logged_models([experiment_id], max_results=100)
    assert sorted(model.name for model in found) == sorted(f"epoch-{number}" for number in range(50))
    assert [output.step for output in client.get_run(run_id).outputs.model_outputs] == list(range(50))


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, model_id: client.get_logged_model(model_id),
        lambda client, model_id: client.finalize_logged_model(model_id, "READY"),
        lambda client, model_id: client.delete_logged_model(model_id),
    ],
)
@pytest.mark.parametrize("model_id", ["m-0123456789abcdef0123456789abcdef", "m-nothing", "m-'or'x", "n"])
def test_a_model_that_isnt_there_is_told_as_such(
    client: MlflowClient, ask: Callable[[MlflowClient, str], Any], model_id: str
) -> None:
    with pytest.raises(MlflowException) as refused:
        ask(client, model_id)
    assert refused.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_rules_for_names_and_params_hold(client: MlflowClient, experiment_id: str, run_id: str) -> None:
    with pytest.raises(MlflowException, match="logged model name"):
        client.create_logged_model(experiment_id, name="a/b", source_run_id=run_id)
    model = client.create_logged_model(experiment_id, source_run_id=run_id, params={"a": "1"})
    with pytest.raises(MlflowException, match="Param 'a' already exists"):
        client.log_model_params(model.model_id, {"a": "2"})
    with pytest.raises(MlflowException, match="no such tag"):
        client.delete_logged_model_tag(model.model_id, "nope")
    client.delete_logged_model(model.model_id)
    with pytest.raises(MlflowException, match="deleted"):
        client.get_logged_model(model.model_id)


def test_a_workspace_that_has_got_the_endpoints_still_reads_them(tmp_path: Path) -> None:
    service = ForkedService(tmp_path / "service", "--api-level", "2.0")
    with service:
        client = MlflowClient(service.tracking_uri)
        run_id = client.create_run("0").info.run_id
        old = client.create_logged_model("0", name="old", source_run_id=run_id)
        connection_of(service.tracking_uri).close()
    service._options = ()
    with service:
        script = """
            new = client.create_logged_model("0", name="new", source_run_id=run_id)
            old_id = sys.argv[2]
            client.finalize_logged_model(old_id, "READY")
            client.set_logged_model_tags(old_id, {"still": "here"})
            print(client.get_logged_model(old_id).tags, client.get_logged_model(new.model_id).name)
            for model in client.search_logged_models(["0"], order_by=[{"field_name": "name"}]):
                print(model.name, model.status)
        """
        told = run_script(service, script, run_id, old.model_id).splitlines()
    assert told == ["{'still': 'here'} new", "new PENDING", "old READY"]


def test_a_process_asks_a_workspace_once_whether_it_has_the_endpoints(tmp_path: Path) -> None:
    with ForkedService(tmp_path / "service") as service:
        script = """
            for name in "ab":
                model = client.create_logged_model("0", name=name, source_run_id=run_id)
                client.finalize_logged_model(model.model_id, "READY")
                mlflow.register_model(f"models:/{model.model_id}", name)
        """
        run_script(service, script, MlflowClient(service.tracking_uri).create_run("0").info.run_id)
        connection_of(service.tracking_uri).close()
        service.stop()  # which writes the rest of the log
    assert service.log.read_text().count("/logged-models/search") == 1


def test_autologging_of_scikit_learn_logs_its_model(client: MlflowClient) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    mlflow.set_experiment("autologged")
    mlflow.sklearn.autolog()
    try:
        with mlflow.start_run() as run:
            model = linear.LinearRegression().fit([[0.0], [1.0], [2.0]], [0.0, 2.0, 4.0])
    finally:
        mlflow.sklearn.autolog(disable=True)
    (logged,) = mlflow.search_logged_models(filter_string=f"source_run_id = '{run.info.run_id}'", output_format="list")
    assert {metric.key for metric in logged.metrics} == set(client.get_run(run.info.run_id).data.metrics)
    assert mlflow.sklearn.load_model(f"models:/{logged.model_id}").coef_ == model.coef_
