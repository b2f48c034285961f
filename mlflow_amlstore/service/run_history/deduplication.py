"""Batches of metrics that come again: Azure ML's SDK sends one again where the answer was lost or a 5xx, with the ids
that it gave its values; it knows no idempotency key."""

import hashlib
from collections.abc import Sequence

import msgspec

from mlflow_amlstore.records.types import LoggedTuple
from mlflow_amlstore.service.routing import Call


def log_once(
    call: Call,
    run_id: str,
    batch: msgspec.Struct,
    metric_ids: Sequence[str | None],
    logged: Sequence[LoggedTuple],
) -> None:
    """Write what a batch logs; where all its values have ids, once, however often it comes (`RecordStore.once`).

    The whole batch is what is known again, so that other values under ids used twice by mistake aren't lost.
    """

    def write() -> bytes:
        call.records.metrics.log_values(run_id, logged)
        return b""

    if metric_ids and all(metric_ids):
        told = b"\0".join((b"metrics", run_id.encode(), msgspec.json.encode(batch)))
        call.records.once(hashlib.sha256(told).hexdigest(), write)
    else:
        write()
