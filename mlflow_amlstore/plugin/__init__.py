"""MLflow's plugin classes, over an embedded workspace and over a service's. MLflow finds them by entry point and loads
this module at `import mlflow`, so nothing here imports more before it is called."""

from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_amlstore.plugin.artifacts import WorkspaceArtifactRepository
    from mlflow_amlstore.plugin.project_backend import ProjectBackend
    from mlflow_amlstore.plugin.registry import RegistryStore
    from mlflow_amlstore.plugin.remote_artifacts import RemoteArtifactRepository
    from mlflow_amlstore.plugin.remote_registry import RemoteRegistryStore
    from mlflow_amlstore.plugin.remote_tracking import RemoteTrackingStore
    from mlflow_amlstore.plugin.tracking import TrackingStore


def tracking_store(store_uri: str, artifact_uri: str | None = None) -> "TrackingStore":
    """The tracking store of the workspace that `store_uri` names (entry point `mlflow.tracking_store`).

    `artifact_uri` is not used: a workspace keeps its files itself.
    """
    from mlflow_amlstore.plugin.tracking import tracking_store_of

    return tracking_store_of(store_uri)


def model_registry_store(store_uri: str, tracking_uri: str | None = None) -> "RegistryStore":
    """The model registry of the workspace that `store_uri` names (entry point `mlflow.model_registry_store`)."""
    from mlflow_amlstore.plugin.registry import RegistryStore

    return RegistryStore(store_uri, tracking_uri)


def artifact_repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> "WorkspaceArtifactRepository":
    """The files that `artifact_uri` names (entry point `mlflow.artifact_repository`)."""
    from mlflow_amlstore.plugin.artifacts import WorkspaceArtifactRepository

    return WorkspaceArtifactRepository(artifact_uri, tracking_uri, registry_uri)


def remote_tracking_store(store_uri: str, artifact_uri: str | None = None) -> "RemoteTrackingStore | Any":
    """The tracking store of the service that an `azureml://` or `azureml+http://` URI names.

    `artifact_uri` is not used, as above.
    """
    other = _theirs("mlflow.tracking_store", store_uri)
    if other is not None:
        return other(store_uri, artifact_uri)
    from mlflow_amlstore.plugin.remote_tracking import tracking_store_of

    return tracking_store_of(store_uri)


def remote_model_registry_store(store_uri: str, tracking_uri: str | None = None) -> "RemoteRegistryStore | Any":
    """The model registry of the service that an `azureml://` or `azureml+http://` URI names."""
    other = _theirs("mlflow.model_registry_store", store_uri)
    if other is not None:
        return other(store_uri, tracking_uri)
    from mlflow_amlstore.plugin.remote_registry import registry_store_of

    return registry_store_of(store_uri)


def remote_artifact_repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> "RemoteArtifactRepository | Any":
    """The files of a service that an `azureml://` or `azureml+http://` artifact URI names."""
    other = _theirs("mlflow.artifact_repository", artifact_uri)
    if other is not None:
        return other(artifact_uri, tracking_uri, registry_uri)
    from mlflow_amlstore.plugin.remote_artifacts import RemoteArtifactRepository

    return RemoteArtifactRepository(artifact_uri, tracking_uri, registry_uri)


def amlstore_project_backend() -> "ProjectBackend":
    """What `mlflow run --backend amlstore` submits projects by (entry point `mlflow.project_backend`)."""
    from mlflow_amlstore.plugin.project_backend import ProjectBackend

    return ProjectBackend()


def azureml_project_backend() -> "ProjectBackend | Any":
    """What `mlflow run --backend azureml` submits projects by: it is whose the tracking URI is."""
    from mlflow.tracking import get_tracking_uri

    other = _theirs("mlflow.project_backend", get_tracking_uri())
    return amlstore_project_backend() if other is None else other()


def _theirs(group: str, uri: str) -> Any:
    """Microsoft's builder for a URI, where it is installed too and chosen; else None."""
    if not _HAS_OTHER_PLUGIN:
        return None
    from mlflow_amlstore.plugin.azureml_scheme import theirs

    return theirs(group, uri)


def _has_other_plugin() -> bool:
    try:
        metadata.distribution("azureml-mlflow")
    except metadata.PackageNotFoundError:
        return False
    return True


_HAS_OTHER_PLUGIN = _has_other_plugin()
if _HAS_OTHER_PLUGIN:
    from mlflow_amlstore.plugin.azureml_scheme import settle

    settle(
        {
            "azureml_store_builder": remote_tracking_store,
            "azureml_model_registry_builder": remote_model_registry_store,
            "azureml_artifacts_builder": remote_artifact_repository,
            "azureml_project_run_builder": azureml_project_backend,
        }
    )
