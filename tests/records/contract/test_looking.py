"""What a page shows of a whole workspace: counts, children, folders, acts by hand, saved views, and that it changed."""

import io
import threading

import pytest

from mlflow_amlstore.errors import InvalidValue, NotFound, PageTokenInvalid
from mlflow_amlstore.records.acting import acting_for, this_user
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.search.grammars import RUNS
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import ExperimentActivity, FileListing, RunStatus, View


class TestCounts:
    def test_children_are_left_out_where_their_parent_is_there(self, records: RecordStore) -> None:
        records.runs.create("0", run_id="parent")
        for run_id, parent in (("child", "parent"), ("grandchild", "child"), ("orphan", "gone")):
            records.runs.create("0", run_id=run_id, parent_run_id=parent)
        top = records.runs.search(None, only_top=True).items
        assert sorted(run.info.run_id for run in top) == ["orphan", "parent"]
        assert records.runs.count_under(None) == records.runs.count_under(["0"]) == 2
        assert records.runs.count_under([records.experiments.create("other")]) == 0
        assert records.runs.count(None) == 4
        assert records.runs.count_children(["parent", "child", "orphan", "unknown"]) == {"parent": 1, "child": 1}
        records.runs.delete("parent")
        assert sorted(run.info.run_id for run in records.runs.search(None, only_top=True).items) == ["child", "orphan"]

    def test_a_run_that_says_it_is_its_own_parent_is_a_top_one(self, records: RecordStore) -> None:
        records.runs.create("0", run_id="a", parent_run_id="a")
        assert [run.info.run_id for run in records.runs.search(None, only_top=True).items] == ["a"]

    def test_top_runs_come_in_pages(self, records: RecordStore) -> None:
        for number in range(9):
            records.runs.create("0", run_id=f"r{number}", parent_run_id="r0" if number % 3 else None, start_ms=number)
        first = records.runs.search(["0"], only_top=True, max_results=2)
        rest = records.runs.search(["0"], only_top=True, max_results=2, page_token=first.next_token)
        assert [run.info.run_id for run in (*first.items, *rest.items)] == ["r6", "r3", "r0"]
        with pytest.raises(PageTokenInvalid):
            records.runs.search(["0"], max_results=2, page_token=first.next_token)

    def test_activity_is_told_of_each_experiment(self, records: RecordStore) -> None:
        other = records.experiments.create("other")
        records.experiments.create("without runs")
        for number in range(5):
            records.runs.create(other if number % 2 else "0", user_id=f"user {number}", start_ms=10 - number)
        records.runs.create("0", user_id="nobody yet")
        found = records.experiments.activity()
        assert found == {
            "0": ExperimentActivity(runs=4, running=4, last_ms=10, owner="user 0"),
            other: ExperimentActivity(runs=2, running=2, last_ms=9, owner="user 1"),
        }

    def test_a_count_is_of_what_a_search_finds(self, records: RecordStore) -> None:
        other = records.experiments.create("other")
        for number in range(7):
            run = records.runs.create(other if number % 2 else "0", run_id=f"r{number}")
            records.runs.log(run.info.run_id, points=[("m", float(number), 0, 1)], params=[("p", str(number % 3))])
        records.runs.delete("r6")
        filter = RUNS.parse("metrics.m > 1 and params.p = '2'")
        for scope in (None, ["0"], ["0", other]):
            for view in View:
                found = records.runs.search(scope, filter=filter, view=view).items
                assert records.runs.count(scope, filter=filter, view=view) == len(found)

    def test_activity_counts_active_runs(self, records: RecordStore) -> None:
        assert records.experiments.activity() == {}
        records.runs.create("0", run_id="a", user_id="ana", start_ms=5)
        records.runs.create("0", run_id="b", user_id="ben", start_ms=9)
        records.runs.create("0", run_id="c", user_id="cem", start_ms=7)
        records.runs.update("a", status=RunStatus.COMPLETED)
        records.runs.delete("c")
        activity = records.experiments.activity()["0"]
        assert (activity.runs, activity.running, activity.last_ms, activity.owner) == (2, 1, 9, "ben")
        assert (records.runs.activity().runs, records.runs.activity().running) == (2, 1)
        assert records.experiments.count() == 1
        assert records.runs.names_of(["a", "unknown"]) == {"a": records.runs.get("a").info.name}

    def test_prompts_are_no_models(self, records: RecordStore) -> None:
        records.models.create("model")
        records.models.create("prompt", tags={"mlflow.prompt.is_prompt": "true"})
        assert records.models.count() == 1


