"""Recognizing a batch of metrics that is sent twice.

Azure ML's SDK sends a batch again when the answer was lost or a 5xx. It sends no Idempotency-Key, but it gives each
value an id, and the ids stay the same.
"""

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from mlflow_amlstore.records.types import LoggedTuple
from mlflow_amlstore.service.routing import Call


def log_once(
    call: Call,
    run_id: str,
    batch: msgspec.Struct,
    metric_ids: Sequence[str | None],
    logged: Sequence[LoggedTuple],
    descriptions: Mapping[str, str] | None = None,
) -> None:
    """Write a batch. If all its values have ids, it is written once, however often it comes (`RecordStore.once`).

    The whole batch is compared, ids and values: a client that uses ids twice by mistake loses nothing.
    """

    def write() -> bytes:
        call.records.metrics.log_values(run_id, logged, descriptions=descriptions)
        return b""

    if metric_ids and all(metric_ids):
        told = b"\0".join((b"metrics", run_id.encode(), msgspec.json.encode(batch)))
        call.records.once(hashlib.sha256(told).hexdigest(), write)
    else:
        write()
