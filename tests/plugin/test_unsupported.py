"""What MLflow's tracking stores can do and ours can't: it is refused clearly, and no training script breaks by it."""

import inspect
import logging
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.abstract_store import AbstractStore

from mlflow_amlstore.core import Workspace
from mlflow_amlstore.plugin.tracking import TrackingStore
from mlflow_amlstore.plugin.unsupported_methods import UnsupportedMethods
from mlflow_amlstore.workspace.opening import create_workspace

# Methods of MLflow's AbstractStore whose own code does the right thing here.
INHERITED_ON_PURPOSE = {
    "log_metric_async", "log_param_async", "set_tag_async", "log_batch_async",  # a queue over `log_batch`
    "end_async_logging", "flush_async_logging", "shut_down_async_logging",
    "search_runs",  # calls `_search_runs`
    "set_model_versions_tags",  # calls `get_logged_model` and `set_logged_model_tags`
    "filter_active_experiment_ids",  # calls `get_experiment`
    "log_spans_async",  # calls `log_spans`, which refuses
    "resolve_trace_archival_config",  # of MLflow's server
    "supports_trace_archival", "supports_workspaces",  # False; these workspaces are MLflow's own, not ours
}  # fmt: skip

needs_tracing = pytest.mark.skipif(not hasattr(mlflow, "trace"), reason="this MLflow has no tracing")
REFUSED = [name for name in dir(UnsupportedMethods) if not name.startswith("_") and hasattr(AbstractStore, name)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingStore]:
    workspace = create_workspace(tmp_path_factory.mktemp("refusing") / "ws")
    yield TrackingStore(workspace.root_uri)
    workspace.close()


def test_every_method_of_mlflows_store_is_implemented_inherited_on_purpose_or_refused() -> None:
    public = {name for name in dir(AbstractStore) if not name.startswith("_")}
    inherited = {name for name in public if getattr(TrackingStore, name) is getattr(AbstractStore, name)}
    forgotten = inherited - INHERITED_ON_PURPOSE
    assert not forgotten, (
        f"MLflow {mlflow.__version__} has store methods that nobody decided on: {', '.join(sorted(forgotten))}. "
        "For each: implement it in plugin/tracking.py, or name it in plugin/unsupported_methods.py under its topic so "
        "that it is refused, or, where MLflow's own code is right for us, add it to INHERITED_ON_PURPOSE here."
    )


def test_no_implemented_method_is_hidden_by_a_refusal() -> None:
    implemented = {
        name
        for base in TrackingStore.__mro__
        if base.__module__.startswith("mlflow_amlstore") and base is not UnsupportedMethods
        for name in vars(base)
    }
    assert implemented.isdisjoint(name for name in dir(UnsupportedMethods) if not name.startswith("_"))


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_method_raises_one_clear_error_whatever_it_is_given(store: TrackingStore, name: str) -> None:
    with pytest.raises(MlflowException, match=rf"\({name}\) is not supported by mlflow-amlstore yet$") as raised:
        getattr(store, name)("anything", keyword=1)
    assert raised.value.error_code == "NOT_IMPLEMENTED"
    assert raised.value.get_http_status_code() == 501
    assert isinstance(raised.value, NotImplementedError)


def test_mlflows_own_not_implemented_error_catches_ours(store: TrackingStore) -> None:
    exceptions = inspect.getmodule(MlflowException)
    kind = getattr(exceptions, "MlflowNotImplementedException", MlflowException)
    with pytest.raises(kind):
        store.get_trace_info("tr-1")


