"""Starting the runner of a run on this machine: for whoever submits, for an agent, and for Azure ML's SDK."""

import os
from dataclasses import replace

from mlflow_amlstore.runner.launch import Launch, RunFolder, slots_folder, start_runner
from mlflow_amlstore.runner.slots import Slots


def start_in(folder: RunFolder, lock: int, launch: Launch) -> None:
    """Line up for a slot of the launch's target, and start the runner of a folder.

    `lock` is the folder's, and is the runner's from now on; close it here.
    """
    ticket = Slots(slots_folder(), launch.target, launch.slots).line_up()
    try:
        folder.write(replace(launch, ticket=ticket.name))
        start_runner(folder, lock, ticket.lock)
    finally:
        os.close(ticket.lock)
