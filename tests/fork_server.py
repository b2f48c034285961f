"""Python processes that start in milliseconds: forked from one that has imported MLflow and this package.

A fresh interpreter needs two seconds of a core for these imports, and the tests start hundreds of processes. A forked
one is a process as any other: it has a pid, takes signals, dies of `kill -9`, and at its end waits for its threads and
calls what is registered with `atexit`. Then it is gone, without taking all modules apart, which costs ten times the
rest. Tests of what an interpreter does as it starts (imports, `PYTHON…` variables, MLFLOW_LOGGING_LEVEL), or as it
takes itself apart, start a fresh one.

    ForkedProcess(["-c", code, "argument"]).wait()
    run_forked(["-m", "mlflow_amlstore.azureml", "script.py"]).stdout
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

PRELOADED = (
    "matplotlib.pyplot",
    "mlflow",
    "mlflow.sklearn",
    "mlflow_amlstore.azureml.finder",
    "mlflow_amlstore.cli",
    "mlflow_amlstore.cli.serve",
    "mlflow_amlstore.core",
    "mlflow_amlstore.plugin.artifacts",
    "mlflow_amlstore.plugin.registry",
    "mlflow_amlstore.plugin.remote_artifacts",
    "mlflow_amlstore.plugin.remote_registry",
    "mlflow_amlstore.plugin.remote_tracking",
    "mlflow_amlstore.plugin.tracking",
    "mlflow_amlstore.service.app",
    "mlflow_amlstore.service.server",
    "mlflow_amlstore.studio",
    "sklearn.linear_model",
    "sklearn.model_selection",
)
AMLSTORE = ("-c", "import sys; sys.argv[0] = 'amlstore'; from mlflow_amlstore.cli import main; main()")
"""What runs the command `amlstore`; its arguments follow."""
_NUMBER_SIZE = 8  # of a pid or an exit code as it is told: both may have arrived when the first is read


class ForkedProcess:
    """A process that the fork server started; its methods are those of `subprocess.Popen`, as far as tests need them.

    `stdin` and `stdout` are text streams where they were asked for by `subprocess.PIPE`.
    """

    stdin: IO[str] | None = None
    stdout: IO[str] | None = None

    def __init__(
        self,
        arguments: Sequence[str | os.PathLike[str]],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        text: bool = True,
        encoding: str = "utf-8",
    ) -> None:
        """Start it. `arguments` are those after `python`: `-c CODE`, `-m MODULE` or a script's path, and what follows.

        `text` and `encoding` are as in `subprocess.Popen`; nothing but UTF-8 text is read.
        """
        assert text
        assert encoding == "utf-8"
        self.args = list(map(os.fspath, arguments))
        self.returncode: int | None = None
        request = {"arguments": self.args, "cwd": os.fspath(cwd or Path.cwd()), "env": dict(env or os.environ)}
        self._exit, its_exit = socket.socketpair()
        with tempfile.TemporaryFile() as told, its_exit, open(os.devnull, "rb") as nothing:
            told.write(json.dumps(request).encode())
            told.seek(0)
            its_ends = []
            if stdin == subprocess.PIPE:
                stdin, typed = os.pipe()
                self.stdin = open(typed, "w", encoding=encoding)
                its_ends.append(stdin)
            if stdout == subprocess.PIPE:
                read, stdout = os.pipe()
                self.stdout = open(read, encoding=encoding)
                its_ends.append(stdout)
            streams = [
                nothing if stdin is None else stdin,
                1 if stdout is None else stdout,
                2 if stderr is None else stdout if stderr == subprocess.STDOUT else stderr,
            ]
            files = [told, *streams, its_exit]
            _control().sendmsg([b"start"], _ancillary(files))
        for end in its_ends:
            os.close(end)
        self.pid = int(self._exit.recv(_NUMBER_SIZE))

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code, negative for a signal. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            self._exit.settimeout(timeout)
            try:
                told = self._exit.recv(_NUMBER_SIZE)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            self.returncode = int(told)
            self._exit.close()
        return self.returncode

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended, and its exit code is not told yet
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "ForkedProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        for stream in (self.stdin, self.stdout):
            if stream is not None:
                stream.close()
        self.wait()


def run_forked(
    arguments: Sequence[str | os.PathLike[str]],
    *,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    input: str = "",
    timeout: float | None = None,
    check: bool = False,
) -> "subprocess.CompletedProcess[str]":
    """As `subprocess.run` with `capture_output` and UTF-8 text. `timeout` is in seconds; then the process is killed."""
    with tempfile.TemporaryFile() as typed, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        typed.write(input.encode())
        typed.seek(0)
        process = ForkedProcess(arguments, cwd=cwd, env=env, stdin=typed, stdout=out, stderr=err)
        try:
            code = process.wait(timeout)
        except BaseException:
            process.kill()
            process.wait()
            raise
        for file in (out, err):
            file.seek(0)
        done = subprocess.CompletedProcess(process.args, code, out.read().decode(), err.read().decode())
    if check:
        done.check_returncode()
    return done


def _ancillary(files: Sequence[Any]) -> list[tuple[int, int, bytes]]:
    numbers = [file if isinstance(file, int) else file.fileno() for file in files]
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"".join(number.to_bytes(4, sys.byteorder) for number in numbers))]


@cache
def _control() -> socket.socket:
    """The connection to this process's server, which is started by the first call and ends with the connection."""
    ours, its = socket.socketpair()
    command = [sys.executable, __file__, str(its.fileno())]
    server = subprocess.Popen(command, pass_fds=[its.fileno()], env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    its.close()

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return ours


def _serve(control: socket.socket) -> dict[str, Any] | None:
    """Fork a supervisor for each process that is asked for, which forks the process and tells how it ended.

    Return twice: in each process that was asked for, with what it is to run; and None when nobody asks any more.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the supervisors
    while True:
        message, files, _, _ = socket.recv_fds(control, 5, 5)
        if not message:
            return None
        if os.fork():
            for file in files:
                os.close(file)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.close()
        told, stdin, stdout, stderr, exit_ = files
        pid = os.fork()
        if pid == 0:
            for number, file in enumerate((stdin, stdout, stderr)):
                os.dup2(file, number)
            with open(told, "rb") as request:
                wanted: dict[str, Any] = json.load(request)
            os.closerange(3, max(files) + 1)
            return wanted
        for file in (told, stdin, stdout, stderr, 0, 1, 2):
            os.close(file)
        os.write(exit_, b"%8d" % pid)
        os.write(exit_, b"%8d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os._exit(0)


def _become(wanted: Mapping[str, Any]) -> None:
    """Run what was asked for in this process, as a fresh interpreter would."""
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    is_unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    sys.stdin = open(0, encoding=encoding, closefd=False)
    sys.stdout = open(1, "w", encoding=encoding, closefd=False, buffering=1 if is_unbuffered or os.isatty(1) else -1)
    sys.stderr = open(2, "w", encoding=encoding, closefd=False, errors="backslashreplace", buffering=1)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    what, *rest = wanted["arguments"]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    if what == "-m":
        sys.argv, sys.path[0] = rest, os.getcwd()
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif what == "-c":
        sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    else:
        sys.argv, sys.path[0] = [what, *rest], os.path.dirname(os.path.abspath(what))
        main.__file__ = what
        exec(compile(Path(what).read_bytes(), what, "exec"), main.__dict__)


def _end(code: int) -> None:
    """End this process as the interpreter does, but for taking its modules apart."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    for module in PRELOADED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # or each forked process would copy and visit all that was imported as it ends
    asked = _serve(socket.socket(fileno=int(sys.argv[1])))
    if asked is not None:
        try:
            _become(asked)
        except SystemExit as ended:
            if not isinstance(ended.code, int | None):
                raise  # the interpreter prints it
            _end(ended.code or 0)
        _end(0)
