"""MLflow's own SQL stores and ours with the same records in them, for asking both the same."""

import math
import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunStatus, RunTag, ViewType
from mlflow.entities.logged_model_parameter import LoggedModelParameter
from mlflow.entities.logged_model_tag import LoggedModelTag
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as MlflowRegistry
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as MlflowStore

from mlflow_amlstore.records.status import status_from_mlflow
from mlflow_amlstore.records.types import OrderTerm, View

VALUES = [0.5, 1.0, 1.0, -2.5e-3, 0.0, 7.0, math.nan, math.inf, -math.inf, 1e300]
TEXTS = ["x", "X", "adam", "Adam", "a_b", "a%b", "it's", 'say "so"', "", "10", "ümlaut", "back\\slash"]


@pytest.fixture(scope="session")
def twin(shared_records: Any, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Both stores, with one way to search each: `mlflow`, `ours`, `by_pages`."""
    folder = tmp_path_factory.mktemp("mlflow")
    store = MlflowStore(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"))
    registry = MlflowRegistry(f"sqlite:///{folder}/mlflow.db")
    chance = random.Random(20240607)
    _fill_experiments(store, shared_records, chance)
    _fill_runs(store, shared_records, chance)
    _fill_models(registry, shared_records, chance)
    _fill_logged_models(store, shared_records, chance)

    def mlflow(resource: str, filter: str | None = None, order_by: Sequence[Any] = (), **more: Any) -> list[Any]:
        view = {View.ACTIVE: 1, View.DELETED: 2, View.ALL: 3}[more.get("view", View.ACTIVE)]
        if resource == "runs":
            found = store.search_runs(["0", "1"], filter, view, 1000, list(order_by))
            return [run.info.run_id for run in found]
        if resource == "experiments":
            return [e.name for e in store.search_experiments(view, 1000, filter, list(order_by))]
        if resource == "models":
            return [m.name for m in registry.search_registered_models(filter, 1000, list(order_by))]
        if resource == "versions":
            found = registry.search_model_versions(filter, 1000, list(order_by))
            return [(v.name, v.version) for v in found]
        return _mlflow_logged_models(store, filter, order_by, more.get("datasets", ()))

    def ours(resource: str, filter: str | None = None, order_by: Sequence[Any] = (), **more: Any) -> list[Any]:
        return shared_records.search(resource, filter, order_by, **_scope(resource), **more)

    def by_pages(resource: str, filter: str | None = None, order_by: Sequence[Any] = (), **more: Any) -> list[Any]:
        return shared_records.search_by_pages(resource, 7, filter=filter, order_by=order_by, **_scope(resource), **more)

    return SimpleNamespace(mlflow=mlflow, ours=ours, by_pages=by_pages)


def _scope(resource: str) -> dict[str, Any]:
    return {"experiment_keys": [0, 1]} if resource in ("runs", "logged_models") else {}


def _mlflow_logged_models(
    store: MlflowStore, filter: str | None, order_by: Sequence[OrderTerm], datasets: Sequence[tuple[str, str | None]]
) -> list[str]:
    orderings = [
        {
            "field_name": term.name,
            "ascending": term.is_ascending,
            "dataset_name": term.dataset_name,
            "dataset_digest": term.dataset_digest,
        }
        for term in order_by
    ]
    scopes = [{"dataset_name": name, **({"dataset_digest": digest} if digest else {})} for name, digest in datasets]
    found = store.search_logged_models(["0", "1"], filter, scopes, 1000, orderings)
    return [model.model_id for model in found]


def _fill_experiments(store: MlflowStore, records: Any, chance: random.Random) -> None:
    for number in range(20):
        key = store.create_experiment(f"{chance.choice(TEXTS) or 'none'}-{number}")
        for tag in chance.sample(["team", "my tag", "a.b"], chance.randrange(3)):
            store.set_experiment_tag(key, RunTag(tag, chance.choice(TEXTS)))
        if number and chance.random() < 0.3:
            store.delete_experiment(key)
    with records.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM experiments")
    for experiment in store.search_experiments(ViewType.ALL, 1000):
        records.add_experiment(
            experiment.name,
            experiment_id=int(experiment.experiment_id),
            created_ms=experiment.creation_time,
            updated_ms=experiment.last_update_time,
            deleted_ms=1 if experiment.lifecycle_stage == "deleted" else None,
            tags=experiment.tags,
        )


def _fill_runs(store: MlflowStore, records: Any, chance: random.Random) -> None:
    for number in range(55):
        run = store.create_run(
            chance.choice(["0", "0", "1"]),
            chance.choice(["ann", "Bob"]),
            1000 + chance.randrange(12),
            [RunTag(name, chance.choice(TEXTS)) for name in chance.sample(["t", "my tag", "a.b.c"], 2)],
            chance.choice(["quick run", "slow-run", f"run {number}"]),
        )
        run_id = run.info.run_id
        metrics = [Metric(name, chance.choice(VALUES), 1, 0) for name in _some(chance, ["m", "n", "val/acc", "m m"])]
        params = [Param(name, chance.choice(TEXTS)) for name in _some(chance, ["p", "q", "my param", "a/b"])]
        store.log_batch(run_id, metrics, params, [])
        for _ in range(chance.randrange(3)):
            _log_dataset(store, run_id, chance)
        status = chance.choice([RunStatus.RUNNING, RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED])
        end_ms = chance.choice([None, 2000, 2001])
        store.update_run_info(run_id, status, end_ms, None)
        if chance.random() < 0.15:
            store.delete_run(run_id)
    for run in store.search_runs(["0", "1"], None, ViewType.ALL, 1000):
        records.add_run(
            run.info.run_id,
            experiment_id=int(run.info.experiment_id),
            name=run.info.run_name,
            user_id=run.info.user_id,
            status=status_from_mlflow(run.info.status).value,
            start_ms=run.info.start_time,
            end_ms=run.info.end_time,
            deleted_ms=1 if run.info.lifecycle_stage == "deleted" else None,
            metrics=run.data.metrics,
            params=run.data.params,
            tags=run.data.tags,
            datasets=[
                (used.dataset.name, used.dataset.digest, next((tag.value for tag in used.tags), None))
                for used in run.inputs.dataset_inputs
            ],
        )


def _some(chance: random.Random, names: list[str]) -> list[str]:
    return [name for name in names if chance.random() < 0.7]


def _log_dataset(store: MlflowStore, run_id: str, chance: random.Random) -> None:
    dataset = Dataset(chance.choice(["iris", "Iris", "mnist"]), chance.choice(["d1", "d2"]), "local", "s")
    context = chance.choice([[], [InputTag("mlflow.data.context", chance.choice(["train", "eval"]))]])
    run = store.get_run(run_id)
    if all(
        (used.dataset.name, used.dataset.digest) != (dataset.name, dataset.digest) for used in run.inputs.dataset_inputs
    ):
        store.log_inputs(run_id, [DatasetInput(dataset, context)])


def _fill_models(registry: MlflowRegistry, records: Any, chance: random.Random) -> None:
    for number in range(20):
        name = f"{chance.choice(['cat', 'Cat', 'dog', 'a_b'])} {number}"
        tags = [RegisteredModelTag(tag, chance.choice(TEXTS)) for tag in _some(chance, ["t", "my tag"])]
        is_prompt = chance.random() < 0.3
        if is_prompt:
            tags.append(RegisteredModelTag("mlflow.prompt.is_prompt", "true"))
        registry.create_registered_model(name, tags)
        for _ in range(chance.randrange(4)):
            tags = [ModelVersionTag(tag, chance.choice(TEXTS)) for tag in _some(chance, ["t", "my tag"])]
            if is_prompt:
                tags.append(ModelVersionTag("mlflow.prompt.is_prompt", "true"))
            version = registry.create_model_version(
                name, chance.choice(["runs:/r1/m", "s3://b/M"]), chance.choice([None, "r1", "r2"]), tags
            )
            if chance.random() < 0.2:
                registry.delete_model_version(name, str(version.version))
    everything = "tags.`mlflow.prompt.is_prompt` = 'true'"
    for model in [*registry.search_registered_models(None, 1000), *registry.search_registered_models(everything, 1000)]:
        tags = dict(model._tags)
        key = records.add_model(model.name, updated_ms=model.last_updated_timestamp, tags=tags)
        for filter in (None, everything):
            for version in registry.search_model_versions(filter, 1000):
                if version.name == model.name:
                    records.add_version(
                        key,
                        version.version,
                        source=version.source,
                        run_id=version.run_id,
                        created_ms=version.creation_timestamp,
                        updated_ms=version.last_updated_timestamp,
                        tags=version.tags,
                    )


def _fill_logged_models(store: MlflowStore, records: Any, chance: random.Random) -> None:
    finite = [value for value in VALUES if not math.isnan(value)]  # MLflow keeps a logged model's NaN as 0
    runs = [run.info.run_id for run in store.search_runs(["0"], None, ViewType.ACTIVE_ONLY, 5)]
    for number in range(30):
        model = store.create_logged_model(
            chance.choice(["0", "1"]),
            chance.choice(["alpha", "Beta", f"gamma {number}"]),
            chance.choice([None, runs[0]]),
            [LoggedModelTag(tag, chance.choice(TEXTS)) for tag in _some(chance, ["t", "my tag"])],
            [LoggedModelParameter(param, chance.choice(TEXTS) or "-") for param in _some(chance, ["p", "q"])],
            chance.choice([None, "keras", "Agent"]),
        )
        points = []
        for step in range(chance.randrange(5)):
            name, digest = chance.choice([(None, None), ("iris", "d1"), ("iris", "d2"), ("mnist", "d1")])
            point = {"step": step, "timestamp_ms": chance.randrange(3), "run_id": chance.choice(runs)}
            point |= {"name": chance.choice(["acc", "loss"]), "value": chance.choice(finite)}
            metric = Metric(point["name"], point["value"], point["timestamp_ms"], step, model.model_id, name, digest)
            store.log_batch(point["run_id"], [metric], [], [])
            points.append({**point, "dataset_name": name or "", "dataset_digest": digest or ""})
        records.add_logged_model(
            model.model_id,
            experiment_id=int(model.experiment_id),
            name=model.name,
            model_type=model.model_type,
            source_run_id=model.source_run_id,
            created_ms=model.creation_timestamp,
            updated_ms=model.last_updated_timestamp,
            params=model.params,
            tags=model.tags,
            points=points,
        )
