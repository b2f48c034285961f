"""How fast an endpoint answers: requests per second, percentiles of the latency, errors.

A deployment that serves alone on this machine tells its last minute by itself. What `/metrics` counts, of several
deployments or on another machine, is since they started: Studio keeps what it was in the last minute, as long as
somebody looks, so that the numbers are of now.
"""

import re
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import EndpointRecord
from mlflow_amlstore.studio.endpoint_requests import metrics_text, own_metrics

_KEPT_S = 60.0
_RATE_OVER_S = 10.0
_SHORTEST_S = 0.5  # between two counts whose difference is a rate
_MOST_ENDPOINTS = 200
_LINE = re.compile(r"amlstore_endpoint_(?P<name>\w+)\{(?P<labels>[^}]*)\} (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_QUANTILES = (0.5, 0.95, 0.99)


class Speed(msgspec.Struct, frozen=True):
    """How an endpoint answers. Times are in milliseconds, those of the last minute, or since it started where nobody
    asked in that time (`is_of_last_minute`). `per_s` is of the last `rate_over_s` seconds, and None before it was
    looked at twice."""

    requests: int
    per_s: float | None
    rate_over_s: int
    errors: dict[str, int]
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    is_of_last_minute: bool
    waiting: int


class Counted(NamedTuple):
    """What a deployment has counted: answers by status, and how many took at most so many seconds, in all."""

    statuses: dict[str, float]
    at_most: dict[float, float]
    waiting: float


class _Sample(NamedTuple):
    at_s: float
    counted: tuple[tuple[int, Counted], ...]


_history: dict[tuple[str, str], deque[_Sample]] = {}
_using = threading.Lock()


def speed_of(records: RecordStore, record: EndpointRecord) -> Speed | None:
    """How an endpoint answers now; None where none of its deployments says so."""
    if len(record.serving) == 1:
        told = own_metrics(records, record, next(iter(record.serving)))
        if told is not None and (speed := speed_told(told)) is not None:
            return speed
    found = [
        (number, read)
        for number in sorted(record.serving)
        if (read := read_prometheus(metrics_text(records, record, number), number)) is not None
    ]
    if not found:
        return None
    now = _Sample(time.monotonic(), tuple(found))
    with _using:
        kept = _history.pop((str(records.folder), record.name), None) or deque[_Sample]()
        while kept and now.at_s - kept[0].at_s > _KEPT_S:
            kept.popleft()
        if not kept or now.at_s - kept[-1].at_s >= _SHORTEST_S:
            kept.append(now)
        _history[str(records.folder), record.name] = kept  # now the last one
        while len(_history) > _MOST_ENDPOINTS:
            del _history[next(iter(_history))]
        before = list(kept)
    return _speed(now, before)


def speed_told(told: dict[str, Any]) -> Speed | None:
    """What a deployment told of its last minute; None where nobody asked it then."""
    try:
        minute, statuses = told["last_minute"], told["statuses"]
        if not minute["requests"]:
            return None
        p50, p95, p99 = (None if minute[name] is None else minute[name] * 1000 for name in ("p50_s", "p95_s", "p99_s"))
        return Speed(
            requests=told["requests"],
            per_s=minute["requests_per_s"],
            rate_over_s=round(_KEPT_S),
            errors=_errors(statuses),
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            is_of_last_minute=True,
            waiting=told["waiting"],
        )
    except (KeyError, TypeError):  # another version's
        return None


def read_prometheus(text: str, number: int) -> Counted | None:
    """What Prometheus' text says of a deployment; None where it says nothing of it."""
    statuses: dict[str, float] = {}
    at_most: dict[float, float] = {}
    waiting = 0.0
    for line in _LINE.finditer(text):
        labels = dict(_LABEL.findall(line["labels"]))
        if labels.get("deployment") != str(number):
            continue
        value = float(line["value"])
        if line["name"] == "requests_total":
            statuses[labels["status"]] = value
        elif line["name"] == "request_seconds_bucket":
            at_most[float(labels["le"])] = value
        elif line["name"] == "waiting":
            waiting = value
    return Counted(statuses, at_most, waiting) if at_most else None


def _speed(now: _Sample, kept: Sequence[_Sample]) -> Speed:
    statuses: dict[str, float] = {}
    for _, counted in now.counted:
        for status, count in counted.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    recent = next((each for each in kept if now.at_s - each.at_s <= _RATE_OVER_S), now)
    passed_s = now.at_s - recent.at_s
    per_s = sum(_differences(now, recent).values(), 0.0) / passed_s if passed_s >= _SHORTEST_S else None
    latest = _buckets(now, kept[0])
    is_recent = bool(latest) and max(latest.values()) > 0
    buckets = latest if is_recent else _buckets(now, None)
    p50, p95, p99 = (quantile_ms(buckets, share) for share in _QUANTILES)
    return Speed(
        requests=round(sum(statuses.values())),
        per_s=per_s,
        rate_over_s=round(_RATE_OVER_S),
        errors=_errors(statuses),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        is_of_last_minute=is_recent,
        waiting=round(sum(counted.waiting for _, counted in now.counted)),
    )


def _errors(statuses: dict[str, float]) -> dict[str, int]:
    return {status: round(count) for status, count in sorted(statuses.items()) if not status.startswith("2")}


def _differences(now: _Sample, before: _Sample) -> dict[int, float]:
    """How many answers each deployment gave in between; one that was started anew has counted from 0."""
    earlier = {number: sum(counted.statuses.values()) for number, counted in before.counted}
    given = {}
    for number, counted in now.counted:
        count = sum(counted.statuses.values())
        given[number] = count - earlier.get(number, 0) if count >= earlier.get(number, 0) else count
    return given


def _buckets(now: _Sample, before: _Sample | None) -> dict[float, float]:
    """The answers of all deployments by how long they took at most, since `before` or since their start."""
    earlier = {} if before is None else dict(before.counted)
    total: dict[float, float] = {}
    for number, counted in now.counted:
        then = earlier[number].at_most if number in earlier else {}
        if any(counted.at_most[bound] < then.get(bound, 0) for bound in counted.at_most):
            then = {}
        for bound, count in counted.at_most.items():
            total[bound] = total.get(bound, 0) + count - then.get(bound, 0)
    return total


def quantile_ms(at_most: dict[float, float], share: float) -> float | None:
    """The time that a share of the answers took at most, as Prometheus reckons it: evenly within a bucket.

    None where there is no answer. Beyond the last bound nothing is known but that bound.
    """
    bounds = sorted(at_most)
    if not bounds or at_most[bounds[-1]] <= 0:
        return None
    wanted = share * at_most[bounds[-1]]
    below_s, below = 0.0, 0.0
    for bound in bounds:
        count = at_most[bound]
        if count >= wanted:
            if bound == float("inf"):
                return below_s * 1000
            return (below_s + (bound - below_s) * (wanted - below) / (count - below or 1)) * 1000
        below_s, below = bound, count
    return below_s * 1000
