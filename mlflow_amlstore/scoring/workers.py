"""The loader and its workers: the model is loaded once, and forked.

The loader stays as it was after loading, so that a worker that died is back as fast as a process is forked. It watches
how long workers predict: one that hangs on its event loop is interrupted, and killed where that doesn't help. It never
predicts itself: threads of compiled code don't survive a fork.
"""

import asyncio
import gc
import importlib.metadata
import logging
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn

from mlflow_amlstore.scoring import flavors, payloads, swagger
from mlflow_amlstore.scoring.app import App
from mlflow_amlstore.scoring.deployment import DRAIN_S, Deployment, Keys
from mlflow_amlstore.scoring.events import TOLD, Events
from mlflow_amlstore.scoring.metrics import Block, Board
from mlflow_amlstore.scoring.model import Model
from mlflow_amlstore.scoring.predictions import TimeIsUp

KEEP_ALIVE_S = 75
LAME_S = 1.0
"""How long a worker that ends still answers on connections that are open, each answer the connection's last."""
_READY, _RETIRES = b"R", b"X"
_LOOKED_EVERY_S = 0.1
_INTERRUPTED_FOR_S = 0.5  # before it is killed
_QUICK_DEATH_S = 1.0
_SLOWEST_S = 5.0
_SWITCH_S = 0.001  # Python's 0.005 is what health would wait beside a model that computes
_WARM_UPS = 5
_log = logging.getLogger(__name__)


class _Worker:
    def __init__(self, pid: int, pipe: int, block: int) -> None:
        self.pid, self.pipe, self.block = pid, pipe, block
        self.began_s = time.monotonic()
        self.is_ready = self.retires = self.is_interrupted = False
        self.must_end_at_s: float | None = None


class Loader:
    """The process that has the model and forks the workers."""

    def __init__(self, folder: Path, deployment: Deployment, listening: socket.socket, events: Events) -> None:
        self._folder, self._deployment, self._listening, self._events = folder, deployment, listening, events
        self._workers: dict[int, _Worker] = {}
        self._lifeline, self._held = os.pipe()
        self._wake, self._woken = os.pipe()
        self._is_told_to_end = self._was_healthy = False
        self._next_start_s = 0.0
        self._deaths_at_once = 0

    def run(self, tell_healthy: Callable[[], object]) -> int:
        """Load, fork, and look after the workers until SIGTERM; return the exit code. Raises what loading raises."""
        deployment = self._deployment
        _say_versions(deployment, self._events)
        began_s = time.monotonic()
        self._model = flavors.of(deployment, self._folder)
        self._model.load()
        self._events.tell("loaded", seconds=round(time.monotonic() - began_s, 3))
        count = 2 * deployment.workers + 2
        self._board = Board(count)
        self._free = list(range(count))
        gc.collect()
        gc.freeze()  # a collection in a worker would touch, and so copy, all that is shared
        os.set_blocking(self._woken, False)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._end)
        while True:
            self._fill()
            code = self._look()
            if code is not None:
                return code
            running = [worker for worker in self._workers.values() if worker.is_ready and not worker.retires]
            if not self._was_healthy and len(running) >= deployment.workers:
                self._was_healthy = True
                tell_healthy()
                self._events.tell("healthy", workers=len(running), seconds=round(time.monotonic() - began_s, 3))

    def _end(self, *_: object) -> None:
        self._is_told_to_end = True

    def _fill(self) -> None:
        """Fork as many workers as are missing; at once, unless they die as soon as they are there."""
        missing = self._deployment.workers - sum(not worker.retires for worker in self._workers.values())
        if self._is_told_to_end or time.monotonic() < self._next_start_s:
            return
        for _ in range(missing):
            if self._free:
                self._fork()

    def _fork(self) -> None:
        reader, writer = os.pipe()
        block = self._free.pop(0)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            os.close(self._held)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _be_a_worker(
                self._deployment,
                self._folder,
                self._model,
                self._board.block(block),
                self._listening,
                writer,
                self._lifeline,
                self._events,
            )
        os.close(writer)
        self._workers[pid] = _Worker(pid, reader, block)

    def _look(self) -> int | None:
        """Wait for something to happen, and see what has. Returns an exit code where all is over."""
        pipes = {worker.pipe: worker for worker in self._workers.values()}
        ready, _, _ = select.select([*pipes, self._wake], [], [], _LOOKED_EVERY_S)
        if self._wake in ready:
            os.read(self._wake, 1024)
        for pipe in ready:
            if worker := pipes.get(pipe):
                said = os.read(pipe, 16)
                if _READY in said:
                    worker.is_ready = True
                    if self._was_healthy:
                        self._events.tell(
                            "worker_back", pid=worker.pid, seconds=round(time.monotonic() - worker.began_s, 3)
                        )
                if _RETIRES in said:
                    worker.retires = True
                    worker.must_end_at_s = time.monotonic() + DRAIN_S
                    self._board.block(worker.block).restarted()
                    self._events.tell("worker_died", pid=worker.pid, why="a prediction took longer than it may")
        self._stop_what_hangs()
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            code = self._ended(pid, os.waitstatus_to_exitcode(status))
            if code is not None:
                return code
        if self._is_told_to_end:
            self._tell_to_end()
            if not self._workers:
                return 0
        return None

    def _stop_what_hangs(self) -> None:
        now = time.monotonic()
        for worker in self._workers.values():
            since = self._board.block(worker.block).inline_since
            over = now - since - self._deployment.predict_limit_s if since else -1.0
            if over < 0:
                worker.is_interrupted = False
            elif not worker.is_interrupted:
                worker.is_interrupted = True
                os.kill(worker.pid, signal.SIGUSR1)
            is_late = worker.must_end_at_s is not None and now > worker.must_end_at_s
            if over > _INTERRUPTED_FOR_S or is_late:
                os.kill(worker.pid, signal.SIGKILL)

    def _ended(self, pid: int, code: int) -> int | None:
        worker = self._workers.pop(pid, None)
        if worker is None:
            return None
        os.close(worker.pipe)
        block = self._board.block(worker.block)
        block.forget_the_present()
        self._free.append(worker.block)
        if code == TOLD and not self._was_healthy:
            for other in self._workers:
                os.kill(other, signal.SIGKILL)
            return TOLD
        if self._is_told_to_end or worker.retires:
            return None
        block.restarted()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        self._events.tell("worker_died", pid=pid, why=f"it {how}")
        is_quick = not worker.is_ready or time.monotonic() - worker.began_s < _QUICK_DEATH_S
        self._deaths_at_once = self._deaths_at_once + 1 if is_quick else 0
        if self._deaths_at_once > 1:
            if not self._was_healthy and self._deaths_at_once > 2 * self._deployment.workers:
                message = f"The workers end before they answer: the last one {how}"
                self._events.tell("failed", code="WorkerDied", message=message, traceback="")
                return TOLD
            self._next_start_s = time.monotonic() + min(_SLOWEST_S, 0.1 * 2**self._deaths_at_once)
        return None

    def _tell_to_end(self) -> None:
        for worker in self._workers.values():
            if worker.must_end_at_s is None:
                worker.must_end_at_s = time.monotonic() + DRAIN_S
                os.kill(worker.pid, signal.SIGTERM)


