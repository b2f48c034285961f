"""Reading runs whole, a page at a time: a fixed number of queries however many runs."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection, Row, case, select
from typing import Any

from mlflow_amlstore.records.sql import run_inputs
from mlflow_amlstore.records.sql.named_values import in_chunks, values_by_owner
from mlflow_amlstore.records.tables import (
    NAN,
    TEXT,
    experiments,
    run_params,
    run_properties,
    run_tags,
    series,
)
from mlflow_amlstore.records.types import MetricPoint, RunRecord, RunStatus

_NAN = float("nan")


def run_location(experiment_location: str | None, run_id: str) -> str | None:
    """Where a run's files are, when its experiment keeps them in a remote place (MLflow's layout)."""
    return None if experiment_location is None else f"{experiment_location.rstrip('/')}/{run_id}/artifacts"


def run_records(connection: Connection, rows: Sequence[Row[Any]]) -> list[RunRecord]:
    """Return the records of these rows of `runs`, in their order."""
    keys = [row.run_pk for row in rows]
    locations = _experiment_locations(connection, {row.experiment_id for row in rows})
    metrics = _latest_points(connection, keys)
    params = values_by_owner(connection, run_params, keys)
    tags = values_by_owner(connection, run_tags, keys)
    properties = values_by_owner(connection, run_properties, keys)
    datasets = run_inputs.datasets_of_runs(connection, keys)
    models = run_inputs.models_of_runs(connection, keys)
    return [
        RunRecord(
            run_id=row.run_id,
            experiment_id=str(row.experiment_id),
            name=row.name,
            status=RunStatus(row.status),
            user_id=row.user_id,
            created_ms=row.created_ms,
            start_ms=row.start_ms,
            end_ms=row.end_ms,
            deleted_ms=row.deleted_ms,
            parent_run_id=row.parent_run_id,
            artifact_location=run_location(locations[row.experiment_id], row.run_id),
            metrics=metrics[row.run_pk],
            params=params[row.run_pk],
            tags=tags[row.run_pk],
            properties=properties[row.run_pk],
            datasets=datasets[row.run_pk],
            models=models[row.run_pk],
        )
        for row in rows
    ]


def _experiment_locations(connection: Connection, keys: set[int]) -> dict[int, str | None]:
    found: dict[int, str | None] = {}
    for chunk in in_chunks(sorted(keys)):
        columns = experiments.c
        for key, location in connection.execute(
            select(columns.experiment_id, columns.artifact_location).where(columns.experiment_id.in_(chunk))
        ):
            found[key] = location
    return found


def _latest_points(connection: Connection, keys: Sequence[int]) -> dict[int, list[MetricPoint]]:
    found: dict[int, list[MetricPoint]] = defaultdict(list)
    column = series.c
    value = case((column.last_value_type == NAN, None), else_=column.last_value)
    for chunk in in_chunks(keys):
        for key, name, last, step, timestamp_ms in connection.execute(
            select(column.run_pk, column.name, value, column.last_step, column.last_timestamp_ms).where(
                column.run_pk.in_(chunk), column.last_value_type != TEXT
            )
        ):
            found[key].append(MetricPoint(name, _NAN if last is None else last, step, timestamp_ms))
    return found
