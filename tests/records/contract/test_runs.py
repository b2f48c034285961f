"""Runs of any record store: lifecycle, params, properties, tags and child runs."""

from typing import TYPE_CHECKING, Any

import pytest

from mlflow_amlstore.errors import AlreadyExists, Changed, Deleted, InvalidValue, NotFound, PageTokenInvalid
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import RunError, RunFilter, RunStatus, View

if TYPE_CHECKING:
    from tests.records.contract.conftest import Clock

NAME_TAG = "mlflow.runName"
PARENT_TAG = "mlflow.parentRunId"


class TestLifecycle:
    def test_a_run_has_what_it_was_created_with(self, records: RecordStore, clock: "Clock") -> None:
        created = records.runs.create("0", run_id="my-run_1", name="first", user_id="ann", start_ms=5, tags={"a": "1"})

        assert records.runs.get("my-run_1") == created
        info = created.info
        assert (info.run_id, info.experiment_id, info.name, info.user_id) == ("my-run_1", "0", "first", "ann")
        assert (info.status, info.created_ms, info.start_ms, info.end_ms) == (RunStatus.RUNNING, clock(), 5, None)
        assert created.tags == {"a": "1", NAME_TAG: "first"}
        assert (created.metrics, created.params, created.properties) == ([], {}, {})
        assert (created.datasets, created.models) == ([], [])

    def test_ids_and_names_are_made_up_where_none_are_given(self, records: RecordStore) -> None:
        one, other = records.runs.create("0"), records.runs.create("0")
        assert one.info.run_id != other.info.run_id
        assert len(one.info.run_id) == 32
        assert one.info.name
        assert one.tags == {NAME_TAG: one.info.name}

    @pytest.mark.parametrize("run_id", ["", "-x", "a/b", "..", "a b", "x" * 257, 7])
    def test_a_bad_id_is_refused(self, records: RecordStore, run_id: str) -> None:
        with pytest.raises(InvalidValue, match="run_id"):
            records.runs.create("0", run_id=run_id)

    def test_an_id_is_given_once_even_to_a_deleted_run(self, records: RecordStore, run_id: str) -> None:
        records.runs.delete(run_id)
        with pytest.raises(AlreadyExists, match=f"Run '{run_id}' already exists"):
            records.runs.create("0", run_id=run_id)

    def test_a_run_needs_an_experiment_that_exists(self, records: RecordStore) -> None:
        with pytest.raises(NotFound, match="Experiment '99' not found"):
            records.runs.create("99")

    @pytest.mark.parametrize("status", RunStatus)
    def test_every_status_is_kept(self, records: RecordStore, status: RunStatus) -> None:
        run_id = records.runs.create("0", status=status).info.run_id
        assert records.runs.get(run_id).info.status is status

    def test_a_run_goes_from_running_to_completed(self, records: RecordStore, run_id: str) -> None:
        updated = records.runs.update(run_id, status=RunStatus.COMPLETED, end_ms=9)
        assert (updated.status, updated.end_ms) == (RunStatus.COMPLETED, 9)
        assert records.runs.get(run_id).info == updated

    def test_an_update_changes_only_what_is_given(self, records: RecordStore, run_id: str) -> None:
        before = records.runs.update(run_id, status=RunStatus.FAILED, end_ms=9, name="kept")
        assert records.runs.update(run_id) == before

    @pytest.mark.parametrize("moment", [2**63, "now", float("nan"), True])
    def test_a_bad_time_is_refused(self, records: RecordStore, run_id: str, moment: int) -> None:
        with pytest.raises(InvalidValue, match="end time"):
            records.runs.update(run_id, end_ms=moment)
        with pytest.raises(InvalidValue, match="start time"):
            records.runs.create("0", start_ms=moment)

    def test_a_deleted_run_can_be_read_and_restored_but_takes_no_writes(
        self, records: RecordStore, run_id: str, clock: "Clock"
    ) -> None:
        records.runs.log(run_id, tags=[("a", "1")])
        records.runs.delete(run_id)

        assert records.runs.get(run_id).info.deleted_ms == clock()
        assert records.runs.search(["0"]).items == []
        assert [run.info.run_id for run in records.runs.search(["0"], view=View.DELETED).items] == [run_id]
        for write in (
            lambda: records.runs.update(run_id, name="x"),
            lambda: records.runs.log(run_id, tags=[("a", "2")]),
            lambda: records.runs.delete_tag(run_id, "a"),
            lambda: records.runs.add_properties(run_id, {"p": "1"}),
            lambda: records.runs.log_inputs(run_id),
        ):
            with pytest.raises(Deleted, match="must be in the 'active' state to be changed"):
                write()

        records.runs.restore(run_id)
        assert records.runs.get(run_id).info.deleted_ms is None
        assert records.runs.get(run_id).tags["a"] == "1"

    def test_an_unknown_run_is_not_found(self, records: RecordStore) -> None:
        for call in (
            lambda: records.runs.get("gone"),
            lambda: records.runs.update("gone", name="x"),
            lambda: records.runs.delete("gone"),
            lambda: records.runs.restore("gone"),
            lambda: records.runs.log("gone"),
            lambda: records.runs.delete_tag("gone", "a"),
            lambda: records.runs.add_properties("gone", {}),
            lambda: records.runs.log_inputs("gone"),
        ):
            with pytest.raises(NotFound, match="Run 'gone' not found"):
                call()

    def test_files_of_a_run_lie_where_its_experiment_says(self, records: RecordStore) -> None:
        experiment_id = records.experiments.create("remote", artifact_location="s3://bucket/x/")
        records.runs.create(experiment_id, run_id="there")
        assert records.runs.get("there").info.artifact_location == "s3://bucket/x/there/artifacts"


