"""When and where a model predicts: on the event loop while it is fast, on a thread when it isn't, within a time limit.

How fast it is, is measured by the size of requests, in powers of two: one row says nothing of a thousand.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlflow_amlstore.errors import AmlStoreError, ModelFailed, PredictionTimedOut, TooManyRequests
from mlflow_amlstore.scoring.inputs import Checked
from mlflow_amlstore.scoring.metrics import Block
from mlflow_amlstore.scoring.model import Model

FAST_S = 0.002
"""A prediction that takes no longer keeps the event loop from nothing that matters."""
_SLOW_S = 10 * FAST_S  # once is enough to know
_WAITED_S = 0.02
_STUCK_THREADS = 8  # a thread can't be ended; these are for those that go on until the worker is replaced


class TimeIsUp(BaseException):
    """Raised by a signal into a prediction on the event loop. No Exception, so that a model doesn't catch it."""


class Predictions:
    """A worker's predictions. `retire` is called when one can't be stopped, so that the worker is replaced."""

    def __init__(
        self,
        model: Model,
        block: Block,
        *,
        concurrency: int,
        queue_length: int,
        limit_s: float,
        retire: Callable[[], None],
    ) -> None:
        self._model, self._block, self._retire = model, block, retire
        self._concurrency, self._queue_length, self._limit_s = concurrency, queue_length, limit_s
        self._seconds: dict[int, float] = {}
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._threads: ThreadPoolExecutor | None = None

    def is_fast(self, rows: int) -> bool:
        """Whether requests of this size were measured to be fast."""
        return self._seconds.get(rows.bit_length(), 1.0) < FAST_S

    def now(self, checked: Checked, method: str, params: Mapping[str, Any] | None) -> Any:
        """Predict here. Raises InvalidValue, ModelFailed, PredictionTimedOut."""
        self._block.inline_since = time.monotonic()
        try:
            began = time.perf_counter()
            result = self._predict(checked, method, params)
            self._learn(checked.rows, time.perf_counter() - began)
            return result
        except TimeIsUp:
            raise PredictionTimedOut(self._limit_s) from None
        finally:
            self._block.inline_since = 0.0

    @property
    def is_predicting_here(self) -> bool:
        """Whether the event loop's thread is in the model."""
        return self._block.inline_since > 0.0

    async def soon(self, checked: Checked, method: str, params: Mapping[str, Any] | None) -> Any:
        """Predict on a thread, when it is this one's turn. Raises as `now`, and TooManyRequests."""
        await self._turn()
        try:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._concurrency + _STUCK_THREADS, thread_name_prefix="predict")
            work = asyncio.get_running_loop().run_in_executor(self._threads, self._on_a_thread, checked, method, params)
            done, _ = await asyncio.wait({work}, timeout=self._limit_s)
            if not done:
                work.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody asks any more
                self._retire()
                raise PredictionTimedOut(self._limit_s)
            return work.result()
        finally:
            self._next()

    def _on_a_thread(self, checked: Checked, method: str, params: Mapping[str, Any] | None) -> Any:
        began, began_cpu = time.perf_counter(), time.thread_time()
        result = self._predict(checked, method, params)
        took = time.perf_counter() - began
        # A short one has mostly waited for the event loop to let it go on, which it wouldn't have to on it.
        self._learn(checked.rows, took if took > _WAITED_S else time.thread_time() - began_cpu)
        return result

    def _predict(self, checked: Checked, method: str, params: Mapping[str, Any] | None) -> Any:
        try:
            return self._model.predict(checked, method, params)
        except (AmlStoreError, TimeIsUp):
            raise
        except BaseException as error:  # a model may call exit
            raise ModelFailed(error) from error

    def _learn(self, rows: int, took: float) -> None:
        size = rows.bit_length()
        known = self._seconds.get(size, took)
        self._seconds[size] = took if took > _SLOW_S else known + 0.2 * (took - known)

    async def _turn(self) -> None:
        if self._running < self._concurrency:
            self._running += 1
            return
        if len(self._waiting) >= self._queue_length:
            raise TooManyRequests(len(self._waiting))
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        self._block.waiting(1)
        try:
            await mine  # whoever ends hands its turn on, so the number that runs stays
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._next()
            raise
        finally:
            self._block.waiting(-1)

    def _next(self) -> None:
        while self._waiting:
            one = self._waiting.popleft()
            if not one.done():
                one.set_result(None)
                return
        self._running -= 1
