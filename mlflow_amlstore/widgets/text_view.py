"""A run as text, for a terminal or a script's output."""

import sys
import time
from collections.abc import Sequence
from typing import Any

from mlflow_amlstore.core import Run
from mlflow_amlstore.core.sparkline import levels_for, sparkline_of
from mlflow_amlstore.records.text_direction import plain
from mlflow_amlstore.records.types import RunRecord
from mlflow_amlstore.widgets.child_table import ChildTable, best_of
from mlflow_amlstore.widgets.log_tail import LogTail

_MOST_METRICS = 30
_MOST_CHILDREN = 20
_LOG_LINES = 10
_DRAWN_WIDTH = 40


def text_of(run: Run) -> str:
    """The run's status, its metrics drawn, its children, and the last lines of its log."""
    run.flush()  # what this process has logged
    run.get_status()  # which notices that the run's runner was killed
    record = run._records.runs.whole(run.id)
    children = ChildTable(run).read(record)
    log = LogTail(run).last_lines(_LOG_LINES)
    parts = [_facts(run, record), _metrics(run, record)]
    if children is not None:
        parts.append(_children(children))
    parts.append("\n".join(f"  {_line(line)}" for line in log))
    return "\n\n".join(filter(None, parts)) + "\n"


def _facts(run: Run, record: RunRecord) -> str:
    info = record.info
    facts = [("Run", f"{info.name} ({info.run_id})"), ("Experiment", run.experiment.name)]
    facts.append(("Status", f"{info.status.value}{_duration(info.start_ms, info.end_ms)}"))
    if info.error is not None:
        facts.append(("Error", f"{info.error.code}: {info.error.message}"))
    facts.append(("Details", run.get_portal_url()))
    return _table([], facts)


def _metrics(run: Run, record: RunRecord) -> str:
    names = [point.name for point in record.metrics[:_MOST_METRICS]]
    if not names:
        return ""
    levels = levels_for(sys.stdout.encoding)
    drawn = {}
    for each in run._records.metrics.curves_of_run(run.id, names, columns=_DRAWN_WIDTH):
        drawn[each.name] = sparkline_of(each.curve, _DRAWN_WIDTH, levels) if each.curve.points_in_all > 1 else ""
    rows = [(point.name, f"{point.value:.6g}", drawn.get(point.name, "")) for point in record.metrics[:_MOST_METRICS]]
    more = len(record.metrics) - len(rows)
    return _table(["Metric", "Latest", ""], rows) + (f"\nand {more} more" if more else "")


def _children(table: dict[str, Any]) -> str:
    best = best_of(table)
    rows = []
    for row in table["rows"][:_MOST_CHILDREN]:
        params = [row["params"].get(name, "") for name in table["params"]]
        values = [row["metrics"].get(name, "") for name in table["metrics"]]
        shown = [f"{value:.6g}" if isinstance(value, float) else value for value in values]
        rows.append([row["name"], row["status"], *params, *shown, "best" if row["run_id"] == best else ""])
    more = len(table["rows"]) - len(rows)
    and_more = f"\nand {'more than ' if table['is_cut'] else ''}{more} more" if more else ""
    return _table(["Child run", "Status", *table["params"], *table["metrics"], ""], rows) + and_more


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [list(heads)] if heads else []
    lines += [[_line(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _duration(start_ms: int | None, end_ms: int | None) -> str:
    if start_ms is None:
        return ""
    minutes, seconds = divmod(((end_ms or time.time_ns() // 1_000_000) - start_ms) // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    shown = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    return f", {shown}" if end_ms is not None else f", since {shown}"


def _line(text: str) -> str:
    """A text on one line, without what would command the terminal."""
    return "".join(character if character.isprintable() else " " for character in plain(text))
