"""The same MLflow calls on MLflow's own SQLite store and on a workspace, and the same answers from both."""

import dataclasses
import math
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import mlflow
import mlflow.entities
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

from mlflow_amlstore.workspace.opening import create_workspace

if not hasattr(mlflow.entities, "LoggedModel"):
    pytest.skip(
        "a workspace has MLflow 3's rules; MLflow 2 had other limits, orders and error codes", allow_module_level=True
    )

NAN, INF = math.nan, math.inf


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of MLflow's own, which takes seconds to make."""
    folder = tmp_path_factory.mktemp("mlflow")
    MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder / "mlflow.db"


@dataclasses.dataclass
class Both:
    """A client of MLflow's store and one of a workspace. Ids differ between them, so answers have names for ids."""

    theirs: MlflowClient
    ours: MlflowClient

    def answers(self, script: Callable[[MlflowClient], Any]) -> tuple[Any, Any]:
        return tuple(_answer(script, client) for client in (self.theirs, self.ours))

    def agree(self, script: Callable[[MlflowClient], Any]) -> Any:
        """Run the script on both, see that both answer alike, and return that answer."""
        theirs, ours = self.answers(script)
        assert ours == theirs
        return ours


def _answer(script: Callable[[MlflowClient], Any], client: MlflowClient) -> Any:
    try:
        return plain(script(client))
    except MlflowException as error:
        return f"refused: {error.error_code}"


def plain(value: Any) -> Any:
    """An answer without what must differ: ids, addresses and the times that the store itself takes."""
    if isinstance(value, float):
        return repr(value)  # NaN equals NaN here
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in sorted(value.items())}
    if isinstance(value, mlflow.entities.Run):
        return {
            "info": plain(value.info),
            "metrics": plain(sorted(value.data._metric_objs, key=lambda metric: metric.key)),
            "params": plain(value.data.params),
            "tags": plain(value.data.tags),
            "inputs": plain(value.inputs and value.inputs.dataset_inputs),
        }
    if isinstance(value, mlflow.entities.RunInfo):
        shown = {name: getattr(value, name) for name in ("user_id", "status", "start_time", "end_time", "run_name")}
        return {**shown, "lifecycle_stage": value.lifecycle_stage, "has_artifact_uri": bool(value.artifact_uri)}
    if isinstance(value, mlflow.entities.Experiment):
        return {"name": value.name, "tags": plain(value.tags), "lifecycle_stage": value.lifecycle_stage}
    if isinstance(value, Metric):
        return [value.key, repr(value.value), value.timestamp, value.step]
    if isinstance(value, mlflow.entities.metric.MetricWithRunId):
        return [value.key, repr(value.value), value.timestamp, value.step]
    if isinstance(value, DatasetInput):
        return {"dataset": dict(value.dataset), "tags": {tag.key: tag.value for tag in value.tags}}
    if isinstance(value, mlflow.entities._DatasetSummary):
        return [value.name, value.digest, value.context]
    return value


@pytest.fixture
def both(empty_sqlite: Path, tmp_path: Path) -> Iterator[Both]:
    database = shutil.copy(empty_sqlite, tmp_path / "mlflow.db")
    workspace = create_workspace(tmp_path / "ws")
    yield Both(MlflowClient(f"sqlite:///{database}"), MlflowClient(workspace.root_uri))
    workspace.close()


def store_of(client: MlflowClient) -> Any:
    return client._tracking_client.store


def new_run(client: MlflowClient, **more: Any) -> str:
    return client.create_run("0", start_time=1000, run_name="a run", **more).info.run_id


