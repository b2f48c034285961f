"""An agent's side of endpoints: it takes one from a service, and the endpoint's host holds it with a token of its own.

`RemoteHostedEndpoint` is what `hosting.hosted_endpoint.HostedEndpoint` asks for, over the service's routes.
"""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.files.content_url import Content, ContentUrl
from mlflow_amlstore.client.files.download import download_file
from mlflow_amlstore.client.files.growing import GrowingUpload, RemoteGrowingFile
from mlflow_amlstore.client.http.backoff import Backoff
from mlflow_amlstore.client.http.service_call import BearerRefused, ServiceCall, segment
from mlflow_amlstore.client.run_history.endpoint_documents import endpoint_record, read_as
from mlflow_amlstore.client.run_history.routes import RunHistory
from mlflow_amlstore.errors import NotFound, ServiceError
from mlflow_amlstore.records.types import (
    DeploymentError,
    EndpointHost,
    EndpointRecord,
    EndpointState,
    ModelVersionRecord,
)
from mlflow_amlstore.workspace.tracking_uri import parse

_LOOKED_EVERY_S = 0.5
_TRIED_FOR_S = 5.0  # then the host goes on with what runs, and asks again


class TakenEndpoint(NamedTuple):
    """An endpoint that an agent has taken, and the endpoint's own token."""

    name: str
    token: str


def take_endpoint(connection: Connection, target: str, agent: str) -> TakenEndpoint | None:
    """Take an endpoint of a pool, or of none in particular, that nobody runs; None where none waits.

    `agent` is the agent's name for itself. Raises what `Connection.request` does.
    """
    path = f"computes/{segment(target)}/take-endpoint"
    answer = RunHistory(connection).call_execution("POST", path, {"agent": agent})
    return TakenEndpoint(str(answer["name"]), str(answer["token"])) if answer["name"] else None


