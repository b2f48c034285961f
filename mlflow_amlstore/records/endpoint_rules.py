"""Rules for endpoints and their deployments, whoever keeps the records: a folder, or a service that is asked."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.locations import ENDPOINT_NAME, ENDPOINT_NAME_RULE
from mlflow_amlstore.records.types import DeploymentSpec, EndpointSpec
from mlflow_amlstore.records.validation import check_integer, check_length, check_text_values

KEYS = ("primary", "secondary")
MAX_KEY_LENGTH = 512
_MIN_KEY_LENGTH = 16
_KEY = re.compile(f"[!-~]{{{_MIN_KEY_LENGTH},{MAX_KEY_LENGTH}}}")
_DESCRIPTION_LENGTH = 8000


def check_endpoint_name(name: object) -> str:
    """The name of an endpoint, by Azure ML's rule. Raises InvalidValue."""
    if not isinstance(name, str) or not ENDPOINT_NAME.fullmatch(name):
        raise InvalidValue("name of an endpoint", name, ENDPOINT_NAME_RULE)
    return name


def check_which_key(which: str) -> None:
    """Raise InvalidValue for what names none of an endpoint's two keys."""
    if which not in KEYS:
        raise InvalidValue("key", which, "must be 'primary' or 'secondary'")


def check_endpoint_key(which: str, key: object) -> str:
    """A key that somebody chose. Raises InvalidValue, which doesn't show it."""
    if isinstance(key, str) and _KEY.fullmatch(key):
        return key
    rule = f"must be {_MIN_KEY_LENGTH} to {MAX_KEY_LENGTH} printable ASCII characters without a space"
    raise InvalidValue(f"the {which} key", f"{len(str(key))} characters", rule)


def check_endpoint(spec: EndpointSpec) -> None:
    """Raise InvalidValue for what an endpoint can't be."""
    check_endpoint_name(spec.name)
    check_length("description", spec.description, _DESCRIPTION_LENGTH)
    check_text_values("tag", spec.tags)
    check_text_values("property", spec.properties)
    _check_number("idle_after_s", spec.idle_after_s, least=1)


def check_traffic(traffic: Mapping[int, int], count: int) -> None:
    """Raise InvalidValue for traffic that can't be of so many deployments."""
    for number, percent in traffic.items():
        if not 1 <= number <= count:
            raise InvalidValue("traffic", number, f"must be for deployments of the endpoint, which are 1 to {count}")
        check_integer(f"traffic of deployment {number}", percent, minimum=0)
    if sum(traffic.values()) != 100:
        raise InvalidValue("traffic", dict(traffic), "must be percent that add up to 100")


def checked_deployment(spec: DeploymentSpec) -> DeploymentSpec:
    """A deployment whose numbers can be, and that has something to answer with. Raises InvalidValue."""
    minimums = {"workers": 1, "concurrency": 1, "max_batch_size": 1, "queue_length": 0}
    counts: dict[str, Any] = {
        field: check_integer(field, getattr(spec, field), minimum=least) for field, least in minimums.items()
    }
    for field in ("load_limit_s", "predict_limit_s"):
        _check_number(field, getattr(spec, field), least=0.001)
    _check_number("max_latency_ms", spec.max_latency_ms, least=0)
    _check_number("cpu", spec.cpu, least=0.01)
    _check_number("memory_gb", spec.memory_gb, least=0.01)
    if not spec.models and not spec.entry_script:
        raise InvalidValue("models", [], "must have a model, or an entry script must be given")
    return replace(spec, **counts)


def _check_number(field: str, value: object, *, least: float) -> None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= least:
        return
    if value is not None:
        raise InvalidValue(field, value, f"must be a number from {least:g} on")