class TestExperiments:
    def test_create_get_tag_rename_delete_and_restore(self, both: Both) -> None:
        def script(client: MlflowClient) -> Any:
            experiment_id = client.create_experiment("iris", tags={"team": "botany"})
            seen = [client.get_experiment(experiment_id), client.get_experiment_by_name("iris")]
            client.set_experiment_tag(experiment_id, "team", "roses")
            client.set_experiment_tag(experiment_id, "n", 5)
            client.rename_experiment(experiment_id, "rose")
            seen += [client.get_experiment(experiment_id), client.get_experiment_by_name("iris")]
            client.delete_experiment(experiment_id)
            seen += [client.get_experiment(experiment_id), client.get_experiment_by_name("rose")]
            client.restore_experiment(experiment_id)
            return [*seen, client.get_experiment(experiment_id)]

        assert [found and found["lifecycle_stage"] for found in both.agree(script)] == [
            "active", "active", "active", None, "deleted", "deleted", "active",
        ]  # fmt: skip

    @pytest.mark.parametrize("name", ["", None, "x" * 500, "x" * 501, 12, "a/b", " "])
    def test_names_that_one_refuses_the_other_refuses_too(self, both: Both, name: str) -> None:
        both.agree(lambda client: client.rename_experiment(client.create_experiment("other"), name))
        both.agree(lambda client: client.get_experiment(client.create_experiment(f"{name}2" if name else name)))

    def test_a_taken_name_is_called_so_where_mlflow_only_says_bad_request(self, both: Both) -> None:
        assert both.answers(lambda client: client.rename_experiment(client.create_experiment("other"), "Default")) == (
            "refused: BAD_REQUEST",
            "refused: RESOURCE_ALREADY_EXISTS",
        )

    @pytest.mark.parametrize(
        ("key", "value"), [("a", "x" * 5001), ("a", "x" * 20_001), ("", "1"), ("a?", "1"), ("a", 1)]
    )
    def test_tags_that_one_refuses_the_other_refuses_too(self, both: Both, key: str, value: str) -> None:
        def script(client: MlflowClient) -> Any:
            client.set_experiment_tag("0", key, value)
            return client.get_experiment("0")

        both.agree(script)

    def test_what_is_deleted_refuses_alike(self, both: Both) -> None:
        def script(client: MlflowClient) -> Any:
            experiment_id = client.create_experiment("iris")
            client.delete_experiment(experiment_id)
            return [
                _answer(lambda client, call=call: call(client), client)
                for call in (
                    lambda client: client.create_experiment("iris"),
                    lambda client: client.rename_experiment(experiment_id, "x"),
                    lambda client: client.set_experiment_tag(experiment_id, "a", "1"),
                    lambda client: client.delete_experiment(experiment_id),
                    lambda client: client.create_run(experiment_id),
                    lambda client: client.restore_experiment("0"),
                    lambda client: client.get_experiment("99"),
                    lambda client: client.delete_experiment("99"),
                    lambda client: client.get_experiment("x"),
                )
            ]

        assert all(answer.startswith("refused: ") for answer in both.agree(script))

    def test_runs_follow_their_experiment(self, both: Both) -> None:
        def script(client: MlflowClient) -> Any:
            experiment_id = client.create_experiment("iris")
            runs = [client.create_run(experiment_id, run_name=name).info.run_id for name in ("kept", "deleted before")]
            client.delete_run(runs[1])
            client.delete_experiment(experiment_id)
            stages = [client.get_run(run_id).info.lifecycle_stage for run_id in runs]
            client.restore_experiment(experiment_id)
            return stages + [client.get_run(run_id).info.lifecycle_stage for run_id in runs]

        assert both.agree(script) == ["deleted", "deleted", "active", "active"]


