"""Where a scoring script finds its models: what `Model.get_model_path` says in it."""

from pathlib import Path
from typing import Any

from mlflow_amlstore.errors import AttributeNotSupported, InvalidState, NotFound, NotSupported
from mlflow_amlstore.scoring.deployment import Deployment

INSTEAD = "There is Model.get_model_path; put azureml-core into the script's environment for all else"
_known: list[tuple[Deployment, Path]] = []


def know(deployment: Deployment, folder: Path) -> None:
    """Say which served folder this process has."""
    _known[:] = [(deployment, folder)]


def model_dir(deployment: Deployment, folder: Path) -> Path | None:
    """AZUREML_MODEL_DIR: the folder of the only model, or the one with NAME/VERSION of several; None without any."""
    if not deployment.model:
        return None
    models = folder / deployment.model
    if len(deployment.models) == 1:
        return models / deployment.models[0]
    return models if models.is_dir() else models.parent


def model_path(name: str, version: int | str | None = None) -> str:
    """The file or folder of a model, of its latest version where none is named. Raises NotFound, InvalidState."""
    if not _known:
        raise InvalidState("There are models for a script where an endpoint runs it, and this isn't one")
    deployment, folder = _known[0]
    if not deployment.models:
        if deployment.model and name == deployment.model_name and version in (None, deployment.model_version):
            return str(folder / deployment.model)
        raise NotFound("model", name, f"This endpoint has {deployment.model_name!r} {deployment.model_version}")
    there = [known.rpartition("/") for known in deployment.models]
    versions = [known for other, _, known in there if other == name and (version is None or known == str(version))]
    if not versions:
        which = name if version is None else f"{name}:{version}"
        raise NotFound("model", which, f"This endpoint has {', '.join(deployment.models)}")
    latest = max(versions, key=lambda known: int(known) if known.isdecimal() else -1)
    entries = sorted((folder / deployment.model / name / latest).iterdir())
    if len(entries) != 1:
        found = ", ".join(entry.name for entry in entries[:10]) or "nothing"
        raise InvalidState(f"The model {name}:{latest} must be one file or folder to have a path; it has {found}")
    return str(entries[0])


class _OnlyPaths(type):
    def __getattr__(cls, name: str) -> Any:
        raise AttributeNotSupported(f"Model.{name} in a scoring script", INSTEAD)


class Model(metaclass=_OnlyPaths):
    """What `azureml.core.Model` is in a scoring script, where the SDK itself isn't installed."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise NotSupported("Model(…) in a scoring script", INSTEAD)

    @staticmethod
    def get_model_path(model_name: str, version: int | str | None = None, _workspace: Any = None) -> str:
        """The path of a model's file or folder; of its latest version where none is named."""
        return model_path(model_name, version)
