"""What every Python of a submitted script runs first: it gives Lightning's logger the submitted run.

`mlflow.start_run()` takes the run of MLFLOW_RUN_ID over; Lightning's `MLFlowLogger()` never reads it and makes another
run. Here the first logger of a process takes it, where the script names no other run, experiment or tracking URI. It
stands alone, since a Python that the script starts may lack this package, and loads nothing until Lightning is loaded.
"""

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder

_LOGGERS = ("pytorch_lightning.loggers.mlflow", "lightning.pytorch.loggers.mlflow")
# As the run was started with: `mlflow.start_run` removes the first, and scripts may set the others.
_RUN_ID = os.environ.get("MLFLOW_RUN_ID") or os.environ.get("AZUREML_RUN_ID", "")
_EXPERIMENT = os.environ.get("MLFLOW_EXPERIMENT_NAME")
_TRACKING_URI = os.environ.get("MLFLOW_TRACKING_URI", "")
_is_taken = False


class _Finder:
    """Finds Lightning's module of the logger as Python does, and changes the logger once it is imported."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        if name not in _LOGGERS:
            return None
        spec = PathFinder.find_spec(name, path)  # type: ignore[arg-type]
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_change(module: object) -> None:
                run(module)  # type: ignore[arg-type]
                if (logger := getattr(module, "MLFlowLogger", None)) is not None:
                    _take_the_run(logger)

            spec.loader.exec_module = run_and_change  # type: ignore[method-assign]
        return spec


def _take_the_run(logger: type) -> None:
    """Have a class of loggers take the submitted run, where it isn't told another."""
    from functools import wraps
    from inspect import signature

    begin = logger.__init__  # type: ignore[misc]
    takes = signature(begin)
    experiments = {_EXPERIMENT} | {each.default for name, each in takes.parameters.items() if name == "experiment_name"}

    @wraps(begin)
    def begin_in_the_run(self: object, *args: object, **kwargs: object) -> None:
        global _is_taken
        try:
            bound = takes.bind(self, *args, **kwargs)
        except TypeError:
            begin(self, *args, **kwargs)  # which says so in its own words
            return
        bound.apply_defaults()
        given = bound.arguments
        names_another = given.get("run_id") is not None or given.get("run_name") is not None
        is_here = given.get("experiment_name") in experiments and _place(given.get("tracking_uri")) == _place(
            _TRACKING_URI
        )
        if _is_taken or names_another or not is_here:
            begin(self, *args, **kwargs)
            return
        given["run_id"] = _RUN_ID
        begin(*bound.args, **bound.kwargs)
        _is_taken = True
        for key, value in (given.get("tags") or {}).items():
            self.experiment.set_tag(_RUN_ID, key, value)  # type: ignore[attr-defined]

    logger.__init__ = begin_in_the_run  # type: ignore[misc]


def _place(tracking_uri: object) -> object:
    """A tracking URI without what it has until it expires: a workspace issues a new one each time."""
    return tracking_uri.partition("?")[0] if isinstance(tracking_uri, str) else tracking_uri


def _run_the_next() -> None:
    """Run the `sitecustomize` that this one hides, as Python runs only the first: that of a later folder."""
    here = __file__.rpartition(os.sep)[0]
    later = sys.path[sys.path.index(here) + 1 :] if here in sys.path else []
    spec = PathFinder.find_spec(__name__, [path for path in later if path != here])
    if spec is not None and spec.loader is not None:
        from importlib.util import module_from_spec

        module = sys.modules[__name__] = module_from_spec(spec)
        spec.loader.exec_module(module)


if _RUN_ID:
    sys.meta_path.insert(0, _Finder)
_run_the_next()
