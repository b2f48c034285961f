"""What Azure ML's SDK is sent to start a script on its machine: a zip that it unpacks over its copy of the folder.

It starts `azureml-setup/Invocation.sh` there, with this package's modules beside it: the machine needs Python 3.10 or
newer with `requests`, which the SDK has.
"""

import io
import json
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_amlstore.runner.sdk_variables import sdk_variables

if TYPE_CHECKING:
    from mlflow_amlstore.service.execution.submissions import Submission

_PACKAGE = Path(__file__).parent.parent.parent
_SETUP = "azureml-setup"
_LEFT_OUT = ("service", "studio", "cli", "plugin", "records/migrations")  # which a runner has no use for
# The SDK's own Python, by the process that asks for the script, is what runs the runner: `python` may be another.
_INVOCATION = """#!/bin/bash
setup=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
caller=$(tr '\\0' '\\n' < "/proc/$PPID/cmdline" 2>/dev/null | head -n 1)
start='import sys; sys.path.insert(0, sys.argv[1] + "/packages"); from mlflow_amlstore.runner import sdk_start
sdk_start.main(sys.argv[1])'
for python in "$caller" python python3; do
    if "$python" -c 'import sys, requests; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        exec "$python" -c "$start" "$setup"
    fi
done
echo "No Python from 3.10 on with the package requests was found to run the script" >&2
exit 1
"""


def invocation_zip(
    run_id: str, experiment_id: str, experiment: str, root: str, token: str, submission: "Submission"
) -> bytes:
    """The zip for a run. `root` is the workspace's tracking URI, `token` the run's own."""
    told = {
        "run_id": run_id,
        "experiment_id": experiment_id,
        "experiment": experiment,
        "root": root,
        "token": token,
        "definition": submission.configuration,
        "variables": sdk_variables(root, experiment_id, experiment),
    }
    buffer = io.BytesIO(_packages())
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{_SETUP}/run.json", json.dumps(told))
    return buffer.getvalue()


@lru_cache(maxsize=1)
def _packages() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{_SETUP}/Invocation.sh", _INVOCATION)
        for file in sorted(_PACKAGE.rglob("*.py")):
            name = file.relative_to(_PACKAGE).as_posix()
            if not name.startswith(tuple(f"{folder}/" for folder in _LEFT_OUT)):
                archive.write(file, f"{_SETUP}/packages/mlflow_amlstore/{name}")
    return buffer.getvalue()
