"""`Model.package`: a folder that Docker can build; what is in it answers here, too, without Docker."""

import json
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from waiting import wait_for

from mlflow_amlstore.core import Environment, Model, Workspace
from mlflow_amlstore.core.inference_config import InferenceConfig
from mlflow_amlstore.errors import AlreadyExists, InvalidValue, NotSupported

linear_model = pytest.importorskip("sklearn.linear_model")


@pytest.fixture
def model(embedded_ws: Workspace, tmp_path: Path) -> Model:
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps(linear_model.LinearRegression().fit([[0, 0], [1, 0], [0, 1]], [0, 1, 1])))
    return Model.register(embedded_ws, file, "sum", model_framework="ScikitLearn", model_framework_version="1.0")


@pytest.fixture
def context(embedded_ws: Workspace, model: Model, tmp_path: Path) -> Path:
    """The build context of the model."""
    package = Model.package(embedded_ws, [model], generate_dockerfile=True)
    package.wait_for_creation(show_output=True)
    package.save(tmp_path / "context")
    with pytest.raises(AlreadyExists, match="Dockerfile"):
        package.save(tmp_path / "context")
    return tmp_path / "context"


def test_the_packages_own_process_answers(context: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow_amlstore.scoring", "served", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(context / "package")}
    key = (context / "keys.txt").read_text().split()[1]

    def answer() -> requests.Response | None:
        try:
            headers = {"Authorization": f"Bearer {key}"}
            asked = requests.post(
                f"http://127.0.0.1:{port}/score", json={"data": [[1, 2]]}, headers=headers, timeout=60
            )
        except requests.ConnectionError:
            return None
        return asked if asked.ok else None

    served = context / "served/deployment.json"
    told = json.loads(served.read_text())
    served.write_text(json.dumps({**told, "versions": {}}))  # as in an image, whose packages are the model's
    with subprocess.Popen(command, cwd=context, env=environment) as process:
        try:
            assert wait_for(answer).json() == pytest.approx([3.0])
        finally:
            process.terminate()


def test_the_folder_has_all_that_an_image_needs_and_no_key(context: Path) -> None:
    dockerfile = (context / "Dockerfile").read_text()
    assert dockerfile.startswith(f"FROM python:{sys.version_info.major}.{sys.version_info.minor}-slim\n")
    assert "EXPOSE 5001" in dockerfile
    requirements = (context / "requirements.txt").read_text().splitlines()
    assert "scikit-learn==1.0" in requirements
    assert any(line.startswith("uvicorn") for line in requirements)
    assert (context / "served/azureml-models/sum/1/model.pkl").is_file()
    keys = (context / "keys.txt").read_text().split()
    assert len(set(keys)) == 2
    assert (context / ".dockerignore").read_text() == "keys.txt\n"
    assert (context / "keys.txt").stat().st_mode & 0o777 == 0o600
    others = [file.read_bytes() for file in context.rglob("*") if file.is_file() and file.name != "keys.txt"]
    assert not any(key.encode() in content for key in keys for content in others)


def test_what_cant_be_packaged_is_named(embedded_ws: Workspace, model: Model, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="models"):
        Model.package(embedded_ws, [])
    (tmp_path / "score.py").write_text("def init(): ...\ndef run(data): ...\n")
    environment = Environment("conda")
    environment.python.conda_dependencies.add_conda_package("gdal")
    with pytest.raises(NotSupported, match="gdal"):
        Model.package(embedded_ws, [model], InferenceConfig(tmp_path / "score.py", environment=environment))
    with pytest.raises(NotSupported, match="docker build"):
        Model.package(embedded_ws, [model]).pull()
