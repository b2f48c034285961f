"""Any model of MLflow's, by its flavour python_function. The only module here that imports MLflow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow_amlstore.errors import ModelNotLoaded
from mlflow_amlstore.scoring.deployment import Deployment
from mlflow_amlstore.scoring.inputs import Anything, Checked, Inputs, from_signature, gives_frames
from mlflow_amlstore.scoring.trusted import ALLOW


class PyfuncModel:
    """A folder with an MLmodel."""

    def __init__(self, deployment: Deployment, path: Path) -> None:
        self._deployment, self._path = deployment, path

    def load(self) -> None:
        """Load it with MLflow. Its flavours run code of the model's, so it must be allowed to."""
        if not self._deployment.allow_pickle:
            rule = f"loading a model by MLflow's python_function runs code that is in it; {ALLOW}"
            raise ModelNotLoaded("PickleNotAllowed", rule)
        import mlflow.pyfunc

        self._model = mlflow.pyfunc.load_model(str(self._path))
        signature = self._deployment.signature
        if signature is None and self._model.metadata.signature is not None:
            signature = self._model.metadata.signature.to_dict()
        self._inputs = from_signature(signature or {}) or Anything()
        self._answers_frames = gives_frames(signature or {})

    def open(self) -> None:
        """Nothing: what was loaded is shared."""

    @property
    def inputs(self) -> Inputs:
        return self._inputs

    @property
    def methods(self) -> tuple[str, ...]:
        return ("predict",)

    @property
    def classic_method(self) -> str:
        return "predict"

    @property
    def answers_frames(self) -> bool:
        return self._answers_frames

    def predict(self, checked: Checked, method: str, params: Mapping[str, Any] | None) -> Any:
        try:
            return (
                self._model.predict(checked.values, params=dict(params))
                if params
                else self._model.predict(checked.values)
            )
        except (ValueError, TypeError) as error:
            if checked.doubt is not None:
                raise checked.doubt from error
            raise
