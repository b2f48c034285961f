"""Reading runs: one by its id, or a page of them in a fixed number of queries, whatever its length."""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.records.database import driver_connection
from mlflow_amlstore.records.dialects import key_list, keys_in
from mlflow_amlstore.records.locations import below
from mlflow_amlstore.records.sql import run_inputs
from mlflow_amlstore.records.sql.driver_statement import Driver, DriverStatement
from mlflow_amlstore.records.sql.named_values import NamedValues
from mlflow_amlstore.records.tables import (
    NAN,
    RUN_FACTS,
    TEXT,
    experiments,
    run_params,
    run_properties,
    run_tags,
    runs,
    series,
)
from mlflow_amlstore.records.types import MetricPoint, RunError, RunInfo, RunRecord, RunStatus

_NAN_VALUE = float("nan")
_STATUSES = {status.value: status for status in RunStatus}
_SELECT_INFO = DriverStatement(
    select(*RUN_FACTS, experiments.c.artifact_location)
    .join(experiments, runs.c.experiment_id == experiments.c.experiment_id)
    .where(runs.c.run_id == bindparam("run_id")),
    "run_id",
)
_SELECT_LOCATIONS = DriverStatement(
    select(experiments.c.experiment_id, experiments.c.artifact_location).where(
        experiments.c.experiment_id.in_(keys_in())
    ),
    "keys",
)
_SELECT_LATEST = DriverStatement(
    select(
        series.c.run_pk,
        series.c.name,
        series.c.last_value,
        series.c.last_step,
        series.c.last_timestamp_ms,
        series.c.last_value_type,
    ).where(series.c.run_pk.in_(keys_in()), series.c.last_value_type != TEXT),
    "keys",
    "last_value_type_1",
)
_PARAMS, _TAGS, _PROPERTIES = NamedValues(run_params), NamedValues(run_tags), NamedValues(run_properties)


def run_location(experiment_location: str | None, run_id: str) -> str | None:
    """Where a run's files are, when its experiment keeps them in a remote place (MLflow's layout)."""
    return None if experiment_location is None else below(experiment_location, f"{run_id}/artifacts")


def find_info(driver: Driver, run_id: str) -> tuple[int, RunInfo] | None:
    """Return a run's key and its facts, or None."""
    row = _SELECT_INFO.run(driver, run_id).fetchone()
    return None if row is None else (row[0], run_info(row[:-1], row[-1]))


def run_record(connection: Connection, run_id: str) -> RunRecord:
    """Return one run. Raises NotFound."""
    driver = driver_connection(connection)
    found = find_info(driver, run_id)
    if found is None:
        raise NotFound("run", run_id)
    return _with_details(driver, [found])[0]


def run_records(connection: Connection, rows: Sequence[Row[Any]]) -> list[RunRecord]:
    """Return the runs of these rows, which begin with `tables.RUN_FACTS`, in their order."""
    driver = driver_connection(connection)
    experiment_keys = sorted({row.experiment_id for row in rows})
    locations = dict(_SELECT_LOCATIONS.run(driver, key_list(experiment_keys)).fetchall())
    infos = []
    for row in rows:
        facts: Sequence[Any] = row[: len(RUN_FACTS)]
        infos.append((facts[0], run_info(facts, locations[row.experiment_id])))
    return _with_details(driver, infos)


def run_info(facts: Sequence[Any], experiment_location: str | None) -> RunInfo:
    """Return the facts of a run, whose row has `tables.RUN_FACTS`."""
    key, run_id, experiment, name, status, user_id, created_ms, start_ms, end_ms, deleted_ms, parent_run_id, error = (
        facts
    )
    return RunInfo(
        run_id,
        str(experiment),
        name,
        _STATUSES[status],
        user_id,
        created_ms,
        start_ms,
        end_ms,
        deleted_ms,
        parent_run_id,
        run_location(experiment_location, run_id),
        None if error is None else RunError(**json.loads(error)),
        key,
    )


def _with_details(driver: Driver, infos: Sequence[tuple[int, RunInfo]]) -> list[RunRecord]:
    keys = key_list([key for key, _ in infos])
    metrics = _latest_points(driver, keys)
    params, tags, properties = (table.of_owners(driver, keys) for table in (_PARAMS, _TAGS, _PROPERTIES))
    datasets = run_inputs.datasets_of_runs(driver, keys)
    models = run_inputs.models_of_runs(driver, keys)
    return [
        RunRecord(info, metrics[key], params[key], tags[key], properties[key], datasets[key], models[key])
        for key, info in infos
    ]


def _latest_points(driver: Driver, keys: str) -> dict[int, list[MetricPoint]]:
    found: dict[int, list[MetricPoint]] = defaultdict(list)
    rows: Any = _SELECT_LATEST.run(driver, keys, TEXT)
    for key, name, value, step, timestamp_ms, value_type in rows:
        found[key].append(MetricPoint(name, _NAN_VALUE if value_type == NAN else value, step, timestamp_ms))
    return found
