"""The order of what goes on in a workspace: by compute target what runs, and then what waits for a slot there."""

from collections import defaultdict
from collections.abc import Iterable

from mlflow_amlstore.records.status import WAITING
from mlflow_amlstore.records.types import QueueEntry, RunInfo


def in_order(runs: Iterable[tuple[RunInfo, str, str | None]]) -> list[QueueEntry]:
    """Return runs that haven't ended, each with its experiment's name and its target, as they stand in the queue.

    Given the oldest first. A run that wasn't submitted has no target, and comes last.
    """
    of_target: defaultdict[str | None, list[tuple[RunInfo, str]]] = defaultdict(list)
    for info, experiment, target in runs:
        of_target[target].append((info, experiment))
    entries = []
    for target in sorted(of_target, key=lambda name: (name is None, name or "")):
        waiting: list[QueueEntry] = []
        for info, experiment in of_target[target]:
            if target is not None and info.status in WAITING:
                waiting.append(QueueEntry(info, experiment, target, len(waiting) + 1))
            else:
                entries.append(QueueEntry(info, experiment, target, None))
        entries += waiting
    return entries
