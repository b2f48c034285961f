"""Azure ML's SDK registers environments in our service, finds them, and submits scripts with them."""

from collections.abc import Iterator
from typing import Any

import pytest
from clients import HERE, Client, SdkPlace

from mlflow_amlstore.core import Environment, Workspace


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SdkPlace]:
    with SdkPlace(tmp_path_factory.mktemp("place")) as place:
        yield place


@pytest.fixture(scope="module")
def told(sdk_client: Client, place: SdkPlace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("environments")
    environment = {**place.for_sdk(), "PYTHONPATH": str(HERE / "resolving")}
    found: dict[str, Any] = sdk_client.run("sdk_environments.py", "azureml", str(folder), **environment)
    return found


def test_the_same_definition_is_the_same_version_and_another_the_next(told: dict[str, Any]) -> None:
    assert told["versions"] == ["1", "2", "3", "3"]


def test_it_is_got_by_name_version_and_label_and_listed(told: dict[str, Any]) -> None:
    assert told["by version"] == {"SEED": "1"}
    assert told["by label"] == "3"
    assert "iniconfig==2.0.0" in told["packages"]
    assert told["list"] == {"a copy": "1", "iris": "3", "mine": "1"}
    assert told["workspace's"] == ["a copy", "iris", "mine"]
    assert "environments: a copy, iris, mine" in told["not there"]


def test_a_script_runs_with_one_that_was_got_or_is_named(told: dict[str, Any]) -> None:
    assert told["got"].splitlines() == ["seed 7"]
    assert told["referred to"].splitlines() == ["seed 7"]
    assert "'never' not found" in told["not there to submit with"]


def test_a_registrys_password_is_not_kept(told: dict[str, Any], place: SdkPlace) -> None:
    assert told["password"] is None
    assert not [file for file in place.folder.rglob("*") if file.is_file() and b"hunter2" in file.read_bytes()]


def test_what_isnt_here_is_refused_by_name(told: dict[str, Any]) -> None:
    assert "A Docker image of an environment is not supported" in told["image"]
    assert "A label of an environment is not supported" in told["label"]


@pytest.mark.usefixtures("told")
def test_this_package_finds_what_the_sdk_registered(place: SdkPlace) -> None:
    workspace = Workspace.create(place.folder)
    found = Environment.get(workspace, "iris", version="2")
    assert found.environment_variables == {"SEED": "1"}
    assert "iniconfig==2.0.0" in found.python.conda_dependencies.pip_packages
    workspace.close()
