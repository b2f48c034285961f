"""What every Python of a submitted script runs first: it gives Lightning's logger the submitted run.

`mlflow.start_run()` takes the run of MLFLOW_RUN_ID over; Lightning's `MLFlowLogger()` never reads it and makes another
run. Here the first logger of a process takes it, where the script names no other run, experiment or place. It stands
alone, since the script's Python may lack this package, and imports nothing before Lightning is imported.
"""

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder

_LOGGERS = ("pytorch_lightning.loggers.mlflow", "lightning.pytorch.loggers.mlflow")
_RUN_ID = os.environ.get("MLFLOW_RUN_ID", "")  # `mlflow.start_run` removes it
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
                _take_the_run(module.MLFlowLogger)  # type: ignore[attr-defined]

            spec.loader.exec_module = run_and_change  # type: ignore[method-assign]
        return spec


def _take_the_run(logger: type) -> None:
    """Have a class of loggers take the submitted run, where it isn't told another."""
    from functools import wraps
    from inspect import signature

    begin = logger.__init__  # type: ignore[misc]
    takes = signature(begin)
    of_lightning = takes.parameters["experiment_name"].default if "experiment_name" in takes.parameters else None

    @wraps(begin)
    def begin_in_the_run(self: object, *args: object, **kwargs: object) -> None:
        global _is_taken
        bound = takes.bind(self, *args, **kwargs)
        given = bound.arguments
        takes_it = (
            not _is_taken
            and given.get("run_id") is None
            and given.get("run_name") is None
            and given.get("experiment_name") in (None, of_lightning, os.environ.get("MLFLOW_EXPERIMENT_NAME"))
            and given.get("tracking_uri") in (None, os.environ.get("MLFLOW_TRACKING_URI"))
        )
        if not takes_it:
            begin(self, *args, **kwargs)
            return
        _is_taken = True
        given["run_id"] = _RUN_ID
        begin(*bound.args, **bound.kwargs)
        for key, value in (given.get("tags") or {}).items():
            self.experiment.set_tag(_RUN_ID, key, value)  # type: ignore[attr-defined]

    logger.__init__ = begin_in_the_run  # type: ignore[misc]


def _run_the_next() -> None:
    """Run the `sitecustomize` that this one hides: Python runs only the first."""
    here = __file__.rpartition(os.sep)[0]
    spec = PathFinder.find_spec(__name__, [path for path in sys.path if path != here])
    if spec is not None and spec.loader is not None and spec.origin != __file__:
        from importlib.util import module_from_spec

        module = sys.modules[__name__] = module_from_spec(spec)
        spec.loader.exec_module(module)


if _RUN_ID:
    sys.meta_path.insert(0, _Finder)
_run_the_next()
