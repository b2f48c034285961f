"""Optuna's `MLflowCallback`: a study is an experiment, and each trial a run; and a study that the workspace keeps."""

import mlflow
import optuna
import pytest
from mlflow import MlflowClient
from mlflow.optuna.storage import MlflowStorage
from optuna_integration import MLflowCallback

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::optuna.exceptions.ExperimentalWarning")


def test_each_trial_is_a_run_of_the_studys_experiment(client: MlflowClient) -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -3, 3)
        depth = trial.suggest_int("depth", 1, 4)
        trial.set_user_attr("is_deep", depth > 2)
        if trial.number == 3:
            raise optuna.TrialPruned
        return x**2 + depth

    study = optuna.create_study(study_name="parabola", sampler=optuna.samplers.RandomSampler(seed=0))
    callback = MLflowCallback(tracking_uri=mlflow.get_tracking_uri(), metric_name="error")
    study.optimize(objective, n_trials=5, callbacks=[callback])

    experiment = client.get_experiment_by_name("parabola")
    runs = client.search_runs([experiment.experiment_id], order_by=["start_time ASC"])
    assert [run.info.run_name for run in runs] == ["0", "1", "2", "3", "4"]
    for run, trial in zip(runs, study.trials, strict=True):
        assert run.info.status == "FINISHED"
        assert run.data.params == {name: str(value) for name, value in trial.params.items()}
        assert run.data.metrics == ({"error": trial.value} if trial.number != 3 else {})
        assert run.data.tags["state"] == trial.state.name
        assert run.data.tags["direction"] == "MINIMIZE"
        assert run.data.tags["is_deep"] == str(trial.user_attrs["is_deep"])
        assert run.data.tags["x_distribution"] == str(trial.distributions["x"])

    best, *_ = client.search_runs([experiment.experiment_id], "metrics.error < 100", order_by=["metrics.error ASC"])
    assert best.info.run_name == str(study.best_trial.number)


def test_the_objective_may_log_into_the_trials_run(client: MlflowClient) -> None:
    callback = MLflowCallback(tracking_uri=mlflow.get_tracking_uri(), metric_name=["low", "high"])

    @callback.track_in_mlflow()  # type: ignore[untyped-decorator]
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        x = trial.suggest_float("x", 0, 1)
        for step in range(3):
            mlflow.log_metric("loss", x + step, step=step)
        return x, -x

    study = optuna.create_study(study_name="inside", directions=["minimize", "maximize"])
    study.optimize(objective, n_trials=2, callbacks=[callback])

    experiment = client.get_experiment_by_name("inside")
    runs = client.search_runs([experiment.experiment_id], order_by=["start_time ASC"])
    assert len(runs) == 2
    for run, trial in zip(runs, study.trials, strict=True):
        x = trial.params["x"]
        assert run.data.metrics == {"low": x, "high": -x, "loss": x + 2}
        points = client.get_metric_history(run.info.run_id, "loss")
        assert [(point.step, point.value) for point in points] == [(0, x), (1, x + 1), (2, x + 2)]


def test_a_study_is_kept_in_the_workspace_and_goes_on_from_there(client: MlflowClient) -> None:
    def objective(trial: optuna.Trial) -> float:
        trial.report(trial.number, step=0)
        return float(trial.suggest_float("x", -3, 3) ** 2)

    experiment_id = client.create_experiment("kept")
    study = optuna.create_study(storage=MlflowStorage(experiment_id), study_name="parabola")
    study.optimize(objective, n_trials=3)
    found = optuna.load_study(storage=MlflowStorage(experiment_id), study_name="parabola")
    assert found.best_params == study.best_params
    found.optimize(objective, n_trials=2)

    runs = client.search_runs([experiment_id], "attributes.run_name != 'parabola'")
    assert {run.info.run_id for run in runs} == {trial._trial_id for trial in found.trials}
    for trial in found.trials:
        run = client.get_run(trial._trial_id)
        assert run.info.status == "FINISHED"
        assert float(run.data.params["x"]) == trial.params["x"]
        assert trial.intermediate_values == {0: trial.number}
    assert sorted(trial.number for trial in found.trials) == [0, 1, 2, 3, 4]
