"""`amlstore keys create|list|revoke`."""

from pathlib import Path

import click

from mlflow_amlstore.cli.output import print_json, print_rows, time_text
from mlflow_amlstore.cli.workspace_option import open_chosen, workspace_option
from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.records.types import KeyRecord
from mlflow_amlstore.service.keys import ROLES, new_key


@click.group("keys")
def command() -> None:
    """Make, list and revoke the keys of a service, in the workspace's folder.

    A service that runs takes them up within a second.
    """


@command.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="contributor", show_default=True, help="What it may do.")
@workspace_option
def create(name: str, role: str, workspace: Path | None) -> None:
    """Make a key called NAME, and print it: this once, since only its hash is kept.

    A reader reads, a contributor logs too, an owner sees to the keys as well.
    """
    _, text = new_key(open_chosen(workspace).records, name, role)
    click.echo(text)


@command.command("list")
@workspace_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_keys(workspace: Path | None, as_json: bool) -> None:
    """List the keys, revoked ones too, the oldest first."""
    keys = open_chosen(workspace).records.keys.list_keys()
    if as_json:
        print_json([_facts(key) for key in keys])
        return
    print_rows(
        ["key_id", "name", "role", "created", "revoked"],
        [(key.key_id, key.name, key.role, time_text(key.created_ms), time_text(key.revoked_ms)) for key in keys],
        shorten={"created": 11, "revoked": 11},
    )


@command.command("revoke")
@click.argument("key", metavar="KEY_ID_OR_NAME")
@workspace_option
def revoke(key: str, workspace: Path | None) -> None:
    """Revoke a key for good: its tokens and tracking URIs are refused within a second."""
    keys = open_chosen(workspace).records.keys
    for known in keys.list_keys():
        if known.key_id == key or (known.name == key and known.revoked_ms is None):
            keys.revoke(known.key_id)
            click.echo(f"Revoked key {known.key_id} ({known.name})")
            return
    raise NotFound("key", key, "`amlstore keys list` lists them")


def _facts(key: KeyRecord) -> dict[str, object]:
    return {
        "key_id": key.key_id,
        "name": key.name,
        "role": key.role,
        "created_ms": key.created_ms,
        "revoked_ms": key.revoked_ms,
    }
