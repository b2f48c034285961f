"""scikit-learn's models, called directly.

Its own checks are off where ours have been made: of parameters always, of values where all numbers are finite.
"""

import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from mlflow_amlstore.errors import ModelNotLoaded
from mlflow_amlstore.scoring import trusted
from mlflow_amlstore.scoring.deployment import Deployment
from mlflow_amlstore.scoring.flavors import sklearn_checks
from mlflow_amlstore.scoring.inputs import Arrays, Checked, Column, Frames, Inputs, Tensor, from_signature

ENDINGS = (".skops", ".pkl", ".pickle", ".joblib")
METHODS = ("predict", "predict_proba", "transform", "decision_function")
# Of scikit-learn's own classes, those that take columns by name or call what they are given.
_USES_NAMES = {"ColumnTransformer", "FunctionTransformer", "make_column_selector"}


class Found(msgspec.Struct, frozen=True):
    """A model's file, and the method that MLflow's folder says its prediction is."""

    file: Path
    method: str = "predict"


def find(path: Path) -> Found | None:
    """The file of a scikit-learn model: the path itself, the only one in a folder, or what MLflow's MLmodel names."""
    if path.is_file():
        return Found(path)
    about = path / "MLmodel"
    if about.exists():
        import yaml

        flavors = (yaml.safe_load(about.read_text(encoding="utf-8")) or {}).get("flavors", {})
        said = flavors.get("sklearn")
        if not said:
            return None
        file = path / Path(said["pickled_model"]).name
        if not file.is_file():
            raise ModelNotLoaded("FileMissing", f"MLmodel names {said['pickled_model']}, which isn't there")
        return Found(file, flavors.get("python_function", {}).get("predict_fn") or "predict")
    files = [file for file in sorted(path.iterdir()) if file.suffix in ENDINGS]
    return Found(files[0]) if len(files) == 1 else None


class SklearnModel:
    """An estimator or transformer."""

    def __init__(self, deployment: Deployment, found: Found) -> None:
        self._deployment, self._found = deployment, found
        self._threads = threading.local()
        self._takes_arrays = False

    def load(self) -> None:
        """Load the file and find out what the model takes."""
        import sklearn  # type: ignore[import-untyped]

        self._sklearn = sklearn
        self._settle()
        self._model = trusted.load(self._found.file, allow_pickle=self._deployment.allow_pickle)
        has = [name for name in METHODS if callable(getattr(self._model, name, None))]
        if not has:
            kind = type(self._model).__name__
            raise ModelNotLoaded(
                "NotAModel", f"{self._found.file.name} has a {kind}, with none of {', '.join(METHODS)}"
            )
        if self._found.method in has:  # what stands for the prediction comes first
            has.remove(self._found.method)
            has.insert(0, self._found.method)
        self._methods = tuple(has)
        self._calls = {name: getattr(self._model, name) for name in has}
        self._inputs = self._what_it_takes()
        sklearn_checks.leave_out()

    def open(self) -> None:
        """Nothing: what was loaded is shared."""

    @property
    def inputs(self) -> Inputs:
        return self._inputs

    @property
    def methods(self) -> tuple[str, ...]:
        return self._methods

    @property
    def classic_method(self) -> str:
        return "predict_proba" if "predict_proba" in self._methods else self._methods[0]

    @property
    def answers_frames(self) -> bool:
        return False

    def predict(self, checked: Checked, method: str, params: Mapping[str, Any] | None) -> Any:
        if not hasattr(self._threads, "is_set"):
            self._settle()
        if checked.doubt is None:
            sklearn_checks.begin()
            try:
                return self._calls[method](checked.values)
            finally:
                sklearn_checks.end()
        try:
            with self._sklearn.config_context(assume_finite=False):
                return self._calls[method](checked.values)
        except (ValueError, TypeError, AttributeError) as error:
            raise checked.doubt from error

    def _settle(self) -> None:
        """scikit-learn's settings are each thread's own."""
        self._sklearn.set_config(assume_finite=True)
        with suppress(TypeError):  # before scikit-learn 1.3
            self._sklearn.set_config(skip_parameter_validation=True)
        self._threads.is_set = True

    def _what_it_takes(self) -> Inputs:
        names = tuple(map(str, getattr(self._model, "feature_names_in_", ())))
        width = getattr(self._model, "n_features_in_", None)
        said = from_signature(self._deployment.signature or {})
        if names:
            if (said is None or _is_numeric(said)) and _takes_arrays(self._model):
                _forget_names(self._model)
                return Arrays(len(names), names, numeric=said is not None)
            if isinstance(said, Frames):
                return said
            return Frames([Column(name) for name in names])
        if width is None:
            return _texts(said)
        if isinstance(said, Frames):  # its names are the signature's: the model goes by places
            return Arrays(width, [column.name for column in said.columns()], numeric=_is_numeric(said))
        return Arrays(width) if said is None else said


def _is_numeric(inputs: Inputs) -> bool:
    if isinstance(inputs, Arrays):
        return True
    columns = inputs.columns()
    return bool(columns) and all(
        column.type in ("double", "float", "long", "integer") and column.required for column in columns
    )


def _texts(said: Inputs | None) -> Inputs:
    """What a model takes that doesn't count features: texts, mostly, one for a row."""
    return Texts(said.columns()[0].name if said is not None and len(said.columns()) == 1 else "")


class Texts(Arrays):
    """Rows that are one value each, such as a text; rows of values, too, where the model takes them."""

    def __init__(self, name: str) -> None:
        super().__init__(None)
        self._name = name

    def columns(self) -> list[Column]:
        return [Column(self._name, "string")] if self._name else []

    def tensors(self) -> list[Tensor]:
        return []

    def _rows(self, request: Any) -> tuple[Any, str]:
        rows, field = super()._rows(request)
        if isinstance(rows, list) and rows and all(isinstance(row, list) and len(row) == 1 for row in rows):
            rows = [row[0] for row in rows]
        return rows, field


def _takes_arrays(model: Any) -> bool:
    """Whether a model that knows its columns' names does nothing with them but check them.

    That is so for scikit-learn's own classes, but for those that choose columns or call functions. Then its columns are
    put in order here, and it is given an array, which is several times as fast as a DataFrame.
    """
    for part in trusted.parts(model):
        kind = type(part)
        if hasattr(part, "get_params") and not kind.__module__.startswith("sklearn."):
            return False
        if kind.__name__ in _USES_NAMES or hasattr(part, "_sklearn_output_config"):
            return False
    return True


def _forget_names(model: Any) -> None:
    """Otherwise each prediction of an array would warn that it has none."""
    for part in trusted.parts(model):
        if "feature_names_in_" in getattr(part, "__dict__", {}):
            del part.feature_names_in_
