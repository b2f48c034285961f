"""Tracking URIs: reading, issuing and comparing the three forms.

amlstore:///abs/path/to/workspace?expires=…                      embedded
azureml://HOST/mlflow/v2.0/subscriptions/…?expires=…&token=…     a service, or Azure ML
azureml+http://127.0.0.1:PORT/mlflow/v2.0/…?expires=…&token=…    a service on this machine, over plain HTTP
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from mlflow_amlstore.errors import TrackingUriInvalid
from mlflow_amlstore.workspace.service_url import is_loopback, service_url_of

EMBEDDED = "amlstore"
REMOTE = "azureml"
REMOTE_PLAIN = "azureml+http"
_HTTP_OF = {REMOTE: "https", REMOTE_PLAIN: "http"}
_WORKSPACE_PATH = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/[^/]+/(?:workspaces|registries)/[^/]+$"
)
SUBSCRIPTION_ID = "00000000-0000-0000-0000-000000000000"
RESOURCE_GROUP = "amlstore"
"""What stands for Azure's own where a workspace isn't Azure's."""

_FAILED = f"{EMBEDDED}:failed"
LIFETIME = timedelta(hours=1)
_RENEW_WHEN_LEFT = timedelta(minutes=5)


def workspace_path(subscription_id: str, resource_group: str, workspace_name: str) -> str:
    """`/subscriptions/…/workspaces/NAME`: how Azure names a workspace, in tracking URIs too. Nothing is encoded."""
    group = f"/subscriptions/{subscription_id}/resourceGroups/{resource_group}"
    return f"{group}/providers/Microsoft.MachineLearningServices/workspaces/{workspace_name}"


@dataclass(frozen=True, slots=True)
class TrackingUri:
    """A tracking URI taken apart. `root` is all but the query: two URIs with one root are one store."""

    scheme: str
    root: str
    expires: datetime | None = None
    token: str | None = None

    def __str__(self) -> str:
        query = {"expires": _format_time(self.expires)} if self.expires else {}
        if self.token:
            query["token"] = self.token
        return f"{self.root}?{urlencode(query, safe=':')}" if query else self.root

    def __repr__(self) -> str:
        return f"TrackingUri({str(replace(self, token='REDACTED' if self.token else None))!r})"

    @property
    def folder(self) -> Path:
        """The folder that an embedded URI names. Raises TrackingUriInvalid for the other forms."""
        if self.scheme != EMBEDDED:
            raise TrackingUriInvalid(
                self.root, f"names no folder; an embedded workspace's URI starts with {EMBEDDED}:///"
            )
        return Path(unquote(urlsplit(self.root).path))

    @property
    def service_url(self) -> str:
        """Where a remote URI's service answers, `scheme://host[:port]`. Raises TrackingUriInvalid, InvalidValue."""
        if self.scheme == EMBEDDED:
            raise TrackingUriInvalid(self.root, "names a folder, and no service")
        return service_url_of(f"{_HTTP_OF[self.scheme]}://{urlsplit(self.root).netloc}")

    @property
    def workspace_path(self) -> str:
        """`/subscriptions/…/workspaces/NAME`, percent-encoded as in the URI. Raises TrackingUriInvalid without one."""
        match = _WORKSPACE_PATH.search(urlsplit(self.root).path)
        if match is None:
            raise TrackingUriInvalid(
                self.root, f"must be {self.scheme}://HOST/mlflow/v2.0/subscriptions/…/workspaces/…"
            )
        return match[0]

    def is_same_store(self, other: "TrackingUri") -> bool:
        """Whether both name one workspace; `expires` and `token` don't matter."""
        return self.root == other.root


def parse(uri: str) -> TrackingUri:
    """Read a tracking URI, typed by hand or issued. Raises TrackingUriInvalid, without repeating a token."""
    shown, _, query_text = uri.partition("?")
    if shown == _FAILED:
        raise TrackingUriInvalid(shown, f"`amlstore uri` has failed: {unquote(query_text)}")
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise TrackingUriInvalid(shown, f"is not a URI ({error})") from None
    if parts.fragment:
        raise TrackingUriInvalid(shown, "has a '#'; write it as %23")
    if parts.scheme == EMBEDDED:
        if parts.netloc or not parts.path.startswith("/") or parts.path == "/":
            raise TrackingUriInvalid(shown, f"must be {EMBEDDED}:///ABSOLUTE/FOLDER, with three slashes")
        if "\0" in unquote(parts.path):
            raise TrackingUriInvalid(shown, "must not contain a NUL character")
        root = embedded_root(Path(unquote(parts.path)))
    elif parts.scheme in (REMOTE, REMOTE_PLAIN):
        if not parts.hostname:
            raise TrackingUriInvalid(shown, f"must be {parts.scheme}://HOST/…")
        if parts.scheme == REMOTE_PLAIN and not is_loopback(parts.hostname):
            raise TrackingUriInvalid(shown, f"{REMOTE_PLAIN} is for this machine only; use {REMOTE}:// for other hosts")
        root = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    else:
        raise TrackingUriInvalid(shown, f"must start with {EMBEDDED}:///, {REMOTE}:// or {REMOTE_PLAIN}://")
    query = dict(parse_qsl(parts.query))
    return TrackingUri(parts.scheme, root, _parse_time(shown, query.get("expires")), query.get("token"))


def of_failure(problem: str) -> str:
    """What stands for a tracking URI that couldn't be had: `parse` refuses it, and says why.

    An empty text in its place would be MLFLOW_TRACKING_URI unset, and a script would log somewhere else.
    """
    return f"{_FAILED}?{quote(problem)}"


def embedded_root(folder: Path) -> str:
    """The URI of an embedded workspace, without a query: the folder's real path, percent-encoded."""
    return f"{EMBEDDED}://{quote(folder.resolve().as_posix())}"


def _format_time(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parse_time(shown: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        raise TrackingUriInvalid(shown, f"expires={text[:40]} is not a time like 2026-01-31T12:00:00Z") from None


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class Issuer:
    """Issues a workspace's tracking URIs: one for an hour, the same again while over five minutes of it are left."""

    def __init__(self, root: str, *, now: Callable[[], datetime] = _utc_now) -> None:
        self._root = root
        self._now = now
        self._lock = threading.Lock()
        self._issued: TrackingUri | None = None

    def issue(self) -> TrackingUri:
        """Return a URI that is valid for more than five minutes."""
        with self._lock:
            now = self._now()
            issued = self._issued
            if issued is None or issued.expires is None or issued.expires - now <= _RENEW_WHEN_LEFT:
                issued = self._issued = TrackingUri(urlsplit(self._root).scheme, self._root, now + LIFETIME)
            return issued

    def start_anew_after_fork(self) -> None:
        """In a forked child: a new lock, because another thread of the parent may have held this one."""
        self._lock = threading.Lock()
