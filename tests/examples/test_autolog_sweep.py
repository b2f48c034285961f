from collections.abc import Callable

import pytest
from mlflow import MlflowClient

pytestmark = pytest.mark.needs("sklearn")


def test_the_sweep_is_a_parent_run_with_a_child_for_each_grid_point(
    run_example: Callable[..., str], open_client: Callable[[], MlflowClient]
) -> None:
    printed = run_example("autolog_sweep.py")

    client = open_client()
    runs = client.search_runs([client.get_experiment_by_name("diabetes-sweep").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    points = {(run.data.params["learning_rate"], run.data.params["max_depth"]) for run in children}
    assert points == {(rate, depth) for rate in ("0.02", "0.1", "0.5") for depth in ("1", "3")}
    assert len(children) == 6

    for run in children:  # what autologging adds
        assert run.info.status == "FINISHED"
        assert run.data.params["n_estimators"] == "50"
        assert run.data.metrics["training_mean_squared_error"] > 0
        assert run.data.tags["estimator_name"] == "GradientBoostingRegressor"

    best = min(children, key=lambda run: run.data.metrics["test_mse"])
    first_row = next(line for line in printed.splitlines() if line.startswith("│"))
    assert str(best.info.run_name) in first_row
    assert f"{best.data.metrics['test_mse']:.0f}" in first_row
