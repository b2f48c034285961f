"""How an endpoint is to be deployed, as Azure ML's SDK has it: `AciWebservice.deploy_configuration(…)` and its like.

What acts here: CPU, memory, workers, concurrency, time limits, keys, whether a key is needed, tags, the port. What
means something only in Azure's clouds (TLS, DNS names, insights, regions) is accepted, kept, and said once.
"""

import logging
from dataclasses import dataclass, field, fields
from typing import Any

from mlflow_amlstore.errors import InvalidValue, NotSupported

_logger = logging.getLogger(__name__)
_NO_EFFECT = frozenset(
    "location ssl_enabled ssl_cert_pem_file ssl_key_pem_file ssl_cname dns_name_label enable_app_insights namespace "
    "collect_model_data period_seconds initial_delay_seconds timeout_seconds success_threshold failure_threshold "
    "autoscale_refresh_seconds autoscale_target_utilization cmk_vault_base_url cmk_key_name cmk_key_version vnet_name "
    "subnet_name gpu_cores max_request_wait_time blobfuse_enabled".split()
)
_said: set[str] = set()


@dataclass
class WebserviceDeploymentConfiguration:
    """What all have in common. None means the default: a key is needed, one worker, no limits."""

    tags: dict[str, str] | None = None
    properties: dict[str, str] | None = None
    description: str | None = None
    auth_enabled: bool | None = None
    cpu_cores: float | None = None
    memory_gb: float | None = None
    primary_key: str | None = field(default=None, repr=False)
    secondary_key: str | None = field(default=None, repr=False)
    settings: dict[str, Any] = field(default_factory=dict)
    """What was given and has no effect here."""

    def __post_init__(self) -> None:
        for name in ("cpu_cores", "memory_gb"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, (int, float)) or value <= 0):
                raise InvalidValue(name, value, "must be a number above 0")
        if (self.primary_key is None) != (self.secondary_key is None):
            raise InvalidValue("primary_key and secondary_key", "one of them", "must both be given, or neither")

    @property
    def keys(self) -> tuple[str, str] | None:
        """Both keys, where they were given."""
        if self.primary_key is None or self.secondary_key is None:
            return None
        return self.primary_key, self.secondary_key


@dataclass
class AciServiceDeploymentConfiguration(WebserviceDeploymentConfiguration):
    """Made by `AciWebservice.deploy_configuration`."""


@dataclass
class AksServiceDeploymentConfiguration(WebserviceDeploymentConfiguration):
    """Made by `AksWebservice.deploy_configuration`."""

    num_replicas: int | None = None
    scoring_timeout_ms: int | None = None
    replica_max_concurrent_requests: int | None = None
    token_auth_enabled: bool | None = None
    compute_target_name: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.token_auth_enabled:
            raise NotSupported("token_auth_enabled", "Leave it out: a request needs one of two keys, get_keys()")
        for name in ("num_replicas", "scoring_timeout_ms", "replica_max_concurrent_requests"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and value > 0):
                raise InvalidValue(name, value, "must be a whole number above 0")


@dataclass
class LocalWebserviceDeploymentConfiguration(WebserviceDeploymentConfiguration):
    """Made by `LocalWebservice.deploy_configuration`."""

    port: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.port is not None and not 0 < self.port < 65_536:
            raise InvalidValue("port", self.port, "must be a port: 1 to 65535")


def configured(kind: type[Any], call: str, given: dict[str, Any]) -> Any:
    """Make a configuration of what a call was given; what it doesn't know is refused by name.

    Raises InvalidValue, NotSupported.
    """
    known = {each.name for each in fields(kind)} - {"settings"}
    for asked in ("cpu_cores", "memory_gb"):
        limit = given.pop(f"{asked}_limit", None)
        if limit is not None:  # what it may use; what it asks for is no more than that
            least = given.get(asked)
            if least is not None and limit < least:
                raise InvalidValue(f"{asked}_limit", limit, f"must be at least {asked}, which is {least}")
            given[asked] = limit
    replicas = given.pop("autoscale_max_replicas", None)
    given.pop("autoscale_min_replicas", None)
    if given.pop("autoscale_enabled", None) and given.get("num_replicas") is not None:
        raise InvalidValue("num_replicas", given["num_replicas"], "can't be given with autoscale_enabled")
    if replicas is not None and given.get("num_replicas") is None and "num_replicas" in known:
        given["num_replicas"] = replicas  # processes are cheap: as many as there may be
    settings = {name: given.pop(name) for name in list(given) if name in _NO_EFFECT}
    settings = {name: value for name, value in settings.items() if value is not None}
    for name, value in given.items():
        if name not in known and value is not None:
            raise NotSupported(f"{call} with {name}", f"Leave it out; known are {', '.join(sorted(known))}")
    if unsaid := sorted(set(settings) - _said):
        _said.update(unsaid)
        _logger.warning("%s: %s %s no effect here", call, ", ".join(unsaid), "has" if len(unsaid) == 1 else "have")
    return kind(**{name: value for name, value in given.items() if name in known}, settings=settings)
