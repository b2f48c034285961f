"""The fixtures `amlstore_workspace` and `amlstore_service`, used by a pytest of its own in another process."""

import re
import time
from pathlib import Path

import pytest
from fork_server import run_forked

from mlflow_amlstore.pytest_plugin import AmlstoreService

CHANGES_EVERYTHING = """
import os

import mlflow
import pytest
from mlflow.tracking import fluent
from mlflow.tracking._model_registry import utils as registry
from mlflow.tracking._tracking_service import utils as tracking


def remembered(name):
    kept = getattr(fluent, name, None)
    return kept.get() if hasattr(kept, "get") else kept


def state():
    fixed = {name: value for name, value in os.environ.items() if "MLFLOW" in name}
    return {
        **fixed,
        "tracking": tracking._tracking_uri,
        "registry": registry._registry_uri,
        "experiment": fluent._active_experiment_id,
        "active run": (run := mlflow.active_run()) and run.info.run_id,
        "last run": remembered("_last_active_run_id"),
        "active model": mlflow.get_active_model_id() if hasattr(mlflow, "get_active_model_id") else None,
        "last model": remembered("_last_logged_model_id"),
    }


@pytest.fixture
def put_back():
    before = state()
    yield before
    assert state() == before


def log_into(workspace):
    assert mlflow.active_run() is None
    assert mlflow.last_active_run() is None
    assert mlflow.get_tracking_uri() == workspace.get_mlflow_tracking_uri()
    assert mlflow.get_registry_uri() == workspace.get_mlflow_tracking_uri()
    assert [experiment.name for experiment in mlflow.search_experiments()] == ["Default"]
    mlflow.set_experiment("inside")
    with mlflow.start_run():
        mlflow.log_metric("loss", 0.5)
    if hasattr(mlflow, "set_active_model"):
        mlflow.set_active_model(name="model-inside")
    mlflow.start_run()
    mlflow.start_run(nested=True)  # two runs are left active
    os.environ["MLFLOW_RUN_ID"] = "left behind"
    assert len(mlflow.search_runs(output_format="list")) == 3


def test_in_a_fresh_process(put_back, amlstore_workspace):
    log_into(amlstore_workspace)


@pytest.fixture
def user_with_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "sqlite:///registry.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_experiment("outside")
    with mlflow.start_run():
        yield
    mlflow.set_tracking_uri(None)


def test_inside_a_run_of_the_user(user_with_a_run, put_back, amlstore_workspace):
    assert put_back["active run"] is not None
    assert "MLFLOW_REGISTRY_URI" in put_back
    log_into(amlstore_workspace)


def test_that_fails(put_back, amlstore_workspace):
    mlflow.start_run()
    raise RuntimeError("the test's own")
"""

ENDS_RUNS = """
import mlflow
import pytest
from mlflow_amlstore.core import Workspace


@pytest.fixture
def afterwards(tmp_path):
    yield
    workspace = Workspace.from_config(tmp_path / "workspace")
    uri = workspace.get_mlflow_tracking_uri()
    runs = mlflow.MlflowClient(uri, uri).search_runs(["0"])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]


def test_leaves_runs_active(afterwards, amlstore_workspace):
    mlflow.start_run()
    mlflow.start_run(nested=True)
"""

EMPTY_EACH_TIME = """
import mlflow
import pytest


@pytest.mark.parametrize("number", range(10))
def test_logs(amlstore_workspace, number):
    mlflow.log_metric("loss", number)
    assert len(mlflow.search_runs(output_format="list")) == 1
"""


