"""`install_as_azureml()`: what `import azureml…` means afterwards, and what it doesn't."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import mlflow_amlstore
from mlflow_amlstore.core.sdk_names import ATTRIBUTES, MODULES, NAMES

Installed = Callable[..., str]

SAME = """
import azureml.core, azureml.core.run, azureml.mlflow, azureml.widgets
from azureml import core, exceptions, mlflow, widgets
from azureml.core import Environment, Experiment, Model, Run, Workspace, get_run
from azureml.core.authentication import InteractiveLoginAuthentication
from azureml.core.conda_dependencies import CondaDependencies
from azureml.core.environment import Environment as E, DockerSection
from azureml.core.experiment import Experiment as X
from azureml.core.model import Model as M
from azureml.core.run import Run as R, get_run
from azureml.core import RunConfiguration, ScriptRun, ScriptRunConfig
from azureml.core.runconfig import CondaDependencies as RCD, DEFAULT_CPU_IMAGE, DockerConfiguration, DockerSection as RD
from azureml.core.runconfig import RunConfiguration as RC, MpiConfiguration, PyTorchConfiguration
from azureml.core.script_run import ScriptRun as SR
from azureml.core.script_run_config import ScriptRunConfig as S, PyTorchConfiguration as SP
from azureml.core.workspace import Workspace as W
from azureml.exceptions import UserErrorException
from azureml.mlflow import get_portal_url, register_model
from azureml.widgets import RunDetails
from azureml.core.run import _OfflineRun, UserErrorException as U, Environment as RE
from azureml.core.environment import CondaDependencies as CD
from azureml.core.model import Experiment as ME, ModelNotFoundException
from azureml.core.workspace import Model as WM, InteractiveLoginAuthentication as WI
import mlflow_amlstore.core as ours
assert (U, CD, ME, WM, WI) == (UserErrorException, CondaDependencies, X, M, InteractiveLoginAuthentication)
assert (RCD, RD, RC, S, SP) == (CD, DockerSection, RunConfiguration, ScriptRunConfig, PyTorchConfiguration)
assert isinstance(Run.get_context(), _OfflineRun) and RE is E
assert (E, X, M, R, W) == (ours.Environment, ours.Experiment, ours.Model, ours.Run, ours.Workspace)
assert SR is ScriptRun and issubclass(ScriptRun, Run)
assert (RC, S) == (ours.RunConfiguration, ours.ScriptRunConfig)
assert azureml.core is core and core.run.Run is Run and azureml.core.__spec__.name == "mlflow_amlstore.azureml.core"
mlflow_amlstore.install_as_azureml()
print(core.VERSION, azureml.core.__version__ == core.VERSION)
"""


def test_the_sdk_s_modules_are_this_package_s_own(installed: Installed) -> None:
    assert installed(SAME) == f"1.61.0+amlstore.{mlflow_amlstore.__version__} True\n"


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("from azureml.core import Dataset", "azureml.core.Dataset is not supported by mlflow-amlstore yet. Read the"),
        ("from azureml.core.model import Dataset", "azureml.core.model.Dataset is not supported.* Read the"),
        ("from azureml.core.run import InputDatasets", "azureml.core.run.InputDatasets is not supported"),
        ("from azureml.core.runconfig import JarLibrary", "azureml.core.runconfig.JarLibrary is not supported"),
        ("from azureml.core.compute import AksCompute", "compute.AksCompute is not supported.* it should run on"),
        ("import azureml.core.compute.amlcompute", "compute.amlcompute is not supported"),
        ("import azureml.core.datastore", "azureml.core.datastore is not supported"),
        ("from azureml.core import datastore", "azureml.core.datastore is not supported"),
        ("from azureml.core.webservice import AciWebservice", "azureml.core.webservice is not supported.*serves a mod"),
        ("from azureml.exceptions import TrainingException", "azureml.exceptions.TrainingException is not supported"),
        ("import azureml.data", "azureml.data is not supported"),
        ("import azureml.dataprep", "No module named 'azureml.dataprep': .*which has azureml.core, azureml.exceptions"),
        ("import azureml.train.hyperdrive", "No module named 'azureml.train': .* made azureml mean mlflow-amlstore"),
        ("from azureml import dataprep", "azureml.dataprep is not supported by mlflow-amlstore yet"),
        ("import azureml.core.never", "No module named 'azureml.core.never'$"),
        ("from azureml.core import never", "cannot import name 'never'"),
        ("from azureml import never", "cannot import name 'never'"),
        ("import azureml.finder", "No module named 'azureml.finder'"),
    ],
)
def test_what_isnt_here_is_an_import_error_that_names_it(installed: Installed, statement: str, told: str) -> None:
    code = f"""
try:
    {statement}
except ImportError as error:
    print(error)
