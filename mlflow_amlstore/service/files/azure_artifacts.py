"""What Azure ML's artifact routes take and give: files of a run, called artifacts there, and their content URLs."""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime, timezone
from urllib.parse import quote, urlencode

import msgspec

from mlflow_amlstore.errors import AmlStoreError, InvalidValue, PageTokenInvalid
from mlflow_amlstore.protocol.artifact_origins import RUN_CONTAINER_PREFIX, RUN_ORIGIN
from mlflow_amlstore.records.locations import check_new_path, check_path
from mlflow_amlstore.records.types import FileRecord
from mlflow_amlstore.service.addresses import workspace_path
from mlflow_amlstore.service.azure_errors import ErrorDetail, ErrorResponse
from mlflow_amlstore.service.files.containers import get_file
from mlflow_amlstore.service.files.content import etag_of
from mlflow_amlstore.service.routing import Call
from mlflow_amlstore.service.signed_urls import Direction

PAGE_FILES = 1000
MAX_NEW_PATHS = 500
_DATASTORE = "workspaceartifactstore"


class NewArtifact(msgspec.Struct, frozen=True):
    """A path that a file is going to be written to."""

    path: str
    tags: dict[str, str] | None = None


class NewArtifacts(msgspec.Struct, frozen=True):
    """Paths that files are going to be written to."""

    paths: list[NewArtifact]


class DataPath(msgspec.Struct, frozen=True, rename="camel"):
    """Where Azure ML would keep the file."""

    data_store_name: str
    relative_path: str


class Artifact(msgspec.Struct, frozen=True, rename="camel"):
    """A file. `contentLength` and `contentType` are ours, and null where the file isn't written yet; so is `etag`."""

    artifact_id: str
    origin: str
    container: str
    path: str
    etag: str | None
    created_time: str | None
    data_path: DataPath
    tags: dict[str, str]
    content_length: int | None = None
    content_type: str | None = None


class ContentInformation(msgspec.Struct, frozen=True, rename="camel"):
    """A file's content URL. `contentLength` and `etag` are ours, and null where the URL is for writing."""

    content_uri: str
    origin: str
    container: str
    path: str
    tags: dict[str, str] | None = None
    content_length: int | None = None
    etag: str | None = None


class CreatedArtifacts(msgspec.Struct, frozen=True, rename="camel"):
    """Content URLs to write to, and what was refused, by the paths as they were sent."""

    artifacts: dict[str, Artifact]
    artifact_content_information: dict[str, ContentInformation]
    errors: dict[str, ErrorResponse]


class ArtifactPage(msgspec.Struct, frozen=True, rename="camel"):
    """A page of files. azureml-mlflow follows `nextLink`, azureml-core `continuationToken`."""

    value: list[Artifact]
    continuation_token: str | None
    next_link: str | None


class ContentPage(msgspec.Struct, frozen=True, rename="camel"):
    """A page of content URLs."""

    value: list[ContentInformation]
    continuation_token: str | None
    next_link: str | None


class PageQuery(msgspec.Struct, frozen=True, rename="camel"):
    """Which page of a listing: files at or under `path`."""

    path: str = ""
    continuation_token: str = ""
    page_size: int = PAGE_FILES


class PathQuery(msgspec.Struct, frozen=True):
    """One file."""

    path: str


class ArtifactContainer(msgspec.Struct, frozen=True):
    """A container of files.

    Azure ML names it by `origin` and `name`, records by `location`; `address` is the URL that lists it.
    """

    origin: str
    name: str
    location: str
    address: str


def container_of_run(run_or_model_id: str, location: str, address: str) -> ArtifactContainer:
    """The container of a run or logged model; RunDto has its name as `dataContainerId`."""
    return ArtifactContainer(RUN_ORIGIN, RUN_CONTAINER_PREFIX + run_or_model_id, location, address)


