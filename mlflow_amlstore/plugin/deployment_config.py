"""What `config` of MLflow's deployments may say, with the files that azureml-mlflow reads, as fields of our records."""

import json
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mlflow_amlstore.errors import InvalidValue, NotSupported

_logger = logging.getLogger("mlflow.deployments")  # whose lines MLflow shows, and no plugin's

DEPLOYMENT_FILE, ENDPOINT_FILE = "deploy-config-file", "endpoint-config-file"
_KINDS = {"aci": "ACI", "aks": "AKS", "local": "LOCAL"}
_AUTH_MODES = ("key", "aml_token", "aad_token")
_NESTED = ("containerResourceRequirements", "keys", "request_settings")


@dataclass(frozen=True)
class Config:
    """A config, read. `deployment` has fields of `DeploymentSpec`, `endpoint` of `EndpointSpec`: those that are given.

    `traffic` is the percent that a deployment gets, or percent by name. `waits`: until the deployment serves.
    """

    deployment: dict[str, Any] = field(default_factory=dict)
    endpoint: dict[str, Any] = field(default_factory=dict)
    keys: tuple[str, str] | None = None
    traffic: int | dict[str, int] | None = None
    waits: bool = True


def read(config: Mapping[str, Any] | None, *, file_key: str = DEPLOYMENT_FILE) -> Config:
    """Read a config; what it says itself wins over the file that it names.

    Values may be texts, as `-C NAME=VALUE` gives them. Raises InvalidValue, and NotSupported for a name that means
    nothing.
    """
    given = dict(config or {})
    path = given.pop(file_key, None)
    if path is not None:
        given = {**_document(file_key, path), **given}
    flat = _flat(given)
    _refuse_what_mlflow_says(flat)
    unknown = sorted(set(flat) - set(_MEANINGS) - _WITHOUT_MEANING)
    if unknown:
        known = ", ".join(name for name in _OURS)
        raise NotSupported(f"{', '.join(unknown)} in the config of a deployment", f"It may have {file_key}, {known}")
    parts: dict[str, dict[str, Any]] = {"deployment": {}, "endpoint": {}, "keys": {}, "how": {}}
    for name, (part, meant, read_value) in _MEANINGS.items():  # in the order of the table: the later one wins
        if name in flat:
            parts[part][meant] = read_value(name, flat[name])
    settings = {name: flat[name] for name in flat if name in _WITHOUT_MEANING}
    if settings:
        _logger.info("Changes nothing here: %s", ", ".join(sorted(settings)))
    port = parts["how"].get("port")
    settings |= {} if port is None else {"port": port}
    if settings:
        parts["endpoint"]["settings"] = settings
    how = parts["how"]
    return Config(
        parts["deployment"], parts["endpoint"], _keys(parts["keys"]), how.get("traffic"), not how.get("async", False)
    )