def _say_versions(deployment: Deployment, events: Events) -> None:
    """Say before loading where a package has another version than when the model was trained."""
    for name, trained in deployment.versions.items():
        try:
            here = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            here = ""
        if here != trained:
            events.tell("versions_differ", package=name, trained_with=trained, here=here or "not installed")


def _be_a_worker(
    deployment: Deployment,
    folder: Path,
    model: Model,
    block: Block,
    listening: socket.socket,
    writer: int,
    lifeline: int,
    events: Events,
) -> None:
    """Answer until told to end. Never returns."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.setswitchinterval(_SWITCH_S)
        model.open()
        server: _Server

        def retire() -> None:
            if not server.should_exit:
                os.write(writer, _RETIRES)
                server.should_exit = True

        app = App(deployment, model, Keys(folder) if deployment.auth else None, block, retire)

        def interrupt(*_: object) -> None:
            """End a prediction on the event loop that takes too long, where it runs Python."""
            if app.predictions.is_predicting_here:
                raise TimeIsUp

        signal.signal(signal.SIGUSR1, interrupt)
        _warm_up(app, deployment, model)
        config = uvicorn.Config(
            app,
            http="httptools",
            loop="auto" if sys.platform == "win32" else "uvloop",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(DRAIN_S),
        )
        server = _Server(config, app, lifeline, lambda: os.write(writer, _READY))
        server.run([listening])
        code = 0
    except BaseException as error:
        _log.exception("A worker failed")
        message = f"A worker can't answer: {type(error).__name__}: {error}"
        events.tell("failed", code="OpenFailed", message=message, traceback=traceback.format_exc())
        code = TOLD
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # a thread that predicts for ever would keep it


def _warm_up(app: App, deployment: Deployment, model: Model) -> None:
    """Predict an example, so that the first request doesn't pay for what is loaded late, and the speed is known."""
    example = swagger.example_of(deployment, model.inputs)
    if example is None or (deployment.example is None and not model.inputs.tensors()):
        return
    try:
        request = payloads.read(payloads.encode(example))
        checked = model.inputs.check(request)
        for method in model.methods:
            for _ in range(_WARM_UPS):
                app.predictions.now(checked, method, None)
    except Exception as error:
        about = "The example of the deployment" if deployment.example is not None else "A row of zeros"
        _log.warning("%s can't be predicted: %s", about, error)


class _Server(uvicorn.Server):
    """uvicorn, with an end in which no client that asks in time is turned away."""

    def __init__(self, config: uvicorn.Config, app: App, lifeline: int, tell_ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._app, self._lifeline, self._tell_ready = app, lifeline, tell_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        asyncio.get_running_loop().add_reader(self._lifeline, self._loader_is_gone)
        self._tell_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections; answer on those that are open for a moment, then close them."""
        self._app.is_draining = True
        for server in self.servers:
            server.close()
        deadline = time.monotonic() + LAME_S
        while self.server_state.connections and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        self._app.is_closed = True
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals here. uvicorn raises them again when it's done, which would end the process before we are."""
        signal.signal(signal.SIGTERM, self._told_to_end)
        yield

    def _told_to_end(self, *_: Any) -> None:
        self.should_exit = True

    def _loader_is_gone(self) -> None:
        asyncio.get_running_loop().remove_reader(self._lifeline)
        self.should_exit = True
        with suppress(AttributeError):
            signal.setitimer(signal.ITIMER_REAL, DRAIN_S + LAME_S)  # nobody else would end what hangs
