"""Doing the same with many things at once, on threads that end with the call.

MLflow writes files while Python ends, when `concurrent.futures` takes no more work and, from Python 3.12 on, no thread
may be started. So the calling thread takes part, and does everything where it is alone.
"""

import sys
import threading
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Generic, TypeVar

A = TypeVar("A")
T = TypeVar("T")


def at_once(work: Callable[[A], T], items: Iterable[A], *, threads: int) -> list[T]:
    """Return `work(item)` of each item, in their order. A single item needs no thread but the caller's.

    Items are taken as they are needed. Once one has failed no other is begun, and the error of the first is raised when
    those under way have ended.
    """
    return _AtOnce(work, items).run(threads)


class _AtOnce(Generic[A, T]):
    def __init__(self, work: Callable[[A], T], items: Iterable[A]) -> None:
        self._work = work
        self._items = enumerate(items)
        self._taking = threading.Lock()
        self._done: dict[int, T] = {}
        self._errors: dict[int, BaseException] = {}

    def run(self, threads: int) -> list[T]:
        others: list[threading.Thread] = []
        try:
            own = [self._take()]
            while len(others) < threads - 1 and (item := self._take()) is not None:
                other = threading.Thread(target=self._do, args=[[item]], name="amlstore-at-once", daemon=True)
                try:
                    other.start()
                except RuntimeError:  # Python is ending
                    own.append(item)
                    break
                others.append(other)
            self._do(own)
            _wait_for(others)
        except BaseException as error:  # a signal's handler has raised it: the others begin nothing more
            self._errors[-1] = error
            _wait_for(others)  # what they write to mustn't be closed under them
        if self._errors:
            raise self._errors[min(self._errors)]
        return [self._done[number] for number in sorted(self._done)]

    def _take(self) -> tuple[int, A] | None:
        with self._taking:
            if self._errors:
                return None
            try:
                return next(self._items, None)
            except BaseException as error:
                self._errors[sys.maxsize] = error
                return None

    def _do(self, first: "list[tuple[int, A] | None]") -> None:
        for item in chain(first, iter(self._take, None)):
            if item is None or self._errors:
                return
            number, value = item
            try:
                self._done[number] = self._work(value)
            except BaseException as error:
                self._errors[number] = error


def _wait_for(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join()