class RemoteHostedEndpoint:
    """One endpoint of a workspace behind a service, for the host that runs it. Safe across threads.

    A call whose lease has run out raises NotFound: another host may have the endpoint.
    """

    def __init__(
        self,
        root: str,
        name: str,
        token: str,
        folder: Path,
        *,
        keep_token: Callable[[str], object] = lambda token: None,
    ) -> None:
        """`root` is the workspace's tracking URI, `folder` one of this host for logs on their way. `keep_token` is
        given each next token, so that a host that is started again has it."""
        uri = parse(root)
        self._service_url = uri.service_url
        self._path = f"/execution/v1.0{uri.workspace_path}/endpoints/{segment(name)}"
        self._name, self._token, self._keep_token, self._folder = name, token, keep_token, folder
        self._record: EndpointRecord | None = None
        self._hashes: list[str] = []
        self._looks_at_s = self._renews_at_s = 0.0
        self._held_at = ""
        self._lock = threading.Lock()

    @property
    def hidden(self) -> list[Path]:
        """What of the workspace lies on this machine: nothing."""
        return []

    def has_changed(self) -> bool:
        """Whether it is time to ask again; True the first time, and after this host has changed something."""
        now = time.monotonic()
        if now < self._looks_at_s:
            return False
        self._looks_at_s = now + _LOOKED_EVERY_S
        return True

    def get(self) -> EndpointRecord:
        """Return the endpoint as it is kept. Raises NotFound where it was deleted, or the lease ran out."""
        answer = self._call("GET", "/host")
        self._hashes = [str(each) for each in answer["key_hashes"]]
        return endpoint_record(answer["record"])

    def key_hashes(self) -> list[str]:
        """Return the SHA-256 of both keys, in hex, as they were when `get` asked."""
        if not self._hashes:
            self.get()
        return self._hashes

    def hold(self, address: str, known: EndpointHost | None) -> bool:
        """Tell where the endpoint answers, and renew the lease when it is time. False where it ran out."""
        now = time.monotonic()
        if address == self._held_at and now < self._renews_at_s:
            return True
        try:
            answer = self._call("PUT", "/host", {"address": address})
        except NotFound:
            return False
        self._held_at, self._renews_at_s = address, now + float(answer["renewed_every_s"])
        with self._lock:
            self._token = str(answer["token"])
        self._keep_token(self._token)
        return True

    def leave(self) -> None:
        """Run it no longer; the token ends."""
        self._call("DELETE", "/host")

    def set_state(
        self,
        number: int,
        state: EndpointState,
        error: DeploymentError | None = None,
        versions: dict[str, str] | None = None,
    ) -> None:
        """Tell how a deployment is."""
        told = None
        if error is not None:
            told = {"code": error.code, "message": error.message, "details": error.details}
        given = {"state": state.value, "error": told, "versions": versions}
        self._call("PUT", f"/deployments/{number}/state", given)
        self._looks_at_s = 0.0

    def set_serving(self, traffic: dict[int, int]) -> None:
        """Tell which deployments serve."""
        self._call("PUT", "/serving", {"traffic": traffic})
        self._looks_at_s = 0.0  # else the host would go by what served before

    def say(self, number: int, text: str) -> None:
        """Tell what happened."""
        self._call("POST", "/events", {"number": number, "text": text})

    def log(self, number: int) -> RemoteGrowingFile:
        """Begin the log of a deployment, in place of the one before."""

        def ask() -> Content:
            return Content(str(self._call("POST", f"/deployments/{number}/log", {})["url"]))

        upload = GrowingUpload(ContentUrl(f"the log of deployment {number}", ask(), ask, is_services_own=True))
        upload.begin()
        local = self._folder / f"{number}.log"
        local.write_bytes(b"")
        return RemoteGrowingFile(upload, local)

    def model(self, model: str) -> ModelVersionRecord:
        """Return the version of `NAME:VERSION`."""
        return read_as(ModelVersionRecord, self._call("GET", f"/models/{segment(model)}")["version"])

    def fetch_model(self, model: str, folder: Path) -> Path:
        """Copy the files of `NAME:VERSION` into a folder; return the path of its one file or folder there."""
        route = f"/models/{segment(model)}"
        answer = self._call("GET", route)
        path = str(answer["path"])
        above = f"{path.rpartition('/')[0]}/" if "/" in path else ""
        self._download(route, answer["files"], above, folder)
        inside = sorted(folder.iterdir())
        return inside[0] if len(inside) == 1 else folder

    def fetch_source(self, snapshot_id: str, folder: Path) -> None:
        """Copy the files of a snapshot into a folder."""
        route = f"/snapshots/{segment(snapshot_id)}"
        self._download(route, self._call("GET", route)["files"], "", folder)

    def _download(self, route: str, files: Sequence[dict[str, Any]], above: str, folder: Path) -> None:
        for file in files:
            path = str(file["path"])

            def ask(path: str = path) -> Content:
                return next(_content(each) for each in self._call("GET", route)["files"] if each["path"] == path)

            place = folder / path.removeprefix(above)
            place.parent.mkdir(parents=True, exist_ok=True)
            download_file(ContentUrl(path, _content(file), ask, is_services_own=True), place)

    def _call(self, method: str, route: str, given: Any = None) -> Any:
        backoff = Backoff(f"The workspace service {self._service_url}", _TRIED_FOR_S)
        call = ServiceCall(method, self._service_url, self._path + route, given, backoff=backoff)
        with self._lock:
            token = self._token
        try:
            return call.send(token)
        except BearerRefused as refused:
            raise NotFound("lease", self._name, refused.problem) from None
        except ServiceError as error:
            if error.http_status == 404:
                raise NotFound("endpoint", self._name, error.message) from None
            raise


def _content(told: dict[str, Any]) -> Content:
    return Content(str(told["url"]), int(told["size_bytes"]), str(told["etag"]))
