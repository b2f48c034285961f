"""`azureml.core.webservice`: endpoints of the workspace."""

from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.core.webservice import AciWebservice, AksWebservice, LocalWebservice, Webservice

__all__ = ["AciWebservice", "AksWebservice", "LocalWebservice", "Webservice"]

__getattr__ = names_the_missing_of(__name__)
