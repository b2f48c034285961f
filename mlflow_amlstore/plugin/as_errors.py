"""The one place where our errors become MLflow's."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2

from mlflow_amlstore.errors import AmlStoreError


@contextmanager
def as_mlflow_errors() -> Iterator[None]:
    """Raise MlflowException, with the code our error names, for an error of ours. Also serves as a decorator."""
    try:
        yield
    except AmlStoreError as error:
        raise MlflowException(str(error), error_code=databricks_pb2.ErrorCode.Value(error.mlflow_code)) from error
