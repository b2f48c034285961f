"""Lightning's `MLFlowLogger` with every checkpoint logged, in a workspace that writes a file of a run once."""

from pathlib import Path
from typing import Any

import mlflow
import pytest
from forked_service import ForkedService
from mlflow import MlflowClient

pytestmark = pytest.mark.needs("torch", "pytorch_lightning")

EPOCHS = 3


def make_model() -> Any:
    import pytorch_lightning as lightning
    import torch

    class Line(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({f"h{number}": number for number in range(300)})
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: Any, _: int) -> Any:
            loss = ((self.layer(batch) - batch * 2) ** 2).mean()
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.01)

    return Line()


def fit(model: Any, folder: Path, **trainer: Any) -> Any:
    import pytorch_lightning as lightning
    import torch

    data = torch.utils.data.DataLoader(torch.arange(32.0).reshape(32, 1) / 32, batch_size=8)
    fitting = lightning.Trainer(
        max_epochs=EPOCHS,
        default_root_dir=str(folder),
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        **trainer,
    )
    fitting.fit(model, data)
    return fitting


def test_every_checkpoint_is_logged_and_the_last_is_the_last(
    service: ForkedService, client: MlflowClient, tmp_path: Path
) -> None:
    import pytorch_lightning as lightning

    logger = lightning.loggers.MLFlowLogger("lightning", tracking_uri=service.tracking_uri, log_model="all")
    checkpoints = lightning.callbacks.ModelCheckpoint(dirpath=tmp_path / "c", save_last=True, save_top_k=-1)
    fit(make_model(), tmp_path, logger=logger, callbacks=[checkpoints])
    run = client.get_run(logger.run_id)
    assert run.info.status == "FINISHED"
    assert {f"h{number}": str(number) for number in range(300)}.items() <= run.data.params.items()
    paths = {file.path for file in _files(client, logger.run_id)}
    (last,) = [path for path in paths if path.endswith("last.ckpt")]
    found = Path(client.download_artifacts(logger.run_id, last, str(tmp_path)))
    assert found.read_bytes() == (tmp_path / "c" / "last.ckpt").read_bytes()
    assert len([path for path in paths if path.endswith(".ckpt")]) == EPOCHS + 1
    assert not any("amlstore" in path for path in paths)


def test_autologging_logs_a_model_that_loads(client: MlflowClient, tmp_path: Path) -> None:
    import torch

    if not hasattr(mlflow, "search_logged_models"):
        pytest.skip("MLflow 2 autologs no logged models")
    mlflow.set_experiment("autologged")
    mlflow.pytorch.autolog(checkpoint=False)
    try:
        with mlflow.start_run() as run:
            model = make_model()
            fit(model, tmp_path, logger=False)
    finally:
        mlflow.pytorch.autolog(disable=True)
    (logged,) = mlflow.search_logged_models(output_format="list")
    assert logged.source_run_id == run.info.run_id
    loaded = mlflow.pytorch.load_model(f"models:/{logged.model_id}")
    assert torch.equal(loaded.layer.weight, model.layer.weight)


def _files(client: MlflowClient, run_id: str, path: str | None = None) -> list[Any]:
    found = []
    for file in client.list_artifacts(run_id, path):
        found += _files(client, run_id, file.path) if file.is_dir else [file]
    return found