def create(call: Call, container: ArtifactContainer, body: NewArtifacts) -> CreatedArtifacts:
    """Give a URL to write to for each path; a file appears when its content is whole."""
    if len(body.paths) > MAX_NEW_PATHS:
        raise InvalidValue("paths", f"{len(body.paths)} paths", f"at most {MAX_NEW_PATHS} may be sent at once")
    artifacts: dict[str, Artifact] = {}
    contents: dict[str, ContentInformation] = {}
    errors: dict[str, ErrorResponse] = {}
    for new in body.paths:
        try:
            path = check_new_path(new.path)
        except AmlStoreError as error:
            errors[new.path] = ErrorResponse(ErrorDetail("UserError", str(error)))
            continue
        artifacts[new.path] = _artifact(container, path, new.tags or {})
        url = call.content_url(f"{container.location}/{path}", Direction.WRITE)
        contents[new.path] = ContentInformation(url, container.origin, container.name, path, new.tags)
    return CreatedArtifacts(artifacts, contents, errors)


def list_page(call: Call, container: ArtifactContainer, query: PageQuery) -> ArtifactPage:
    """Return a page of the files, by path."""
    records, token, link = _page(call, container, query, container.address)
    return ArtifactPage([_of_record(container, record) for record in records], token, link)


def list_contents(call: Call, container: ArtifactContainer, query: PageQuery, address: str) -> ContentPage:
    """Return a page of URLs to read from, of the files at or under the path."""
    records, token, link = _page(call, container, query, address)
    return ContentPage([_content_of(call, container, record) for record in records], token, link)


def content_information(call: Call, container: ArtifactContainer, path: str) -> ContentInformation:
    """Return a URL to read a file from. Raises NotFound."""
    return _content_of(call, container, get_file(call.records.files, container.location, path))


def metadata(call: Call, container: ArtifactContainer, path: str) -> Artifact:
    """Return what is known of a file. Raises NotFound."""
    return _of_record(container, get_file(call.records.files, container.location, path))


def address_of(call: Call, service: str, path: str) -> str:
    """The absolute URL of a route, `service` being as `history/v1.0`."""
    return f"{call.base_url}/{service}{quote(workspace_path(call.workspace_name) + path)}"


def _page(
    call: Call, container: ArtifactContainer, query: PageQuery, address: str
) -> tuple[Sequence[FileRecord], str | None, str | None]:
    size = max(1, min(query.page_size, PAGE_FILES))
    folder = check_path(query.path) if query.path.strip("/") else ""
    found = call.records.files.list_all(
        container.location, folder, after=_read_token(query.continuation_token), max_results=size + 1
    )
    if len(found) <= size:
        return found, None, None
    token = base64.urlsafe_b64encode(found[size - 1].path.encode()).decode()
    fields = {"continuationToken": token, "path": query.path, "pageSize": query.page_size}
    return found[:size], token, f"{address}?{urlencode({name: value for name, value in fields.items() if value})}"


def _read_token(token: str) -> str:
    try:
        return base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error) as error:
        raise PageTokenInvalid(token, "this service didn't issue it") from error


def _artifact(container: ArtifactContainer, path: str, tags: dict[str, str]) -> Artifact:
    artifact_id = f"{container.origin}/{container.name}/{path}"
    return Artifact(
        artifact_id, container.origin, container.name, path, None, None, DataPath(_DATASTORE, artifact_id), tags
    )


def _of_record(container: ArtifactContainer, record: FileRecord) -> Artifact:
    return msgspec.structs.replace(
        _artifact(container, record.path, {}),
        etag=etag_of(record),
        created_time=datetime.fromtimestamp(record.modified_ms / 1000, timezone.utc).isoformat(),
        content_length=record.size_bytes,
        content_type=record.content_type,
    )


def _content_of(call: Call, container: ArtifactContainer, record: FileRecord) -> ContentInformation:
    url = call.content_url(f"{container.location}/{record.path}", Direction.READ)
    return ContentInformation(
        url, container.origin, container.name, record.path, None, record.size_bytes, etag_of(record)
    )
