"""What a runner says of the environment that it took, and of what `azureml` means in it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_amlstore.core import Experiment, Workspace
from mlflow_amlstore.runner.launch import Launch, RunFolder
from mlflow_amlstore.runner.preparation_log import PreparationLog, node_name

Said = Callable[..., list[str]]


@pytest.fixture
def said(tmp_path: Path) -> Iterator[Said]:
    """What a log has in a run's record that was told things: `said(lambda log: log.say("hello"), environment={})`."""
    workspace = Workspace.create(tmp_path / "workspace")

    def tell(what: Callable[[PreparationLog], object], **definition: Any) -> list[str]:
        run = Experiment(workspace, "submitted").start_logging(snapshot_directory=None)
        launch = Launch(run.id, run.experiment.id, str(workspace.path), definition)
        log = PreparationLog(launch, RunFolder(tmp_path / run.id))
        what(log)
        log.end(workspace.records)
        text = run.get_details_with_logs()["logFiles"][f"azureml-logs/65_job_prep-{node_name()}.txt"]
        return [line.partition("Z ")[2] for line in text.splitlines()]

    yield tell
    workspace.close()


USER_MANAGED = {"name": "mine", "python": {"userManagedDependencies": True, "interpreterPath": "/opt/python"}}
LISTED = {"name": "listed", "python": {"condaDependencies": {"dependencies": [{"pip": ["numpy"]}]}}}


@pytest.mark.parametrize(
    ("environment", "python", "built_s", "line"),
    [
        (None, sys.executable, None, f"Python: {sys.executable}"),
        (USER_MANAGED, "/opt/python", None, "Environment 'mine' is user-managed. Python: /opt/python"),
        (LISTED, "/cache/python", None, "Environment 'listed' was in the cache. Python: /cache/python"),
        (
            LISTED,
            "/cache/python",
            61.26,
            "Environment 'listed' was ready after 61.3 s (azureml-logs/20_image_build_log.txt). Python: /cache/python",
        ),
    ],
    ids=["none", "user-managed", "cached", "built"],
)
def test_which_environment_was_taken(said: Said, environment: Any, python: str, built_s: Any, line: str) -> None:
    assert said(lambda log: log.say_interpreter([python], built_s), environment=environment) == [line]


@pytest.mark.parametrize(
    ("with_sdk", "without_sdk", "is_said"),
    [(["3.12"], [], True), ([], ["3.12"], False), (["3.12"], ["3.13"], False)],
    ids=["it has the SDK", "it doesn't", "it isn't known which folder is its own"],
)
def test_what_azureml_means_is_said_where_another_python_is_sure_to_have_the_sdk(
    said: Said, tmp_path: Path, with_sdk: list[str], without_sdk: list[str], is_said: bool
) -> None:
    for version in with_sdk + without_sdk:
        (tmp_path / f"lib/python{version}/site-packages/azureml/core").mkdir(parents=True)
    for version in with_sdk:
        (tmp_path / f"lib/python{version}/site-packages/azureml/core/__init__.py").touch()
    started, *azureml = said(lambda log: log.say_started([7], [str(tmp_path / "bin" / "python")], ""))
    assert started == "Started the script as process 7"
    assert bool(azureml) == is_said


def test_secrets_are_taken_out(said: Said) -> None:
    assert said(lambda log: log.say("https://me:secret@example.com can't be read")) == [
        "https://REDACTED@example.com can't be read"
    ]
