"""`amlstore queue`."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import click

from mlflow_amlstore.cli.output import print_json, print_rows, time_text
from mlflow_amlstore.cli.workspace_option import with_workspace
from mlflow_amlstore.core import Workspace
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.types import SCRIPT_RUN, RunFilter, RunInfo, RunStatus

WAITING = (RunStatus.NOT_STARTED, RunStatus.QUEUED)
"""The statuses of a run that waits for a slot."""
_COLUMNS = ["compute", "position", "run_id", "name", "experiment", "status", "since"]
_SHORTEN = {"run_id": 9, "since": 11, "name": 12, "experiment": 8}
_DROPPED = ["name", "experiment"]  # where the terminal is narrow


class QueueEntry(NamedTuple):
    """A submitted run that hasn't ended. `position` counts from 1 those that wait for a slot of the compute target."""

    compute: str
    position: int | None
    info: RunInfo

    @property
    def since_ms(self) -> int:
        """When it started; of one that waits, when it was submitted."""
        return self.info.start_ms or self.info.created_ms


@click.command("queue")
@with_workspace
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(workspace: Workspace, as_json: bool) -> None:
    """List the submitted runs that wait or run, by compute target.

    Position 1 is the one that starts next, of this workspace's. `since` is when a run started; of one that waits, when
    it was submitted.
    """
    entries = queue_of(workspace)
    experiments = {
        each: workspace.records.experiments.get(each).name for each in {entry.info.experiment_id for entry in entries}
    }
    if as_json:
        print_json(
            [
                {
                    "run_id": entry.info.run_id,
                    "name": entry.info.name,
                    "experiment": experiments[entry.info.experiment_id],
                    "compute": entry.compute,
                    "status": entry.info.status.value,
                    "position": entry.position,
                    "since_ms": entry.since_ms,
                }
                for entry in entries
            ]
        )
        return
    rows = [
        (
            entry.compute,
            entry.position,
            entry.info.run_id,
            entry.info.name,
            experiments[entry.info.experiment_id],
            entry.info.status.value,
            time_text(entry.since_ms),
        )
        for entry in entries
    ]
    print_rows(_COLUMNS, rows, shorten=_SHORTEN, drop=_DROPPED)


def queue_of(workspace: Workspace) -> list[QueueEntry]:
    """What runs, the oldest first, and then what waits, of each compute target."""
    of_target: defaultdict[str, list[RunInfo]] = defaultdict(list)
    for info in _not_ended(workspace):
        of_target[workspace.records.runs.definition(info.run_id).get("target", "local")].append(info)
    entries = []
    for target, infos in sorted(of_target.items()):
        infos.sort(key=lambda info: info.number)
        entries += [QueueEntry(target, None, info) for info in infos if info.status not in WAITING]
        waiting = [info for info in infos if info.status in WAITING]
        entries += [QueueEntry(target, position, info) for position, info in enumerate(waiting, 1)]
    return entries


def _not_ended(workspace: Workspace) -> Iterator[RunInfo]:
    runs = workspace.records.runs
    experiments = [None] if workspace.path is not None else [each.id for each in workspace.experiments.values()]
    for status in RunStatus:
        if status in ENDED:
            continue
        filter = RunFilter(include_children=True, run_type=SCRIPT_RUN, status=status)
        for record in (found for each in experiments for found in runs.find(filter, experiment_id=each).items):
            workspace.get_run(record.info.run_id).get_status()  # which notices one whose runner was killed
            info = runs.get(record.info.run_id).info
            if info.status is status:  # else it is found under the other, or has ended
                yield info
