"""Registers environments with Azure ML's SDK, submits scripts with them, and tells as JSON what there is.

    python sdk_environments.py azureml FOLDER

Environment as for `sdk_script.py`, whose way into the workspace it takes.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from sdk_script import find_this_machine, open_workspace


def refusal_of(action: Any) -> str:
    try:
        action()
    except Exception as error:
        return str(error)
    return ""


def use_environments(folder: Path) -> dict[str, Any]:
    core = importlib.import_module("azureml.core")
    reference = importlib.import_module("azureml.core.environment").EnvironmentReference
    dependencies = importlib.import_module("azureml.core.conda_dependencies").CondaDependencies
    Environment = core.Environment
    ws = open_workspace()

    iris = Environment("iris")
    iris.python.conda_dependencies = dependencies.create(pip_packages=["iniconfig==2.0.0"])
    iris.docker.base_image_registry.address = "registry.example"
    iris.docker.base_image_registry.password = "hunter2"
    first = iris.register(ws)
    again = iris.register(ws)
    iris.environment_variables = {"SEED": "1"}
    second = iris.register(ws)
    first.environment_variables = {"SEED": "2"}
    changed = first.register(ws)

    mine = Environment("mine")
    mine.python.user_managed_dependencies = True
    mine.python.interpreter_path = sys.executable
    mine.environment_variables = {"SEED": "7"}
    mine.clone("a copy").register(ws)
    mine.register(ws)

    (folder / "train.py").write_text("import os; print('seed', os.environ['SEED'])", encoding="utf-8")
    experiment = core.Experiment(ws, "with-environments")

    def printed(environment: Any) -> str:
        config = core.ScriptRunConfig(str(folder), "train.py")
        config.run_config.environment = environment
        run = experiment.submit(config)
        run.wait_for_completion(raise_on_error=False)
        log: str = run.get_details_with_logs()["logFiles"]["user_logs/std_log.txt"]
        return log

    got = Environment.get(ws, "iris")
    return {
        "versions": [each.version for each in (again, second, changed, got)],
        "by version": Environment.get(ws, "iris", version="2").environment_variables,
        "by label": Environment.get(ws, "iris", label="latest").version,
        "packages": list(got.python.conda_dependencies.pip_packages),
        "password": got.docker.base_image_registry.password,
        "list": {name: each.version for name, each in Environment.list(ws).items()},
        "workspace's": sorted(ws.environments),
        "got": printed(Environment.get(ws, "mine")),
        "referred to": printed(reference("mine", "1")),
        "not there": refusal_of(lambda: Environment.get(ws, "never")),
        "not there to submit with": refusal_of(lambda: printed(reference("never"))),
        "image": refusal_of(lambda: got.build(ws)),
        "label": refusal_of(lambda: Environment.label(ws, "iris", "1", ["stable"])),
    }


if __name__ == "__main__":
    find_this_machine()
    source = Path(sys.argv[2]) / "source"
    source.mkdir(parents=True)
    print(json.dumps(use_environments(source)))
