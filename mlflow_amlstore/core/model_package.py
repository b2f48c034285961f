"""`ModelPackage`: the folder that Docker builds an image of, which answers as a webservice does."""

import hashlib
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mlflow_amlstore.core.inference_config import InferenceConfig
from mlflow_amlstore.core.not_yet import names_the_missing
from mlflow_amlstore.core.webservice import deployment_parts
from mlflow_amlstore.errors import AlreadyExists, NotSupported
from mlflow_amlstore.hosting.hosted_endpoint import fetch_model, version_named
from mlflow_amlstore.hosting.served_folder import make, write_keys
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.locations import snapshot_container
from mlflow_amlstore.records.types import (
    DeploymentRecord,
    DeploymentSpec,
    EndpointRecord,
    EndpointSpec,
    EndpointState,
    ModelVersionRecord,
)
from mlflow_amlstore.runner.environments import packages_in_image

if TYPE_CHECKING:
    from mlflow_amlstore.core.environment import Environment
    from mlflow_amlstore.core.model import Model
    from mlflow_amlstore.core.workspace import Workspace

_DOCKERFILE, _REQUIREMENTS, _SERVED, _PACKAGE, _KEYS = "Dockerfile", "requirements.txt", "served", "package", "keys.txt"
_PORT = 5001  # as Azure ML's images have it
_NAME = "model"
_OURS = Path(__file__).parent.parent
_SCORING = ("__init__.py", "errors.py", "scoring")  # what the image needs of this package
_DOCKER = """FROM python:{python}-slim
WORKDIR /app
COPY {requirements} .
RUN pip install --no-cache-dir -r {requirements}
COPY {package} ./package
COPY {served} ./served
{variables}ENV PYTHONPATH=/app/package PYTHONUNBUFFERED=1 HOME=/tmp
USER 10001
EXPOSE {port}
CMD ["python", "-m", "mlflow_amlstore.scoring", "served", "--host", "0.0.0.0", "--port", "{port}"]
"""


