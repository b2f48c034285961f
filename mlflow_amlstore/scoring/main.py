"""The first process of a deployment. It stays small, whatever the model does: what loads the model is its child.

    python -m mlflow_amlstore.scoring FOLDER [--socket-fd N | --host H --port P] [--events-fd N]

It holds the listening socket, limits the time for loading, starts the loader again where it died, and ends all of them
at SIGTERM. Its exit code is 0 after a drain, 1 where the deployment failed.
"""

import argparse
import faulthandler
import logging
import os
import select
import signal
import socket
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path

from mlflow_amlstore.errors import AmlStoreError, InvalidValue, ModelNotLoaded
from mlflow_amlstore.scoring.deployment import DRAIN_S, Deployment, read
from mlflow_amlstore.scoring.events import TOLD, Events

BACKLOG = 2048
_READY = b"R"
_DIES_WITH_PARENT = 1  # prctl(2)
_DUMP_WITHIN_S = 1.0


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    options = argparse.ArgumentParser(
        prog="python -m mlflow_amlstore.scoring", description=(__doc__ or "").split("\n")[0]
    )
    options.add_argument("folder", type=Path)
    options.add_argument("--socket-fd", type=int, help="a socket that listens already, inherited")
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=0, help="0 for any that is free")
    options.add_argument("--events-fd", type=int, help="where to write events, inherited")
    chosen = options.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    events = Events(chosen.events_fd)
    try:
        deployment = read(chosen.folder)
        listening = _listen(chosen.host, chosen.port, chosen.socket_fd)
    except ModelNotLoaded as error:
        events.tell("failed", code=error.code, message=str(error), traceback="")
        return 1
    except AmlStoreError as error:
        events.tell("failed", code="AddressInvalid", message=str(error), traceback="")
        return 1
    # Several workers that each use all cores get in each other's way.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // deployment.workers)))
    return _First(chosen.folder.resolve(), deployment, listening, events).run()


def _listen(host: str, port: int, descriptor: int | None) -> socket.socket:
    if descriptor is not None:
        try:
            return socket.socket(fileno=descriptor)
        except OSError as error:
            raise InvalidValue("--socket-fd", descriptor, f"must be a socket ({error.strerror})") from error
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InvalidValue("--port", port, f"can't be had on {host} ({error.strerror})") from error


class _First:
    def __init__(self, folder: Path, deployment: Deployment, listening: socket.socket, events: Events) -> None:
        self._folder, self._deployment, self._listening, self._events = folder, deployment, listening, events
        self._is_told_to_end = False
        self._dump = tempfile.TemporaryFile()  # noqa: SIM115  # for as long as this process lives
        self._wake, self._woken = os.pipe()

    def run(self) -> int:
        address = self._listening.getsockname()
        about = {"address": address if isinstance(address, str) else f"{address[0]}:{address[1]}"}
        self._events.tell("loading", model=self._deployment.model_name, version=self._deployment.model_version, **about)
        os.set_blocking(self._woken, False)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        was_healthy = False
        while True:
            code, is_healthy = self._one_loader()
            was_healthy = was_healthy or is_healthy
            if self._is_told_to_end:
                self._events.tell("stopped")
                return 0
            if code == TOLD or not is_healthy:
                if code != TOLD:
                    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                    message = (
                        f"The process that loaded the model {how}: it called exit, or took more memory than there is"
                    )
                    self._events.tell("failed", code="LoaderDied", message=message, traceback=self._dumped())
                return 1
            self._events.tell("loader_died", exit_code=code)

    def _end(self, *_: object) -> None:
        self._is_told_to_end = True

    def _one_loader(self) -> tuple[int, bool]:
        """Start a loader and wait for its end. Returns its exit code (negative: the signal), and if it was healthy."""
        reader, writer = os.pipe()
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._be_the_loader(writer, parent)
        os.close(writer)
        with suppress(OSError):
            os.setpgid(pid, pid)
        limit_s = self._deployment.load_limit_s
        deadline: float | None = time.monotonic() + limit_s
        is_healthy = was_told = False
        watched = [reader, self._wake]
        try:
            while True:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                ready, _, _ = select.select(watched, [], [], left)
                if self._wake in ready:
                    os.read(self._wake, 1024)
                if reader in ready:
                    watched.remove(reader)
                    if os.read(reader, 1) == _READY:
                        is_healthy = True
                        deadline = deadline if was_told else None
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    return os.waitstatus_to_exitcode(status), is_healthy
                if self._is_told_to_end and not was_told:
                    was_told = True
                    self._events.tell("draining")
                    os.kill(pid, signal.SIGTERM)
                    deadline = time.monotonic() + DRAIN_S + 1.0
                elif deadline is not None and time.monotonic() >= deadline:
                    if not was_told:
                        self._say_load_timed_out(pid, limit_s)
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    return TOLD, is_healthy
        finally:
            os.close(reader)
            with suppress(OSError):  # what the loader has left; workers that drain end by themselves, unless they hang
                if not is_healthy or was_told:
                    os.killpg(pid, signal.SIGKILL)

    def _say_load_timed_out(self, pid: int, limit_s: float) -> None:
        with suppress(OSError):
            os.kill(pid, signal.SIGUSR2)  # has it say where it is, even in compiled code
        deadline = time.monotonic() + _DUMP_WITHIN_S
        while not (where := self._dumped()) and time.monotonic() < deadline:
            time.sleep(0.02)
        message = (
            f"The model wasn't loaded within {limit_s:g} s, the limit for loading; the traceback says where it was"
        )
        self._events.tell("failed", code="LoadTimedOut", message=message, traceback=where)

    def _dumped(self) -> str:
        self._dump.seek(0)
        return self._dump.read().decode(errors="replace")

    def _be_the_loader(self, writer: int, parent: int) -> None:
        """Never returns."""
        code = 1
        try:
            os.setpgid(0, 0)  # so that what is typed in a terminal reaches the first process alone
            _die_with_parent(parent)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            faulthandler.register(signal.SIGUSR2, file=self._dump, all_threads=True)

            from mlflow_amlstore.scoring.workers import Loader

            loader = Loader(self._folder, self._deployment, self._listening, self._events)
            code = loader.run(lambda: os.write(writer, _READY))
        except BaseException as error:
            name = error.code if isinstance(error, ModelNotLoaded) else _code_of(error)
            self._events.tell("failed", code=name, message=_said(error), traceback=traceback.format_exc())
            code = TOLD
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _die_with_parent(parent: int) -> None:
    """Have Linux end this process where its parent is killed."""
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def _code_of(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return "PackageMissing"
    return "OutOfMemory" if isinstance(error, MemoryError) else "LoadFailed"


def _said(error: BaseException) -> str:
    if isinstance(error, AmlStoreError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return f"The model can't be loaded: it needs the package {error.name}, which isn't installed"
    return f"The model can't be loaded: {type(error).__name__}: {error}"
