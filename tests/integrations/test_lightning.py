"""Lightning's `MLFlowLogger`, imported as `lightning` or as `pytorch_lightning`, with every checkpoint logged."""

import importlib
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from mlflow import MlflowClient
from torch.utils.data import DataLoader, TensorDataset

EPOCHS, BATCHES = 3, 4
INPUTS = torch.linspace(-1, 1, 8 * BATCHES).reshape(-1, 1)


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def lightning(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


def make_line(lightning: Any) -> Any:
    """A module that learns y = 2x."""

    class Line(lightning.LightningModule):  # type: ignore[name-defined,misc]
        def __init__(self, learning_rate: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
            loss = ((self.layer(batch[0]) - 2 * batch[0]) ** 2).mean()
            self.log("loss", loss)
            return loss

        def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
            self.log("val_loss", ((self.layer(batch[0]) - 2 * batch[0]) ** 2).mean())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), self.hparams["learning_rate"])

    return Line()


def make_trainer(lightning: Any, folder: Path, epochs: int, **more: Any) -> Any:
    return lightning.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        enable_model_summary=False,
        enable_progress_bar=False,
        log_every_n_steps=1,
        max_epochs=epochs,
        **more,
    )


def test_the_logger_leaves_hyperparameters_histories_and_checkpoints(
    lightning: Any, client: MlflowClient, tmp_path: Path
) -> None:
    lightning.seed_everything(0)
    data = DataLoader(TensorDataset(INPUTS), batch_size=8)
    logger = lightning.loggers.MLFlowLogger(
        "lines", run_name="first", tags={"team": "a"}, tracking_uri=mlflow.get_tracking_uri(), log_model="all"
    )
    checkpoint = lightning.callbacks.ModelCheckpoint(
        tmp_path / "local", monitor="val_loss", save_top_k=-1, save_last=True
    )
    model = make_line(lightning)
    make_trainer(lightning, tmp_path, EPOCHS, logger=logger, callbacks=[checkpoint]).fit(model, data, data)

    (run,) = client.search_runs([client.get_experiment_by_name("lines").experiment_id])
    assert (run.info.run_id, run.info.run_name, run.info.status) == (logger.run_id, "first", "FINISHED")
    assert run.data.params == {"learning_rate": "0.1"}
    assert run.data.tags["team"] == "a"
    losses = client.get_metric_history(run.info.run_id, "loss")
    assert [point.step for point in losses] == list(range(EPOCHS * BATCHES))
    assert losses[0].value > losses[-1].value
    validated = client.get_metric_history(run.info.run_id, "val_loss")
    assert [point.step for point in validated] == [BATCHES * epoch - 1 for epoch in range(1, EPOCHS + 1)]
    assert validated[-1].value == pytest.approx(float(checkpoint.best_model_score))

    kept = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, dst_path=tmp_path / "kept"))
    names = [f"epoch={epoch}-step={BATCHES * (epoch + 1)}" for epoch in range(EPOCHS)] + ["last"]
    assert sorted(path.name for path in kept.iterdir()) == names
    for name in names:
        local = Path(checkpoint.dirpath) / f"{name}.ckpt"
        assert (kept / name / f"{name}.ckpt").read_bytes() == local.read_bytes()
    assert "best" in (kept / names[-2] / "aliases.txt").read_text()

    loaded = type(model).load_from_checkpoint(kept / "last" / "last.ckpt")
    torch.testing.assert_close(loaded.layer(INPUTS), model.layer(INPUTS))


def test_training_goes_on_in_the_same_run_from_a_checkpoint_of_the_workspace(
    lightning: Any, client: MlflowClient, tmp_path: Path
) -> None:
    data = DataLoader(TensorDataset(INPUTS), batch_size=8)
    uri = mlflow.get_tracking_uri()
    first = lightning.loggers.MLFlowLogger("lines", tracking_uri=uri, log_model=True)
    make_trainer(lightning, tmp_path / "first", 1, logger=first).fit(make_line(lightning), data)

    (folder,) = client.list_artifacts(first.run_id)
    path = client.download_artifacts(first.run_id, f"{folder.path}/{folder.path}.ckpt", str(tmp_path))
    again = lightning.loggers.MLFlowLogger("lines", tracking_uri=uri, run_id=first.run_id)
    make_trainer(lightning, tmp_path / "again", EPOCHS, logger=again).fit(make_line(lightning), data, ckpt_path=path)

    (run,) = client.search_runs([client.get_experiment_by_name("lines").experiment_id])
    assert run.info.status == "FINISHED"
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "loss")]
    assert steps == list(range(EPOCHS * BATCHES))
