"""Inputs and outputs of runs: datasets, and logged models that went in or came out."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection, and_, insert, select

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records import validation
from mlflow_amlstore.records.dialects import insert_new, keys_in
from mlflow_amlstore.records.sql.driver_statement import Driver, DriverStatement
from mlflow_amlstore.records.tables import datasets as dataset_table
from mlflow_amlstore.records.tables import run_dataset_tags, run_datasets, run_models, runs
from mlflow_amlstore.records.types import Dataset, DatasetInput, DatasetSummary, ModelDirection, RunModel
from mlflow_amlstore.records.validation import check_integer, check_length, check_model_id

CONTEXT_TAG = "mlflow.data.context"
_MAX_SUMMARIES = 1000  # MLflow's (`SqlAlchemyStore._search_datasets`)


def check_datasets(inputs: Sequence[DatasetInput]) -> None:
    """Check names, digests and sizes against MLflow's limits."""
    for given in inputs:
        dataset = given.dataset
        for field, value, limit in (
            ("dataset name", dataset.name, validation.MAX_DATASET_NAME_LENGTH),
            ("dataset digest", dataset.digest, validation.MAX_DATASET_DIGEST_LENGTH),
            ("dataset source_type", dataset.source_type, validation.MAX_DATASET_SOURCE_LENGTH),
            ("dataset source", dataset.source, validation.MAX_DATASET_SOURCE_LENGTH),
        ):
            if value is None:
                raise InvalidValue(field, value, "must be given")
            check_length(field, value, limit)
        if dataset.schema is not None:
            check_length("dataset schema", dataset.schema, validation.MAX_DATASET_SCHEMA_LENGTH)
        if dataset.profile is not None:
            check_length("dataset profile", dataset.profile, validation.MAX_DATASET_PROFILE_LENGTH)
        for name, text in given.tags.items():
            check_length("dataset tag", name, validation.MAX_DATASET_TAG_NAME_LENGTH)
            check_length(f"dataset tag {name!r}", text, validation.MAX_DATASET_TAG_VALUE_LENGTH)


def insert_datasets(connection: Connection, run_key: int, inputs: Sequence[DatasetInput]) -> None:
    """Record datasets of a run. One that the run has already, by name and digest, stays as it is."""
    if not inputs:
        return
    experiment: int = connection.execute(select(runs.c.experiment_id).where(runs.c.run_pk == run_key)).scalar_one()
    for given in inputs:
        key = _dataset_key(connection, experiment, given.dataset)
        added = connection.execute(insert_new(run_datasets).values(run_pk=run_key, dataset_id=key)).rowcount
        if added and given.tags:
            rows = [
                {"run_pk": run_key, "dataset_id": key, "name": name, "value": value}
                for name, value in given.tags.items()
            ]
            connection.execute(insert(run_dataset_tags), rows)


def _dataset_key(connection: Connection, experiment: int, dataset: Dataset) -> int:
    column = dataset_table.c
    connection.execute(
        insert_new(dataset_table).values(
            experiment_id=experiment,
            name=dataset.name,
            digest=dataset.digest,
            source_type=dataset.source_type,
            source=dataset.source,
            schema=dataset.schema,
            profile=dataset.profile,
        )
    )
    found = select(column.dataset_id).where(
        column.experiment_id == experiment, column.name == dataset.name, column.digest == dataset.digest
    )
    return int(connection.execute(found).scalar_one())


def insert_models(connection: Connection, run_key: int, models: Sequence[RunModel]) -> None:
    """Record logged models that went into a run or came out of it."""
    for model in models:
        check_model_id(model.model_id)
        check_integer("step", model.step)
    rows = [
        {"run_pk": run_key, "direction": model.direction.value, "model_id": model.model_id, "step": model.step}
        for model in models
    ]
    if rows:
        connection.execute(insert_new(run_models), rows)


_SELECT_DATASETS = DriverStatement(
    select(
        run_datasets.c.run_pk,
        dataset_table.c.dataset_id,
        *[dataset_table.c[name] for name in ("name", "digest", "source_type", "source", "schema", "profile")],
        run_dataset_tags.c.name,
        run_dataset_tags.c.value,
    )
    .select_from(
        run_datasets.join(dataset_table, run_datasets.c.dataset_id == dataset_table.c.dataset_id).outerjoin(
            run_dataset_tags,
            and_(
                run_dataset_tags.c.run_pk == run_datasets.c.run_pk,
                run_dataset_tags.c.dataset_id == dataset_table.c.dataset_id,
            ),
        )
    )
    .where(run_datasets.c.run_pk.in_(keys_in()))
    .order_by(run_datasets.c.run_pk, dataset_table.c.dataset_id),
    "keys",
)
_SELECT_MODELS = DriverStatement(
    select(run_models.c.run_pk, run_models.c.direction, run_models.c.model_id, run_models.c.step).where(
        run_models.c.run_pk.in_(keys_in())
    ),
    "keys",
)


def datasets_of_runs(driver: Driver, keys: str) -> dict[int, list[DatasetInput]]:
    """Return `{run_pk: datasets}` for a `driver_statement.key_list` of runs."""
    found: dict[int, dict[int, DatasetInput]] = defaultdict(dict)
    for run_key, key, *dataset, tag, value in _SELECT_DATASETS.run(driver, keys):
        known = found[run_key].setdefault(key, DatasetInput(Dataset(*dataset)))
        if tag is not None:
            known.tags[tag] = value
    return defaultdict(list, {run_key: list(inputs.values()) for run_key, inputs in found.items()})


def models_of_runs(driver: Driver, keys: str) -> dict[int, list[RunModel]]:
    """Return `{run_pk: logged models}` for a `driver_statement.key_list` of runs."""
    found: dict[int, list[RunModel]] = defaultdict(list)
    for run_key, direction, model_id, step in _SELECT_MODELS.run(driver, keys):
        found[run_key].append(RunModel(ModelDirection(direction), model_id, step))
    return found


def dataset_summaries(connection: Connection, experiment_keys: Sequence[int]) -> list[DatasetSummary]:
    """Return each dataset of these experiments with each context it was used in."""
    column, tag = dataset_table.c, run_dataset_tags.c
    statement = (
        select(column.experiment_id, column.name, column.digest, tag.value)
        .select_from(
            dataset_table.join(run_datasets, run_datasets.c.dataset_id == column.dataset_id).outerjoin(
                run_dataset_tags,
                and_(tag.run_pk == run_datasets.c.run_pk, tag.dataset_id == column.dataset_id, tag.name == CONTEXT_TAG),
            )
        )
        .where(column.experiment_id.in_(experiment_keys))
        .distinct()
        .limit(_MAX_SUMMARIES)
    )
    return [
        DatasetSummary(str(experiment), name, digest, context)
        for experiment, name, digest, context in connection.execute(statement)
    ]