@needs_tracing
class TestTrainingScriptsGoOn:
    @pytest.fixture(autouse=True, params=["true", "false"], ids=["asynchronously", "synchronously"])
    def export(
        self,
        request: pytest.FixtureRequest,
        monkeypatch: pytest.MonkeyPatch,
        amlstore_workspace: Workspace,
        caplog: pytest.LogCaptureFixture,
    ) -> Iterator[None]:
        """Traces exported in either way; whatever becomes of them is a warning at most."""
        monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", request.param)
        reset = getattr(mlflow.tracing, "reset", lambda: None)
        reset()
        logging.getLogger("mlflow").propagate = True
        yield
        if hasattr(mlflow.tracing, "reset"):  # in MLflow 2 flushing fails where nothing was traced
            mlflow.flush_trace_async_logging()
        logging.getLogger("mlflow").propagate = False
        reset()
        assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []

    def test_a_traced_function_returns_its_value_and_its_run_is_logged(self) -> None:
        @mlflow.trace
        def square(x: int) -> int:
            mlflow.log_metric("x", x)
            return x * x

        with mlflow.start_run() as run:
            assert square(3) == 9
        assert mlflow.get_run(run.info.run_id).data.metrics == {"x": 3.0}

    def test_spans_can_be_opened_and_given_attributes(self) -> None:
        with mlflow.start_run(), mlflow.start_span("outer") as outer, mlflow.start_span("inner") as inner:
            outer.set_inputs({"a": 1})
            inner.set_attribute("k", "v")
            inner.set_outputs([1, 2])

    def test_an_error_in_a_traced_function_is_the_one_that_comes_out(self) -> None:
        @mlflow.trace
        def broken() -> None:
            raise KeyError("its own")

        with pytest.raises(KeyError, match="its own"):
            broken()

    def test_autologging_trains_and_logs(self) -> None:
        pytest.importorskip("sklearn")
        from sklearn.linear_model import Ridge

        mlflow.sklearn.autolog(log_models=False, silent=True)
        try:
            with mlflow.start_run() as run:
                Ridge(alpha=0.5).fit(np.eye(4), np.arange(4.0))
        finally:
            mlflow.sklearn.autolog(disable=True)
        assert mlflow.get_run(run.info.run_id).data.params["alpha"] == "0.5"


@needs_tracing
def test_what_asks_for_traces_gets_the_clear_error(amlstore_workspace: Workspace) -> None:
    with pytest.raises(MlflowException, match=r"Tracing \(delete_traces\) is not supported by mlflow-amlstore yet"):
        mlflow.MlflowClient().delete_traces("0", max_timestamp_millis=1)


@needs_tracing
def test_there_are_no_traces_to_find(amlstore_workspace: Workspace) -> None:
    assert mlflow.MlflowClient().search_traces(["0"]) == []


@pytest.mark.skipif(not hasattr(getattr(mlflow, "genai", None), "evaluate"), reason="this MLflow evaluates no agents")
@pytest.mark.parametrize("place", ["amlstore_workspace", "amlstore_service"])
def test_an_evaluation_gives_and_keeps_its_metrics(place: str, request: pytest.FixtureRequest) -> None:
    from mlflow.genai.scorers import scorer

    @scorer
    def is_exact(outputs: str, expectations: dict[str, str]) -> bool:
        return outputs == expectations["answer"]

    opened = request.getfixturevalue(place)
    if place == "amlstore_service":
        mlflow.set_tracking_uri(opened.tracking_uri)
    data = [{"inputs": {"question": str(n)}, "expectations": {"answer": answer}} for n, answer in enumerate("ab")]

    result = mlflow.genai.evaluate(data=data, predict_fn=lambda question: "a", scorers=[is_exact])

    assert result.metrics == {"is_exact/mean": 0.5}
    assert mlflow.get_run(result.run_id).data.metrics == {"is_exact/mean": 0.5}


def test_the_ai_gateway_is_named_in_its_refusal(store: TrackingStore) -> None:
    if not hasattr(AbstractStore, "list_secret_infos"):
        pytest.skip("this MLflow has no AI gateway in its store")
    with pytest.raises(MlflowException, match=r"^The AI gateway \(list_secret_infos\) is not supported"):
        store.list_secret_infos()


def test_evaluation_datasets_are_refused_and_files_still_work(amlstore_workspace: Workspace, tmp_path: Path) -> None:
    if not hasattr(AbstractStore, "create_dataset"):
        pytest.skip("this MLflow has no evaluation datasets")
    store = mlflow.MlflowClient()._tracking_client.store
    with pytest.raises(MlflowException, match="Evaluation datasets"):
        store.create_dataset("d")
    (tmp_path / "a.txt").write_text("a")
    with mlflow.start_run() as run:
        mlflow.log_artifact(tmp_path / "a.txt")
    assert [file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)] == ["a.txt"]
