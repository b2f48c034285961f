"""Runs a script that logs with Azure ML's own SDK, and has the SDK send what it still holds when the script ends.

`python sdk_script.py SCRIPT ARGS…` is as `python SCRIPT ARGS…`. In Azure ML, what starts a script does the same; the
SDK itself doesn't, and the values of a short script would be lost. It stands alone, since the script's Python may lack
this package.
"""

import runpy
import sys
from pathlib import Path


def _send() -> None:
    run = sys.modules.get("azureml.core.run")
    if run is not None:  # else the script didn't log with it
        run.Run.get_context().flush()


if __name__ == "__main__":
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).absolute().parent)
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        _send()
