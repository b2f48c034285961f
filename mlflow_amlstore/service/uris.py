"""How the service names things to its clients: its own addresses, and artifact URIs in the form a client understands.

Records keep `workspace:/CONTAINER/PATH` (`records.locations`), which says nothing of where the workspace is. What goes
out depends on how the client came in: one that uses `/mlflow/v2.0/subscriptions/…` has the plugin, or Azure ML's, and
gets `azureml://…/experiments/EXPERIMENT/runs/RUN/artifacts`; one that uses plain `/api/…` is MLflow alone and gets
`mlflow-artifacts:/CONTAINER`, which goes through MLflow's artifact proxy. A logged model stands in the place of a run,
as in `…/experiments/1/runs/m-0123/artifacts`: the form that Azure ML's client can read too.
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

from mlflow_amlstore.records.locations import WORKSPACE_SCHEME, container_of, split_location

_PROXY_SCHEME = "mlflow-artifacts:"


class Uris(ABC):
    """Artifact URIs as one kind of client has them."""

    @abstractmethod
    def artifact_uri(self, container: str, path: str = "") -> str:
        """The URI of a container's files, or of a path in it."""

    @abstractmethod
    def location(self, uri: str) -> str | None:
        """`CONTAINER[/PATH]` of a URI of this workspace, or None for any other. Raises PathUnsafe."""

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


class ProxyUris(Uris):
    """`mlflow-artifacts:/CONTAINER/PATH`, for MLflow without a plugin."""

    def artifact_uri(self, container: str, path: str = "") -> str:
        location = f"{container}/{path}" if path else container
        return f"{_PROXY_SCHEME}/{location}"

    def location(self, uri: str) -> str | None:
        if not uri.startswith(_PROXY_SCHEME):
            return None
        rest = uri.removeprefix(_PROXY_SCHEME)
        if rest.startswith("//"):  # `mlflow-artifacts://HOST/…` names the proxy's host as well
            rest = rest[2:].partition("/")[2]
        container, path = split_location(rest)
        return f"{container}/{path}" if path else container


@dataclass(frozen=True, slots=True)
class AzureUris(Uris):
    """`ROOT/experiments/EXPERIMENT/runs/RUN/artifacts/PATH`; `root` is the tracking URI without its query."""

    root: str

    def artifact_uri(self, container: str, path: str = "") -> str:
        experiment, _, rest = container.partition("/")
        if not rest:
            return f"{self.root}/experiments/{experiment}"
        owner = rest.removeprefix("models/").removesuffix("/artifacts")
        uri = f"{self.root}/experiments/{experiment}/runs/{owner}/artifacts"
        return f"{uri}/{path}" if path else uri

    def location(self, uri: str) -> str | None:
        prefix = f"{self.root}/experiments/"
        if not uri.startswith(prefix):
            return ProxyUris().location(uri)  # a client that knows the plain form too may send it here
        match = re.fullmatch(r"([^/]+)/runs/([^/]+)/artifacts(?:/(.*))?", uri.removeprefix(prefix), re.DOTALL)
        container, path = split_location(
            uri.removeprefix(prefix)
            if match is None
            else "/".join(filter(None, (container_of(match[1], match[2]), match[3])))
        )
        return f"{container}/{path}" if path else container
