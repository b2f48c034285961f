"""What may be wrong with an installation or a workspace, and what to do about it."""

import os
import platform
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from mlflow_amlstore import __version__
from mlflow_amlstore.diagnosis.finding import Finding
from mlflow_amlstore.diagnosis.remote import TRACKING_VARIABLE, examine_azure, examine_service, examine_uri
from mlflow_amlstore.errors import AmlStoreError, ConfigNotFound
from mlflow_amlstore.workspace import scheme_owner
from mlflow_amlstore.workspace.config_json import config_of, find_config
from mlflow_amlstore.workspace.opening import needs_embedded

_PLUGIN_GROUPS = ("mlflow.tracking_store", "mlflow.model_registry_store", "mlflow.artifact_repository")
_OUR_PACKAGE = "mlflow-amlstore"
_OUR_SCHEMES = ("amlstore", "azureml", "azureml+http")
_REMOTE_SCHEMES = ("azureml://", "azureml+http://")


def examine_installation() -> Iterator[Finding]:
    """Versions, and which package owns each URI scheme that plugins claim."""
    yield Finding("Python", True, platform.python_version())
    yield Finding("mlflow-amlstore", True, __version__)
    yield Finding("MLflow", True, _mlflow_version())
    yield Finding("SQLite", True, sqlite3.sqlite_version)
    try:
        scheme_owner.chosen()
    except AmlStoreError as error:
        yield Finding(scheme_owner.VARIABLE, False, str(error), f"Set it to {scheme_owner.OURS}, or unset it")
    for group in _PLUGIN_GROUPS:
        owners: dict[str, list[str]] = defaultdict(list)
        for entry_point in metadata.entry_points(group=group):
            owners[entry_point.name].append(entry_point.dist.name if entry_point.dist else "unknown")
        for scheme in sorted({*owners, *_OUR_SCHEMES}):
            yield _scheme_finding(group, scheme, owners[scheme])


def _scheme_finding(group: str, scheme: str, packages: list[str]) -> Finding:
    check = f"{scheme}:// in {group}"
    if scheme in _OUR_SCHEMES and not packages:
        return Finding(check, False, "nobody", f"Install {_OUR_PACKAGE} again, with `pip install --force-reinstall`")
    detail = ", ".join(packages)
    if len(set(packages)) > 1 and scheme == scheme_owner.SCHEME and scheme_owner.THEIRS in packages:
        return _shared_scheme_finding(group, check)
    if len(set(packages)) > 1:
        return Finding(check, False, detail, "MLflow takes one of these, no matter which; uninstall the others")
    if scheme in _OUR_SCHEMES and packages[0] != _OUR_PACKAGE:
        return Finding(check, False, detail, f"Uninstall {packages[0]}, which hides {_OUR_PACKAGE}")
    return Finding(check, True, detail)


def _shared_scheme_finding(group: str, check: str) -> Finding:
    """Whose `azureml://` is where Microsoft's plugin is installed too."""
    variable, ours, theirs = scheme_owner.VARIABLE, scheme_owner.OURS, scheme_owner.THEIRS
    try:
        choice, its_owner = scheme_owner.chosen(), scheme_owner.owner(group)
    except AmlStoreError:
        return Finding(check, False, f"{ours} and {theirs} are installed", f"Correct {variable}")
    if choice is not None:
        return Finding(check, True, f"{its_owner}, chosen by {variable}; {ours} and {theirs} are installed")
    detail = f"{its_owner}, as it happens: {ours} and {theirs} are installed"
    return Finding(check, False, detail, f"Uninstall {theirs}, or set {variable} to the one that you mean")


def _mlflow_version() -> str:
    for package in ("mlflow", "mlflow-skinny"):
        try:
            return f"{metadata.version(package)} ({package})"
        except metadata.PackageNotFoundError:
            continue
    return "not found"


def examine_workspace(start: Path | None, *, deep: bool = False) -> Iterator[Finding]:
    """Where the workspace is, and whether it can be read and written there; `deep` is `examine_folder`'s."""
    try:
        config = find_config() if start is None else config_of(start)
    except AmlStoreError as error:
        tracking_uri = os.environ.get(TRACKING_VARIABLE, "")
        if start is None and isinstance(error, ConfigNotFound) and tracking_uri.startswith(_REMOTE_SCHEMES):
            yield from examine_uri(tracking_uri)
            return
        yield Finding("config.json", False, str(error).splitlines()[0], "Run `amlstore init`, or give --workspace DIR")
        return
    yield Finding("config.json", True, str(config.file))
    if config.service_url is not None:
        yield from examine_service(config.service_url)
        return
    if config.folder is None:
        yield from examine_azure(config)
        return
    try:
        with needs_embedded():
            from mlflow_amlstore.diagnosis.embedded import examine_folder
    except AmlStoreError as error:
        yield Finding("readable", False, str(error))
        return
    yield from examine_folder(config.folder.resolve(), deep=deep)
