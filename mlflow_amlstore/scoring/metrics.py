"""What all workers have done, in memory that they share, and as Prometheus reads it.

Each process writes its own block, so nothing is locked; `/metrics`, whichever worker answers it, sums them. A worker
that takes over a block of one that is gone goes on counting in it.
"""

import mmap
from bisect import bisect_left
from typing import Any

STATUSES = (200, 400, 401, 404, 408, 413, 415, 429, 431, 500, 503, 504)
BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
STAGES = ("read", "check", "predict", "encode")
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_STATUS = {status: place for place, status in enumerate(STATUSES)}
_LATENCY = len(STATUSES)  # a bucket each, one for all that is slower, the sum
_SUM = _LATENCY + len(BUCKETS_S) + 1
_STAGES = _SUM + 1
_ROWS = _STAGES + len(STAGES)
_BATCHES = _ROWS + 1
_WAITING = _BATCHES + 1
_INLINE_SINCE = _WAITING + 1
_RESTARTS = _INLINE_SINCE + 1
_SIZE = _RESTARTS + 1


class Board:
    """The blocks of all processes; made before they are forked."""

    def __init__(self, blocks: int) -> None:
        shared = memoryview(mmap.mmap(-1, blocks * _SIZE * 8)).cast("d")
        self._values: Any = shared
        self._blocks = blocks

    def block(self, number: int) -> "Block":
        return Block(self, self._values[number * _SIZE : (number + 1) * _SIZE])

    def total(self, place: int) -> float:
        return float(sum(self._values[number * _SIZE + place] for number in range(self._blocks)))

    def text(self, labels: str) -> bytes:
        """Prometheus' text; `labels` are put on all of it: `endpoint="diabetes",deployment="1"`."""
        lines: list[str] = []

        def head(name: str, kind: str, means: str) -> None:
            lines.append(f"# HELP {name} {means}\n# TYPE {name} {kind}")

        head("amlstore_endpoint_requests_total", "counter", "Requests answered, by HTTP status.")
        for status, place in _STATUS.items():
            if count := self.total(place):
                lines.append(f'amlstore_endpoint_requests_total{{{labels},status="{status}"}} {count:.0f}')
        head("amlstore_endpoint_request_seconds", "histogram", "From a request's header read to its answer ready.")
        count = 0.0
        for place, bound in enumerate((*map(str, BUCKETS_S), "+Inf")):
            count += self.total(_LATENCY + place)
            lines.append(f'amlstore_endpoint_request_seconds_bucket{{{labels},le="{bound}"}} {count:.0f}')
        lines.append(f"amlstore_endpoint_request_seconds_sum{{{labels}}} {self.total(_SUM):.9g}")
        lines.append(f"amlstore_endpoint_request_seconds_count{{{labels}}} {count:.0f}")
        head("amlstore_endpoint_stage_seconds_total", "counter", "Time that answered requests spent, by stage.")
        for place, stage in enumerate(STAGES):
            seconds = self.total(_STAGES + place)
            lines.append(f'amlstore_endpoint_stage_seconds_total{{{labels},stage="{stage}"}} {seconds:.9g}')
        for name, kind, place, means in (
            ("amlstore_endpoint_rows_total", "counter", _ROWS, "Rows predicted."),
            ("amlstore_endpoint_batches_total", "counter", _BATCHES, "Micro-batches predicted."),
            ("amlstore_endpoint_waiting", "gauge", _WAITING, "Requests that wait for the model."),
            ("amlstore_endpoint_worker_restarts_total", "counter", _RESTARTS, "Workers that were replaced."),
        ):
            head(name, kind, means)
            lines.append(f"{name}{{{labels}}} {self.total(place):.0f}")
        return ("\n".join(lines) + "\n").encode()


class Block:
    """What one process counts."""

    __slots__ = ("_values", "board")

    def __init__(self, board: Board, values: Any) -> None:
        self.board, self._values = board, values

    def answered(self, status: int, seconds: float) -> None:
        """Count an answer and its time."""
        values = self._values
        values[_STATUS.get(status, _STATUS[400])] += 1
        values[_LATENCY + bisect_left(BUCKETS_S, seconds)] += 1
        values[_SUM] += seconds

    def predicted(self, rows: int, read: float, check: float, predict: float, encode: float) -> None:
        """Count the rows and stages of a request that the model answered, in seconds; waiting is in `predict`."""
        values, stages = self._values, _STAGES
        values[stages] += read
        values[stages + 1] += check
        values[stages + 2] += predict
        values[stages + 3] += encode
        values[_ROWS] += rows

    def batched(self) -> None:
        self._values[_BATCHES] += 1

    def waiting(self, change: int) -> None:
        self._values[_WAITING] += change

    def restarted(self) -> None:
        self._values[_RESTARTS] += 1

    @property
    def inline_since(self) -> float:
        """Since when (`time.monotonic`) the process predicts on its event loop; 0 where it doesn't."""
        return float(self._values[_INLINE_SINCE])

    @inline_since.setter
    def inline_since(self, value: float) -> None:
        self._values[_INLINE_SINCE] = value

    def forget_the_present(self) -> None:
        """What a process was doing when it died isn't being done any more."""
        self._values[_WAITING] = self._values[_INLINE_SINCE] = 0.0
