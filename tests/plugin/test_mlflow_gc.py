"""`mlflow gc` on a workspace: what is deleted goes for good, all else stays."""

from collections.abc import Callable

import mlflow
import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient
from mlflow.cli import gc
from mlflow.entities import ViewType

from mlflow_amlstore.workspace.opening import EmbeddedWorkspace

Collect = Callable[..., Result]


@pytest.fixture
def collect(workspace: EmbeddedWorkspace) -> Collect:
    """Run `mlflow gc ARGUMENTS` on the workspace."""

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(gc, ["--backend-store-uri", workspace.root_uri, *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def run_with_file(client: MlflowClient, experiment_id: str = "0") -> str:
    run_id = str(client.create_run(experiment_id).info.run_id)
    client.log_metric(run_id, "loss", 0.5)
    client.log_text(run_id, run_id, "file.txt")
    return run_id


def all_runs(client: MlflowClient, experiment_id: str = "0") -> set[str]:
    return {run.info.run_id for run in client.search_runs([experiment_id], run_view_type=ViewType.ALL)}


def test_deleted_runs_go_with_their_files(client: MlflowClient, workspace: EmbeddedWorkspace, collect: Collect) -> None:
    kept, gone = run_with_file(client), run_with_file(client)
    client.delete_run(gone)

    assert f"Run with ID {gone} has been permanently deleted" in collect().output

    assert all_runs(client) == {kept}
    contents = [path.read_text() for path in (workspace.folder / "files").rglob("*") if path.is_file()]
    assert contents == [kept]


def test_a_deleted_experiment_goes_with_its_runs(client: MlflowClient, collect: Collect) -> None:
    experiment_id = client.create_experiment("gone")
    run_with_file(client, experiment_id)
    client.delete_experiment(experiment_id)

    collect()

    assert [found.name for found in client.search_experiments(ViewType.ALL)] == ["Default"]
    assert all_runs(client, experiment_id) == set()


def test_only_runs_that_are_deleted_may_be_named(client: MlflowClient, collect: Collect) -> None:
    active = run_with_file(client)
    with pytest.raises((mlflow.MlflowException, TypeError)):  # MLflow 2.16 fails at writing the error's text
        collect("--run-ids", active)
    assert all_runs(client) == {active}


def test_what_was_deleted_a_moment_ago_is_not_older_than_a_day(client: MlflowClient, collect: Collect) -> None:
    deleted = run_with_file(client)
    client.delete_run(deleted)

    collect("--older-than", "1d")

    assert all_runs(client) == {deleted}


@pytest.mark.skipif(not hasattr(mlflow, "initialize_logged_model"), reason="MLflow 2 has no logged models")
def test_a_deleted_logged_model_goes(client: MlflowClient, workspace: EmbeddedWorkspace, collect: Collect) -> None:
    models = [mlflow.initialize_logged_model(name) for name in ("kept", "gone")]
    client.delete_logged_model(models[1].model_id)

    collect()

    assert workspace.records.trash.list_deleted().model_ids == []
    assert client.get_logged_model(models[0].model_id).name == "kept"
