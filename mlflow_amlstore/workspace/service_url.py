"""Addresses of workspace services: `scheme://host[:port]`, https, or http on this machine."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from mlflow_amlstore.errors import InvalidValue

_DEFAULT_PORTS = {"http": 80, "https": 443}


def service_url_of(text: str) -> str:
    """Return an address in normal form: lower case, without a default port, a path or a slash at the end.

    Raises InvalidValue, without repeating a password or query in it.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if parts.scheme not in _DEFAULT_PORTS or not host:
        rule = "must be https://HOST[:PORT], or http:// on loopback"
        if parts.scheme.startswith("azureml"):
            rule += "; a tracking URI is for Workspace.from_tracking_uri()"
        raise InvalidValue("service URL", text.partition("?")[0], rule)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidValue("service URL", shown, "must be scheme://HOST[:PORT] and nothing else")
    if parts.scheme == "http" and not is_loopback(host):
        raise InvalidValue("service URL", shown, "http:// is for this machine only; use https:// for other hosts")
    netloc = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{netloc}" + (f":{port}" if port not in (None, _DEFAULT_PORTS[parts.scheme]) else "")


def same_machine_form(service_url: str) -> str:
    """`service_url` with one name for this machine, by which keys are kept: `localhost` is 127.0.0.1, and so is ::1."""
    parts = urlsplit(service_url_of(service_url))
    host = parts.hostname or ""
    if not is_loopback(host):
        return parts.geturl()
    return f"{parts.scheme}://127.0.0.1" + (f":{parts.port}" if parts.port else "")


def is_loopback(hostname: str) -> bool:
    """Whether a host name or address always means this machine."""
    if hostname == "localhost":
        return True
    try:
        return ip_address(hostname).is_loopback
    except ValueError:
        return False
