"""Runs, as Azure ML's SDK has them: made and changed by one call, read, listed with their children, and detailed."""

from collections.abc import Mapping
from typing import Any

import msgspec

from mlflow_amlstore.errors import InvalidValue, NotFound
from mlflow_amlstore.protocol.times import iso_time_or_none
from mlflow_amlstore.records.status import status_from_azure
from mlflow_amlstore.records.types import DESCRIPTION_TAG, LOCAL_TARGET, Page, RunRecord, RunStatus
from mlflow_amlstore.service.azure_errors import ErrorResponse
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes
from mlflow_amlstore.service.run_history.experiments import experiment_of, run_of
from mlflow_amlstore.service.run_history.odata import read_run_filter
from mlflow_amlstore.service.run_history.page_size import page_size
from mlflow_amlstore.service.run_history.run_dto import (
    RunDto,
    error_of,
    run_dto,
    run_dtos,
)

ROUTES = Routes(Area.HISTORY)

_BY_NAME, _BY_ID = "/experiments/{experiment}", "/experimentids/{experiment_id}"
_PAGE = 500
_MOST_RUNS = 5000


class CreateOrModifyRun(msgspec.Struct, frozen=True, rename="camel"):
    """A new run, or changes to a run: what isn't given stays, and tags and properties are added.

    `status` is only for a new run. The status of an existing run is changed by events.
    """

    run_id: str | None = None
    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    parent_run_id: str | None = None
    status: str | None = None
    tags: dict[str, str | None] | None = None
    properties: dict[str, str | None] | None = None
    created_by: dict[str, Any] | None = None


class BatchOfRuns(msgspec.Struct, frozen=True):
    """Several runs to make or change."""

    runs: list[CreateOrModifyRun]


class BatchOfRunsResult(msgspec.Struct, frozen=True):
    """What became of each, by its id."""

    runs: dict[str, RunDto]
    errors: dict[str, ErrorResponse]


class RunQuery(msgspec.Struct, frozen=True, rename="camel"):
    """Which runs; `orderby` is taken and always is the latest started first."""

    filter: str | None = None
    orderby: str | None = None
    top: int | None = None
    continuation_token: str | None = None


class ChildrenQuery(msgspec.Struct, frozen=True, rename=lambda name: f"${name}"):
    """Which children of a run."""

    filter: str | None = None
    orderby: str | None = None
    top: int | None = None
    continuationToken: str | None = None  # its name in the query, after the dollar sign


class RunPage(msgspec.Struct, frozen=True, rename="camel"):
    """A page of runs."""

    value: list[RunDto]
    continuation_token: str | None
    next_link: str | None = None


class RunDetails(msgspec.Struct, frozen=True, rename="camel"):
    """What is known of a run, for whoever looks at it. `params` is ours: what MLflow logged as such."""

    run_id: str
    target: str
    status: str
    start_time_utc: str | None
    end_time_utc: str | None
    services: dict[str, Any]
    properties: dict[str, str]
    params: dict[str, str]
    input_datasets: list[dict[str, str]]
    output_datasets: list[dict[str, str]]
    run_definition: dict[str, Any]
    log_files: dict[str, str]
    warnings: list[dict[str, str]]
    error: ErrorResponse | None


@ROUTES.patch(f"{_BY_NAME}/runs/{{run}}", Role.CONTRIBUTOR, Right.TRACK)
@ROUTES.patch(f"{_BY_ID}/runs/{{run}}", Role.CONTRIBUTOR, Right.TRACK)
def create_or_modify(call: Call, body: CreateOrModifyRun) -> RunDto:
    """Make a run, or change it."""
    return run_dto(call.records, _put(call, experiment_of(call).experiment_id, call.path["run"], body))


@ROUTES.patch("/runs/{run}", Role.CONTRIBUTOR, Right.TRACK)
def modify(call: Call, body: CreateOrModifyRun) -> RunDto:
    """Change a run, whichever experiment it is in."""
    return run_dto(call.records, _change(call, call.records.runs.get(call.path["run"]), body))


@ROUTES.patch(f"{_BY_NAME}/batch/runs", Role.CONTRIBUTOR, Right.TRACK, is_long=True)
@ROUTES.patch(f"{_BY_ID}/batch/runs", Role.CONTRIBUTOR, Right.TRACK, is_long=True)
def create_or_modify_many(call: Call, body: BatchOfRuns) -> BatchOfRunsResult:
    """Make or change several runs."""
    if len(body.runs) > _MOST_RUNS:
        raise InvalidValue("runs", f"a list of {len(body.runs)}", f"a batch has at most {_MOST_RUNS}; send several")
    experiment_id = experiment_of(call).experiment_id
    done = []
    for wanted in body.runs:
        if not wanted.run_id:
            raise InvalidValue("runId", wanted.run_id, "must be given for each run of a batch")
        done.append(_put(call, experiment_id, wanted.run_id, wanted))
    return BatchOfRunsResult({run.run_id: run for run in run_dtos(call.records, done)}, {})