class TestNames:
    def test_the_name_and_its_tag_always_agree(self, records: RecordStore) -> None:
        run_id = records.runs.create("0", tags={NAME_TAG: "tagged"}).info.run_id
        assert records.runs.get(run_id).info.name == "tagged"

        records.runs.update(run_id, name="renamed")
        assert records.runs.get(run_id).tags[NAME_TAG] == "renamed"

        records.runs.log(run_id, tags=[(NAME_TAG, "tagged again")])
        assert records.runs.get(run_id).info.name == "tagged again"

    def test_two_names_at_once_are_refused(self, records: RecordStore) -> None:
        with pytest.raises(InvalidValue, match=r"run name: the tag mlflow\.runName gives another one, 'b'"):
            records.runs.create("0", name="a", tags={NAME_TAG: "b"})

    @pytest.mark.parametrize("name", ["[bold]x[/bold]", "a\tb\nc", "Żółć 🌼", "x" * 8000, "'; DROP TABLE runs; --"])
    def test_an_odd_name_is_kept_as_it_is(self, records: RecordStore, name: str) -> None:
        run_id = records.runs.create("0", name=name).info.run_id
        assert records.runs.get(run_id).info.name == name

    def test_a_name_too_long_for_its_tag_is_refused(self, records: RecordStore, run_id: str) -> None:
        with pytest.raises(InvalidValue, match="run name: exceeds the maximum length of 8000"):
            records.runs.update(run_id, name="x" * 8001)
        with pytest.raises(InvalidValue, match="run name: exceeds the maximum length of 8000"):
            records.runs.create("0", name="x" * 8001)


