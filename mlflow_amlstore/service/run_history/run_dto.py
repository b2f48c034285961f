"""A run as Azure ML's SDK has it."""

from collections.abc import Sequence

import msgspec

from mlflow_amlstore.errors import BodyInvalid
from mlflow_amlstore.protocol.artifact_origins import RUN_CONTAINER_PREFIX
from mlflow_amlstore.protocol.times import iso_time_or_none, time_ms
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import DESCRIPTION_TAG, LOCAL_TARGET, RUN_TYPE_PROPERTY, RunInfo, RunRecord
from mlflow_amlstore.service.azure_errors import ErrorDetail, ErrorResponse


class CreatedBy(msgspec.Struct, frozen=True, rename="camel"):
    """Who made something."""

    user_name: str
    user_object_id: str | None = None
    user_tenant_id: str | None = None


class RunDto(msgspec.Struct, frozen=True, rename="camel"):
    """A run. `params` is ours: what MLflow logged as such."""

    run_id: str
    run_number: int
    root_run_id: str
    parent_run_id: str | None
    experiment_id: str
    status: str
    name: str
    display_name: str
    description: str | None
    data_container_id: str
    created_utc: str | None
    start_time_utc: str | None
    end_time_utc: str | None
    properties: dict[str, str]
    tags: dict[str, str]
    params: dict[str, str]
    run_type: str | None
    target: str
    created_by: CreatedBy
    error: ErrorResponse | None
    run_uuid: str
    hidden: bool = False
    heartbeat_enabled: bool = False


def run_dtos(records: RecordStore, runs: Sequence[RunRecord]) -> list[RunDto]:
    """Runs as the SDK reads them, each with the root of its tree."""
    roots = records.runs.roots_of([run.info.run_id for run in runs if run.info.parent_run_id is not None])
    return [_run_dto(run, roots.get(run.info.run_id, run.info.run_id)) for run in runs]


def run_dto(records: RecordStore, run: RunRecord) -> RunDto:
    """One run as the SDK reads it."""
    return run_dtos(records, [run])[0]


def _run_dto(record: RunRecord, root_run_id: str) -> RunDto:
    info = record.info
    return RunDto(
        run_id=info.run_id,
        run_number=info.number,
        root_run_id=root_run_id,
        parent_run_id=info.parent_run_id,
        experiment_id=info.experiment_id,
        status=info.status.value,
        name=info.name,
        display_name=info.name,
        description=record.tags.get(DESCRIPTION_TAG),
        data_container_id=RUN_CONTAINER_PREFIX + info.run_id,
        created_utc=iso_time_or_none(info.created_ms),
        start_time_utc=iso_time_or_none(info.start_ms),
        end_time_utc=iso_time_or_none(info.end_ms),
        properties=record.properties,
        tags=record.own_tags,
        params=record.params,
        run_type=record.properties.get(RUN_TYPE_PROPERTY),
        target=LOCAL_TARGET,
        created_by=CreatedBy(info.user_id),
        error=error_of(info),
        run_uuid=info.run_id,
    )


def error_of(info: RunInfo) -> ErrorResponse | None:
    """Why a run failed, as the SDK reads it."""
    return None if info.error is None else ErrorResponse(ErrorDetail(info.error.code, info.error.message))


def time_of(text: str) -> int:
    """A time that a client sent, as the records have it. Raises BodyInvalid."""
    try:
        return time_ms(text)
    except ValueError as error:
        raise BodyInvalid(f"{text!r:.50} is not a time such as 2026-11-22T10:15:30.123Z") from error
