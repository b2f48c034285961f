"""Writes that come together are committed together, and each caller hears when its own is durable.

SQLite has one writer at a time, and a commit costs about as much as a small write; sixteen clients that commit one by
one would wait for each other sixteen times. Each write is still whole or absent, whatever becomes of its neighbours.

What one turn of the event loop brought is one group, written on the loop itself: to wake another thread, and to share
the interpreter's lock with it, takes longer than the writes. Where somebody else holds the workspace's lock, or where
the loop would stand still, because so many came at once or one is long, a thread writes them, in groups, too.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import NamedTuple

from mlflow_amlstore.records.store import RecordStore

_MAX_GROUP = 64


class _Write(NamedTuple):
    apply: Callable[[], bytes]
    done: "asyncio.Future[bytes]"


class GroupWriter:
    """What writes for one service. Started, awaited and stopped on one event loop."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records
        self._arrived: list[_Write] = []
        self._waiting: SimpleQueue[_Write | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; results go to the running event loop."""
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(loop,), name="amlstore-writer", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Write what is waiting, then end the thread."""
        self._write_arrived()
        if self._thread is not None:
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    async def write(self, apply: Callable[[], bytes], *, is_long: bool = False) -> bytes:
        """Return what `apply` returned, once it is committed. Raises what it raised; nothing was written then.

        `apply` may be called again where the group that it was in couldn't be committed. With `is_long` the thread
        calls it.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bytes] = loop.create_future()
        write = _Write(apply, done)
        if is_long:
            self._waiting.put(write)
            return await done
        if not self._arrived:
            loop.call_soon(self._write_arrived)  # after all requests that this turn of the loop has read
        self._arrived.append(write)
        return await done

    def _write_arrived(self) -> None:
        group, self._arrived = self._arrived, []
        if 0 < len(group) <= _MAX_GROUP and self._waiting.empty():
            try:
                outcomes = self._apply_together(group, wait=False)
            except Exception:
                pass  # somebody else is writing, or the disk is full: the thread may wait, and tries each alone
            else:
                _deliver(group, outcomes)
                return
        for write in group:
            self._waiting.put(write)

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
            with suppress(Exception):
                return self._apply_together(group, wait=True)
            # All of it was given up, for a full disk, say: each is tried alone.
        return [self._apply_one(write) for write in group]

    def _apply_together(self, group: Sequence[_Write], *, wait: bool) -> list[bytes | Exception]:
        with self._records.transaction(wait=wait):
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
