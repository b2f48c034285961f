"""What an import costs: `import mlflow` with the plugin installed loads next to nothing of ours."""

import json
import subprocess
import sys
from statistics import median

import pytest

HEAVY = {"alembic", "azure", "mlflow", "rich", "sqlalchemy"}
# A child process imports what it is told, and prints the modules this added.
LIST_MODULES = """
import importlib, json, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted(set(sys.modules) - before)))
"""
# Makes a child process blind to our entry points, as if the package weren't installed.
HIDE_PLUGIN = """
import importlib.metadata as metadata
entry_points = metadata.entry_points
metadata.entry_points = lambda **given: [e for e in entry_points(**given) if not e.value.startswith("mlflow_amlstore")]
"""
TIME_IMPORT = """
import time
start = time.perf_counter()
import mlflow
print(time.perf_counter() - start)
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


def test_time_that_import_mlflow_gains(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints the time; what is asserted is above, since a time depends on the machine."""
    pairs = [(float(_run(TIME_IMPORT)), float(_run(HIDE_PLUGIN + TIME_IMPORT))) for _ in range(3)]
    gain_ms = median(with_plugin - without for with_plugin, without in pairs) * 1000
    with capsys.disabled():
        print(f"\n`import mlflow`: {min(pairs)[0] * 1000:.0f} ms, {gain_ms:+.0f} ms of it by this plugin")
