"""The commands that read a workspace, when it is a service or as strict as Azure ML: by `--url` and by config.json."""

import csv
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest
from forked_service import ForkedService

from mlflow_amlstore.core import Experiment, Workspace

from .conftest import Amlstore, Result

Command = Callable[..., Result]
HAS_LOGGED_MODELS = hasattr(mlflow.MlflowClient, "create_logged_model")  # since MLflow 3
CONFUSION = {
    "schema_type": "confusion_matrix",
    "schema_version": "1.0.0",
    "data": {"class_labels": ["a", "b"], "matrix": [[3, 1], [0, 2]]},
}


@pytest.fixture(scope="module", params=[(), ("--parity",)], ids=["service", "parity"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedService]:
    """A service with two runs of `sweep`, and one of `vocabulary`."""
    with ForkedService(tmp_path_factory.mktemp("served") / "workspace", *request.param) as running:
        _fill(running)
        yield running


def _fill(service: ForkedService) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMLSTORE_KEY", service.key)
        workspace = Workspace.from_url(service.url)
        client = mlflow.MlflowClient(workspace.get_mlflow_tracking_uri())
        experiment_id = client.create_experiment("sweep")
        for number in range(2):
            run = client.create_run(experiment_id, run_name=f"run {number}")
            client.log_param(run.info.run_id, "rate", number / 10)
            client.log_param(run.info.run_id, "seed", 1)
            for step in range(3):
                client.log_metric(run.info.run_id, "loss", number + 1 / (step + 1), step=step)
            client.log_text(run.info.run_id, "text", "outputs/note.txt")
            client.set_terminated(run.info.run_id)
        if HAS_LOGGED_MODELS:
            _log_model(client, experiment_id)
        run = Experiment(workspace, "vocabulary").start_logging(snapshot_directory=None, outputs=None)
        run.log("accuracy", 0.5, "how many are right")
        run.log_table("squares", {"x": [1, 2], "y": [1, 4]})
        run.log_confusion_matrix("confusion", CONFUSION)
        run.complete()
        workspace.close()


def _log_model(client: mlflow.MlflowClient, experiment_id: str) -> None:
    """A run with a model of one file, as MLflow 3 logs it."""
    run = client.create_run(experiment_id, run_name="run with a model")
    model = client.create_logged_model(experiment_id, "net", source_run_id=run.info.run_id)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "weights.bin").write_text("weights")
        client.log_model_artifacts(model.model_id, folder)
    client.log_outputs(run.info.run_id, [mlflow.entities.LoggedModelOutput(model.model_id, 0)])
    client.set_terminated(run.info.run_id)


@pytest.fixture(params=["url", "config.json"])
def command(request: pytest.FixtureRequest, service: ForkedService, amlstore: Amlstore, tmp_path: Path) -> Command:
    """Run `amlstore COMMAND …` from an empty folder, or from one whose config.json names the service."""
    folder = tmp_path / "client"
    folder.mkdir()
    environment = {"AMLSTORE_KEY": service.key}
    if request.param == "config.json":
        (folder / "config.json").write_text(json.dumps({"service_url": service.url}))

    def run(name: str, *arguments: str) -> Result:
        place = ["--url", service.url] if request.param == "url" else []
        result = amlstore(name, *place, *arguments, folder=folder, environment=environment)
        assert result.exit_code == 0, result.err
        return result

    return run


def ids_by_name(command: Command) -> dict[str, str]:
    return {run["name"]: run["run_id"] for run in json.loads(command("runs", "--json").out)}


def test_experiments_and_runs_are_listed(command: Command) -> None:
    experiments = command("experiments", "--filter", "name LIKE '%e%'", "--order-by", "name ASC").rows
    assert [row[1] for row in experiments] == ["name", "Default", "sweep"]

    runs = command("runs", "-e", "sweep", "--filter", "metrics.loss < 1", "--columns", "name,status,metrics.loss")
    assert runs.rows[0] == ["name", "status", "metrics.loss"]
    assert [row[:2] for row in runs.rows[1:]] == [["run 0", "Completed"]]


def test_an_order_that_azure_ml_lacks_is_refused_without_a_filter_that_was_not_given(
    amlstore: Amlstore, service: ForkedService, request: pytest.FixtureRequest
) -> None:
    given = ["runs", "--url", service.url, "--order-by", "metrics.loss ASC"]
    refused = amlstore(*given, environment=service.environment)
    with_filter = amlstore(*given, "--filter", "metrics.loss < 9", environment=service.environment)
    if request.node.callspec.params["service"] == ():
        assert (refused.exit_code, with_filter.exit_code) == (0, 0)
    else:
        problem = "amlstore: Currently unsupported: ordering by metric 'loss'"
        assert refused.err == f"{problem}\n"
        assert with_filter.err == f"{problem}. Provided filter string: metrics.loss < 9\n"


