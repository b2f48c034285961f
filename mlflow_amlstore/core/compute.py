"""Compute targets: a name for slots on this machine, under Azure ML's words."""

import logging
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mlflow_amlstore.core.not_yet import names_the_missing
from mlflow_amlstore.errors import NotSupported
from mlflow_amlstore.protocol.times import datetime_or_none, iso_time_or_none
from mlflow_amlstore.records.types import ComputeTargetRecord
from mlflow_amlstore.runner.slots import cores

if TYPE_CHECKING:
    from datetime import datetime

    from mlflow_amlstore.core.workspace import Workspace

_logger = logging.getLogger(__name__)


@dataclass
class AmlComputeProvisioningConfiguration:
    """What an `AmlCompute` is made with. `max_nodes` is how many runs run at a time, by default as many as this machine
    has cores; the rest is kept as it was given, and has no effect here."""

    vm_size: str = ""
    vm_priority: str = "dedicated"
    min_nodes: int = 0
    max_nodes: int | None = None
    idle_seconds_before_scaledown: int | None = None
    tags: dict[str, str] | None = None
    description: str | None = None
    location: str | None = None


@dataclass(frozen=True)
class ScaleSettings:
    """Between how many nodes a target has: here none is started and none stopped."""

    minimum_node_count: int
    maximum_node_count: int
    idle_seconds_before_scaledown: int | None


@dataclass(frozen=True)
class AmlComputeStatus:
    """What state a target is in: this machine is always ready."""

    provisioning_state: str
    allocation_state: str
    current_node_count: int
    target_node_count: int
    vm_size: str
    vm_priority: str
    scale_settings: ScaleSettings

    def serialize(self) -> dict[str, Any]:
        """Return it as a dictionary, under the names that Azure ML has."""
        scale = {_camel_case(name): value for name, value in asdict(self.scale_settings).items()}
        return {**{_camel_case(name): value for name, value in asdict(self).items()}, "scaleSettings": scale}


@names_the_missing
class ComputeTarget:
    """A name that runs are submitted to. Here it is so many slots on the machine that submits.

    >>> from mlflow_amlstore.core.compute import AmlCompute
    >>> configuration = AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=2)
    >>> target = ComputeTarget.create(ws, "cpu-cluster", configuration)
    >>> ComputeTarget(ws, "cpu-cluster").get_status().target_node_count
    2
    >>> sorted(ws.compute_targets)
    ['cpu-cluster']
    """

    _kinds: ClassVar[dict[str, type["ComputeTarget"]]] = {}

    _workspace: "Workspace"
    _record: ComputeTargetRecord

    def __new__(cls, workspace: "Workspace", name: str) -> "ComputeTarget":
        """Open the target of this name. Raises NotFound, which scripts know as ComputeTargetException."""
        return cls._of(workspace, workspace.records.compute_targets.get(name))

    @classmethod
    def _of(cls, workspace: "Workspace", record: ComputeTargetRecord) -> "ComputeTarget":
        self = object.__new__(ComputeTarget._kinds.get(record.kind, ComputeTarget))
        self._workspace, self._record = workspace, record
        return self

    @staticmethod
    def create(workspace: "Workspace", name: str, provisioning_configuration: object) -> "ComputeTarget":
        """Make a target, or change the one of this name. Raises InvalidValue; NotSupported for other kinds."""
        given = provisioning_configuration
        if not isinstance(given, AmlComputeProvisioningConfiguration):
            way_out = "Give AmlCompute.provisioning_configuration(): a target is slots on this machine"
            raise NotSupported(f"A compute target of {type(given).__name__}", way_out)
        slots = cores() if given.max_nodes is None else given.max_nodes
        record = workspace.records.compute_targets.put(name, AmlCompute.KIND, slots, asdict(given))
        _logger.warning(
            "The compute target %s is a name for %s %s of this machine; no machine is started",
            name, slots, "slot" if slots == 1 else "slots",
        )  # fmt: skip
        return ComputeTarget._of(workspace, record)

    @staticmethod
    def list(workspace: "Workspace") -> "list[ComputeTarget]":
        """Return the workspace's targets by name."""
        return [ComputeTarget._of(workspace, record) for record in workspace.records.compute_targets.list()]

    @property
    def name(self) -> str:
        """Its name."""
        return self._record.name

    @property
    def type(self) -> str:
        """Azure ML's word for its kind, such as AmlCompute."""
        return self._record.kind

    @property
    def provisioning_state(self) -> str:
        """Succeeded: it is there at once."""
        return "Succeeded"

    @property
    def created_on(self) -> "datetime | None":
        """When it was made (UTC)."""
        return datetime_or_none(self._record.created_ms)

    @property
    def tags(self) -> dict[str, str]:
        """The tags that it was made with."""
        return dict(self._record.settings.get("tags") or {})

    @property
    def description(self) -> str | None:
        """The description that it was made with."""
        return self._record.settings.get("description")

    def refresh_state(self) -> None:
        """Read it again. Raises NotFound."""
        self._record = self._workspace.records.compute_targets.get(self.name)

    def wait_for_completion(
        self,
        show_output: bool = False,
        min_node_count: int | None = None,
        timeout_in_minutes: float | None = None,
        is_delete_operation: bool = False,
    ) -> None:
        """Return at once, as it is there at once; with `show_output` in the SDK's words."""
        if show_output:
            sys.stdout.write("Succeeded\nAmlCompute wait for completion finished\n\n")
            sys.stdout.write("Minimum number of nodes requested have been provisioned\n")

    def delete(self) -> None:
        """Delete it; runs that were submitted to it go on. Raises NotFound."""
        self._workspace.records.compute_targets.delete(self.name)

    def serialize(self) -> dict[str, Any]:
        """Return its facts as a dictionary, under the names that Azure ML has."""
        return {
            "name": self.name,
            "computeType": self.type,
            "provisioningState": self.provisioning_state,
            "createdOn": iso_time_or_none(self._record.created_ms),
            "description": self.description,
            "tags": self.tags,
            "properties": {_camel_case(name): value for name, value in self._record.settings.items()},
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, slots={self._record.slots})"