class TestParams:
    def test_a_param_logged_twice_with_its_value_is_one_param(self, records: RecordStore, run_id: str) -> None:
        records.runs.log(run_id, params=[("lr", "0.1")])
        records.runs.log(run_id, params=[("lr", "0.1"), ("depth", "3")])
        assert records.runs.get(run_id).params == {"lr": "0.1", "depth": "3"}

    def test_a_param_logged_twice_with_another_value_is_refused_and_the_first_stays(
        self, records: RecordStore, run_id: str
    ) -> None:
        records.runs.log(run_id, params=[("lr", "0.1")])
        with pytest.raises(
            Changed,
            match=r"Changing param values is not allowed. Param with key='lr' was already logged with value='0.1'",
        ):
            records.runs.log(run_id, params=[("depth", "3"), ("lr", "0.2")], tags=[("a", "1")], points=[("m", 1, 0, 0)])

        found = records.runs.get(run_id)
        assert found.params == {"lr": "0.1"}
        assert "a" not in found.tags
        assert found.metrics == []

    def test_a_batch_gives_each_param_once(self, records: RecordStore, run_id: str) -> None:
        with pytest.raises(InvalidValue, match=r"\['lr'\] for params: a batch may give each param once"):
            records.runs.log(run_id, params=[("lr", "0.1"), ("lr", "0.1")])

    @pytest.mark.parametrize("value", ["", "x" * 6000, "line\nbreak", "Żółć"])
    def test_any_text_up_to_6000_characters_is_a_value(self, records: RecordStore, run_id: str, value: str) -> None:
        records.runs.log(run_id, params=[("p", value)])
        assert records.runs.get(run_id).params == {"p": value}

    def test_a_value_too_long_is_refused(self, records: RecordStore, run_id: str) -> None:
        with pytest.raises(InvalidValue, match="exceeds the maximum length of 6000 characters: it has 6001"):
            records.runs.log(run_id, params=[("p", "x" * 6001)])


class TestBatches:
    @pytest.mark.parametrize("name", ["", "a?b", "../x", "/x", "a//b", ".", "x" * 251, None])
    def test_one_bad_name_in_a_batch_leaves_nothing(self, records: RecordStore, run_id: str, name: str) -> None:
        good = {"points": [("m", 1.0, 0, 0)], "params": [("p", "1")], "tags": [("t", "1")]}
        for kind, bad in {"points": (name, 1.0, 0, 0), "params": (name, "1"), "tags": (name, "1")}.items():
            with pytest.raises(InvalidValue):
                records.runs.log(run_id, **{**good, kind: [*good[kind], bad]})

        found = records.runs.get(run_id)
        assert (found.metrics, found.params, set(found.tags)) == ([], {}, {NAME_TAG})

    def test_limits_of_a_batch_are_mlflows(self, records: RecordStore, run_id: str) -> None:
        points = [("m", float(step), step, 0) for step in range(1001)]
        texts = [(f"name{index}", "x") for index in range(101)]

        with pytest.raises(InvalidValue, match="a batch can contain at most 1000 metrics; split it over more calls"):
            records.runs.log(run_id, points=points)
        with pytest.raises(InvalidValue, match="at most 100 params"):
            records.runs.log(run_id, params=texts)
        with pytest.raises(InvalidValue, match="at most 100 tags"):
            records.runs.log(run_id, tags=texts)
        with pytest.raises(InvalidValue, match="at most 1000 metrics, params, and tags"):
            records.runs.log(run_id, points=points[:901], params=texts[:100])

        records.runs.log(run_id, points=points[:1000])
        records.runs.log(run_id, points=points[:800], params=texts[:100], tags=texts[:100])
        assert len(records.metrics.history(run_id, "m").items) == 1000


class TestPropertiesAndTags:
    def test_properties_are_written_once(self, records: RecordStore, run_id: str) -> None:
        records.runs.add_properties(run_id, {"commit": "abc"})
        records.runs.add_properties(run_id, {"commit": "abc", "image": "v1"})
        with pytest.raises(Changed, match="Property with key='commit' was already logged with value='abc'") as raised:
            records.runs.add_properties(run_id, {"new": "1", "commit": "def"})

        assert (raised.value.run_id, raised.value.old, raised.value.new) == (run_id, "abc", "def")
        assert records.runs.get(run_id).properties == {"commit": "abc", "image": "v1"}

    def test_properties_are_no_tags(self, records: RecordStore, run_id: str) -> None:
        records.runs.add_properties(run_id, {"commit": "abc"})
        assert "commit" not in records.runs.get(run_id).tags

    @pytest.mark.parametrize(("name", "value"), [("", "x"), ("a", None), ("a", "x" * 8001)])
    def test_a_bad_property_is_refused(self, records: RecordStore, run_id: str, name: str, value: str) -> None:
        with pytest.raises(InvalidValue, match="property"):
            records.runs.add_properties(run_id, {"good": "1", name: value})
        assert records.runs.get(run_id).properties == {}

    def test_a_tag_is_set_over_and_deleted(self, records: RecordStore, run_id: str) -> None:
        records.runs.log(run_id, tags=[("a", "1"), ("a", "2")])
        assert records.runs.get(run_id).tags["a"] == "2"

        records.runs.delete_tag(run_id, "a")
        assert "a" not in records.runs.get(run_id).tags
        with pytest.raises(NotFound, match=f"Tag 'a' not found. Run {run_id} has no such tag"):
            records.runs.delete_tag(run_id, "a")


