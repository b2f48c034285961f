"""Train with Lightning, log the network with MLflow, and have it answer over HTTP as any model of MLflow's.

    python examples/deploy_lightning.py [--workspace DIR] [--epochs 3]

Needs the extras `examples`, `lightning` and `deploy`; runs on the CPU.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytorch_lightning as lightning
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

from mlflow_amlstore.core import Model, Workspace

SERVICE = "digits"


class Digits(lightning.LightningModule):
    """A small network for 8×8 pictures of digits; its answer is a score for each of the ten."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Score pictures, each a row of 64 numbers."""
        return self.network(pictures)

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """The loss of a batch."""
        pictures, digits = batch
        return torch.nn.functional.cross_entropy(self(pictures), digits)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, with its defaults."""
        return torch.optim.Adam(self.parameters(), lr=0.005)


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("amlstore-workspace"), metavar="DIR")
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()

    workspace = Workspace.create(arguments.workspace)
    mlflow.set_tracking_uri(workspace.get_mlflow_tracking_uri())
    mlflow.set_experiment("digits")
    pictures, digits = load_digits(return_X_y=True)
    pictures = (pictures / 16).astype(np.float32)
    data = TensorDataset(torch.from_numpy(pictures), torch.from_numpy(digits))
    model = Digits()
    trainer = lightning.Trainer(
        max_epochs=arguments.epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(model, DataLoader(data, batch_size=64, shuffle=True))
    with mlflow.start_run():
        mlflow.pytorch.log_model(
            model,
            name="model",
            input_example=pictures[:2],
            registered_model_name="digits_network",
            pip_requirements=["pytorch-lightning", "torch"],  # MLflow would start another process to find them
        )
    service = Model.deploy(workspace, SERVICE, [Model(workspace, "digits_network")], overwrite=True)
    try:
        service.wait_for_deployment()
        scores = np.array(service.run(json.dumps({"input_data": pictures[:10].tolist()})))
        print("Digits:   ", digits[:10].tolist())
        print("Predicted:", scores.argmax(axis=1).tolist())
    finally:
        service.delete()


if __name__ == "__main__":
    main()
