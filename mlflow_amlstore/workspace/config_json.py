"""config.json: which workspace a folder means."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_amlstore.errors import ConfigInvalid, ConfigNotFound, ConfigOfOthers
from mlflow_amlstore.records.locations import DATABASE_NAME

FILE_NAME = "config.json"
_SUBFOLDERS = (".azureml", "aml_config")
_AZURE_KEYS = ("subscription_id", "resource_group", "workspace_name")


@dataclass(frozen=True, slots=True)
class WorkspaceConfig:
    """What a config.json says. Exactly one of `folder`, `service_url` and the three Azure keys names the workspace."""

    file: Path
    workspace_name: str | None = None
    subscription_id: str | None = None
    resource_group: str | None = None
    folder: Path | None = None
    service_url: str | None = None


def find_config(start: Path | None = None, file_name: str = FILE_NAME) -> WorkspaceConfig:
    """Read the first config.json, or `file_name`, of: `start` (a file or a folder; the current folder by default), its
    `.azureml/` and `aml_config/`, and each parent's in turn.

    Raises ConfigNotFound with the folders searched, or a `start` that doesn't exist: a slip of the pen mustn't log to
    another workspace. Raises ConfigInvalid for a file that is found but means no workspace.
    """
    start = (Path.cwd() if start is None else start).absolute()
    if start.is_file():
        return read_config(start)
    if not start.exists():
        raise ConfigNotFound([f"{start} (there is no such file or folder)"], file_name)
    searched = []
    for folder in _folders(start):
        searched.append(str(folder))
        if _is_file(folder / file_name):
            return read_config(folder / file_name)
    raise ConfigNotFound(searched, file_name)


def config_of(place: Path) -> WorkspaceConfig:
    """Read the config.json that `place` is or has, itself or in `.azureml/` or `aml_config/`; no parent is searched.

    An embedded workspace whose config.json is gone is still one. Raises ConfigNotFound, ConfigInvalid.
    """
    if place.is_file():
        return read_config(place)
    folders = [place, *[place / name for name in _SUBFOLDERS]]
    for folder in folders:
        if _is_file(folder / FILE_NAME):
            return read_config(folder / FILE_NAME)
    if _is_file(place / DATABASE_NAME):
        return WorkspaceConfig(file=place / FILE_NAME, folder=place)
    raise ConfigNotFound([str(folder) for folder in folders])


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except PermissionError:
        raise ConfigInvalid(str(file), "its folder may not be searched by this user") from None


def _folders(start: Path) -> Iterator[Path]:
    for folder in (start, *start.parents):
        yield folder
        for name in _SUBFOLDERS:
            yield folder / name


def read_config(file: Path) -> WorkspaceConfig:
    """Read one config.json. A relative `path` in it counts from the file's own folder. Raises ConfigInvalid."""
    values = _read_object(file)
    for key in (*_AZURE_KEYS, "path", "service_url"):
        if not isinstance(values.get(key, ""), str):
            raise ConfigInvalid(str(file), f"{key} must be a string, it is {values[key]!r}")
    for key in ("path", "service_url"):
        if key in values and (not values[key] or "\0" in values[key]):
            raise ConfigInvalid(str(file), f"{key} must not be empty or have a NUL character")
    if "path" in values and "service_url" in values:
        raise ConfigInvalid(str(file), "it has both path and service_url; keep the one that is meant")
    if "path" not in values and "service_url" not in values:
        missing = [key for key in _AZURE_KEYS if not values.get(key)]
        if missing:
            is_ours = any(key in values for key in _AZURE_KEYS)
            raise (ConfigInvalid if is_ours else ConfigOfOthers)(
                str(file),
                f"it names no workspace: it has neither path (embedded) nor service_url (service), and for Azure ML it "
                f"lacks {', '.join(missing)}. If the file belongs to another program, run `amlstore init` in a folder "
                "of its own and pass that folder to Workspace.from_config",
            )
    return WorkspaceConfig(
        file=file,
        workspace_name=values.get("workspace_name"),
        subscription_id=values.get("subscription_id"),
        resource_group=values.get("resource_group"),
        folder=file.parent / values["path"] if "path" in values else None,
        service_url=values.get("service_url"),
    )


def _read_object(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8-sig"))  # -sig: Windows editors put a BOM
    except (ValueError, RecursionError) as error:
        raise ConfigInvalid(
            str(file), f"it is not JSON ({error}); correct it, or make a new one with `amlstore init`"
        ) from None
    except OSError as error:
        raise ConfigInvalid(str(file), f"it can't be read ({error.strerror})") from None
    if not isinstance(values, dict):
        raise ConfigInvalid(str(file), "it must hold a JSON object; make a new one with `amlstore init`")
    return values


def write_config(file: Path, values: dict[str, str]) -> None:
    """Write a config.json, whole or not at all. Safe to call from many processes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}.part")
    try:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
