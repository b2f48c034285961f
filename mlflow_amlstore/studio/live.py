"""Telling open pages that something changed: server-sent events, from one watcher of the workspace.

The watcher looks whether any process wrote, as long as a page listens, and no longer. A page that hears of a change
asks again for what stands in its frame; it sends nothing while nothing happens.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from weakref import WeakKeyDictionary

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mlflow_amlstore.errors import AmlStoreError, TokenRefused
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.service import server
from mlflow_amlstore.service.auth import bearer_of
from mlflow_amlstore.service.files.transfer import on_thread
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes
from mlflow_amlstore.service.sessions import session_in

ROUTES = Routes(Area.STUDIO)
_LOOKED_EVERY_S = 0.1
_SHORTEST_PAUSE_S = 0.25  # between two events: what is logged without a pause is seen four times a second
_MOST_DIGITS = 19  # of a 64-bit number
_ALIVE_EVERY_S = 15.0  # a comment, by which a proxy and the browser know that the connection is whole


class _Watcher:
    """What watches one workspace while pages listen."""

    def __init__(self, records: RecordStore) -> None:
        self.watch = records.watch()
        self.version = self.watch.version()
        self.listeners = 0
        self.changed = asyncio.Condition()
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "_Watcher":
        self.listeners += 1
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.listeners -= 1

    async def _watch(self) -> None:
        while self.listeners and not server.is_stopping():
            with suppress(AmlStoreError):  # the workspace was moved, say: the page that is asked for next tells of it
                self.version = await on_thread(self.watch.version)
            async with self.changed:  # those who wait look at their session, too
                self.changed.notify_all()
            await asyncio.sleep(_LOOKED_EVERY_S)
        async with self.changed:
            self.changed.notify_all()


_watchers: "WeakKeyDictionary[RecordStore, _Watcher]" = WeakKeyDictionary()
_making = threading.Lock()


def version_of(records: RecordStore) -> int:
    """A number that is another one after every change. A page that shows what it was at hears of each since."""
    return _watcher_of(records).watch.version()


def version_in(text: str) -> int | None:
    """The version that a page says it heard of, or None for what is none: a number longer than any version, too."""
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None


def _watcher_of(records: RecordStore) -> _Watcher:
    with _making:
        found = _watchers.get(records)
        if found is None:
            found = _watchers[records] = _Watcher(records)
        return found


@ROUTES.get("/live", Role.READER, Right.LOOK)
async def live(call: Call, request: Request) -> Response:
    """Tell of changes, as server-sent events: `changed`, and `ended` where the session has."""
    watcher = await on_thread(_watcher_of, call.records)
    since = version_in(request.query_params.get("since", ""))
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    events = _events(call, watcher, since, _credential(call, request))
    return StreamingResponse(events, 200, headers, "text/event-stream")


def _credential(call: Call, request: Request) -> str:
    """The token that opened the connection, which ends with it."""
    authorization = request.headers.get("authorization")
    if authorization is not None:
        return bearer_of(authorization)
    return session_in(request.headers.get("cookie"), call.base_url)


async def _events(call: Call, watcher: _Watcher, since: int | None, credential: str) -> AsyncIterator[bytes]:
    assert call.caller is not None  # as the route needs a role
    async with watcher:
        told, told_at = watcher.version if since is None else since, 0.0
        yield b"retry: 1000\n: open\n\n"
        alive_at = time.monotonic()
        while not server.is_stopping():
            async with watcher.changed:
                await watcher.changed.wait()
            now = time.monotonic()
            try:
                call.tokens.check_not_ended(call.caller)
            except TokenRefused:
                yield b"event: ended\ndata: {}\n\n"
                return
            except AmlStoreError:  # the workspace is gone, say: the page that is asked for next says so
                yield b"event: changed\ndata: {}\n\n"
                return
            if call.tokens.has_expired(credential):
                return  # the browser comes again by itself, with the session's next token if there is one
            if watcher.version != told and now - told_at >= _SHORTEST_PAUSE_S:
                told, told_at = watcher.version, now
                yield b"event: changed\ndata: " + msgspec.json.encode({"version": told}) + b"\n\n"
                alive_at = now
            elif now - alive_at > _ALIVE_EVERY_S:
                alive_at = now
                yield b": alive\n\n"
