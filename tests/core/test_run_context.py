"""`Run.get_context()`: the run that the environment names, else an offline one."""

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from fork_server import run_forked
from forked_service import ForkedService

from mlflow_amlstore.client.tokens.credentials import KeyCredential
from mlflow_amlstore.core import Experiment, Run, Workspace
from mlflow_amlstore.errors import InvalidState, NotFound, NotSupported


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZUREML_RUN_ID", "MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI", "AZUREML_SERVICE_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def test_a_submitted_script_finds_its_run_and_leaves_its_status_to_who_submitted_it(
    ws: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZUREML_RUN_ID", run.id)
    monkeypatch.setenv("MLFLOW_RUN_ID", "another")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ws.get_mlflow_tracking_uri())
    with Run.get_context() as found:
        found.log("m", 1)
    found.complete()
    assert (found.id, found.experiment.name, found.experiment.workspace.name) == (run.id, "diabetes", "workspace")
    assert (run.get_metrics(), run.get_status()) == ({"m": 1}, "Running")
    pickle.loads(pickle.dumps(found)).complete()
    found.fail("why")
    assert (run.get_status(), run.get_details()["error"]["error"]["message"]) == ("Running", "why")
    found.child_run().complete()
    assert [child.get_status() for child in run.get_children()] == ["Completed"]


def test_mlflows_own_variables_are_enough(ws: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", run.id)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ws.get_mlflow_tracking_uri())
    found = Run.get_context(allow_offline=False)
    found.complete()
    assert (found, run.get_status()) == (run, "Completed")


def test_a_run_that_isnt_there_is_an_error_never_an_offline_run(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "never")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ws.get_mlflow_tracking_uri())
    with pytest.raises(NotFound, match="'never'"):
        Run.get_context()


