"""An MLflow plugin and the workspace behind it: embedded, self-hosted or Azure ML.

Importing this package loads nothing heavy; the public SDK is `mlflow_amlstore.core`.
"""

__version__ = "0.1.0"


def install_as_azureml() -> None:
    """Make `import azureml.core`, `azureml.mlflow`, … mean this package in this process: old scripts run unedited.

    Call it before anything imports azureml: then ours is imported even where Azure ML's own SDK is installed, too.
    Calling it again changes nothing. Raises InvalidState where modules of the SDK were imported before.
    """
    from mlflow_amlstore.azureml.finder import install

    install()
