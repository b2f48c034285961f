"""Doing the same with many things at once."""

import threading
import time
from collections.abc import Iterator

import pytest

from mlflow_amlstore.client.at_once import at_once


def test_answers_come_in_the_order_of_the_items() -> None:
    assert at_once(lambda n: n * n, range(100), threads=4) == [n * n for n in range(100)]
    assert at_once(str, [], threads=4) == []


def test_a_single_item_needs_no_other_thread() -> None:
    assert at_once(lambda _: threading.get_ident(), [1], threads=4) == [threading.get_ident()]


def test_several_are_done_at_once_and_no_more() -> None:
    together = threading.Barrier(3)
    assert len({*at_once(lambda _: together.wait(60), range(3), threads=3)}) == 3

    active, most, lock = 0, 0, threading.Lock()

    def work(_: int) -> None:
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        time.sleep(0.001)
        with lock:
            active -= 1

    at_once(work, range(50), threads=3)
    assert most <= 3


def test_items_are_taken_as_they_are_needed() -> None:
    taken = done = most = 0
    lock = threading.Lock()

    def items() -> Iterator[int]:
        nonlocal taken, most
        for number in range(50):
            taken += 1
            most = max(most, taken - done)
            yield number

    def work(_: int) -> None:
        nonlocal done
        with lock:
            done += 1

    at_once(work, items(), threads=4)
    assert most <= 5


def test_after_an_error_nothing_more_is_begun_and_the_first_is_raised() -> None:
    begun: list[int] = []
    others = threading.Barrier(2)

    def work(number: int) -> None:
        begun.append(number)
        if number < 2:
            others.wait(60)
            raise ValueError(number)

    with pytest.raises(ValueError, match="0"):
        at_once(work, range(1000), threads=2)
    assert len(begun) < 5


def test_an_error_of_the_items_is_raised() -> None:
    def items() -> Iterator[int]:
        yield from range(10)
        raise KeyError("eleven")

    with pytest.raises(KeyError, match="eleven"):
        at_once(str, items(), threads=4)


def test_where_no_thread_can_be_started_the_caller_does_it_all_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    order: list[int] = []
    at_once(order.append, range(20), threads=4)
    assert order == list(range(20))


def test_who_is_interrupted_while_waiting_waits_for_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    began, ended = threading.Event(), threading.Event()
    join = threading.Thread.join

    def work(number: int) -> None:
        if number:
            began.set()
            interrupted.wait(60)
            ended.set()
        else:
            began.wait(60)

    interrupted = threading.Event()

    def join_interrupted_once(thread: threading.Thread, timeout: float | None = None) -> None:
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", join_interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        at_once(work, range(2), threads=2)
    assert ended.is_set()
