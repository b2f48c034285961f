"""What is sent to an endpoint for MLflow's `predict`, and what comes back, as NumPy's and pandas' objects."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from mlflow.utils.proto_json_utils import NumpyEncoder

from mlflow_amlstore.errors import InvalidValue

ARRAY_FORMAT = "numpy.ndarray"  # of `ServiceOutput` in an endpoint's description


class PredictedArray(np.ndarray):
    """An array that can be written as JSON, which `mlflow deployments predict` does with what it gets."""

    def to_json(self, path_or_buf: Any = None) -> str | None:
        """Return the array as JSON, or write it to a path."""
        text = json.dumps(self.tolist())
        if path_or_buf is None:
            return text
        with open(path_or_buf, "w", encoding="utf-8") as target:  # noqa: PTH123
            target.write(text)
        return None


def body_of(inputs: Any) -> bytes:
    """The request for a DataFrame, an array, a list, or arrays by name. Raises InvalidValue for anything else."""
    if hasattr(inputs, "to_dict") and hasattr(inputs, "columns"):  # a DataFrame
        content = inputs.to_dict(orient="split")
    elif isinstance(inputs, Mapping):
        content = {str(name): _listed(value) for name, value in inputs.items()}
    elif isinstance(inputs, np.ndarray | list | tuple):
        content = _listed(inputs)
    else:
        rule = "must be a DataFrame, an array, a list, or a dictionary of arrays by name"
        raise InvalidValue("inputs", type(inputs).__name__, rule)
    return json.dumps({"input_data": content}, cls=NumpyEncoder).encode()


def result_of(answer: Any, output_format: str | None) -> Any:
    """An answer as an array where the endpoint's description says so, else as a DataFrame of its records."""
    if output_format == ARRAY_FORMAT:
        return np.array(answer).view(PredictedArray)
    import pandas as pd

    return pd.DataFrame(answer)


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) or hasattr(value, "tolist") else value