class TestRuns:
    def test_a_whole_life_of_a_run(self, both: Both) -> None:
        def script(client: MlflowClient) -> Any:
            run_id = new_run(client, tags={"a": "1"})
            client.log_param(run_id, "lr", 0.1)
            client.log_metric(run_id, "loss", 0.5, timestamp=5, step=1)
            client.log_metric(run_id, "loss", 0.25, timestamp=6, step=2)
            client.log_batch(run_id, [Metric("acc", 0.9, 7, 3)], [Param("n", "5")], [RunTag("b", "2")])
            client.set_tag(run_id, "a", 2)
            client.delete_tag(run_id, "b")
            client.update_run(run_id, name="renamed")
            client.set_terminated(run_id, "FAILED", end_time=2000)
            return client.get_run(run_id)

        answer = both.agree(script)
        assert (answer["info"]["run_name"], answer["info"]["status"]) == ("renamed", "FAILED")
        assert answer["metrics"] == [["acc", "0.9", 7, 3], ["loss", "0.25", 6, 2]]

    @pytest.mark.parametrize("status", ["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED", None])
    def test_every_status(self, both: Both, status: str) -> None:
        def script(client: MlflowClient) -> Any:
            run_id = new_run(client)
            client.update_run(run_id, status=status)
            info = client.get_run(run_id).info
            client.set_terminated(run_id, status, end_time=5)
            return [info, client.get_run(run_id).info]

        both.agree(script)

    def test_names_and_tags(self, both: Both) -> None:
        def script(client: MlflowClient) -> Any:
            tagged = client.create_run("0", start_time=1, tags={"mlflow.runName": "tagged"}).info.run_id
            seen = [client.get_run(tagged)]
            client.update_run(tagged, name="updated")
            seen += [client.get_run(tagged)]
            client.set_tag(tagged, "mlflow.runName", "set")
            seen += [client.get_run(tagged)]
            client.log_batch(tagged, tags=[RunTag("mlflow.runName", "batched")])
            return [*seen, client.get_run(tagged)]

        assert [run["info"]["run_name"] for run in both.agree(script)] == ["tagged", "updated", "set", "batched"]

    def test_two_names_are_refused_alike(self, both: Both) -> None:
        both.agree(lambda client: client.create_run("0", run_name="a", tags={"mlflow.runName": "b"}))

    def test_a_deleted_run_refuses_alike_and_comes_back(self, both: Both) -> None:
        def script(client: MlflowClient) -> Any:
            run_id = new_run(client)
            client.set_tag(run_id, "a", "1")
            client.delete_run(run_id)
            refusals = [
                _answer(lambda client, call=call: call(client), client)
                for call in (
                    lambda client: client.log_metric(run_id, "m", 1.0),
                    lambda client: client.log_param(run_id, "p", "1"),
                    lambda client: client.set_tag(run_id, "a", "2"),
                    lambda client: client.delete_tag(run_id, "a"),
                    lambda client: client.log_batch(run_id, [Metric("m", 1, 0, 0)]),
                    lambda client: client.update_run(run_id, name="x"),
                    lambda client: client.set_terminated(run_id),
                )
            ]
            seen = client.get_run(run_id)
            client.delete_run(run_id)
            client.restore_run(run_id)
            client.restore_run(run_id)
            return [refusals, seen, client.get_run(run_id)]

        refusals, deleted, restored = both.agree(script)
        assert set(refusals) == {"refused: INVALID_PARAMETER_VALUE"}
        assert (deleted["info"]["lifecycle_stage"], restored["info"]["lifecycle_stage"]) == ("deleted", "active")

    def test_an_unknown_run_is_refused_alike(self, both: Both) -> None:
        for call in (
            lambda client: client.get_run("0" * 32),
            lambda client: client.log_metric("0" * 32, "m", 1.0),
            lambda client: client.log_batch("0" * 32, [Metric("m", 1, 0, 0)]),
            lambda client: client.set_tag("0" * 32, "a", "1"),
            lambda client: client.delete_tag("0" * 32, "a"),
            lambda client: client.delete_run("0" * 32),
            lambda client: client.restore_run("0" * 32),
            lambda client: client.delete_tag(new_run(client), "nothing"),
        ):
            assert both.agree(call) == "refused: RESOURCE_DOES_NOT_EXIST"
        both.agree(lambda client: client.get_run("../x"))
        both.agree(lambda client: client.log_batch("../x", [Metric("m", 1, 0, 0)]))

    def test_nested_runs_are_found_by_their_parents_tag(self, both: Both) -> None:
        def script(client: MlflowClient) -> Any:
            parent = new_run(client)
            for index in range(3):
                tags = {"mlflow.parentRunId": parent}
                client.create_run("0", start_time=index + 1, run_name=f"child {index}", tags=tags)
            found = client.search_runs(["0"], f"tags.mlflow.parentRunId = '{parent}'", order_by=["start_time ASC"])
            return [run.info.run_name for run in found]

        assert both.agree(script) == ["child 0", "child 1", "child 2"]

    def test_deleted_and_active_runs_are_told_apart(self, both: Both) -> None:
        def script(client: MlflowClient) -> Any:
            for name in ("a", "b"):
                client.create_run("0", run_name=name, start_time=1)
            [b] = client.search_runs(["0"], "attributes.run_name = 'b'")
            client.delete_run(b.info.run_id)
            views = (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL)
            return [
                sorted(run.info.run_name for run in client.search_runs(["0"], run_view_type=view)) for view in views
            ]

        assert both.agree(script) == [["a"], ["b"], ["a", "b"]]


