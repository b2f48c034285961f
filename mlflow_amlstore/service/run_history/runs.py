"""Runs, as Azure ML's SDK has them: made and changed by one call, read, listed with their children, and detailed."""

from typing import Any

import msgspec

from mlflow_amlstore.errors import InvalidValue, NotFound
from mlflow_amlstore.records.status import status_from_azure
from mlflow_amlstore.records.types import DESCRIPTION_TAG, Page, RunRecord, RunStatus
from mlflow_amlstore.service.files.containers import check_run_in_experiment
from mlflow_amlstore.service.routing import Area, Call, Role, Routes
from mlflow_amlstore.service.run_history.experiments import experiment_of
from mlflow_amlstore.service.run_history.run_dto import (
    TARGET,
    ErrorOfRun,
    RunDto,
    error_of,
    run_dto,
)
from mlflow_amlstore.service.run_history.run_filters import read_run_filter
from mlflow_amlstore.workspace.run_history.moments import iso_or_none

ROUTES = Routes(Area.HISTORY)

_BY_NAME, _BY_ID = "/experiments/{experiment}", "/experimentids/{experiment}"
_PAGE = 500


class CreateOrModifyRun(msgspec.Struct, frozen=True, rename="camel"):
    """A run, or what changes of it: what isn't given stays, tags and properties are added to what is there."""

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
    errors: dict[str, ErrorOfRun]


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
    error: ErrorOfRun | None


@ROUTES.patch(f"{_BY_NAME}/runs/{{run}}", Role.CONTRIBUTOR)
def create_or_modify(call: Call, body: CreateOrModifyRun) -> RunDto:
    """Make a run, or change it."""
    return run_dto(_put(call, experiment_of(call.records, call.path["experiment"], by_id=False).experiment_id, body))


@ROUTES.patch(f"{_BY_ID}/runs/{{run}}", Role.CONTRIBUTOR)
def create_or_modify_by_id(call: Call, body: CreateOrModifyRun) -> RunDto:
    """Make a run, or change it, in an experiment that is named by its id."""
    return run_dto(_put(call, call.path["experiment"], body))


@ROUTES.patch(f"{_BY_NAME}/batch/runs", Role.CONTRIBUTOR)
def create_or_modify_many(call: Call, body: BatchOfRuns) -> BatchOfRunsResult:
    """Make or change several runs."""
    experiment_id = experiment_of(call.records, call.path["experiment"], by_id=False).experiment_id
    done: dict[str, RunDto] = {}
    for wanted in body.runs:
        if not wanted.run_id:
            raise InvalidValue("runId", wanted.run_id, "must be given for each run of a batch")
        done[wanted.run_id] = run_dto(_put(call, experiment_id, wanted, wanted.run_id))
    return BatchOfRunsResult(done, {})


@ROUTES.get("/runs/{run}", Role.READER)
def get_of_workspace(call: Call) -> RunDto:
    """Tell of a run, whichever experiment it is in."""
    return run_dto(call.records.runs.get(call.path["run"]))


@ROUTES.get(f"{_BY_NAME}/runs/{{run}}", Role.READER)
@ROUTES.get(f"{_BY_ID}/runs/{{run}}", Role.READER)
def get(call: Call) -> RunDto:
    """Tell of a run."""
    return run_dto(_run(call))


@ROUTES.post(f"{_BY_NAME}/runs:query", Role.READER)
def query(call: Call, body: RunQuery) -> RunPage:
    """List runs of an experiment, the latest started first."""
    experiment_id = experiment_of(call.records, call.path["experiment"], by_id=False).experiment_id
    filter = read_run_filter(body.filter)
    return _page(
        call.records.runs.find(
            filter,
            experiment_id=experiment_id,
            max_results=body.top or _PAGE,
            page_token=body.continuation_token,
        )
    )


@ROUTES.get(f"{_BY_NAME}/runs/{{run}}/children", Role.READER)
def children(call: Call, body: ChildrenQuery) -> RunPage:
    """List the children of a run, the latest started first."""
    filter = read_run_filter(body.filter, of=_run(call).info.run_id)
    return _page(call.records.runs.find(filter, max_results=body.top or _PAGE, page_token=body.continuationToken))


@ROUTES.get(f"{_BY_NAME}/runs/{{run}}/details", Role.READER)
def details(call: Call) -> RunDetails:
    """Tell all that is known of a run."""
    record = _run(call)
    info = record.info
    return RunDetails(
        run_id=info.run_id,
        target=TARGET,
        status=info.status.value,
        start_time_utc=iso_or_none(info.start_ms),
        end_time_utc=iso_or_none(info.end_ms),
        services={},
        properties=record.properties,
        params=record.params,
        input_datasets=[{"name": used.dataset.name, "digest": used.dataset.digest} for used in record.datasets],
        output_datasets=[],
        run_definition={},
        log_files={},
        warnings=[],
        error=error_of(info),
    )


@ROUTES.delete(f"{_BY_NAME}/runs/{{run}}/tags", Role.CONTRIBUTOR)
def delete_tags(call: Call, body: list[str]) -> RunDto:
    """Delete tags of a run; one that isn't there is passed over."""
    record = _run(call)
    for name in body:
        if name in record.tags:
            call.records.runs.delete_tag(record.info.run_id, name)
    return run_dto(call.records.runs.get(record.info.run_id))


def _run(call: Call) -> RunRecord:
    check_run_in_experiment(call.records, call.path["experiment"], call.path["run"])
    return call.records.runs.get(call.path["run"])


def _page(page: Page[RunRecord]) -> RunPage:
    return RunPage([run_dto(record) for record in page.items], page.next_token)


def _put(call: Call, experiment_id: str, body: CreateOrModifyRun, run_id: str = "") -> RunRecord:
    runs, run_id = call.records.runs, run_id or call.path["run"]
    tags = {name: value or "" for name, value in (body.tags or {}).items()}
    if body.description is not None:
        tags[DESCRIPTION_TAG] = body.description
    properties = {name: value or "" for name, value in (body.properties or {}).items()}
    try:
        known = runs.get(run_id)
    except NotFound:
        user = (body.created_by or {}).get("userName") or ""
        return runs.create(
            experiment_id,
            run_id=run_id,
            name=_name(body, run_id),
            user_id=str(user),
            status=RunStatus.NOT_STARTED if body.status is None else status_from_azure(body.status),
            parent_run_id=body.parent_run_id,
            tags=tags,
            properties=properties,
        )
    if known.info.experiment_id != experiment_id:
        raise NotFound("run", run_id, "It is in another experiment")
    if body.display_name or body.status:
        status = None if body.status is None else status_from_azure(body.status)
        runs.update(run_id, name=body.display_name, status=status)
    if tags:
        runs.set_tags(run_id, tags)
    if properties:
        runs.add_properties(run_id, properties)
    return runs.get(run_id)


def _name(body: CreateOrModifyRun, run_id: str) -> str | None:
    """A name that somebody chose: the SDK makes one of the id where nobody did."""
    return body.display_name or (None if body.name == f"run_{run_id}" else body.name)
