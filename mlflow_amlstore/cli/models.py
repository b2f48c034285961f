"""`amlstore models`."""

import click

from mlflow_amlstore.cli.output import print_json, print_rows, time_text
from mlflow_amlstore.cli.workspace_option import with_records
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.types import FRAMEWORK_PROPERTY, ModelFilter, ModelVersionRecord


@click.command("models")
@with_records
@click.option("--name", help="The versions of this model alone.")
@click.option("--latest", is_flag=True, help="The latest version of each model alone.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(records: CommonStore, name: str | None, latest: bool, as_json: bool) -> None:
    """List the versions of registered models, and the endpoints that they answer at."""
    versions = records.models.find_versions(ModelFilter(name=name, latest_only=latest)).items
    where = _endpoints_by_model(records)
    facts = [_facts(version, where) for version in versions]
    if as_json:
        print_json(facts)
        return
    columns = ["model", "framework", "run", "created", "endpoints"]
    rows = [
        (
            each["model"],
            each["framework"],
            each["run_id"],
            time_text(version.created_ms),
            ", ".join(where.get(str(each["model"]), [])),
        )
        for each, version in zip(facts, versions, strict=True)
    ]
    print_rows(columns, rows, shorten={"run": 12, "created": 11}, drop=["run"])


def _facts(version: ModelVersionRecord, where: dict[str, list[str]]) -> dict[str, object]:
    model = f"{version.name}:{version.version}"
    return {
        "model": model,
        "framework": version.properties.get(FRAMEWORK_PROPERTY),
        "run_id": version.run_id,
        "created_ms": version.created_ms,
        "tags": version.tags,
        "endpoints": where.get(model, []),
    }


def _endpoints_by_model(records: CommonStore) -> dict[str, list[str]]:
    """The names of the endpoints where each model answers, or is to."""
    found: dict[str, list[str]] = {}
    for endpoint in records.endpoints.list():
        for number in {*endpoint.wanted, *endpoint.serving}:
            for model in endpoint.deployment(number).spec.models:
                found.setdefault(model, []).append(endpoint.name)
    return found
