"""The processes of one deployment: started confined, listened to, and ended."""

import contextlib
import json
import math
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mlflow_amlstore.client.tokens.stored_keys import login_file, state_folder
from mlflow_amlstore.errors import AmlStoreError
from mlflow_amlstore.hosting.endpoint_folder import EndpointFolder
from mlflow_amlstore.records.common_store import CommonGrowingFile
from mlflow_amlstore.records.types import DeploymentError, DeploymentSpec
from mlflow_amlstore.runner.locked_folder import folder_of_user

_CONFINEMENT = Path(__file__).with_name("confinement.py")
_SCORING = "import sys; sys.path[0] = sys.argv.pop(1)\nfrom mlflow_amlstore.scoring.main import main; sys.exit(main())"
_PACKAGES = Path(__file__).parent.parent.parent
# What a model's process isn't told of this one's environment: keys, and where they would open something.
_PREFIXES = ("AMLSTORE_", "AZURE_", "AZUREML_", "ARM_", "AWS_", "DATABRICKS_", "GOOGLE_", "MLFLOW_", "RAY_AUTH")
_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")
_KEYS_OF_OTHERS = (".ssh", ".azure", ".aws", ".kube", ".docker", ".netrc", ".git-credentials", ".config/gcloud")
_LOG_SHOWN_EVERY_S = 0.25
_LOG_SIZE_BYTES = 16 * 1024 * 1024
_LINES_KEPT = 40


class Happened(NamedTuple):
    """What a host hears of a deployment: `prepared` (a command), `failed` (a DeploymentError), an event of the scoring
    process by its name, or `ended` (the Scorer, and its exit code)."""

    number: int
    what: str
    about: Any = None


class Scorer:
    """One scoring process, with all that it forks."""

    def __init__(
        self,
        folder: EndpointFolder,
        number: int,
        spec: DeploymentSpec,
        interpreter: list[str],
        *,
        listening: int,
        log: CommonGrowingFile,
        hidden: list[Path],
        tell: "queue.Queue[Happened]",
    ) -> None:
        """Start it. The caller's thread must live as long as the process may: Linux ends it with that thread."""
        self.number = number
        self._log, self._tell = log, tell
        self._last: deque[str] = deque(maxlen=_LINES_KEPT)
        self._written_bytes = 0
        self.is_healthy = self.is_ending = False
        scratch = folder.scratch(number)
        scratch.mkdir(mode=0o700, exist_ok=True)
        events, told = os.pipe()
        served = folder.served(number)
        command = [*interpreter, "-c", _SCORING, _packages(interpreter), str(served)]
        command += ["--socket-fd", str(listening), "--events-fd", str(told)]
        command += ["--own-socket", str(folder.socket(number)), "--traffic", str(folder.traffic)]
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                str(_CONFINEMENT),
                json.dumps(_confined(command, spec, folder, scratch, hidden)),
            ],
            cwd=served,
            env=_environment(spec, scratch),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[listening, told],
        )
        os.close(told)
        self._events = events
        for work in (self._read_log, self._read_events):
            threading.Thread(target=work, daemon=True, name=f"{work.__name__} {number}").start()

    @property
    def pid(self) -> int:
        """The first process's id."""
        return self._process.pid

    def last_lines(self) -> str:
        """The last lines of the log."""
        return "\n".join(self._last)

    def is_there(self) -> bool:
        """Whether the first process hasn't ended yet."""
        return self._process.poll() is None

    def end(self) -> None:
        """Have it answer what it has taken, and end."""
        self.is_ending = True
        self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self.is_ending = True
        self._process.kill()

    def _read_events(self) -> None:
        with os.fdopen(self._events, "rb") as lines:
            for line in lines:
                told = json.loads(line)
                self._tell.put(Happened(self.number, str(told.pop("event")), told))
        code = self._process.wait()
        self._tell.put(Happened(self.number, "ended", (self, code)))

    def _read_log(self) -> None:
        """Copy what the processes print, whole lines where they come so, until the last of them has ended."""
        assert self._process.stdout is not None
        source = self._process.stdout.fileno()
        shown = threading.Event()
        shower = threading.Thread(target=self._show_log, args=(shown,), daemon=True)
        shower.start()
        while chunk := os.read(source, 65_536):
            self._last.extend(chunk.decode("utf-8", "replace").splitlines())
            self._written_bytes += len(chunk)
            try:
                if self._written_bytes <= _LOG_SIZE_BYTES:
                    self._log.write(chunk)
            except (AmlStoreError, OSError):  # a full disk, say: the endpoint goes on
                continue
        shown.set()
        shower.join()
        with contextlib.suppress(AmlStoreError, OSError):
            self._log.end()

    def _show_log(self, is_over: threading.Event) -> None:
        seen = -1
        while not is_over.wait(_LOG_SHOWN_EVERY_S):
            if seen != self._written_bytes:
                seen = self._written_bytes
                try:
                    self._log.show()
                except (AmlStoreError, OSError):
                    seen = -1


def _packages(interpreter: list[str]) -> str:
    """What stands first on the path: this package where this interpreter runs it, as it may not be installed."""
    return str(_PACKAGES) if interpreter == [sys.executable] else ""


def _confined(
    command: list[str], spec: DeploymentSpec, folder: EndpointFolder, scratch: Path, hidden: list[Path]
) -> dict[str, Any]:
    home = Path.home()
    secret = [*hidden, login_file().parent, state_folder(), *(home / name for name in _KEYS_OF_OTHERS)]
    secret += [folder_of_user("azureml_runs"), *folder.others()]
    return {
        "parent": os.getpid(),
        "hidden": [str(path) for path in secret if path.exists()],
        "writable": [str(scratch)],
        "memory_bytes": round(spec.memory_gb * 1e9) if spec.memory_gb else 0,
        "cpus": sorted(os.sched_getaffinity(0))[: math.ceil(spec.cpu)] if spec.cpu else [],
        "command": command,
    }


def _environment(spec: DeploymentSpec, scratch: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not _is_secret(name)}
    return {**kept, "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1", **spec.variables}


def _is_secret(name: str) -> bool:
    return name.startswith(_PREFIXES) or any(word in name.upper() for word in _SECRET_WORDS)


def error_of(about: Mapping[str, Any]) -> DeploymentError:
    """The error that a scoring process told of."""
    return DeploymentError(str(about["code"]), str(about["message"]), str(about.get("traceback") or ""))
