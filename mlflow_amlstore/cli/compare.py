"""`amlstore compare RUN RUN…`."""

from collections.abc import Mapping, Sequence

import click

from mlflow_amlstore.cli.output import print_json, print_rows
from mlflow_amlstore.cli.run_fields import complete_run, find_run
from mlflow_amlstore.cli.workspace_option import with_records
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.types import RunRecord

_ID_LENGTH = 8


@click.command("compare")
@with_records
@click.argument("runs", metavar="RUN RUN...", nargs=-1, required=True, shell_complete=complete_run)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: `{name: [value of each run]}`.")
def command(records: CommonStore, runs: tuple[str, ...], as_json: bool) -> None:
    """Show side by side which params and latest metrics differ between runs.

    RUN is an id, or as much of its beginning as is unique.
    """
    if len(runs) < 2:
        raise click.UsageError("give at least two runs")
    found = [find_run(records, given) for given in runs]
    params = _differing("params", [run.params for run in found])
    metrics = _differing("metrics", [{point.name: point.value for point in run.metrics} for run in found])
    if as_json:
        print_json({"run_id": [run.info.run_id for run in found], **params, **metrics})
        return
    facts: dict[str, list[object]] = {
        "name": [run.info.name for run in found],
        "status": [run.info.status.value for run in found],
    }
    rows = [(name, *values) for name, values in {**facts, **params, **metrics}.items()]
    print_rows(["", *_headings(found)], rows)
    if not params and not metrics:
        click.echo("No param and no metric differs.", err=True)


def _headings(runs: Sequence[RunRecord]) -> list[str]:
    """The beginnings of the runs' ids, or all of each where two begin alike."""
    ids = [run.info.run_id for run in runs]
    short = [run_id[:_ID_LENGTH] for run_id in ids]
    return short if len(set(short)) == len(set(ids)) else ids


def _differing(kind: str, values_of_runs: Sequence[Mapping[str, object]]) -> dict[str, list[object]]:
    """`{KIND.NAME: [value of each run]}` of what isn't the same in all, None where a run lacks it."""
    names = dict.fromkeys(name for values in values_of_runs for name in values)
    rows = {f"{kind}.{name}": [values.get(name) for values in values_of_runs] for name in names}
    return {name: row for name, row in rows.items() if len(set(map(repr, row))) > 1}  # repr: NaN isn't equal to NaN
