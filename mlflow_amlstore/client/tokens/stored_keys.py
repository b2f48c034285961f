"""Where this machine keeps keys of workspace services: environment, keyring, the login file, services started here.

What is written here can be read by this user alone, and what others can read is not used.
"""

import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow_amlstore.errors import LoginNeeded, NotAllowed
from mlflow_amlstore.workspace.service_url import same_machine_form

KEY_VARIABLE = "AMLSTORE_KEY"
_KEYRING_SERVICE = "amlstore"
_opened: set[str] = set()  # the services that this process was told to open


class _NotUsed(Exception):
    """Why a place that may have a key isn't looked into."""


def find_key(service_url: str) -> str:
    """Return the key of a service. Raises LoginNeeded with what was searched, InvalidValue for what is no address."""
    place = same_machine_form(service_url)
    searched = []
    for name, look in _PLACES:
        try:
            key = look(place)
        except _NotUsed as reason:
            searched.append(f"{name}: {reason}")
            continue
        if key:
            return key
        searched.append(f"{name}: none")
    raise LoginNeeded(service_url, "; ".join(searched))


def use_key_variable_for(service_url: str) -> None:
    """Let the key in AMLSTORE_KEY be sent to a service: one that the user opens. Raises InvalidValue for no address.

    The variable names no service, and a record may lead to any: its key goes to no other.
    """
    _opened.add(same_machine_form(service_url))


def save_key(service_url: str, key: str) -> str:
    """Keep a key in the keyring, or where there is none that works, in the login file; return where it is now.

    Raises NotAllowed where others can read the login file, InvalidValue for what is no address.
    """
    place = same_machine_form(service_url)
    if _keep_in_keyring(place, key):
        _change_login_file(place, None)  # an older one there would come to light when this one is forgotten
        return "the keyring"
    _change_login_file(place, key)
    return str(login_file())


def forget_key(service_url: str) -> bool:
    """Delete a key from the keyring and the login file; return whether there was one. Raises as `save_key` does."""
    place = same_machine_form(service_url)
    had = _drop_from_keyring(place)
    return _change_login_file(place, None) or had


def announce_service(service_url: str, key: str, folder: Path) -> Path:
    """Leave a key for programs of this user on this machine, until `withdraw_service`; return the file.

    `folder` is the workspace's, by which `service_of_folder` finds the service.
    """
    place = same_machine_form(service_url)
    file = _announcement(place)
    announced = {"service_url": place, "key": key, "pid": os.getpid(), "folder": str(folder.resolve())}
    write_for_this_user(file, json.dumps(announced, indent=2))
    return file


def service_of_folder(folder: Path) -> str | None:
    """The address of a service over a workspace's folder that this user started on this machine and that runs."""
    wanted = str(folder.resolve())
    for file in sorted((state_folder() / "services").glob("*.json")):
        try:
            found = _read_of_this_user(file)
        except _NotUsed:
            continue
        pid, url = found.get("pid"), found.get("service_url")
        if found.get("folder") == wanted and isinstance(url, str) and isinstance(pid, int) and _runs(pid):
            return url
    return None


def withdraw_service(service_url: str) -> None:
    """Take back what `announce_service` left."""
    _announcement(same_machine_form(service_url)).unlink(missing_ok=True)


def login_file() -> Path:
    """The file that `amlstore login` writes where there is no keyring."""
    return _folder("XDG_CONFIG_HOME", ".config") / "keys.json"


def state_folder() -> Path:
    """Where programs of this user leave what is of this machine alone; it may not be there yet."""
    return _folder("XDG_STATE_HOME", ".local/state")


def _folder(variable: str, default: str) -> Path:
    given = os.environ.get(variable, "")
    return (Path(given) if Path(given).is_absolute() else Path.home() / default) / "amlstore"


def _announcement(place: str) -> Path:
    parts = urlsplit(place)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    host = (parts.hostname or "").replace(":", "-")
    return state_folder() / "services" / f"{host}_{port}.json"


# The places


def _in_environment(place: str) -> str | None:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if key and place not in _opened:
        raise _NotUsed("its key isn't sent to a service that only a record names; open it, or run `amlstore login`")
    return key or None


def _in_keyring(place: str) -> str | None:
    if importlib.util.find_spec("keyring") is None:
        raise _NotUsed("the package keyring is not installed")
    import keyring  # slow to import

    try:
        return keyring.get_password(_KEYRING_SERVICE, place)
    except Exception as error:  # its backends raise what they like
        raise _NotUsed(f"there is none that works ({type(error).__name__})") from error


def _in_login_file(place: str) -> str | None:
    key = _read_of_this_user(login_file()).get(place)
    return key if isinstance(key, str) else None


def _in_announcements(place: str) -> str | None:
    found = _read_of_this_user(_announcement(place))
    if not found:
        return None
    pid = found.get("pid")
    if os.name == "posix" and (not isinstance(pid, int) or not _runs(pid)):
        raise _NotUsed("the one that was here has ended")  # and whoever listens there now mustn't be sent its key
    key = found.get("key")
    return key if found.get("service_url") == place and isinstance(key, str) else None


_PLACES: tuple[tuple[str, Callable[[str], str | None]], ...] = (
    (KEY_VARIABLE, _in_environment),
    ("the keyring", _in_keyring),
    ("the file of `amlstore login`", _in_login_file),
    ("services that this user started here", _in_announcements),
)


def _keep_in_keyring(place: str, key: str) -> bool:
    """Whether the keyring has a key now: some accept one and keep nothing."""
    try:
        _in_keyring(place)
        import keyring

        keyring.set_password(_KEYRING_SERVICE, place, key)
        return _in_keyring(place) == key
    except Exception:  # as above: then it's the file
        return False


def _drop_from_keyring(place: str) -> bool:
    try:
        if _in_keyring(place) is None:
            return False
    except _NotUsed:
        return False
    import keyring

    keyring.delete_password(_KEYRING_SERVICE, place)
    return True


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False  # gone, or another user's: the number was given out again
    return True


# Files


def _change_login_file(place: str, key: str | None) -> bool:
    try:
        known = _read_of_this_user(login_file())
    except _NotUsed as reason:
        raise NotAllowed(f"The file of `amlstore login` is not used: {reason}") from None
    had = known.pop(place, None) is not None
    if key is not None:
        known[place] = key
    if key is not None or had:
        write_for_this_user(login_file(), json.dumps(known, indent=2))
    return had


def _read_of_this_user(file: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing where there is none. Raises _NotUsed for one that others can read or wrote."""
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _NotUsed(f"{file} can't be read ({error.strerror})") from error
    with os.fdopen(descriptor, encoding="utf-8") as opened:
        if os.name == "posix":
            status = os.fstat(descriptor)
            if status.st_uid != os.geteuid():
                raise _NotUsed(f"{file} belongs to another user")
            if status.st_mode & 0o077:
                raise _NotUsed(f"{file} can be read by others; run `chmod 600 {file}`, and better make new keys")
        try:
            content = json.load(opened)
        except ValueError:
            raise _NotUsed(f"{file} is not JSON") from None
    return content if isinstance(content, dict) else {}


def write_for_this_user(file: Path, content: str) -> None:
    """Write a file whole or not at all; this user alone can read it at any moment."""
    for folder in _missing_folders(file.parent):
        folder.mkdir(mode=0o700, exist_ok=True)
    file.parent.chmod(0o700)
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # made with mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(content)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _missing_folders(folder: Path) -> Iterator[Path]:
    if not folder.exists():
        yield from _missing_folders(folder.parent)
        yield folder
