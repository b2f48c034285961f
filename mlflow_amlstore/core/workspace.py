"""`Workspace`: the place that experiments, runs and models are in."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from mlflow_amlstore.errors import NotSupported
from mlflow_amlstore.records.types import ExperimentRecord, ModelRecord, Page
from mlflow_amlstore.workspace import config_json
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace, create_workspace, open_folder

T = TypeVar("T")

_PAGE = 1000


class Workspace:
    """A workspace, as Azure ML's SDK has it. Get one by `from_config`, `get` or `create`.

    >>> ws = Workspace.create("my-workspace")  # doctest: +SKIP
    >>> mlflow.set_tracking_uri(ws.get_mlflow_tracking_uri())  # doctest: +SKIP
    """

    def __init__(
        self, subscription_id: str, resource_group: str, workspace_name: str, credential: object | None = None
    ) -> None:
        """Open a workspace of Azure ML. Raises NotSupported: this release has embedded workspaces only."""
        raise NotSupported(
            f"The Azure ML workspace {workspace_name!r}",
            "Use an embedded workspace: `amlstore init`, Workspace.from_config()",
        )

    @classmethod
    def get(
        cls,
        name: str,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        *,
        auth: object | None = None,
    ) -> "Workspace":
        """Open a workspace of Azure ML by name. Raises NotSupported, as the constructor does."""
        return cls(subscription_id or "", resource_group or "", name, auth)

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] | None = None) -> "Workspace":
        """Open the workspace that config.json names: in `path` (a file or folder), else the current folder, its
        `.azureml/` or `aml_config/`, then each parent's in turn.

        Raises ConfigNotFound with the folders searched, ConfigInvalid, WorkspaceNotFound.
        """
        config = config_json.find_config(None if path is None else Path(path))
        if config.folder is None:
            if config.service_url is not None:
                raise NotSupported(f"The workspace service {config.service_url!r} of {config.file}")
            return cls(config.subscription_id or "", config.resource_group or "", config.workspace_name or "")
        return cls._of(open_folder(config.folder), config.workspace_name)

    @classmethod
    def create(cls, path: str | os.PathLike[str], name: str | None = None) -> "Workspace":
        """Make an embedded workspace in a folder, with its config.json, or open the one that is there."""
        opened = create_workspace(Path(path), name)
        return cls._of(opened, config_json.read_config(opened.folder / config_json.FILE_NAME).workspace_name)

    @classmethod
    def _of(cls, opened: EmbeddedWorkspace, name: str | None) -> "Workspace":
        self = cls.__new__(cls)
        self._opened = opened
        self._name = name or opened.folder.name
        return self

    _opened: EmbeddedWorkspace
    _name: str

    def __reduce__(self) -> tuple[Callable[..., "Workspace"], tuple[object, ...]]:
        return _opened_again, (self.path, self._name)

    def __repr__(self) -> str:
        return f"Workspace(name={self._name!r}, path={str(self.path)!r})"

    @property
    def name(self) -> str:
        """The workspace's name, from config.json."""
        return self._name

    @property
    def path(self) -> Path:
        """The folder of an embedded workspace."""
        return self._opened.folder

    @property
    def location(self) -> str:
        """The Azure region; `local` for an embedded workspace."""
        return "local"

    @property
    def subscription_id(self) -> str | None:
        """The Azure subscription; None for an embedded workspace."""
        return None

    @property
    def resource_group(self) -> str | None:
        """The Azure resource group; None for an embedded workspace."""
        return None

    @property
    def experiments(self) -> dict[str, ExperimentRecord]:
        """The active experiments by name."""
        return {experiment.name: experiment for experiment in _all_pages(self._opened.records.experiments.search)}

    @property
    def models(self) -> dict[str, ModelRecord]:
        """The registered models by name."""
        return {model.name: model for model in _all_pages(self._opened.records.models.search)}

    @property
    def webservices(self) -> dict[str, object]:
        """The endpoints by name: an embedded workspace has none."""
        return {}

    def get_details(self) -> dict[str, object]:
        """The workspace's facts as a dictionary, under the names that Azure ML's SDK uses."""
        return {
            "name": self.name,
            "location": self.location,
            "subscriptionId": self.subscription_id,
            "resourceGroup": self.resource_group,
            "path": str(self.path),
            "mlFlowTrackingUri": self._opened.root_uri,
        }

    def get_mlflow_tracking_uri(self) -> str:
        """A tracking URI for MLflow, valid for an hour; asked again, the same one while over five minutes are left."""
        return str(self._opened.issuer.issue())

    def write_config(self, path: str | os.PathLike[str] | None = None, file_name: str = config_json.FILE_NAME) -> Path:
        """Write `PATH/.azureml/config.json` (the current folder by default) for `from_config`; return the file."""
        folder = Path.cwd() if path is None else Path(path)
        file = folder.absolute() / ".azureml" / file_name
        values = {"workspace_name": self.name, "path": os.path.relpath(self.path, file.parent.resolve())}
        config_json.write_config(file, values)
        return file

    def close(self) -> None:
        """Release the workspace's connections. Opening it again makes new ones."""
        self._opened.close()


def _opened_again(folder: Path, name: str) -> Workspace:
    return Workspace._of(open_folder(folder), name)


def _all_pages(search: Callable[..., Page[T]]) -> Iterator[T]:
    token = None
    while True:
        page = search(max_results=_PAGE, page_token=token)
        yield from page.items
        token = page.next_token
        if token is None:
            return