@ROUTES.get(f"{_BY_NAME}/runs/{{run}}", Role.READER, Right.TRACK)
@ROUTES.get(f"{_BY_ID}/runs/{{run}}", Role.READER, Right.TRACK)
@ROUTES.get("/runs/{run}", Role.READER, Right.TRACK)
def get(call: Call) -> RunDto:
    """Tell of a run."""
    return run_dto(call.records, run_of(call))


@ROUTES.post(f"{_BY_NAME}/runs:query", Role.READER, Right.TRACK, is_long=True)
@ROUTES.post(f"{_BY_ID}/runs:query", Role.READER, Right.TRACK, is_long=True)
def query(call: Call, body: RunQuery) -> RunPage:
    """List runs of an experiment, the latest started first."""
    experiment_id = experiment_of(call).experiment_id
    filter = read_run_filter(body.filter)
    return _page(
        call,
        call.records.runs.find(
            filter,
            experiment_id=experiment_id,
            max_results=page_size("top", body.top, _PAGE),
            page_token=body.continuation_token,
        ),
    )


@ROUTES.get(f"{_BY_NAME}/runs/{{run}}/children", Role.READER, Right.TRACK, is_long=True)
@ROUTES.get(f"{_BY_ID}/runs/{{run}}/children", Role.READER, Right.TRACK, is_long=True)
@ROUTES.get("/runs/{run}/children", Role.READER, Right.TRACK, is_long=True)
def children(call: Call, body: ChildrenQuery) -> RunPage:
    """List the children of a run, the latest started first."""
    filter = read_run_filter(body.filter, parent_run_id=run_of(call).info.run_id)
    size = page_size("$top", body.top, _PAGE)
    return _page(call, call.records.runs.find(filter, max_results=size, page_token=body.continuationToken))


@ROUTES.get(f"{_BY_NAME}/runs/{{run}}/details", Role.READER, Right.TRACK)
@ROUTES.get(f"{_BY_ID}/runs/{{run}}/details", Role.READER, Right.TRACK)
@ROUTES.get("/runs/{run}/details", Role.READER, Right.TRACK)
def details(call: Call) -> RunDetails:
    """Tell all that is known of a run."""
    record = run_of(call)
    info = record.info
    definition = call.records.runs.definition(info.run_id)
    return RunDetails(
        run_id=info.run_id,
        target=str(definition.get("target") or LOCAL_TARGET),
        status=info.status.value,
        start_time_utc=iso_time_or_none(info.start_ms),
        end_time_utc=iso_time_or_none(info.end_ms),
        services={},
        properties=record.properties,
        params=record.params,
        input_datasets=[{"name": used.dataset.name, "digest": used.dataset.digest} for used in record.datasets],
        output_datasets=[],
        run_definition=definition,
        log_files={},
        warnings=[],
        error=error_of(info),
    )


@ROUTES.delete(f"{_BY_NAME}/runs/{{run}}/tags", Role.CONTRIBUTOR, Right.TRACK)
@ROUTES.delete(f"{_BY_ID}/runs/{{run}}/tags", Role.CONTRIBUTOR, Right.TRACK)
@ROUTES.delete("/runs/{run}/tags", Role.CONTRIBUTOR, Right.TRACK)
def delete_tags(call: Call, body: list[str]) -> RunDto:
    """Delete tags of a run; one that isn't there is passed over."""
    record = run_of(call)
    for name in body:
        if name in record.tags:
            call.records.runs.delete_tag(record.info.run_id, name)
    return run_dto(call.records, call.records.runs.get(record.info.run_id))


def _page(call: Call, page: Page[RunRecord]) -> RunPage:
    return RunPage(run_dtos(call.records, page.items), page.next_token)


def _put(call: Call, experiment_id: str, run_id: str, body: CreateOrModifyRun) -> RunRecord:
    try:
        known = call.records.runs.get(run_id)
    except NotFound:
        return call.records.runs.create(
            experiment_id,
            run_id=run_id,
            name=_name(body, run_id),
            user_id=str((body.created_by or {}).get("userName") or ""),
            status=RunStatus.NOT_STARTED if body.status is None else status_from_azure(body.status),
            parent_run_id=body.parent_run_id,
            tags=_tags(body),
            properties=_texts(body.properties),
        )
    if known.info.experiment_id != experiment_id:
        raise NotFound("run", run_id, "It is in another experiment")
    return _change(call, known, body)


def _change(call: Call, known: RunRecord, body: CreateOrModifyRun) -> RunRecord:
    runs, run_id = call.records.runs, known.info.run_id
    if body.display_name:
        runs.update(run_id, name=body.display_name)
    if tags := _tags(body):
        runs.set_tags(run_id, tags)
    if body.properties:
        runs.add_properties(run_id, _texts(body.properties))
    return runs.get(run_id)


def _tags(body: CreateOrModifyRun) -> dict[str, str]:
    description = {} if body.description is None else {DESCRIPTION_TAG: body.description}
    return {**_texts(body.tags), **description}


def _texts(values: Mapping[str, str | None] | None) -> dict[str, str]:
    return {name: value or "" for name, value in (values or {}).items()}


def _name(body: CreateOrModifyRun, run_id: str) -> str | None:
    """A name that somebody chose: the SDK makes one of the id where nobody did."""
    return body.display_name or (None if body.name == f"run_{run_id}" else body.name)
