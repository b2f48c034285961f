"""A short read doesn't wait for those that read much, however many clients ask for these."""

import statistics
import threading
import time
from collections.abc import Callable

from mlflow_amlstore.workspace.opening import create_workspace
from tests.service.conftest import Service

RUNS = 3000
SEARCHERS = 12


def seconds_of(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def test_a_run_is_read_in_a_fraction_of_the_time_that_searches_take(start_service: Callable[..., Service]) -> None:
    service = start_service()
    opened = create_workspace(service.folder)
    with opened.records.transaction():
        run_ids = [opened.records.runs.create("0").info.run_id for _ in range(RUNS)]
    opened.close()
    token = service.token
    searches_s: list[float] = []
    gets_s: list[float] = []

    def search() -> None:
        body = {"experiment_ids": ["0"], "max_results": RUNS}
        while len(searches_s) < 3 * SEARCHERS:
            searches_s.append(seconds_of(lambda: service.call("POST", "/api/2.0/mlflow/runs/search", token, body)))

    searchers = [threading.Thread(target=search) for _ in range(SEARCHERS)]
    for searcher in searchers:
        searcher.start()
    while len(searches_s) < 3 * SEARCHERS:
        path = f"/api/2.0/mlflow/runs/get?run_id={run_ids[len(gets_s) % RUNS]}"
        gets_s.append(seconds_of(lambda path=path: service.call("GET", path, token)))  # type: ignore[misc]
    for searcher in searchers:
        searcher.join()

    print(f"search {statistics.median(searches_s):.3f} s, get {statistics.median(gets_s):.4f} s, {len(gets_s)} gets")
    assert statistics.median(gets_s) < statistics.median(searches_s) / 4