def _document(file_key: str, path: object) -> dict[str, Any]:
    """A YAML or JSON file; JSON is YAML, too."""
    try:
        told = yaml.safe_load(Path(str(path)).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidValue(file_key, str(path), f"can't be read: {error}") from None
    except yaml.YAMLError as error:
        raise InvalidValue(file_key, str(path), f"must be YAML or JSON: {error}") from None
    if not isinstance(told, dict):
        raise InvalidValue(file_key, str(path), "must have an object: names with values")
    return told


def _flat(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are given, those of a nested object under `OBJECT.NAME`."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name in _NESTED:
            found |= {f"{name}.{inner}": it for inner, it in _object(name, value).items() if it is not None}
        elif value is not None:
            found[str(name)] = value
    return found


def _refuse_what_mlflow_says(flat: Collection[str]) -> None:
    for name in ("model", "code_configuration", "environment", "endpoint_name"):
        if name in flat:
            raise InvalidValue("config", name, "is said by the arguments model_uri and endpoint, and by the model")


def _keys(given: Mapping[str, str]) -> tuple[str, str] | None:
    if not given:
        return None
    if len(given) == 1:
        raise InvalidValue("keys", sorted(given), "must have both primaryKey and secondaryKey, or none")
    return given["primary"], given["secondary"]


# Reading values: each takes a name and what is given


def _number(name: str, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InvalidValue(name, value, "must be a number") from None


def _seconds(name: str, value: object) -> float:
    return _number(name, value) / 1000


def _count(name: str, value: object) -> int:
    number = _number(name, value)
    if not number.is_integer():
        raise InvalidValue(name, value, "must be a whole number")
    return int(number)


def _flag(name: str, value: object) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise InvalidValue(name, value, "must be true or false")
    return text == "true"


def _text(name: str, value: object) -> str:
    return str(value)


def _object(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise InvalidValue(name, value, 'must be an object, in a command as JSON: {"name": value}') from None
    if not isinstance(value, Mapping):
        raise InvalidValue(name, value, "must be an object: names with values")
    return {str(inner): it for inner, it in value.items()}


def _texts(name: str, value: object) -> dict[str, str]:
    return {inner: str(it) for inner, it in _object(name, value).items()}


def _kind(name: str, value: object) -> str:
    kind = _KINDS.get(str(value).lower())
    if kind is None:
        raise InvalidValue(name, value, f"must be {', '.join(_KINDS)}")
    return kind


def _auth_mode(name: str, value: object) -> bool:
    if str(value).lower() not in _AUTH_MODES:
        raise InvalidValue(name, value, f"must be {', '.join(_AUTH_MODES)}, each of which means a key here")
    return True


def _traffic(name: str, value: object) -> int | dict[str, int]:
    """Percent, or percent by the name of a deployment."""
    is_object = isinstance(value, Mapping) or (isinstance(value, str) and value.lstrip().startswith("{"))
    if is_object:
        return {inner: _percent(f"{name} of {inner}", it) for inner, it in _object(name, value).items()}
    return _percent(name, value)


def _percent(name: str, value: object) -> int:
    percent = _count(name, value)
    if not 0 <= percent <= 100:
        raise InvalidValue(name, value, "must be percent: 0 to 100")
    return percent


_Reader = Callable[[str, object], object]
# By name: the part that it belongs to, the field there, and how it is read. First the names in Azure ML's files.
_MEANINGS: dict[str, tuple[str, str, _Reader]] = {
    "containerResourceRequirements.cpu": ("deployment", "cpu", _number),
    "containerResourceRequirements.cpuLimit": ("deployment", "cpu", _number),
    "containerResourceRequirements.memoryInGB": ("deployment", "memory_gb", _number),
    "containerResourceRequirements.memoryInGBLimit": ("deployment", "memory_gb", _number),
    "numReplicas": ("deployment", "workers", _count),
    "instance_count": ("deployment", "workers", _count),
    "maxConcurrentRequestsPerContainer": ("deployment", "concurrency", _count),
    "request_settings.max_concurrent_requests_per_instance": ("deployment", "concurrency", _count),
    "scoringTimeoutMs": ("deployment", "predict_limit_s", _seconds),
    "request_settings.request_timeout_ms": ("deployment", "predict_limit_s", _seconds),
    "environment_variables": ("deployment", "variables", _texts),
    "computeTargetName": ("endpoint", "target", _text),
    "kvTags": ("endpoint", "tags", _texts),
    "authEnabled": ("endpoint", "auth", _flag),
    "auth_mode": ("endpoint", "auth", _auth_mode),
    "keys.primaryKey": ("keys", "primary", _text),
    "keys.secondaryKey": ("keys", "secondary", _text),
    # and those that are ours, or the same
    "cpu": ("deployment", "cpu", _number),
    "memory_gb": ("deployment", "memory_gb", _number),
    "workers": ("deployment", "workers", _count),
    "concurrency": ("deployment", "concurrency", _count),
    "queue_length": ("deployment", "queue_length", _count),
    "load_limit_s": ("deployment", "load_limit_s", _number),
    "predict_limit_s": ("deployment", "predict_limit_s", _number),
    "max_batch_size": ("deployment", "max_batch_size", _count),
    "max_latency_ms": ("deployment", "max_latency_ms", _number),
    "variables": ("deployment", "variables", _texts),
    "computeType": ("endpoint", "kind", _kind),
    "compute": ("endpoint", "target", _text),
    "auth_enabled": ("endpoint", "auth", _flag),
    "description": ("endpoint", "description", _text),
    "tags": ("endpoint", "tags", _texts),
    "properties": ("endpoint", "properties", _texts),
    "port": ("how", "port", _count),
    "traffic": ("how", "traffic", _traffic),
    "async": ("how", "async", _flag),
}
# What Azure ML's files have for its own machines.
_WITHOUT_MEANING = frozenset(
    "$schema name type location identity public_network_access mirror_traffic instance_type scale_settings "
    "liveness_probe readiness_probe app_insights_enabled egress_public_network_access data_collector model_mount_path "
    "request_settings.max_queue_wait_ms autoScaler dataCollection appInsightsEnabled maxQueueWaitMs gpuCores namespace "
    "livenessProbeRequirements tokenAuthEnabled sslEnabled sslCertificate sslKey cname dnsNameLabel vaultBaseUrl "
    "keyName keyVersion vnetName subnetName containerResourceRequirements.gpu".split()
)
_OURS = list(_MEANINGS)[list(_MEANINGS).index("cpu") :]
