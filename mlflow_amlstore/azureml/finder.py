"""Makes `import azureml…` mean this package, for a process that asks for it."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from mlflow_amlstore.core.not_yet import way_out
from mlflow_amlstore.core.sdk_names import MODULES, NAMES
from mlflow_amlstore.errors import AttributeNotSupported, ImportNotSupported, InvalidState, ModuleNotSupported
from mlflow_amlstore.workspace.scheme_owner import OURS, SCHEME, VARIABLE

_SDK = "azureml"
_HERE = "mlflow_amlstore"
_OF_OTHERS = ("azureml.core", "azureml.core.conda_dependencies", "azureml.core.authentication", "azureml.exceptions")
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
        if fullname.startswith(f"{_HERE}.{_SDK}."):
            _refuse_name(fullname.removeprefix(f"{_HERE}."))
            return None
        if fullname != _SDK and not fullname.startswith(f"{_SDK}."):
            return None
        ours = find_spec(f"{_HERE}.{fullname}") if fullname == _SDK or _is_here(fullname) else None
        if ours is None:
            raise _missing(fullname)
        return ModuleSpec(fullname, self, is_package=ours.submodule_search_locations is not None)

    def create_module(self, spec: ModuleSpec) -> None:
        """Python makes one, which `exec_module` replaces."""

    def exec_module(self, module: ModuleType) -> None:
        """Let the module be ours itself, not a copy: a class is the same under both names.

        For `from MODULE import NAME`, Python asks for a name that a package lacks as a module, and says of any other
        module only that it lacks the name; so it takes them all for packages.
        """
        ours = sys.modules[module.__name__] = import_module(f"{_HERE}.{module.__name__}")
        if not hasattr(ours, "__path__"):
            ours.__path__ = []


def _missing(module: str) -> ModuleNotFoundError:
    if module in MODULES:
        error: ModuleNotFoundError = ModuleNotSupported(module, way_out(module))
    elif module.split(".")[1] not in _PACKAGES_OF_SDK:
        error = ModuleNotFoundError(
            f"No module named {module!r}: install_as_azureml() made {_SDK} mean mlflow-amlstore, which has "
            f"{', '.join(sorted(f'{_SDK}.{name}' for name in _PACKAGES_OF_SDK if _is_here(f'{_SDK}.{name}')))}"
        )
    else:
        error = ModuleNotFoundError(f"No module named {module!r}")
    error.name = module
    return error


def _refuse_name(name: str) -> None:
    """Raise ImportNotSupported for what `from MODULE import NAME` asks for and only the SDK has."""
    if _is_missing(name):
        raise ImportNotSupported(name, way_out(name))


def _is_missing(name: str) -> bool:
    """Whether it is a name of the SDK's that isn't here; a module that is may not be loaded yet."""
    module, _, last = name.rpartition(".")
    return not _is_here(name) and (name in MODULES or last in NAMES.get(module, ()))


def _is_here(name: str) -> bool:
    """Whether it is a module of the SDK's that is here."""
    place = Path(__file__).parent.joinpath(*name.split(".")[1:])
    return name in MODULES and (place.is_dir() or place.with_suffix(".py").is_file())


def names_the_missing_of(module: str) -> Callable[[str], object]:
    """The `__getattr__` of one of the modules here, for what the SDK's module has besides.

    Where that is of another module that is here, it is found there. Else it is named in the error, and to `hasattr` it
    isn't there.
    """
    of_sdk = module.removeprefix(f"{_HERE}.")

    def missing(name: str) -> object:
        full = f"{of_sdk}.{name}"
        if not _is_missing(full):
            raise AttributeError(f"module {of_sdk!r} has no attribute {name!r}")
        for other in _OF_OTHERS:
            if other != of_sdk and name in vars(import_module(f"{_HERE}.{other}")):
                return vars(sys.modules[f"{_HERE}.{other}"])[name]
        raise AttributeNotSupported(full, way_out(full))

    return missing
