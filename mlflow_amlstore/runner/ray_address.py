"""Compute targets that are Ray clusters: `ray://HOST[:PORT]`, or the address of Ray's jobs, `http://HOST:8265`."""

import ipaddress
from urllib.parse import urlsplit

from mlflow_amlstore.errors import InvalidValue

_SCHEMES = ("ray://", "http://", "https://")
_JOBS_PORT, _CLIENT_PORT = 8265, 10001  # Ray's own
_FORMS = "must be ray://HOST, ray://HOST:PORT or the address of Ray's dashboard, such as http://HOST:8265"


def is_ray_address(target: object) -> bool:
    """Whether a compute target is the address of a Ray cluster, well-formed or not."""
    return isinstance(target, str) and target.lower().startswith(_SCHEMES)


def jobs_url(target: str) -> str:
    """The URL below which a Ray cluster has its jobs, without a slash at the end.

    Of `ray://HOST` it is port 8265 of the host, and of `ray://HOST:10001`, which is Ray Client's port, too; another
    port is taken as it is. Raises InvalidValue for an address that is none.
    """
    try:
        parts = urlsplit(target)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidValue("compute_target", target, f"{_FORMS}: {error}") from None
    if "@" in parts.netloc:
        shown = f"{parts.scheme}://…@{parts.netloc.rpartition('@')[2]}"
        raise InvalidValue("compute_target", shown, "must have no password. Give Ray's token as RAY_AUTH_TOKEN")
    has_more = parts.query or parts.fragment or (parts.scheme == "ray" and parts.path.strip("/"))
    if not host or has_more or port == 0 or any(each.isspace() for each in target):
        raise InvalidValue("compute_target", target, _FORMS)
    shown_host = f"[{host}]" if ":" in host else host
    if parts.scheme == "ray":
        return f"http://{shown_host}:{_JOBS_PORT if port in (None, _CLIENT_PORT) else port}"
    return f"{parts.scheme}://{shown_host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def is_this_machine(target: str) -> bool:
    """Whether an address is this machine's own, by its loopback."""
    host = urlsplit(jobs_url(target)).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
