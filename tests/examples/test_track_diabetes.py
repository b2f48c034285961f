"""The first example of the README: what it prints, what it keeps, and what it does when it is run again."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from mlflow import MlflowClient

pytestmark = pytest.mark.needs("sklearn")


class Done(NamedTuple):
    """A run of the example: the folder that it ran in, and what it printed."""

    folder: Path
    printed: str

    @property
    def client(self) -> MlflowClient:
        uri = f"amlstore://{self.folder}/amlstore-workspace"
        return MlflowClient(uri, uri)


@pytest.fixture(scope="module")
def done(run_example_in: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The example, run once."""
    folder = tmp_path_factory.mktemp("diabetes")
    return Done(folder, run_example_in(folder, "track_diabetes.py", "--alpha", "0.2"))


def test_what_it_prints_is_what_was_recorded(done: Done) -> None:
    client = done.client
    experiment = client.get_experiment_by_name("diabetes")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == {"alpha": "0.2"}
    assert list(run.data.metrics) == ["mse"]
    version = client.get_model_version_by_alias("diabetes_model", "champion")
    assert (int(version.version), version.run_id) == (1, run.info.run_id)

    assert f"New workspace in {done.folder}/amlstore-workspace" in done.printed
    assert run.info.run_id in done.printed
    assert f"{run.data.metrics['mse']:.2f}" in done.printed
    assert "diabetes_model@champion" in done.printed
    assert done.printed.endswith(f"Workspace: {done.folder}/amlstore-workspace\n")


def test_the_pickled_model_predicts_what_was_logged(done: Done, tmp_path: Path) -> None:
    from sklearn.datasets import load_diabetes
    from sklearn.metrics import mean_squared_error
    from sklearn.model_selection import train_test_split

    (run,) = done.client.search_runs([done.client.get_experiment_by_name("diabetes").experiment_id])
    (file,) = done.client.list_artifacts(run.info.run_id, "outputs")
    downloaded = Path(done.client.download_artifacts(run.info.run_id, file.path, str(tmp_path)))
    assert (file.path, file.file_size) == ("outputs/model.pkl", downloaded.stat().st_size)

    model = pickle.loads(downloaded.read_bytes())
    data, target = load_diabetes(return_X_y=True)
    _, test_data, _, test_target = train_test_split(data, target, test_size=0.2, random_state=0)
    assert mean_squared_error(test_target, model.predict(test_data)) == pytest.approx(run.data.metrics["mse"])


def test_run_again_it_adds_a_run_and_moves_the_alias_to_the_new_version(
    done: Done, run_example_in: Callable[..., str], tmp_path: Path
) -> None:
    shutil.copytree(done.folder, tmp_path, dirs_exist_ok=True)
    again = Done(tmp_path, run_example_in(tmp_path, "track_diabetes.py"))

    runs = again.client.search_runs([again.client.get_experiment_by_name("diabetes").experiment_id])
    assert len(runs) == 2
    version = again.client.get_model_version_by_alias("diabetes_model", "champion")
    assert (int(version.version), version.run_id) == (2, runs[0].info.run_id)
    assert "New workspace" not in again.printed
