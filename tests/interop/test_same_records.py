"""Microsoft's client and ours do the same in two workspaces; both workspaces are then the same, and each client reads
what the other wrote.

Microsoft's client is let in by a token in its environment, as in a run's process, when it writes, and by an Azure login
in a cloud that is this service when it reads; ours by the same token, and by a key.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from clients import Client, Place
from comparison import check, differences, items

# What differs, and why: patterns of paths in the compared documents. One that no longer matches any is to be taken out.
KNOWN = {
    "records/(logged models/net|versions/by log_model/1)/files/(MLmodel|[a-z_]+\\.(txt|yaml))": (
        "MLflow writes ids, times, and releases of its environment into these"
    ),
}


class Done(NamedTuple):
    """What came of it all: each a document, or documents by what they are of."""

    records: dict[str, Any]
    told: dict[str, Any]
    readings: dict[str, Any]
    real: str
    own: str


@pytest.fixture(scope="module")
def done(
    real_client: Client, own_client: Client, start_place: Callable[..., Place], tmp_path_factory: pytest.TempPathFactory
) -> Done:
    places: dict[Client, Place] = {client: start_place() for client in (real_client, own_client)}
    folder: Path = tmp_path_factory.mktemp("local")

    def argument(name: str) -> str:
        return str(folder / name)

    writing = {
        client: client.start("script.py", "write", argument(f"{client}-writes"), **place.with_token())
        for client, place in places.items()
    }
    told = {client.name: client.result(process) for client, process in writing.items()}
    readings, records = {}, {}
    for writer, place in places.items():
        logins = {real_client: place.with_azure_login(), own_client: place.with_key()}
        reading = {
            client: client.start("script.py", "read", argument(f"{client}-reads-{writer}"), **login)
            for client, login in logins.items()
        }
        for client, process in reading.items():
            readings[f"{client} of {writer}"] = client.result(process)
        records[writer.name] = own_client.run(
            "workspace_document.py", place.url, str(place.ca), MLFLOW_TRACKING_TOKEN=place.token
        )
    return Done(records, told, readings, real_client.name, own_client.name)


def test_both_wrote_the_same_records(done: Done) -> None:
    real, own = done.records[done.real], done.records[done.own]

    check(list(differences(real, own, "records")), "records", KNOWN)

    counts = {part: (len(content), items(content)) for part, content in real.items()}
    points = sum(len(history) for run in real["runs"].values() for history in run["histories"].values())
    files = sum(len(thing.get("files", ())) for part in real.values() for thing in part.values())
    print(f"\ncompared (things, values): {counts}; points of metrics: {points}; files by SHA-256: {files}")
    assert counts["runs"][0] > 12
    assert (points > 900, files > 560) == (True, True)


def test_both_were_told_the_same(done: Done) -> None:
    check(list(differences(done.told[done.real], done.told[done.own], "told")), "told", KNOWN)

    print(f"\ncompared answers to a client: {items(done.told[done.real])}")


def test_each_reads_what_the_other_wrote(done: Done) -> None:
    """All four readings are the same: of both workspaces by both clients."""
    reference_name = f"{done.real} of {done.real}"
    reference = done.readings[reference_name]
    found = []
    for name, reading in done.readings.items():
        if name != reference_name:
            found += differences(reference, reading, f"readings/{name}")

    check(found, "readings", KNOWN)

    counts = {part: items(content) for part, content in reference.items()}
    print(f"\ncompared values of each of 4 readings: {counts}, {sum(counts.values()) * len(done.readings)} in all")
    versions = reference["models"]["from a folder"]["versions"]
    assert versions["1"]["predicted"] == [2, 3, 4]
