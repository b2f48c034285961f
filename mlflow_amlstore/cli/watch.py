"""`amlstore watch RUN`."""

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import click

from mlflow_amlstore.cli.interrupt import ends_on_interrupt
from mlflow_amlstore.cli.output import duration_text, one_line, print_rows, text
from mlflow_amlstore.cli.run_fields import complete_run, find_run, named_run, outcome
from mlflow_amlstore.cli.workspace_option import with_workspace
from mlflow_amlstore.core import Run, Workspace
from mlflow_amlstore.core.growing_logs import GrowingLogs
from mlflow_amlstore.core.sparkline import levels_for, sparkline_of
from mlflow_amlstore.records.status import ENDED, WAITING
from mlflow_amlstore.records.types import RunRecord, RunStatus

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_LOOKED_EVERY_S = 0.2
_SHARE_OF_TIME = 0.2  # that looking may take, however long the run's series are
_MOST_LOG_BYTES = 32 * 1024  # of a line, and of all that is shown of a log
_MOST_LOG_LINES = 15
_MOST_METRICS = 12
_DRAWN_WIDTH = 40
_BETWEEN_COLUMNS = 2
_LINES_BESIDES = 6  # what stands above metrics and log, and between them


@click.command("watch")
@with_workspace
@click.argument("run", metavar="RUN", shell_complete=complete_run)
def command(workspace: Workspace, run: str) -> None:
    """Watch a run until it ends: its status, its metrics drawn, the last lines of its log.

    RUN is its id, or as much of its beginning as is unique. Ctrl+C leaves the run alone. In a pipe, each status and
    each line of the log is a line, and the metrics come at the end.
    """
    found = workspace.get_run(find_run(workspace.records, run).info.run_id)
    with ends_on_interrupt():
        if _redraws():
            _watch_in_place(workspace, found)
        else:
            _watch_in_lines(workspace, found)
    record = workspace.records.runs.get(found.id)
    if record.info.error is not None:
        click.echo(outcome(record), err=True)


def _redraws() -> bool:
    if not sys.stdout.isatty():
        return False
    from rich.console import Console  # slow to import, and not needed in a pipe

    return not Console().is_dumb_terminal


class _Seen(NamedTuple):
    """What a look at a run has found. `drawn` has a line for each metric that is shown, `log` the last lines."""

    record: RunRecord
    position: int | None
    drawn: dict[str, str]
    log_path: str
    log: list[str]

    @property
    def has_ended(self) -> bool:
        return self.record.info.status in ENDED


def _watch_in_place(workspace: Workspace, run: Run) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with Live(console=console, auto_refresh=False, vertical_overflow="crop", redirect_stdout=False) as live:
        for seen in _looks(workspace, run):
            live.update(_view(seen, run.experiment.name, console), refresh=True)


def _looks(workspace: Workspace, run: Run) -> Iterator[_Seen]:
    """Look at a run until it has ended."""
    logs = GrowingLogs(run)
    seen: _Seen | None = None
    while seen is None or not seen.has_ended:
        began = time.monotonic()
        seen = _look(workspace, run, logs, seen)
        yield seen
        time.sleep(0 if seen.has_ended else max(_LOOKED_EVERY_S, (time.monotonic() - began) / _SHARE_OF_TIME))


def _look(workspace: Workspace, run: Run, logs: GrowingLogs, before: _Seen | None) -> _Seen:
    run.get_status()  # which notices that the run's runner was killed
    record = workspace.records.runs.whole(run.id)
    names = [point.name for point in record.metrics[:_MOST_METRICS]]
    if before is not None and before.record.metrics == record.metrics:
        drawn = before.drawn
    else:
        levels = levels_for(sys.stdout.encoding)
        curves = workspace.records.metrics.curves_of_run(run.id, names, columns=_DRAWN_WIDTH) if names else []
        drawn = {each.name: sparkline_of(each.curve, _DRAWN_WIDTH, levels) for each in curves}
    queue = workspace.records.runs.queue() if record.info.status in WAITING else []
    position = next((entry.position for entry in queue if entry.info.run_id == run.id), None)
    paths = logs.paths()
    lines = shown_lines(logs.end_of(paths[-1], _MOST_LOG_BYTES)) if paths else []
    return _Seen(record, position, drawn, paths[-1] if paths else "", lines)


