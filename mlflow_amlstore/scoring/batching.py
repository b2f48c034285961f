"""Micro-batches: rows of several requests that are predicted together, which costs many models little more than one."""

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlflow_amlstore.errors import AmlStoreError, TooManyRequests
from mlflow_amlstore.scoring.inputs import Checked
from mlflow_amlstore.scoring.metrics import Block
from mlflow_amlstore.scoring.predictions import Predictions


class _Batch:
    def __init__(self) -> None:
        self.members: list[tuple[Checked, asyncio.Future[Any]]] = []
        self.rows = 0
        self.timer: asyncio.TimerHandle | None = None


class Batches:
    """Collects requests of the same method until they are `max_size` rows, or the first has waited `max_latency_s`.

    While a batch is predicted the next one is collected, and goes as soon as it may.
    """

    def __init__(
        self, predictions: Predictions, block: Block, *, max_size: int, max_latency_s: float, queue_length: int
    ) -> None:
        self._predictions, self._block = predictions, block
        self._max_size, self._max_latency_s, self._queue_length = max_size, max_latency_s, queue_length
        self._open: dict[str, _Batch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0

    def takes(self, checked: Checked, params: Mapping[str, Any] | None) -> bool:
        """Whether a request can be predicted with others."""
        values = checked.values
        is_table = isinstance(values, np.ndarray) or hasattr(values, "columns")
        return is_table and not params and checked.doubt is None and checked.rows < self._max_size

    async def predict(self, checked: Checked, method: str) -> Any:
        """The prediction of one request, made with others'. Raises as `Predictions.soon`."""
        if self._waiting >= self._queue_length + self._max_size:
            raise TooManyRequests(self._waiting)
        batch = self._open.get(method)
        if batch is not None and batch.rows + checked.rows > self._max_size:
            self._send(method, batch)
            batch = None
        loop = asyncio.get_running_loop()
        if batch is None:
            batch = self._open[method] = _Batch()
            batch.timer = loop.call_later(self._max_latency_s, self._send, method, batch)
        mine = loop.create_future()
        batch.members.append((checked, mine))
        batch.rows += checked.rows
        self._waiting += 1
        if batch.rows >= self._max_size:
            self._send(method, batch)
        try:
            return await mine
        finally:
            self._waiting -= 1

    def _send(self, method: str, batch: _Batch) -> None:
        if self._open.get(method) is batch:
            del self._open[method]
        if batch.timer is not None:
            batch.timer.cancel()
            batch.timer = None
            task = asyncio.get_running_loop().create_task(self._predict(method, batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _predict(self, method: str, batch: _Batch) -> None:
        members = [(checked, future) for checked, future in batch.members if not future.done()]
        if not members:
            return
        self._block.batched()
        try:
            result = await self._predictions.soon(_joined([checked for checked, _ in members]), method, None)
            results = _apart(result, [checked.rows for checked, _ in members])
        except AmlStoreError as error:
            if error.http_status in (400, 500) and len(members) > 1:  # one of them fails: which?
                await self._one_by_one(method, members)
                return
            results = [error] * len(members)
        except Exception as error:
            results = [error] * len(members)
        for (_, future), one in zip(members, results, strict=True):
            _settle(future, one)

    async def _one_by_one(self, method: str, members: list[tuple[Checked, asyncio.Future[Any]]]) -> None:
        for checked, future in members:
            try:
                _settle(future, await self._predictions.soon(checked, method, None))
            except Exception as error:
                _settle(future, error)


def _settle(future: "asyncio.Future[Any]", result: Any) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


def _joined(parts: list[Checked]) -> Checked:
    if len(parts) == 1:
        return parts[0]
    rows = sum(part.rows for part in parts)
    values = [part.values for part in parts]
    if isinstance(values[0], np.ndarray):
        return Checked(np.concatenate(values), rows)
    import pandas

    return Checked(pandas.concat(values, ignore_index=True), rows)


def _apart(result: Any, counts: list[int]) -> list[Any]:
    """A prediction's rows, by request."""
    if hasattr(result, "toarray"):
        result = result.toarray()
    if len(result) != sum(counts):
        raise ValueError("the model gave another number of rows than it was given, so it can't be used in batches")
    parts, place = [], 0
    for count in counts:
        rows = slice(place, place + count)
        parts.append(result.iloc[rows] if hasattr(result, "iloc") else result[rows])
        place += count
    return parts
