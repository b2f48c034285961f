"""Reading a request's body: bounded in size and time, and decoded into what its route declares."""

import asyncio
import json
from collections import deque
from functools import cache
from mmap import mmap
from typing import Any, get_origin
from urllib.parse import parse_qs

import msgspec
from starlette.types import Message, Receive

from mlflow_amlstore.errors import BadRequest, BodyInvalid, InvalidValue, PayloadTooLarge, RequestTimedOut, ServiceBusy

IDLE_S = 30.0
SMALL_BYTES = 64 * 1024  # as much as uvicorn reads of a request unasked
MEMORY_BYTES = 128 * 1024 * 1024
_SLOWEST_BYTES_PER_S = 64 * 1024  # whoever sends less holds what others wait for
_ROOM_WAIT_S = 30.0
_JSON_TYPES = ("application/json", "application/json-patch+json")  # the second is what azureml-core says
_MAX_QUERY_FIELDS = 10_000
_END_OF_INT64 = 2**63
Body = bytes | memoryview
"""A request's body as it came: large ones lie in pages of their own."""


class BodyMemory:
    """What the bodies of all requests may take in memory together; small ones don't count. For one event loop.

    A client that waits here isn't read from, so that its body takes no memory yet. Clients get their turns in order.
    """

    def __init__(self, total_bytes: int = MEMORY_BYTES) -> None:
        self._free = total_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, content_length: str | None, most_bytes: int) -> int:
        """Take the memory for a body of at most so many bytes and return how much that is, to be given back.

        Raises PayloadTooLarge; ServiceBusy after 30 s.
        """
        size = _expected_bytes(content_length, most_bytes)
        if size <= SMALL_BYTES:
            return 0
        if self._waiting or size > self._free:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting = size, turn
            self._waiting.append(waiting)
            try:
                await asyncio.wait_for(asyncio.shield(turn), _ROOM_WAIT_S)
            except BaseException as error:
                if turn.done():
                    self.give_back(size)
                else:
                    self._waiting.remove(waiting)
                    self.give_back(0)  # who waits behind may need less
                if isinstance(error, asyncio.TimeoutError):
                    raise ServiceBusy("other requests' bodies take all memory that there is for them") from None
                raise
        else:
            self._free -= size
        return size

    def give_back(self, size: int) -> None:
        """Give memory back, and let in who waits for it."""
        self._free += size
        while self._waiting and self._waiting[0][0] <= self._free:
            needed, turn = self._waiting.popleft()
            self._free -= needed
            turn.set_result(None)


def _expected_bytes(content_length: str | None, most_bytes: int) -> int:
    """How long a body may get. Raises PayloadTooLarge."""
    if content_length is None or not content_length.isdecimal():
        return most_bytes  # it comes in chunks, and the last one says so
    if len(content_length) > len(str(most_bytes)) or int(content_length) > most_bytes:
        raise PayloadTooLarge(most_bytes)
    return int(content_length)


def timed(receive: Receive, within_s: float | None = None) -> Receive:
    """`receive` that raises RequestTimedOut where a client lets it wait, or isn't done `within_s` from now.

    It is to be called by the request's own task.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    end_s = None if within_s is None else loop.time() + within_s

    async def receive_in_time() -> Message:
        is_late = False

        def give_up() -> None:
            nonlocal is_late
            is_late = True
            if task is not None:
                task.cancel()

        idle_s = IDLE_S if end_s is None else min(IDLE_S, end_s - loop.time())
        timer = loop.call_later(idle_s, give_up)  # a tenth of what `asyncio.wait_for` costs
        try:
            return await receive()
        except asyncio.CancelledError:
            if is_late:
                raise RequestTimedOut(IDLE_S) from None
            raise
        finally:
            timer.cancel()

    return receive_in_time


async def read_body(receive: Receive, content_length: str | None, most_bytes: int) -> Body:
    """Return a whole body of at most so many bytes.

    Raises PayloadTooLarge, RequestTimedOut, BadRequest for a client that went away.
    """
    expected = _expected_bytes(content_length, most_bytes)
    receive = timed(receive, IDLE_S + expected / _SLOWEST_BYTES_PER_S)
    pages: mmap | None = None
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The client went away before its request was whole")
        chunk: bytes = message.get("body", b"")
        start, size = size, size + len(chunk)
        if size > expected:
            raise PayloadTooLarge(most_bytes)
        is_whole = not message.get("more_body", False)
        if is_whole and start == 0:
            return chunk
        if pages is None:
            pages = mmap(-1, max(expected, 1))  # goes back to the system when freed; what `malloc` gives may not
        pages[start:size] = chunk
        if is_whole:
            return memoryview(pages)[:size]


def decode_json(kind: Any, body: Body, content_type: str | None, *, allow_nan: bool = False) -> Any:
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
            return msgspec.convert(json.loads(bytes(body)), kind, strict=False)
    except RecursionError as error:
        raise BadRequest("The request's body is nested too deeply") from error
    except msgspec.ValidationError as error:
        raise BodyInvalid(str(error)) from error
    except (msgspec.DecodeError, ValueError) as error:  # before msgspec 0.20 the one is not a kind of the other
        raise BadRequest(f"The request's body is not JSON: {error}") from error


def decode_query(kind: type[msgspec.Struct], query: bytes) -> msgspec.Struct:
    """Return a query string as a struct: the last value of a name, or all of them for a list.

    Raises BodyInvalid, and InvalidValue for an integer that has more than 64 bits.
    """
    try:
        given = parse_qs(query.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS)
        lists = _list_fields(kind)
        values: dict[str, Any] = {name: all_ if name in lists else all_[-1] for name, all_ in given.items()}
        found = msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BodyInvalid(str(error)) from error
    except ValueError as error:
        raise BadRequest(f"The query string can't be read: {error}") from error
    for attribute, name in _fields(kind):
        value = getattr(found, attribute)
        if isinstance(value, int) and not -_END_OF_INT64 <= value < _END_OF_INT64:
            raise InvalidValue(name, value, "must be a 64-bit integer")
    return found


@cache
def _decoder(kind: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(kind, strict=False)


@cache
def _fields(kind: type[msgspec.Struct]) -> list[tuple[str, str]]:
    return [(field.name, field.encode_name) for field in msgspec.structs.fields(kind)]


@cache
def _list_fields(kind: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(
        field.encode_name for field in msgspec.structs.fields(kind) if get_origin(field.type) in (list, tuple)
    )
