"""The fixtures `amlstore_workspace` and `amlstore_service`: an empty workspace for one test, embedded or behind a
service in a process of its own, with MLflow pointed at it.

pytest loads this module in every session where the package is installed, so it imports nothing heavy: MLflow and the
workspace are loaded by the first test that asks for a fixture.
"""

import json
import os
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mlflow_amlstore.core import Workspace

# What MLflow reads at the start of a run, and what it sets itself for the processes that a run starts.
_VARIABLES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_ACTIVE_MODEL_ID",
    "_MLFLOW_ACTIVE_MODEL_ID",
)

_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 20

# What `mlflow.tracking.fluent` remembers between calls. MLflow has no public way to read or reset these. The last two
# came with MLflow 3.
_REMEMBERED = (
    "_active_run_stack",
    "_active_experiment_id",
    "_last_active_run_id",
    "_last_logged_model_id",
    "_ACTIVE_MODEL_CONTEXT",
)


@pytest.fixture
def amlstore_workspace(tmp_path: Path) -> "Iterator[Workspace]":
    """An empty workspace in `tmp_path`; MLflow tracks into it until the test ends, then is as it was before."""
    from mlflow_amlstore.core import Workspace

    workspace = Workspace.create(tmp_path / "workspace")
    with ExitStack() as undo:
        undo.callback(workspace.close)
        undo.enter_context(mlflow_pointed_at(workspace.get_mlflow_tracking_uri()))
        yield workspace


@pytest.fixture
def amlstore_service(tmp_path: Path) -> "Iterator[AmlstoreService]":
    """A service of an empty workspace in `tmp_path`, on a free port; MLflow tracks into it until the test ends."""
    with AmlstoreService(tmp_path / "service") as service, mlflow_pointed_at(service.tracking_uri):
        yield service


