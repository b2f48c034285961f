"""The part of an agent that runs endpoints: it takes them from a service, and starts a host for each on this machine.

It holds none itself: the host renews the endpoint's lease by the endpoint's own token, and goes on when the agent ends.
"""

import os
import platform
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.run_history.hosting import RemoteHostedEndpoint, TakenEndpoint, take_endpoint
from mlflow_amlstore.errors import AmlStoreError, InvalidState
from mlflow_amlstore.hosting.endpoint_folder import EndpointFolder, Launch
from mlflow_amlstore.hosting.guardian import start_guardian

_ASKED_EVERY_S = 0.5
_ASKED_AGAIN_S = 5.0  # where the service doesn't answer


class EndpointAgent:
    """Runs endpoints of one pool, and those of no pool in particular."""

    def __init__(self, connection: Connection, target: str) -> None:
        self._connection, self._target = connection, target
        self._name = f"{platform.node()}-{os.getpid()}"

    def work(self, *, goes_on: Callable[[], bool], tell: Callable[[str], object]) -> None:
        """Take endpoints until `goes_on` says no. `tell` is given a line for each event."""
        is_answered = True
        while goes_on():
            try:
                taken = take_endpoint(self._connection, self._target, self._name)
                is_answered = True
            except AmlStoreError as error:
                if is_answered:
                    tell(f"The service can't be asked for endpoints: {error}. Trying again")
                is_answered = False
                time.sleep(_ASKED_AGAIN_S)
                continue
            if taken is None:
                time.sleep(_ASKED_EVERY_S)
                continue
            try:
                self._start(taken)
            except (AmlStoreError, OSError) as error:  # its lease runs out, and somebody takes it again
                tell(f"Endpoint {taken.name} can't be run: {error}")
                time.sleep(_ASKED_AGAIN_S)
            else:
                tell(f"Runs endpoint {taken.name}")

    def _start(self, taken: TakenEndpoint) -> None:
        root = self._connection.root
        folder = EndpointFolder.of(root, taken.name)
        lock = folder.take_or_make()
        if lock is None:  # a host of this machine still stops what it ran: it is taken again then
            RemoteHostedEndpoint(root, taken.name, taken.token, folder.path).leave()
            raise InvalidState("its former host on this machine hasn't ended yet")
        try:
            folder.write(Launch(root, taken.name, host=self._own_address(), token=taken.token))
            start_guardian(folder, lock)
        finally:
            os.close(lock)

    def _own_address(self) -> str:
        """The address of this machine that the service reaches: the one from which this machine reaches the service."""
        url = urlsplit(self._connection.service_url)
        port = url.port or (443 if url.scheme == "https" else 80)
        with socket.create_connection((url.hostname or "", port), timeout=10) as reached:
            return str(reached.getsockname()[0])
