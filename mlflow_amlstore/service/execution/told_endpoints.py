"""Endpoints as the service tells of them: at its own address, and Unhealthy where nobody runs what should answer."""

import time
from dataclasses import replace
from ipaddress import ip_address
from urllib.parse import urlsplit

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.types import DeploymentError, EndpointHost, EndpointRecord, EndpointState
from mlflow_amlstore.service.routing import Call

NO_HOST = DeploymentError("NoHost", "Whoever ran it isn't heard of any more. The next agent of its pool runs it again")
_ANSWERING = (EndpointState.HEALTHY, EndpointState.IDLE)


def endpoint_url(call: Call, name: str) -> str:
    """Where the service routes requests to an endpoint, as the client reaches it."""
    return f"{call.base_url}/endpoints/{name}"


def living_host(record: EndpointRecord) -> EndpointHost | None:
    """Who runs an endpoint and has an address; None where nobody does, or its lease has run out."""
    host = record.host
    if host is None or not host.address or (host.ends_ms is not None and host.ends_ms < time.time() * 1000):
        return None
    return host


def told(call: Call, record: EndpointRecord) -> EndpointRecord:
    """The record with the service's own address in the place of the host's."""
    host = living_host(record)
    if host is not None:
        return replace(record, host=EndpointHost(host.holder, endpoint_url(call, record.name), host.ends_ms))
    deployments = tuple(
        replace(each, state=EndpointState.UNHEALTHY, error=NO_HOST)
        if each.number in record.serving and each.state in _ANSWERING
        else each
        for each in record.deployments
    )
    return replace(record, deployments=deployments, host=None)


def check_auth(call: Call, auth: bool | None) -> None:
    """Raise InvalidValue where an endpoint is to answer without a key to others than this machine's users."""
    if auth is False and not is_loopback(urlsplit(call.base_url).hostname or ""):
        rule = "may be off only at a service that is reached as localhost; leave it out, and requests need a key"
        raise InvalidValue("auth", auth, rule)


def is_loopback(host: str) -> bool:
    """Whether this is a name or address of the machine itself."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
