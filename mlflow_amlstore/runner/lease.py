"""The lease that a runner holds of its run, where the workspace is behind a service."""

import threading
import time
from collections.abc import Callable

from mlflow_amlstore.client.connection import connection_of
from mlflow_amlstore.client.run_history.submissions import RemoteLease
from mlflow_amlstore.errors import AmlStoreError, NotFound, TokenRefused
from mlflow_amlstore.runner.launch import Launch

_ASKED_AGAIN_S = 1.0
_FIRST_LASTS_S = 20.0  # from a submission till its runner asks, it isn't known how much is left


class HeldLease:
    """A lease that a thread renews. Where that can't be done in time, `lost` is called: once the lease has run out the
    run is somebody else's, or Failed, so the script must have ended by then."""

    def __init__(self, launch: Launch, *, ends_before_s: float, lost: Callable[[], object]) -> None:
        """`ends_before_s` is how long the script may take to end."""
        self._lease = RemoteLease(connection_of(launch.workspace), launch.run_id)
        self._ends_before_s, self._lost = ends_before_s, lost
        self._has_started = False
        self._has_ended = False
        self._look_now = threading.Event()
        self._alarm = self._alarm_in(_FIRST_LASTS_S)
        threading.Thread(target=self._hold, name="amlstore-lease", daemon=True).start()

    def script_has_started(self) -> None:
        """Say so: nobody else may start it from now on."""
        self._has_started = True
        self._look_now.set()

    def end(self) -> None:
        """End it, as the runner has done with the run."""
        self._has_ended = True
        self._alarm.cancel()
        self._look_now.set()
        self._lease.end()

    def _hold(self) -> None:
        while not self._has_ended:
            self._look_now.clear()
            asked_s, pause_s = time.monotonic(), _ASKED_AGAIN_S
            try:
                lasts_s, pause_s = self._lease.renew(has_started=self._has_started)
            except (NotFound, TokenRefused):  # it was taken back
                self._run_out()
                return
            except AmlStoreError:
                pass
            else:
                self._alarm.cancel()
                self._alarm = self._alarm_in(asked_s + lasts_s - time.monotonic())
            self._look_now.wait(pause_s)

    def _alarm_in(self, lasts_s: float) -> threading.Timer:
        """What ends the run before the lease does, while the service may be asked in vain for longer."""
        alarm = threading.Timer(max(0.0, lasts_s - self._ends_before_s), self._run_out)
        alarm.daemon = True
        alarm.start()
        return alarm

    def _run_out(self) -> None:
        if not self._has_ended:
            self._lost()