SERVICE = """
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

LOG = "import mlflow; mlflow.log_metric('loss', 0.5); print('points', len(mlflow.search_runs()))"


@pytest.fixture
def put_back():
    before = dict(os.environ), mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    yield
    after = dict(os.environ), mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    assert {**before[0], "PYTEST_CURRENT_TEST": ""} == {**after[0], "PYTEST_CURRENT_TEST": ""}
    assert before[1:] == after[1:]


@pytest.fixture
def ended():
    running = []
    yield running
    (process,) = running
    assert process.poll() == 0


@pytest.mark.parametrize("number", range(2))
def test_of_one_test_alone(put_back, ended, amlstore_service, number, tmp_path):
    ended.append(amlstore_service.process)
    assert mlflow.get_tracking_uri() == amlstore_service.tracking_uri
    assert mlflow.search_runs().empty
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 0.5)
        mlflow.log_text("note", "note.txt")
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/note.txt") == "note"
    assert (amlstore_service.folder / "records.db").is_relative_to(tmp_path)
    assert not list((Path.home() / ".local/state/amlstore/services").glob(f"*_{amlstore_service.url[-5:]}.json"))


@pytest.mark.parametrize("with_plugin", [True, False])
def test_with_client_processes(amlstore_service, with_plugin):
    environment = amlstore_service.environment
    if not with_plugin:
        environment["MLFLOW_TRACKING_URI"] = amlstore_service.url
        environment["MLFLOW_TRACKING_TOKEN"] = amlstore_service.token
    done = subprocess.run([sys.executable, "-c", LOG], env=environment, capture_output=True, text=True)
    assert "points 1" in done.stdout.splitlines(), done.stderr
    assert len(mlflow.search_runs()) == 1


def test_killed_and_started_again(amlstore_service):
    url, key = amlstore_service.url, amlstore_service.key
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 0.5)
        amlstore_service.kill()
        amlstore_service.start()
        assert (amlstore_service.url, amlstore_service.key) == (url, key)
        mlflow.log_metric("loss", 0.25)
    assert mlflow.get_run(run.info.run_id).data.metrics == {"loss": 0.25}
"""


def _run(pytester: pytest.Pytester, source: str, *arguments: str) -> pytest.RunResult:
    """Run a file's tests as `pytest` in its folder does."""
    pytester.makepyfile(source)
    command = ["-m", "pytest", "-p", "no:cacheprovider", "--basetemp", pytester.path / "temporary", *arguments]
    began_s = time.monotonic()
    done = run_forked(command, cwd=pytester.path)
    lines = done.stdout.splitlines(), done.stderr.splitlines()
    return pytest.RunResult(done.returncode, *lines, time.monotonic() - began_s)


def test_mlflow_is_put_back_as_it_was(pytester: pytest.Pytester) -> None:
    result = _run(pytester, CHANGES_EVERYTHING)
    result.assert_outcomes(passed=2, failed=1)  # and no errors, which is how a failed teardown counts
    result.stdout.fnmatch_lines(["*RuntimeError: the test's own*"])


def test_runs_left_active_are_ended(pytester: pytest.Pytester) -> None:
    _run(pytester, ENDS_RUNS).assert_outcomes(passed=1)


def test_every_test_has_an_empty_workspace(pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints what the fixture takes; the time decides nothing, since it depends on the machine."""
    result = _run(pytester, EMPTY_EACH_TIME, "-vv", "--durations=0", "--durations-min=0")
    result.assert_outcomes(passed=10)
    seconds = dict.fromkeys(range(1, 10), 0.0)  # without number 0, which imports MLflow
    for line in result.outlines:
        if found := re.match(r"([\d.]+)s (?:setup|teardown) .*\[([1-9])\]", line):
            seconds[int(found[2])] += float(found[1])
    with capsys.disabled():
        print(
            f"\namlstore_workspace: {sorted(seconds.values())[4] * 1000:.0f} ms to set up and tear down (median of 9)"
        )


def test_a_service_is_each_tests_own(pytester: pytest.Pytester) -> None:
    _run(pytester, SERVICE).assert_outcomes(passed=5)


def test_a_service_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "thesis.tex").touch()
    service = AmlstoreService(tmp_path)
    with pytest.raises(RuntimeError, match="No workspace in"):
        service.start()
    assert service.process is None
    service.stop()


def test_it_is_listed_with_its_purpose(pytester: pytest.Pytester) -> None:
    result = _run(pytester, "", "--fixtures", "-q")
    result.stdout.fnmatch_lines(["amlstore_workspace*", "*An empty workspace in `tmp_path`*"])
    result.stdout.fnmatch_lines(["amlstore_service*", "*A service of an empty workspace in `tmp_path`*"])
