"""MLflow 3's logged models in a workspace, side by side with MLflow's own SQLite store."""

import math
from collections.abc import Callable
from typing import Any

import mlflow
import mlflow.entities
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_amlstore.workspace.opening import EmbeddedWorkspace

if not hasattr(mlflow.entities, "LoggedModel"):
    pytest.skip("MLflow 2 has no logged models", allow_module_level=True)

IS_NEWEST = tuple(int(part) for part in mlflow.__version__.split(".")[:2]) >= (3, 17)
needs_newest = pytest.mark.skipif(not IS_NEWEST, reason="older MLflow answers otherwise")


def plain(model: mlflow.entities.LoggedModel) -> dict[str, Any]:
    """What two stores should agree on."""
    metrics = [(each.key, each.value, each.step, each.dataset_name) for each in model.metrics or []]
    return {
        "name": model.name,
        "experiment_id": model.experiment_id,
        "model_type": model.model_type,
        "status": model.status,
        "params": model.params,
        "tags": model.tags,
        "metrics": sorted(metrics),
    }


def outcome(call: Callable[[MlflowClient, Any], Any], client: MlflowClient) -> Any:
    """What a call on three models returned, and the models after it; or the code of the error that it raised."""
    models = three_models(client)
    try:
        value = call(client, models)
    except MlflowException as error:
        return error.error_code
    found = [plain(each) for each in client.search_logged_models(["0"])]
    if isinstance(value, list):
        return [plain(each) for each in value], found
    return plain(value) if value else None, found


def three_models(client: MlflowClient) -> list[mlflow.entities.LoggedModel]:
    run_id = client.create_run("0").info.run_id
    models = []
    for name, depth, loss in (("small", "1", 0.5), ("middle", "5", 0.25), ("large", "9", 4.0)):
        model = client.create_logged_model(
            "0", name=name, source_run_id=run_id, params={"depth": depth}, tags={"k": name}
        )
        models.append(model)
        client.log_metric(run_id, "loss", loss, timestamp=1000, step=0, model_id=model.model_id)
    for step, auc in enumerate((0.7, 0.9)):
        client.log_metric(
            run_id,
            "auc",
            auc,
            timestamp=2000 + step,
            step=step,
            model_id=models[0].model_id,
            dataset_name="test",
            dataset_digest="d1",
        )
    return models


CALLS: dict[str, Callable[[MlflowClient, Any], Any]] = {
    "get": lambda client, models: client.get_logged_model(models[0].model_id),
    "get unknown": lambda client, _: client.get_logged_model("m-none"),
    "create with a bad name": lambda client, _: client.create_logged_model("0", name="a/b"),
    "create in no experiment": lambda client, _: client.create_logged_model("99", name="tree"),
    "create of a type": lambda client, _: client.create_logged_model("0", name="tree", model_type="agent"),
    "finalize": lambda client, models: client.finalize_logged_model(models[1].model_id, "READY"),
    "finalize as failed": lambda client, models: client.finalize_logged_model(models[1].model_id, "FAILED"),
    "finalize unknown": lambda client, _: client.finalize_logged_model("m-none", "READY"),
    "tag": lambda client, models: client.set_logged_model_tags(models[0].model_id, {"k": "new", "other": 1}),
    "tag unknown": lambda client, _: client.set_logged_model_tags("m-none", {"k": "v"}),
    "delete tag": lambda client, models: client.delete_logged_model_tag(models[0].model_id, "k"),
    "delete no tag": lambda client, models: client.delete_logged_model_tag(models[0].model_id, "never set"),
    "params": lambda client, models: client.log_model_params(models[0].model_id, {"leaves": "3"}),
    "params of unknown": lambda client, _: client.log_model_params("m-none", {"leaves": "3"}),
    "delete": lambda client, models: client.delete_logged_model(models[0].model_id),
    "delete unknown": lambda client, _: client.delete_logged_model("m-none"),
    "search by name": lambda client, _: list(client.search_logged_models(["0"], "name LIKE '%l%'")),
    "search by param": lambda client, _: list(client.search_logged_models(["0"], "params.depth = '5'")),
    "search by tag": lambda client, _: list(client.search_logged_models(["0"], "tags.k != 'small'")),
    "search by metric": lambda client, _: list(client.search_logged_models(["0"], "metrics.loss < 0.3")),
    "search by metric on a dataset": lambda client, _: list(
        client.search_logged_models(["0"], "metrics.auc > 0.8", [{"dataset_name": "test", "dataset_digest": "d1"}])
    ),
    "search by metric on another dataset": lambda client, _: list(
        client.search_logged_models(["0"], "metrics.auc > 0.8", [{"dataset_name": "train"}])
    ),
    "search with a nameless dataset": lambda client, _: client.search_logged_models(
        ["0"], datasets=[{"dataset_digest": "d1"}]
    ),
    "search in order of a metric": lambda client, _: list(
        client.search_logged_models(["0"], "metrics.loss > 0", order_by=[{"field_name": "metrics.loss"}])
    ),
    "search in order of a name": lambda client, _: list(
        client.search_logged_models(["0"], order_by=[{"field_name": "name", "ascending": False}])
    ),
    "search in a bad order": lambda client, _: client.search_logged_models(["0"], order_by=[{"field_name": "colour"}]),
    "search nonsense": lambda client, _: client.search_logged_models(["0"], "colour of 'blue'"),
}

