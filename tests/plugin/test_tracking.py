"""MLflow's fluent functions and client on a workspace, as training scripts use them."""

import json
import math
import os
import pickle
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from fork_server import run_forked
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _get_store

from mlflow_amlstore.core import Workspace
from mlflow_amlstore.plugin.tracking import TrackingStore, tracking_store_of
from mlflow_amlstore.workspace.opening import open_folder


def store_of(workspace: Workspace) -> TrackingStore:
    return tracking_store_of(workspace.get_mlflow_tracking_uri())


def values(run_id: str, key: str) -> list[float]:
    return [metric.value for metric in MlflowClient().get_metric_history(run_id, key)]


def file_paths(run_id: str, folder: str | None = None) -> list[str]:
    return [file.path for file in MlflowClient().list_artifacts(run_id, folder)]


def run_script(workspace: Workspace, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a Python script in a process of its own, tracking into the workspace."""
    variables = {**os.environ, "MLFLOW_TRACKING_URI": workspace.get_mlflow_tracking_uri(), **environment}
    return run_forked(["-c", script], env=variables, check=True)


def test_who_was_told_of_no_experiment_gets_the_one_that_another_process_makes(
    amlstore_workspace: Workspace,
) -> None:
    client, other = MlflowClient(), open_folder(amlstore_workspace.path).records.experiments
    assert client.get_experiment_by_name("iris") is None
    made = other.create("iris")
    assert client.create_experiment("iris") == made
    with pytest.raises(MlflowException, match="already exists"):
        client.create_experiment("iris")

    assert client.get_experiment_by_name("gone") is None
    other.delete(other.create("gone"))
    with pytest.raises(MlflowException, match="already exists"):
        client.create_experiment("gone")


def test_processes_that_set_a_new_experiment_at_once_all_log_into_it(amlstore_workspace: Workspace) -> None:
    script = """
import mlflow
for number in range(20):
    mlflow.set_experiment(f"new {number}")
    with mlflow.start_run():
        pass
"""
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: run_script(amlstore_workspace, script), range(4)))
    names = {found.experiment_id: found.name for found in MlflowClient().search_experiments()}
    logged = Counter(names[run.info.experiment_id] for run in MlflowClient().search_runs(list(names)))
    assert logged == {f"new {number}": 4 for number in range(20)}


@pytest.mark.usefixtures("amlstore_workspace")
class TestFluent:
    def test_a_run_is_finished_when_its_block_ends_and_failed_when_it_raises(self) -> None:
        with mlflow.start_run() as good:
            assert mlflow.get_run(good.info.run_id).info.status == "RUNNING"
        with pytest.raises(KeyError), mlflow.start_run() as bad:
            raise KeyError
        assert mlflow.get_run(good.info.run_id).info.status == "FINISHED"
        assert mlflow.get_run(bad.info.run_id).info.status == "FAILED"

    def test_whoever_submitted_a_run_says_how_it_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run_id = MlflowClient().create_run("0").info.run_id
        monkeypatch.setenv("AZUREML_RUN_ID", run_id)
        with mlflow.start_run(run_id=run_id), mlflow.start_run(nested=True) as child:
            mlflow.log_metric("m", 1)
        assert (mlflow.get_run(run_id).info.status, mlflow.get_run(run_id).info.end_time) == ("RUNNING", None)
        assert mlflow.get_run(child.info.run_id).info.status == "FINISHED"

    def test_nested_runs_know_their_parent(self) -> None:
        with mlflow.start_run(run_name="outer") as outer:
            with mlflow.start_run(run_name="inner", nested=True) as inner:
                mlflow.log_metric("m", 1)
            mlflow.log_metric("m", 2)
        assert mlflow.get_parent_run(inner.info.run_id).info.run_id == outer.info.run_id
        assert mlflow.get_run(inner.info.run_id).data.metrics == {"m": 1.0}
        assert mlflow.get_run(outer.info.run_id).data.metrics == {"m": 2.0}

    def test_a_run_is_resumed_by_its_id(self) -> None:
        with mlflow.start_run() as run:
            mlflow.log_metric("m", 1, step=1)
        with mlflow.start_run(run_id=run.info.run_id):
            mlflow.log_metric("m", 2, step=2)
            assert mlflow.get_run(run.info.run_id).info.status == "RUNNING"
        assert values(run.info.run_id, "m") == [1.0, 2.0]
        assert mlflow.get_run(run.info.run_id).info.status == "FINISHED"

    def test_everything_a_script_logs_is_read_back(self) -> None:
        mlflow.set_experiment("iris")
        with mlflow.start_run(tags={"a": "1"}, description="what it is") as run:
            mlflow.log_param("lr", 0.1)
            mlflow.log_params({"n": 5, "deep": {"x": [1]}})
            mlflow.log_metric("loss", np.float32(0.5), step=3)
            mlflow.log_metrics({"acc": 0.9, "nan": math.nan, "inf": math.inf})
            mlflow.set_tag("b", 2)
            mlflow.set_tags({"c": None})

        found = mlflow.get_run(run.info.run_id)
        assert found.data.params == {"lr": "0.1", "n": "5", "deep": "{'x': [1]}"}
        assert repr(sorted(found.data.metrics.items())) == repr(
            [("acc", 0.9), ("inf", math.inf), ("loss", 0.5), ("nan", math.nan)]
        )
        assert {key: found.data.tags[key] for key in "abc"} == {"a": "1", "b": "2", "c": "None"}
        assert found.data.tags["mlflow.note.content"] == "what it is"
        assert mlflow.get_experiment(found.info.experiment_id).name == "iris"
        assert found.info.artifact_uri.startswith("amlstore:///")

    def test_search_runs_gives_a_table(self) -> None:
        for lr in (0.1, 0.2):
            with mlflow.start_run():
                mlflow.log_param("lr", lr)
                mlflow.log_metric("loss", lr * 10)
        table = mlflow.search_runs(filter_string="metrics.loss > 0", order_by=["metrics.loss DESC"])
        assert table["params.lr"].tolist() == ["0.2", "0.1"]
        assert table["metrics.loss"].tolist() == [2.0, 1.0]

    def test_text_json_tables_figures_and_images_become_files(self) -> None:
        pyplot = pytest.importorskip("matplotlib.pyplot")
        with mlflow.start_run() as run:
            mlflow.log_text("Żółć", "notes/a.txt")
            mlflow.log_dict({"k": [1]}, "b.json")
            mlflow.log_table({"x": [1, 2], "y": ["a", "b"]}, "t.json")
            mlflow.log_table({"x": [3], "y": ["c"]}, "t.json")
            figure, axes = pyplot.subplots()
            axes.plot([1, 2])
            mlflow.log_figure(figure, "f.png")
            pyplot.close(figure)
            mlflow.log_image(np.zeros((4, 4, 3), dtype=np.uint8), "i.png")

        uri = f"runs:/{run.info.run_id}"
        assert file_paths(run.info.run_id) == ["b.json", "f.png", "i.png", "notes", "t.json"]
        assert mlflow.artifacts.load_text(f"{uri}/notes/a.txt") == "Żółć"
        assert mlflow.artifacts.load_dict(f"{uri}/b.json") == {"k": [1]}
        assert mlflow.artifacts.load_image(f"{uri}/i.png").size == (4, 4)
        assert mlflow.load_table("t.json", run_ids=[run.info.run_id])["x"].tolist() == [1, 2, 3]

    def test_images_logged_by_key_and_step_are_files_too(self) -> None:
        with mlflow.start_run() as run:
            mlflow.log_image(np.zeros((4, 4, 3), dtype=np.uint8), key="dogs", step=3)
            if hasattr(mlflow, "flush_artifact_async_logging"):
                mlflow.flush_artifact_async_logging()
        [image] = [path for path in file_paths(run.info.run_id, "images") if path.endswith(".png")]
        assert image.startswith("images/dogs")

    def test_a_dataset_is_an_input_of_the_run(self) -> None:
        table = pd.DataFrame({"x": [1, 2]})
        with mlflow.start_run() as run:
            mlflow.log_input(mlflow.data.from_pandas(table, name="train"), context="training", tags={"v": "1"})
        [given] = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
        assert (given.dataset.name, json.loads(given.dataset.profile)["num_rows"]) == ("train", 2)
        assert {tag.key: tag.value for tag in given.tags} == {"mlflow.data.context": "training", "v": "1"}

    def test_several_datasets_are_logged_at_once(self) -> None:
        if not hasattr(mlflow, "log_inputs"):
            pytest.skip("this MLflow has no log_inputs")
        datasets = [mlflow.data.from_pandas(pd.DataFrame({"x": [n]}), name=f"d{n}") for n in range(3)]
        with mlflow.start_run() as run:
            mlflow.log_inputs(datasets, ["training"] * 3, [None] * 3)
        found = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
        assert [given.dataset.name for given in found] == ["d0", "d1", "d2"]

    def test_autologging_of_sklearn_logs_params_metrics_and_the_model(self) -> None:
        pytest.importorskip("sklearn")
        from sklearn.linear_model import Ridge

        x, y = np.arange(20.0).reshape(10, 2), np.arange(10.0)
        mlflow.sklearn.autolog(silent=True, log_datasets=True)
        try:
            with mlflow.start_run() as run:
                Ridge(alpha=0.5).fit(x, y)
        finally:
            mlflow.sklearn.autolog(disable=True, silent=True)

        found = mlflow.get_run(run.info.run_id)
        assert found.data.params["alpha"] == "0.5"
        assert found.data.metrics["training_r2_score"] > 0.9
        assert [given.dataset.digest for given in found.inputs.dataset_inputs]
        model = mlflow.sklearn.load_model(f"runs:/{run.info.run_id}/model")
        assert model.alpha == 0.5

    def test_clients_in_threads_lose_nothing(self) -> None:
        with mlflow.start_run() as run:
            pass

        def log(worker: int) -> None:
            client = MlflowClient()
            for step in range(50):
                client.log_metric(run.info.run_id, f"m{worker}", step, step=step)
            client.log_param(run.info.run_id, f"p{worker}", worker)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(log, range(8)))
        found = mlflow.get_run(run.info.run_id).data
        assert found.params == {f"p{worker}": str(worker) for worker in range(8)}
        assert [len(values(run.info.run_id, f"m{worker}")) for worker in range(8)] == [50] * 8

    def test_the_list_of_a_runs_models_loses_the_oldest_when_it_gets_too_long(self) -> None:
        store = MlflowClient()._tracking_client.store
        with mlflow.start_run() as run:
            for index in range(40):
                store.record_logged_model(run.info.run_id, mlflow.models.Model(f"model{index}", run.info.run_id))
        text = mlflow.get_run(run.info.run_id).data.tags["mlflow.log-model.history"]
        assert len(text) <= 8000
        assert json.loads(text)[-1]["artifact_path"] == "model39"


class TestAsynchronously:
    def test_what_is_queued_is_there_when_the_run_has_been_flushed(self, amlstore_workspace: Workspace) -> None:
        with mlflow.start_run() as run:
            for step in range(300):
                mlflow.log_metric("m", step, step=step, synchronous=False)
            mlflow.log_params({"p": 1}, synchronous=False)
            mlflow.set_tags({"t": 1}, synchronous=False)
        mlflow.flush_async_logging()
        assert sorted(values(run.info.run_id, "m")) == [float(step) for step in range(300)]
        assert mlflow.get_run(run.info.run_id).data.params == {"p": "1"}
        assert mlflow.get_run(run.info.run_id).data.tags["t"] == "1"

    def test_a_batch_larger_than_one_call_takes_is_split(self, amlstore_workspace: Workspace) -> None:
        metrics = [Metric("m", step, 0, step) for step in range(2000)]
        with mlflow.start_run() as run:
            client = MlflowClient()
            for start in (0, 1000):
                client.log_batch(run.info.run_id, metrics[start : start + 1000], synchronous=False)
            mlflow.log_metrics({f"k{index}": 1.0 for index in range(2000)}, synchronous=False)
            mlflow.flush_async_logging()
        assert len(values(run.info.run_id, "m")) == 2000
        assert len(mlflow.get_run(run.info.run_id).data.metrics) == 2001

    def test_an_error_comes_out_of_wait(self, amlstore_workspace: Workspace) -> None:
        with mlflow.start_run():
            mlflow.log_param("p", 1)
            with pytest.raises(MlflowException, match="Changing param values is not allowed"):
                mlflow.log_param("p", 2, synchronous=False).wait()

    def test_a_process_that_exits_with_a_full_queue_loses_nothing(self, amlstore_workspace: Workspace) -> None:
        script = """
import atexit, mlflow
run = mlflow.start_run()
atexit.register(lambda: mlflow.log_metric("late", 1, synchronous=False))
for step in range(2000):
    mlflow.log_metric("m", step, step=step, synchronous=False)
print(run.info.run_id)
"""
        done = run_script(amlstore_workspace, script)
        run_id = done.stdout.strip()
        assert len(values(run_id, "m")) == 2000
        assert values(run_id, "late") == [1.0]
        assert mlflow.get_run(run_id).info.status == "FINISHED"
        assert "Failed to" not in done.stderr

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_forked_worker_that_exits_loses_nothing_though_its_parent_logged_before(
        self, amlstore_workspace: Workspace
    ) -> None:
        script = """
import multiprocessing, mlflow

def work(run_id):
    client = mlflow.MlflowClient()
    for step in range(200):
        client.log_metric(run_id, "child", step, step=step, synchronous=False)

if __name__ == "__main__":
    with mlflow.start_run() as run:
        mlflow.log_metric("parent", 1, synchronous=False).wait()
        worker = multiprocessing.get_context("fork").Process(target=work, args=(run.info.run_id,))
        worker.start()
        worker.join(30)
        mlflow.log_metric("parent", 2, step=1, synchronous=False)
    print(run.info.run_id, worker.exitcode)
"""
        run_id, exit_code = run_script(amlstore_workspace, script).stdout.split()
        assert exit_code == "0"
        assert len(values(run_id, "child")) == 200
        assert values(run_id, "parent") == [1.0, 2.0]


class TestTrackingUris:
    def test_a_uri_whose_hour_is_over_still_works(self, amlstore_workspace: Workspace) -> None:
        uri = amlstore_workspace.get_mlflow_tracking_uri()
        root, _, query = uri.partition("?")
        assert query.startswith("expires=")
        mlflow.set_tracking_uri(f"{root}?expires=2020-01-01T00:00:00Z")
        with mlflow.start_run() as run:
            mlflow.log_metric("m", 1)
        mlflow.set_tracking_uri(root)
        assert values(run.info.run_id, "m") == [1.0]

    def test_the_active_run_and_what_it_queued_go_on_under_a_renewed_uri(self, amlstore_workspace: Workspace) -> None:
        root = amlstore_workspace.get_mlflow_tracking_uri().partition("?")[0]
        old, new = (f"{root}?expires={year}-01-01T00:00:00Z" for year in (2020, 2090))
        mlflow.set_tracking_uri(old)
        with mlflow.start_run() as run:
            mlflow.log_metric("m", 1, synchronous=False)
            mlflow.set_tracking_uri(new)
            mlflow.log_metric("m", 2, step=1, synchronous=False)
            mlflow.flush_async_logging()
            assert values(run.info.run_id, "m") == [1.0, 2.0]
        assert mlflow.get_run(run.info.run_id).info.status == "FINISHED"

    def test_uris_of_one_workspace_are_one_store(self, amlstore_workspace: Workspace, tmp_path: Path) -> None:
        root = amlstore_workspace.get_mlflow_tracking_uri().partition("?")[0]
        (tmp_path / "link").symlink_to(amlstore_workspace.path)
        uris = [root, f"{root}/", f"{root}?expires=2020-01-01T00:00:00Z", f"amlstore://{tmp_path}/link"]
        assert len({id(_get_store(uri)) for uri in uris}) == 1

    def test_another_workspace_is_another_store(self, amlstore_workspace: Workspace, tmp_path: Path) -> None:
        other = Workspace.create(tmp_path / "other")
        assert store_of(other) is not store_of(amlstore_workspace)
        with mlflow.start_run() as run:
            pass
        with pytest.raises(MlflowException, match="not found"):
            MlflowClient(other.get_mlflow_tracking_uri()).get_run(run.info.run_id)
        other.close()

    def test_a_workspace_deleted_and_made_anew_is_opened_anew(self, tmp_path: Path) -> None:
        import shutil

        first = Workspace.create(tmp_path / "ws")
        MlflowClient(first.get_mlflow_tracking_uri()).create_experiment("iris")
        shutil.rmtree(tmp_path / "ws")
        second = Workspace.create(tmp_path / "ws")
        assert list(second.experiments) == ["Default"]
        second.close()

    @pytest.mark.parametrize(
        ("uri", "problem"),
        [
            ("amlstore:ws", "must be amlstore:///ABSOLUTE/FOLDER, with three slashes"),
            ("amlstore://ws", "must be amlstore:///ABSOLUTE/FOLDER, with three slashes"),
            ("amlstore:///", "must be amlstore:///ABSOLUTE/FOLDER, with three slashes"),
            (
                "amlstore:///no/such/folder",
                r"No workspace in /no/such/folder. Make one with `amlstore init /no/such/folder`",
            ),
            ("amlstore:///etc", "No workspace in /etc. Make one with `amlstore init /etc`, or correct the path"),
            ("amlstore:///tmp?expires=soon", "expires=soon is not a time like"),
            ("amlstore:///tmp#1", "has a '#'; write it as %23"),
            ("amlstore:///a%00b", "must not contain a NUL"),
        ],
    )
    def test_a_uri_that_names_no_workspace_gets_one_clear_error(
        self, amlstore_workspace: Workspace, uri: str, problem: str
    ) -> None:
        mlflow.set_tracking_uri(uri)
        with pytest.raises(MlflowException, match=problem):
            mlflow.search_experiments()
        with pytest.raises(MlflowException, match=problem):
            mlflow.start_run()

    def test_a_folder_with_any_characters_in_its_name_works(self, tmp_path: Path) -> None:
        workspace = Workspace.create(tmp_path / "Żółć 100% [a] #1?x&y=z")
        client = MlflowClient(workspace.get_mlflow_tracking_uri())
        run_id = client.create_run("0").info.run_id
        client.log_text(run_id, "hello", "a b/ż.txt")
        assert [file.path for file in client.list_artifacts(run_id, "a b")] == ["a b/ż.txt"]
        assert Path(client.download_artifacts(run_id, "a b/ż.txt", str(tmp_path))).read_text() == "hello"
        workspace.close()


class TestStore:
    @pytest.fixture
    def store(self, amlstore_workspace: Workspace) -> Iterator[TrackingStore]:
        return store_of(amlstore_workspace)

    def test_a_pickled_store_is_the_same_one_here(self, store: TrackingStore) -> None:
        assert pickle.loads(pickle.dumps(store)) is store

    def test_errors_have_mlflows_codes_and_our_sentence(self, store: TrackingStore) -> None:
        with pytest.raises(MlflowException, match=r"^Run 'gone' not found$") as raised:
            store.get_run("gone")
        assert raised.value.error_code == "RESOURCE_DOES_NOT_EXIST"
        with pytest.raises(MlflowException, match="at most 1000 metrics") as raised:
            store.log_batch("gone", [Metric("m", 1, 0, 0)] * 1001, [], [])
        assert raised.value.error_code == "INVALID_PARAMETER_VALUE"

    def test_a_batch_with_one_bad_entry_leaves_nothing(self, store: TrackingStore) -> None:
        run_id = store.create_run("0", "me", 1, [], "r").info.run_id
        with pytest.raises(MlflowException, match="Invalid value 'a\\?' for tag"):
            store.log_batch(run_id, [Metric("m", 1, 0, 0)], [Param("p", "1")], [RunTag("a?", "1")])
        data = store.get_run(run_id).data
        assert (data.metrics, data.params) == ({}, {})


def test_a_filter_finds_a_param_whose_value_is_an_artifact_uri(amlstore_workspace: Workspace) -> None:
    client = MlflowClient()
    run = client.create_run("0")
    uri = f"{run.info.artifact_uri}/last.ckpt"
    client.log_param(run.info.run_id, "checkpoint", uri)
    for text in (f"params.checkpoint = '{uri}'", f"attributes.artifact_uri = '{run.info.artifact_uri}'"):
        assert [found.info.run_id for found in client.search_runs(["0"], text)] == [run.info.run_id]
