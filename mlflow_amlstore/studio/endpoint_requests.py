"""What Studio's server asks of an endpoint for the person at the browser, which needs no key for it."""

import http.client
import json
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
import requests

from mlflow_amlstore.errors import InvalidState
from mlflow_amlstore.hosting.endpoint_folder import EndpointFolder
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import EndpointRecord

PREDICTED_WITHIN_S = 30.0
_TOLD_WITHIN_S = 2.0  # what an endpoint says of itself, which a page waits for
_MOST_ANSWER_BYTES = 256 * 1024
_PIECE_BYTES = 16 * 1024


class Answer(msgspec.Struct, frozen=True):
    """What an endpoint answered, after so many milliseconds; `status` is None where it didn't.

    Of a long answer the beginning is there (`is_cut`).
    """

    status: int | None
    ms: float
    text: str
    is_cut: bool = False


class Described(NamedTuple):
    """What an endpoint says that it takes: an example of a body, and the methods of its model."""

    example: dict[str, Any]
    methods: list[str]


def predict(records: RecordStore, record: EndpointRecord, body: bytes) -> Answer:
    """Ask an endpoint for a prediction with its primary key. Raises InvalidState where it has no address."""
    address, headers = _address(record), {"Content-Type": "application/json", **_authorization(records, record)}
    begin = time.monotonic()
    pieces, size, is_cut = list[bytes](), 0, False
    try:
        with (
            _session() as session,
            session.post(
                f"{address}/score",
                body,
                headers=headers,
                timeout=PREDICTED_WITHIN_S,
                stream=True,
                allow_redirects=False,
            ) as answer,
        ):
            for piece in answer.iter_content(_PIECE_BYTES):
                pieces.append(piece)
                size += len(piece)
                is_cut = size > _MOST_ANSWER_BYTES or time.monotonic() - begin > PREDICTED_WITHIN_S
                if is_cut:
                    break
            status: int | None = answer.status_code
        text = b"".join(pieces)[:_MOST_ANSWER_BYTES].decode(errors="replace")
    except requests.Timeout:
        status, text = None, f"It didn't answer within {PREDICTED_WITHIN_S:g} s"
    except requests.RequestException as error:
        status, text = None, f"It can't be reached at {address}: {type(error).__name__}"
    return Answer(status, round((time.monotonic() - begin) * 1000, 1), text, is_cut)


def described(records: RecordStore, record: EndpointRecord) -> Described | None:
    """What an endpoint takes, by its swagger document; None where it says nothing just now."""
    try:
        with _session() as session:
            answer = session.get(
                f"{_address(record)}/swagger.json",
                headers=_authorization(records, record),
                timeout=_TOLD_WITHIN_S,
                allow_redirects=False,
            )
            answer.raise_for_status()
            taken = answer.json()["definitions"]["ServiceInput"]
            methods = taken["properties"].get("method", {}).get("enum", [])
            return Described(taken.get("example") or {}, [str(each) for each in methods])
    except (InvalidState, requests.RequestException, ValueError, KeyError, TypeError, AttributeError):
        return None


def own_metrics(records: RecordStore, record: EndpointRecord, number: int) -> dict[str, Any] | None:
    """What a deployment on this machine says on its own socket of the last minute; None where it doesn't."""
    socket_path = EndpointFolder.of(str(records.folder), record.name).socket(number)
    try:
        told = json.loads(_asked_at(str(socket_path), "/own/metrics", {}))
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return told if isinstance(told, dict) else None


def metrics_text(records: RecordStore, record: EndpointRecord, number: int) -> str:
    """What a deployment has done, as Prometheus reads it: by its own socket on this machine, or else by the endpoint's
    address; empty where nothing answers."""
    headers = _authorization(records, record)
    own = EndpointFolder.of(str(records.folder), record.name).socket(number)
    with suppress(OSError, http.client.HTTPException):
        return _asked_at(str(own), "/metrics", headers)
    with suppress(InvalidState, requests.RequestException), _session() as session:
        address = f"{_address(record)}/metrics"
        answer = session.get(address, headers=headers, timeout=_TOLD_WITHIN_S, allow_redirects=False)
        return answer.text if answer.ok else ""
    return ""


def _asked_at(path: str, route: str, headers: Mapping[str, str]) -> str:
    """What a unix socket answers. Raises OSError, HTTPException."""
    connection = http.client.HTTPConnection("localhost", timeout=_TOLD_WITHIN_S)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connected:
        connected.settimeout(_TOLD_WITHIN_S)
        connected.connect(path)
        connection.sock = connected
        connection.request("GET", route, headers=dict(headers))
        answer = connection.getresponse()
        text = answer.read(_MOST_ANSWER_BYTES).decode(errors="replace")
        if answer.status != http.client.OK:
            raise OSError(f"{route} is answered with {answer.status}")
        return text


def _session() -> requests.Session:
    """A session that sends neither to a proxy nor what a netrc file has."""
    session = requests.Session()
    session.trust_env = False
    return session


def _address(record: EndpointRecord) -> str:
    if record.host is None or not record.host.address:
        raise InvalidState(f"Endpoint {record.name} is {record.state.value} and answers nowhere yet")
    return record.host.address


def _authorization(records: RecordStore, record: EndpointRecord) -> dict[str, str]:
    if not record.spec.auth:
        return {}
    try:
        return {"Authorization": f"Bearer {records.endpoints.keys(record.name)[0]}"}
    except InvalidState:  # sealed with a secret that is gone
        return {}
