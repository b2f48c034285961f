"""Where a workspace's records are: in a folder of this machine, behind a service, or in Azure ML."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.runner import deaths
from mlflow_amlstore.workspace import tracking_uri
from mlflow_amlstore.workspace.artifact_uri import artifact_uri
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace, open_folder

if TYPE_CHECKING:
    from mlflow_amlstore.client.remote_workspace import RemoteWorkspace


def studio_path(path: str) -> str:
    """The path of a page of Studio, by its path in MLflow's UI."""
    experiment, _, run_id = path.partition("/runs/")
    return f"runs/{run_id}" if run_id else f"{experiment}/runs" if experiment else ""


class Backend(Protocol):
    """What `Workspace` needs of the place where its records are. Can be pickled."""

    @property
    def name(self) -> str:
        """The workspace's name."""

    @property
    def subscription_id(self) -> str:
        """The Azure subscription, or what stands for one."""

    @property
    def resource_group(self) -> str:
        """The Azure resource group, or what stands for one."""

    @property
    def facts(self) -> dict[str, str | None]:
        """What the workspace is and where, under the names that Azure ML's SDK uses, without the name."""

    @property
    def path(self) -> Path | None:
        """The folder of an embedded workspace; None for the others."""

    @property
    def is_azure_ml(self) -> bool:
        """Whether it is a workspace of Azure ML, which has compute targets of its own."""

    @property
    def records(self) -> CommonStore:
        """The workspace's run records."""

    @property
    def has_pages(self) -> bool:
        """Whether a browser finds something at `page_address`."""

    def page_address(self, path: str) -> str:
        """The address of a page, by its path in MLflow's UI: `experiments/ID`, `experiments/ID/runs/ID`."""

    def file_uri(self, location: str) -> str:
        """The artifact URI of a location in the workspace."""

    def issue_uri(self) -> str:
        """A tracking URI to hand out."""

    def look_for_dead(self, run_id: str | None) -> bool:
        """Look for runs whose processes are gone; with `run_id`, for this submitted one, and at once."""

    def config_values(self, folder: Path) -> dict[str, str]:
        """What a config.json in a folder says to find the workspace."""

    def close(self) -> None:
        """Release connections."""


@dataclass(frozen=True)
class Embedded:
    """A folder of this machine."""

    opened: EmbeddedWorkspace
    name: str

    @property
    def subscription_id(self) -> str:
        return tracking_uri.SUBSCRIPTION_ID

    @property
    def resource_group(self) -> str:
        return tracking_uri.RESOURCE_GROUP

    def __reduce__(self) -> tuple[Callable[..., "Embedded"], tuple[Path, str]]:
        return _embedded_again, (self.opened.folder, self.name)

    @property
    def facts(self) -> dict[str, str | None]:
        return {
            "location": "local",
            "subscriptionId": self.subscription_id,
            "resourceGroup": self.resource_group,
            "workspaceId": self.opened.records.workspace_id,
            "path": str(self.opened.folder),
            "mlFlowTrackingUri": self.opened.root_uri,
        }

    @property
    def path(self) -> Path:
        return self.opened.folder

    @property
    def is_azure_ml(self) -> bool:
        return False

    @property
    def records(self) -> CommonStore:
        return self.opened.records

    @property
    def has_pages(self) -> bool:
        return self._studio() is not None

    def page_address(self, path: str) -> str:
        studio = self._studio()
        return f"{self.opened.root_uri}/#/{path}" if studio is None else f"{studio}/{studio_path(path)}"

    def _studio(self) -> str | None:
        """The address of a Studio that runs on this folder."""
        from mlflow_amlstore.client.tokens.stored_keys import service_of_folder

        return service_of_folder(self.opened.folder)

    def file_uri(self, location: str) -> str:
        return artifact_uri(self.opened.root_uri, location)

    def issue_uri(self) -> str:
        return str(self.opened.issuer.issue())

    def look_for_dead(self, run_id: str | None) -> bool:
        records = self.opened.records
        return deaths.look(records) if run_id is None else deaths.look_at_script(records, run_id)

    def config_values(self, folder: Path) -> dict[str, str]:
        return {"path": os.path.relpath(self.opened.folder, folder)}

    def close(self) -> None:
        self.opened.close()


@dataclass(frozen=True)
class Served:
    """Behind a service."""

    remote: "RemoteWorkspace"

    @property
    def name(self) -> str:
        return self.remote.name

    @property
    def subscription_id(self) -> str:
        return self.remote.subscription_id

    @property
    def resource_group(self) -> str:
        return self.remote.resource_group

    @property
    def facts(self) -> dict[str, str | None]:
        return {
            "location": self.remote.location,
            "subscriptionId": self.subscription_id,
            "resourceGroup": self.resource_group,
            "workspaceId": self.remote.workspace_id,
            "serviceUrl": self.remote.connection.service_url,
            "mlFlowTrackingUri": self.remote.connection.root,
        }

    @property
    def path(self) -> None:
        return None

    @property
    def is_azure_ml(self) -> bool:
        return False

    @property
    def records(self) -> CommonStore:
        from mlflow_amlstore.client.run_history.remote_records import records_of

        return records_of(self.remote.connection)

    @property
    def has_pages(self) -> bool:
        return True

    def page_address(self, path: str) -> str:
        return f"{self.remote.connection.service_url}/{studio_path(path)}"

    def file_uri(self, location: str) -> str:
        from mlflow_amlstore.client.files.azureml_uri import uri_of_location

        return uri_of_location(self.remote.connection.root, location)

    def issue_uri(self) -> str:
        return self.remote.connection.issue_uri()

    def look_for_dead(self, run_id: str | None) -> bool:
        return False  # the service looks

    def config_values(self, folder: Path) -> dict[str, str]:
        return {"service_url": self.remote.connection.service_url}

    def close(self) -> None:
        self.remote.connection.close()


@dataclass(frozen=True)
class OnAzure(Served):
    """A workspace of Azure ML."""

    @property
    def is_azure_ml(self) -> bool:
        return True

    @property
    def facts(self) -> dict[str, str | None]:
        workspace = self.remote
        return {
            **super().facts,
            "id": unquote(workspace.connection.workspace_path),
        }

    @property
    def has_pages(self) -> bool:
        return bool(self._studio)

    def page_address(self, path: str) -> str:
        if not self._studio:
            return f"{self.remote.connection.service_url}/#/{path}"
        experiment, _, run_id = path.partition("/runs/")
        page = f"runs/{run_id}" if run_id else experiment.replace("experiments/", "experiments/id/", 1)
        return f"{self._studio}/{page}?wsid={self.remote.connection.workspace_path}"

    @property
    def _studio(self) -> str:
        from mlflow_amlstore.client.tokens.clouds import cloud_of_host

        cloud = cloud_of_host(self.remote.connection.service_url)
        return "" if cloud is None else cloud.studio

    def config_values(self, folder: Path) -> dict[str, str]:
        return {"subscription_id": self.remote.subscription_id, "resource_group": self.remote.resource_group}


def _embedded_again(folder: Path, name: str) -> Embedded:
    return Embedded(open_folder(folder), name)
