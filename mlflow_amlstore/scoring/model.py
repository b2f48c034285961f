"""What a flavour gives the server: a loaded model behind a few methods."""

from collections.abc import Mapping
from typing import Any, Protocol

from mlflow_amlstore.scoring.inputs import Checked, Inputs


class Model(Protocol):
    """A model of one flavour. `load` and `open` are called once each, in this order; then `predict`, by any thread."""

    @property
    def inputs(self) -> Inputs:
        """What the model takes. Known after `open`."""

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that a request may name, the one that stands for "the model's prediction" first."""

    @property
    def classic_method(self) -> str:
        """The method of a request `{"data": …}` that names none."""

    @property
    def answers_frames(self) -> bool:
        """Whether an answer is a table with named columns (pandas'), by what is known before any."""

    def load(self) -> None:
        """Load into memory that the workers share: called in the loader, before they are forked.

        It starts no threads that a prediction needs, and predicts nothing: neither outlives a fork. Raises
        ModelNotLoaded, or whatever the model's library does.
        """

    def open(self) -> None:
        """Do the rest in a worker, after the fork: sessions, their threads, devices."""

    def predict(self, checked: Checked, method: str, params: Mapping[str, Any] | None) -> Any:
        """Predict what was checked: an array, a DataFrame, a mapping of named arrays, or what JSON has.

        Raises InvalidValue where the model can't take a value that only it can judge.
        """
