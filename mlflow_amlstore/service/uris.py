"""How the service names things to its clients: its own addresses, and artifact URIs in the form a client understands.

Records keep `workspace:/CONTAINER/PATH` (`records.locations`), which doesn't depend on where the workspace is. A client
is answered in the form that it can read. One that calls `/mlflow/v2.0/subscriptions/…` has our plugin or Azure ML's: it
gets `azureml://…/experiments/EXPERIMENT/runs/RUN/artifacts`. One that calls plain `/api/…` is MLflow without a plugin:
it gets `mlflow-artifacts:/CONTAINER`, which leads through MLflow's artifact proxy. A logged model takes a run's place,
as in `…/experiments/1/runs/m-0123/artifacts`, because Azure ML's client can read that.

A client may send any form that Azure ML gives to a file of this workspace (`_FORMS`).
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from mlflow_amlstore.errors import NotFound, NotSupported, PathUnsafe
from mlflow_amlstore.protocol.artifact_origins import RUN_CONTAINER_PREFIX, RUN_ORIGIN, UPLOAD_ORIGIN
from mlflow_amlstore.records.locations import (
    WORKSPACE_SCHEME,
    check_location,
    container_of,
    split_location,
    upload_container,
    upload_of,
)

_PROXY_SCHEME = "mlflow-artifacts:"
_PATH = r"(?:/(?P<path>.*))?"
_RUN_IN_EXPERIMENT = rf"experiments/(?P<experiment>[^/]+)/runs/(?P<owner>[^/]+)/artifacts{_PATH}"
_UPLOAD = rf"azureml://artifacts/{UPLOAD_ORIGIN}/(?P<upload>[^/]+){_PATH}"
# Files of a run without the workspace's address, which is the one that is asked.
_FORMS = (
    rf"azureml://{_RUN_IN_EXPERIMENT}",
    rf"azureml://artifacts/{RUN_ORIGIN}/{re.escape(RUN_CONTAINER_PREFIX)}(?P<owner>[^/]+){_PATH}",
    r"azureml://jobs/(?P<owner>[^/]+)/outputs/artifacts(?:/paths(?:/(?P<path>.*))?)?",
)
_REGISTRY = re.compile(
    r"azureml(?:\+http)?://(?:[^/]+/mlflow/v[12]\.0/(?:subscriptions/[^/]+/resourceGroups/[^/]+/providers/[^/]+/)?)?"
    r"registries/.*",
    re.DOTALL,
)

FindContainer = Callable[[str, str], str]
"""The container of the files that an experiment's id or name ("" for any) and the id of a run or logged model mean."""


class Uris(ABC):
    """Artifact URIs as one kind of client has them."""

    @abstractmethod
    def artifact_uri(self, container: str, path: str = "") -> str:
        """The URI of a container's files, or of a path in it."""

    @abstractmethod
    def location(self, uri: str) -> str | None:
        """`CONTAINER[/PATH]` of a URI of this workspace, or None for any other.

        Raises PathUnsafe, NotFound for an unknown run, and NotSupported for a URI of an Azure ML registry.
        """

    def to_stored(self, uri: str) -> str:
        """A model source as a record keeps it."""
        location = self.location(uri)
        return uri if location is None else WORKSPACE_SCHEME + location

    def from_stored(self, source: str) -> str:
        """The reverse of `to_stored`."""
        if not source.startswith(WORKSPACE_SCHEME):
            return source
        container, path = split_location(source.removeprefix(WORKSPACE_SCHEME))
        return self.artifact_uri(container, path)

    def compared_run(self, text: str) -> str:
        """What a filter compares a run's artifact URI with, a URI or a LIKE pattern of URIs, as records keep it.

        A text that is neither stays as it is.
        """
        return self._compared(text, "/")

    def compared_logged_model(self, text: str) -> str:
        """The same for a logged model's artifact URI."""
        return self._compared(text, "/models/")

    def compared_source(self, text: str) -> str:
        """The same for a model version's source."""
        return self._compared(text, "/", WORKSPACE_SCHEME)

    def _compared(self, text: str, before_owner: str, scheme: str = "") -> str:
        try:
            location = self.location(text)
        except (PathUnsafe, NotFound):  # no whole URI, but it may be a pattern
            location = self._location_pattern(text, before_owner)
        return text if location is None else scheme + location

    @abstractmethod
    def _location_pattern(self, pattern: str, before_owner: str) -> str | None:
        """The pattern of locations that a pattern of URIs means, or None; `before_owner` parts experiment and owner."""


