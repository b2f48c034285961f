"""Any process of an endpoint is killed: what answers is back as it was, at the same address, with the same keys."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from waiting import is_running, wait_for

from mlflow_amlstore.hosting.looking import looked_at
from mlflow_amlstore.records.types import EndpointState

from .conftest import Endpoint


@contextmanager
def asked_all_the_time(endpoint: Endpoint) -> Iterator[list[int]]:
    """The statuses of the requests that a client sends, one after the other, each on a new connection."""
    statuses: list[int] = []
    is_over = threading.Event()

    def client() -> None:
        while not is_over.is_set():
            try:
                statuses.append(endpoint.ask().status_code)
            except OSError:
                statuses.append(0)

    asking = threading.Thread(target=client)
    asking.start()
    try:
        yield statuses
    finally:
        is_over.set()
        asking.join()


def goes_on(endpoint: Endpoint, statuses: list[int]) -> None:
    """Some more requests are answered."""
    seen = statuses.count(200)
    wait_for(lambda: statuses.count(200) > seen + 5)


@pytest.mark.parametrize("who", ["first", "host", "guardian"])
def test_it_is_back_as_it_was(endpoint: Endpoint, who: str) -> None:
    before, keys = endpoint.processes(), endpoint.records.endpoints.keys(endpoint.name)
    address = endpoint.record.host
    with asked_all_the_time(endpoint) as statuses:
        wait_for(lambda: statuses.count(200) > 5)
        os.kill(getattr(before, who), signal.SIGKILL)
        wait_for(lambda: endpoint.processes().first != before.first)
        endpoint.wait_until(EndpointState.HEALTHY)
        goes_on(endpoint, statuses)
    assert statuses.count(0) <= 1  # the one that was being answered
    assert set(statuses) <= {200, 0}
    now = endpoint.processes()
    assert now.first != before.first
    assert (endpoint.record.host, endpoint.records.endpoints.keys(endpoint.name)) == (address, keys)
    for pid in (before.first, before.loader, *before.workers):
        wait_for(lambda pid=pid: not is_running(pid))


def test_a_worker_is_back_and_no_other_request_fails(endpoint: Endpoint) -> None:
    before = endpoint.processes()
    with asked_all_the_time(endpoint) as statuses:
        wait_for(lambda: statuses.count(200) > 5)
        os.kill(before.workers[0], signal.SIGKILL)
        wait_for(lambda: endpoint.processes().workers[0] != before.workers[0])
        goes_on(endpoint, statuses)
    assert statuses.count(0) <= 1
    now = endpoint.processes()
    assert (now.guardian, now.host, now.first, now.loader) == before[:4]
    wait_for(lambda: f"Worker {before.workers[0]} has ended" in endpoint.events)
    assert endpoint.record.state is EndpointState.HEALTHY


def test_all_of_them_are_back_as_soon_as_somebody_looks(endpoint: Endpoint) -> None:
    before, address = endpoint.processes(), endpoint.record.host
    for pid in (before.guardian, before.host):
        os.kill(pid, signal.SIGSTOP)
    for pid in (before.guardian, before.host):
        os.kill(pid, signal.SIGKILL)
    for pid in (before.first, before.loader, *before.workers):
        wait_for(lambda pid=pid: not is_running(pid))
    wait_for(lambda: not endpoint.folder.is_looked_after())
    looked_at(endpoint.records, endpoint.record)
    wait_for(lambda: endpoint.processes().first != before.first)
    endpoint.wait_until(EndpointState.HEALTHY)
    assert endpoint.ask().status_code == 200
    assert endpoint.record.host == address


def test_a_workspace_that_is_away_for_a_moment_changes_nothing(endpoint: Endpoint) -> None:
    elsewhere = endpoint.records.folder.rename(endpoint.records.folder.parent / "elsewhere")
    processes = endpoint.processes()
    assert is_running(processes.first)
    elsewhere.rename(endpoint.records.folder)
    assert endpoint.ask().status_code == 200
    assert endpoint.processes() == processes
