"""Errors as the storage protocol tells of them: a code of Azure's in a header and in XML."""

from collections.abc import Mapping
from xml.sax.saxutils import escape

from starlette.responses import Response

from mlflow_amlstore.errors import (
    AmlStoreError,
    BadRequest,
    Deleted,
    DiskFull,
    InvalidValue,
    NotAllowed,
    NotFound,
    PathUnsafe,
    PayloadTooLarge,
    ReadOnly,
    RequestTimedOut,
    RouteNotFound,
    TokenRefused,
    TransferBroken,
    WorkspaceBusy,
)

# The first that an error is an instance of counts.
_CODES: tuple[tuple[type[AmlStoreError], int, str], ...] = (
    (TokenRefused, 403, "AuthenticationFailed"),  # Azure's clients take 401 for a missing token
    (NotAllowed, 403, "AuthorizationPermissionMismatch"),
    (PathUnsafe, 400, "InvalidResourceName"),
    (InvalidValue, 400, "InvalidInput"),
    (Deleted, 400, "InvalidInput"),
    (NotFound, 404, "BlobNotFound"),
    (RouteNotFound, 404, "ResourceNotFound"),
    (PayloadTooLarge, 413, "RequestBodyTooLarge"),
    (RequestTimedOut, 408, "OperationTimedOut"),
    (TransferBroken, 400, "IncompleteBody"),
    (BadRequest, 400, "InvalidInput"),
    (ReadOnly, 403, "InsufficientAccountPermissions"),
    (DiskFull, 507, "InsufficientStorage"),
    (WorkspaceBusy, 503, "ServerBusy"),
)


class BlobRefused(AmlStoreError):
    """A request of the storage protocol that can't be done; `code` is Azure's."""

    mlflow_code = "INVALID_PARAMETER_VALUE"

    def __init__(self, http_status: int, code: str, problem: str, headers: Mapping[str, str] | None = None) -> None:
        self.http_status = http_status
        self.code = code
        self.headers = dict(headers or {})
        super().__init__(problem)


def blob_error(error: AmlStoreError) -> Response:
    """An error as storage's clients read it."""
    status, code = error.http_status, "InternalError"
    headers: dict[str, str] = {}
    if isinstance(error, BlobRefused):
        code, headers = error.code, error.headers
    else:
        for kind, its_status, its_code in _CODES:
            if isinstance(error, kind):
                status, code = its_status, its_code
                break
    if isinstance(error, WorkspaceBusy):
        headers["Retry-After"] = "1"
    if isinstance(error, RequestTimedOut):
        headers["Connection"] = "close"
    body = (
        '<?xml version="1.0" encoding="utf-8"?>'
        f"<Error><Code>{code}</Code><Message>{escape(_printable(str(error)))}</Message></Error>"
    )
    return Response(body.encode(), status, {"x-ms-error-code": code, **headers}, "application/xml")


def _printable(message: str) -> str:
    """A message without what XML can't have."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for character in message
    )