class TestParamsAndTags:
    @pytest.mark.parametrize("cut", ["true", "false"])
    @pytest.mark.parametrize("length", [6000, 6001, 8000, 8001])
    def test_values_too_long_are_cut_or_refused_as_mlflow_is_told(
        self, both: Both, monkeypatch: pytest.MonkeyPatch, cut: str, length: int
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRUNCATE_LONG_VALUES", cut)
        value = "ż" * length
        for call in (
            lambda client, run_id: client.log_param(run_id, "p", value),
            lambda client, run_id: client.log_batch(run_id, params=[Param("p", value)]),
            lambda client, run_id: client.set_tag(run_id, "t", value),
            lambda client, run_id: client.log_batch(run_id, tags=[RunTag("t", value)]),
        ):

            def script(client: MlflowClient, call: Callable[[MlflowClient, str], Any] = call) -> Any:
                run_id = new_run(client)
                refusal = _answer(lambda client: call(client, run_id), client)
                data = client.get_run(run_id).data
                return [refusal, data.params, {key: tag for key, tag in data.tags.items() if key == "t"}]

            both.agree(script)

    def test_a_param_changed_is_refused_alike_and_the_first_stays(self, both: Both) -> None:
        def script(client: MlflowClient) -> Any:
            run_id = new_run(client)
            client.log_param(run_id, "p", 1)
            client.log_param(run_id, "p", "1")
            refusals = [
                _answer(lambda client: client.log_param(run_id, "p", 2), client),
                _answer(lambda client: client.log_batch(run_id, params=[Param("q", "1"), Param("p", "2")]), client),
                _answer(lambda client: client.log_batch(run_id, params=[Param("r", "1"), Param("r", "1")]), client),
            ]
            return [refusals, client.get_run(run_id).data.params]

        refusals, params = both.agree(script)
        assert (set(refusals), params) == ({"refused: INVALID_PARAMETER_VALUE"}, {"p": "1"})

    @pytest.mark.parametrize(
        "key", ["a/b", "a b", "a:b", "ż", "", "a?", "/a", "../a", "a//b", ".", "x" * 250, "x" * 251]
    )
    def test_keys_that_one_refuses_the_other_refuses_too(self, both: Both, key: str) -> None:
        for call in (
            lambda client, run_id: client.log_metric(run_id, key, 1.0, timestamp=1),
            lambda client, run_id: client.log_param(run_id, key, "1"),
            lambda client, run_id: client.set_tag(run_id, key, "1"),
            lambda client, run_id: client.log_batch(run_id, [Metric(key, 1.0, 0, 0)]),
        ):

            def script(client: MlflowClient, call: Callable[[MlflowClient, str], Any] = call) -> Any:
                run_id = new_run(client)
                return [_answer(lambda client: call(client, run_id), client), client.get_run(run_id)]

            both.agree(script)


VALUES = [0.0, -1.5, 3, True, NAN, 1e308, "1.5", "one", None, np.float32(0.5), np.int64(7), Fraction(1, 2)]


class TestMetrics:
    @pytest.mark.parametrize("value", VALUES)
    def test_values_that_one_refuses_the_other_refuses_too(self, both: Both, value: Any) -> None:
        def by_call(client: MlflowClient) -> Any:
            run_id = new_run(client)
            client.log_metric(run_id, "m", value, timestamp=1)
            return client.get_metric_history(run_id, "m")

        def by_batch(client: MlflowClient) -> Any:
            run_id = new_run(client)
            client.log_batch(run_id, [Metric("m", value, 1, 0)])
            return client.get_metric_history(run_id, "m")

        def by_store(client: MlflowClient) -> Any:
            run_id = new_run(client)
            store_of(client).log_batch(run_id, [Metric("m", value, 1, 0)], [], [])
            store_of(client).log_metric(run_id, Metric("m", value, 1, 1))
            return client.get_metric_history(run_id, "m")

        both.agree(by_call)
        both.agree(by_batch)
        both.agree(by_store)

    def test_infinities_stay_infinite_where_mlflow_makes_them_its_largest_number(self, both: Both) -> None:
        def script(client: MlflowClient) -> Any:
            run_id = new_run(client)
            client.log_batch(run_id, [Metric("m", INF, 1, 0), Metric("m", -INF, 1, 1)])
            return [metric.value for metric in client.get_metric_history(run_id, "m")]

        assert both.answers(script) == (
            ["1.7976931348623157e+308", "-1.7976931348623157e+308"],
            ["inf", "-inf"],
        )

    @pytest.mark.parametrize(
        ("timestamp", "step"), [(-1, 0), ("1", 0), (None, 0), (1, "0"), (1, None), (1, -5), (1, 2**63), (2**62, 2**62)]
    )
    def test_steps_and_times_that_one_refuses_the_other_refuses_too(
        self, both: Both, timestamp: int, step: int
    ) -> None:
        def script(client: MlflowClient) -> Any:
            run_id = new_run(client)
            client.log_batch(run_id, [Metric("m", 1.0, timestamp, step)])
            return client.get_metric_history(run_id, "m")

        if step == 2**63:  # MLflow's store fails with an OverflowError
            assert _answer(script, both.ours) == "refused: INVALID_PARAMETER_VALUE"
            return
        both.agree(script)

    def test_batches_too_large_are_refused_alike(self, both: Both) -> None:
        def script(client: MlflowClient) -> Any:
            run_id = new_run(client)
            store, sizes = store_of(client), []
            for metrics, params, tags in [(1001, 0, 0), (0, 101, 0), (0, 0, 101), (900, 50, 51), (900, 50, 50)]:
                batch = (
                    [Metric(f"m{index}", 1.0, 0, 0) for index in range(metrics)],
                    [Param(f"p{index}", "1") for index in range(params)],
                    [RunTag(f"t{index}", "1") for index in range(tags)],
                )
                sizes.append(_answer(lambda _, batch=batch: store.log_batch(run_id, *batch), client))
            return [sizes, len(client.get_run(run_id).data.metrics)]

        assert both.agree(script) == [["refused: INVALID_PARAMETER_VALUE"] * 4 + [None], 900]

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        batches=st.lists(
            st.lists(
                st.builds(
                    Metric,
                    key=st.sampled_from(["a", "b/c"]),
                    value=st.sampled_from([0.0, 1.0, -1.0, 0.1, NAN]),
                    timestamp=st.integers(0, 3),
                    step=st.integers(-2, 3),
                ),
                max_size=12,
            ),
            max_size=4,
        )
    )
    def test_any_sequence_of_batches_gives_the_same_latest_points_and_histories(
        self, both: Both, batches: list[list[Metric]]
    ) -> None:
        def script(client: MlflowClient) -> Any:
            run_id = new_run(client)
            for batch in batches:
                client.log_batch(run_id, batch)
            # At one time, step and value MLflow's order is undefined between NaN, which it keeps as 0, and 0.
            histories = [sorted(plain(client.get_metric_history(run_id, key))) for key in ("a", "b/c")]
            return [client.get_run(run_id), histories]

        both.agree(script)

    def points(self, client: MlflowClient) -> list[str]:
        """Two runs with 60 points of `m`, several at a step, and a third without."""
        runs = [client.create_run("0", start_time=1, tags={"n": str(index)}).info.run_id for index in range(3)]
        for run_id in runs[:2]:
            points = [Metric("m", NAN if step == 0 else (step * 7) % 11, 100 - step, step // 3) for step in range(60)]
            client.log_batch(run_id, points)
        return runs

    def test_histories_of_many_runs(self, both: Both) -> None:
        def script(client: MlflowClient) -> Any:
            runs, store = self.points(client), store_of(client)
            return [
                len({metric.run_id for metric in store.get_metric_history_bulk(runs, "m", 1000)}),
                store.get_metric_history_bulk(runs, "m", 1000),
                store.get_metric_history_bulk(runs, "m", 7),
                store.get_metric_history_bulk(runs[2:], "m", 7),
                store.get_metric_history_bulk(runs, "nothing", 7),
            ]

        answer = both.agree(script)
        assert [answer[0], *map(len, answer[1:])] == [2, 120, 7, 0, 0]

    def test_history_at_steps(self, both: Both) -> None:
        def script(client: MlflowClient) -> Any:
            run_id, store = self.points(client)[0], store_of(client)
            return [
                store.get_metric_history_bulk_interval_from_steps(run_id, "m", [0, 5, 99], 100),
                store.get_metric_history_bulk_interval_from_steps(run_id, "m", [0, 5, 99], 4),
                store.get_metric_history_bulk_interval_from_steps(run_id, "m", [], 4),
            ]

        assert list(map(len, both.agree(script))) == [6, 4, 0]

    def test_history_sampled_over_an_interval(self, both: Both) -> None:
        def script(client: MlflowClient) -> Any:
            runs, store = self.points(client), store_of(client)
            return [
                store.get_metric_history_bulk_interval(runs, "m", count, *interval)
                for count in (0, 1, 2, 7, 59, 60, 61, 1000)
                for interval in ((None, None), (5, 9), (19, 19), (30, 40))
            ]

        both.agree(script)
        both.agree(lambda client: store_of(client).get_metric_history_bulk_interval(["x"], "m", 1, 1, None))

    def test_the_highest_step(self, both: Both) -> None:
        both.agree(lambda client: [store_of(client).get_max_step_for_metric(run, "m") for run in self.points(client)])

    def test_history_in_pages(self, both: Both) -> None:
        def script(client: MlflowClient) -> Any:
            run_id, store, pages = self.points(client)[0], store_of(client), []
            token = None
            while token or not pages:
                page = store.get_metric_history(run_id, "m", max_results=25, page_token=token)
                pages.append(page)
                token = page.token
            return pages

        assert list(map(len, both.agree(script))) == [25, 25, 10]


def used(name: str, digest: str, context: str | None = None, **more: str) -> DatasetInput:
    tags = [InputTag("mlflow.data.context", context)] if context else []
    return DatasetInput(Dataset(name, digest, more.get("source_type", "local"), "here", schema="{}"), tags)


class TestInputs:
    def test_datasets_of_runs_and_of_experiments(self, both: Both) -> None:
        def script(client: MlflowClient) -> Any:
            one, other = new_run(client), new_run(client)
            client.log_inputs(one, [used("iris", "1", "training"), used("rose", "1")])
            client.log_inputs(one, [used("iris", "1", "test"), used("iris", "2", "test")])
            client.log_inputs(other, [used("iris", "1", "test")])
            summaries = plain(store_of(client)._search_datasets(["0"]))
            by_name = lambda run: sorted(plain(run)["inputs"], key=lambda given: list(given["dataset"].values()))  # noqa: E731
            return [by_name(client.get_run(run_id)) for run_id in (one, other)] + [sorted(summaries, key=str)]

        one, other, summaries = both.agree(script)
        assert [len(one), len(other), len(summaries)] == [3, 1, 4]
        assert other[0]["tags"] == {"mlflow.data.context": "test"}

    @pytest.mark.parametrize(
        "given",
        [
            used("x" * 501, "1"),
            used("x", "1" * 37),
            used("x", "1", "c" * 501),
            DatasetInput(Dataset("x", "1", "local", "s" * 65_536), []),
            DatasetInput(Dataset(None, "1", "local", "s"), []),
        ],
    )
    def test_datasets_that_one_refuses_the_other_refuses_too(self, both: Both, given: DatasetInput) -> None:
        assert both.agree(lambda client: client.log_inputs(new_run(client), [given])).startswith("refused: ")

    def test_logged_models_in_and_out(self, both: Both) -> None:
        from mlflow.entities import LoggedModelInput, LoggedModelOutput

        def script(client: MlflowClient) -> Any:
            run_id = new_run(client)
            models = [client.create_logged_model("0", name=name).model_id for name in ("a", "b")]
            client.log_inputs(run_id, models=[LoggedModelInput(models[0])])
            client.log_outputs(run_id, [LoggedModelOutput(models[1], step=3)])
            run = client.get_run(run_id)
            return [
                [models.index(given.model_id) for given in run.inputs.model_inputs],
                [(models.index(given.model_id), given.step) for given in run.outputs.model_outputs],
            ]

        assert both.agree(script) == [[0], [[1, 3]]]
