"""One thread that writes for all: what waits is committed together, and each caller hears when it is durable.

SQLite has one writer at a time, and a commit costs about as much as a small write; sixteen clients that commit one by
one would wait for each other sixteen times. Each write is still whole or absent, whatever becomes of its neighbours.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import NamedTuple

from mlflow_amlstore.errors import WorkspaceBusy
from mlflow_amlstore.records.store import RecordStore

_MAX_GROUP = 64


class _Write(NamedTuple):
    apply: Callable[[], bytes]
    done: "asyncio.Future[bytes]"


class GroupWriter:
    """The writing thread of one service. Started and stopped on the event loop that awaits it."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records
        self._waiting: SimpleQueue[_Write | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; results go to the running event loop."""
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(loop,), name="amlstore-writer", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Write what is waiting, then end the thread."""
        if self._thread is not None:
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    async def write(self, apply: Callable[[], bytes], *, is_alone: bool = False) -> bytes:
        """Return what `apply` returned, once it is committed. Raises what it raised; nothing was written then.

        A write that `is_alone`, with no other request being answered, is made here and now if nobody else holds the
        workspace's lock: to wake another thread and be woken by it takes longer than a small write.
        """
        if is_alone and self._waiting.empty():
            try:
                with self._records.transaction(wait=False):
                    return apply()
            except WorkspaceBusy:
                pass  # on the thread it may wait without stopping everybody
        done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.put(_Write(apply, done))
        return await done

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        is_open = True
        while is_open:
            first = self._waiting.get()
            if first is None:
                return
            group = [first]
            while len(group) < _MAX_GROUP:
                try:
                    following = self._waiting.get_nowait()
                except Empty:
                    break
                if following is None:
                    is_open = False
                    break
                group.append(following)
            loop.call_soon_threadsafe(_deliver, group, self._apply(group))

    def _apply(self, group: Sequence[_Write]) -> list[bytes | Exception]:
        if len(group) > 1:
            with suppress(Exception), self._records.transaction():
                return [self._apply_one(write) for write in group]
            # All of it was given up, for a full disk, say: each is tried alone.
        return [self._apply_one(write) for write in group]

    def _apply_one(self, write: _Write) -> bytes | Exception:
        try:
            with self._records.transaction():
                return write.apply()
        except Exception as error:
            return error


def _deliver(group: Sequence[_Write], outcomes: Sequence[bytes | Exception]) -> None:
    for write, outcome in zip(group, outcomes, strict=True):
        if write.done.done():
            continue  # its caller is gone
        if isinstance(outcome, Exception):
            write.done.set_exception(outcome)
        else:
            write.done.set_result(outcome)
