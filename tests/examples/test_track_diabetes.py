import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

pytestmark = pytest.mark.needs("sklearn")


def test_what_it_prints_is_what_was_recorded(
    run_example: Callable[..., str], open_client: Callable[[], MlflowClient], tmp_path: Path
) -> None:
    printed = run_example("track_diabetes.py", "--alpha", "0.2")

    client = open_client()
    experiment = client.get_experiment_by_name("diabetes")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == {"alpha": "0.2"}
    assert list(run.data.metrics) == ["mse"]
    version = client.get_model_version_by_alias("diabetes_model", "champion")
    assert (int(version.version), version.run_id) == (1, run.info.run_id)

    assert f"New workspace in {tmp_path}/amlstore-workspace" in printed
    assert run.info.run_id in printed
    assert f"{run.data.metrics['mse']:.2f}" in printed
    assert "diabetes_model@champion" in printed
    assert printed.endswith(f"Workspace: {tmp_path}/amlstore-workspace\n")


def test_the_pickled_model_predicts_what_was_logged(
    run_example: Callable[..., str], open_client: Callable[[], MlflowClient], tmp_path: Path
) -> None:
    run_example("track_diabetes.py")

    from sklearn.datasets import load_diabetes
    from sklearn.metrics import mean_squared_error
    from sklearn.model_selection import train_test_split

    client = open_client()
    (run,) = client.search_runs([client.get_experiment_by_name("diabetes").experiment_id])
    (file,) = client.list_artifacts(run.info.run_id, "outputs")
    downloaded = Path(client.download_artifacts(run.info.run_id, file.path, str(tmp_path)))
    assert (file.path, file.file_size) == ("outputs/model.pkl", downloaded.stat().st_size)

    model = pickle.loads(downloaded.read_bytes())
    data, target = load_diabetes(return_X_y=True)
    _, test_data, _, test_target = train_test_split(data, target, test_size=0.2, random_state=0)
    assert mean_squared_error(test_target, model.predict(test_data)) == pytest.approx(run.data.metrics["mse"])


def test_run_again_it_adds_a_run_and_moves_the_alias_to_the_new_version(
    run_example: Callable[..., str], open_client: Callable[[], MlflowClient]
) -> None:
    run_example("track_diabetes.py")
    printed = run_example("track_diabetes.py")

    client = open_client()
    runs = client.search_runs([client.get_experiment_by_name("diabetes").experiment_id])
    assert len(runs) == 2
    version = client.get_model_version_by_alias("diabetes_model", "champion")
    assert (int(version.version), version.run_id) == (2, runs[0].info.run_id)
    assert "New workspace" not in printed