"""
    assert re.search(told, installed(code).strip())


@pytest.mark.parametrize("module", ["azureml", "azureml.core", "azureml.core.run", "azureml.exceptions"])
def test_to_hasattr_what_isnt_here_isnt_there_and_asked_for_it_is_named(installed: Installed, module: str) -> None:
    name = {"azureml": "data", "azureml.core": "Datastore", "azureml.core.run": "InputDatasets"}.get(
        module, "TrainingException"
    )
    code = f"""
import {module}
print(hasattr({module}, "{name}"), getattr({module}, "{name}", None))
try:
    {module}.{name}
except AttributeError as error:
    print(error)
try:
    from {module} import {name}
except ImportError as error:
    print(error)
"""
    there, *told = installed(code).splitlines()
    assert there == "False None"
    assert [line.partition(" ")[0] for line in told] == [f"{module}.{name}"] * 2


def test_modules_of_ours_can_be_asked_for_names_without_an_error(installed: Installed) -> None:
    code = """
import azureml.core, copy, inspect, pickle
from azureml.core import Run
print(hasattr(azureml.core, "never"), len(inspect.getmembers(azureml.core)) > 8, pickle.loads(pickle.dumps(Run)) is Run)
"""
    assert installed(code) == "False True True\n"


@pytest.fixture
def sdk(tmp_path: Path) -> dict[str, str]:
    """An environment in which another package `azureml` is installed."""
    folder = tmp_path / "site" / "azureml" / "core"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "__init__.py").write_text('VERSION = "theirs"')
    return {"PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


def test_an_sdk_that_is_installed_too_stays_what_azureml_means_until_ours_is_asked_for(
    python: Callable[..., subprocess.CompletedProcess[str]], installed: Installed, sdk: dict[str, str]
) -> None:
    code = "import mlflow_amlstore.core, azureml.core; print(azureml.core.VERSION)"
    assert python("-c", code, **sdk).stdout == "theirs\n"
    assert installed("import azureml.core; print(azureml.core.VERSION)", **sdk).startswith("1.61.0+amlstore")


def test_asked_for_after_the_other_was_imported_it_is_an_error_that_changes_nothing(
    python: Callable[..., subprocess.CompletedProcess[str]], sdk: dict[str, str]
) -> None:
    code = """
import mlflow_amlstore, azureml.core
try:
    mlflow_amlstore.install_as_azureml()
except mlflow_amlstore.errors.InvalidState as error:
    print(error)
import azureml.core
print(azureml.core.VERSION)
"""
    told, version = python("-c", code, **sdk).stdout.splitlines()
    assert told.startswith("install_as_azureml() comes too late: azureml.core of another package is imported already.")
    assert "run the script with `python -m mlflow_amlstore.azureml script.py`" in told
    assert version == "theirs"


def test_an_empty_namespace_that_was_imported_doesnt_matter(
    python: Callable[..., subprocess.CompletedProcess[str]], sdk: dict[str, str]
) -> None:
    code = "import azureml, mlflow_amlstore; mlflow_amlstore.install_as_azureml()"
    code += "; import azureml.core; print(azureml.core.VERSION)"
    assert python("-c", code, **sdk).stdout.startswith("1.61.0+amlstore")


def test_it_makes_azureml_uris_ours_too(installed: Installed) -> None:
    assert installed("import os; print(os.environ['AMLSTORE_AZUREML_PLUGIN'])") == "mlflow-amlstore\n"


def test_the_lists_have_the_sdk_s_names() -> None:
    assert {"azureml.core", "azureml.core.compute.amlcompute", "azureml.data.datapath"} <= MODULES
    assert {"Dataset", "ScriptRunConfig", "Webservice", "get_run"} <= NAMES["azureml.core"]
    assert {"compute_targets", "get_default_datastore", "from_config"} <= ATTRIBUTES["Workspace"]
    assert {"add_type_provider", "get_submitted_run", "log_row"} <= ATTRIBUTES["Run"]
    assert {"deploy", "get_model_path"} <= ATTRIBUTES["Model"]


def test_attributes_of_objects_are_named_and_what_nobody_has_isnt(installed: Installed, tmp_path: Path) -> None:
    code = """
import copy, json
from azureml.core import Experiment, Model, Run, Workspace
ws = Workspace.create("ws")
run = Experiment(ws, "e").start_logging(snapshot_directory=None)
told = []
for ask in (lambda: run.get_secret("s"), lambda: Run.add_type_provider("t", None), lambda: Model.deploy(ws),
            lambda: ws.get_default_datastore(), lambda: ws.get_default_compute_target("CPU")):
    try:
        ask()
    except NotImplementedError as error:
        told.append(str(error).partition(" is")[0])
copied = copy.copy(run)
print(json.dumps([told, hasattr(run, "get_secret"), hasattr(run, "_repr_latex_"), copied == run]))
"""
    assert json.loads(installed(code)) == [
        [
            "Run.get_secret",
            "Run.add_type_provider",
            "Model.deploy",
            "Workspace.get_default_datastore",
            "Workspace.get_default_compute_target",
        ],
        False,
        False,
        True,
    ]
