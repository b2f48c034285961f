"""`amlstore experiments`, `runs` and `show`."""

import json
import math
import subprocess
from collections.abc import Callable
from io import BytesIO

import pytest

from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import Dataset, DatasetInput, RunError, RunStatus
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace

from .conftest import AMLSTORE, ENVIRONMENT, Amlstore

ODD_NAMES = ["[bold]x[/bold]", "Żółć 🌼", "[/]", "\\[a]", "a: [red]b", "{}%s"]


@pytest.fixture
def records(workspace: EmbeddedWorkspace) -> RecordStore:
    """Three runs, a second apart: `aaa1` and `aaa2` in Default, `bbb3` in iris."""
    records = workspace.records
    records.experiments.create("iris", tags={"team": "botany"})
    for index, (run_id, experiment, loss) in enumerate(
        [("aaa1", "0", 0.5), ("aaa2", "0", math.nan), ("bbb3", "1", 0.125)]
    ):
        records.runs.create(experiment, run_id=run_id, name=f"run {run_id}", start_ms=index * 1000, user_id="ann")
        records.runs.log(run_id, points=[("loss", loss, 1, 7)], params=[("lr", str(index))], tags=[("kind", "test")])
        records.runs.update(run_id, status=RunStatus.COMPLETED, end_ms=index * 1000 + 90_500)
    return records


@pytest.mark.usefixtures("records")
class TestExperiments:
    def test_in_a_pipe_there_is_a_line_for_each_the_newest_first(self, amlstore: Amlstore) -> None:
        header, *rows = amlstore("experiments").rows
        assert header == ["id", "name", "created", "updated", "tags"]
        assert [(row[0], row[1], row[4]) for row in rows] == [("1", "iris", "team=botany"), ("0", "Default", "")]

    def test_filter_order_and_limit(self, amlstore: Amlstore) -> None:
        assert [row[1] for row in amlstore("experiments", "--filter", "name LIKE 'ir%'").rows[1:]] == ["iris"]
        limited = amlstore("experiments", "--order-by", "name ASC", "--limit", "1")
        assert [row[1] for row in limited.rows[1:]] == ["Default"]
        assert limited.err == "There are more than 1; see --limit and --filter.\n"

    def test_json_and_deleted(self, amlstore: Amlstore, records: RecordStore) -> None:
        records.experiments.delete("1")
        [found] = json.loads(amlstore("experiments", "--deleted", "--json").out)
        assert (found["experiment_id"], found["name"], found["tags"]) == ("1", "iris", {"team": "botany"})


