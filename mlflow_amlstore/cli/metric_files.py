"""The files of metrics that are images or documents."""

from typing import Any

from mlflow_amlstore.core.metric_schemas import checked_document
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.types import MetricRecord, RunRecord


def latest_file(metric: MetricRecord) -> str:
    """The path of the file that was logged last."""
    return str(metric.columns[""][-1])


def latest_document(records: CommonStore, run: RunRecord, metric: MetricRecord) -> dict[str, Any]:
    """The document that was logged last. Raises NotFound, InvalidValue: a run's files may be replaced."""
    container = run_container(run.info.experiment_id, run.info.run_id)
    with records.files.open(container, latest_file(metric)) as source:
        return checked_document(metric.kind, metric.name, source.read())
