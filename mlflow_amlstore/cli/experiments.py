"""`amlstore experiments`."""

import click

from mlflow_amlstore.cli.output import print_json, print_rows, time_text
from mlflow_amlstore.cli.workspace_option import with_records
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.types import View


@click.command("experiments")
@with_records
@click.option("--filter", "filter_string", help="MLflow's search grammar, as in \"name LIKE 'sweep%'\".")
@click.option("--order-by", multiple=True, help="As in 'name ASC'; may be given again.")
@click.option("--deleted", is_flag=True, help="The deleted ones instead of the active.")
@click.option("--limit", type=click.IntRange(1, 50_000), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    records: CommonStore,
    filter_string: str | None,
    order_by: tuple[str, ...],
    deleted: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List experiments, the newest first."""
    page = records.experiments.search(
        view=View.DELETED if deleted else View.ACTIVE,
        filter=grammars.EXPERIMENTS.parse(filter_string),
        order_by=order_by,
        max_results=limit,
    )
    if as_json:
        print_json(
            [
                {
                    "experiment_id": experiment.experiment_id,
                    "name": experiment.name,
                    "created_ms": experiment.created_ms,
                    "updated_ms": experiment.updated_ms,
                    "tags": experiment.tags,
                }
                for experiment in page.items
            ]
        )
        return
    print_rows(
        ["id", "name", "created", "updated", "tags"],
        [
            (
                experiment.experiment_id,
                experiment.name,
                time_text(experiment.created_ms),
                time_text(experiment.updated_ms),
                ", ".join(f"{name}={value}" for name, value in experiment.tags.items()),
            )
            for experiment in page.items
        ],
        shorten={"tags": 12, "name": 16},
    )
    if page.next_token:
        click.echo(f"There are more than {limit}; see --limit and --filter.", err=True)
