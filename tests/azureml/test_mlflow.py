"""`azureml.mlflow`, `azureml.widgets` and `azureml.exceptions`: what they are beside MLflow and in scripts."""

import io
from pathlib import Path

import mlflow
import pytest

from mlflow_amlstore.azureml import exceptions
from mlflow_amlstore.azureml.core import get_run
from mlflow_amlstore.azureml.mlflow import get_portal_url, register_model
from mlflow_amlstore.azureml.widgets import RunDetails
from mlflow_amlstore.core import Experiment, Model, Run, Workspace
from mlflow_amlstore.errors import NotFound, TrackingUriInvalid


def test_a_file_of_mlflows_run_is_registered(amlstore_workspace: Workspace) -> None:
    with mlflow.start_run() as run:
        mlflow.log_text("weights", "outputs/model.txt")
    model = register_model(run, "m", "outputs/model.txt", tags={"a": "1"}, model_framework="ScikitLearn")
    assert (model.id, model.run_id, model.tags, model.model_framework) == (
        "m:1",
        run.info.run_id,
        {"a": "1"},
        "ScikitLearn",
    )
    assert Model(amlstore_workspace, "m").id == "m:1"
    ours = amlstore_workspace.get_run(run.info.run_id)
    assert get_portal_url(run) == get_portal_url(ours) == ours.get_portal_url()
    assert register_model(run=ours, name="m", path="outputs/model.txt").version == 2
    with pytest.raises(NotFound, match="has no such file or folder"):
        register_model(run, "m", "never")


def test_a_run_that_mlflow_keeps_elsewhere_is_refused(amlstore_workspace: Workspace, tmp_path: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/elsewhere.db")
    with mlflow.start_run() as run:
        pass
    with pytest.raises(TrackingUriInvalid, match="must start with amlstore:///"):
        get_portal_url(run)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return Experiment(Workspace.create(tmp_path / "workspace"), "diabetes").start_logging()


def test_a_run_is_shown_as_text_where_there_is_no_notebook(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    RunDetails(run).show()
    assert run.id in capsys.readouterr().out
    assert RunDetails(run_instance=run).get_widget_data()["status"] == "Running"


def test_scripts_catch_our_errors_by_the_sdk_s_names(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = run.experiment.workspace
    with pytest.raises(exceptions.WebserviceException):
        Model(workspace, "never")
    with pytest.raises(exceptions.ModelNotFoundException):
        Model(workspace, id="never:1")
    with pytest.raises(exceptions.UserErrorException):
        run.log("", 1)
    for name in ("AZUREML_RUN_ID", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(exceptions.RunEnvironmentException):
        Run.get_context(allow_offline=False)
    run.upload_file("a.txt", io.BytesIO(b"a"))
    run.fail("why")
    with pytest.raises(exceptions.ActivityFailedException):
        run.wait_for_completion()
    with pytest.raises(exceptions.AzureMLException):
        Workspace.from_config("/never")


def test_get_run_opens_a_run_of_an_experiment(run: Run) -> None:
    assert get_run(run.experiment, run.id, rehydrate=False) == run
