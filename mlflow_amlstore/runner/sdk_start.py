"""Starts a run that Azure ML's SDK submitted to its own machine.

The service sent the SDK what to start, and this package (`service.execution.invocation`); the SDK unpacked both into
its copy of the source folder. The script runs in a copy of that, so that the SDK may remove its own at any time.
"""

import json
import os
import shutil
from pathlib import Path

from mlflow_amlstore.runner.launch import Launch, RunFolder, variables_of_run
from mlflow_amlstore.runner.starting import start_in


def main(setup_folder: str) -> None:
    """Start the runner, and return. The folder has `run.json` and `packages/`."""
    setup = Path(setup_folder)
    run = json.loads((setup / "run.json").read_text(encoding="utf-8"))
    folder = RunFolder.of(run["run_id"])
    lock = folder.make()
    try:
        shutil.copytree(setup / "packages", folder.packages)
        shutil.copytree(
            setup.parent,
            folder.source,
            dirs_exist_ok=True,
            ignore=lambda where, names: [setup.name] if Path(where) == setup.parent else [],
        )
        variables = variables_of_run(
            run["definition"], run["root"], run["run_id"], run["experiment_id"], run["experiment"]
        )
        start_in(
            folder,
            lock,
            Launch(
                run_id=run["run_id"],
                experiment_id=run["experiment_id"],
                workspace=run["root"],
                definition=run["definition"],
                variables={**run["variables"], **variables},
                slots=os.cpu_count() or 1,
                token=run["token"],
                has_sdk=True,
            ),
        )
    except BaseException:
        folder.remove()
        raise
    finally:
        os.close(lock)
