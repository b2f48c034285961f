"""`Workspace`: the place that experiments, runs and models are in."""

import os
from collections.abc import Callable
from pathlib import Path

from mlflow_amlstore.core.place import Embedded, Place, Served
from mlflow_amlstore.errors import ConfigInvalid, InvalidValue, NotSupported
from mlflow_amlstore.records.types import ExperimentRecord, ModelRecord
from mlflow_amlstore.workspace import config_json
from mlflow_amlstore.workspace.credentials import Credential
from mlflow_amlstore.workspace.opening import create_workspace, open_folder
from mlflow_amlstore.workspace.remote_workspace import open_service


class Workspace:
    """A workspace, as Azure ML's SDK has it. Get one by `from_config`, `from_url`, `get` or `create`.

    >>> ws = Workspace.create("my-workspace")  # doctest: +SKIP
    >>> mlflow.set_tracking_uri(ws.get_mlflow_tracking_uri())  # doctest: +SKIP
    """

    def __init__(
        self, subscription_id: str, resource_group: str, workspace_name: str, credential: object | None = None
    ) -> None:
        """Open a workspace of Azure ML. Raises NotSupported: this release has embedded workspaces and services."""
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

        Raises ConfigNotFound with the folders searched, ConfigInvalid, WorkspaceNotFound, and for a service what
        `from_url` does.
        """
        config = config_json.find_config(None if path is None else Path(path))
        if config.folder is not None:
            return cls._of(Embedded(open_folder(config.folder), config.workspace_name or config.folder.resolve().name))
        if config.service_url is not None:
            return cls._of_service(config, config.service_url)
        return cls(config.subscription_id or "", config.resource_group or "", config.workspace_name or "")

    @classmethod
    def from_url(cls, service_url: str, credential: Credential | None = None) -> "Workspace":
        """Open the workspace that a service has, at `https://HOST[:PORT]`, or `http://` on this machine.

        `credential` is anything with azure-identity's `get_token`; without one, a key is looked for when it's needed:
        in AMLSTORE_KEY, the keyring, where `amlstore login` left it, and among services that this user started here.
        Raises ServiceUnreachable, ServiceError, InvalidValue for what is no address.
        """
        return cls._of(Served(open_service(service_url, credential)))

    @classmethod
    def create(cls, path: str | os.PathLike[str], name: str | None = None) -> "Workspace":
        """Make an embedded workspace in a folder, with its config.json, or open the workspace that is there.

        Where config.json in the folder names a service, that is the service's.
        """
        config_file = Path(path) / config_json.FILE_NAME
        if config_file.exists():
            config = config_json.read_config(config_file)
            if config.service_url is not None:
                return cls._of_service(config, config.service_url)
        opened = create_workspace(Path(path), name)
        known = config_json.read_config(opened.folder / config_json.FILE_NAME).workspace_name
        return cls._of(Embedded(opened, known or opened.folder.name))

    @classmethod
    def _of(cls, place: Place) -> "Workspace":
        self = cls.__new__(cls)
        self._place = place
        return self

    @classmethod
    def _of_service(cls, config: config_json.WorkspaceConfig, service_url: str) -> "Workspace":
        try:
            self = cls.from_url(service_url)
        except InvalidValue as error:
            raise ConfigInvalid(str(config.file), str(error)) from error
        if config.workspace_name not in (None, self.name):
            raise ConfigInvalid(
                str(config.file),
                f"it means the workspace {config.workspace_name!r}, and the service at {service_url} has {self.name!r}",
            )
        return self

    _place: Place

    def __reduce__(self) -> tuple[Callable[..., "Workspace"], tuple[Place]]:
        return Workspace._of, (self._place,)

    def __repr__(self) -> str:
        if self.path is None:
            return f"Workspace(name={self.name!r}, service_url={self._place.facts['serviceUrl']!r})"
        return f"Workspace(name={self.name!r}, path={str(self.path)!r})"

    @property
    def name(self) -> str:
        """The workspace's name: a service's own, or an embedded one's from config.json."""
        return self._place.name

    @property
    def path(self) -> Path | None:
        """The folder of an embedded workspace; None for a service's."""
        return self._place.path

    @property
    def location(self) -> str | None:
        """The Azure region; `local` for an embedded workspace and for a service."""
        return self._place.facts["location"]

    @property
    def subscription_id(self) -> str | None:
        """The Azure subscription, or what a service has in its place; None for an embedded workspace."""
        return self._place.facts["subscriptionId"]

    @property
    def resource_group(self) -> str | None:
        """The Azure resource group, or what a service has in its place; None for an embedded workspace."""
        return self._place.facts["resourceGroup"]

    @property
    def experiments(self) -> dict[str, ExperimentRecord]:
        """The active experiments by name."""
        return {experiment.name: experiment for experiment in self._place.experiments()}

    @property
    def models(self) -> dict[str, ModelRecord]:
        """The registered models by name."""
        return {model.name: model for model in self._place.models()}

    @property
    def webservices(self) -> dict[str, object]:
        """The endpoints by name: there are none yet."""
        return {}

    def get_details(self) -> dict[str, object]:
        """The workspace's facts as a dictionary, under the names that Azure ML's SDK uses."""
        return {"name": self.name, **self._place.facts}

    def get_mlflow_tracking_uri(self) -> str:
        """A tracking URI for MLflow, valid for an hour; asked again, the same one while over five minutes are left.

        A service's has a token in it: whoever sees it can log until it expires. Raises LoginNeeded where this machine
        has no key for the service, TokenRefused, ServiceUnreachable.
        """
        return self._place.issue_uri()

    def write_config(self, path: str | os.PathLike[str] | None = None, file_name: str = config_json.FILE_NAME) -> Path:
        """Write `PATH/.azureml/config.json` (the current folder by default) for `from_config`; return the file.

        A service's key is never written there.
        """
        folder = Path.cwd() if path is None else Path(path)
        file = folder.absolute() / ".azureml" / file_name
        values = {"workspace_name": self.name, **self._place.config_values(file.parent.resolve())}
        config_json.write_config(file, values)
        return file

    def close(self) -> None:
        """Release the workspace's connections. Opening it again makes new ones."""
        self._place.close()