class TestFolders:
    def test_a_folder_is_listed_in_pages(self, records: RecordStore, run_id: str) -> None:
        container = run_container("0", run_id)
        paths = ["a", "a.txt", "a/b", "a/c/d", "a0", "z/1", "z/2", "ä"]
        for path in ("a.txt", "a/b", "a/c/d", "a0", "z/1", "z/2", "ä"):
            records.files.write(container, path, io.BytesIO(path.encode()))
        assert paths
        for size in (1, 2, 3, 100):
            found: list[FileListing] = []
            after = ""
            while True:
                page = records.files.list_some(container, after=after, max_results=size)
                found += page.items
                if page.next_token is None:
                    break
                after = page.next_token
            assert [(each.path, each.is_folder, each.size_bytes) for each in found] == [
                ("a.txt", False, 5),
                ("a", True, 8),
                ("a0", False, 2),
                ("z", True, 6),
                ("ä", False, 2),
            ]
        inside = records.files.list_some(container, "a", max_results=10)
        assert [(each.path, each.is_folder) for each in inside.items] == [("a/b", False), ("a/c", True)]
        assert records.files.list_some(container, "none", max_results=10).items == []


def acts_on(records: RecordStore, kind: str, subject_id: str) -> list[tuple[str, str, str]]:
    """Who did what, the first act first."""
    return [(act.who, act.act, act.detail) for act in reversed(records.acts.of(kind, subject_id))]


class TestActs:
    def test_they_are_kept_with_what_they_were_done_to(self, records: RecordStore, run_id: str) -> None:
        records.acts.add("run", run_id, "renamed", "ana", "from x")
        records.acts.add("run", "another", "deleted", "ben")
        records.acts.add("run", run_id, "tagged", "cem")
        found = records.acts.of("run", run_id)
        assert [(act.act, act.who, act.detail) for act in found] == [
            ("tagged", "cem", ""),
            ("renamed", "ana", "from x"),
        ]
        assert records.acts.of("experiment", run_id) == []

    def test_whoever_deletes_restores_and_renames_a_run_or_an_experiment_is_kept(
        self, records: RecordStore, run_id: str
    ) -> None:
        experiment_id = records.experiments.create("trees")
        before = records.runs.get(run_id).info.name
        with acting_for(lambda: "ana"):
            records.runs.update(run_id, name="renamed")
            records.runs.delete(run_id)
            records.runs.delete(run_id)  # which changes nothing
            records.experiments.rename(experiment_id, "forests")
            records.experiments.delete(experiment_id)
        with acting_for(lambda: "ben"):
            records.runs.restore(run_id)
            records.runs.restore(run_id)
            records.experiments.restore(experiment_id)
        assert acts_on(records, "run", run_id) == [
            ("ana", "renamed", f"from {before}"),
            ("ana", "deleted", ""),
            ("ben", "restored", ""),
        ]
        assert acts_on(records, "experiment", experiment_id) == [
            ("ana", "renamed", "from trees"),
            ("ana", "deleted", ""),
            ("ben", "restored", ""),
        ]

    def test_whoever_renames_a_run_by_its_tag_is_kept_once(self, records: RecordStore, run_id: str) -> None:
        before = records.runs.get(run_id).info.name
        with acting_for(lambda: "ana"):
            records.runs.log(run_id, tags=[("mlflow.runName", "batched"), ("team", "blue")])
            records.runs.set_tags(run_id, {"mlflow.runName": "batched"})  # which changes nothing
            records.runs.set_tags(run_id, {"mlflow.runName": "set"})
        assert records.runs.get(run_id).info.name == "set"
        assert acts_on(records, "run", run_id) == [
            ("ana", "renamed", f"from {before}"),
            ("ana", "renamed", "from batched"),
        ]

    def test_whoever_registers_a_model_and_moves_its_versions_is_kept(self, records: RecordStore, run_id: str) -> None:
        source = f"workspace:/0/{run_id}/artifacts/model"
        with acting_for(lambda: "ana"):
            records.models.register("tree", source, run_id=run_id)
            records.models.create_version("tree", source)
            records.models.set_alias("tree", "best", 1)
            records.models.delete_alias("tree", "best")
            records.models.delete_alias("tree", "best")
            records.models.set_stage("tree", 1, "Production")
            records.models.delete_version("tree", 2)
            records.models.rename("tree", "oak")
        records.models.delete("oak")
        assert acts_on(records, "run", run_id) == [("ana", "registered", "tree, version 1")]
        assert acts_on(records, "model", "tree") == []
        assert acts_on(records, "model", "oak") == [
            ("ana", "registered", "version 1"),
            ("ana", "registered", "version 2"),
            ("ana", "set the alias", "best: version 1"),
            ("ana", "deleted the alias", "best"),
            ("ana", "set the stage", "version 1: Production"),
            ("ana", "deleted", "version 2"),
            ("ana", "renamed", "from tree"),
            (this_user(), "deleted", ""),
        ]

    def test_what_a_script_logs_is_no_act(self, records: RecordStore, run_id: str) -> None:
        records.runs.log(run_id, points=[("m", 1.0, 0, 1)], params=[("p", "1")], tags=[("t", "1")])
        records.runs.set_tags(run_id, {"team": "blue"})
        records.runs.update(run_id, status=RunStatus.COMPLETED, end_ms=1)
        records.runs.update(run_id, name=records.runs.get(run_id).info.name)
        assert acts_on(records, "run", run_id) == []

    def test_acts_go_with_the_record(self, records: RecordStore, run_id: str) -> None:
        experiment_id = records.experiments.create("trees")
        inside = records.runs.create(experiment_id).info.run_id
        for each in (run_id, inside):
            records.runs.delete(each)
        records.experiments.delete(experiment_id)
        records.trash.remove_run(run_id)
        records.trash.remove_experiment(experiment_id)
        subjects = (("run", run_id), ("run", inside), ("experiment", experiment_id))
        assert [acts_on(records, *subject) for subject in subjects] == [[], [], []]

    def test_an_act_is_undone_with_the_change(self, records: RecordStore, run_id: str) -> None:
        def fail() -> None:
            with records.transaction():
                records.acts.add("run", run_id, "deleted", "ana")
                records.runs.delete("unknown")

        with pytest.raises(NotFound):
            fail()
        assert records.acts.of("run", run_id) == []


