"""MLflow's runs: creating, changing, reading and searching them. Logging into them is `run_log`."""

import msgspec

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.status import MLFLOW_STATUS, status_from_mlflow
from mlflow_amlstore.records.types import DatasetInput, ModelDirection, RunRecord, RunStatus
from mlflow_amlstore.records.types import RunInfo as InfoRecord
from mlflow_amlstore.records.validation import MAX_TAG_VALUE_LENGTH
from mlflow_amlstore.service.mlflow_api.fields import (
    Given,
    KeyValue,
    Metric,
    OfRun,
    cut,
    key_values,
    number,
    view_of,
)
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes
from mlflow_amlstore.service.uris import Uris

routes = Routes(Area.MLFLOW)

_DEFAULT_MAX_RESULTS = 1000
_STATUS_BY_NUMBER = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}


class CreateRun(msgspec.Struct):
    """A new run."""

    experiment_id: Given
    user_id: str | None = None
    run_name: str | None = None
    start_time: int | None = None
    tags: list[KeyValue] | None = None


class UpdateRun(OfRun):
    """What changes of a run; what isn't given stays."""

    status: str | int | None = None
    end_time: int | None = None
    run_name: str | None = None


class SearchRuns(msgspec.Struct):
    """A search; `filter` and `order_by` are MLflow's grammar."""

    experiment_ids: list[str] | None = None
    filter: str | None = None
    run_view_type: str | int | None = None
    max_results: int | None = None
    order_by: list[str] | None = None
    page_token: str | None = None