# What older releases of MLflow's store fail at.
NEW_ANSWERS = {"search by metric on a dataset", "search by metric on another dataset"}


@pytest.mark.parametrize(
    "call",
    [pytest.param(call, id=name, marks=needs_newest if name in NEW_ANSWERS else ()) for name, call in CALLS.items()],
)
def test_a_call_does_what_mlflows_own_store_does(
    call: Callable[[MlflowClient, Any], Any], client: MlflowClient, sqlite_client: MlflowClient
) -> None:
    assert outcome(call, client) == outcome(call, sqlite_client)


class TestRecord:
    def test_its_files_are_beside_those_of_the_experiments_runs(
        self, client: MlflowClient, workspace: EmbeddedWorkspace
    ) -> None:
        model = client.create_logged_model("0", name="tree")
        assert model.artifact_location == f"{workspace.root_uri}/0/models/{model.model_id}/artifacts"
        assert client.get_logged_model(model.model_id).artifact_location == model.artifact_location

    def test_its_files_may_be_in_an_object_store(self, client: MlflowClient) -> None:
        experiment_id = client.create_experiment("remote", artifact_location="s3://bucket/here")
        model = client.create_logged_model(experiment_id)
        assert model.artifact_location == f"s3://bucket/here/models/{model.model_id}/artifacts"

    def test_it_is_found_by_the_location_that_mlflow_shows(self, client: MlflowClient) -> None:
        model = client.create_logged_model("0")
        client.create_logged_model("0")
        for filter_string in (
            f"artifact_location = '{model.artifact_location}'",
            f"artifact_location IN ('{model.artifact_location}', 's3://bucket')",
        ):
            found = client.search_logged_models(["0"], filter_string)
            assert [each.model_id for each in found] == [model.model_id], filter_string

    def test_a_metric_says_which_run_dataset_and_step_it_is_of(self, client: MlflowClient) -> None:
        small, *_, large = three_models(client)
        (loss,) = client.get_logged_model(large.model_id).metrics
        assert (loss.run_id, loss.model_id, loss.dataset_name) == (large.source_run_id, large.model_id, None)
        auc = [each for each in client.get_logged_model(small.model_id).metrics if each.key == "auc"]
        assert [(each.step, each.value, each.dataset_digest) for each in auc] == [(0, 0.7, "d1"), (1, 0.9, "d1")]

    def test_nan_is_kept_which_mlflows_own_store_makes_zero(self, client: MlflowClient) -> None:
        small, *_ = three_models(client)
        client.log_metric(small.source_run_id, "loss", math.nan, timestamp=9000, model_id=small.model_id)
        values = [each.value for each in client.get_logged_model(small.model_id).metrics if each.key == "loss"]
        assert values[0] == 0.5
        assert math.isnan(values[1])

    def test_a_metric_of_a_model_is_its_runs_too(self, client: MlflowClient) -> None:
        small, *_ = three_models(client)
        assert client.get_run(small.source_run_id).data.metrics["auc"] == 0.9

    def test_a_param_logged_twice_is_refused_and_the_first_stays(self, client: MlflowClient) -> None:
        model = client.create_logged_model("0", params={"depth": "3"})
        with pytest.raises(MlflowException, match=r"'depth' already exists.*has it with value '3'") as caught:
            client.log_model_params(model.model_id, {"depth": "4"})
        assert caught.value.error_code == "RESOURCE_ALREADY_EXISTS"
        assert client.get_logged_model(model.model_id).params == {"depth": "3"}

    def test_pages_follow_each_other(self, client: MlflowClient) -> None:
        created = [client.create_logged_model("0").model_id for _ in range(5)]
        first = client.search_logged_models(["0"], max_results=3)
        rest = client.search_logged_models(["0"], max_results=3, page_token=first.token)
        assert [each.model_id for each in [*first, *rest]] == created[::-1]
        with pytest.raises(MlflowException, match="page_token"):
            client.search_logged_models(["0"], "name = 'tree'", page_token=first.token)


class TestTraining:
    """A script's `log_model`, in whole."""

    @pytest.fixture
    def logged(self, client: MlflowClient) -> Any:  # the functions below use the client's workspace
        linear_model = pytest.importorskip("sklearn.linear_model")
        with mlflow.start_run():
            model = linear_model.LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
            return mlflow.sklearn.log_model(model, name="line", registered_model_name="line")

    def test_a_model_is_logged_registered_and_loaded(self, logged: Any, client: MlflowClient) -> None:
        model = client.get_logged_model(logged.model_id)
        version = client.get_model_version("line", "1")
        assert (model.status, model.source_run_id) == ("READY", logged.run_id)
        assert (version.model_id, version.run_id) == (model.model_id, logged.run_id)
        assert model.tags["mlflow.modelVersions"] == '[{"name": "line", "version": 1}]'
        for uri in (
            f"models:/{model.model_id}",
            "models:/line/1",
            "models:/line@latest",
            f"runs:/{logged.run_id}/line",
        ):
            assert mlflow.pyfunc.load_model(uri).predict([[3.0]]) == pytest.approx([6.0]), uri

    def test_the_run_tells_of_its_model(self, logged: Any, client: MlflowClient) -> None:
        (output,) = client.get_run(logged.run_id).outputs.model_outputs
        assert output.model_id == logged.model_id
        assert [each.model_id for each in mlflow.search_logged_models(output_format="list")] == [logged.model_id]