@names_the_missing
class AmlCompute(ComputeTarget):
    """A cluster of Azure ML's by its name: here slots on the machine that submits."""

    KIND: ClassVar[str] = "AmlCompute"

    @staticmethod
    def provisioning_configuration(
        vm_size: str = "",
        vm_priority: str = "dedicated",
        min_nodes: int = 0,
        max_nodes: int | None = None,
        idle_seconds_before_scaledown: int | None = None,
        admin_username: str | None = None,
        admin_user_password: str | None = None,
        admin_user_ssh_key: str | None = None,
        vnet_resourcegroup_name: str | None = None,
        vnet_name: str | None = None,
        subnet_name: str | None = None,
        tags: dict[str, str] | None = None,
        description: str | None = None,
        remote_login_port_public_access: str = "NotSpecified",
        identity_type: str | None = None,
        identity_id: list[str] | None = None,
        location: str | None = None,
        enable_node_public_ip: bool = True,
    ) -> AmlComputeProvisioningConfiguration:
        """Say what to make. `max_nodes` is how many runs run at a time; passwords, keys and networks are for machines
        that aren't started here, and are kept nowhere."""
        return AmlComputeProvisioningConfiguration(
            vm_size, vm_priority, min_nodes, max_nodes, idle_seconds_before_scaledown, tags, description, location
        )

    @property
    def vm_size(self) -> str:
        """The size of machine that it was made with, which is none here."""
        return str(self._record.settings.get("vm_size") or "")

    @property
    def scale_settings(self) -> ScaleSettings:
        """Between how many nodes it has."""
        settings = self._record.settings
        idle_s = settings.get("idle_seconds_before_scaledown")
        return ScaleSettings(settings.get("min_nodes") or 0, self._record.slots, idle_s)

    def get_status(self) -> AmlComputeStatus:
        """Return what state it is in."""
        priority = str(self._record.settings.get("vm_priority") or "")
        slots = self._record.slots
        return AmlComputeStatus(
            self.provisioning_state, "Steady", slots, slots, self.vm_size, priority, self.scale_settings
        )

    def update(
        self,
        min_nodes: int | None = None,
        max_nodes: int | None = None,
        idle_seconds_before_scaledown: int | None = None,
    ) -> None:
        """Change what is given: from now on, so many runs run at a time."""
        given = {
            "min_nodes": min_nodes,
            "max_nodes": max_nodes,
            "idle_seconds_before_scaledown": idle_seconds_before_scaledown,
        }
        settings = {**self._record.settings, **{name: value for name, value in given.items() if value is not None}}
        slots = self._record.slots if max_nodes is None else max_nodes
        self._record = self._workspace.records.compute_targets.put(self.name, self.type, slots, settings)


ComputeTarget._kinds[AmlCompute.KIND] = AmlCompute


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
