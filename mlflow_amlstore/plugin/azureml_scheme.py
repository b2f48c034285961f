"""Whose `azureml://` is where Microsoft's plugin is installed too: then, and only then, `import mlflow` loads this."""

import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.workspace.scheme_owner import OURS, SCHEME, THEIRS, VARIABLE, chosen, owner

_GROUP = "mlflow.tracking_store"
_THEIR_LOADERS = "azureml.mlflow.entry_point_loaders"

_logger = logging.getLogger(__name__)

Builder = Callable[..., Any]


def settle(builders: Mapping[str, Builder]) -> None:
    """Make `azureml://` mean what the environment chooses; where it means Microsoft's plugin unasked, say so.

    `builders` are ours by the names of theirs. MLflow has no way to prefer one of two plugins, and loads theirs by the
    name of a module: so, where ours are chosen, that module's name stands for ours.
    """
    try:
        choice = chosen()
    except InvalidValue as error:
        _logger.warning("%s", error)  # an error here would be one of `import mlflow`
        return
    if choice == OURS:
        sys.modules.setdefault(_THEIR_LOADERS, _Loaders(builders))
    elif choice is None and owner(_GROUP) != OURS:
        _logger.warning(
            "azureml:// tracking URIs go to %s, which is installed beside %s. Uninstall it, or set %s=%s",
            THEIRS,
            OURS,
            VARIABLE,
            OURS,
        )


def theirs(group: str, uri: str) -> Builder | None:
    """Microsoft's builder for a URI, where it is theirs: their plugin is installed and chosen, or has it unasked.

    The latter is so of a project backend, of which MLflow takes the first of two: what it submits belongs where it
    tracks.
    """
    with suppress(InvalidValue):  # which was told when MLflow was imported
        if uri.startswith(f"{SCHEME}://") and owner(_GROUP) == THEIRS:
            return _their_builder(group)
    return None


def _their_builder(group: str) -> Builder | None:
    for entry in metadata.entry_points(group=group, name=SCHEME):
        if entry.dist is not None and entry.dist.name == THEIRS:
            loaded: Builder = entry.load()
            return loaded
    return None


class _Loaders(ModuleType):
    """What stands for their module of builders: ours, and whatever else theirs has."""

    def __init__(self, builders: Mapping[str, Builder]) -> None:
        super().__init__(_THEIR_LOADERS)
        self.__dict__.update(builders)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        del sys.modules[_THEIR_LOADERS]
        try:
            return getattr(import_module(_THEIR_LOADERS), name)
        finally:
            sys.modules[_THEIR_LOADERS] = self