def ids(records: RecordStore, **filter: Any) -> list[str]:
    return [run.info.run_id for run in records.runs.find(RunFilter(**filter)).items]


class TestChildRuns:
    def test_a_child_run_is_known_by_argument_and_by_tag(self, records: RecordStore, run_id: str) -> None:
        by_argument = records.runs.create("0", run_id="child-1", start_ms=2, parent_run_id=run_id)
        records.runs.create("0", run_id="child-2", start_ms=1, tags={PARENT_TAG: run_id})
        records.runs.create("0", run_id="child-3", start_ms=3)
        records.runs.log("child-3", tags=[(PARENT_TAG, run_id)])

        assert by_argument.tags[PARENT_TAG] == run_id
        assert records.runs.get("child-2").info.parent_run_id == run_id
        assert records.runs.get("child-3").info.parent_run_id == run_id
        assert ids(records, parent_run_id=run_id) == ["child-3", "child-1", "child-2"]

    def test_a_run_whose_parent_tag_is_deleted_is_a_child_no_longer(self, records: RecordStore, run_id: str) -> None:
        records.runs.create("0", run_id="child", parent_run_id=run_id)
        records.runs.delete_tag("child", PARENT_TAG)
        assert ids(records, parent_run_id=run_id) == []
        assert records.runs.get("child").info.parent_run_id is None

    def test_deleted_children_are_not_listed(self, records: RecordStore, run_id: str) -> None:
        records.runs.create("0", run_id="child", parent_run_id=run_id)
        records.runs.delete("child")
        assert ids(records, parent_run_id=run_id) == []

    def test_grandchildren_are_found_too_where_asked_even_in_a_circle(self, records: RecordStore, run_id: str) -> None:
        for number, parent in enumerate([run_id, "run-0", "run-1", "run-1"]):
            records.runs.create("0", run_id=f"run-{number}", start_ms=number, parent_run_id=parent)
        assert ids(records, parent_run_id=run_id) == ["run-0"]
        assert ids(records, parent_run_id=run_id, recursive=True) == ["run-3", "run-2", "run-1", "run-0"]

        records.runs.set_tags(run_id, {PARENT_TAG: "run-3"})
        assert set(ids(records, parent_run_id=run_id, recursive=True)) == {"run-0", "run-1", "run-2", "run-3"}


