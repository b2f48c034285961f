"""`amlstore endpoints [show|logs|keys|test|delete]`."""

import json
import sys
import time
from pathlib import Path

import click
import requests

from mlflow_amlstore.cli.interrupt import ends_on_interrupt
from mlflow_amlstore.cli.output import print_json, print_rows, time_text
from mlflow_amlstore.cli.workspace_option import open_records, url_option, with_records, workspace_option
from mlflow_amlstore.errors import BodyInvalid, InvalidState, NotFound
from mlflow_amlstore.hosting.looking import looked_at
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.locations import endpoint_container
from mlflow_amlstore.records.types import EndpointRecord, EndpointState

_TIMEOUT_S = 90.0
_LOOKED_EVERY_S = 0.25
_KEYS = ("primary", "secondary")


@click.group("endpoints", invoke_without_command=True)
@click.pass_context
@url_option
@workspace_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(context: click.Context, workspace: Path | None, url: str | None, as_json: bool) -> None:
    """List endpoints: models that answer over HTTP. The commands below are about one of them."""
    if context.invoked_subcommand is not None:
        return
    records = open_records(workspace, url)
    found = [looked_at(records, record) for record in records.endpoints.list()]
    if as_json:
        print_json([_facts(record) for record in found])
        return
    rows = [
        (
            record.name,
            record.state.value,
            ", ".join(record.newest.spec.models),
            _traffic(record),
            _scoring_uri(record),
            time_text(record.updated_ms),
        )
        for record in found
    ]
    columns = ["name", "state", "model", "traffic", "scoring_uri", "updated"]
    print_rows(columns, rows, shorten={"updated": 11}, drop=["updated", "traffic"])


@command.command("show")
@with_records
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(records: CommonStore, name: str, as_json: bool) -> None:
    """Show an endpoint whole: its deployments, why one has Failed, and what happened."""
    record = looked_at(records, records.endpoints.get(name))
    events = records.endpoints.events(name)
    if as_json:
        told = [{"at_ms": each.at_ms, "deployment": each.number, "text": each.text} for each in events]
        print_json({**_facts(record), "events": told})
        return
    for field, value in {
        "name": record.name,
        "state": record.state.value,
        "scoring_uri": _scoring_uri(record),
        "key_needed": "yes" if record.spec.auth else "no",
        "compute": record.spec.target or "any pool",
    }.items():
        click.echo(f"{field + ':':14} {value}")
    for deployment in record.deployments:
        percent = record.serving.get(deployment.number, 0)
        models = ", ".join(deployment.spec.models)
        click.echo(f"deployment {deployment.number}: {deployment.state.value}, {percent} % of the requests, {models}")
    if record.error is not None:
        click.echo(f"\n{record.error.code}: {record.error.message}\n{record.error.details}".rstrip())
    click.echo()
    for event in events:
        click.echo(f"{time_text(event.at_ms)}  {event.text}")


@command.command("logs")
@with_records
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl+C, or the endpoint is deleted.")
@click.option("--deployment", type=click.IntRange(1), help="Of this one. Default: the newest.")
def logs(records: CommonStore, name: str, follow: bool, deployment: int | None) -> None:
    """Print what the processes of an endpoint's deployment printed."""
    record = records.endpoints.get(name)
    path = f"logs/{deployment or record.newest.number}.txt"
    position = 0
    with ends_on_interrupt():
        while True:
            try:
                chunk = records.files.read_part(endpoint_container(name), path, position, 1_000_000)
            except NotFound:
                if not follow:
                    raise NotFound("log", path, "Its processes haven't begun yet") from None
                records.endpoints.get(name)  # which raises where it was deleted
                chunk = b""
            position += len(chunk)
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            if not chunk and not follow:
                return
            if not chunk:
                time.sleep(_LOOKED_EVERY_S)


@command.command("keys")
@with_records
@click.argument("name")
@click.option("--new", type=click.Choice([*_KEYS, "both"]), help="Make this one anew; the old one opens no more.")
def keys(records: CommonStore, name: str, new: str | None) -> None:
    """Print an endpoint's two keys."""
    for which in _KEYS:
        if new in (which, "both"):
            records.endpoints.set_key(name, which)
    print_rows(["key", "value"], list(zip(_KEYS, records.endpoints.keys(name), strict=True)))


@command.command("test")
@with_records
@click.argument("name")
@click.argument("data", required=False)
def test(records: CommonStore, name: str, data: str | None) -> None:
    """Ask an endpoint for a prediction of DATA, which is JSON, or `-` for what comes on stdin.

    Without DATA the example of its own description is sent, and shown on stderr.
    """
    record = looked_at(records, records.endpoints.get(name))
    if record.host is None:
        raise InvalidState(f"Endpoint {name} is {record.state.value} and doesn't run yet")
    headers = {"Content-Type": "application/json"}
    if record.spec.auth:
        headers["Authorization"] = f"Bearer {records.endpoints.keys(name)[0]}"
    body = sys.stdin.read() if data == "-" else data
    if body is None:
        body = _example(record, headers)
        click.echo(body, err=True)
    try:
        json.loads(body)
    except ValueError as error:
        raise BodyInvalid(f"DATA must be JSON: {error}") from None
    answer = requests.post(_scoring_uri(record), body.encode(), headers=headers, timeout=_TIMEOUT_S)
    click.echo(answer.text)
    if not answer.ok:
        raise InvalidState(f"Endpoint {name} answered with {answer.status_code}")


@command.command("delete")
@with_records
@click.argument("name")
def delete(records: CommonStore, name: str) -> None:
    """Delete an endpoint: its processes end, and its keys and logs are gone."""
    records.endpoints.delete(name)
    click.echo(f"Deleted endpoint {name}")


def _example(record: EndpointRecord, headers: dict[str, str]) -> str:
    address = _scoring_uri(record).removesuffix("score") + "swagger.json"
    described = requests.get(address, headers=headers, timeout=_TIMEOUT_S)
    described.raise_for_status()
    example = described.json()["definitions"].get("ServiceInput", {}).get("example")
    if example is None:
        raise InvalidState(f"Endpoint {record.name} has no example of what it takes. Give DATA")
    return json.dumps(example)


def _facts(record: EndpointRecord) -> dict[str, object]:
    error = record.error
    return {
        "name": record.name,
        "state": record.state.value,
        "error": None if error is None else {"code": error.code, "message": error.message, "details": error.details},
        "scoring_uri": _scoring_uri(record) or None,
        "auth": record.spec.auth,
        "compute": record.spec.target,
        "description": record.spec.description,
        "tags": record.spec.tags,
        "serving": record.serving,
        "deployments": [
            {
                "number": each.number,
                "state": each.state.value,
                "models": each.spec.models,
                "created_ms": each.created_ms,
            }
            for each in record.deployments
        ],
        "created_ms": record.created_ms,
        "updated_ms": record.updated_ms,
    }


def _scoring_uri(record: EndpointRecord) -> str:
    return "" if record.host is None or not record.host.address else f"{record.host.address}/score"


def _traffic(record: EndpointRecord) -> str:
    if record.state is EndpointState.TRANSITIONING and not record.serving:
        return ""
    return ", ".join(f"{number}: {percent} %" for number, percent in record.serving.items())
