"""MLflow's experiments."""

import msgspec

from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.types import ExperimentRecord
from mlflow_amlstore.service.mlflow_api.fields import Given, KeyValue, by_key, key_values, view_of
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes

routes = Routes(Area.MLFLOW)

_DEFAULT_MAX_RESULTS = 1000


class CreateExperiment(msgspec.Struct):
    """A new experiment; without an `artifact_location`, files are kept in the workspace."""

    name: Given
    artifact_location: str | None = None
    tags: list[KeyValue] | None = None


class CreatedExperiment(msgspec.Struct, frozen=True):
    """The id of a new experiment."""

    experiment_id: str


class OfExperiment(msgspec.Struct):
    """A request about an experiment."""

    experiment_id: Given


class GetExperimentByName(msgspec.Struct):
    """The name to look for."""

    experiment_name: Given


class UpdateExperiment(msgspec.Struct):
    """An experiment's new name."""

    experiment_id: Given
    new_name: Given


class SetExperimentTag(msgspec.Struct):
    """A tag of an experiment."""

    experiment_id: Given
    key: Given
    value: str = ""


class DeleteExperimentTag(msgspec.Struct):
    """A tag of an experiment, by its name."""

    experiment_id: Given
    key: Given


class SearchExperiments(msgspec.Struct):
    """A search; `filter` and `order_by` are MLflow's grammar."""

    max_results: int | None = None
    page_token: str | None = None
    filter: str | None = None
    order_by: list[str] = []
    view_type: str | int | None = None


class Experiment(msgspec.Struct, frozen=True, omit_defaults=True):
    """An experiment as MLflow has it."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    creation_time: int
    last_update_time: int
    tags: list[KeyValue] = []


class ExperimentAnswer(msgspec.Struct, frozen=True):
    """One experiment."""

    experiment: Experiment


class Experiments(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of experiments."""

    experiments: list[Experiment] = []
    next_page_token: str | None = None


@routes.post("/api/2.0/mlflow/experiments/create", Role.CONTRIBUTOR, Right.TRACK)
def create_experiment(call: Call, body: CreateExperiment) -> CreatedExperiment:
    """Create an experiment."""
    location = call.uris.to_stored(body.artifact_location) if body.artifact_location else None
    return CreatedExperiment(
        call.records.experiments.create(body.name, artifact_location=location, tags=by_key(body.tags))
    )


@routes.get("/api/2.0/mlflow/experiments/get", Role.READER, Right.TRACK)
def get_experiment(call: Call, body: OfExperiment) -> ExperimentAnswer:
    """Return an experiment, a deleted one too."""
    return ExperimentAnswer(_experiment(call, call.records.experiments.get(body.experiment_id)))


@routes.get("/api/2.0/mlflow/experiments/get-by-name", Role.READER, Right.TRACK)
def get_experiment_by_name(call: Call, body: GetExperimentByName) -> ExperimentAnswer:
    """Return the experiment of a name, a deleted one too."""
    record = call.records.experiments.find_by_name(body.experiment_name)
    if record is None:
        raise NotFound("experiment", body.experiment_name)
    return ExperimentAnswer(_experiment(call, record))


@routes.get("/api/2.0/mlflow/experiments/search", Role.READER, Right.TRACK, is_long=True)
@routes.post("/api/2.0/mlflow/experiments/search", Role.READER, Right.TRACK, is_long=True)
def search_experiments(call: Call, body: SearchExperiments) -> Experiments:
    """Return a page of experiments."""
    page = call.records.experiments.search(
        view=view_of(body.view_type),
        filter=grammars.EXPERIMENTS.parse(body.filter),
        order_by=body.order_by,
        max_results=_DEFAULT_MAX_RESULTS if body.max_results is None else body.max_results,
        page_token=body.page_token or None,
    )
    return Experiments([_experiment(call, record) for record in page.items], page.next_token)


@routes.post("/api/2.0/mlflow/experiments/update", Role.CONTRIBUTOR, Right.TRACK)
def update_experiment(call: Call, body: UpdateExperiment) -> None:
    """Rename an experiment."""
    call.records.experiments.rename(body.experiment_id, body.new_name)


@routes.post("/api/2.0/mlflow/experiments/delete", Role.CONTRIBUTOR, Right.TRACK)
def delete_experiment(call: Call, body: OfExperiment) -> None:
    """Delete an experiment and its runs; restoring brings them back."""
    call.records.experiments.delete(body.experiment_id)


@routes.post("/api/2.0/mlflow/experiments/restore", Role.CONTRIBUTOR, Right.TRACK)
def restore_experiment(call: Call, body: OfExperiment) -> None:
    """Bring a deleted experiment and its runs back."""
    call.records.experiments.restore(body.experiment_id)


@routes.post("/api/2.0/mlflow/experiments/set-experiment-tag", Role.CONTRIBUTOR, Right.TRACK)
def set_experiment_tag(call: Call, body: SetExperimentTag) -> None:
    """Set an experiment's tag."""
    call.records.experiments.set_tag(body.experiment_id, body.key, body.value)


@routes.post("/api/2.0/mlflow/experiments/delete-experiment-tag", Role.CONTRIBUTOR, Right.TRACK)
def delete_experiment_tag(call: Call, body: DeleteExperimentTag) -> None:
    """Delete an experiment's tag."""
    call.records.experiments.delete_tag(body.experiment_id, body.key)


def _experiment(call: Call, record: ExperimentRecord) -> Experiment:
    return Experiment(
        experiment_id=record.experiment_id,
        name=record.name,
        artifact_location=record.artifact_location or call.uris.artifact_uri(record.experiment_id),
        lifecycle_stage="active" if record.deleted_ms is None else "deleted",
        creation_time=record.created_ms,
        last_update_time=record.updated_ms,
        tags=key_values(record.tags),
    )
