"""`azureml.mlflow`: a run of MLflow's, seen as one of the workspace that MLflow tracks into."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.core import Model, Run, Workspace

if TYPE_CHECKING:
    import mlflow.entities

__all__ = ["get_portal_url", "register_model"]

__getattr__ = names_the_missing_of(__name__)


def register_model(
    run: "Run | mlflow.entities.Run",
    name: str,
    path: str,
    tags: Mapping[str, str] | None = None,
    properties: Mapping[str, str] | None = None,
    model_framework: str | None = None,
    model_framework_version: str | None = None,
    description: str | None = None,
    datasets: object = None,
    sample_input_dataset: object = None,
    sample_output_dataset: object = None,
    resource_configuration: object = None,
) -> Model:
    """Register a file or folder of a run, MLflow's or ours, as the next version of a model.

    MLflow must track into the workspace that has the run. Raises NotFound where the run has no such file.
    """
    return _our_run(run).register_model(
        name,
        path,
        tags=tags,
        properties=properties,
        model_framework=model_framework,
        model_framework_version=model_framework_version,
        description=description,
        datasets=datasets,
        sample_input_dataset=sample_input_dataset,
        sample_output_dataset=sample_output_dataset,
        resource_configuration=resource_configuration,
    )


def get_portal_url(run: "Run | mlflow.entities.Run") -> str:
    """Return the address of a run, MLflow's or ours. MLflow must track into the workspace that has it."""
    return _our_run(run).get_portal_url()


def _our_run(run: "Run | mlflow.entities.Run") -> Run:
    if isinstance(run, Run):
        return run
    from mlflow import get_tracking_uri  # whoever has MLflow's run has loaded it

    return Run.get(Workspace.from_tracking_uri(get_tracking_uri()), run.info.run_id)
