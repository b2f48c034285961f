"""MLflow's queue for asynchronous logging, made to lose nothing when a process ends or forks.

MLflow empties its queue (`mlflow.utils.async_logging`) in `atexit`. By then Python has closed the thread pool that
writes, and what is still queued is dropped with a log line; a worker of `multiprocessing` has no `atexit` at all; and
a forked child inherits a queue whose threads are gone, on which it waits for ever.
"""

import os
import threading
import weakref
from collections.abc import Sequence

from mlflow.entities import Metric, Param, RunTag
from mlflow.store.tracking.abstract_store import AbstractStore
from mlflow.utils.async_logging.async_logging_queue import AsyncLoggingQueue
from mlflow.utils.async_logging.run_operations import RunOperations


class LosslessAsyncLogging(AbstractStore):
    """A tracking store whose queue is emptied before its process ends, and starts anew in a forked child."""

    def __init__(self) -> None:
        super().__init__()
        _stores.add(self)

    def log_batch_async(
        self, run_id: str, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
    ) -> RunOperations:
        """Queue a batch; `RunOperations.wait` raises what `log_batch` does. While Python ends, log it at once."""
        if _process.is_ending:
            self.log_batch(run_id, metrics, params, tags)
            return RunOperations([])
        return super().log_batch_async(run_id, metrics, params, tags)

    def _start_queue_anew(self) -> None:
        self._async_logging_queue = AsyncLoggingQueue(logging_func=self.log_batch)


class _Process:
    """Whether this process is ending: thread pools take no more work then."""

    is_ending = False


_process = _Process()
_stores: "weakref.WeakSet[LosslessAsyncLogging]" = weakref.WeakSet()


def _empty_queues() -> None:
    _process.is_ending = True
    for store in list(_stores):
        store.shut_down_async_logging()


def _after_fork_in_child() -> None:
    _process.is_ending = False
    for store in list(_stores):
        store._start_queue_anew()


# Called, the latest registered first, before thread pools are shut down, in `multiprocessing`'s workers too.
# `concurrent.futures` ends its pools the same way, and was imported above, so our turn comes before. It is private, but
# in Python from 3.9 to 3.14, and there is no other hook at that moment.
threading._register_atexit(_empty_queues)  # type: ignore[attr-defined]

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
