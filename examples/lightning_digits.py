"""Train a small network on scikit-learn's digits with Lightning, tracked in a workspace by its own MLFlowLogger.

    python examples/lightning_digits.py [--workspace DIR] [--epochs 3]

First the logger makes a run of its own and keeps every checkpoint; then a logger is attached to a run that exists.
Needs the extras `examples` and `lightning`; runs on the CPU.
"""

import argparse
import tempfile
from pathlib import Path

import mlflow
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import MLFlowLogger
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from mlflow_amlstore.core import Workspace

EXPERIMENT = "digits"


class DigitClassifier(pl.LightningModule):
    """Two dense layers over the 8 by 8 pixels of a digit."""

    def __init__(self, hidden: int = 64, learning_rate: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

    def training_step(self, batch: list[Tensor], batch_index: int) -> Tensor:
        """Log the loss of one batch and return it."""
        pixels, digits = batch
        loss = nn.functional.cross_entropy(self.layers(pixels), digits)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_index: int) -> None:
        """Log the share of digits recognised."""
        pixels, digits = batch
        self.log("val_accuracy", (self.layers(pixels).argmax(dim=1) == digits).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer that Lightning steps."""
        return torch.optim.Adam(self.parameters(), lr=self.hparams["learning_rate"])


def open_workspace(folder: Path) -> Workspace:
    """Open the workspace in `folder`; where there is none, make it and say so."""
    if not folder.exists():
        print(f"New workspace in {folder.resolve()}")
    return Workspace.create(folder)


def load_batches() -> tuple[DataLoader, DataLoader]:
    """Return the digits in batches, for training and for validation."""
    pixels, digits = load_digits(return_X_y=True)
    images = TensorDataset(torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(digits, dtype=torch.long))
    training, validation = random_split(images, [0.8, 0.2])
    return DataLoader(training, batch_size=64, shuffle=True), DataLoader(validation, batch_size=512)


def fit(logger: MLFlowLogger, epochs: int) -> None:
    """Train a classifier, logging to `logger`; checkpoints pass through a scratch folder."""
    training, validation = load_batches()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=logger,
            log_every_n_steps=5,
            callbacks=[ModelCheckpoint(dirpath=scratch, save_top_k=-1, save_last=True)],
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(DigitClassifier(), training, validation)


def fit_in_new_run(workspace: Workspace, epochs: int) -> str:
    """Let the logger make a run and keep all checkpoints in it; return the run's id."""
    logger = MLFlowLogger(EXPERIMENT, tracking_uri=workspace.get_mlflow_tracking_uri(), log_model="all")
    fit(logger, epochs)
    return str(logger.run_id)


def fit_in_existing_run(workspace: Workspace, epochs: int) -> str:
    """Attach the logger to a run that something else started; return the run's id."""
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run(run_name="attached") as run:
        mlflow.log_param("started_by", "mlflow.start_run")
        logger = MLFlowLogger(EXPERIMENT, tracking_uri=workspace.get_mlflow_tracking_uri())
        logger._run_id = run.info.run_id
        fit(logger, epochs)
    return str(run.info.run_id)


def show(run_ids: list[str], folder: Path) -> None:
    """Print each run's accuracy and what it kept, and the folder they are in."""
    client = mlflow.MlflowClient()
    table = Table("run", "status", "accuracy", "loss points", "checkpoints", title=f"Runs of {EXPERIMENT}")
    for run_id in run_ids:
        run = client.get_run(run_id)
        points = client.get_metric_history(run_id, "train_loss")
        checkpoints = [entry.path for entry in client.list_artifacts(run_id)]
        accuracy = f"{run.data.metrics['val_accuracy']:.3f}"
        table.add_row(run.info.run_name, run.info.status, accuracy, str(len(points)), "\n".join(checkpoints))
    console = Console()
    console.print(table)
    console.print(f"Workspace: {folder.resolve()}", soft_wrap=True, highlight=False)


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("amlstore-workspace"), metavar="DIR")
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()

    pl.seed_everything(0)
    workspace = open_workspace(arguments.workspace)
    mlflow.set_tracking_uri(workspace.get_mlflow_tracking_uri())
    run_ids = [fit_in_new_run(workspace, arguments.epochs), fit_in_existing_run(workspace, arguments.epochs)]
    show(run_ids, arguments.workspace)


if __name__ == "__main__":
    main()
