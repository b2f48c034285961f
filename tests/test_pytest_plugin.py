"""The fixture `amlstore_workspace`, used by a pytest of its own in another process, as by a user."""

import re

import pytest

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


def _run(pytester: pytest.Pytester, source: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(source)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)


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


def test_it_is_listed_with_its_purpose(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--fixtures", "-q")
    result.stdout.fnmatch_lines(["amlstore_workspace*", "*An empty workspace in `tmp_path`*"])
