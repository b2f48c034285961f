"""MLflow 3's logged models. Their files are in `service.files`."""

import msgspec

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.protocol.model_status import STATUS, WIRE_STATUS
from mlflow_amlstore.records.locations import logged_model_container
from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.types import LoggedModelPoint, LoggedModelRecord, OrderTerm
from mlflow_amlstore.service.mlflow_api.fields import Given, KeyValue, by_key, key_values, number
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes
from mlflow_amlstore.service.uris import Uris

routes = Routes(Area.MLFLOW)

_DEFAULT_MAX_RESULTS = 50
_STATUS = STATUS | {"1": "PENDING", "2": "READY", "3": "FAILED"}


class CreateLoggedModel(msgspec.Struct):
    """A new logged model."""

    experiment_id: Given
    name: str | None = None
    model_type: str | None = None
    source_run_id: str | None = None
    params: list[KeyValue] | None = None
    tags: list[KeyValue] | None = None


class GetLoggedModel(msgspec.Struct):
    """Whether a deleted one will do."""

    allow_deleted: bool = False


class FinalizeLoggedModel(msgspec.Struct):
    """How the logging of a model ended."""

    status: str | int


class LogLoggedModelParams(msgspec.Struct):
    """Params of a logged model."""

    params: list[KeyValue] | None = None


class SetLoggedModelTags(msgspec.Struct):
    """Tags of a logged model."""

    tags: list[KeyValue] | None = None


class SearchedDataset(msgspec.Struct):
    """A dataset that the metrics in a filter are about."""

    dataset_name: Given
    dataset_digest: str | None = None


class OrderBy(msgspec.Struct):
    """A term of an ordering; the dataset narrows a metric."""

    field_name: Given
    ascending: bool | None = True
    dataset_name: str | None = None
    dataset_digest: str | None = None


class SearchLoggedModels(msgspec.Struct):
    """A search; `filter` is MLflow's grammar."""

    experiment_ids: list[str]
    filter: str | None = None
    datasets: list[SearchedDataset] | None = None
    max_results: int | None = None
    order_by: list[OrderBy] | None = None
    page_token: str | None = None


