"""Microsoft's plugin and ours in one environment: whose `azureml://` it is, who is told, and what decides."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from clients import Client, Place

PROJECT = Path(__file__).parents[2]
SCRIPT = """
import logging, sys
logging.basicConfig(stream=sys.stderr)
import mlflow
store = mlflow.MlflowClient()._tracking_client.store
registry = mlflow.MlflowClient()._get_registry_client().store
run = mlflow.MlflowClient().create_run("0")
files = mlflow.artifacts.get_artifact_repository(run.info.artifact_uri) if hasattr(
    mlflow.artifacts, "get_artifact_repository") else None
try:
    backend = mlflow.projects.backend.loader.load_backend("azureml")
except Exception as error:  # theirs wants more of Microsoft's packages
    assert "install azureml.core" in str(error)
    print("azureml")
else:
    print(type(backend).__module__.split(".")[0])
print("\\n".join(type(part).__module__.split(".")[0] for part in (store, registry)))
"""


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with our package, to be put on the path of Microsoft's client."""
    target = tmp_path_factory.mktemp("ours")
    install = ["uv", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(PROJECT)]
    subprocess.run(install, check=True)
    return target


@pytest.mark.parametrize(
    ("choice", "whose", "is_told"),
    [(None, "azureml", True), ("mlflow-amlstore", "mlflow_amlstore", False), ("azureml-mlflow", "azureml", False)],
)
def test_the_environment_decides(
    real_client: Client, beside: Path, start_place: Callable[..., Place], choice: str | None, whose: str, is_told: bool
) -> None:
    place = start_place()
    environment = {**place.with_token(), "PYTHONPATH": str(beside)}
    if choice is not None:
        environment["AMLSTORE_AZUREML_PLUGIN"] = choice
    (Path(beside) / "which.py").write_text(SCRIPT)
    process = real_client.start(str(beside / "which.py"), **environment)
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    assert printed.split() == [whose, whose, whose]
    assert ("AMLSTORE_AZUREML_PLUGIN=mlflow-amlstore" in errors) == is_told


def test_doctor_says_whose_it_is(real_client: Client, beside: Path) -> None:
    told = []
    for choice in ({}, {"AMLSTORE_AZUREML_PLUGIN": "mlflow-amlstore"}):
        script = beside / "doctor.py"
        script.write_text(
            "from mlflow_amlstore.diagnosis.examination import examine_installation\n"
            "for found in examine_installation():\n"
            "    if 'azureml://' in found.check: print(found.is_ok, found.detail)"
        )
        process = real_client.start(str(script), PYTHONPATH=str(beside), **choice)
        printed, errors = process.communicate()
        assert process.returncode == 0, errors
        told.append(printed.splitlines())
    assert all(line.startswith("False azureml-mlflow, as it happens") for line in told[0])
    assert all(line.startswith("True mlflow-amlstore, chosen by AMLSTORE_AZUREML_PLUGIN") for line in told[1])
    assert len(told[0]) == 3
