"""The process that runs an endpoint: brings up what is wanted, switches traffic to it, and tells the workspace.

    wanted by the workspace → prepared (copied, environment) → started → Healthy → serves; then what isn't wanted ends

One thread decides (`Host.run`); others prepare, listen and copy logs, and tell it in a queue.
"""

import contextlib
import logging
import os
import queue
import select
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlflow_amlstore.client.run_history.hosting import RemoteHostedEndpoint
from mlflow_amlstore.errors import AmlStoreError, NotFound, WorkspaceNotFound
from mlflow_amlstore.hosting import served_folder
from mlflow_amlstore.hosting.endpoint_folder import EndpointFolder, Launch, write_whole
from mlflow_amlstore.hosting.guardian import start_guardian
from mlflow_amlstore.hosting.hosted_endpoint import EmbeddedEndpoint, HostedEndpoint
from mlflow_amlstore.hosting.interpreter import interpreter_for
from mlflow_amlstore.hosting.own_socket import metrics_of
from mlflow_amlstore.hosting.scorer import Happened, Scorer, error_of
from mlflow_amlstore.records.types import DeploymentError, DeploymentRecord, EndpointRecord, EndpointState
from mlflow_amlstore.workspace.opening import open_folder

_LOOKED_EVERY_S = 0.2
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 30.0  # between two starts of a deployment that was Healthy
_WELL_S = 60.0  # one that ran so long begins again without a pause
_COUNTED_EVERY_S = 0.5  # requests, of an endpoint that may be stopped
_GONE_S = 30.0  # a folder that was moved may come back
_DRAIN_S = 32.0  # a little longer than a scoring process takes
_log = logging.getLogger(__name__)


@dataclass
class _Running:
    """A deployment that this host has begun with."""

    record: DeploymentRecord
    auth: bool
    interpreter: list[str] | None = None
    scorer: Scorer | None = None
    was_healthy: bool = False
    began_s: float = 0.0
    pause_s: float = 0.0
    starts_at_s: float = 0.0
    problem: DeploymentError | None = None
    versions: dict[str, str] = field(default_factory=dict)


