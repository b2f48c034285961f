"""Errors in the form of each area: MLflow's, Azure ML's ErrorResponse, model management's, the resource manager's,
storage's XML."""

from datetime import datetime, timezone
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from mlflow_amlstore.errors import (
    AmlStoreError,
    NotAllowed,
    NotFound,
    RequestTimedOut,
    ServiceBusy,
    TokenRefused,
    WorkspaceBusy,
)
from mlflow_amlstore.service.addresses import LOCATION
from mlflow_amlstore.service.azure_errors import ErrorDetail, ErrorResponse, RootError
from mlflow_amlstore.service.files.blobs import blob_error
from mlflow_amlstore.service.routing import Area

ERROR_CODE_HEADER = "x-amlstore-error-code"  # MLflow's code, for which the other forms have no field
_AZURE_AREAS = (Area.HISTORY, Area.ARTIFACT, Area.METRIC, Area.CONTENT, Area.EXECUTION, Area.ENVIRONMENT)
_ARM_CODES: tuple[tuple[type[AmlStoreError], str], ...] = (
    (TokenRefused, "AuthenticationFailed"),
    (NotAllowed, "AuthorizationFailed"),
    (NotFound, "ResourceNotFound"),
)


class InternalError(AmlStoreError):
    """Something that nobody foresaw. What it was is in the service's log, under the request's id."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"The service failed to answer; its log says more under request id {request_id}")


class MlflowError(msgspec.Struct, frozen=True):
    """An error as MLflow's clients read it."""

    error_code: str
    message: str


class AzureError(msgspec.Struct, frozen=True, rename="camel"):
    """An error as Azure ML's clients read it: its ErrorResponse."""

    error: RootError
    correlation: dict[str, str]
    time: str
    environment: str = LOCATION
    location: str = LOCATION
    component_name: str = "amlstore"


class ModelError(msgspec.Struct, frozen=True, rename="camel"):
    """An error as Azure ML's model management tells it."""

    code: str
    status_code: int
    message: str
    details: list[ErrorDetail]
    correlation: dict[str, str]


def error_answer(area: Area, error: AmlStoreError, request_id: str) -> Response:
    """The answer that tells a client of an error."""
    if area is Area.BLOB:
        response = blob_error(error)
        response.headers[ERROR_CODE_HEADER] = error.mlflow_code
        return response
    headers = {}
    if isinstance(error, TokenRefused):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, ServiceBusy):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, WorkspaceBusy):
        headers["Retry-After"] = "1"
    if isinstance(error, RequestTimedOut):
        headers["Connection"] = "close"
    body: MlflowError | AzureError | ModelError | ErrorResponse = MlflowError(error.mlflow_code, str(error))
    if area in _AZURE_AREAS:
        root = RootError("ServiceError" if error.http_status >= 500 else "UserError", str(error))
        headers[ERROR_CODE_HEADER] = error.mlflow_code
        body = AzureError(root, {"request": request_id}, datetime.now(timezone.utc).isoformat())
    elif area is Area.MODEL_MANAGEMENT:
        code, message = HTTPStatus(error.http_status).phrase.replace(" ", ""), str(error)
        detail = ErrorDetail(error.mlflow_code, message)
        headers[ERROR_CODE_HEADER] = error.mlflow_code
        body = ModelError(code, error.http_status, message, [detail], {"RequestId": request_id})
    elif area is Area.ARM:
        body = ErrorResponse(ErrorDetail(_arm_code(error), str(error)))
        headers[ERROR_CODE_HEADER] = error.mlflow_code
    return Response(msgspec.json.encode(body), error.http_status, headers, "application/json")


def _arm_code(error: AmlStoreError) -> str:
    for kind, code in _ARM_CODES:
        if isinstance(error, kind):
            return code
    return "BadRequest" if error.http_status < 500 else "InternalServerError"
