"""MLflow's queue for asynchronous logging in processes that `multiprocessing` starts.

MLflow's own queue (`mlflow.utils.async_logging`) doesn't survive there: a forked child inherits a queue whose threads
are gone, and waits for ever; and a worker ends without `atexit`, with which MLflow empties the queue.
"""

import multiprocessing
import multiprocessing.util
import os
import weakref
from collections.abc import Sequence
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.store.tracking.abstract_store import AbstractStore
from mlflow.utils.async_logging.async_logging_queue import AsyncLoggingQueue
from mlflow.utils.async_logging.run_operations import RunOperations


class AsyncLoggingInWorkers(AbstractStore):  # type: ignore[misc]  # MLflow is untyped
    """A tracking store whose queue starts anew in a forked child and is emptied when a worker process ends."""

    def __init__(self) -> None:
        super().__init__()
        _stores.add(self)

    def log_batch_async(
        self, run_id: str, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
    ) -> RunOperations:
        """Queue a batch; `RunOperations.wait` raises what `log_batch` does."""
        if multiprocessing.parent_process() is not None and not self._async_logging_queue.is_active():
            multiprocessing.util.Finalize(self, _empty_queue, args=(weakref.ref(self),), exitpriority=100)
        return super().log_batch_async(run_id, metrics, params, tags)

    def _start_queue_anew(self) -> None:
        self._async_logging_queue: Any = AsyncLoggingQueue(logging_func=self.log_batch)


def _empty_queue(store: "weakref.ref[AsyncLoggingInWorkers]") -> None:
    known = store()
    if known is not None:
        known.shut_down_async_logging()


_stores: "weakref.WeakSet[AsyncLoggingInWorkers]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for store in list(_stores):
        store._start_queue_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