class TestFinding:
    @pytest.fixture(autouse=True)
    def some_runs(self, records: RecordStore) -> None:
        other = records.experiments.create("other")
        for number, (experiment, tags, properties, status, parent) in enumerate(
            [
                ("0", {"a": "1"}, {}, RunStatus.RUNNING, None),
                ("0", {"a": "2", "b": ""}, {"azureml.runsource": "hyperdrive"}, RunStatus.COMPLETED, None),
                ("0", {"a": "1"}, {"p": "x y"}, RunStatus.FAILED, "run-0"),
                (other, {"a": "1", "ü (%)": "é"}, {"p": "x y"}, RunStatus.COMPLETED, None),
            ]
        ):
            records.runs.create(
                experiment, run_id=f"run-{number}", start_ms=number, tags=tags, properties=properties,
                status=status, parent_run_id=parent,
            )  # fmt: skip

    @pytest.mark.parametrize(
        ("filter", "found"),
        [
            ({}, [3, 1, 0]),
            ({"include_children": True}, [3, 2, 1, 0]),
            ({"tags": {"a": "1"}, "include_children": True}, [3, 2, 0]),
            ({"tags": {"a": None}}, [3, 1, 0]),
            ({"tags": {"b": None}}, [1]),
            ({"tags": {"b": ""}}, [1]),
            ({"tags": {"a": "1", "b": ""}}, []),
            ({"tags": {"ü (%)": "é"}}, [3]),
            ({"properties": {"p": "x y"}, "include_children": True}, [3, 2]),
            ({"run_type": "hyperdrive"}, [1]),
            ({"status": RunStatus.COMPLETED}, [3, 1]),
            ({"parent_run_id": "run-0", "status": RunStatus.FAILED, "properties": {"p": None}}, [2]),
            ({"tags": {"' OR 1=1 --": None}}, []),
        ],
    )
    def test_runs_are_found_by_all_that_is_given(
        self, records: RecordStore, filter: dict[str, Any], found: list[int]
    ) -> None:
        assert ids(records, **filter) == [f"run-{number}" for number in found]

    def test_one_experiment_s_runs_come_in_pages(self, records: RecordStore) -> None:
        filter = RunFilter(include_children=True)
        first = records.runs.find(filter, experiment_id="0", max_results=2)
        second = records.runs.find(filter, experiment_id="0", max_results=2, page_token=first.next_token)
        assert [run.info.run_id for run in [*first.items, *second.items]] == ["run-2", "run-1", "run-0"]
        assert second.next_token is None
        with pytest.raises(PageTokenInvalid):
            records.runs.find(RunFilter(), experiment_id="0", max_results=2, page_token=first.next_token)


class TestRunVocabulary:
    def test_tags_and_properties_may_have_any_name(self, records: RecordStore, run_id: str) -> None:
        values = {"ü (%)": "é", "x" * 300: "long", "a/../b": ""}
        records.runs.set_tags(run_id, values)
        records.runs.add_properties(run_id, values)
        found = records.runs.get(run_id)
        assert (found.tags | values, found.properties) == (found.tags, values)

    def test_a_run_has_properties_from_the_start_and_keeps_why_it_failed(self, records: RecordStore) -> None:
        run_id = records.runs.create("0", properties={"p": "1"}).info.run_id
        with pytest.raises(Changed, match="Property with key='p' was already logged"):
            records.runs.add_properties(run_id, {"p": "2"})
        records.runs.update(
            run_id, status=RunStatus.FAILED, start_ms=5, end_ms=7, error=RunError("UserError", "it broke: é")
        )
        records.runs.update(run_id, name="renamed")
        found = records.runs.get(run_id)
        assert (found.info.error, found.info.start_ms, found.info.end_ms) == (
            RunError("UserError", "it broke: é"),
            5,
            7,
        )
        assert found.properties == {"p": "1"}
        assert records.runs.search(["0"]).items[0].info == found.info


class TestQueue:
    def test_what_runs_stands_before_what_waits_and_each_target_has_its_own(self, records: RecordStore) -> None:
        def submitted(run_id: str, target: str, status: RunStatus) -> None:
            records.runs.create("0", run_id=run_id, status=status, definition={"target": target})

        records.runs.create("0", run_id="by-itself")
        submitted("waits", "local", RunStatus.QUEUED)
        submitted("not-yet-there", "local", RunStatus.NOT_STARTED)
        submitted("runs", "local", RunStatus.RUNNING)
        submitted("ended", "local", RunStatus.COMPLETED)
        submitted("elsewhere", "gpu", RunStatus.QUEUED)
        submitted("deleted", "gpu", RunStatus.RUNNING)
        records.runs.delete("deleted")

        queue = records.runs.queue()
        assert [(entry.target, entry.position, entry.info.run_id) for entry in queue] == [
            ("gpu", 1, "elsewhere"),
            ("local", None, "runs"),
            ("local", 1, "waits"),
            ("local", 2, "not-yet-there"),
            (None, None, "by-itself"),
        ]
        assert {entry.experiment for entry in queue} == {"Default"}
