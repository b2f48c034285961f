"""Making the served folder of a deployment: all that its scoring process is told (`scoring.deployment`)."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mlflow_amlstore.hosting.deploying import MLMODEL, flavors_in, signature_in
from mlflow_amlstore.hosting.endpoint_folder import write_whole
from mlflow_amlstore.records.types import (
    FRAMEWORK_PROPERTY,
    FRAMEWORK_VERSION_PROPERTY,
    DeploymentRecord,
    EndpointRecord,
    ModelVersionRecord,
)

MODELS, SOURCE = "azureml-models", "source"
_DEPLOYMENT, _KEYS = "deployment.json", "keys.json"
_DISTRIBUTIONS = {"scikitlearn": "scikit-learn", "onnx": "onnxruntime", "tensorflow": "tensorflow"}
# What only MLflow needs, where the model is called directly.
_MLFLOWS = {"mlflow", "mlflow-skinny", "cloudpickle"}


@dataclass(frozen=True)
class Served:
    """A served folder that is ready. `requirements` are lines of pip's list, `python` the version that the model was
    trained with; empty where nothing says so."""

    path: Path
    requirements: list[str]
    python: str


class DeployedFiles(Protocol):
    """Where the files of a deployment come from; a `HostedEndpoint` is one."""

    def model(self, model: str) -> ModelVersionRecord:
        """Return the version of `NAME:VERSION`."""

    def fetch_model(self, model: str, folder: Path) -> Path:
        """Copy the files of `NAME:VERSION` into a folder; return the path of its one file or folder there."""

    def fetch_source(self, snapshot_id: str, folder: Path) -> None:
        """Copy the files of a snapshot into a folder."""


def make(endpoint: DeployedFiles, record: EndpointRecord, deployment: DeploymentRecord, folder: Path) -> Served:
    """Copy the model and the script into a folder, and write what the scoring process is told, but for the keys.

    Raises what copying does: NotFound, InvalidValue, LocalFileFailed, DiskFull.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    spec = deployment.spec
    places = []
    for model in spec.models:
        target = folder.joinpath(MODELS, *model.rpartition(":")[::2])
        target.mkdir(parents=True)
        places.append(endpoint.fetch_model(model, target))
    if spec.snapshot_id:
        endpoint.fetch_source(spec.snapshot_id, folder / SOURCE)
    told: dict[str, Any] = {}
    requirements: list[str] = []
    python = ""
    if len(places) == 1 and not spec.entry_script:
        registered = endpoint.model(spec.models[0])
        if (places[0] / MLMODEL).is_file():
            told, requirements, python = _of_mlflow(places[0], spec.framework)
        elif trained_with := registered.properties.get(FRAMEWORK_VERSION_PROPERTY):
            distribution = _DISTRIBUTIONS.get(registered.properties.get(FRAMEWORK_PROPERTY, "").lower())
            requirements = [f"{distribution}=={trained_with}"] if distribution else []
    one_model = spec.models[0].rpartition(":") if len(spec.models) == 1 else ("", "", "0")
    write_whole(
        folder / _DEPLOYMENT,
        {
            "endpoint": record.name,
            "number": deployment.number,
            "model_name": one_model[0] or record.name,
            "model_version": int(one_model[2]),
            "framework": spec.framework,
            "model": _model_path(folder, places, is_script=bool(spec.entry_script)),
            "models": [model.replace(":", "/") for model in spec.models],
            "entry_script": f"{SOURCE}/{spec.entry_script}" if spec.entry_script else "",
            "source_directory": SOURCE if spec.entry_script else "",
            "allow_pickle": True,  # it is of this workspace, and its process is confined
            "versions": dict(line.split("==") for line in requirements if line.count("==") == 1),
            "workers": spec.workers,
            "concurrency": spec.concurrency,
            "queue_length": spec.queue_length,
            "load_limit_s": spec.load_limit_s,
            "predict_limit_s": spec.predict_limit_s,
            "max_batch_size": spec.max_batch_size,
            "max_latency_ms": spec.max_latency_ms,
            "auth": record.spec.auth,
            **told,
        },
    )
    return Served(folder, requirements, python)


def _model_path(folder: Path, places: list[Path], *, is_script: bool) -> str:
    """Where the model is: its own file or folder, or for a script the folder of all models."""
    if not places:
        return ""
    return MODELS if is_script else str(places[0].relative_to(folder))


def write_keys(folder: Path, hashes: list[str]) -> None:
    """Write which keys open the endpoint; its processes notice by the next request."""
    write_whole(folder / _KEYS, {"sha256": hashes})


def _of_mlflow(model: Path, framework: str) -> tuple[dict[str, Any], list[str], str]:
    """What MLflow wrote beside a model: what the scoring process is told, the requirements, and Python's version."""
    about = (model / MLMODEL).read_bytes()
    told: dict[str, Any] = {}
    if signature := signature_in(about):
        told["signature"] = signature
    example = _example(model, about)
    if example is not None:
        told["example"] = example
    listed = model / "requirements.txt"
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    requirements = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if framework != "MLflow":
        requirements = [line for line in requirements if _distribution(line) not in _MLFLOWS]
    python = str(flavors_in(about).get("python_function", {}).get("python_version") or "")
    return told, requirements, python


def _example(model: Path, about: bytes) -> Any:
    import yaml

    told = yaml.safe_load(about).get("saved_input_example_info")
    name = told.get("serving_input_path") or told.get("artifact_path") if isinstance(told, dict) else None
    file = model / Path(str(name)).name
    try:
        return json.loads(file.read_bytes()) if name else None
    except (OSError, ValueError):
        return None


def _distribution(requirement: str) -> str:
    for end in "=<>!~[; ":
        requirement = requirement.partition(end)[0]
    return requirement.strip().lower().replace("_", "-")
