"""The served folder: all that a scoring process is told.

deployment.json   a `Deployment`
keys.json         {"sha256": [hash of the first key, hash of the second]}: replaced whole when a key changes
…                 the model's files and perhaps an entry script, where deployment.json says
"""

import hashlib
import hmac
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import msgspec

from mlflow_amlstore.errors import ModelNotLoaded

DEPLOYMENT_FILE = "deployment.json"
KEYS_FILE = "keys.json"
DRAIN_S = 30.0
"""How long requests that were taken have, from SIGTERM on."""
Framework = Literal["ScikitLearn", "Onnx", "TensorFlow", "MLflow", "Script"]


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One numbered deployment of an endpoint, as `deployment.json` has it. Fields that aren't known are ignored."""

    endpoint: str
    """The endpoint's name."""
    number: int
    """Which of the endpoint's deployments this is, from 1 on."""
    model_name: str
    model_version: int
    framework: Framework
    """What loads the model. A folder of MLflow's with scikit-learn in it is loaded directly under either name."""
    model: str
    """The model's file or folder, below the served folder, with `/`."""
    entry_script: str = ""
    """The script with `init` and `run`, below the served folder; for the framework `Script`."""
    allow_pickle: bool = False
    """Whether loading the model may run code that is in it."""
    versions: dict[str, str] = {}
    """The versions that the model was trained with, by distribution name: {"scikit-learn": "1.5.2"}."""
    workers: int = 1
    """Processes that answer."""
    concurrency: int = 1
    """Predictions at once in a worker, of a model that isn't fast. A fast one predicts one after the other."""
    queue_length: int = 64
    """Requests that may wait in a worker for one of these; the next is answered 429."""
    load_limit_s: float = 300.0
    """How long loading may take, until all workers are ready."""
    predict_limit_s: float = 60.0
    """How long a prediction may take; then it is answered 504, and its worker replaced if it can't be stopped."""
    max_batch_size: int = 1
    """Rows of several requests that are predicted together; 1 means that none are."""
    max_latency_ms: float = 5.0
    """How long a request waits for others to be predicted with."""
    max_body_bytes: int = 16 * 1024 * 1024
    """The largest body that a request may have."""
    signature: dict[str, Any] | None = None
    """MLflow's signature: {"inputs": …, "outputs": …, "params": …}, each JSON or a text of it, as in MLmodel."""
    example: Any = None
    """An input that the model takes: a request's body, in any format, or an MLflow input example."""
    auth: bool = True
    """Whether a request needs a key."""


def read(folder: Path) -> Deployment:
    """What a served folder says. Raises ModelNotLoaded."""
    path = folder / DEPLOYMENT_FILE
    try:
        deployment = msgspec.json.decode(path.read_bytes(), type=Deployment)
    except OSError as error:
        raise ModelNotLoaded("DeploymentInvalid", f"{path} can't be read ({error.strerror})") from error
    except msgspec.MsgspecError as error:
        raise ModelNotLoaded("DeploymentInvalid", f"{path} isn't as it must be: {error}") from error
    for field in ("workers", "concurrency", "max_batch_size", "max_body_bytes"):
        if getattr(deployment, field) < 1:
            raise ModelNotLoaded("DeploymentInvalid", f"{path}: {field} must be 1 or more")
    return deployment


def place(folder: Path, field: str, name: str) -> Path:
    """A file or folder below the served folder. Raises ModelNotLoaded where it isn't there, or not below it."""
    inside = PurePosixPath(name)
    if not name or inside.is_absolute() or ".." in inside.parts:
        raise ModelNotLoaded("DeploymentInvalid", f"{field} {name!r} must be a path below the served folder")
    found = folder / inside
    if not found.exists():
        raise ModelNotLoaded("FileMissing", f"{field} {name!r} isn't in the served folder")
    return found


class Keys:
    """The keys that open an endpoint, by their hashes; a changed file is noticed by the next request."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / KEYS_FILE
        self._seen: tuple[int, int, int] | None = None
        self._hashes: tuple[bytes, ...] = ()

    def opens(self, authorization: bytes) -> bool:
        """Whether an `Authorization` header has one of the keys. Without keys.json none opens."""
        try:
            now = self._path.stat()
            seen = (now.st_mtime_ns, now.st_ino, now.st_size)
            if seen != self._seen:
                hashes = msgspec.json.decode(self._path.read_bytes(), type=dict[str, list[str]])["sha256"]
                self._hashes = tuple(bytes.fromhex(text) for text in hashes)
                self._seen = seen
        except (OSError, msgspec.MsgspecError, KeyError, ValueError):
            self._seen, self._hashes = None, ()
            return False
        kind, _, key = authorization.partition(b" ")
        if kind.lower() != b"bearer":
            return False
        presented = hashlib.sha256(key.strip()).digest()
        is_one = False
        for known in self._hashes:
            is_one |= hmac.compare_digest(presented, known)
        return is_one