@names_the_missing
class ModelPackage:
    """Models with all that answers for them, made by `Model.package`. It is ready at once: `save` writes it."""

    state = "Succeeded"
    location: str | None = None

    workspace: "Workspace"
    generate_dockerfile: bool
    environment: "Environment | None"
    image_name: str | None
    image_label: str | None
    _deployment: DeploymentSpec
    _log: str

    def __init__(self) -> None:
        """Raise NotSupported: `Model.package` makes them."""
        raise NotSupported("Opening a ModelPackage", "Make one with Model.package")

    @classmethod
    def _of(
        cls,
        workspace: "Workspace",
        models: "Sequence[Model]",
        inference_config: InferenceConfig | None,
        generate_dockerfile: bool,
        image_name: str | None,
        image_label: str | None,
    ) -> "ModelPackage":
        self = cls.__new__(cls)
        self.workspace, self.generate_dockerfile = workspace, generate_dockerfile
        self.image_name, self.image_label = image_name, image_label
        self.environment = None if inference_config is None else inference_config.environment
        self._deployment = deployment_parts(workspace, models, inference_config)
        packages_in_image(self._deployment.environment)  # raises for what no image can have
        self._log = f"The build context of {', '.join(self._deployment.models)} is ready: save(FOLDER) writes it\n"
        return self

    def wait_for_creation(self, show_output: bool = False) -> None:
        """Return at once, as it is ready at once; with `show_output` say so."""
        if show_output:
            sys.stdout.write(f"{self._log}Package creation Succeeded\n")

    def update_creation_state(self) -> None:
        """Return at once, as it is ready at once."""

    def get_logs(self, decode: bool = True, offset: int = 0) -> str | bytes:
        """Return what was done, from an offset in it."""
        return self._log[offset:] if decode else self._log.encode()[offset:]

    def save(self, output_directory: str | os.PathLike[str]) -> None:
        """Write the build context into a folder: a Dockerfile, the models, this package's scoring, and two new keys.

        `docker build FOLDER` makes the image; it listens on port 5001. The keys are in `keys.txt`, which isn't in the
        image and which this user alone may read. Raises AlreadyExists where the folder has a Dockerfile, and what
        reading the models raises.
        """
        folder = Path(output_directory)
        if (folder / _DOCKERFILE).exists():
            raise AlreadyExists("file", str(folder / _DOCKERFILE), "Give another folder")
        folder.mkdir(parents=True, exist_ok=True)
        records = self.workspace.records
        deployment = DeploymentRecord(1, self._deployment, EndpointState.TRANSITIONING, None, 0, 0)
        endpoint = EndpointRecord(EndpointSpec(_NAME, "LOCAL"), (deployment,), {1: 100}, {}, None, 0, 0)
        with TemporaryDirectory(prefix=".served-", dir=folder) as scratch:
            served = make(_Files(records), endpoint, deployment, Path(scratch, _SERVED))
            keys = (secrets.token_urlsafe(32), secrets.token_urlsafe(32))
            write_keys(served.path, [hashlib.sha256(key.encode()).hexdigest() for key in keys])
            for path in (served.path, *served.path.rglob("*")):  # the image's user reads them
                path.chmod(0o755 if path.is_dir() else 0o644)
            served.path.rename(folder / _SERVED)
        listed, lines = packages_in_image(self._deployment.environment)
        python = listed or served.python or f"{sys.version_info.major}.{sys.version_info.minor}"
        for name, content in _own_files():
            place = folder / _PACKAGE / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        named = [*dict.fromkeys([*lines, *served.requirements])]
        (folder / _REQUIREMENTS).write_text("".join(f"{line}\n" for line in named), encoding="utf-8")
        (folder / _DOCKERFILE).write_text(self._dockerfile(".".join(python.split(".")[:2])), encoding="utf-8")
        (folder / ".dockerignore").write_text(f"{_KEYS}\n", encoding="utf-8")
        with os.fdopen(os.open(folder / _KEYS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as sink:
            sink.write("".join(f"{key}\n" for key in keys))

    def _dockerfile(self, python: str) -> str:
        variables = "".join(f"ENV {name}={_quoted(value)}\n" for name, value in self._deployment.variables.items())
        return _DOCKER.format(
            python=python,
            requirements=_REQUIREMENTS,
            package=_PACKAGE,
            served=_SERVED,
            port=_PORT,
            variables=variables,
        )

    def pull(self) -> None:
        """Raise NotSupported: no image is built here."""
        raise NotSupported("Pulling a package's image", "save(FOLDER), and run `docker build FOLDER`")

    def get_container_registry(self) -> None:
        """Raise NotSupported: no image is built here."""
        raise NotSupported("A package's container registry", "save(FOLDER), and run `docker build FOLDER`")

    def serialize(self) -> dict[str, Any]:
        """Return its facts as a dictionary."""
        return {
            "state": self.state,
            "generateDockerfile": self.generate_dockerfile,
            "models": list(self._deployment.models),
            "imageName": self.image_name,
            "imageLabel": self.image_label,
        }

    def __repr__(self) -> str:
        return f"ModelPackage(models={list(self._deployment.models)}, state={self.state})"


def package(
    workspace: "Workspace",
    models: "Sequence[Model]",
    inference_config: InferenceConfig | None = None,
    generate_dockerfile: bool = False,
    image_name: str | None = None,
    image_label: str | None = None,
) -> ModelPackage:
    """Make what Docker builds an image of that answers as a webservice does; Docker isn't needed for it.

    The image isn't built here: `save` writes its build context. Raises what `Model.deploy` raises, and NotSupported for
    an environment with conda packages.
    """
    return ModelPackage._of(workspace, models, inference_config, generate_dockerfile, image_name, image_label)


class _Files:
    """The files of a deployment, out of its workspace."""

    def __init__(self, records: CommonStore) -> None:
        self._records = records

    def model(self, model: str) -> ModelVersionRecord:
        return version_named(self._records, model)

    def fetch_model(self, model: str, folder: Path) -> Path:
        return fetch_model(self._records, self.model(model), folder)

    def fetch_source(self, snapshot_id: str, folder: Path) -> None:
        container = snapshot_container(snapshot_id)
        for file in self._records.files.list_all(container):
            place = folder / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            self._records.files.download(container, file.path, place)


def _own_files() -> list[tuple[str, bytes]]:
    """What the image has of this package, by paths."""
    tops = [_OURS / name for name in _SCORING]
    return [
        (path.relative_to(_OURS.parent).as_posix(), path.read_bytes())
        for top in tops
        for path in (top, *sorted(top.rglob("*")))
        if path.is_file() and "__pycache__" not in path.parts
    ]


def _quoted(value: str) -> str:
    """A value as a Dockerfile has it, whose quotes know backslashes and variables."""
    for special in ("\\", '"', "$"):
        value = value.replace(special, f"\\{special}")
    return f'"{value}"'
