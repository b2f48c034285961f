"""What Azure ML calls the kinds of metrics, and how it writes their values (azureml-wire.md, section 6.4)."""

from mlflow_amlstore.records.types import MetricKind

UX_TYPES = {
    MetricKind.SCALAR: "azureml.v1.scalar",
    MetricKind.LIST: "azureml.v1.list",
    MetricKind.ROW: "azureml.v1.table",
    MetricKind.TABLE: "azureml.v1.table",
    MetricKind.IMAGE: "azureml.v2.image",
    MetricKind.CONFUSION_MATRIX: "azureml.v2.confusion_matrix",
    MetricKind.ACCURACY_TABLE: "azureml.v2.accuracy_table",
    MetricKind.RESIDUALS: "azureml.v2.residuals",
    MetricKind.PREDICTIONS: "azureml.v2.predictions",
}
KINDS = {ux_type: kind for kind, ux_type in UX_TYPES.items()}  # a table for what may have been a row, too
FLOAT_TYPES = ("double", "float")
ARTIFACT_TYPE = "Artifact"


def artifact_id(run_id: str, path: str = "") -> str:
    """The address of a run's file that is a metric's value."""
    return f"aml://artifactId/ExperimentRun/dcid.{run_id}/{path}"
