"""What a host asks the workspace of its endpoint, and tells it. Embedded, that is the workspace's folder."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mlflow_amlstore.errors import InvalidValue, NotFound
from mlflow_amlstore.records.common_store import CommonGrowingFile, CommonStore
from mlflow_amlstore.records.locations import endpoint_container, snapshot_container, split_location
from mlflow_amlstore.records.machine import this_machine
from mlflow_amlstore.records.types import (
    DeploymentError,
    EndpointHost,
    EndpointRecord,
    EndpointState,
    ModelVersionRecord,
)

if TYPE_CHECKING:
    from mlflow_amlstore.records.store import RecordStore


class HostedEndpoint(Protocol):
    """One endpoint, for the host that runs it."""

    def has_changed(self) -> bool:
        """Whether the endpoint may be another than `get` said the last time. Cheap: it is asked several times a second.

        True the first time.
        """

    def get(self) -> EndpointRecord:
        """Return the endpoint. Raises NotFound where it was deleted."""

    def key_hashes(self) -> list[str]:
        """Return the SHA-256 of both keys, in hex."""

    def hold(self, address: str, known: EndpointHost | None) -> bool:
        """Tell, unless it is known, that this host runs the endpoint at this address. False where another one does."""

    def leave(self) -> None:
        """Tell that this host runs it no longer."""

    def set_state(
        self,
        number: int,
        state: EndpointState,
        error: DeploymentError | None = None,
        versions: dict[str, str] | None = None,
    ) -> None:
        """Tell how a deployment is."""

    def set_serving(self, traffic: dict[int, int]) -> None:
        """Tell which deployments serve."""

    def say(self, number: int, text: str) -> None:
        """Tell what happened."""

    def log(self, number: int) -> CommonGrowingFile:
        """Begin the log of a deployment, in place of the one before."""

    def model(self, model: str) -> ModelVersionRecord:
        """Return the version of `NAME:VERSION`."""

    def fetch_model(self, model: str, folder: Path) -> Path:
        """Copy the files of `NAME:VERSION` into a folder; return the path of its one file or folder there."""

    def fetch_source(self, snapshot_id: str, folder: Path) -> None:
        """Copy the files of a snapshot into a folder."""

    @property
    def hidden(self) -> list[Path]:
        """What of the workspace lies on this machine, and is hidden from models."""


class EmbeddedEndpoint:
    """An endpoint of a workspace that is a folder of this machine: implements `HostedEndpoint`."""

    def __init__(self, records: "RecordStore", name: str) -> None:
        self._records, self._name = records, name
        self._watch = records.watch()
        self._seen: int | None = None

    def has_changed(self) -> bool:
        version = self._watch.version()
        changed, self._seen = version != self._seen, version
        return changed

    def get(self) -> EndpointRecord:
        return self._records.endpoints.get(self._name)

    def key_hashes(self) -> list[str]:
        return [hashlib.sha256(key.encode()).hexdigest() for key in self._records.endpoints.keys(self._name)]

    def hold(self, address: str, known: EndpointHost | None) -> bool:
        mine = EndpointHost(this_machine(), address, None)
        return known == mine or self._records.endpoints.hold(self._name, mine.holder, address, has_lease=False)

    def leave(self) -> None:
        self._records.endpoints.leave(self._name, this_machine())

    def set_state(
        self,
        number: int,
        state: EndpointState,
        error: DeploymentError | None = None,
        versions: dict[str, str] | None = None,
    ) -> None:
        self._records.endpoints.set_state(self._name, number, state, error=error, versions=versions)

    def set_serving(self, traffic: dict[int, int]) -> None:
        self._records.endpoints.set_serving(self._name, traffic)

    def say(self, number: int, text: str) -> None:
        self._records.endpoints.say(self._name, number, text)

    def log(self, number: int) -> CommonGrowingFile:
        return self._records.files.grow(endpoint_container(self._name), log_path(number))

    def model(self, model: str) -> ModelVersionRecord:
        return version_named(self._records, model)

    def fetch_model(self, model: str, folder: Path) -> Path:
        return fetch_model(self._records, self.model(model), folder)

    def fetch_source(self, snapshot_id: str, folder: Path) -> None:
        container = snapshot_container(snapshot_id)
        for file in self._records.files.list_all(container):
            place = folder / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            self._records.files.download(container, file.path, place)

    @property
    def hidden(self) -> list[Path]:
        return [self._records.folder]


def log_path(number: int) -> str:
    """The file of a deployment's log, among the endpoint's files."""
    return f"logs/{number}.txt"


def version_named(records: CommonStore, model: str) -> ModelVersionRecord:
    """The version of a model that `NAME:VERSION` names. Raises NotFound, InvalidValue."""
    name, _, version = model.rpartition(":")
    if not name or not version.isdecimal():
        raise InvalidValue("model", model, "must be NAME:VERSION")
    return records.models.get_version(name, int(version))


def fetch_model(records: CommonStore, version: ModelVersionRecord, folder: Path) -> Path:
    """Copy a version's files into a folder, and return the path of its one file or folder there.

    Raises InvalidValue where its files aren't in this workspace, NotFound where they are gone.
    """
    called = f"{version.name}:{version.version}"
    location = records.models.location_of(version)
    if location is None:
        rule = f"is at {version.storage_location}, and can be deployed from a workspace's own files alone"
        raise InvalidValue("model", called, rule)
    container, path = split_location(location)
    above = f"{path.rpartition('/')[0]}/" if "/" in path else ""
    files = records.files.list_all(container, path)
    if not files:
        raise NotFound("file", path or "*", f"Model {called} has no files any more: they were deleted")
    for file in files:
        place = folder / file.path.removeprefix(above)
        place.parent.mkdir(parents=True, exist_ok=True)
        records.files.download(container, file.path, place)
    inside = sorted(folder.iterdir())
    return inside[0] if len(inside) == 1 else folder
