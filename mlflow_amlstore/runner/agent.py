"""An agent: takes what was submitted to a pool from a service, and starts a runner for each on this machine.

It holds no run itself: the runner renews the run's lease with the run's own token, and goes on when the agent ends.
"""

import os
import platform
import time
from collections.abc import Callable

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.run_history.submissions import RemoteSubmissions, TakenRun
from mlflow_amlstore.errors import AmlStoreError, NotAllowed
from mlflow_amlstore.records.machine import this_machine
from mlflow_amlstore.runner.launch import SDK, Launch, RunFolder, variables_of_run
from mlflow_amlstore.runner.left_behind import end_left_behind
from mlflow_amlstore.runner.sdk_variables import sdk_variables
from mlflow_amlstore.runner.starting import start_in

_ASKED_EVERY_S = 0.5
_LOOKED_EVERY_S = 5.0  # for runs whose runners were killed
_ASKED_AGAIN_S = 5.0  # where the service doesn't answer


class Agent:
    """Works for one target of one workspace: so many runs at a time."""

    def __init__(self, connection: Connection, target: str, slots: int, *, trusts_submitters: bool = False) -> None:
        """Begin to work.

        Raises NotAllowed where the service runs on this machine as this user, unless the submitters are trusted: what
        they submit could read and change the workspace itself. Raises what a service's refusal means.
        """
        self._service = RemoteSubmissions(connection)
        self._root, self._target, self._slots = connection.root, target, slots
        self._name = f"{platform.node()}-{os.getpid()}"
        self._folders: list[RunFolder] = []
        self._looks_at = 0.0
        beside = self._service.begin_to_work(target, slots) == (this_machine(), os.getuid())
        if beside and not trusts_submitters:
            raise NotAllowed(
                "The service runs on this machine as this user, so whatever is submitted could read and change the "
                "workspace, its keys among it. Run the agent as another user; or, if all who may submit are trusted "
                "with that, give --trust-submitters"
            )

    def work(self, *, goes_on: Callable[[], bool], tell: Callable[[str], object]) -> None:
        """Take runs while there are free slots, until `goes_on` says no. `tell` is given a line for each event."""
        is_answered = True
        while goes_on():
            self._folders = [folder for folder in self._folders if folder.is_looked_after()]
            taken = None
            try:
                if len(self._folders) < self._slots:
                    taken = self._service.take(self._target, self._name)
                is_answered = True
            except AmlStoreError as error:
                if is_answered:
                    tell(f"The service can't be asked for runs: {error}. Trying again")
                is_answered = False
                self._pause(_ASKED_AGAIN_S, goes_on)
                continue
            if taken is None:
                self._look_for_what_is_left()
                self._pause(_ASKED_EVERY_S, goes_on)
                continue
            try:
                self._start(taken)
            except (AmlStoreError, OSError) as error:  # its lease runs out, and it waits again
                tell(f"{taken.run_id} can't be started: {error}")
                self._pause(_ASKED_AGAIN_S, goes_on)
            else:
                tell(f"Started {taken.run_id} of experiment {taken.experiment}")

    @property
    def running(self) -> int:
        """How many of its runs go on."""
        return sum(folder.is_looked_after() for folder in self._folders)

    def _start(self, taken: TakenRun) -> None:
        folder = RunFolder.of(taken.run_id)
        folder.remove_left()
        lock = folder.make()
        has_sdk = taken.definition.get("azureml") == SDK
        try:
            start_in(
                folder,
                lock,
                Launch(
                    run_id=taken.run_id,
                    experiment_id=taken.experiment_id,
                    workspace=self._root,
                    definition=taken.definition,
                    variables={
                        **(sdk_variables(self._root, taken.experiment_id, taken.experiment) if has_sdk else {}),
                        **variables_of_run(
                            taken.definition, self._root, taken.run_id, taken.experiment_id, taken.experiment
                        ),
                    },
                    target=self._target,
                    slots=self._slots,
                    token=taken.token,
                    snapshot_id=taken.snapshot_id,
                    has_sdk=has_sdk,
                ),
            )
        finally:
            os.close(lock)
        self._folders.append(folder)

    def _look_for_what_is_left(self) -> None:
        if time.monotonic() >= self._looks_at:
            end_left_behind()
            self._looks_at = time.monotonic() + _LOOKED_EVERY_S

    @staticmethod
    def _pause(seconds: float, goes_on: Callable[[], bool]) -> None:
        until = time.monotonic() + seconds
        while goes_on() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
