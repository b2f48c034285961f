"""`azureml.exceptions`: for each of the SDK's errors the one that this package raises in the same case.

Where that is one of several, it is their base: `except UserErrorException` catches every error of this package.
"""

from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.errors import AmlStoreError, InvalidState, InvalidValue, NotFound, ServiceError

AzureMLException = AmlStoreError
UserErrorException = AmlStoreError
AuthenticationException = AmlStoreError
WorkspaceException = AmlStoreError
ProjectSystemException = AmlStoreError
SnapshotException = AmlStoreError
ExperimentExecutionException = AmlStoreError
ServiceException = ServiceError
RunConfigurationException = InvalidValue
ComputeTargetException = NotFound  # for a target that isn't there, which scripts then make
RunEnvironmentException = InvalidState
ActivityFailedException = InvalidState
WebserviceException = NotFound  # the SDK's for a model that isn't there, too
ModelNotFoundException = NotFound
ModelPathNotFoundException = AmlStoreError

__getattr__ = names_the_missing_of(__name__)
