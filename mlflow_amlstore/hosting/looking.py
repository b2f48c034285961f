"""An endpoint of an embedded workspace as it is now: processes that were killed are noticed by whoever looks."""

from mlflow_amlstore.hosting.endpoint_folder import EndpointFolder
from mlflow_amlstore.hosting.hosted_endpoint import holder_of_this_machine
from mlflow_amlstore.hosting.starting import start
from mlflow_amlstore.records.machine import was_restarted_since
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import LOCAL_TARGET, EndpointRecord


def looked_at(records: RecordStore, record: EndpointRecord) -> EndpointRecord:
    """Start an endpoint again whose processes on this machine are gone, and return it as it is.

    One of a pool has a lease, by which others notice. One that nobody has run yet is left to who made it.
    """
    host = record.host
    if host is None or host.ends_ms is not None or record.spec.target not in (LOCAL_TARGET, ""):
        return record
    is_mine = host.holder == holder_of_this_machine() or was_restarted_since(host.holder)
    if not is_mine or EndpointFolder.of(str(records.folder), record.name).is_looked_after():
        return record
    start(records, record.name)
    return records.endpoints.get(record.name)