def test_a_run_is_shown_whole_by_the_beginning_of_its_id(command: Command) -> None:
    ids = ids_by_name(command)
    shown = json.loads(command("show", ids["run 1"][:12], "--json").out)
    assert (shown["run_id"], shown["experiment"], shown["params"]) == (
        ids["run 1"],
        "sweep",
        {"rate": "0.1", "seed": "1"},
    )
    assert shown["metrics"]["loss"]["value"] == pytest.approx(4 / 3)
    assert [file["path"] for file in shown["files"]] == ["outputs/note.txt"]


def test_what_run_logged_is_shown(command: Command, request: pytest.FixtureRequest) -> None:
    ids = ids_by_name(command)
    [run_id] = [run_id for name, run_id in ids.items() if not name.startswith("run ")]
    shown = command("show", run_id).out
    assert "Table squares: 2 rows" in shown
    assert "Confusion matrix confusion" in shown
    is_service_of_ours = request.node.callspec.params["service"] == ()
    assert ("how many are right" in shown) == is_service_of_ours  # Azure ML keeps no descriptions


def test_runs_are_compared_and_exported(command: Command, tmp_path: Path) -> None:
    ids = ids_by_name(command)
    compared = command("compare", ids["run 0"], ids["run 1"]).rows
    assert [row[0] for row in compared] == ["", "name", "status", "params.rate", "metrics.loss"]

    command("export", ids["run 1"], str(tmp_path / "exported"))
    with (tmp_path / "exported" / "metrics.csv").open(newline="") as file:
        assert [(row["name"], row["step"]) for row in csv.DictReader(file)] == [("loss", str(n)) for n in range(3)]
    assert (tmp_path / "exported" / "files" / "outputs" / "note.txt").read_text() == "text"


@pytest.mark.skipif(not HAS_LOGGED_MODELS, reason="MLflow 2 has no logged models")
def test_the_files_of_a_runs_models_are_shown_and_exported(command: Command, tmp_path: Path) -> None:
    """Whether they are the models' own, or the run's, as on Azure ML."""
    run_id = ids_by_name(command)["run with a model"]
    shown = json.loads(command("show", run_id, "--json").out)
    [model] = shown["models"]
    assert [file["path"] for file in shown["files"]] == [f"models/{model['model_id']}/weights.bin"]

    command("export", run_id, str(tmp_path / "exported"))
    [exported] = (tmp_path / "exported").rglob("weights.bin")
    assert exported.read_text() == "weights"
    assert exported.parent.name == model["model_id"]


def test_a_metric_is_drawn(command: Command, tmp_path: Path) -> None:
    command("plot", ids_by_name(command)["run 0"], "loss", "-o", str(tmp_path / "loss.png"))
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_is_deleted_and_comes_back(command: Command) -> None:
    run_id = ids_by_name(command)["run 0"]
    command("delete", run_id)
    assert [row[1] for row in command("runs", "--deleted").rows[1:]] == ["run 0"]
    assert "(deleted)" in command("show", run_id).out

    command("restore", run_id)
    assert command("runs", "--deleted").rows[1:] == []


def test_a_run_that_is_not_there_is_named(service: ForkedService, amlstore: Amlstore, tmp_path: Path) -> None:
    environment = {"AMLSTORE_KEY": service.key}
    result = amlstore("show", "--url", service.url, "never", environment=environment, folder=tmp_path)
    assert (result.exit_code, result.err) == (1, "amlstore: Run 'never' not found. `amlstore runs` lists them\n")


def test_files_of_a_run_are_printed(command: Command) -> None:
    assert command("logs", ids_by_name(command)["run 1"], "--file", "outputs/note.txt").out == "text"


def test_a_script_is_submitted_listed_followed_and_canceled(
    amlstore: Amlstore, service: ForkedService, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "train.py").write_text("import sys, time\nprint('ran')\ntime.sleep(float(sys.argv[1]))\n")

    def at_service(*arguments: str) -> Result:
        command, *more = arguments
        environment = {**service.environment, "AMLSTORE_KEY": service.key}
        return amlstore(command, "--url", service.url, *more, environment=environment)

    done = at_service("submit", "-f", str(tmp_path / "source"), "train.py", "--", "0")
    if "parity" in request.node.name:  # our client takes it for Azure ML, which has targets of its own
        assert (done.exit_code, "--parity" in done.err) == (1, True)
        return
    assert done.exit_code == 0, done.err
    assert done.out.splitlines()[1:] == ["ran"]
    assert at_service("queue", "--json").out == "[]\n"
    run_id = at_service("submit", str(tmp_path / "source"), "train.py", "--", "600").out.strip()
    assert [each["run_id"] for each in json.loads(at_service("queue", "--json").out)] == [run_id]
    assert "Ended" in at_service("cancel", "--wait", run_id).out
    assert at_service("logs", "-f", run_id).out in ("ran\n", "")
