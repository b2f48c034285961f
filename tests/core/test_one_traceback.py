"""An error that ends a script is one traceback, with our sentence last: what it was made of says nothing more."""

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mlflow_amlstore.core import Model, Run, Workspace
from mlflow_amlstore.core.conda_dependencies import CondaDependencies
from mlflow_amlstore.errors import AmlStoreError

EACH_KIND = pytest.mark.parametrize("ws", ["embedded", "served"], indirect=True)


def _flush_into_a_deleted_run(run: Run) -> None:
    MlflowClient(run.experiment.workspace.get_mlflow_tracking_uri()).delete_run(run.id)
    run.log("loss", 0.5)
    run.flush()


def _open_what_config_json_means(_: Run) -> Workspace:
    Path("config.json").write_text("{bad")
    return Workspace.from_config()


@EACH_KIND
@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda run: run.experiment.workspace.get_run("nope"), "Run 'nope' not found"),
        (lambda run: Model(run.experiment.workspace, "nope", version=3), "Model 'nope:3' not found"),
        (_flush_into_a_deleted_run, "Current state is deleted; restore it first"),
        (_open_what_config_json_means, "correct it, or make a new one with `amlstore init`"),
        (lambda run: run.log_image("image", path="none.png"), "can't be read: No such file or directory"),
        (lambda run: CondaDependencies("none.yml"), "can't be read: No such file or directory"),
    ],
    ids=["run", "model", "deleted run", "config.json", "image", "conda file"],
)
def test_an_error_has_no_cause_that_says_the_same(
    ws: Workspace, run: Run, call: Callable[[Run], object], sentence: str
) -> None:
    with pytest.raises(AmlStoreError) as raised:
        call(run)
    shown = "".join(traceback.format_exception(raised.value))
    assert shown.count("Traceback (most recent call last)") == 1
    assert shown.endswith(f"{sentence}\n")
