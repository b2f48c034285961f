"""Having an endpoint of an embedded workspace run on this machine, by processes that outlive the caller."""

import os

from mlflow_amlstore.hosting.endpoint_folder import EndpointFolder, Launch
from mlflow_amlstore.hosting.guardian import start_guardian
from mlflow_amlstore.records.common_store import CommonStore


def start(records: CommonStore, name: str) -> None:
    """Start the processes of an endpoint; nothing happens where they run, nor behind a service, whose agents do it.

    The endpoint answers on a port of 127.0.0.1: the one of the time before, the one in its settings, or any.
    """
    if records.folder is None:
        return
    workspace = str(records.folder)
    folder = EndpointFolder.of(workspace, name)
    lock = folder.take_or_make()
    if lock is None:
        return
    try:
        try:
            launch = folder.read()
        except (OSError, ValueError):
            launch = Launch(workspace, name, port=int(records.endpoints.get(name).spec.settings.get("port") or 0))
        folder.write(launch)
        start_guardian(folder, lock)
    finally:
        os.close(lock)
