"""Runs and experiments: their course, tags, properties, children, and finding them."""

import copy
import math
import os
import pickle
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.core import Experiment, Run, Workspace
from mlflow_amlstore.core.display import table
from mlflow_amlstore.errors import (
    ActivityFailed,
    AlreadyExists,
    AmlStoreError,
    Changed,
    InvalidValue,
    NotFound,
)

EACH_KIND = pytest.mark.parametrize("ws", ["embedded", "served"], indirect=True)


@EACH_KIND
class TestCourse:
    def test_a_run_is_running_until_it_is_completed(self, ws: Workspace, experiment: Experiment) -> None:
        run = experiment.start_logging(display_name="first try")
        assert (run.name, run.get_status(), run.type, run.parent) == ("first try", "Running", None, None)
        assert Run.get(ws, run.id) == run
        run.complete()
        details = run.get_details()
        assert (details["runId"], details["status"], details["submittedBy"] != "") == (run.id, "Completed", True)
        assert details["startTimeUtc"] <= details["endTimeUtc"]
        assert "error" not in details

    def test_its_details_name_the_datasets_that_mlflow_logged(self, ws: Workspace, run: Run) -> None:
        assert run.get_details()["inputDatasets"] == []
        dataset = DatasetInput(MlflowDataset("iris", "abc", "local", "{}"), [])
        MlflowClient(ws.get_mlflow_tracking_uri()).log_inputs(run.id, [dataset])
        assert run.get_details()["inputDatasets"] == [{"name": "iris", "digest": "abc"}]

    def test_mlflow_sees_the_same_run(self, ws: Workspace, experiment: Experiment) -> None:
        with experiment.start_logging(display_name="é") as run:
            run.tag("a", "1")
            run.description = "what it is about"
        seen = MlflowClient(ws.get_mlflow_tracking_uri()).get_run(run.id)
        assert (seen.info.status, seen.info.run_name, seen.info.experiment_id) == ("FINISHED", "é", experiment.id)
        assert {"a": "1", "mlflow.note.content": "what it is about"}.items() <= seen.data.tags.items()

    def test_an_exception_marks_it_failed_and_goes_on_up(self, experiment: Experiment) -> None:
        with pytest.raises(ZeroDivisionError), experiment.start_logging() as run:
            run.log("m", 1)
            _ = 1 / 0
        assert run.get_details()["error"] == {"error": {"code": "ZeroDivisionError", "message": "division by zero"}}
        assert (run.get_status(), run.get_metrics()) == ("Failed", {"m": 1})

    @pytest.mark.parametrize(("code", "status"), [(None, "Completed"), (0, "Completed"), (3, "Failed")])
    def test_sys_exit_fails_it_by_its_code(self, experiment: Experiment, code: int | None, status: str) -> None:
        with pytest.raises(SystemExit), experiment.start_logging() as run:
            raise SystemExit(code)
        assert run.get_status() == status

    @pytest.mark.parametrize(("end", "status"), [("complete", "Completed"), ("fail", "Failed"), ("cancel", "Canceled")])
    def test_a_run_that_its_block_has_ended_stays_so_and_takes_late_values(
        self, ws: Workspace, experiment: Experiment, end: str, status: str
    ) -> None:
        with experiment.start_logging() as run:
            getattr(run, end)()
            ended = run.get_details()["endTimeUtc"]
            run.log("late", 1)
        assert (run.get_status(), run.get_details()["endTimeUtc"]) == (status, ended)
        assert Run.get(ws, run.id).get_metrics() == {"late": 1}

    def test_a_run_that_somebody_else_has_ended_stays_so(self, ws: Workspace, experiment: Experiment) -> None:
        with experiment.start_logging(snapshot_directory=None) as run:
            Run.get(ws, run.id).cancel()
        assert run.get_status() == "Canceled"

    @pytest.mark.alone
    def test_half_a_surrogate_in_why_it_failed_is_kept_as_its_escape(
        self, ws: Workspace, experiment: Experiment
    ) -> None:
        with pytest.raises(OSError, match="odd"), experiment.start_logging(snapshot_directory=None) as run:
            raise OSError("odd name: caf\udce9")
        assert Run.get(ws, run.id).get_details()["error"]["error"]["message"] == "odd name: caf\\udce9"
        assert [found.id for found in experiment.get_runs()] == [run.id]

    def test_an_exception_fails_a_run_that_its_block_has_cancelled(self, experiment: Experiment) -> None:
        with pytest.raises(ZeroDivisionError), experiment.start_logging() as run:
            run.cancel()
            _ = 1 / 0
        assert run.get_status() == "Failed"

    def test_what_fails_while_it_is_ended_hides_nothing_of_the_exception(
        self, ws: Workspace, experiment: Experiment, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(ZeroDivisionError) as raised, experiment.start_logging() as run:
            Path("outputs").mkdir(exist_ok=True)
            Path("outputs/back\\slash").write_text("a name that no workspace takes")
            try:
                raise KeyError("why")
            except KeyError:
                _ = 1 / 0
        assert isinstance(raised.value.__context__, KeyError)
        assert f"Run {run.id} could not be ended as it should be: Invalid value" in caplog.text
        assert run.get_status() == "Failed"

    def test_it_can_be_failed_with_a_reason_and_cancelled(self, experiment: Experiment) -> None:
        run = experiment.start_logging()
        run.fail("the data is gone", error_code="DataError")
        assert run.get_details()["error"] == {"error": {"code": "DataError", "message": "the data is gone"}}
        other = experiment.start_logging()
        other.cancel()
        assert other.get_status() == "Canceled"
        exception = experiment.start_logging()
        exception.fail(ValueError("x"))
        assert exception.get_details()["error"]["error"]["message"] == "ValueError('x')"

    def test_waiting_for_an_ended_run_gives_its_details_or_its_error(self, experiment: Experiment) -> None:
        run = experiment.start_logging()
        run.complete()
        assert run.wait_for_completion()["status"] == "Completed"
        failed = experiment.start_logging()
        failed.fail("why")
        with pytest.raises(ActivityFailed, match="why"):
            failed.wait_for_completion()
        assert failed.wait_for_completion(raise_on_error=False)["status"] == "Failed"
        canceled = experiment.start_logging()
        canceled.cancel()
        assert canceled.wait_for_completion()["status"] == "Canceled"

    def test_waiting_for_a_run_shows_its_logs(
        self, experiment: Experiment, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        (tmp_path / "log.txt").write_bytes(b"epoch 1\n\rhalf \xff")
        run = experiment.start_logging(snapshot_directory=None)
        run.upload_file("logs/log.txt", str(tmp_path / "log.txt"))
        ending = threading.Timer(0.2, run.complete)
        ending.start()
        assert run.wait_for_completion(show_output=True)["status"] == "Completed"
        ending.join()
        where = f"RunId: {run.id}\nWeb View: {run.get_portal_url()}\n".encode()
        shown = capfdbinary.readouterr().out
        assert shown.startswith(where + b"\nStreaming logs/log.txt\n" + b"=" * 22 + b"\n\nepoch 1\n\rhalf \xff\n")
        assert shown.endswith(b"\nExecution Summary\n=================\n" + where)

    def test_a_run_finds_the_folder_for_its_outputs(self, experiment: Experiment) -> None:
        with experiment.start_logging(snapshot_directory=None) as run:
            Path("outputs/model.pkl").write_bytes(b"model")
        assert run.get_file_names() == ["outputs/model.pkl"]

    def test_outputs_written_meanwhile_become_files_when_it_completes(self, experiment: Experiment) -> None:
        Path("outputs").mkdir(exist_ok=True)
        Path("outputs/old.txt").write_text("from before")
        os.utime("outputs/old.txt", (1, 1))
        with experiment.start_logging(snapshot_directory=None) as run:
            Path("outputs/sub").mkdir()
            Path("outputs/sub/model.txt").write_text("new")
        assert run.get_file_names() == ["outputs/sub/model.txt"]
        with experiment.start_logging(outputs=False, snapshot_directory=None) as run:
            Path("outputs/more.txt").write_text("new")
        assert run.get_file_names() == []

    def test_outputs_whose_upload_failed_are_uploaded_by_the_next(self, experiment: Experiment) -> None:
        run = experiment.start_logging(snapshot_directory=None)
        Path("outputs").mkdir(exist_ok=True)
        Path("outputs/model.txt").write_text("new")
        Path("outputs/back\\slash").write_text("a name that no workspace takes")
        with pytest.raises(InvalidValue, match="slash"):
            run.complete()
        Path("outputs/back\\slash").unlink()
        run.complete()
        assert run.get_file_names() == ["outputs/model.txt"]

    def test_outputs_are_known_by_more_than_their_time_wherever_the_script_goes(self, experiment: Experiment) -> None:
        Path("old.txt").write_text("older than the run")
        os.utime("old.txt", (1, 1))
        with experiment.start_logging(snapshot_directory=None) as run:
            Path("outputs").mkdir(exist_ok=True)
            shutil.copy2("old.txt", "outputs/copy.txt")
            Path("elsewhere").mkdir()
            os.chdir("elsewhere")
        assert run.get_file_names() == ["outputs/copy.txt"]

    def test_a_run_that_is_there_is_not_started_again(self, experiment: Experiment) -> None:
        experiment.start_logging(run_id="mine")
        with pytest.raises(AlreadyExists, match="mine"):
            experiment.start_logging(run_id="mine")

    def test_start_is_for_a_run_that_has_not_ended(self, run: Run) -> None:
        run.start()
        assert run.get_status() == "Running"
        run.fail()
        run.start()
        assert run.get_status() == "Failed"
        run.complete()
        assert run.get_status() == "Completed"

    def test_it_shows_itself_in_a_terminal_and_a_notebook(self, experiment: Experiment) -> None:
        run = experiment.start_logging(display_name="<b>bold</b>")
        assert repr(run) == (
            f"Run(Experiment: diabetes,\nId: {run.id},\nName: <b>bold</b>,\nType: None,\nStatus: Running)"
        )
        html = run._repr_html_()
        assert html.startswith("<table>")
        assert "&lt;b&gt;bold&lt;/b&gt;" in html
        assert "<b>" not in html
        is_served = run.get_portal_url().startswith("http")
        assert (f"<a href='{run.get_portal_url()}'" in html) == is_served
        assert repr(experiment) == "Experiment(Name: diabetes,\nWorkspace: workspace)"
        assert "<td style='text-align:left'>diabetes</td>" in experiment._repr_html_()

    def test_a_notebook_shows_params_and_a_line_for_each_metric(self, ws: Workspace, run: Run) -> None:
        client = MlflowClient(ws.get_mlflow_tracking_uri())
        for number in range(40):
            client.log_param(run.id, f"p{number:02}", "<i>")
        for step in range(1000):
            run.log("loss", 1 / (1 + step))
        run.log("once", 0.123456789)
        run.flush()

        html = run._repr_html_()

        assert "<i>" not in html
        assert "p29" in html
        assert "p30" not in html
        assert "40 params" in html
        assert re.search(r"loss</td><td [^>]*>0.001</td><td [^>]*>█[▁▂▃▄▅▆▇]{39}</td>", html)
        assert re.search(r"once</td><td [^>]*>0.123457</td><td [^>]*></td>", html)

    def test_a_notebook_shows_marks_that_turn_the_order_of_text_as_what_they_are(
        self, ws: Workspace, experiment: Experiment
    ) -> None:
        run = experiment.start_logging(display_name="gpj.\u202eexe")
        client = MlflowClient(ws.get_mlflow_tracking_uri())
        client.log_param(run.id, "path", "a\u2066b\u2069")
        run.log_list("loss", [2.0, 1.0])
        run.flush()
        html = run._repr_html_()
        assert "gpj.\\u202eexe" in html
        assert "a\\u2066b\\u2069" in html
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", html)
        assert ">\\u202ehead</th>" in table(["\u202ehead"], [])

    @pytest.mark.parametrize("spike", [50.0, -50.0])
    def test_a_single_spike_in_100_000_points_is_in_what_a_notebook_shows(
        self, ws: Workspace, run: Run, spike: float
    ) -> None:
        values = [math.sin(step * step) for step in range(100_000)]
        values[70_001] = spike
        run.log_list("noise", values)
        run.flush()
        html = run._repr_html_()
        [line] = re.findall(r"noise</td><td [^>]*>[^<]*</td><td [^>]*>([▁▂▃▄▅▆▇█]{40})</td>", html)
        assert [place for place, seen in enumerate(line) if seen == ("█" if spike > 0 else "▁")] == [28]
        [path] = re.findall(r"<path d='(M[^']*)'", html)
        heights = [float(point.split()[1]) for point in re.split("[ML]", path) if point]
        furthest = (min if spike > 0 else max)(heights)
        assert heights.count(furthest) == 1  # alone at its end of the chart, whose other values are far from it
        assert sorted(abs(height - furthest) for height in heights)[1] > 60

    def test_charts_in_a_notebook_have_gaps_for_nan_and_triangles_for_infinity(self, run: Run) -> None:
        run.log_list("<loss>", [1.0, math.nan, 2.0, 1.5, math.inf, 1.0])
        run.log_table("grid", {"x": [1, 2], "y": [3, 4]})
        run.flush()
        html = run._repr_html_()
        assert html.count("<svg") == 1  # a grid is no line
        assert "&lt;loss&gt;: from 1 to 2" in html
        assert "<loss>" not in html
        assert "<script" not in html
        assert re.search(r"<path d='M[\d. ]+M[\d. ]+L[\d. ]+L[\d. ]+'", html)
        assert "<title>Inf at 4</title>" in html

    def test_points_of_one_step_are_drawn_over_their_times(self, ws: Workspace, run: Run) -> None:
        client = MlflowClient(ws.get_mlflow_tracking_uri())
        for number in range(4):
            client.log_metric(run.id, "unstepped", number, timestamp=1000 * (number + 1))
        assert re.search(r"unstepped</td><td [^>]*>3</td><td [^>]*>▁▃▆█</td>", run._repr_html_())

    def test_its_name_can_be_changed(self, ws: Workspace, run: Run) -> None:
        run.display_name = "renamed"
        assert Run.get(ws, run.id).name == "renamed"

    @pytest.mark.alone
    def test_numbers_count_the_workspaces_runs(self, experiment: Experiment) -> None:
        assert [experiment.start_logging().number for _ in range(3)] == [1, 2, 3]

    def test_what_cant_be_submitted_says_so(self, experiment: Experiment, run: Run) -> None:
        for call in (experiment.submit, run.submit_child):
            with pytest.raises(InvalidValue, match="must be a ScriptRunConfig"):
                call(object())


@EACH_KIND
class TestTagsAndProperties:
    def test_tags_are_set_over_and_removed(self, run: Run) -> None:
        run.tag("stage")
        run.set_tags({"stage": "candidate", "n": 5, "ü (%)" * 60: "é"})  # type: ignore[dict-item]
        run.remove_tags(["n", "never"])
        assert run.get_tags() == {"stage": "candidate", "ü (%)" * 60: "é"}
        assert run.tags == run.get_tags()

    def test_a_property_stays_as_it_is(self, experiment: Experiment) -> None:
        run = experiment.start_logging(snapshot_directory=None)
        run.add_properties({"build": "1", "x" * 300: "y"})
        run.add_properties({"build": "1"})
        with pytest.raises(Changed, match="Property with key='build' was already logged with value='1'"):
            run.add_properties({"new": "1", "build": "2"})
        assert run.get_properties() == run.properties == {"build": "1", "x" * 300: "y"}

    def test_what_is_no_dict_or_name_is_refused_by_its_name(self, experiment: Experiment, run: Run) -> None:
        calls: list[tuple[Any, object, str]] = [
            (run.set_tags, ["a"], r"\['a'\] for tags: must be a dict of names and values"),
            (experiment.set_tags, "a", "'a' for tags: must be a dict of names and values"),
            (run.add_properties, None, "None for properties: must be a dict of names and values"),
            (run.remove_tags, 5, "5 for tags: must be a name, or a list of names"),
            (experiment.remove_tags, [5], r"\[5\] for tags: must be a name, or a list of names"),
        ]
        for call, given, problem in calls:
            with pytest.raises(InvalidValue, match=problem):
                call(given)

    def test_a_bad_tag_is_refused(self, run: Run) -> None:
        for tags, problem in [({"": "x"}, "a name must be given"), ({"t": "x" * 8001}, "maximum length of 8000")]:
            with pytest.raises(InvalidValue, match=problem):
                run.set_tags({"fine": "1", **tags})
        assert run.get_tags() == {}


@EACH_KIND
class TestChildren:
    def test_children_are_found_to_any_depth(self, ws: Workspace, run: Run) -> None:
        first = run.child_run("fold 1")
        second = run.child_run("fold 2", run_id="my-id")
        inner = second.child_run()
        assert [child.id for child in run.get_children()] == [second.id, first.id]
        assert {child.id for child in run.get_children(recursive=True)} == {first.id, second.id, inner.id}
        assert second.id == "my-id"
        assert inner.parent == second
        assert Run.get(ws, inner.id).parent == second
        assert MlflowClient(ws.get_mlflow_tracking_uri()).get_parent_run("my-id").info.run_id == run.id

    def test_descendants_are_found_in_whichever_experiments_they_are(self, ws: Workspace, run: Run) -> None:
        child, other = run.child_run(), Experiment(ws, "other")
        records = ws.records.runs
        elsewhere = records.create(other.id, parent_run_id=run.id).info.run_id
        below = records.create(run.experiment.id, parent_run_id=elsewhere).info.run_id
        records.create(other.id)
        found = {found.id: found.experiment.name for found in run.get_children(recursive=True)}
        assert found == {child.id: "diabetes", elsewhere: "other", below: "diabetes"}
        assert {found.id for found in Run.get(ws, elsewhere).get_children(recursive=True)} == {below}
        assert {found.id for found in run.get_children()} == {child.id, elsewhere}

    def test_children_are_created_by_count_or_tag(self, run: Run) -> None:
        by_count = run.create_children(3)
        by_tag = run.create_children(tag_key="fold", tag_values=["a", 2])
        assert [child.get_tags() for child in by_count] == [{"azureml.batch_child_number": str(n)} for n in range(3)]
        assert [child.get_tags() for child in by_tag] == [{"fold": "a"}, {"fold": "2"}]
        assert {child.get_status() for child in run.get_children()} == {"Running"}
        by_tag[0].complete()
        assert [child.id for child in run.get_children(status="Completed")] == [by_tag[0].id]
        assert [child.id for child in run.get_children(tags={"fold": "2"})] == [by_tag[1].id]
        assert by_tag[0].get_details()["startTimeUtc"] is not None

    @pytest.mark.parametrize("given", [{}, {"count": 1, "tag_key": "k", "tag_values": []}, {"tag_key": "k"}])
    def test_neither_nor_both_is_refused(self, run: Run, given: dict[str, Any]) -> None:
        with pytest.raises(InvalidValue, match="give either count, or tag_key and tag_values"):
            run.create_children(**given)

    @pytest.mark.parametrize(
        ("given", "problem"),
        [
            ({"count": "x"}, "Invalid value 'x' for count: must be a 64-bit integer"),
            ({"count": -1}, "Invalid value -1 for count: must be a 64-bit integer of at least 0"),
            ({"tag_key": "k", "tag_values": 5}, "Invalid value 5 for tag_values: must be a list of values"),
            ({"tag_key": "", "tag_values": ["a", "b"]}, "a name must be given"),
        ],
    )
    def test_what_names_no_children_is_refused_and_starts_none(
        self, run: Run, given: dict[str, Any], problem: str
    ) -> None:
        with pytest.raises(InvalidValue, match=problem):
            run.create_children(**given)
        assert list(run.get_children()) == []

    def test_none_may_be_created(self, run: Run) -> None:
        assert run.create_children(0) == run.create_children(tag_key="k", tag_values=[]) == []

    def test_more_than_a_hundred_at_once_are_refused(self, run: Run) -> None:
        with pytest.raises(InvalidValue, match="101 for number of children: at most 100 at once"):
            run.create_children(101)


@pytest.mark.parametrize("ws", ["served"], indirect=True)
def test_many_children_take_few_requests(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    requested = []
    request = Connection.request

    def counted(self: Connection, method: str, path: str, *args: Any, **named: Any) -> Any:
        requested.append(f"{method} {path.rpartition('/')[2]}")
        return request(self, method, path, *args, **named)

    monkeypatch.setattr(Connection, "request", counted)
    children = run.create_children(20)
    assert requested == ["PATCH runs", "POST events"]
    requested.clear()
    assert {child.id for child in run.get_children()} == {child.id for child in children}
    assert requested == ["GET children"]


@EACH_KIND
class TestFinding:
    @pytest.mark.alone
    def test_runs_are_found_by_tags_properties_type_and_status(self, experiment: Experiment) -> None:
        plain = experiment.start_logging(snapshot_directory=None)
        tagged = experiment.start_logging(snapshot_directory=None)
        tagged.set_tags({"a": "1", "b": "2"})
        tagged.add_properties({"azureml.runsource": "hyperdrive"})
        child = tagged.child_run()
        child.complete()

        def found(**filter: Any) -> list[str]:
            return [run.id for run in experiment.get_runs(**filter)]

        assert found() == [tagged.id, plain.id]
        assert found(include_children=True) == [child.id, tagged.id, plain.id]
        assert found(tags="a") == found(tags={"a": "1"}) == found(properties="azureml.runsource") == [tagged.id]
        assert found(type="hyperdrive") == [tagged.id]
        assert found(tags={"a": "1", "b": "3"}) == []
        assert [run.id for run in Run.list(experiment, status="Completed", include_children=True)] == [child.id]
        assert next(experiment.get_runs(type="hyperdrive")).type == "hyperdrive"
        with pytest.raises(InvalidValue, match="'Done' for status: must be one of NotStarted, Queued"):
            next(Run.list(experiment, status="Done"))

    @pytest.mark.parametrize("field", ["tags", "properties"])
    def test_what_names_no_tags_is_refused_at_the_call(self, experiment: Experiment, run: Run, field: str) -> None:
        wanted: Any = {field: ["a"]}
        for find in (experiment.get_runs, run.get_children):
            with pytest.raises(InvalidValue, match=rf"\['a'\] for {field}: must be a name, or a dict of names"):
                find(**wanted)
        with pytest.raises(InvalidValue, match="5 for tags: must be a name, or a dict"):
            Experiment.list(experiment.workspace, tags=5)  # type: ignore[arg-type]

    def test_a_run_is_copied_and_pickled_as_the_same_run(self, ws: Workspace, experiment: Experiment) -> None:
        run = experiment.start_logging(synchronous=True)
        for again in (copy.deepcopy(run), pickle.loads(pickle.dumps(run))):
            assert again == run
            again.log("m", 1)
        assert run.get_metrics() == {"m": [1, 1]}
        assert again.experiment.name == "diabetes"
        assert ws.get_run(again.id) == again

    @pytest.mark.alone
    def test_they_come_all_however_many(self, ws: Workspace, experiment: Experiment) -> None:
        for number in range(1005):
            ws.records.runs.create(experiment.id, start_ms=number)
        assert len(list(experiment.get_runs())) == 1005

    def test_a_run_is_opened_in_its_own_experiment_alone(self, ws: Workspace, run: Run) -> None:
        assert Run(run.experiment, run.id) == run
        with pytest.raises(NotFound, match="It is in another experiment than 'other'"):
            Run(Experiment(ws, "other"), run.id)
        with pytest.raises(NotFound, match="Run 'never' not found"):
            Run.get(ws, "never")
        assert ws.get_run(run.id) == run


@EACH_KIND
class TestExperiments:
    @pytest.mark.alone
    @pytest.mark.parametrize("name", ["é (%)", "/Users/me/a b", "a%2Fb", "..", "a\\b?c#d", "日" * 300])
    def test_an_experiment_is_made_when_it_is_first_opened(self, ws: Workspace, name: str) -> None:
        first = Experiment(ws, name)
        assert Experiment(ws, name).id == first.id
        assert set(ws.experiments) == {"Default", name}
        assert ws.experiments[name].id == first.id
        with first.start_logging(snapshot_directory=None) as run:
            run.child_run().complete()
        assert [found.id for found in Experiment(ws, name).get_runs()] == [run.id]

    def test_one_without_a_name_is_refused(self, ws: Workspace) -> None:
        with pytest.raises(InvalidValue, match="experiment name: must be a non-empty string"):
            Experiment(ws, "")

    @pytest.mark.alone
    @pytest.mark.parametrize("name", ["a\nb", "\x00", "a\x7f", "\x85"])
    def test_a_name_with_control_characters_is_refused(self, ws: Workspace, name: str) -> None:
        with pytest.raises(InvalidValue, match="for experiment name: must not contain control characters"):
            Experiment(ws, name)
        assert set(ws.experiments) == {"Default"}

    def test_what_is_no_text_is_refused(self, ws: Workspace) -> None:
        with pytest.raises(InvalidValue, match="5 for experiment name: must be a non-empty string"):
            Experiment(ws, 5)  # type: ignore[arg-type]

    def test_one_is_made_once_however_many_open_it_at_a_time(self, ws: Workspace) -> None:
        for name in ("a", "b", "c/d", "e/f"):
            with ThreadPoolExecutor(8) as pool:
                assert len({experiment.id for experiment in pool.map(Experiment, [ws] * 8, [name] * 8)}) == 1

    @pytest.mark.alone
    def test_they_are_tagged_listed_archived_and_reactivated(self, ws: Workspace, experiment: Experiment) -> None:
        experiment.set_tags({"a": "1", "b": "2"})
        experiment.tag("c")
        experiment.set_tags({"kind": "tree", "k": "1"})
        experiment.remove_tags("kind")
        experiment.remove_tags(["b", "k", "never"])
        assert experiment.tags == {"a": "1", "c": ""}
        assert [found.name for found in Experiment.list(ws, tags={"a": "1"})] == ["diabetes"]
        assert [found.name for found in Experiment.list(ws, tags="never")] == []

        experiment.archive()
        assert experiment.archived_time is not None
        assert [found.name for found in Experiment.list(ws)] == ["Default"]
        assert [found.name for found in Experiment.list(ws, view_type="ArchivedOnly")] == ["diabetes"]
        with pytest.raises(AmlStoreError, match="restore it first"):
            Experiment(ws, "diabetes").start_logging(snapshot_directory=None)
        experiment.reactivate()
        assert experiment.archived_time is None
        assert len(Experiment.list(ws, view_type="All")) == 2
        with pytest.raises(InvalidValue, match="'Any' for view_type"):
            Experiment.list(ws, view_type="Any")

    @pytest.mark.alone
    def test_one_without_runs_can_be_deleted(self, ws: Workspace, experiment: Experiment) -> None:
        run = experiment.start_logging()
        with pytest.raises(InvalidValue, match="has runs; archive it instead"):
            Experiment.delete(ws, experiment.id)
        assert run.get_status() == "Running"
        Experiment.delete(ws, Experiment(ws, "empty").id)
        assert "empty" not in ws.experiments
