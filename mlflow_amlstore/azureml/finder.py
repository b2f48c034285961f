"""Makes `import azureml…` mean this package, for a process that asks for it."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import NoReturn

from mlflow_amlstore.core.not_yet import way_out
from mlflow_amlstore.core.sdk_names import MODULES, NAMES
from mlflow_amlstore.errors import ImportNotSupported, InvalidState, ModuleNotSupported
from mlflow_amlstore.workspace.azure.other_plugin import OURS, SCHEME, VARIABLE

_SDK = "azureml"
_HERE = "mlflow_amlstore"
_PACKAGES_OF_SDK = {module.split(".")[1] for module in MODULES}


def install() -> None:
    """Put the finder before all others, once.

    Raises InvalidState where modules of the real SDK were imported before: what holds on to them would go on with them.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    imported = sorted(name for name, module in sys.modules.items() if _is_real(name, module))
    if imported:
        raise InvalidState(
            f"install_as_azureml() comes too late: {', '.join(imported[:3])}{', …' if imported[3:] else ''} of another "
            "package is imported already. Call it before anything imports azureml (`import mlflow` does so where "
            "azureml-mlflow is installed), or run the script with `python -m mlflow_amlstore.azureml script.py`"
        )
    sys.modules.pop(_SDK, None)  # at most an empty namespace of the real one
    sys.meta_path.insert(0, _Finder())
    _take_the_scheme()


def _take_the_scheme() -> None:
    """Let `azureml://` be ours too where Microsoft's plugin is installed: MLflow couldn't load that any more."""
    os.environ.setdefault(VARIABLE, OURS)
    for entry in metadata.entry_points(group="mlflow.tracking_store", name=SCHEME):
        if entry.dist is not None and entry.dist.name == OURS:
            entry.load()  # before MLflow loads theirs: ours then stands in for it


def _is_real(name: str, module: ModuleType | None) -> bool:
    return name.startswith(f"{_SDK}.") and getattr(module, "__spec__", None) is not None


class _Finder(MetaPathFinder, Loader):
    """Finds `azureml…` here or nowhere."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _SDK and not fullname.startswith(f"{_SDK}."):
            return None
        ours = find_spec(f"{_HERE}.{fullname}") if fullname == _SDK or fullname in MODULES else None
        if ours is None:
            raise _missing(fullname)
        return ModuleSpec(fullname, self, is_package=ours.submodule_search_locations is not None)

    def create_module(self, spec: ModuleSpec) -> None:
        """Python makes one, which `exec_module` replaces."""

    def exec_module(self, module: ModuleType) -> None:
        """Let the module be ours itself, not a copy: a class is the same under both names."""
        sys.modules[module.__name__] = import_module(f"{_HERE}.{module.__name__}")


def _missing(module: str) -> ModuleNotFoundError:
    if module in MODULES:
        error: ModuleNotFoundError = ModuleNotSupported(module, way_out(module))
    elif module.split(".")[1] not in _PACKAGES_OF_SDK:
        error = ModuleNotFoundError(
            f"No module named {module!r}: install_as_azureml() made {_SDK} mean mlflow-amlstore, which has "
            f"{', '.join(sorted(f'{_SDK}.{name}' for name in _PACKAGES_OF_SDK if find_spec(f'{_HERE}.{_SDK}.{name}')))}"
        )
    else:
        error = ModuleNotFoundError(f"No module named {module!r}")
    error.name = module
    return error


def names_the_missing_of(module: str) -> Callable[[str], NoReturn]:
    """The `__getattr__` of one of the modules here: names what the SDK's module has besides."""
    of_sdk = module.removeprefix(f"{_HERE}.")

    def missing(name: str) -> NoReturn:
        full = f"{of_sdk}.{name}"
        is_here = full in MODULES and find_spec(f"{_HERE}.{full}") is not None  # and not loaded yet
        if not is_here and (name in NAMES[of_sdk] or full in MODULES):
            raise ImportNotSupported(full, way_out(full))
        raise AttributeError(f"module {of_sdk!r} has no attribute {name!r}")

    return missing
