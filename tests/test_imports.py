"""What an import costs: `import mlflow` with the plugin installed loads next to nothing of ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_amlstore.pytest_plugin import AmlstoreService

HEAVY = {"alembic", "azure", "mlflow", "rich", "sqlalchemy"}
# A child process imports what it is told, and prints the modules this added.
LIST_MODULES = """
import importlib, json, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def _run(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def _modules_after(*names: str) -> set[str]:
    return set(json.loads(_run(LIST_MODULES, *names)))


def test_import_mlflow_loads_two_small_modules_of_ours() -> None:
    ours = {name for name in _modules_after("mlflow") if name.startswith("mlflow_amlstore")}
    assert ours <= {"mlflow_amlstore", "mlflow_amlstore.plugin"}


def test_our_two_modules_load_nothing_heavy() -> None:
    loaded = {name.split(".")[0] for name in _modules_after("mlflow_amlstore", "mlflow_amlstore.plugin")}
    assert loaded & HEAVY == set()


def test_the_pytest_plugin_loads_nothing_heavy() -> None:
    loaded = {name.split(".")[0] for name in _modules_after("mlflow_amlstore.pytest_plugin")}
    assert loaded & HEAVY == set()


def test_azure_identity_stays_unloaded_by_an_embedded_workspace() -> None:
    loaded = {name.split(".")[0] for name in _modules_after("mlflow_amlstore.core", "mlflow_amlstore.plugin.tracking")}
    assert "azure" not in loaded


def test_mlflow_and_yaml_stay_unloaded_by_the_sdk() -> None:
    loaded = {name.split(".")[0] for name in _modules_after("mlflow_amlstore.core")}
    assert loaded & {"mlflow", "yaml"} == set()


def test_the_client_of_a_service_stays_unloaded_until_a_workspace_is_elsewhere() -> None:
    loaded = _modules_after("mlflow_amlstore.core")
    assert {name for name in loaded if name.startswith("mlflow_amlstore.client") or name == "ssl"} == set()


CLIENT_OF_A_SERVICE = (
    "mlflow_amlstore.core",
    "mlflow_amlstore.cli",
    "mlflow_amlstore.plugin.remote_tracking",
    "mlflow_amlstore.plugin.remote_registry",
    "mlflow_amlstore.plugin.remote_artifacts",
    "mlflow_amlstore.plugin.client_side_search",
    "mlflow_amlstore.diagnosis.examination",
)


def test_the_client_of_a_service_loads_nothing_of_the_extra_embedded() -> None:
    loaded = {name.split(".")[0] for name in _modules_after(*CLIENT_OF_A_SERVICE)}
    assert loaded & {"alembic", "sqlalchemy"} == set()


WITHOUT_EMBEDDED = """
import sys
sys.modules["sqlalchemy"] = sys.modules["alembic"] = None  # as if they weren't installed
"""


def test_without_the_extra_embedded_a_service_can_be_logged_into(amlstore_service: AmlstoreService) -> None:
    script = """
import mlflow
from mlflow_amlstore.core import Workspace
mlflow.set_tracking_uri(Workspace.from_url(sys.argv[1]).get_mlflow_tracking_uri())
with mlflow.start_run():
    mlflow.log_param("p", 1)
    mlflow.log_metric("m", 0.5)
    mlflow.log_text("text", "a.txt")
(run,) = mlflow.search_runs(filter_string="params.p LIKE '1'", output_format="list")
print(run.data.metrics, mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/a.txt"))
"""
    command = [sys.executable, "-c", WITHOUT_EMBEDDED + script, amlstore_service.url]
    environment = {**os.environ, "AMLSTORE_KEY": amlstore_service.key}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["{'m': 0.5} text"], done.stderr


@pytest.mark.parametrize("arguments", [["init"], ["doctor"]])
def test_without_it_a_folder_says_what_to_install(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "config.json").write_text('{"workspace_name": "w", "path": "."}')
    script = f"{WITHOUT_EMBEDDED}from mlflow_amlstore.cli import main; main()"
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'mlflow-amlstore[embedded]'" in done.stdout + done.stderr
