"""An experiment that gets another name while its runs go on."""

import pytest
from mlflow import MlflowClient

from mlflow_amlstore.core import Experiment, Run, Workspace

EACH_KIND = pytest.mark.parametrize("ws", ["embedded", "served"], indirect=True)


@EACH_KIND
def test_a_run_goes_on_in_a_renamed_experiment_although_another_takes_its_name(ws: Workspace, run: Run) -> None:
    MlflowClient(ws.get_mlflow_tracking_uri()).rename_experiment(run.experiment.id, "renamed")
    Experiment(ws, "diabetes").start_logging(snapshot_directory=None)

    run.log("m", 1)
    run.tag("t", "1")
    child = run.child_run("child")
    child.complete()
    run.complete()

    renamed = Experiment(ws, "renamed")
    assert [found.id for found in renamed.get_runs()] == [run.id]
    assert [found.id for found in run.get_children()] == [child.id]
    assert (Run(renamed, run.id).get_metrics(), run.get_tags(), run.get_status()) == ({"m": 1}, {"t": "1"}, "Completed")
