"""Artifact URIs of a service and of Azure ML: whose files they mean, in all the forms that Azure's clients write.

azureml://HOST/mlflow/v2.0/subscriptions/…/experiments/EXPERIMENT/runs/RUN_OR_MODEL/artifacts[/PATH]
azureml://experiments/EXPERIMENT/runs/RUN/artifacts[/PATH]        of whichever workspace is in use, as those below are
azureml://artifacts/ORIGIN/CONTAINER[/PATH]                       ORIGIN is ExperimentRun or LocalUpload
azureml://jobs/JOB/outputs/artifacts/paths/[PATH]                 a submitted job's own files
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from mlflow_amlstore.client.http.service_call import segment
from mlflow_amlstore.errors import NotSupported, TrackingUriInvalid
from mlflow_amlstore.protocol.artifact_origins import RUN_CONTAINER_PREFIX, RUN_ORIGIN, UPLOAD_ORIGIN
from mlflow_amlstore.records.locations import check_path, split_location, upload_of

_OF_RUN = re.compile(
    r"(?P<root>azureml(?:\+http)?:/(?:/[^/?#]+)*?)"
    r"/experiments/(?P<experiment>[^/?#]+)/runs/(?P<owner>[^/?#]+)/artifacts(?:/(?P<path>.*))?",
    re.DOTALL,
)
_OF_CONTAINER = re.compile(
    r"azureml://artifacts/(?P<origin>[^/?#]+)/(?P<container>[^/?#]+)(?:/(?P<path>.*))?", re.DOTALL
)
_OF_JOB = re.compile(r"azureml://jobs/(?P<job>[^/?#]+)/outputs/artifacts/paths(?:/(?P<path>.*))?", re.DOTALL)
_OF_REGISTRY = re.compile(r"azureml://(?:[^/?#]+/mlflow/v[12]\.0/)?registries/", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RunRoot:
    """The files of a run, or of a logged model in a run's place."""

    experiment: str
    owner_id: str

    @property
    def run_id(self) -> str:
        """The run whose tags tell of the files, if it is one."""
        return self.owner_id

    @property
    def route(self) -> str:
        """The routes to the files, after the workspace's path."""
        owner = f"experiments/{segment(self.experiment)}/runs/{segment(self.owner_id)}"
        return f"{owner}/artifacts"

    service = "history/v1.0"


@dataclass(frozen=True, slots=True)
class ContainerRoot:
    """The files of a container by its origin: a run's, or those uploaded to be registered as a model."""

    origin: str
    container: str

    @property
    def run_id(self) -> str | None:
        """The run whose tags tell of the files; None for an upload."""
        return self.container.removeprefix(RUN_CONTAINER_PREFIX) if self.origin == RUN_ORIGIN else None

    @property
    def route(self) -> str:
        """The routes to the files, after the workspace's path."""
        return f"artifacts/{segment(self.origin)}/{segment(self.container)}"

    service = "artifact/v2.0"


ArtifactRoot = RunRoot | ContainerRoot


class ArtifactUri(NamedTuple):
    """An artifact URI taken apart: the workspace's root ("" where it names none), whose files, and the path in them
    ("" for all)."""

    root: str
    artifact_root: ArtifactRoot
    path: str


def uri_of_location(root: str, location: str) -> str:
    """The URI of a location (`records.locations`) in the workspace whose tracking URI is `root`, without its query."""
    container, path = split_location(location)
    upload = upload_of(container)
    if upload is not None:
        place = f"azureml://artifacts/{UPLOAD_ORIGIN}/{upload}"
    else:
        experiment, *_, owner, _ = container.split("/")
        place = f"{root}/experiments/{experiment}/runs/{owner}/artifacts"
    return f"{place}/{path}" if path else place


def parse_artifact_uri(uri: str) -> ArtifactUri:
    """Take an artifact URI apart; its path isn't percent-encoded.

    Raises TrackingUriInvalid, PathUnsafe, and NotSupported for the files of a registry's models.
    """
    artifact_root: ArtifactRoot
    if match := _OF_CONTAINER.fullmatch(uri):
        artifact_root, root = ContainerRoot(match["origin"], match["container"]), ""
    elif match := _OF_JOB.fullmatch(uri):
        artifact_root, root = ContainerRoot(RUN_ORIGIN, RUN_CONTAINER_PREFIX + match["job"]), ""
    elif match := _OF_RUN.fullmatch(uri):
        artifact_root, root = RunRoot(match["experiment"], match["owner"]), match["root"].rstrip("/")
        if root.endswith(":"):
            root = ""
    elif _OF_REGISTRY.match(uri):
        raise NotSupported("Files of an Azure ML registry's models", "Register the model in a workspace")
    else:
        raise TrackingUriInvalid(
            uri.partition("?")[0], "must be azureml://HOST/…/experiments/…/runs/…/artifacts[/PATH]"
        )
    path = (match["path"] or "").strip("/").removeprefix("./")
    return ArtifactUri(root, artifact_root, check_path(path) if path else "")
