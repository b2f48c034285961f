"""Starting the runner of a run on this machine: for whoever submits, for an agent, and for Azure ML's SDK."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mlflow_amlstore.runner.launch import COOKIE, Launch, RunFolder, slots_folder, start_runner
from mlflow_amlstore.runner.slots import Slots


def start_in(folder: RunFolder, lock: int, launch: Launch) -> None:
    """Line up for a slot of the launch's target, and start the runner of a folder.

    `lock` is the folder's, and is the runner's from now on; close it here.
    """
    launch = replace(launch, slots=_slots(launch))
    ticket = Slots(slots_folder(), launch.target, launch.slots).line_up()
    try:
        folder.write(replace(launch, ticket=ticket.name))
        start_runner(folder, lock, ticket.lock)
    finally:
        os.close(ticket.lock)


def _slots(launch: Launch) -> int:
    """The slots that there are for a run. A script that submits to its own target lends its slot.

    It may wait for what it submits, which would wait for the slot that the script has.
    """
    if launch.slots and COOKIE in os.environ:
        with suppress(OSError, ValueError):  # the run's folder has gone
            submitter = RunFolder(Path(os.environ[COOKIE])).read()
            if submitter.target == launch.target:
                return max(launch.slots, submitter.slots) + 1
    return launch.slots
