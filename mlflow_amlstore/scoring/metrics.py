"""What all workers have done, in memory that they share, and as Prometheus reads it.

Each process writes its own block, so nothing is locked; `/metrics`, whichever worker answers it, sums them. A worker
that takes over a block of one that is gone goes on counting in it.
"""

import mmap
import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
STAGES = ("read", "check", "predict", "encode")
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_STATUSES = 600  # a place for each, which is its number
_LATENCY = _STATUSES  # a bucket each, one for all that is slower, the sum
_SUM = _LATENCY + len(BUCKETS_S) + 1
_STAGES = _SUM + 1
_ROWS = _STAGES + len(STAGES)
_BATCHES = _ROWS + 1
_WAITING = _BATCHES + 1
_INLINE_SINCE = _WAITING + 1
_RESTARTS = _INLINE_SINCE + 1
_IN_FLIGHT = _RESTARTS + 1
_RECENT = _IN_FLIGHT + 1
MINUTE_S = 60
_SECONDS = MINUTE_S + 4  # a worker that writes the present second doesn't write one that is still read
_FINE_S = tuple(0.0001 * 1.2**step for step in range(72))  # to 42 s; a percentile is right to a tenth of itself
_SECOND = 2 + len(_FINE_S) + 1  # which second it is, failed requests, and how many took how long
_SIZE = _RECENT + _SECONDS * _SECOND
_NOTHING = memoryview(bytes(_SECOND * 8)).cast("d")


class Board:
    """The blocks of all processes; made before they are forked."""

    def __init__(self, blocks: int) -> None:
        shared = memoryview(mmap.mmap(-1, blocks * _SIZE * 8)).cast("d")
        self._values: Any = shared
        self._blocks = blocks
        self._began_s = time.monotonic()

    def block(self, number: int) -> "Block":
        return Block(self, self._values[number * _SIZE : (number + 1) * _SIZE])

    def total(self, place: int) -> float:
        return float(sum(self._values[number * _SIZE + place] for number in range(self._blocks)))

    def statuses(self) -> dict[int, int]:
        """How many requests were answered with each status."""
        counts = [0.0] * _STATUSES
        for number in range(self._blocks):
            block = self._values[number * _SIZE : number * _SIZE + _STATUSES].tolist()
            counts = [count + more for count, more in zip(counts, block, strict=True)]
        return {status: int(count) for status, count in enumerate(counts) if count}

    def summary(self) -> dict[str, Any]:
        """What a page shows: totals, and the last minute's rate and latencies (seconds; None where there are none)."""
        now = time.monotonic()
        failed, counts = 0.0, [0.0] * (len(_FINE_S) + 1)
        for number in range(self._blocks):
            for slot in range(_SECONDS):
                at = number * _SIZE + _RECENT + slot * _SECOND
                if now - MINUTE_S <= self._values[at] <= now:
                    failed += self._values[at + 1]
                    second = self._values[at + 2 : at + _SECOND].tolist()
                    counts = [count + more for count, more in zip(counts, second, strict=True)]
        recent, seconds = sum(counts), min(float(MINUTE_S), max(1.0, now - self._began_s))
        statuses = self.statuses()
        return {
            "requests": sum(statuses.values()),
            "statuses": {str(status): count for status, count in statuses.items()},
            "errors": sum(count for status, count in statuses.items() if status >= 400),
            "in_flight": int(max(0.0, self.total(_IN_FLIGHT))),
            "waiting": int(max(0.0, self.total(_WAITING))),
            "worker_restarts": int(self.total(_RESTARTS)),
            "last_minute": {
                "requests": int(recent),
                "errors": int(failed),
                "requests_per_s": recent / seconds,
                **{f"p{share}_s": _percentile(counts, share / 100) for share in (50, 95, 99)},
            },
        }

    def text(self, labels: str) -> bytes:
        """Prometheus' text; `labels` are put on all of it: `endpoint="diabetes",deployment="1"`."""
        lines: list[str] = []

        def head(name: str, kind: str, means: str) -> None:
            lines.append(f"# HELP {name} {means}\n# TYPE {name} {kind}")

        head("amlstore_endpoint_requests_total", "counter", "Requests answered, by HTTP status.")
        for status, number in self.statuses().items():
            lines.append(f'amlstore_endpoint_requests_total{{{labels},status="{status}"}} {number}')
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
            ("amlstore_endpoint_in_flight", "gauge", _IN_FLIGHT, "Requests that are being answered."),
            ("amlstore_endpoint_waiting", "gauge", _WAITING, "Requests that wait for the model."),
            ("amlstore_endpoint_worker_restarts_total", "counter", _RESTARTS, "Workers that were replaced."),
        ):
            head(name, kind, means)
            lines.append(f"{name}{{{labels}}} {self.total(place):.0f}")
        return ("\n".join(lines) + "\n").encode()


def _percentile(counts: Sequence[float], share: float) -> float | None:
    """The time that this share of requests didn't take longer than; within a bucket they are taken to lie evenly."""
    left = sum(counts) * share
    if not left:
        return None
    for place, count in enumerate(counts):
        if count and left <= count:
            upper = _FINE_S[min(place, len(_FINE_S) - 1)]
            lower = _FINE_S[place - 1] if place else 0.0
            return lower + (upper - lower) * left / count if upper > lower else upper
        left -= count
    return _FINE_S[-1]


class Block:
    """What one process counts."""

    __slots__ = ("_values", "board")

    def __init__(self, board: Board, values: Any) -> None:
        self.board, self._values = board, values

    def began(self) -> None:
        """A request is being answered."""
        self._values[_IN_FLIGHT] += 1

    def left(self) -> None:
        """A request isn't answered here: whoever asked is gone, or another deployment answers."""
        self._values[_IN_FLIGHT] -= 1

    def answered(self, status: int, now: float, seconds: float) -> None:
        """Count the answer to a request that `began`, and its time; `now` is `time.monotonic`."""
        values = self._values
        values[_IN_FLIGHT] -= 1
        second = int(now)
        at = _RECENT + second % _SECONDS * _SECOND
        if values[at] != second:
            values[at : at + _SECOND] = _NOTHING
            values[at] = second
        values[at + 1] += status >= 400
        values[at + 2 + bisect_left(_FINE_S, seconds)] += 1
        values[status] += 1
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
        self._values[_WAITING] = self._values[_INLINE_SINCE] = self._values[_IN_FLIGHT] = 0.0