@pytest.mark.usefixtures("records")
class TestRuns:
    def test_in_a_pipe_there_is_a_line_for_each_the_latest_first(self, amlstore: Amlstore) -> None:
        result = amlstore("runs")
        assert result.out == (
            "run_id\tname\texperiment\tstatus\tstart\tduration\tmetrics.loss\n"
            "bbb3\trun bbb3\tiris\tCompleted\t1970-01-01 00:00:02\t1 min 30 s\t0.125\n"
            "aaa2\trun aaa2\tDefault\tCompleted\t1970-01-01 00:00:01\t1 min 30 s\tnan\n"
            "aaa1\trun aaa1\tDefault\tCompleted\t1970-01-01 00:00:00\t1 min 30 s\t0.5\n"
        )
        assert (result.exit_code, result.err) == (0, "")

    def test_filter_order_columns_experiment_and_limit(self, amlstore: Amlstore) -> None:
        def ids(*arguments: str) -> list[str]:
            return [row[0] for row in amlstore("runs", *arguments).rows[1:]]

        assert ids("--filter", "metrics.loss > 0.2 AND params.lr = '0'") == ["aaa1"]
        assert ids("--order-by", "params.lr ASC") == ["aaa1", "aaa2", "bbb3"]
        assert ids("-e", "iris") == ["bbb3"]
        assert ids("-e", "iris", "-e", "Default", "--limit", "2") == ["bbb3", "aaa2"]
        assert amlstore("runs", "-e", "iris", "--columns", "params.lr, tags.kind,metrics.none").rows == [
            ["params.lr", "tags.kind", "metrics.none"],
            ["2", "test", ""],
        ]

    def test_json_has_all_of_each_run(self, amlstore: Amlstore) -> None:
        first, second, _ = json.loads(amlstore("runs", "--json").out)
        assert (first["run_id"], first["experiment"], first["params"]) == ("bbb3", "iris", {"lr": "2"})
        assert first["metrics"] == {"loss": {"value": 0.125, "step": 1, "timestamp_ms": 7}}
        assert second["metrics"]["loss"]["value"] == "NaN"

    def test_deleted_runs_are_shown_when_asked_for(self, amlstore: Amlstore, records: RecordStore) -> None:
        records.runs.delete("aaa1")
        assert [row[0] for row in amlstore("runs").rows[1:]] == ["bbb3", "aaa2"]
        assert [row[0] for row in amlstore("runs", "--deleted").rows[1:]] == ["aaa1"]

    def test_a_bad_filter_points_at_the_token(self, amlstore: Amlstore) -> None:
        result = amlstore("runs", "--filter", "metrics.loss ~ 1")
        assert (result.exit_code, result.out) == (2, "")
        assert result.err.startswith("amlstore: Invalid search expression at '~'")
        assert "\n  metrics.loss ~ 1\n               ^\n" in result.err

    @pytest.mark.parametrize(
        ("arguments", "exit_code", "problem"),
        [
            (["--columns", "colour"], 2, "amlstore: Invalid value 'colour' for --columns: must be one of run_id, name"),
            (
                ["--filter", "metrics.loss > 9", "--columns", "colour"],
                2,
                "amlstore: Invalid value 'colour' for --columns",
            ),
            (["--json", "--columns", "colour"], 2, "amlstore: Invalid value 'colour' for --columns"),
            (["--order-by", "metrics.loss UPWARDS"], 2, "amlstore: Invalid search expression"),
            (["-e", "nothing"], 1, "amlstore: Experiment 'nothing' not found. `amlstore experiments` lists them"),
            (
                ["-e", "iriss"],
                1,
                "Experiment 'iriss' not found. Did you mean 'iris'? `amlstore experiments` lists",
            ),
            (["--limit", "0"], 2, "0 is not in the range 1<=x<=50000"),
        ],
    )
    def test_other_mistakes_are_one_message(
        self, amlstore: Amlstore, arguments: list[str], exit_code: int, problem: str
    ) -> None:
        result = amlstore("runs", *arguments)
        assert (result.exit_code, result.out) == (exit_code, "")
        assert problem in result.err
        assert "Traceback" not in result.err

    def test_a_reader_that_stops_early_gets_no_traceback(
        self, workspace: EmbeddedWorkspace, records: RecordStore
    ) -> None:
        for index in range(1000):
            records.runs.create("0", run_id=f"run{index}", name="x" * 200)
        done = subprocess.run(
            f"'{AMLSTORE}' runs --limit 5000 | head -1",
            shell=True, cwd=workspace.folder, env=ENVIRONMENT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.startswith("run_id\t")
        assert "Traceback" not in done.stderr


class TestOnTerminal:
    def test_a_table_fits_80_columns_one_line_a_run(
        self, amlstore_on_terminal: Callable[..., str], records: RecordStore
    ) -> None:
        long_id = "0123456789abcdef0123456789abcdef"
        records.runs.create("0", run_id=long_id, name="a rather long name of a run", start_ms=9000)
        records.runs.log(long_id, points=[("loss", 0.123456789, 0, 0), ("accuracy", 0.5, 0, 0)])

        shown = amlstore_on_terminal("runs")

        *lines, said = shown.splitlines()
        assert max(map(len, lines)) <= 80
        assert len(lines) == 5
        assert lines[0].split() == ["run_id", "name", "status", "start", "duration", "accuracy", "loss"]
        assert said == "Too wide for this terminal: experiment"
        assert lines[1].split()[-2:] == ["0.5", "0.123457"]
        assert lines[1].startswith(long_id[:8])

    def test_names_of_metrics_are_whole_and_as_many_as_fit(
        self, amlstore_on_terminal: Callable[..., str], records: RecordStore
    ) -> None:
        for number in range(4):
            records.runs.log("aaa1", points=[(f"validation/accuracy {number}", 0.5, 0, 0)])
        *lines, said = amlstore_on_terminal("runs").splitlines()
        assert lines[0].split("  ")[-1].strip().startswith("validation/accuracy ")
        assert said.endswith("experiment, start, duration, metrics.validation/accuracy 2")
        assert "…" not in lines[0]

    def test_ids_are_whole_where_they_fit(self, amlstore_on_terminal: Callable[..., str], records: RecordStore) -> None:
        long_id = "0123456789abcdef0123456789abcdef"
        records.runs.create("0", run_id=long_id, start_ms=9000)
        assert long_id in amlstore_on_terminal("runs", "--columns", "run_id,name,status")

    def test_odd_names_are_shown_literally(
        self, amlstore_on_terminal: Callable[..., str], workspace: EmbeddedWorkspace
    ) -> None:
        for name in ODD_NAMES:
            workspace.records.runs.create("0", name=name)
        names = amlstore_on_terminal("runs", "--columns", "name", "--order-by", "start_time").splitlines()
        assert sorted(line.rstrip() for line in names[1:]) == sorted(ODD_NAMES)

    @pytest.mark.parametrize("name", ODD_NAMES[:3])
    def test_odd_names_and_tags_of_one_run_are_shown_literally(
        self, amlstore_on_terminal: Callable[..., str], workspace: EmbeddedWorkspace, name: str
    ) -> None:
        run_id = workspace.records.runs.create("0", name=name, tags={"t": name}).info.run_id
        assert amlstore_on_terminal("show", run_id).count(name) == 3  # the name, its tag, and t

    def test_a_long_value_is_wrapped_and_a_very_long_one_cut(
        self, amlstore_on_terminal: Callable[..., str], workspace: EmbeddedWorkspace
    ) -> None:
        run_id = workspace.records.runs.create("0", tags={"t": "word " * 1000}).info.run_id
        shown = amlstore_on_terminal("show", run_id)
        assert "(5000 characters)" in shown
        assert max(map(len, shown.splitlines())) <= 80

    def test_doctor_fits_80_columns(self, amlstore_on_terminal: Callable[..., str]) -> None:
        shown = amlstore_on_terminal("doctor")
        assert max(map(len, shown.splitlines())) <= 80
        assert "records.db" not in shown
        assert "intact" in shown


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a\tb\nc\rd", "a b c d"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("model\u202egpj.exe\u2028", "model\\u202egpj.exe\\u2028"),
    ],
)
def test_control_characters_neither_break_lines_nor_command_the_terminal(
    amlstore: Amlstore, amlstore_on_terminal: Callable[..., str], workspace: EmbeddedWorkspace, name: str, line: str
) -> None:
    workspace.records.runs.create("0", run_id="odd", name=name)
    assert amlstore("runs", "--columns", "run_id,name").out == f"run_id\tname\nodd\t{line}\n"
    assert line in amlstore_on_terminal("runs", "--columns", "run_id,name")


