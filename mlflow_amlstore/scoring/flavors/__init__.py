"""One module per kind of model; what isn't needed isn't loaded."""

from pathlib import Path

from mlflow_amlstore.errors import ModelNotLoaded
from mlflow_amlstore.scoring.deployment import Deployment, place
from mlflow_amlstore.scoring.model import Model

MLMODEL = "MLmodel"


def of(deployment: Deployment, folder: Path) -> Model:
    """The model that a served folder has, not yet loaded. Raises ModelNotLoaded."""
    path = place(folder, "model", deployment.model)
    if deployment.framework in ("ScikitLearn", "MLflow"):
        from mlflow_amlstore.scoring.flavors import sklearn

        found = sklearn.find(path)
        if found is not None:
            return sklearn.SklearnModel(deployment, found)
        if deployment.framework == "ScikitLearn":
            rule = (
                f"{deployment.model} has no scikit-learn model: a file {', '.join(sklearn.ENDINGS)}, or MLflow's folder"
            )
            raise ModelNotLoaded("FileMissing", rule)
        from mlflow_amlstore.scoring.flavors import pyfunc

        return pyfunc.PyfuncModel(deployment, path)
    raise ModelNotLoaded("FrameworkNotSupported", f"the framework {deployment.framework} isn't served yet")
