"""What a deployment of registered models is made of: which framework loads them, and what it is told."""

import json
import re
from collections.abc import Sequence
from typing import Any

from mlflow_amlstore.errors import InvalidValue, NotSupported
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.locations import split_location
from mlflow_amlstore.records.types import FRAMEWORK_PROPERTY, DeploymentSpec, ModelVersionRecord

MLMODEL = "MLmodel"
_NO_CODE = {"scikitlearn": "ScikitLearn", "onnx": "Onnx", "tensorflow": "TensorFlow"}
# MLflow's flavours that are called directly; any other that is a `python_function`, by MLflow.
_FLAVORS = {"sklearn": "ScikitLearn", "onnx": "Onnx", "tensorflow": "TensorFlow", "python_function": "MLflow"}
_ENDINGS = {".onnx": "Onnx", ".skops": "ScikitLearn", ".pkl": "ScikitLearn", ".pickle": "ScikitLearn"}
_ENDINGS[".joblib"] = "ScikitLearn"
_SAVED_MODEL = "saved_model.pb"


def deployment_of(
    records: CommonStore, models: Sequence[ModelVersionRecord], *, entry_script: str = "", **given: Any
) -> DeploymentSpec:
    """Describe a deployment: of one model without code, or of any number with an entry script.

    `given` are other fields of `DeploymentSpec`. Raises InvalidValue where there is no script and not exactly one
    model, or nothing says what loads it; NotSupported for a framework that is served with a script alone.
    """
    named = tuple(f"{model.name}:{model.version}" for model in models)
    if entry_script:
        return DeploymentSpec(named, "Script", entry_script=entry_script, **given)
    if len(models) != 1:
        rule = "must be one model where there is no scoring script. Give an InferenceConfig with an entry_script"
        raise InvalidValue("models", list(named), rule)
    return DeploymentSpec(named, framework_of(records, models[0]), **given)


def framework_of(records: CommonStore, model: ModelVersionRecord) -> str:
    """What loads a model without code, as `scoring.deployment.Framework` has it: as it was registered, or else by its
    files. Raises as `deployment_of`."""
    called = f"{model.name}:{model.version}"
    flavors, paths = _files_of(records, model)
    for flavor, framework in _FLAVORS.items():
        if flavor in flavors:
            return framework
    if flavors:
        rule = f"has MLflow's {', '.join(sorted(flavors))} and no python_function: deploy it with a scoring script"
        raise InvalidValue("model", called, rule)
    said = model.properties.get(FRAMEWORK_PROPERTY, "")
    if said.lower() in _NO_CODE:
        return _NO_CODE[said.lower()]
    if any(path.rpartition("/")[2] == _SAVED_MODEL for path in paths):
        return "TensorFlow"
    found = {framework for path in paths for ending, framework in _ENDINGS.items() if path.endswith(ending)}
    if len(found) == 1:
        return found.pop()
    if said and said not in ("Custom", "Multi"):
        raise NotSupported(f"Deploying a model of {said} without code", "Give an InferenceConfig with an entry_script")
    rule = (
        f"doesn't say what loads it. Register it with model_framework ({', '.join(_NO_CODE.values())}), log it with "
        "MLflow, or give an InferenceConfig with an entry_script"
    )
    raise InvalidValue("model", called, rule)


def endpoint_name_for(model: str) -> str:
    """A name for an endpoint, from a model's."""
    name = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    name = name if name[:1].isalpha() else f"model-{name}"
    return name[:32].rstrip("-").ljust(3, "0")


def _files_of(records: CommonStore, model: ModelVersionRecord) -> tuple[dict[str, Any], list[str]]:
    """The flavours that a model's MLmodel names, if it has one, and the paths of its files."""
    location = records.models.location_of(model)
    if location is None:
        return {}, []
    container, path = split_location(location)
    files = records.files.list_all(container, path)
    about = f"{path}/{MLMODEL}" if path else MLMODEL
    if not any(file.path == about for file in files):
        return {}, [file.path for file in files]
    with records.files.open(container, about) as source:
        return flavors_in(source.read()), [file.path for file in files]


def flavors_in(mlmodel: bytes) -> dict[str, Any]:
    """The flavours that an MLmodel file names."""
    import yaml

    try:
        told = yaml.safe_load(mlmodel)
    except yaml.YAMLError as error:
        raise InvalidValue("MLmodel", str(error).partition("\n")[0], "must be YAML, as MLflow writes it") from None
    flavors = told.get("flavors") if isinstance(told, dict) else None
    return flavors if isinstance(flavors, dict) else {}


def signature_in(mlmodel: bytes) -> dict[str, Any] | None:
    """The signature that an MLmodel file has, with its parts as JSON; None where it has none."""
    import yaml

    told = yaml.safe_load(mlmodel)
    signature = told.get("signature") if isinstance(told, dict) else None
    if not isinstance(signature, dict):
        return None
    return {name: json.loads(part) if isinstance(part, str) else part for name, part in signature.items()}
