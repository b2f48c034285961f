"""`amlstore runs`."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial

import click

from mlflow_amlstore.cli.output import duration_text, print_json, print_rows, time_text
from mlflow_amlstore.cli.run_fields import all_experiments, run_json
from mlflow_amlstore.cli.workspace_option import with_records
from mlflow_amlstore.errors import InvalidValue, NotFound
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.types import Page, RunRecord, View

_COLUMNS = ("run_id", "name", "experiment", "status", "start", "duration")
_ALL_COLUMNS = f"{', '.join(_COLUMNS)}, metrics.NAME, params.NAME, tags.NAME"
# Nine of an id, because `amlstore show` takes its beginning; eleven of a time, because that is the date.
_SHORTEN = {"run_id": 9, "start": 11, "name": 12, "experiment": 8}
_DROPPED = ["experiment", "duration", "start"]  # where the terminal is narrow, before the metrics
_MAX_METRICS = 4


@click.command("runs")
@with_records
@click.option("-e", "--experiment", "names", multiple=True, help="Its name; may be given again. Default: all.")
@click.option(
    "--filter", "filter_string", help="MLflow's grammar, as in \"metrics.loss < 0.1 AND params.lr = '0.01'\"."
)
@click.option("--order-by", multiple=True, help="As in 'metrics.loss ASC'; may be given again. Default: latest first.")
@click.option(
    "--columns",
    help=f"Comma-separated: {_ALL_COLUMNS}. Default: {', '.join(_COLUMNS)} and the first metrics.",
)
@click.option("--deleted", is_flag=True, help="The deleted ones instead of the active.")
@click.option("--limit", type=click.IntRange(1, 50_000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all of each run.")
def command(
    records: CommonStore,
    names: tuple[str, ...],
    filter_string: str | None,
    order_by: tuple[str, ...],
    columns: str | None,
    deleted: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List runs, the latest started first."""
    asked = _columns(columns) if columns else None
    experiments = _experiments(records, names)
    found, is_more = _first(
        limit,
        partial(
            records.runs.search,
            list(experiments),
            filter=grammars.RUNS.parse(filter_string),
            view=View.DELETED if deleted else View.ACTIVE,
            order_by=order_by,
        ),
    )
    if as_json:
        print_json([run_json(run, experiments[run.info.experiment_id]) for run in found])
        return
    chosen = asked or _default_columns(found)
    print_rows(
        chosen,
        [[_cell(run, experiments[run.info.experiment_id], column) for column in chosen] for run in found],
        shorten=_SHORTEN,
        drop=() if asked else _DROPPED + [name for name in reversed(chosen) if "." in name],
    )
    if is_more:
        click.echo(f"There are more than {limit}; see --limit and --filter.", err=True)


def _first(limit: int, search: Callable[..., Page[RunRecord]]) -> tuple[list[RunRecord], bool]:
    """As many runs as are wanted, and whether there are more: a workspace may give fewer at once."""
    page = search(max_results=limit)
    found = list(page.items)
    while page.next_token and len(found) < limit:
        page = search(max_results=limit - len(found), page_token=page.next_token)
        found += page.items
    return found, bool(page.next_token)


def _experiments(records: CommonStore, names: Sequence[str]) -> dict[str, str]:
    """`{experiment id: name}` of the named experiments, or of all."""
    if not names:
        return all_experiments(records)
    chosen = {}
    for name in names:
        experiment = records.experiments.find_by_name(name)
        if experiment is None:
            close = get_close_matches(name, all_experiments(records).values(), 1)
            meant = f"Did you mean {close[0]!r}? " if close else ""
            raise NotFound("experiment", name, f"{meant}`amlstore experiments` lists them")
        chosen[experiment.experiment_id] = name
    return chosen


def _columns(given: str) -> list[str]:
    """The columns that are asked for. Raises InvalidValue for one that no run has."""
    chosen = [column.strip() for column in given.split(",")]
    for column in chosen:
        kind, dot, _ = column.partition(".")
        if column not in _COLUMNS and not (dot and kind in ("metrics", "params", "tags")):
            raise InvalidValue("--columns", column, f"must be one of {_ALL_COLUMNS}")
    return chosen


def _default_columns(runs: Sequence[RunRecord]) -> list[str]:
    metrics = dict.fromkeys(point.name for run in runs for point in run.metrics)
    return [*_COLUMNS, *[f"metrics.{name}" for name in list(metrics)[:_MAX_METRICS]]]


def _cell(run: RunRecord, experiment: str, column: str) -> object:
    info = run.info
    kind, dot, name = column.partition(".")
    if dot and kind == "metrics":
        return next((point.value for point in run.metrics if point.name == name), None)
    if dot and kind in ("params", "tags"):
        return (run.params if kind == "params" else run.tags).get(name)
    cells = {
        "run_id": info.run_id,
        "name": info.name,
        "experiment": experiment,
        "status": info.status.value,
        "start": time_text(info.start_ms),
        "duration": duration_text(info.start_ms, info.end_ms),
    }
    return cells[column]