class ModelMetric(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A point about a logged model."""

    key: str
    value: float | str
    timestamp: int
    step: int
    model_id: str
    dataset_name: str | None = None
    dataset_digest: str | None = None
    run_id: str | None = None


class LoggedModelInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A logged model's own facts."""

    model_id: str
    experiment_id: str
    name: str
    creation_timestamp_ms: int
    last_updated_timestamp_ms: int
    artifact_uri: str
    status: str
    model_type: str | None = None
    source_run_id: str | None = None
    status_message: str | None = None
    tags: list[KeyValue] = []


class LoggedModelData(msgspec.Struct, frozen=True, omit_defaults=True):
    """A logged model's params and metrics."""

    params: list[KeyValue] = []
    metrics: list[ModelMetric] = []


class LoggedModel(msgspec.Struct, frozen=True):
    """A logged model as MLflow has it."""

    info: LoggedModelInfo
    data: LoggedModelData


class LoggedModelAnswer(msgspec.Struct, frozen=True):
    """One logged model."""

    model: LoggedModel


class LoggedModels(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of logged models."""

    models: list[LoggedModel] = []
    next_page_token: str | None = None


@routes.post("/api/2.0/mlflow/logged-models", Role.CONTRIBUTOR, Right.TRACK)
def create_logged_model(call: Call, body: CreateLoggedModel) -> LoggedModelAnswer:
    """Create a pending logged model, with a name made up where none is given."""
    record = call.records.logged_models.create(
        body.experiment_id,
        name=body.name or None,
        source_run_id=body.source_run_id or None,
        model_type=body.model_type or None,
        params=by_key(body.params),
        tags=by_key(body.tags),
    )
    return LoggedModelAnswer(_logged_model(call.uris, record))


@routes.get("/api/2.0/mlflow/logged-models/{model_id}", Role.READER, Right.TRACK)
def get_logged_model(call: Call, body: GetLoggedModel) -> LoggedModelAnswer:
    """Return a logged model, a deleted one only if allowed."""
    record = call.records.logged_models.get(call.path["model_id"], allow_deleted=body.allow_deleted)
    return LoggedModelAnswer(_logged_model(call.uris, record))


@routes.patch("/api/2.0/mlflow/logged-models/{model_id}", Role.CONTRIBUTOR, Right.TRACK)
def finalize_logged_model(call: Call, body: FinalizeLoggedModel) -> LoggedModelAnswer:
    """Mark a logged model ready or failed."""
    status = _STATUS.get(str(body.status))
    if status is None:
        raise InvalidValue("status", body.status, f"must be one of {', '.join(WIRE_STATUS.values())}")
    record = call.records.logged_models.finalize(call.path["model_id"], status)
    return LoggedModelAnswer(_logged_model(call.uris, record))


@routes.delete("/api/2.0/mlflow/logged-models/{model_id}", Role.CONTRIBUTOR, Right.TRACK)
def delete_logged_model(call: Call) -> None:
    """Delete a logged model; its files stay until the workspace is tidied up."""
    call.records.logged_models.delete(call.path["model_id"])


@routes.post("/api/2.0/mlflow/logged-models/search", Role.READER, Right.TRACK, is_long=True)
def search_logged_models(call: Call, body: SearchLoggedModels) -> LoggedModels:
    """Return a page of logged models."""
    page = call.records.logged_models.search(
        body.experiment_ids,
        filter=grammars.LOGGED_MODELS.parse(body.filter).with_values(
            "artifact_location", call.uris.compared_logged_model
        ),
        datasets=[(given.dataset_name, given.dataset_digest or None) for given in body.datasets or ()],
        order_by=[
            OrderTerm(
                given.field_name,
                given.ascending is not False,
                dataset_name=given.dataset_name or None,
                dataset_digest=given.dataset_digest or None,
            )
            for given in body.order_by or ()
        ],
        max_results=body.max_results or _DEFAULT_MAX_RESULTS,
        page_token=body.page_token or None,
    )
    return LoggedModels([_logged_model(call.uris, record) for record in page.items], page.next_token)


@routes.post("/api/2.0/mlflow/logged-models/{model_id}/params", Role.CONTRIBUTOR, Right.TRACK)
def log_logged_model_params(call: Call, body: LogLoggedModelParams) -> None:
    """Add params that a logged model doesn't have yet."""
    call.records.logged_models.add_params(call.path["model_id"], by_key(body.params))


@routes.patch("/api/2.0/mlflow/logged-models/{model_id}/tags", Role.CONTRIBUTOR, Right.TRACK)
def set_logged_model_tags(call: Call, body: SetLoggedModelTags) -> None:
    """Set a logged model's tags."""
    call.records.logged_models.set_tags(call.path["model_id"], by_key(body.tags))


@routes.delete("/api/2.0/mlflow/logged-models/{model_id}/tags/{tag_key:path}", Role.CONTRIBUTOR, Right.TRACK)
def delete_logged_model_tag(call: Call) -> None:
    """Delete a logged model's tag."""
    call.records.logged_models.delete_tag(call.path["model_id"], call.path["tag_key"])


def _logged_model(uris: Uris, record: LoggedModelRecord) -> LoggedModel:
    in_workspace = logged_model_container(record.experiment_id, record.model_id)
    return LoggedModel(
        LoggedModelInfo(
            model_id=record.model_id,
            experiment_id=record.experiment_id,
            name=record.name,
            creation_timestamp_ms=record.created_ms,
            last_updated_timestamp_ms=record.updated_ms,
            artifact_uri=record.artifact_location or uris.artifact_uri(in_workspace),
            status=WIRE_STATUS[record.status],
            model_type=record.model_type,
            source_run_id=record.source_run_id,
            status_message=record.status_message,
            tags=key_values(record.tags),
        ),
        LoggedModelData(key_values(record.params), [_metric(point) for point in record.metrics]),
    )


def _metric(point: LoggedModelPoint) -> ModelMetric:
    return ModelMetric(
        point.name,
        number(point.value),
        point.timestamp_ms,
        point.step,
        point.model_id,
        point.dataset_name or None,
        point.dataset_digest or None,
        point.run_id or None,
    )
