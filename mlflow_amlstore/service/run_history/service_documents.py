"""What Azure ML's SDK sends and reads of web services: requests to create one, service documents, and operations.

Each word of a document that the SDK needs is there, whether it means something here or not. An operation isn't stored:
its id names the endpoint and the deployment, and the rest is read from their record and events.
"""

from datetime import datetime, timezone
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.protocol.times import iso_time
from mlflow_amlstore.records.types import (
    DeploymentError,
    DeploymentRecord,
    EndpointEvent,
    EndpointRecord,
    EndpointState,
)
from mlflow_amlstore.service.azure_errors import ErrorDetail
from mlflow_amlstore.service.execution.told_endpoints import endpoint_url, living_host, told
from mlflow_amlstore.service.routing import Call

UNSET_CPU, UNSET_MEMORY_GB = 0.1, 0.5  # what Azure gives a service that asks for nothing
_STATES = {EndpointState.IDLE: "Healthy", EndpointState.STOPPED: "Unhealthy"}  # for which Azure has no word
_STARTING = (EndpointState.TRANSITIONING, EndpointState.UNSCHEDULABLE)
_NOT_A_REQUEST = 400  # of an error's `statusCode`: the deployment is at fault, not the service


class Asset(msgspec.Struct, frozen=True, rename="camel"):
    """A file that was uploaded, or a packed folder: `aml://artifact/LocalUpload/CONTAINER/PATH`."""

    url: str
    id: str | None = None
    mime_type: str | None = None
    unpack: bool | None = None


class ImageRequest(msgspec.Struct, frozen=True, rename="camel"):
    """What answers: models, and for code of one's own the entry script, its folder, and the environment."""

    model_ids: list[str] = []
    driver_program: str | None = None
    assets: list[Asset] | None = None
    environment: dict[str, Any] | None = None


class Resources(msgspec.Struct, frozen=True):
    """Cores, and memory in GB."""

    cpu: float | None = None
    memory_in_gb: float | None = msgspec.field(name="memoryInGB", default=None)


class GivenKeys(msgspec.Struct, frozen=True, rename="camel"):
    """Keys that the deploying one chose: both, or neither."""

    primary_key: str | None = None
    secondary_key: str | None = None


class NewService(msgspec.Struct, frozen=True, rename="camel"):
    """A service to be made. What it asks for that means nothing here is kept as it was sent, but for secrets."""

    name: str
    compute_type: str
    environment_image_request: ImageRequest | None = None
    container_resource_requirements: Resources | None = None
    description: str | None = None
    kv_tags: dict[str, str] | None = None
    properties: dict[str, str] | None = None
    keys: GivenKeys | None = None
    overwrite: bool | None = None
    auth_enabled: bool | None = None
    aad_auth_enabled: bool | None = None
    compute_name: str | None = None
    num_replicas: int | None = None
    max_concurrent_requests_per_container: int | None = None
    scoring_timeout_ms: float | None = None
    location: str | None = None
    cname: str | None = None
    dns_name_label: str | None = None
    app_insights_enabled: bool | None = None
    max_queue_wait_ms: float | None = None
    auto_scaler: dict[str, Any] | None = None
    namespace: str | None = None


class ServiceError(msgspec.Struct, frozen=True, rename="camel"):
    """Why a service isn't Healthy; the last of `details` is the traceback."""

    code: str
    status_code: int
    message: str
    details: list[ErrorDetail]


class ServiceResources(msgspec.Struct, frozen=True):
    """What a service may use."""

    cpu: float
    memory_in_gb: float = msgspec.field(name="memoryInGB")


class ServiceDocument(msgspec.Struct, frozen=True, rename="camel"):
    """A service as the SDK reads it."""

    name: str
    id: str
    compute_type: str
    state: str
    created_time: str
    updated_time: str
    description: str
    kv_tags: dict[str, str]
    properties: dict[str, str]
    auth_enabled: bool
    scoring_uri: str
    swagger_uri: str
    container_resource_requirements: ServiceResources
    model_ids: list[str]
    error: ServiceError | None
    operation_id: str
    compute_name: str
    num_replicas: int
    max_concurrent_requests_per_container: int
    scoring_timeout_ms: int
    namespace: str | None = None
    auto_scaler: dict[str, Any] | None = None
    max_queue_wait_ms: float | None = None
    location: str | None = None
    cname: str | None = None
    public_ip: str | None = None
    app_insights_enabled: bool = False
    aad_auth_enabled: bool = False
    data_collection: dict[str, bool] = msgspec.field(
        default_factory=lambda: {"eventHubEnabled": False, "storageEnabled": False}
    )
    liveness_probe_requirements: dict[str, int] = msgspec.field(
        default_factory=lambda: {
            "periodSeconds": 10,
            "initialDelaySeconds": 310,
            "timeoutSeconds": 2,
            "failureThreshold": 3,
            "successThreshold": 1,
        }
    )
    deployment_status: str | None = None
    ssl_enabled: bool = False
    ssl_certificate: str | None = None
    ssl_key: str | None = None
    environment_image_request: dict[str, Any] | None = None
    models: list[dict[str, Any]] = []
    image_id: str | None = None
    image_digest: str | None = None
    created_by: dict[str, str] | None = None