class Host:
    """Runs one endpoint on this machine until it is deleted, is another machine's, or it is told to end."""

    def __init__(self, endpoint: HostedEndpoint, folder: EndpointFolder, listening: socket.socket, alive: int) -> None:
        """`alive` is readable once the guardian is gone."""
        self._endpoint, self._folder, self._listening, self._alive = endpoint, folder, listening, alive
        self._heard: queue.Queue[Happened] = queue.Queue()
        self._running: dict[int, _Running] = {}
        self._ending: list[Scorer] = []
        self._serving: dict[int, int] = {}
        self._hashes: list[str] = []
        self._is_told_to_end = self._is_idle = False
        self._asked_s = self._counted_s = time.monotonic()
        self._counts: list[tuple[int, int] | None] = []
        address, port = listening.getsockname()[:2]
        self._address = f"http://{address}:{port}"

    def run(self) -> bool:
        """Return whether the endpoint is to be run again by another process: the guardian is gone."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        is_orphaned = False
        record: EndpointRecord | None = None
        gone_s = time.monotonic()
        while not self._is_told_to_end:
            if select.select([self._alive], [], [], 0)[0]:
                is_orphaned = True
                break
            try:
                if self._endpoint.has_changed():
                    record = self._endpoint.get()
                    self._write_keys()
                if record is not None:
                    if not self._endpoint.hold(self._address, record.host):
                        break
                    self._bring_about(record)
                gone_s = time.monotonic()
            except NotFound:  # it was deleted
                break
            except WorkspaceNotFound:
                if time.monotonic() - gone_s > _GONE_S:
                    break
            except AmlStoreError as error:  # the workspace can't be asked just now: what runs goes on
                _log.warning("The workspace can't be asked: %s", error)
            self._hear()
        self._end_all(leave=not is_orphaned)
        return is_orphaned

    def _end(self, *_: object) -> None:
        self._is_told_to_end = True

    # What is wanted

    def _bring_about(self, record: EndpointRecord) -> None:
        """Take the next steps from what is to what is wanted."""
        wanted = record.wanted
        if not self._serving:
            self._serving = dict(record.serving)
        if self._sleeps(record):
            return
        for number in {*wanted, *self._serving}:  # the record may be older than what was told last
            deployment = record.deployment(number)
            running = self._running.get(number)
            if running is not None and running.auth != record.spec.auth and running.scorer is not None:
                self._stop(number)
                running = None
            if running is None and deployment.state is not EndpointState.FAILED:
                self._begin(record, deployment, was_healthy=number in self._serving)  # killed, or idle
            elif running is not None and running.scorer is None and running.interpreter is not None:
                self._start(running)
        is_ready = all(self._is_healthy(number) for number in wanted)
        if is_ready and wanted and (wanted != record.serving or wanted != self._serving):
            self._serve(wanted)
        for number in [number for number in self._running if number not in wanted and number not in self._serving]:
            self._stop(number)

    def _sleeps(self, record: EndpointRecord) -> bool:
        """Whether the endpoint has been stopped until the next request, as nobody has asked it for so long."""
        after_s = record.spec.idle_after_s
        if self._is_idle:
            is_asked = bool(select.select([self._listening], [], [], 0)[0])
            if after_s is not None and not is_asked and record.wanted == self._serving:
                return True
            self._is_idle = False
            for number in self._serving:
                self._tell(number, EndpointState.TRANSITIONING)
            self._say(0, "Somebody asks for a prediction: started again")
            self._asked_s = time.monotonic()
            return False
        now = time.monotonic()
        is_steady = record.wanted == self._serving and all(map(self._is_healthy, self._serving))
        if after_s is None or not is_steady:
            self._asked_s = now
            return False
        if now < self._counted_s + _COUNTED_EVERY_S:
            return False
        self._counted_s = now
        told = [metrics_of(self._folder.socket(number)) for number in self._serving]
        counts = [(one["requests"], one["in_flight"]) if one else None for one in told]
        if counts != self._counts or any(one and one[1] for one in counts):
            self._counts, self._asked_s = counts, now
        if now - self._asked_s < after_s:
            return False
        self._is_idle = True
        for number in list(self._running):
            self._stop(number)
        for number in self._serving:
            self._tell(number, EndpointState.IDLE)
        self._say(0, f"Nobody has asked for a prediction for {after_s:g} s: stopped until somebody does")
        return True

    def _is_healthy(self, number: int) -> bool:
        running = self._running.get(number)
        return running is not None and running.scorer is not None and running.scorer.is_healthy

    def _begin(self, record: EndpointRecord, deployment: DeploymentRecord, *, was_healthy: bool) -> None:
        """Have a deployment prepared."""
        number = deployment.number
        running = self._running[number] = _Running(deployment, record.spec.auth, was_healthy=was_healthy)
        if was_healthy and deployment.state is not EndpointState.TRANSITIONING:
            problem = DeploymentError("Restarting", "Its processes were ended, and are being started again")
            self._tell(number, EndpointState.UNHEALTHY, problem)
        threading.Thread(target=self._prepare, args=(record, running), daemon=True, name=f"prepare {number}").start()

    def _prepare(self, record: EndpointRecord, running: _Running) -> None:
        deployment = running.record
        number = deployment.number
        try:
            folder = self._folder.served(number)
            self._say(number, f"Copying {', '.join(deployment.spec.models) or 'the source folder'}")
            served = served_folder.make(self._endpoint, record, deployment, folder)
            interpreter = interpreter_for(
                deployment.spec, served, say=lambda text: self._say(number, text), source=folder / served_folder.SOURCE
            )
        except (AmlStoreError, OSError) as error:
            failed = DeploymentError(type(error).__name__, str(error))
            self._heard.put(Happened(number, "failed", failed))
            return
        self._heard.put(Happened(number, "prepared", interpreter))

    def _start(self, running: _Running) -> None:
        """Start the processes of a deployment that was prepared, once it is time."""
        now = time.monotonic()
        if now < running.starts_at_s:
            return
        number = running.record.number
        assert running.interpreter is not None
        served_folder.write_keys(self._folder.served(number), self._hashes)
        running.began_s = now
        running.scorer = Scorer(
            self._folder,
            number,
            running.record.spec,
            running.interpreter,
            listening=self._listening.fileno(),
            log=self._endpoint.log(number),
            hidden=self._endpoint.hidden,
            tell=self._heard,
        )

    def _serve(self, traffic: dict[int, int]) -> None:
        serving = {
            str(number): {"percent": percent, "socket": str(self._folder.socket(number))}
            for number, percent in traffic.items()
        }
        write_whole(self._folder.traffic, {"serving": serving})
        self._serving = dict(traffic)
        self._endpoint.set_serving(traffic)
        for number, percent in traffic.items():
            self._say(number, f"Deployment {number} answers {percent} % of the requests at {self._address}")

    def _stop(self, number: int) -> None:
        """End a deployment's processes, once they have answered what they have taken."""
        running = self._running.pop(number)
        if running.scorer is None:
            self._tell(number, EndpointState.STOPPED)
        else:
            running.scorer.end()
            self._ending.append(running.scorer)

    # What happens

    def _hear(self) -> None:
        """Wait a moment for something to happen, and act on all that has."""
        with contextlib.suppress(queue.Empty):
            happened = self._heard.get(timeout=_LOOKED_EVERY_S)
            while True:
                self._act(happened)
                happened = self._heard.get_nowait()

    def _act(self, happened: Happened) -> None:
        running = self._running.get(happened.number)
        number, about = happened.number, happened.about
        if happened.what == "ended" and about[0] in self._ending:
            self._ending.remove(about[0])
            if running is None and not self._is_idle:
                self._tell(number, EndpointState.STOPPED)
                self._say(number, f"Deployment {number} has answered what it had taken, and has ended")
        elif running is None:  # it was stopped meanwhile
            return
        elif happened.what == "prepared":
            running.interpreter = about
            self._say(number, f"Starting with {about[0]}")
            self._start(running)
        elif happened.what == "failed":
            running.problem = about if isinstance(about, DeploymentError) else error_of(about)
            if running.scorer is None:
                self._has_failed(running, running.problem)
        elif happened.what == "loaded":
            running.versions = about.get("versions", {})
        elif happened.what == "versions_differ":
            trained, here = about["trained_with"], about["here"]
            self._say(number, f"The model was trained with {about['package']} {trained}; here is {here}")
        elif happened.what == "healthy":
            assert running.scorer is not None
            running.scorer.is_healthy = running.was_healthy = True
            running.problem = None
            self._tell(number, EndpointState.HEALTHY, versions=running.versions)
            self._say(number, f"Healthy after {about['seconds']:g} s, with workers: {about['workers']}")
        elif happened.what == "worker_died":
            self._say(number, f"Worker {about['pid']} has ended: {about['why']}. Another one is started")
        elif happened.what == "ended":
            self._has_ended(running, *about)

    def _has_ended(self, running: _Running, scorer: Scorer, code: int) -> None:
        running.scorer = None
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        problem = running.problem or DeploymentError("ProcessEnded", f"Its process {how}", scorer.last_lines())
        if not running.was_healthy:
            self._has_failed(running, problem)
            return
        was_well = time.monotonic() - running.began_s > _WELL_S
        running.pause_s = 0.0 if was_well else min(_LONGEST_PAUSE_S, max(_SHORTEST_PAUSE_S, 2 * running.pause_s))
        running.starts_at_s = time.monotonic() + running.pause_s
        self._tell(running.record.number, EndpointState.UNHEALTHY, problem)
        self._say(running.record.number, f"{problem.message}. It is started again")
        self._start(running)

    def _has_failed(self, running: _Running, problem: DeploymentError) -> None:
        number = running.record.number
        del self._running[number]
        self._tell(number, EndpointState.FAILED, problem)
        self._say(number, f"Failed: {problem.message}")

    # What is told

    def _tell(
        self,
        number: int,
        state: EndpointState,
        problem: DeploymentError | None = None,
        *,
        versions: dict[str, str] | None = None,
    ) -> None:
        with contextlib.suppress(NotFound):  # it is deleted, which is noticed soon
            self._endpoint.set_state(number, state, problem, versions)

    def _say(self, number: int, text: str) -> None:
        with contextlib.suppress(AmlStoreError):
            self._endpoint.say(number, text)

    def _write_keys(self) -> None:
        hashes = self._endpoint.key_hashes()
        if hashes != self._hashes:
            self._hashes = hashes
            for number, running in self._running.items():
                if running.interpreter is not None:
                    served_folder.write_keys(self._folder.served(number), hashes)

    def _end_all(self, *, leave: bool) -> None:
        """End all processes, in order, and leave the endpoint."""
        if leave:
            self._listening.close()
        for number in list(self._running):
            self._stop(number)
        deadline = time.monotonic() + _DRAIN_S
        while time.monotonic() < deadline and any(scorer.is_there() for scorer in self._ending):
            time.sleep(0.02)
        for scorer in self._ending:
            scorer.kill()
        if leave:
            with contextlib.suppress(AmlStoreError):
                self._endpoint.leave()


def main() -> None:
    """Run the endpoint of a folder; started by its guardian."""
    folder = EndpointFolder(Path(sys.argv[2]))
    lock, listening, alive = (int(text) for text in sys.argv[3:6])
    for descriptor in (lock, listening, alive):
        os.set_inheritable(descriptor, False)
    launch = folder.read()
    public = socket.socket(fileno=listening)
    if launch.token:
        is_orphaned = Host(_remote(folder, launch), folder, public, alive).run()
    else:
        records = open_folder(Path(launch.workspace)).records
        is_orphaned = Host(EmbeddedEndpoint(records, launch.name), folder, public, alive).run()
        records.close()
    if is_orphaned:
        start_guardian(folder, lock, listening)
    else:
        folder.empty()


def _remote(folder: EndpointFolder, launch: Launch) -> RemoteHostedEndpoint:
    """The endpoint of a service; each next token is kept, for a host that is started in this one's place."""

    def keep(token: str) -> None:
        folder.write(replace(folder.read(), token=token))

    return RemoteHostedEndpoint(launch.workspace, launch.name, launch.token, folder.path, keep_token=keep)


if __name__ == "__main__":
    main()
