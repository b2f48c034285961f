"""The service's own secret, which signs its tokens and URLs, and the key of whoever runs it on this machine."""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from mlflow_amlstore.errors import InvalidValue, ReadOnly, storage_error

FOLDER = "service"
FILE_NAME = "secret"
LOCAL_KEY_ID = "local"
_LENGTH = 32


def service_secret(folder: Path, *, must_last: bool = True) -> bytes:
    """Return the secret of the workspace in `folder`, making it at first. Safe to call from many processes.

    Where this user may not read or make it, and it needn't last, it is one for this process, which is kept nowhere.
    Raises InvalidValue where others may read it or it was cut short; ReadOnly, DiskFull.
    """
    file = folder / FOLDER / FILE_NAME
    try:
        if not file.exists():
            file.parent.mkdir(mode=0o700, exist_ok=True)
            _make_once(file)
        _check_private(file)
        secret = file.read_bytes()
    except OSError as error:
        refused = storage_error(folder, error)
        if isinstance(refused, ReadOnly) and not must_last:
            return secrets.token_bytes(_LENGTH)
        raise refused from error
    if len(secret) != _LENGTH:
        rule = f"must be {_LENGTH}; delete it and start again, and every token that was issued ends"
        raise InvalidValue(f"the length of {file}", len(secret), rule)
    return secret


def local_key(secret: bytes) -> str:
    """The key of whoever can read the workspace's folder: an owner's, kept nowhere, found again from the secret."""
    digest = hmac.digest(secret, b"local key", hashlib.sha256)
    return f"amlk_{LOCAL_KEY_ID}_{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def write_private(file: Path, content: bytes) -> None:
    """Write a file that only this user may read. It mustn't exist."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as sink:
        sink.write(content)
        sink.flush()
        os.fsync(descriptor)


def _make_once(file: Path) -> None:
    mine = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    write_private(mine, secrets.token_bytes(_LENGTH))
    try:
        os.link(mine, file)  # unlike a rename, it leaves another process' secret in place
    except FileExistsError:
        pass
    finally:
        mine.unlink()


def _check_private(file: Path) -> None:
    mode = file.stat().st_mode & 0o777
    if os.name == "posix" and mode & 0o077:
        rule = f"must be 600, because whoever reads it can sign tokens: `chmod 600 {file}`, or delete it for a new one"
        raise InvalidValue(f"the mode of {file}", f"{mode:o}", rule)