class ServicePage(msgspec.Struct, frozen=True, rename="camel"):
    """A page of services. azureml-core asks for the next one wherever there is a `nextLink`, null too."""

    value: list[ServiceDocument]
    next_link: str | UnsetType = UNSET


class OperationDocument(msgspec.Struct, frozen=True, rename="camel"):
    """How far an operation is. `streamingOperationLog` is `yyyymmddHHMMSS|message` for each event, `#` between them."""

    id: str
    state: str
    operation_type: str
    operation_details: dict[str, str]
    streaming_operation_log: str
    error: ServiceError | None = None
    operation_log: str | None = None


def service_document(call: Call, record: EndpointRecord) -> ServiceDocument:
    """An endpoint as a service of Azure's. Its limits are those of the newest deployment."""
    record = told(call, record)
    spec, newest = record.spec, record.newest
    deployed, settings, state = newest.spec, record.spec.settings, record.state
    error = record.error
    return ServiceDocument(
        name=spec.name,
        id=spec.name,
        compute_type=spec.kind,
        state=_STATES.get(state, state.value),
        created_time=iso_time(record.created_ms),
        updated_time=iso_time(record.updated_ms),
        description=spec.description,
        kv_tags=spec.tags,
        properties=spec.properties,
        auth_enabled=spec.auth,
        scoring_uri=f"{endpoint_url(call, spec.name)}/score",
        swagger_uri=f"{endpoint_url(call, spec.name)}/swagger.json",
        container_resource_requirements=ServiceResources(
            UNSET_CPU if deployed.cpu is None else deployed.cpu,
            UNSET_MEMORY_GB if deployed.memory_gb is None else deployed.memory_gb,
        ),
        model_ids=list(deployed.models),
        error=None if error is None else _error(error),
        operation_id=operation_id(record, newest),
        compute_name=spec.target,
        num_replicas=deployed.workers,
        max_concurrent_requests_per_container=deployed.concurrency,
        scoring_timeout_ms=round(deployed.predict_limit_s * 1000),
        namespace=settings.get("namespace"),
        auto_scaler=settings.get("autoScaler"),
        max_queue_wait_ms=settings.get("maxQueueWaitMs"),
        location=settings.get("location"),
        cname=settings.get("cname"),
        app_insights_enabled=bool(settings.get("appInsightsEnabled")),
    )


def operation_id(record: EndpointRecord, deployment: DeploymentRecord) -> str:
    """The operation that brings a deployment up. A name has no dot."""
    return f"deploy.{record.name}.{deployment.number}"


def operation_document(call: Call, operation: str, offset: int) -> OperationDocument:
    """How far an operation is, with its log from a character on. Raises NotFound."""
    kind, _, rest = operation.partition(".")
    name, _, number = rest.partition(".")
    if kind in ("update", "key") and not number:  # what was done before it was answered
        call.records.endpoints.get(name)
        return OperationDocument(operation, "Succeeded", "Service", {"subOperationType": "UpdateService"}, "")
    if kind != "deploy" or not number.isascii() or not number.isdecimal():
        raise NotFound("operation", operation, "The header Operation-Location of an answer names one")
    record = call.records.endpoints.get(name)
    if len(number) > 9 or not 1 <= int(number) <= len(record.deployments):
        raise NotFound("operation", operation, f"The service has deployments 1 to {len(record.deployments)}")
    deployment = record.deployment(int(number))
    events = [event for event in call.records.endpoints.events(name) if event.number in (0, deployment.number)]
    state = _operation_state(record, deployment)
    error = deployment.error if state == "Failed" else None
    return OperationDocument(
        operation,
        state,
        "Service",
        {"subOperationType": "DeployService"},
        "#".join(map(_log_entry, events))[max(0, offset) :],
        None if error is None else _error(error),
    )


def _operation_state(record: EndpointRecord, deployment: DeploymentRecord) -> str:
    if deployment.state is EndpointState.FAILED:
        return "Failed"
    if deployment.number in record.serving or deployment.state is EndpointState.STOPPED:
        return "Succeeded"
    if deployment.number not in record.wanted:
        return "Cancelled"  # the next one came before it was Healthy
    return "NotStarted" if living_host(record) is None and deployment.state in _STARTING else "Running"


def _log_entry(event: EndpointEvent) -> str:
    at = datetime.fromtimestamp(event.at_ms / 1000, timezone.utc)
    text = " ".join(event.text.replace("|", "/").replace("#", "No. ").split())
    return f"{at:%Y%m%d%H%M%S}|{text}"


def _error(error: DeploymentError) -> ServiceError:
    details = [ErrorDetail(error.code, error.details)] if error.details else []
    return ServiceError(error.code, _NOT_A_REQUEST, error.message, details)
