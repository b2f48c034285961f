"""What `import azureml` means after `mlflow_amlstore.install_as_azureml()`: this package under the SDK's names."""

from mlflow_amlstore.azureml.finder import names_the_missing_of

__getattr__ = names_the_missing_of(__name__)