@dataclass(frozen=True, slots=True)
class ProxyUris(Uris):
    """`mlflow-artifacts:/CONTAINER/PATH`, for MLflow without a plugin."""

    find_container: FindContainer = container_of

    def artifact_uri(self, container: str, path: str = "") -> str:
        location = f"{container}/{path}" if path else container
        return f"{_PROXY_SCHEME}/{location}"

    def location(self, uri: str) -> str | None:
        if not uri.startswith(_PROXY_SCHEME):
            return _location_without_address(uri, self.find_container)
        rest = uri.removeprefix(_PROXY_SCHEME)
        if rest.startswith("//"):  # `mlflow-artifacts://HOST/…` names the proxy's host as well
            rest = rest[2:].partition("/")[2]
        return check_location(rest)

    def _location_pattern(self, pattern: str, before_owner: str) -> str | None:
        head = f"{_PROXY_SCHEME}/"
        return pattern.removeprefix(head) if pattern.startswith(head) else None


@dataclass(frozen=True, slots=True)
class AzureUris(Uris):
    """`ROOT/experiments/EXPERIMENT/runs/RUN/artifacts/PATH`; `root` is the tracking URI without its query."""

    root: str
    find_container: FindContainer = container_of

    def artifact_uri(self, container: str, path: str = "") -> str:
        experiment, _, rest = container.partition("/")
        upload = upload_of(container)
        if upload is not None:
            uri = f"azureml://artifacts/{UPLOAD_ORIGIN}/{upload}"
        elif not rest:
            return f"{self.root}/experiments/{experiment}"
        else:
            owner = rest.removeprefix("models/").removesuffix("/artifacts")
            uri = f"{self.root}/experiments/{experiment}/runs/{owner}/artifacts"
        return f"{uri}/{path}" if path else uri

    def location(self, uri: str) -> str | None:
        for root in (self.root, self.root.replace("/mlflow/v2.0/", "/mlflow/v1.0/")):
            rest = uri.removeprefix(f"{root}/")
            if rest != uri and rest.startswith("experiments/"):
                match = re.fullmatch(_RUN_IN_EXPERIMENT, rest, re.DOTALL)
                if match is None:
                    return check_location(rest.removeprefix("experiments/"))
                return _location_of(match, self.find_container)
        return ProxyUris(self.find_container).location(uri)  # a client that knows the plain form too may send it here

    def _location_pattern(self, pattern: str, before_owner: str) -> str | None:
        head = f"{self.root}/experiments/"
        return pattern.removeprefix(head).replace("/runs/", before_owner, 1) if pattern.startswith(head) else None


def _location_without_address(uri: str, find_container: FindContainer) -> str | None:
    upload = re.fullmatch(_UPLOAD, uri, re.DOTALL)
    if upload is not None:
        return _joined(upload_container(upload["upload"]), upload["path"])
    for form in _FORMS:
        match = re.fullmatch(form, uri, re.DOTALL)
        if match is not None:
            return _location_of(match, find_container)
    if _REGISTRY.fullmatch(uri):
        raise NotSupported("A model of an Azure ML registry", "Register the model in this workspace")
    return None


def _location_of(match: "re.Match[str]", find_container: FindContainer) -> str:
    experiment = match.groupdict().get("experiment", "")
    return _joined(find_container(experiment, match["owner"]), match["path"])


def _joined(container: str, path: str | None) -> str:
    return check_location(f"{container}/{path}" if path else container)