class RunInfo(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A run's own facts; `run_uuid` is the id's old name."""

    run_id: str
    run_uuid: str
    run_name: str
    experiment_id: str
    user_id: str
    status: str
    start_time: int
    artifact_uri: str
    lifecycle_stage: str
    end_time: int | None = None


class RunData(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run's latest metrics, params and tags."""

    metrics: list[Metric] = []
    params: list[KeyValue] = []
    tags: list[KeyValue] = []


class Dataset(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A dataset that a run used, by name and digest; `schema` and `profile` are JSON texts."""

    name: Given
    digest: Given
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None


class InputDataset(msgspec.Struct, frozen=True, omit_defaults=True):
    """A dataset and the tags of its use in a run."""

    dataset: Dataset
    tags: list[KeyValue] = []


class ModelInput(msgspec.Struct, frozen=True, gc=False):
    """A logged model that went into a run."""

    model_id: Given


class ModelOutput(msgspec.Struct, frozen=True, gc=False):
    """A logged model that came out of a run."""

    model_id: Given
    step: int = 0


class RunInputs(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went into a run."""

    dataset_inputs: list[InputDataset] = []
    model_inputs: list[ModelInput] = []


class RunOutputs(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came out of a run."""

    model_outputs: list[ModelOutput] = []


_NO_INPUTS, _NO_OUTPUTS = RunInputs(), RunOutputs()


class Run(msgspec.Struct, frozen=True):
    """A run as MLflow has it."""

    info: RunInfo
    data: RunData
    inputs: RunInputs
    outputs: RunOutputs


class RunAnswer(msgspec.Struct, frozen=True):
    """One run."""

    run: Run


class RunInfoAnswer(msgspec.Struct, frozen=True):
    """One run's own facts."""

    run_info: RunInfo


class Runs(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of runs."""

    runs: list[Run] = []
    next_page_token: str | None = None


@routes.post("/api/2.0/mlflow/runs/create", Role.CONTRIBUTOR, Right.TRACK)
def create_run(call: Call, body: CreateRun) -> RunAnswer:
    """Create a run."""
    record = call.records.runs.create(
        body.experiment_id,
        name=body.run_name or None,
        user_id=body.user_id or "",
        start_ms=body.start_time,
        tags=dict(cut(body.tags, MAX_TAG_VALUE_LENGTH)),
    )
    return RunAnswer(_run(call.uris, record))


@routes.get("/api/2.0/mlflow/runs/get", Role.READER, Right.TRACK)
def get_run(call: Call, body: OfRun) -> RunAnswer:
    """Return a run with its latest metrics, params, tags, inputs and outputs."""
    return RunAnswer(_run(call.uris, call.records.runs.get(body.run)))


@routes.post("/api/2.0/mlflow/runs/update", Role.CONTRIBUTOR, Right.TRACK)
def update_run(call: Call, body: UpdateRun) -> RunInfoAnswer:
    """Change a run's status, end or name."""
    info = call.records.runs.update(body.run, status=_status(body.status), end_ms=body.end_time, name=body.run_name)
    return RunInfoAnswer(_run_info(call.uris, info))


@routes.post("/api/2.0/mlflow/runs/delete", Role.CONTRIBUTOR, Right.TRACK)
def delete_run(call: Call, body: OfRun) -> None:
    """Delete a run; restoring brings it back."""
    call.records.runs.delete(body.run)


@routes.post("/api/2.0/mlflow/runs/restore", Role.CONTRIBUTOR, Right.TRACK)
def restore_run(call: Call, body: OfRun) -> None:
    """Bring a deleted run back."""
    call.records.runs.restore(body.run)


@routes.post("/api/2.0/mlflow/runs/search", Role.READER, Right.TRACK, is_long=True)
def search_runs(call: Call, body: SearchRuns) -> Runs:
    """Return a page of runs."""
    page = call.records.runs.search(
        body.experiment_ids or (),
        filter=grammars.RUNS.parse(body.filter).with_values("artifact_uri", call.uris.compared_run),
        view=view_of(body.run_view_type),
        order_by=body.order_by or (),
        max_results=_DEFAULT_MAX_RESULTS if body.max_results is None else body.max_results,
        page_token=body.page_token or None,
    )
    uris = call.uris
    return Runs([_run(uris, record) for record in page.items], page.next_token)


def _status(word: str | int | None) -> RunStatus | None:
    if not word:
        return None
    if isinstance(word, int):
        if word not in _STATUS_BY_NUMBER:
            raise InvalidValue("run status", word, f"must be one of {', '.join(_STATUS_BY_NUMBER.values())}")
        word = _STATUS_BY_NUMBER[word]
    return status_from_mlflow(word)


def _run(uris: Uris, record: RunRecord) -> Run:
    data = RunData(
        [Metric(name, number(value), timestamp_ms, step) for name, value, step, timestamp_ms in record.metrics],
        key_values(record.params),
        key_values(record.tags),
    )
    if not record.datasets and not record.models:
        return Run(_run_info(uris, record.info), data, _NO_INPUTS, _NO_OUTPUTS)
    inputs = RunInputs(
        [_input_dataset(given) for given in record.datasets],
        [ModelInput(model.model_id) for model in record.models if model.direction is ModelDirection.INPUT],
    )
    outputs = [
        ModelOutput(model.model_id, model.step) for model in record.models if model.direction is ModelDirection.OUTPUT
    ]
    return Run(_run_info(uris, record.info), data, inputs, RunOutputs(outputs))


def _run_info(uris: Uris, info: InfoRecord) -> RunInfo:
    return RunInfo(
        info.run_id,
        info.run_id,
        info.name,
        info.experiment_id,
        info.user_id,
        MLFLOW_STATUS[info.status],
        info.created_ms if info.start_ms is None else info.start_ms,
        info.artifact_location or uris.artifact_uri(run_container(info.experiment_id, info.run_id)),
        "active" if info.deleted_ms is None else "deleted",
        info.end_ms or None,
    )


def _input_dataset(given: DatasetInput) -> InputDataset:
    dataset = given.dataset
    return InputDataset(
        Dataset(
            name=dataset.name,
            digest=dataset.digest,
            source_type=dataset.source_type,
            source=dataset.source,
            schema=dataset.schema or None,
            profile=dataset.profile or None,
        ),
        key_values(given.tags),
    )