class AmlstoreService:
    """`amlstore serve` in a process of its own, from `start` to `stop`; a context manager does both.

    `folder` gets the workspace, the file `log`, and the state that else would be in the user's home. `url` is where the
    service answers, `tracking_uri` one with a token, `key` the key of whoever started it (an owner's). `ca` is the file
    of the authority that signed the certificate which `--tls self-signed` made. `command` is what runs `amlstore`.
    """

    command: tuple[str, ...] = (sys.executable, "-c", "from mlflow_amlstore.cli import main; main()")

    url: str
    key: str

    def __init__(self, folder: Path, *options: str) -> None:
        """`options` are more of `amlstore serve`'s."""
        self.folder = folder / "workspace"
        self.log = folder / "log"
        self._state = folder / "state"
        self.ca = self._state / "amlstore" / "tls" / "ca.pem"
        self._options = options
        self._port = 0
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "AmlstoreService":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the service, on the port it had before if it ran already; on return it answers."""
        self._state.mkdir(parents=True, exist_ok=True)
        arguments = ["serve", str(self.folder), "--port", str(self._port), *self._options]
        with self.log.open("a", encoding="utf-8") as log:
            self.process = self._launch(arguments, self._clean_environment(), log)
        told = self._read_what_it_tells(self.process)
        self.url = told["Service"]
        self._port = int(self.url.rpartition(":")[2])
        announced = next((self._state / "amlstore" / "services").glob(f"*_{self._port}.json"))
        self.key = json.loads(announced.read_text(encoding="utf-8"))["key"]
        self._root, self._tracking_uri = told["Tracking URI"], ""
        if self.ca.exists() or self.url.startswith("http:"):  # else its certificate is one that isn't known here
            _ = self.tracking_uri

    def stop(self) -> None:
        """Stop the service in good order."""
        self._end(lambda process: process.terminate())

    def kill(self) -> None:
        """Kill the service, as `kill -9` does."""
        self._end(lambda process: process.kill())

    def restart(self) -> None:
        """Stop the service if it runs, and start it again at the same address."""
        self.stop()
        self.start()

    @property
    def environment(self) -> dict[str, str]:
        """An environment for a client process: it tracks into this service, with its key, and trusts its TLS."""
        trusted = {"REQUESTS_CA_BUNDLE": str(self.ca)} if self.ca.exists() else {}
        return {**self._clean_environment(), **trusted, "MLFLOW_TRACKING_URI": self.tracking_uri}

    @property
    def tracking_uri(self) -> str:
        """A tracking URI with a token in it, the same one until the service is started again."""
        if not self._tracking_uri:
            issued = self._tracking_token()
            self._tracking_uri = f"{self._root}?expires={issued['expires']}&token={issued['token']}"
        return self._tracking_uri

    @property
    def token(self) -> str:
        """A fresh token for MLFLOW_TRACKING_TOKEN, with which MLflow tracks into `url` without this package."""
        return str(self._tracking_token()["token"])

    def _tracking_token(self) -> Any:
        return self.call("POST", "/auth/tracking-token", self.exchange(self.key))

    def exchange(self, key: str) -> str:
        """An access token for a key."""
        return str(self.call("POST", "/auth/token", key)["token"])

    def call(self, method: str, path: str, bearer: str, body: object = None) -> Any:
        """Call the service's own API and return the JSON it answers. Raises urllib's HTTPError."""
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", content, headers, method=method)
        trusting = ssl.create_default_context(cafile=self.ca) if self.ca.exists() else None
        with urllib.request.urlopen(request, context=trusting) as answer:
            return json.load(answer)

    def _launch(
        self, arguments: Sequence[str], environment: Mapping[str, str], log: IO[str]
    ) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*self.command, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
        )

    def _clean_environment(self) -> dict[str, str]:
        settings = ("MLFLOW_", "_MLFLOW_", "AMLSTORE_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
        return {**kept, "XDG_STATE_HOME": str(self._state)}

    def _read_what_it_tells(self, process: "subprocess.Popen[str]") -> dict[str, str]:
        assert process.stdout is not None
        told: dict[str, str] = {}
        too_late = threading.Timer(_START_TIMEOUT_S, process.kill)
        too_late.start()
        try:
            while "Tracking URI" not in told and (line := process.stdout.readline()):
                name, _, value = line.rstrip("\n").partition(": ")
                told[name] = value
        finally:
            too_late.cancel()
        if "Tracking URI" not in told:
            self.kill()
            raise RuntimeError(f"`amlstore serve` didn't start: {self.log.read_text(encoding='utf-8')}")
        return told

    def _end(self, tell: "Callable[[subprocess.Popen[str]], None]") -> None:
        process, self.process = self.process, None
        if process is None:
            return
        tell(process)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def mlflow_pointed_at(uri: str) -> Iterator[None]:
    """Point MLflow at a tracking URI as in a fresh process; on leaving, end the runs begun and put everything back."""
    import mlflow
    from mlflow.tracking import fluent
    from mlflow.tracking._model_registry import utils as registry
    from mlflow.tracking._tracking_service.utils import _use_tracking_uri

    with ExitStack() as undo:
        for name in _VARIABLES:
            undo.callback(_set_variable, name, os.environ.pop(name, None))
        undo.callback(setattr, registry, "_registry_uri", registry._registry_uri)
        undo.enter_context(_use_tracking_uri(uri))
        mlflow.set_registry_uri(uri)
        for name in _REMEMBERED:
            if hasattr(fluent, name):
                before = getattr(fluent, name)
                undo.callback(setattr, fluent, name, before)
                setattr(fluent, name, _empty_like(before))
        undo.callback(_end_runs, mlflow.active_run, mlflow.end_run)
        yield


def _set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _empty_like(remembered: Any) -> Any:
    """A fresh value of the kind that MLflow has here: one per thread, or in older releases a list or None."""
    if hasattr(remembered, "default_factory"):
        return type(remembered)(default_factory=remembered.default_factory)
    return [] if isinstance(remembered, list) else None


def _end_runs(active_run: Callable[[], object | None], end_run: Callable[[], None]) -> None:
    """End this thread's runs, so that nothing (system metrics, say) goes on logging into a workspace that is gone."""
    while active_run() is not None:
        end_run()
