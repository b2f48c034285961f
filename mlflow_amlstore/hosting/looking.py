"""An endpoint of an embedded workspace as it is now: processes that were killed are noticed by whoever looks."""

import time
from collections.abc import Iterator

from mlflow_amlstore.hosting.endpoint_folder import EndpointFolder
from mlflow_amlstore.hosting.starting import start
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.machine import this_machine, was_restarted_since
from mlflow_amlstore.records.types import LOCAL_TARGET, EndpointEvent, EndpointRecord, EndpointState

_LOOKED_EVERY_S = 0.1


def looked_at(records: CommonStore, record: EndpointRecord) -> EndpointRecord:
    """Start an endpoint again whose processes on this machine are gone, and return it as it is.

    One of a pool has a lease, by which others notice. One that nobody has run yet is left to who made it.
    """
    host = record.host
    if (
        records.folder is None
        or host is None
        or host.ends_ms is not None
        or record.spec.target not in (LOCAL_TARGET, "")
    ):
        return record
    is_mine = host.holder == this_machine() or was_restarted_since(host.holder)
    if not is_mine or EndpointFolder.of(str(records.folder), record.name).is_looked_after():
        return record
    start(records, record.name)
    return records.endpoints.get(record.name)


def events_until_settled(records: CommonStore, name: str, number: int) -> Iterator[EndpointEvent]:
    """Give what happens to a deployment, as it happens, until it serves or has Failed.

    Raises NotFound where the endpoint is deleted meanwhile.
    """
    last = 0
    while True:
        record = looked_at(records, records.endpoints.get(name))
        for event in records.endpoints.events(name, after=last):
            last = event.event_id
            if event.number in (0, number):
                yield event
        if is_settled(record, number):
            return
        time.sleep(_LOOKED_EVERY_S)


def is_settled(record: EndpointRecord, number: int) -> bool:
    """Whether nothing more will happen to a deployment by itself: it serves, has Failed, or isn't wanted any more."""
    state = record.deployment(number).state
    if number not in record.wanted:
        return state is not EndpointState.TRANSITIONING
    return state is EndpointState.FAILED or number in record.serving
