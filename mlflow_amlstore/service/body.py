"""Reading a request's body: bounded in size and time, and decoded into what its route declares."""

import asyncio
import json
from functools import cache
from typing import Any, get_origin
from urllib.parse import parse_qs

import msgspec
from starlette.types import Message, Receive

from mlflow_amlstore.errors import BadRequest, BodyInvalid, PayloadTooLarge, RequestTimedOut
from mlflow_amlstore.service.routing import MAX_JSON_BYTES

IDLE_S = 30.0
_JSON_TYPES = ("application/json", "application/json-patch+json")  # the second is what azureml-core says
_MAX_QUERY_FIELDS = 10_000


def timed(receive: Receive, idle_s: float = IDLE_S) -> Receive:
    """`receive` that raises RequestTimedOut where a client lets it wait, to be called by the request's own task."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    async def receive_in_time() -> Message:
        is_late = False

        def give_up() -> None:
            nonlocal is_late
            is_late = True
            if task is not None:
                task.cancel()

        timer = loop.call_later(idle_s, give_up)  # a tenth of what `asyncio.wait_for` costs
        try:
            return await receive()
        except asyncio.CancelledError:
            if is_late:
                raise RequestTimedOut(idle_s) from None
            raise
        finally:
            timer.cancel()

    return receive_in_time


async def read_body(receive: Receive, content_length: str | None) -> bytes:
    """Return a whole body. Raises PayloadTooLarge, RequestTimedOut, BadRequest for a client that went away."""
    if content_length is not None and content_length.isdecimal() and int(content_length) > MAX_JSON_BYTES:
        raise PayloadTooLarge(MAX_JSON_BYTES)
    receive = timed(receive)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The client went away before its request was whole")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_JSON_BYTES:
            raise PayloadTooLarge(MAX_JSON_BYTES)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks) if len(chunks) > 1 else chunk


def decode_json(kind: Any, body: bytes, content_type: str | None, *, allow_nan: bool = False) -> Any:
    """Return a JSON body as what is declared; it may have bare NaN and Infinity, as Python writes them, if told.

    Raises BadRequest, BodyInvalid.
    """
    if body and (content_type or "").partition(";")[0].strip().lower() not in _JSON_TYPES:
        raise BadRequest(f"The header Content-Type must be application/json, it is {content_type!r:.100}")
    try:
        try:
            return _decoder(kind).decode(body or b"{}")
        except msgspec.DecodeError as error:
            if not allow_nan or isinstance(error, msgspec.ValidationError):
                raise
            return msgspec.convert(json.loads(body), kind, strict=False)
    except RecursionError as error:
        raise BadRequest("The request's body is nested too deeply") from error
    except msgspec.ValidationError as error:
        raise BodyInvalid(str(error)) from error
    except (msgspec.DecodeError, ValueError) as error:  # before msgspec 0.20 the one is not a kind of the other
        raise BadRequest(f"The request's body is not JSON: {error}") from error


def decode_query(kind: type[msgspec.Struct], query: bytes) -> msgspec.Struct:
    """Return a query string as a struct: the last value of a name, or all of them for a list. Raises BodyInvalid."""
    try:
        given = parse_qs(query.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS)
        lists = _list_fields(kind)
        values: dict[str, Any] = {name: all_ if name in lists else all_[-1] for name, all_ in given.items()}
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BodyInvalid(str(error)) from error
    except ValueError as error:
        raise BadRequest(f"The query string can't be read: {error}") from error


@cache
def _decoder(kind: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(kind, strict=False)


@cache
def _list_fields(kind: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(
        field.encode_name for field in msgspec.structs.fields(kind) if get_origin(field.type) in (list, tuple)
    )
