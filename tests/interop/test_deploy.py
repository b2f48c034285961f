"""Azure ML's SDK deploys a registered model through our service, asks it, and deletes it: unchanged."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clients import HERE, Client, SdkPlace

ANSWER = [5.0, 7.0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose answers are known, and one that is none."""
    skops = pytest.importorskip("skops.io")
    linear_model = pytest.importorskip("sklearn.linear_model")
    folder = tmp_path_factory.mktemp("models")
    skops.dump(linear_model.LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0]), folder / "ridge.skops")
    (folder / "broken.skops").write_bytes(b"no model")
    (folder / "python.txt").write_text(sys.executable, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def deployed(sdk_client: Client, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with SdkPlace(tmp_path_factory.mktemp("place")) as place:
        key = place.call("POST", "/auth/keys", place.exchange(place.key), {"name": "agent", "role": "agent"})["key"]
        command = "from mlflow_amlstore.cli import main; main()"
        agent = subprocess.Popen(
            [
                *(sys.executable, "-c", command, "agent", "--url", place.url, "--compute", "pool"),
                *("--slots", "1", "--trust-submitters"),
            ],
            env={**os.environ, "AMLSTORE_KEY": key, "REQUESTS_CA_BUNDLE": str(place.ca)},
            stdout=subprocess.DEVNULL,
        )
        try:
            environment = {**place.for_sdk(), "PYTHONPATH": str(HERE / "resolving")}
            yield sdk_client.run("sdk_deploy.py", "azureml", str(folder), **environment)
        finally:
            agent.terminate()
            agent.wait()


def test_it_becomes_healthy_and_the_sdk_prints_what_happens(deployed: dict[str, Any]) -> None:
    assert deployed["state"] == "Healthy"
    assert "Copying diabetes_model:1" in deployed["printed"]
    assert 'ACI service creation operation finished, operation "Succeeded"' in deployed["printed"]


def test_it_is_found_and_asked_at_the_services_own_address(deployed: dict[str, Any]) -> None:
    assert (deployed["class"], deployed["auth"]) == ("AciWebservice", True)
    assert deployed["scoring_uri"].endswith("/endpoints/diabetes-service/score")
    assert deployed["swagger_uri"].endswith("/endpoints/diabetes-service/swagger.json")
    assert deployed["answer"] == pytest.approx(ANSWER)


def test_its_keys_are_told_and_replaced(deployed: dict[str, Any]) -> None:
    assert deployed["keys"] == [2, True, True]
    assert deployed["after the key changed"] == pytest.approx(ANSWER)


def test_a_wrong_input_is_named(deployed: dict[str, Any]) -> None:
    assert "Response Code: 400" in deployed["wrong input"]


def test_it_is_updated_and_listed(deployed: dict[str, Any]) -> None:
    assert deployed["updated"] == [{"team": "a"}, "of the tests"]
    name = ["diabetes-service"]
    assert deployed["listed"] == [name, name, [], name]
    assert "already exists" in deployed["taken"]


def test_a_broken_model_fails_with_the_reason(deployed: dict[str, Any]) -> None:
    assert deployed["failed state"] == "Failed"
    assert "current service state: Failed" in deployed["failed"]
    assert "Traceback" in deployed["failed"]


@pytest.mark.xfail(reason="the scoring process serves no scripts yet")
def test_a_script_of_ones_own_answers(deployed: dict[str, Any]) -> None:
    assert deployed["script's answer"] == {"twice": [2, 4]}


def test_it_is_deleted(deployed: dict[str, Any]) -> None:
    assert deployed["left"] == []
    assert "WebserviceNotFound" in deployed["gone"]
