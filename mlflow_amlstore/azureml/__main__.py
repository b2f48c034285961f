"""Run a script, as `python` itself would, in which `import azureml` means this package.

    python -m mlflow_amlstore.azureml script.py [args]
    python -m mlflow_amlstore.azureml -m module [args]

Processes that the script starts anew import what is installed; those that it forks go on as it does.
"""

import builtins
import os
import runpy
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, TracebackType
from typing import NoReturn

from mlflow_amlstore import install_as_azureml

_USAGE = "usage: python -m mlflow_amlstore.azureml [-m module | script.py] [args]"
_NOT_THE_SCRIPT = (__file__, runpy.__file__, "<frozen")  # where files of a traceback's first frames are


def main() -> None:
    """Run what the command line names; a script that isn't there ends the process with 2, as for `python`."""
    arguments = sys.argv[1:]
    is_module = arguments[:1] == ["-m"]
    if not arguments[is_module:] or (arguments[0].startswith("-") and not is_module):
        _end(_USAGE)
    install_as_azureml()
    sys.excepthook = _show_the_script
    if is_module:
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        _run_script(arguments[0])


def _run_script(script: str) -> None:
    loader = SourceFileLoader("__main__", os.path.abspath(script))
    try:
        source = loader.get_data(loader.path)
    except OSError as error:
        _end(f"{sys.executable}: can't open file {loader.path!r}: [Errno {error.errno}] {error.strerror}")
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        sys.path[0] = str(Path(script).resolve().parent)
    main_module = ModuleType("__main__")
    vars(main_module).update(
        __file__=loader.path, __loader__=loader, __cached__=None, __builtins__=builtins, __annotations__={}
    )
    sys.modules["__main__"] = main_module  # and it stays: threads and exit functions may outlive the script
    exec(loader.source_to_code(source, loader.path), vars(main_module))


def _end(problem: str) -> NoReturn:
    sys.stderr.write(f"{problem}\n")
    sys.exit(2)


def _show_the_script(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print a traceback that begins in the script."""
    while traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(_NOT_THE_SCRIPT):
        traceback = traceback.tb_next
    sys.__excepthook__(kind, error.with_traceback(traceback), traceback)


if __name__ == "__main__":
    main()
