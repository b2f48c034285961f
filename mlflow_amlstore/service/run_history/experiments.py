"""Experiments, as Azure ML's SDK has them; in a path each is named by its name or its id."""

from typing import Any

import msgspec

from mlflow_amlstore.errors import InvalidValue, NotFound
from mlflow_amlstore.protocol.times import iso_time_or_none
from mlflow_amlstore.protocol.views import view_from_azure
from mlflow_amlstore.records.types import DESCRIPTION_TAG, ExperimentRecord, RunRecord
from mlflow_amlstore.service.files.containers import check_run_in_experiment
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes
from mlflow_amlstore.service.run_history.odata import read_experiment_filter
from mlflow_amlstore.service.run_history.page_size import page_size

ROUTES = Routes(Area.HISTORY)

_PAGE = 1000


class ExperimentDto(msgspec.Struct, frozen=True, rename="camel"):
    """An experiment."""

    experiment_id: str
    name: str
    description: str | None
    created_utc: str | None
    archived_time: str | None
    tags: dict[str, str]


class ExperimentQuery(msgspec.Struct, frozen=True, rename="camel"):
    """Which experiments: active ones, archived ones, or all, of a name or with tags."""

    view_type: str | None = None
    filter: str | None = None
    continuation_token: str | None = None
    top: int | None = None


class ExperimentPage(msgspec.Struct, frozen=True, rename="camel"):
    """A page of experiments."""

    value: list[ExperimentDto]
    continuation_token: str | None
    next_link: str | None = None


class ModifyExperiment(msgspec.Struct, frozen=True):
    """What changes of an experiment; what isn't given stays."""

    name: str | None = None
    archive: bool | None = None
    tags: dict[str, str | None] | None = None


class DeleteTags(msgspec.Struct, frozen=True):
    """Names of tags."""

    tags: list[str]


class DeletedTags(msgspec.Struct, frozen=True):
    """Which tags are gone, and what could not be."""

    tags: list[str]
    errors: dict[str, Any]


@ROUTES.get("/experiments/{experiment}", Role.READER, Right.TRACK)
@ROUTES.get("/experimentids/{experiment_id}", Role.READER, Right.TRACK)
def get(call: Call) -> ExperimentDto:
    """Tell of an experiment."""
    return _dto(experiment_of(call))


@ROUTES.post("/experiments/{experiment}", Role.CONTRIBUTOR, Right.TRACK)
def create(call: Call) -> ExperimentDto:
    """Make an experiment, or tell of the one that has the name."""
    name = call.path["experiment"]
    found = call.records.experiments.find_by_name(name)
    return _dto(found or call.records.experiments.get(call.records.experiments.create(name)))


@ROUTES.patch("/experimentids/{experiment_id}", Role.CONTRIBUTOR, Right.TRACK)
def modify(call: Call, body: ModifyExperiment) -> ExperimentDto:
    """Rename, tag, archive or reactivate an experiment."""
    experiments, experiment_id = call.records.experiments, call.path["experiment_id"]
    if body.archive is False:
        experiments.restore(experiment_id)
    if body.name:
        experiments.rename(experiment_id, body.name)
    for name, value in (body.tags or {}).items():
        experiments.set_tag(experiment_id, name, value or "")
    if body.archive:
        experiments.delete(experiment_id)
    return _dto(experiments.get(experiment_id))


@ROUTES.delete("/experimentids/{experiment_id}", Role.CONTRIBUTOR, Right.TRACK)
def delete(call: Call) -> None:
    """Delete an experiment without runs."""
    experiment_id = call.path["experiment_id"]
    if call.records.runs.search([experiment_id], max_results=1).items:
        raise InvalidValue("experiment", experiment_id, "has runs; archive it instead")
    call.records.experiments.delete(experiment_id)


@ROUTES.post("/experimentids/{experiment_id}/tags:delete", Role.CONTRIBUTOR, Right.TRACK)
def delete_tags(call: Call, body: DeleteTags) -> DeletedTags:
    """Delete tags of an experiment; one that isn't there is passed over."""
    experiment = experiment_of(call)
    for name in body.tags:
        if name in experiment.tags:
            call.records.experiments.delete_tag(experiment.experiment_id, name)
    return DeletedTags(body.tags, {})


@ROUTES.post("/experiments:query", Role.READER, Right.TRACK, is_long=True)
def query(call: Call, body: ExperimentQuery) -> ExperimentPage:
    """List experiments, the newest first."""
    view = view_from_azure("viewType", body.view_type or "ActiveOnly")
    filter, size = read_experiment_filter(body.filter), page_size("top", body.top, _PAGE)
    page = call.records.experiments.search(
        view=view, filter=filter, max_results=size, page_token=body.continuation_token
    )
    return ExperimentPage([_dto(record) for record in page.items], page.next_token)


def experiment_of(call: Call) -> ExperimentRecord:
    """The experiment that a path names: its `experiment` is a name, its `experiment_id` an id. Raises NotFound."""
    if "experiment_id" in call.path:
        return call.records.experiments.get(call.path["experiment_id"])
    found = call.records.experiments.find_by_name(call.path["experiment"])
    if found is None:
        raise NotFound("experiment", call.path["experiment"])
    return found


def run_of(call: Call, run_id: str | None = None) -> RunRecord:
    """The run that is given or that a path names, in the experiment that it names, if it does. Raises NotFound."""
    run_id = call.path["run"] if run_id is None else run_id
    experiment = call.path.get("experiment_id") or call.path.get("experiment")
    if experiment is not None:
        check_run_in_experiment(call.records, experiment, run_id)
    return call.records.runs.get(run_id)


def _dto(record: ExperimentRecord) -> ExperimentDto:
    return ExperimentDto(
        experiment_id=record.experiment_id,
        name=record.name,
        description=record.tags.get(DESCRIPTION_TAG),
        created_utc=iso_time_or_none(record.created_ms),
        archived_time=iso_time_or_none(record.deleted_ms),
        tags=record.tags,
    )