def _view(seen: _Seen, experiment: str, console: "Console") -> "RenderableType":
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def line(words: str, style: str = "") -> Text:
        return Text(words, style=style, no_wrap=True, overflow="ellipsis")  # Text has no markup in it

    parts: list[RenderableType] = [
        line(f"{named_run(seen.record)}, experiment {one_line(experiment)}", "bold"),
        line(_status_text(seen.record, seen.position)),
    ]
    available = console.height - _LINES_BESIDES
    metrics = seen.record.metrics[: max(1, min(_MOST_METRICS, available // 2))]
    if metrics:
        rows = [(one_line(point.name), text(point.value), seen.drawn.get(point.name, "")) for point in metrics]
        # Values are whole: on a narrow terminal names and drawings are cut.
        values, names = max(len(value) for _, value, _ in rows), max(len(name) for name, _, _ in rows)
        left = max(2, console.width - values - 2 * _BETWEEN_COLUMNS)
        names = min(names, max(left // 2, left - _DRAWN_WIDTH))
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, _BETWEEN_COLUMNS, 0, 0))
        for width in (names, values, left - names):
            table.add_column(no_wrap=True, overflow="ellipsis", max_width=width)
        for row in rows:
            table.add_row(*map(Text, row))
        parts += [line(""), table]
        if len(seen.record.metrics) > len(metrics):
            parts.append(line(f"{len(seen.record.metrics) - len(metrics)} more metrics", "dim"))
    if seen.log:
        shown = max(1, min(_MOST_LOG_LINES, available - len(metrics)))
        parts += [line(""), line(one_line(seen.log_path), "dim"), *map(line, seen.log[-shown:])]
    return Group(*parts)


def _status_text(record: RunRecord, position: int | None) -> str:
    """A run's status and for how long: since it started, or else since it was submitted."""
    info = record.info
    duration = duration_text(info.start_ms or info.created_ms, info.end_ms or time.time_ns() // 1_000_000)
    if info.status in ENDED:
        return f"{info.status.value} after {duration}"
    return f"{info.status.value} for {duration}{f', position {position} in the queue' if position else ''}"


def _watch_in_lines(workspace: Workspace, run: Run) -> None:
    logs = GrowingLogs(run)
    begun: dict[str, bytes] = {}  # the last line of each log, as far as it has come
    status = ""
    while True:
        now = run.get_status()  # asked first: nothing is written after the end
        if now != status:
            status = now
            click.echo(f"Status: {status}")
        for path, chunk in logs.new():
            *lines, rest = (begun.get(path, b"") + chunk).split(b"\n")
            begun[path] = rest[-_MOST_LOG_BYTES:]
            for each in lines:
                click.echo(_shown_line(each))
        if RunStatus(status) in ENDED:
            break
        time.sleep(_LOOKED_EVERY_S)
    for rest in filter(None, begun.values()):
        click.echo(_shown_line(rest))
    metrics = workspace.records.runs.whole(run.id).metrics
    if metrics:
        print_rows(["metric", "latest", "step"], [(point.name, point.value, point.step) for point in metrics])


def shown_lines(end: bytes) -> list[str]:
    """The lines of a log's end as a person sees them."""
    return [_shown_line(line) for line in end.removesuffix(b"\n").split(b"\n")] if end else []


def _shown_line(line: bytes) -> str:
    """A line of a log in its latest state, as a progress bar's is after its last `\\r`; codes in it shown as text."""
    latest = next((part for part in reversed(line.split(b"\r")) if part), b"")
    return one_line(latest[-_MOST_LOG_BYTES:].decode(errors="replace"))
