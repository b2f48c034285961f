"""One module per kind of model; what isn't needed isn't loaded."""

from pathlib import Path

from mlflow_amlstore.errors import ModelNotLoaded
from mlflow_amlstore.scoring.deployment import Deployment, place
from mlflow_amlstore.scoring.model import Model

MLMODEL = "MLmodel"


def of(deployment: Deployment, folder: Path) -> Model:
    """The model that a served folder has, not yet loaded. Raises ModelNotLoaded."""
    if deployment.framework == "Script":
        from mlflow_amlstore.scoring.flavors import script

        return script.ScriptModel(deployment, folder)
    path = place(folder, "model", deployment.model)
    if deployment.framework in ("ScikitLearn", "MLflow"):
        from mlflow_amlstore.scoring.flavors import sklearn

        found = sklearn.find(path)
        if found is not None:
            return sklearn.SklearnModel(deployment, found)
        if deployment.framework == "MLflow" and (graph := _onnx(deployment, path)) is not None:
            return graph
        if deployment.framework == "ScikitLearn":
            rule = (
                f"{deployment.model} has no scikit-learn model: a file {', '.join(sklearn.ENDINGS)}, or MLflow's folder"
            )
            raise ModelNotLoaded("FileMissing", rule)
        from mlflow_amlstore.scoring.flavors import pyfunc

        return pyfunc.PyfuncModel(deployment, path)
    if deployment.framework == "TensorFlow":
        from mlflow_amlstore.scoring.flavors import saved_model

        return saved_model.SavedModel(deployment, saved_model.find(path, deployment.model))
    graph = _onnx(deployment, path)
    if graph is None:
        rule = f"{deployment.model} has no ONNX model: one file *.onnx, or MLflow's folder"
        raise ModelNotLoaded("FileMissing", rule)
    return graph


def _onnx(deployment: Deployment, path: Path) -> Model | None:
    from mlflow_amlstore.scoring.flavors import onnx

    found = onnx.find(path)
    return None if found is None else onnx.OnnxModel(deployment, found)