def test_elsewhere_it_is_an_offline_run_that_prints_and_keeps_what_is_logged(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = Run.get_context()
    assert run.id.startswith("OfflineRun_")
    assert Run.get_context() is run
    (tmp_path / "a.txt").write_text("a")
    run.log("loss", 0.5, step=3)
    run.log_list("list", [1, 2])
    run.log_row("row", x=1, y="b")
    run.tag("stage", "warm-up")
    copy.copy(run).upload_file("a.txt", tmp_path / "a.txt")
    with run.child_run("child") as child:
        child.log("m", 1)
    assert capsys.readouterr().out == (
        "[offline run] loss = 0.5 (step 3)\n[offline run] list = [1, 2] (list)\n"
        "[offline run] row = {'x': [1], 'y': ['b']} (row)\n[offline run] tags {'stage': 'warm-up'}\n"
        "[offline run] file a.txt\n[offline run] m = 1\n"
    )
    assert run.get_metrics() == {"loss": 0.5, "list": [1, 2], "row": {"x": 1, "y": "b"}}
    assert (run.get_tags(), run.get_file_names()) == ({"stage": "warm-up"}, ["a.txt"])
    assert not hasattr(run, "experiment")
    for of_run in (run, child, copy.copy(run)):
        with pytest.raises(AttributeError, match=r"Run\.experiment of an offline run is not .*`amlstore init`"):
            _ = of_run.experiment
        with pytest.raises(NotSupported, match=r"Run\.register_model of an offline run is not supported"):
            of_run.register_model("a", "a.txt")
    assert run.get_details()["status"] == "Running"
    assert [found.id for found in run.get_children()] == [child.id]
    run.complete()
    assert run.get_status() == "Completed"


_IN_A_FOLDER = """
import sys
import mlflow
from mlflow_amlstore.core import Run
run = Run.get_context()
run.log("loss", 0.5)
logger = mlflow.MlflowClient(run.experiment.workspace.get_mlflow_tracking_uri())
logger.log_metric(run.id, "acc", 0.9)
run.child_run("child").complete()
print(run.id)
if sys.argv[1:]:
    raise SystemError
"""

_ELSEWHERE = """
from mlflow_amlstore.core import Run
run = Run.get_context()
run.log("m", 1)
print(hasattr(run, "experiment"))
"""


@pytest.mark.parametrize(("arguments", "status"), [([], "Completed"), (["raise"], "Failed")])
def test_where_config_json_names_a_folder_it_is_a_run_of_it(tmp_path: Path, arguments: list[str], status: str) -> None:
    ws = Workspace.create(tmp_path / "ws")
    ws.write_config(tmp_path)
    (tmp_path / "deep").mkdir()
    ended = run_forked(["-c", _IN_A_FOLDER, *arguments], cwd=tmp_path / "deep")
    told, run_id = ended.stdout.splitlines()
    assert (told, ended.returncode) == ("[offline run] loss = 0.5", len(arguments))
    assert run_id.startswith("OfflineRun_")
    run = Run.get(ws, run_id)
    assert (run.experiment.name, run.get_status(), run.get_metrics()) == (
        "Offline",
        status,
        {"loss": 0.5, "acc": 0.9},
    )
    assert [child.name for child in run.get_children()] == ["child"]


OF_AZURE = {"subscription_id": "a", "resource_group": "b", "workspace_name": "c"}


@pytest.mark.parametrize("config", [{"service_url": "http://127.0.0.1:9"}, OF_AZURE, None])
def test_where_it_names_another_kind_nothing_is_made_there(tmp_path: Path, config: object) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    ended = run_forked(["-c", _ELSEWHERE], cwd=tmp_path, check=True)
    assert (ended.stdout, ended.stderr) == ("[offline run] m = 1\nFalse\n", "")


def test_where_it_belongs_to_another_program_a_warning_says_that_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    ended = run_forked(["-c", _ELSEWHERE], cwd=tmp_path, check=True)
    assert ended.stdout == "[offline run] m = 1\nFalse\n"
    assert f"{tmp_path}/config.json can't be used: it names no workspace" in ended.stderr
    assert ended.stderr.endswith("What is logged is printed, and kept nowhere\n")


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ("{bad", "ConfigInvalid: {folder}/config.json can't be used: it is not JSON"),
        ('{"subscription_id": "a"}', "ConfigInvalid: {folder}/config.json can't be used: it names no workspace"),
        ('{"path": "gone"}', "WorkspaceNotFound: No workspace in {folder}/gone, which {folder}/config.json names"),
        ('{"path": "damaged"}', "WorkspaceCorrupt: The records of workspace {folder}/damaged can't be read"),
    ],
)
def test_where_it_or_its_workspace_is_broken_nothing_is_logged_and_lost(
    tmp_path: Path, config: str, error: str
) -> None:
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "records.db").write_bytes(b"x" * 5000)
    ended = run_forked(["-c", _ELSEWHERE], cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert error.format(folder=tmp_path) in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("variable", ["AZUREML_RUN_ID", "MLFLOW_RUN_ID"])
def test_a_run_whose_workspace_isnt_named_is_offline_with_one_warning(tmp_path: Path, variable: str) -> None:
    code = f"{_ELSEWHERE}Run.get_context()"
    ended = run_forked(["-c", code], cwd=tmp_path, env={**os.environ, variable: "abc"}, check=True)
    assert ended.stderr == (
        "The environment names the run 'abc' and not its workspace: set MLFLOW_TRACKING_URI. What is logged is "
        "printed, and kept nowhere\n"
    )
    Workspace.create(tmp_path)
    ended = run_forked(["-c", code], cwd=tmp_path, env={**os.environ, variable: "abc"}, check=True)
    assert f", a new run in {tmp_path}, instead\n" in ended.stderr


def test_azure_ml_s_variables_go_before_mlflow_s(
    ws: Workspace, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ForkedService(tmp_path / "job") as service:
        opened = Workspace.from_url(service.url, KeyCredential(service.url, service.key))
        mine = Experiment(opened, "job").start_logging(snapshot_directory=None, outputs=False)
        monkeypatch.setenv("AZUREML_RUN_ID", mine.id)
        monkeypatch.setenv("AZUREML_SERVICE_ENDPOINT", service.url)
        monkeypatch.setenv("AZUREML_ARM_SUBSCRIPTION", opened.subscription_id)
        monkeypatch.setenv("AZUREML_ARM_RESOURCEGROUP", opened.resource_group)
        monkeypatch.setenv("AZUREML_ARM_WORKSPACE_NAME", opened.name)
        monkeypatch.setenv("AMLSTORE_KEY", service.key)
        for leftover in ("http://somebody.example.org", ws.get_mlflow_tracking_uri()):
            monkeypatch.setenv("MLFLOW_TRACKING_URI", leftover)
            assert Run.get_context(allow_offline=False).id == mine.id
        opened.close()


def test_a_run_that_mlflow_has_taken_over_is_still_this_process_s(ws: Workspace, run: Run) -> None:
    code = """
import mlflow
from mlflow_amlstore.core import Run
with mlflow.start_run():
    print(Run.get_context(allow_offline=False).id)
"""
    variables = {"MLFLOW_RUN_ID": run.id, "MLFLOW_TRACKING_URI": ws.get_mlflow_tracking_uri()}
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, env={**os.environ, **variables}, check=True, stdout=subprocess.PIPE, text=True)
    assert told.stdout.splitlines()[0] == run.id


def test_where_offline_isnt_allowed_the_error_names_the_variables() -> None:
    with pytest.raises(InvalidState, match="AZUREML_RUN_ID or MLFLOW_RUN_ID, and MLFLOW_TRACKING_URI"):
        Run.get_context(allow_offline=False)


_FORKED = """
import os, sys
from mlflow_amlstore.core import Run
run = Run.get_context()
run.log("m", 1)
pid = os.fork()
if pid == 0:
    sys.exit()
os.waitpid(pid, 0)
run.log("m", 2)
print(run.get_metrics())
"""
_POOL = """
import multiprocessing, os
from mlflow_amlstore.core import Run
def work(number):
    run = Run.get_context()
    run.log("m", number)
    return run.id, os.path.exists(run._experiment.workspace.path)
if __name__ == "__main__":
    known = {known}
    with multiprocessing.get_context({start!r}).Pool(2) as pool:
        done = pool.map(work, [1, 2, 3], 1)
        pool.close()
        pool.join()
    if known:
        print({{(run_id, there) for run_id, there in done}} == {{(known.id, True)}}, sorted(known.get_metrics()["m"]))
    else:
        print(Run.get_context().id not in {{run_id for run_id, _ in done}})
"""


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        (_FORKED, "{'m': [1, 2]}"),
        (_POOL.format(known="Run.get_context()", start="fork"), "True [1, 2, 3]"),
        (_POOL.format(known="None", start="fork"), "True"),
        (_POOL.format(known="None", start="spawn"), "True"),
    ],
    ids=["forked", "pool forked with a run", "pool forked without", "pool spawned"],
)
def test_an_offline_run_is_one_with_that_of_the_workers_forked_since_and_its_folder_goes(
    tmp_path: Path, code: str, printed: str
) -> None:
    (tmp_path / "script.py").write_text(code)
    (tmp_path / "temporary").mkdir()
    environment = {"PATH": "", "TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    ended = run_forked([tmp_path / "script.py"], env=environment, check=True)
    assert ended.stdout.splitlines()[-1] == printed
    assert list((tmp_path / "temporary").iterdir()) == []
