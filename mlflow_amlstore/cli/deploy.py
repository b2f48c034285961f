"""`amlstore deploy MODEL[:VERSION]`."""

import time
from pathlib import Path
from typing import Any

import click

from mlflow_amlstore.cli.workspace_option import with_records
from mlflow_amlstore.core.snapshots import store_snapshot
from mlflow_amlstore.errors import InvalidState, InvalidValue, NotFound
from mlflow_amlstore.hosting.deploying import deployment_of, endpoint_name_for
from mlflow_amlstore.hosting.looking import events_until_settled
from mlflow_amlstore.hosting.starting import start
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.types import (
    LOCAL_TARGET,
    EndpointRecord,
    EndpointSpec,
    EndpointState,
    ModelFilter,
    ModelVersionRecord,
)

_LOOKED_EVERY_S = 0.5


@click.command("deploy")
@with_records
@click.argument("model", metavar="MODEL[:VERSION]")
@click.option("--name", help="The endpoint's name. Default: the model's, in small letters.")
@click.option("--detach", is_flag=True, help="Return once it is Healthy; it goes on by itself.")
@click.option("--compute", metavar="NAME", help="The pool of agents that runs it, of a service.")
@click.option("--script", metavar="FILE", help="A scoring script with init and run, in the folder of --source.")
@click.option(
    "--source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The scoring script's folder, which is copied. Default: the working directory.",
)
@click.option("--env", "environment", metavar="NAME[:VERSION]", help="A registered environment.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that answer.")
@click.option("--cpu", type=float, help="Cores that it may use.")
@click.option("--memory-gb", type=float, help="Memory that each of its processes may use.")
@click.option("--batch", type=click.IntRange(1), default=1, help="Predict so many rows of several requests together.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port that it answers on. Default: any.")
@click.option(
    "--idle-after", type=click.FloatRange(1), metavar="SECONDS", help="Stop it when nobody asks; a request starts it."
)
@click.option("--no-auth", is_flag=True, help="Answer without a key whoever asks from this machine.")
def command(
    records: CommonStore,
    model: str,
    name: str | None,
    detach: bool,
    compute: str | None,
    script: str | None,
    source: Path | None,
    environment: str | None,
    idle_after: float | None,
    no_auth: bool,
    port: int,
    batch: int,
    **limits: Any,
) -> None:
    """Have a registered model answer over HTTP: as a new endpoint, or as the next deployment of one.

    It runs in front of you until Ctrl+C, which deletes the endpoint; with --detach, or where the endpoint was there
    before, it goes on by itself until `amlstore endpoints delete`.
    """
    version = _version(records, model)
    called = name or endpoint_name_for(version.name)
    given: dict[str, Any] = {**limits, "max_batch_size": batch}
    if script is not None:
        folder = source or Path.cwd()
        if not (folder / script).is_file():
            raise InvalidValue("--script", script, f"is no file of {folder}")
        given |= {"entry_script": script, "snapshot_id": store_snapshot(records, folder)}
    if environment is not None:
        wanted, _, of_version = environment.partition(":")
        given["environment"] = records.environments.get(wanted, of_version or None).definition
    deployment = deployment_of(records, [version], **given)
    known = _known(records, called)
    if known is None:
        settings = {"port": port} if port else {}
        spec = EndpointSpec(
            called, "AKS" if compute else "LOCAL", compute or LOCAL_TARGET, not no_auth, idle_after, settings=settings
        )
        record = records.endpoints.create(spec, deployment)
    else:
        if no_auth and known.spec.auth:
            known = records.endpoints.update(called, auth=False)
        record = records.endpoints.deploy(called, deployment)
    start(records, called)
    is_in_front = known is None and not detach
    try:
        record = _settled(records, record)
        _say_where(records, record, version)
        if is_in_front:
            click.echo("Ctrl+C deletes the endpoint.", err=True)
            _stay(records, called)
    except KeyboardInterrupt:
        if not is_in_front:
            raise
        records.endpoints.delete(called)
        click.echo(f"\nDeleted endpoint {called}", err=True)


def _settled(records: CommonStore, record: EndpointRecord) -> EndpointRecord:
    """Print what happens until the newest deployment serves or has Failed. Raises InvalidState where it has."""
    number = record.newest.number
    for event in events_until_settled(records, record.name, number):
        click.echo(event.text, err=True)
    record = records.endpoints.get(record.name)
    deployment = record.deployment(number)
    if deployment.state is EndpointState.FAILED and deployment.error is not None:
        error = deployment.error
        if len(record.deployments) == 1:
            records.endpoints.delete(record.name)
        raise InvalidState(f"Deployment {number} of {record.name} has failed: {error.code}\n{error.details}".rstrip())
    return record


def _say_where(records: CommonStore, record: EndpointRecord, version: ModelVersionRecord) -> None:
    assert record.host is not None
    click.echo(f"{version.name}:{version.version} answers at {record.host.address}/score")
    if record.spec.auth:
        click.echo(f"`amlstore endpoints keys {record.name}` prints its keys", err=True)
    click.echo(f"`amlstore endpoints test {record.name}` asks it for a prediction", err=True)


def _stay(records: CommonStore, name: str) -> None:
    """Print what happens until the endpoint is deleted, here or elsewhere."""
    last = max((event.event_id for event in records.endpoints.events(name)), default=0)
    while True:
        time.sleep(_LOOKED_EVERY_S)
        try:
            events = records.endpoints.events(name, after=last)
        except NotFound:
            click.echo(f"Endpoint {name} was deleted", err=True)
            return
        for event in events:
            last = event.event_id
            click.echo(event.text, err=True)


def _version(records: CommonStore, model: str) -> ModelVersionRecord:
    """The version that is named, or the latest."""
    name, _, number = model.rpartition(":")
    if name and number.isdecimal():
        return records.models.get_version(name, int(number))
    found = records.models.find_versions(ModelFilter(name=model, latest_only=True)).items
    if not found:
        raise NotFound("model", model, "`amlstore models` lists those that there are")
    return found[0]


def _known(records: CommonStore, name: str) -> EndpointRecord | None:
    return next((each for each in records.endpoints.list() if each.name == name), None)
