"""`Workspace`: the place that experiments, runs and models are in."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_amlstore.core.backend import Backend, Embedded, OnAzure, Served
from mlflow_amlstore.core.buffered_log import drain_logs
from mlflow_amlstore.core.compute import ComputeTarget
from mlflow_amlstore.core.display import facts_table
from mlflow_amlstore.core.environment import Environment
from mlflow_amlstore.core.experiment import Experiment
from mlflow_amlstore.core.model import Model
from mlflow_amlstore.core.not_yet import names_the_missing
from mlflow_amlstore.core.run import Run
from mlflow_amlstore.errors import ConfigInvalid, InvalidValue, NotSupported
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.workspace import config_json
from mlflow_amlstore.workspace.opening import create_workspace, open_folder, open_workspace
from mlflow_amlstore.workspace.tracking_uri import EMBEDDED, parse, workspace_path

if TYPE_CHECKING:
    from mlflow_amlstore.client.tokens.credentials import Credential


@names_the_missing
class Workspace:
    """A workspace, as Azure ML's SDK has it: a folder's, a service's, or Azure ML's own.

    Get one by `from_config`, `from_url`, `create`, or for Azure ML by its three names.

    >>> ws = Workspace.create("my-workspace")  # doctest: +SKIP
    >>> mlflow.set_tracking_uri(ws.get_mlflow_tracking_uri())  # doctest: +SKIP
    """

    def __init__(
        self,
        subscription_id: str,
        resource_group: str,
        workspace_name: str,
        credential: "Credential | None" = None,
        *,
        auth: "Credential | None" = None,
    ) -> None:
        """Open a workspace of Azure ML, in the cloud that AZUREML_CURRENT_CLOUD names (the public one by default).

        `credential` is any of azure-identity's; `auth` is the SDK's name for it. Without one, azure-identity's default
        chain is used, and at a terminal, if that gives no token, the user is asked to sign in. Raises NotFound,
        LoginNeeded, TokenRefused, ServiceUnreachable, InvalidValue, and ServiceError with what Azure says
        (PERMISSION_DENIED names the role that is missing).
        """
        from mlflow_amlstore.client.azure_workspace import open_azure_workspace

        if credential is not None and auth is not None:
            raise InvalidValue("auth", type(auth).__name__, "means the same as credential: give one of them")
        credential = auth if credential is None else credential
        self._backend = OnAzure(open_azure_workspace(subscription_id, resource_group, workspace_name, credential))

    @classmethod
    def get(
        cls,
        name: str,
        auth: "Credential | None" = None,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        location: str | None = None,
        cloud: str | None = None,
    ) -> "Workspace":
        """Open a workspace of Azure ML by name, as the constructor does. `auth` is a credential.

        `location` is accepted for old scripts and not used. Raises InvalidValue for a `cloud` that isn't the one of
        AZUREML_CURRENT_CLOUD.
        """
        from mlflow_amlstore.client.tokens.clouds import CLOUD_VARIABLE, current_cloud

        if cloud is not None and cloud != current_cloud().name:
            raise InvalidValue("cloud", cloud, f"set {CLOUD_VARIABLE}={cloud} in the environment instead")
        return cls(subscription_id or "", resource_group or "", name, auth)

    @classmethod
    def from_config(
        cls,
        path: str | os.PathLike[str] | None = None,
        auth: "Credential | None" = None,
        _logger: object = None,
        _file_name: str | None = None,
    ) -> "Workspace":
        """Open the workspace that config.json names; the file that Azure's portal offers will do.

        `path` is the file or its folder. Without it, the current folder and its `.azureml/` and `aml_config/` are
        searched, then each parent and its. `auth` is a credential for Azure ML; it isn't used if config.json names a
        folder or a service, so that the same script runs on all. `_file_name` is another name for config.json.

        Raises ConfigNotFound with the folders searched, ConfigInvalid, WorkspaceNotFound; for a service also what
        `from_url` raises, for Azure ML what the constructor raises.
        """
        config = config_json.find_config(None if path is None else Path(path), _file_name or config_json.FILE_NAME)
        if config.folder is not None:
            opened = open_folder(config.folder, config.file)
            return cls._of(Embedded(opened, config.workspace_name or opened.folder.name))
        if config.service_url is not None:
            return cls._of_service(config, config.service_url)
        return cls(config.subscription_id or "", config.resource_group or "", config.workspace_name or "", auth)

    @classmethod
    def from_url(cls, service_url: str, credential: "Credential | None" = None) -> "Workspace":
        """Open the workspace of the service at `https://HOST[:PORT]`, or `http://` on this machine.

        `credential` is anything with azure-identity's `get_token`. Without one, a key is looked for when it is needed:
        in AMLSTORE_KEY, the keyring, the file of `amlstore login`, and the services that this user started here. Raises
        ServiceUnreachable, ServiceError, and InvalidValue for what is no address.
        """
        from mlflow_amlstore.client.remote_workspace import open_service

        return cls._of(Served(open_service(service_url, credential)))

    @classmethod
    def from_tracking_uri(cls, uri: str) -> "Workspace":
        """Open the workspace that a tracking URI means, typed by hand or issued.

        Raises TrackingUriInvalid, WorkspaceNotFound; for a service also what `from_url` raises.
        """
        parsed = parse(uri)
        if parsed.scheme != EMBEDDED:
            from mlflow_amlstore.client.remote_workspace import remote_workspace_of

            return cls._of(Served(remote_workspace_of(uri)))
        opened = open_workspace(uri)
        return cls._of(Embedded(opened, _name_of(opened.folder)))

    @classmethod
    def create(
        cls, path: str | os.PathLike[str] | None = None, name: str | None = None, **of_azure: object
    ) -> "Workspace":
        """Make an embedded workspace in a folder, with its config.json, or open the workspace that is there.

        If config.json in the folder names a service, the service's workspace is opened. Raises NotSupported for the
        SDK's other arguments, which make a workspace in Azure.
        """
        if path is None or of_azure:
            raise NotSupported(
                f"Workspace.create without a path or with {', '.join(of_azure) or 'a name alone'}",
                "Make a workspace of Azure ML in the portal, or one in a folder with Workspace.create(PATH)",
            )
        config_file = Path(path) / config_json.FILE_NAME
        if config_file.exists():
            config = config_json.read_config(config_file)
            if config.service_url is not None:
                return cls._of_service(config, config.service_url)
        opened = create_workspace(Path(path), name)
        return cls._of(Embedded(opened, _name_of(opened.folder)))

    @classmethod
    def _of(cls, backend: Backend) -> "Workspace":
        self = cls.__new__(cls)
        self._backend = backend
        return self

    @classmethod
    def _of_service(cls, config: config_json.WorkspaceConfig, service_url: str) -> "Workspace":
        try:
            self = cls.from_url(service_url)
        except InvalidValue as error:
            raise ConfigInvalid(str(config.file), str(error)) from None
        if config.workspace_name not in (None, self.name):
            raise ConfigInvalid(
                str(config.file),
                f"it means the workspace {config.workspace_name!r}, and the service at {service_url} has {self.name!r}",
            )
        return self

    _backend: Backend

    def __reduce__(self) -> tuple[Callable[..., "Workspace"], tuple[Backend]]:
        return Workspace._of, (self._backend,)

    def __repr__(self) -> str:
        if self.path is None:
            return f"Workspace(name={self.name!r}, service_url={self._backend.facts['serviceUrl']!r})"
        return f"Workspace(name={self.name!r}, path={str(self.path)!r})"

    @property
    def name(self) -> str:
        """The workspace's name: a service's own, or an embedded one's from config.json."""
        return self._backend.name

    @property
    def path(self) -> Path | None:
        """The folder of an embedded workspace; None for a service's."""
        return self._backend.path

    @property
    def location(self) -> str | None:
        """The Azure region, such as `westeurope`; `local` for an embedded workspace and for a service."""
        return self._backend.facts["location"]

    @property
    def subscription_id(self) -> str:
        """The Azure subscription; elsewhere a text of its form, the same in a folder and of a service."""
        return self._backend.subscription_id

    @property
    def resource_group(self) -> str:
        """The Azure resource group; elsewhere `amlstore`."""
        return self._backend.resource_group

    @property
    def records(self) -> CommonStore:
        """The workspace's run records, as this package's own code uses them."""
        return self._backend.records

    @property
    def experiments(self) -> dict[str, Experiment]:
        """The active experiments by name."""
        return {experiment.name: experiment for experiment in Experiment.list(self)}

    @property
    def models(self) -> dict[str, Model]:
        """The newest version of each registered model by its name; a name without versions is left out."""
        return {model.name: model for model in Model.list(self, latest=True)}

    @property
    def compute_targets(self) -> dict[str, ComputeTarget]:
        """The compute targets by name; `local`, this machine, is always there and not among them."""
        return {target.name: target for target in ComputeTarget.list(self)}

    @property
    def environments(self) -> dict[str, Environment]:
        """The latest version of each registered environment, by name."""
        return Environment.list(self)

    @property
    def webservices(self) -> dict[str, object]:
        """The endpoints by name: there are none yet."""
        return {}

    def get_run(self, run_id: str) -> Run:
        """Open a run by its id. Raises NotFound."""
        return Run._by_id(self, run_id)

    def _experiment(self, experiment_id: str) -> Experiment:
        """The experiment of this id, for a run that is in it. Raises NotFound."""
        return Experiment._of(self, self.records.experiments.get(experiment_id))

    def _look_for_dead(self, run_id: str | None = None) -> bool:
        """Look for runs whose processes are gone; return whether there were any, and they are marked Failed now.

        Only on this machine, in a workspace's own folder, and once in some seconds, unless it is for a submitted run.
        """
        return self._backend.look_for_dead(run_id)

    @property
    def _has_pages(self) -> bool:
        """Whether a browser finds something at `portal_url`: today on Azure ML alone."""
        return self._backend.has_pages

    @property
    def _root_uri(self) -> str:
        """The tracking URI without its end, for a process of this machine that may go on longer."""
        return str(self._backend.facts["mlFlowTrackingUri"])

    def portal_url(self, path: str) -> str:
        """The address of a page of the workspace, by its path in MLflow's UI, such as `experiments/ID/runs/ID`."""
        return self._backend.page_address(path)

    def file_uri(self, location: str) -> str:
        """The artifact URI of a location in the workspace: `CONTAINER/PATH` (`records.locations`)."""
        return self._backend.file_uri(location)

    def get_details(self) -> dict[str, object]:
        """The workspace's facts as a dictionary, under the names that Azure ML's SDK uses. What only the cloud
        has, such as a key vault, is left out.
        """
        facts = self._backend.facts
        return {
            "id": workspace_path(self.subscription_id, self.resource_group, self.name),
            "name": self.name,
            "type": "Microsoft.MachineLearningServices/workspaces",
            "tags": {},
            "sku": "Basic",
            "workspaceid": facts["workspaceId"],
            "description": "",
            "friendlyName": self.name,
            "provisioningState": "Succeeded",
            **facts,
        }

    def get_mlflow_tracking_uri(self) -> str:
        """Return a tracking URI for MLflow, valid for an hour; while more than five minutes are left, the same again.

        A service's URI contains a token: whoever sees it can log until it expires. Azure ML's contains none: the
        credential stays in this process, and another process needs its own. Raises LoginNeeded if this machine has no
        key for the service, TokenRefused, ServiceUnreachable.
        """
        return self._backend.issue_uri()

    def write_config(self, path: str | os.PathLike[str] | None = None, file_name: str | None = None) -> Path:
        """Write `PATH/.azureml/config.json` (the current folder by default) for `from_config`; return the file.

        A service's key is never written there.
        """
        folder = Path.cwd() if path is None else Path(path)
        file = folder.absolute() / ".azureml" / (file_name or config_json.FILE_NAME)
        values = {"workspace_name": self.name, **self._backend.config_values(file.parent.resolve())}
        config_json.write_config(file, values)
        return file

    def _repr_html_(self) -> str:
        place = {"Folder": self.path} if self.path is not None else {"Service": self._backend.facts["serviceUrl"]}
        azure = {"Subscription": self.subscription_id, "Resource group": self.resource_group} if self._has_pages else {}
        return facts_table({"Name": self.name, **place, **azure})

    def close(self) -> None:
        """Write what runs of it have logged, and release its connections. Opening it again makes new ones."""
        drain_logs(self._backend.records.metrics)
        self._backend.close()


def _name_of(folder: Path) -> str:
    """An embedded workspace's name: what its own config.json says, else its folder's."""
    file = folder / config_json.FILE_NAME
    known = config_json.read_config(file).workspace_name if file.exists() else None
    return known or folder.name
