"""`amlstore models`, `deploy` and `endpoints`: from a registered model to answers, from the terminal alone."""

import json
import os
import pickle
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from waiting import wait_for

from mlflow_amlstore.hosting.endpoint_folder import EndpointFolder
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace

from .conftest import AMLSTORE, ENVIRONMENT, Amlstore

linear_model = pytest.importorskip("sklearn.linear_model")


@pytest.fixture(autouse=True)
def models(workspace: EmbeddedWorkspace, tmp_path: Path) -> Iterator[None]:
    """A model of two versions, and one that is none. Whatever is deployed ends with the test."""
    records = workspace.records
    run = records.runs.create("0")
    container = f"0/{run.info.run_id}/artifacts"
    sums = linear_model.LinearRegression().fit([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0.0, 1.0, 1.0])
    for name, content in (("sum.pkl", pickle.dumps(sums)), ("broken.pkl", b"no pickle")):
        (tmp_path / name).write_bytes(content)
        records.files.write_local(container, [(f"outputs/{name}", tmp_path / name)])
    for name, file in (("Sum of Two", "sum.pkl"), ("Sum of Two", "sum.pkl"), ("broken", "broken.pkl")):
        records.models.register(
            name,
            f"workspace:/{container}/outputs/{file}",
            run_id=run.info.run_id,
            properties={"azureml.modelFramework": "ScikitLearn"},
        )
    yield
    for endpoint in records.endpoints.list():
        records.endpoints.delete(endpoint.name)
    for name in ("sum-of-two", "broken", "other"):
        wait_for(lambda name=name: not EndpointFolder.of(str(workspace.folder), name).is_looked_after())


@pytest.fixture
def deployed(amlstore: Amlstore) -> str:
    """The scoring URI of an endpoint that goes on by itself."""
    done = amlstore("deploy", "Sum of Two", "--detach")
    assert done.exit_code == 0, done.err
    assert done.out.startswith("Sum of Two:2 answers at http://127.0.0.1:")
    return done.out.split()[-1]


def asked(uri: str, key: str | None) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return requests.post(uri, json={"data": [[1.0, 2.0]]}, headers=headers, timeout=60)


def test_models_are_listed_with_the_endpoints_where_they_answer(amlstore: Amlstore, deployed: str) -> None:
    rows = amlstore("models").rows
    assert rows[0] == ["model", "framework", "run", "created", "endpoints"]
    assert {row[0]: row[4] for row in rows[1:]} == {"Sum of Two:2": "sum-of-two", "Sum of Two:1": "", "broken:1": ""}
    told = json.loads(amlstore("models", "--name", "Sum of Two", "--latest", "--json").out)
    assert [(each["model"], each["framework"]) for each in told] == [("Sum of Two:2", "ScikitLearn")]


def test_an_endpoint_is_listed_shown_asked_and_deleted(amlstore: Amlstore, deployed: str) -> None:
    listed = amlstore("endpoints")
    assert dict(zip(*listed.rows, strict=True))["state"] == "Healthy"
    assert deployed in listed.out
    shown = amlstore("endpoints", "show", "sum-of-two")
    assert "deployment 1: Healthy, 100 % of the requests, Sum of Two:2" in shown.out
    keys = dict(amlstore("endpoints", "keys", "sum-of-two").rows[1:])
    assert asked(deployed, keys["primary"]).json() == pytest.approx([3.0])
    assert asked(deployed, None).status_code == 401
    tested = amlstore("endpoints", "test", "sum-of-two", '{"data": [[1, 2]]}')
    assert (tested.exit_code, json.loads(tested.out)) == (0, pytest.approx([3.0]))
    of_example = amlstore("endpoints", "test", "sum-of-two")
    assert of_example.exit_code == 0, of_example.err
    assert json.loads(of_example.err)
    wrong = amlstore("endpoints", "test", "sum-of-two", '{"data": [[1]]}')
    assert (wrong.exit_code != 0, "400" in wrong.err) == (True, True)
    assert "loaded" in wait_for(lambda: amlstore("endpoints", "logs", "sum-of-two").out)
    assert amlstore("endpoints", "delete", "sum-of-two").out == "Deleted endpoint sum-of-two\n"
    wait_for(lambda: _is_refused(deployed))
    assert amlstore("endpoints", "show", "sum-of-two").exit_code != 0


def _is_refused(uri: str) -> bool:
    try:
        asked(uri, None)
    except OSError:
        return True
    return False


def test_new_keys_are_made_one_or_both(amlstore: Amlstore, deployed: str) -> None:
    first = dict(amlstore("endpoints", "keys", "sum-of-two").rows[1:])
    second = dict(amlstore("endpoints", "keys", "sum-of-two", "--new", "primary").rows[1:])
    assert (second["primary"] != first["primary"], second["secondary"]) == (True, first["secondary"])
    both = dict(amlstore("endpoints", "keys", "sum-of-two", "--new", "both").rows[1:])
    assert not {*both.values()} & {*second.values()}
    wait_for(lambda: asked(deployed, both["secondary"]).status_code == 200)


def test_deployed_again_it_is_the_endpoints_next_deployment(amlstore: Amlstore, deployed: str) -> None:
    again = amlstore("deploy", "Sum of Two:1", "--name", "sum-of-two")
    assert (again.exit_code, again.out) == (0, f"Sum of Two:1 answers at {deployed}\n")
    told: dict[str, Any] = json.loads(amlstore("endpoints", "show", "sum-of-two", "--json").out)
    assert told["serving"] == {"2": 100}
    assert [each["models"] for each in told["deployments"]] == [["Sum of Two:2"], ["Sum of Two:1"]]


def test_in_front_it_lasts_until_ctrl_c(workspace: EmbeddedWorkspace) -> None:
    process = subprocess.Popen(
        [AMLSTORE, "deploy", "Sum of Two", "--name", "other", "--no-auth"],
        cwd=workspace.folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    uri = process.stdout.readline().split()[-1]
    assert asked(uri, None).json() == pytest.approx([3.0])
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate()
    assert "Deleted endpoint other" in said
    assert (process.returncode, workspace.records.endpoints.list()) == (0, [])


def test_a_model_that_cant_be_loaded_is_said_with_its_traceback(amlstore: Amlstore) -> None:
    failed = amlstore("deploy", "broken")
    assert failed.exit_code != 0
    assert "Failed: The model can't be loaded" in failed.err
    assert "Deployment 1 of broken has failed: LoadFailed" in failed.err
    assert "Traceback (most recent call last)" in failed.err
    assert amlstore("endpoints").rows[1:] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "amlstore models"),
        (["Sum of Two:9"], "9"),
        (["Sum of Two", "--name", "A"], "3 to 32 small letters"),
        (["Sum of Two", "--script", "score.py"], "is no file of"),
        (["Sum of Two", "--env", "nothing"], "nothing"),
        (["Sum of Two", "--compute", "nothing"], "no such target"),
        (["Sum of Two", "--memory-gb", "-1"], "memory_gb"),
    ],
)
def test_what_cant_be_is_said_before_anything_starts(amlstore: Amlstore, arguments: list[str], said: str) -> None:
    failed = amlstore("deploy", *arguments)
    assert failed.exit_code != 0
    assert said in failed.err
    assert "Traceback" not in failed.err
    assert amlstore("endpoints").rows[1:] == []
