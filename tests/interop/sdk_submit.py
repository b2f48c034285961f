"""Submits scripts to their own machine with Azure ML's SDK, and tells as JSON what became of them.

    python sdk_submit.py azureml FOLDER

Environment as for `sdk_script.py`, whose way into the workspace it takes.
"""

import importlib
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from sdk_script import find_this_machine, open_workspace

TRAIN = """\
import os, sys
from azureml.core.run import Run
from helper import half

run = Run.get_context()
for step in range(3):
    run.log("loss", half(step))
    print("step", step)
os.makedirs("outputs", exist_ok=True)
open("outputs/model.txt", "w").write(" ".join(sys.argv[1:]))
print("the end")
"""
FAILS = "import sys; print('why'); sys.exit(3)"
SLEEPS = "import time; print('sleeps', flush=True); time.sleep(600)"


def submit_all(folder: Path) -> dict[str, Any]:
    core = importlib.import_module("azureml.core")
    scripts = {
        "train.py": TRAIN,
        "helper.py": "def half(step):\n    return step / 2\n",
        "fails.py": FAILS,
        "sleeps.py": SLEEPS,
    }
    for name, text in scripts.items():
        (folder / name).write_text(text, encoding="utf-8")
    environment = core.Environment("this-one")
    environment.python.user_managed_dependencies = True
    environment.python.interpreter_path = sys.executable
    experiment = core.Experiment(open_workspace(), "submitted")

    def submit(script: str, *arguments: str) -> Any:
        config = core.ScriptRunConfig(str(folder), script, list(arguments), environment=environment)
        return experiment.submit(config, tags={"kind": script})

    run = submit("train.py", "--alpha", "0.5")
    printed = folder.parent / "printed.txt"
    with printed.open("w", encoding="utf-8") as sink, redirect_stdout(sink):
        details = run.wait_for_completion(show_output=True)
    failed = submit("fails.py").wait_for_completion(raise_on_error=False)
    canceled = submit("sleeps.py")
    canceled.cancel()
    return {
        "status": details["status"],
        "metrics": run.get_metrics(),
        "files": run.get_file_names(),
        "tags": run.get_tags(),
        "printed": printed.read_text(encoding="utf-8"),
        "failed": failed["status"],
        "error": failed["error"]["error"]["message"],
        "canceled": canceled.get_status(),
        "canceled run": canceled.id,
    }


if __name__ == "__main__":
    find_this_machine()
    source = Path(sys.argv[2]) / "source"
    source.mkdir(parents=True)
    print(json.dumps(submit_all(source)))
