"""Lightning on scikit-learn's digits. Nothing here says that the script is submitted."""

import argparse

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import MLFlowLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class DigitClassifier(pl.LightningModule):
    """Two dense layers over the 8 by 8 pixels of a digit."""

    def __init__(self, hidden: int = 64) -> None:
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
        return torch.optim.Adam(self.parameters(), lr=0.01)


parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=3)
arguments = parser.parse_args()

pl.seed_everything(0)
pixels, digits = load_digits(return_X_y=True)
images = TensorDataset(torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(digits))
training, validation = random_split(images, [0.8, 0.2])
trainer = pl.Trainer(
    max_epochs=arguments.epochs,
    accelerator="cpu",
    logger=MLFlowLogger(log_model=True),
    log_every_n_steps=5,
    callbacks=[ModelCheckpoint(dirpath="checkpoints", monitor="val_accuracy", mode="max", save_top_k=2)],
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(
    DigitClassifier(),
    DataLoader(training, batch_size=64, shuffle=True),
    DataLoader(validation, batch_size=512),
)
print(f"val_accuracy is {trainer.callback_metrics['val_accuracy']:.3f} after {arguments.epochs} epochs")
