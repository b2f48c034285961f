"""A record read over HTTP by MLflow's own client equals the record read from the folder, and so does its JSON."""

import json
import math
import random
import uuid
from dataclasses import dataclass
from typing import Any

import mlflow.entities
import pytest
import requests
from forked_service import ForkedService
from mlflow.entities import Dataset, DatasetInput, ExperimentTag, InputTag, Metric, Param, RunTag, ViewType
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.rest_store import RestStore as RegistryRestStore
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.proto_json_utils import message_to_json
from mlflow.utils.rest_utils import MlflowHostCreds

from mlflow_amlstore.plugin.registry import RegistryStore
from mlflow_amlstore.plugin.tracking import TrackingStore

HAS_LOGGED_MODELS = hasattr(mlflow.entities, "LoggedModel")
needs_logged_models = pytest.mark.skipif(not HAS_LOGGED_MODELS, reason="MLflow 2 has no logged models")
SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.full) for seed in (2, 3, 4))]
VALUES = (0.0, -0.0, 1.5, -2.25, 1e300, 5e-324, math.nan, math.inf, -math.inf, 2.0**53, 0.1)
TEXTS = ("", "a", "é∑𝄞", "null", "NaN", "1e5", "a'b\"c", "line\nbreak", "x" * 5000)


@dataclass
class Both:
    """The stores of MLflow's client for the service, and the plugin's for the service's folder."""

    remote: Any
    remote_registry: Any
    local: Any
    local_registry: Any
    url: str
    token: str

    def get(self, path: str, **query: Any) -> Any:
        return self._answer("GET", path, params=query)

    def post(self, path: str, **body: Any) -> Any:
        return self._answer("POST", path, json=body)

    def _answer(self, method: str, path: str, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = requests.request(method, f"{self.url}/api/2.0/mlflow/{path}", headers=headers, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def as_json(self, entity: Any) -> Any:
        """An entity as MLflow's server would answer it, with this workspace's URIs as the service has them."""
        text = message_to_json(entity.to_proto())
        return json.loads(text.replace(f"{self.local.workspace.root_uri}/", "mlflow-artifacts:/"))

    def equal(self, remote: Any, local: Any) -> None:
        """See that the entities are equal, but that MLflow's client reads some absent texts as empty ones."""
        assert self.as_json(remote) == self.as_json(local.from_proto(local.to_proto()))

    def equal_lists(self, remote: Any, local: Any) -> None:
        assert len(remote) == len(local)
        for one, other in zip(remote, local, strict=True):
            self.equal(one, other)


@pytest.fixture
def both(service: ForkedService) -> Both:
    token = service.token

    def creds() -> MlflowHostCreds:
        return MlflowHostCreds(service.url, token=token)

    uri = f"amlstore://{service.folder}"
    return Both(
        RestStore(creds),
        RegistryRestStore(creds),
        TrackingStore(uri),  # type: ignore[abstract]
        RegistryStore(uri),
        service.url,
        token,
    )


def _pairs(chance: random.Random, most: int) -> dict[str, str]:
    return {f"name {index}/{chance.randint(0, 9)}": chance.choice(TEXTS) for index in range(chance.randint(0, most))}


def _metrics(chance: random.Random, **more: str) -> list[Metric]:
    return [
        Metric(
            f"metric_{chance.randint(0, 5)}",
            chance.choice(VALUES),
            chance.randint(0, 2**42),
            chance.randint(-5, 2**40),
            **more,
        )
        for _ in range(chance.randint(0, 40))
    ]


def _new_experiment(store: Any, chance: random.Random) -> str:
    tags = [ExperimentTag(name, value) for name, value in _pairs(chance, 3).items()]
    location = chance.choice([None, "s3://bucket/files"])
    experiment_id: str = store.create_experiment(uuid.uuid4().hex, location, tags)
    return experiment_id


def _new_run(store: Any, chance: random.Random, experiment_id: str) -> str:
    name = chance.choice([None, "", "née"])
    tags = [RunTag(name, value) for name, value in _pairs(chance, 3).items()]
    run_id: str = store.create_run(experiment_id, "someone", chance.randint(1, 2**40), tags, name).info.run_id
    store.log_batch(
        run_id,
        _metrics(chance),
        [Param(name, value) for name, value in _pairs(chance, 9).items()],
        [RunTag(name, value) for name, value in _pairs(chance, 9).items()],
    )
    if chance.random() < 0.5:
        store.log_inputs(run_id, [_dataset(chance) for _ in range(chance.randint(0, 3))])
    if chance.random() < 0.5:
        status = chance.choice([mlflow.entities.RunStatus.from_string(word) for word in ("FINISHED", "KILLED")])
        store.update_run_info(run_id, status, chance.randint(2**40, 2**41), None)
    if chance.random() < 0.2:
        store.delete_run(run_id)
    return run_id


def _dataset(chance: random.Random) -> DatasetInput:
    schema, profile = chance.choice([(None, None), ("{}", '{"rows": 3}')])
    tags = [InputTag("mlflow.data.context", chance.choice(["training", "eval"]))] if chance.random() < 0.7 else []
    digest = f"digest{chance.randint(0, 99)}"
    return DatasetInput(Dataset("iris", digest, "local", "somewhere", schema, profile), tags)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("writer", ["remote", "local"])
def test_experiments_runs_and_histories(both: Both, writer: str, seed: int) -> None:
    chance, store = random.Random(seed), getattr(both, writer)
    experiment_ids = [_new_experiment(store, chance) for _ in range(3)]
    run_ids = [_new_run(store, chance, chance.choice(experiment_ids)) for _ in range(8)]
    store.delete_experiment(experiment_ids[0])

    for experiment_id in experiment_ids:
        local = both.local.get_experiment(experiment_id)
        both.equal(both.remote.get_experiment(experiment_id), local)
        both.equal(both.remote.get_experiment_by_name(local.name), local)
        answered = both.get("experiments/get", experiment_id=experiment_id)["experiment"]
        assert {"workspace": "default", **answered} == {"workspace": "default", **both.as_json(local)}
    for run_id in run_ids:
        local = both.local.get_run(run_id)
        both.equal(both.remote.get_run(run_id), local)
        if HAS_LOGGED_MODELS:
            assert both.get("runs/get", run_id=run_id)["run"] == both.as_json(local)
        for name in [*local.data.metrics, "none such"]:
            local_history = both.local.get_metric_history(run_id, name)
            both.equal_lists(both.remote.get_metric_history(run_id, name), local_history)
            both.equal_lists(_history_by_pages(both, run_id, name), local_history)
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL):
        found = [store.search_experiments(view, 100) for store in (both.remote, both.local)]
        both.equal_lists(*found)
        for filter_string in ("", "metrics.metric_1 > 0", "tags.`name 0/1` LIKE '%a%'"):
            arguments = experiment_ids, filter_string, view, 100, ["metrics.metric_2 DESC"]
            both.equal_lists(both.remote.search_runs(*arguments), both.local.search_runs(*arguments))
    summaries = both.post("experiments/search-datasets", experiment_ids=experiment_ids)
    assert summaries.get("dataset_summaries", []) == [
        both.as_json(summary) for summary in both.local._search_datasets(experiment_ids)
    ]


def _history_by_pages(both: Both, run_id: str, name: str) -> list[Metric]:
    found: list[Metric] = []
    token = None
    while True:
        page = both.get("metrics/get-history", run_id=run_id, metric_key=name, max_results=7, page_token=token)
        found += [
            Metric(point["key"], float(point["value"]), point["timestamp"], point["step"])
            for point in page.get("metrics", [])
        ]
        token = page.get("next_page_token")
        if token is None:
            return found


@pytest.mark.parametrize("page_size", [1, 3, 100])
def test_pages_of_runs(both: Both, page_size: int) -> None:
    experiment_id = both.local.create_experiment(uuid.uuid4().hex)
    run_ids = [both.local.create_run(experiment_id, "", start, [], None).info.run_id for start in range(1, 6)]
    found, token = [], None
    while len(found) < len(run_ids):
        page = both.remote.search_runs([experiment_id], "", ViewType.ALL, page_size, ["start_time ASC"], token)
        found += [run.info.run_id for run in page]
        token = page.token
    assert found == run_ids
    assert token is None


def test_many_runs_histories_in_one_answer(both: Both) -> None:
    chance = random.Random(1)
    run_ids = [_new_run(both.local, chance, "0") for _ in range(4)]
    of_two = both.get("metrics/get-history-bulk", run_id=run_ids[:2], metric_key="metric_1")["metrics"]
    assert of_two == [
        both.as_json(point) for point in both.local.get_metric_history_bulk(run_ids[:2], "metric_1", 25_000)
    ]
    for interval in ({}, {"start_step": -2, "end_step": 2**39}):
        steps = interval.get("start_step"), interval.get("end_step")
        local = both.local.get_metric_history_bulk_interval(run_ids, "metric_1", 5, *steps)
        query = {"run_ids": run_ids, "metric_key": "metric_1", "max_results": 5, **interval}
        assert both.get("metrics/get-history-bulk-interval", **query)["metrics"] == [
            both.as_json(point) for point in local
        ]


@needs_logged_models
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("writer", ["remote", "local"])
def test_logged_models(both: Both, writer: str, seed: int) -> None:
    from mlflow.entities import (
        LoggedModelInput,
        LoggedModelOutput,
        LoggedModelParameter,
        LoggedModelStatus,
        LoggedModelTag,
    )

    chance, store = random.Random(seed), getattr(both, writer)
    experiment_id = store.create_experiment(uuid.uuid4().hex)
    run_id = store.create_run(experiment_id, "", 1, [], None).info.run_id
    model_ids = []
    for index in range(5):
        model = store.create_logged_model(
            experiment_id,
            name=chance.choice([None, f"model {index}"]),
            source_run_id=chance.choice([None, run_id]),
            tags=[LoggedModelTag(name, value) for name, value in _pairs(chance, 3).items()],
            params=[LoggedModelParameter(name, value) for name, value in _pairs(chance, 130).items()],
            model_type=chance.choice([None, "torch"]),
        )
        model_ids.append(model.model_id)
        more = {"dataset_name": "iris", "dataset_digest": "d"} if chance.random() < 0.5 else {}
        store.log_batch(run_id, _metrics(chance, model_id=model.model_id, run_id=run_id, **more), [], [])
        store.log_metric(run_id, Metric("extra", math.nan, 5, 1, model_id=model.model_id))
        if chance.random() < 0.7:
            store.finalize_logged_model(model.model_id, chance.choice(list(LoggedModelStatus)[2:]))
        store.set_logged_model_tags(model.model_id, [LoggedModelTag("stage/one", "1"), LoggedModelTag("b", "2")])
        store.delete_logged_model_tag(model.model_id, "stage/one")
    store.log_inputs(run_id, models=[LoggedModelInput(model_ids[0])])
    store.log_outputs(run_id, [LoggedModelOutput(model_ids[1], 3), LoggedModelOutput(model_ids[2], 0)])
    store.delete_logged_model(model_ids[4])

    for model_id in model_ids:
        local = both.local.get_logged_model(model_id, allow_deleted=True)
        both.equal(both.remote.get_logged_model(model_id, allow_deleted=True), local)
        assert both.get(f"logged-models/{model_id}", allow_deleted=True)["model"] == both.as_json(local)
    with pytest.raises(MlflowException, match=r"not found|deleted") as refused:
        both.remote.get_logged_model(model_ids[4])
    assert refused.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert both.get("runs/get", run_id=run_id)["run"] == both.as_json(both.local.get_run(run_id))
    for arguments in (
        {},
        {"filter_string": "metrics.metric_1 > 0", "datasets": [{"dataset_name": "iris"}]},
        {"order_by": [{"field_name": "metrics.metric_2", "ascending": False, "dataset_name": "iris"}]},
        {"order_by": [{"field_name": "name"}], "max_results": 2},
    ):
        both.equal_lists(
            both.remote.search_logged_models([experiment_id], **arguments),
            both.local.search_logged_models([experiment_id], **arguments),
        )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("writer", ["remote", "local"])
def test_registered_models_and_versions(both: Both, writer: str, seed: int) -> None:
    chance = random.Random(seed)
    tracking = getattr(both, writer)
    registry = both.remote_registry if writer == "remote" else both.local_registry
    names = [f"model é {uuid.uuid4().hex}" for _ in range(4)]
    new_name = f"renamed {uuid.uuid4().hex}"
    for name in names:
        tags = [RegisteredModelTag(tag, value) for tag, value in _pairs(chance, 3).items()]
        registry.create_registered_model(name, tags, chance.choice([None, "", "about it"]))
        for _ in range(chance.randint(0, 4)):
            _new_version(tracking, registry, chance, name)
    registry.rename_registered_model(names[0], new_name)
    registry.update_registered_model(new_name, "new words")
    registry.set_registered_model_tag(new_name, RegisteredModelTag("a", "1"))
    registry.delete_registered_model_tag(new_name, "a")
    registry.delete_registered_model(names[1])

    local_models = both.local_registry.search_registered_models(None, 100, None, None)
    both.equal_lists(both.remote_registry.search_registered_models(None, 100, None, None), local_models)
    assert {model.name for model in local_models} & {new_name, *names} == {new_name, *names[2:]}
    for model in local_models:
        local = both.local_registry.get_registered_model(model.name)
        both.equal(both.remote_registry.get_registered_model(model.name), local)
        answered = both.get("registered-models/get", name=model.name)["registered_model"]
        assert _without_model_ids(answered) == both.as_json(local)
        for stages in (None, ["Staging", "None"]):
            both.equal_lists(
                both.remote_registry.get_latest_versions(model.name, stages),
                both.local_registry.get_latest_versions(model.name, stages),
            )
        for alias in local.aliases:
            both.equal(
                both.remote_registry.get_model_version_by_alias(model.name, alias),
                both.local_registry.get_model_version_by_alias(model.name, alias),
            )
    local_versions = both.local_registry.search_model_versions(None, 100, ["name", "version_number"], None)
    both.equal_lists(
        both.remote_registry.search_model_versions(None, 100, ["name", "version_number"], None), local_versions
    )
    for version in local_versions:
        key = version.name, version.version
        both.equal(both.remote_registry.get_model_version(*key), both.local_registry.get_model_version(*key))
        local_uri = both.local_registry.get_model_version_download_uri(*key)
        root_uri = f"{both.local.workspace.root_uri}/"
        remote_uri = both.remote_registry.get_model_version_download_uri(*key)
        assert remote_uri == local_uri.replace(root_uri, "mlflow-artifacts:/")


def _new_version(tracking: Any, registry: Any, chance: random.Random, name: str) -> None:
    run = tracking.create_run("0", "", 1, [], None)
    sources = [
        f"{run.info.artifact_uri}/model",
        run.info.artifact_uri,
        "s3://bucket/model",
        f"runs:/{run.info.run_id}/m",
    ]
    if HAS_LOGGED_MODELS:
        model = tracking.create_logged_model("0", source_run_id=run.info.run_id)
        sources += [model.artifact_location, f"models:/{model.model_id}"]
    tags = [ModelVersionTag(tag, value) for tag, value in _pairs(chance, 3).items()]
    source = chance.choice(sources)
    version = registry.create_model_version(
        name,
        source,
        run.info.run_id if source.startswith("runs:") else chance.choice([None, run.info.run_id]),
        tags,
        chance.choice([None, "http://host/run"]),
        chance.choice([None, "", "words"]),
    ).version
    if chance.random() < 0.5:
        registry.set_registered_model_alias(name, f"alias{chance.randint(0, 2)}", version)
    if chance.random() < 0.5:
        registry.transition_model_version_stage(name, version, chance.choice(["Staging", "Production"]), True)
    if chance.random() < 0.5:
        registry.update_model_version(name, version, "other words")
        registry.set_model_version_tag(name, version, ModelVersionTag("a", "1"))
        registry.set_model_version_tag(name, version, ModelVersionTag("b", "1"))
        registry.delete_model_version_tag(name, version, "a")
    if chance.random() < 0.2:
        registry.delete_model_version(name, version)


def _without_model_ids(answered: dict[str, Any]) -> dict[str, Any]:
    """MLflow's `ModelVersion.to_proto` leaves them out, though its protobuf has them."""
    for version in answered.get("latest_versions", []):
        version.pop("model_id", None)
    return answered