def test_odd_names_pass_a_pipe_literally(amlstore: Amlstore, workspace: EmbeddedWorkspace) -> None:
    for name in ODD_NAMES:
        workspace.records.runs.create("0", name=name)
    assert sorted(amlstore("runs", "--columns", "name").out.splitlines()) == sorted([*ODD_NAMES, "name"])


@pytest.mark.usefixtures("records")
class TestShow:
    def test_a_run_is_shown_whole(self, amlstore: Amlstore, records: RecordStore) -> None:
        records.runs.add_properties("aaa1", {"commit": "abc"})
        records.runs.log_inputs(
            "aaa1", datasets=[DatasetInput(Dataset("d", "1", "s", "x"), {"mlflow.data.context": "c"})]
        )
        records.runs.create("0", run_id="child", parent_run_id="aaa1")
        records.files.write(run_container("0", "aaa1"), "model/a.txt", BytesIO(b"x" * 2048))

        result = amlstore("show", "aaa1")

        assert result.exit_code == 0
        sections = [section.splitlines() for section in result.out.strip().split("\n\n")]
        assert [section[0] for section in sections] == [
            "Run", "Metrics (latest)", "Params", "Properties", "Tags", "Datasets", "Files",
        ]  # fmt: skip
        by_title = {section[0]: section[2:] for section in sections}
        assert "status\tCompleted" in by_title["Run"]
        assert "child runs\tchild" in by_title["Run"]
        assert by_title["Params"] == ["lr\t0"]
        assert by_title["Properties"] == ["commit\tabc"]
        assert by_title["Metrics (latest)"] == ["loss\t0.5\t1\t1970-01-01 00:00:00"]
        assert by_title["Datasets"] == ["d\t1\tc"]
        assert by_title["Files"] == ["model/a.txt\t2.0 KiB\ttext/plain"]

    def test_as_much_of_the_id_as_is_unique_will_do(self, amlstore: Amlstore) -> None:
        assert "run_id\tbbb3\n" in amlstore("show", "b").out
        ambiguous = amlstore("show", "aaa")
        assert (ambiguous.exit_code, ambiguous.out) == (2, "")
        assert ambiguous.err == "amlstore: Invalid value 'aaa' for RUN: several runs' ids begin so; give more of it\n"

    def test_an_id_that_is_the_beginning_of_another_is_itself(self, amlstore: Amlstore, records: RecordStore) -> None:
        records.runs.create("0", run_id="aaa")
        assert "run_id\taaa\n" in amlstore("show", "aaa").out

    def test_underscores_in_ids_mean_themselves(self, amlstore: Amlstore, records: RecordStore) -> None:
        records.runs.create("0", run_id="x_1")
        records.runs.create("0", run_id="xy1")
        assert "run_id\tx_1\n" in amlstore("show", "x_").out

    @pytest.mark.parametrize("given", ["zzz", "", "%", "a'b", "_"])
    def test_an_unknown_run_is_not_found(self, amlstore: Amlstore, given: str) -> None:
        result = amlstore("show", given)
        assert (result.exit_code, result.out) == (1, "")
        assert result.err == f"amlstore: Run {given!r} not found. `amlstore runs` lists them\n"

    def test_a_deleted_run_is_shown_as_such(self, amlstore: Amlstore, records: RecordStore) -> None:
        records.runs.delete("bbb3")
        assert "status\tCompleted (deleted)\n" in amlstore("show", "bbb3").out

    def test_it_says_why_a_run_failed(self, amlstore: Amlstore, records: RecordStore) -> None:
        error = RunError("UserError", "The script ended with exit code 1. Its last lines:\nTraceback …\n")
        records.runs.create("0", run_id="failed")
        records.runs.update("failed", status=RunStatus.FAILED, error=error)
        assert "status\tFailed\nerror\tThe script ended with exit code 1.\n" in amlstore("show", "failed").out
        found = json.loads(amlstore("show", "failed", "--json").out)
        assert found["error"] == {"code": error.code, "message": error.message}

    def test_as_many_children_are_named_as_a_person_reads(self, amlstore: Amlstore, records: RecordStore) -> None:
        for number in range(32):
            records.runs.create("0", run_id=f"child-{number:02}", parent_run_id="aaa1")
        result = amlstore("show", "aaa1")
        assert ", child-29 and 2 more; --json has all\n" in result.out
        assert len(json.loads(amlstore("show", "aaa1", "--json").out)["children"]) == 32

    def test_json_has_files_and_children_too(self, amlstore: Amlstore, records: RecordStore) -> None:
        records.files.write(run_container("0", "aaa2"), "a.txt", BytesIO(b"x"))
        found = json.loads(amlstore("show", "aaa2", "--json").out)
        assert found["metrics"]["loss"]["value"] == "NaN"
        assert found["children"] == []
        [file] = found["files"]
        assert (file["path"], file["size_bytes"], len(file["sha256"])) == ("a.txt", 1, 64)


def test_the_shell_completes_ids_of_runs(amlstore: Amlstore, workspace: EmbeddedWorkspace) -> None:
    for run_id in ("abc1", "abd2", "xyz"):
        workspace.records.runs.create("0", run_id=run_id, name=f"of {run_id}")

    def completed(words: str) -> list[str]:
        environment = {"_AMLSTORE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        answered = amlstore(environment=environment).out
        return sorted(line.partition(",")[2] for line in answered.splitlines() if line)

    assert completed("amlstore show ab") == ["abc1", "abd2"]
    assert completed("amlstore compare abc1 x") == ["xyz"]
    assert completed("amlstore show --workspace /never ab") == []
