"""What is left of runs of a service whose runner and watch were both killed: their script, and their folder.

In a folder's workspace whoever looks finds them (`deaths`). A service can't look into this machine, so whatever works
here does: each runner at its end, and agents.
"""

import os
from contextlib import suppress

from mlflow_amlstore.runner.launch import run_folders, start_after


def end_left_behind() -> None:
    """Have the scripts ended, and the runs' records say so while their tokens last, by processes of their own."""
    for folder in run_folders():
        if folder.has_launch and (lock := folder.take()) is not None:
            with suppress(OSError, ValueError):  # it has gone
                if not folder.read().is_embedded:
                    start_after(folder, lock)
            os.close(lock)
