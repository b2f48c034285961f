"""What `import azureml` finds first in a submitted script: it means mlflow_amlstore there, in all its processes."""

import sys
from importlib import import_module

from mlflow_amlstore import install_as_azureml

install_as_azureml()
sys.modules[__name__] = import_module("mlflow_amlstore.azureml")
