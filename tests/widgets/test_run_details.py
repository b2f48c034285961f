"""`RunDetails` where there is no notebook: its text, and its data under the SDK's names."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlflow_amlstore.core import Run, Workspace
from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.widgets import RunDetails

_DATA = {
    "status", "workbench_run_details_uri", "run_id", "run_properties", "child_runs", "children_metrics", "run_metrics",
    "run_logs", "graph", "widget_settings",
}  # fmt: skip


def _with_log(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "std_log.txt").write_bytes(content)
    run.upload_file("user_logs/std_log.txt", tmp_path / "std_log.txt")


def test_in_a_script_it_is_a_text(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for value in (1.0, 0.5, 0.25):
        run.log("loss", value)
    run.log("alpha", 0.03)
    for mse in (0.3, 0.1):
        with run.child_run(f"mse {mse}") as child:
            child.log("mse", mse)
    _with_log(run, tmp_path, b"loading\n\r10%\r\x1b[32m100%\x1b[0m\nlast \x07line")
    run.complete()

    RunDetails(run).show(render_lib=None, widget_settings={"debug": True})
    facts, metrics, children, log = capsys.readouterr().out.rstrip("\n").split("\n\n")
    assert [line.split(maxsplit=1) for line in facts.splitlines()] == [
        ["Run", f"{run.name} ({run.id})"],
        ["Experiment", "diabetes"],
        ["Status", "Completed, 0:00"],
        ["Details", run.get_portal_url()],
    ]
    assert [line.split() for line in metrics.splitlines()] == [
        ["Metric", "Latest"],
        ["alpha", "0.03"],
        ["loss", "0.25", "█▃▁"],
    ]
    assert [line.split() for line in children.splitlines()] == [
        ["Child", "run", "Status", "mse"],
        ["mse", "0.1", "Completed", "0.1", "best"],
        ["mse", "0.3", "Completed", "0.3"],
    ]
    assert log.splitlines() == ["  loading", "  100%", "  last  line"]


def test_a_run_of_nothing_is_a_text_too(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    RunDetails(run_instance=run).show()
    printed = capsys.readouterr().out
    assert run.id in printed
    assert printed.count("\n\n") == 0


def test_of_many_children_some_are_named(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.create_children(count=30)
    RunDetails(run).show()
    assert capsys.readouterr().out.count("and 10 more\n") == 1
    for _ in range(2):
        run.create_children(count=100)
    RunDetails(run).show()
    assert capsys.readouterr().out.count("and more than 180 more\n") == 1


@pytest.mark.parametrize("what", [None, "a-run-id"])
def test_what_is_no_run_is_refused(what: Any) -> None:
    with pytest.raises(InvalidValue, match="run_instance"):
        RunDetails(what)


def test_a_failed_run_says_why(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.fail(ValueError("no rows"), error_code="DataError")
    RunDetails(run).show()
    assert "DataError: ValueError('no rows')" in capsys.readouterr().out


def test_the_data_have_the_sdks_names(run: Run, tmp_path: Path) -> None:
    run.log("loss", 1.0)
    run.log("loss", 0.5)
    run.log_row("split", train=0.8, test=0.2)
    with run.child_run("fold 1") as child:
        child.log("mse", 0.3)
    _with_log(run, tmp_path, b"first\nsecond\n")
    data = RunDetails(run).get_widget_data({"debug": True})
    assert set(data) == _DATA
    assert (data["status"], data["run_id"]) == ("Running", run.id)
    assert data["workbench_run_details_uri"] == run.get_portal_url()
    assert data["run_logs"] == "first\nsecond"
    assert [(each["run_id"], each["status"]) for each in data["child_runs"]] == [(child.id, "Completed")]
    assert data["run_metrics"] == [
        {"name": "loss", "run_id": run.id, "categories": [0, 1], "series": [{"name": "loss", "data": [1.0, 0.5]}]},
        {
            "name": "split",
            "run_id": run.id,
            "categories": [0],
            "series": [{"name": "train", "data": [0.8]}, {"name": "test", "data": [0.2]}],
        },
    ]
    assert data["children_metrics"][child.id][0]["series"] == [{"name": "mse", "data": [0.3]}]
    assert data["widget_settings"] == {"debug": True}
    assert list(data["run_properties"]["log_files"]) == ["user_logs/std_log.txt"]


def test_an_old_notebook_finds_it_by_the_sdks_name(workspace: Workspace) -> None:
    script = (
        "from mlflow_amlstore import install_as_azureml; install_as_azureml()\n"
        "from azureml.widgets import RunDetails as theirs\n"
        "from mlflow_amlstore.widgets import RunDetails as ours\n"
        "import sys; print(theirs is ours, 'anywidget' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]  # the extra isn't needed before a notebook shows it