class TestSavedViews:
    def test_a_view_is_replaced_by_its_name(self, records: RecordStore) -> None:
        records.saved_views.save("runs", "best", "sort=a", "ana")
        records.saved_views.save("runs", "best", "sort=b", "ben")
        records.saved_views.save("experiments/1/runs", "best", "x=1", "ana")
        [view] = records.saved_views.list("runs")
        assert (view.name, view.query, view.who) == ("best", "sort=b", "ben")
        records.saved_views.delete("runs", "best")
        assert records.saved_views.list("runs") == []
        with pytest.raises(NotFound):
            records.saved_views.delete("runs", "best")

    @pytest.mark.parametrize("name", ["", "a" * 101, "a\nb"])
    def test_a_name_that_is_none_is_refused(self, records: RecordStore, name: str) -> None:
        with pytest.raises(InvalidValue):
            records.saved_views.save("runs", name, "", "ana")

    @pytest.mark.parametrize("page", ["", "../../etc", "models", "experiments/x/runs", "experiments//runs"])
    def test_a_page_that_has_no_views_is_refused(self, records: RecordStore, page: str) -> None:
        with pytest.raises(InvalidValue, match="for page"):
            records.saved_views.save(page, "best", "", "ana")


class TestWatch:
    def test_every_commit_changes_the_version(self, sqlite_records: RecordStore) -> None:
        watch = sqlite_records.watch()
        seen = [watch.version(), watch.version()]
        assert seen[0] == seen[1]
        sqlite_records.runs.create("0", run_id="run")
        seen.append(watch.version())
        writing = threading.Thread(target=lambda: sqlite_records.runs.log("run", points=[("m", 1.0, 0, 1)]))
        writing.start()
        writing.join()
        seen.append(watch.version())
        watch.close()
        assert len(set(seen)) == 3
