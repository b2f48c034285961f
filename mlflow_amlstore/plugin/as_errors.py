"""The one place where our errors become MLflow's.

MLflow's error says all that ours says, so a traceback shows it alone; where ours was raised is told at DEBUG.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FunctionType
from typing import Any, TypeVar

from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2

from mlflow_amlstore.errors import AmlStoreError

C = TypeVar("C")

_logger = logging.getLogger(__name__)


@contextmanager
def as_mlflow_errors() -> Iterator[None]:
    """Raise MlflowException, with the code our error names, for an error of ours. Also serves as a decorator."""
    try:
        yield
    except AmlStoreError as error:
        raise _as_mlflow_error(error) from None


def raises_mlflow_errors(store: type[C]) -> type[C]:
    """Decorate a class, so that the methods that it defines raise MlflowException in place of errors of ours."""
    for name, method in list(vars(store).items()):
        if isinstance(method, FunctionType) and (name == "__init__" or not name.startswith("__")):
            setattr(store, name, _raising_mlflow_errors(method))
    return store


def _raising_mlflow_errors(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*given: Any, **named: Any) -> Any:
        try:
            return method(*given, **named)
        except AmlStoreError as error:
            raise _as_mlflow_error(error) from None

    return call


def _as_mlflow_error(error: AmlStoreError) -> MlflowException:
    _logger.debug("Raised as MLflow's error", exc_info=error)
    return MlflowException(str(error), error_code=databricks_pb2.ErrorCode.Value(error.mlflow_code))
