"""Azure ML's SDK and ours do the same in two workspaces; each reads what the other wrote, and both read the same.

One script, `sdk_script.py`, has every logging call; it runs with `azureml.core` and with `mlflow_amlstore.core`. A
third workspace is written to in version 1 of the SDK's metrics.
"""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest
from clients import Client, SdkPlace
from comparison import Difference, check, differences, items
from mlflow import MlflowClient

SDK, OWN, SDK_V1 = "azureml", "mlflow_amlstore", "azureml, metrics of version 1"
VERSION_1 = {"AZUREML_METRICS_V2": ""}

# What ours does otherwise than the SDK, and why: patterns of paths in the compared documents. One that no longer
# matches any is to be taken out.
KNOWN = {
    "records/runs/[^/]*/[^/]*/info/user_id": "the SDK leaves it to the service to know its user; ours says who it is",
    "records/runs/sdk/(batch|fold) ./(info/run_name|data/tags/3/value)": "a name that nobody gave is made up",
    "records/runs/sdk/(grand)?child [^/]*/(info/run_name|data/tags/2/value)": "the SDK puts the parent's name first",
    "records/runs/sdk/values/(data/metrics|histories/numpy int)": "the SDK logs a np.int64 as the text np.int64(7)",
    "read/runs/(batch|fold) ./display name": "a name that nobody gave is made up",
    "read/runs/(grand)?child [^/]*/display name": "the SDK puts the parent's name before it",
    "read/runs/failed without a word/details/error": "the SDK sends an error without a text",
    "read/runs/raised/details/error/error/(code|message)": "ours keeps the exception's class as the code",
    "read/runs/values/metrics/numpy int": "the SDK logs a np.int64 as the text np.int64(7)",
    "version 1/read/runs/(batch|fold) ./display name": "a name that nobody gave is made up",
    "version 1/records/runs/sdk/(batch|fold) ./(info/run_name|data/tags/3/value)": "as above",
    "version 1/records/runs/sdk/values/.*": "version 1 has no steps",
}


class Done(NamedTuple):
    """What came of it: the records as MLflow's REST API has them, what was told, and readings by reader and writer."""

    records: dict[str, Any]
    told: dict[str, Any]
    readings: dict[tuple[str, str], Any]


@pytest.fixture(scope="module")
def done(sdk_client: Client, own_client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    clients = {SDK: sdk_client, OWN: own_client}
    with ExitStack() as stop:
        places = {name: stop.enter_context(SdkPlace(tmp_path_factory.mktemp("place"))) for name in (SDK, OWN, SDK_V1)}

        def start(client: str, command: str, name: str, **more: str) -> Any:
            arguments = (client, command, str(tmp_path_factory.mktemp("sdk")))
            return clients[client].start("sdk_script.py", *arguments, **places[name].for_sdk(), **more)

        writing = {
            SDK: start(SDK, "write", SDK),
            OWN: start(OWN, "write", OWN),
            SDK_V1: start(SDK, "write", SDK_V1, **VERSION_1),
        }
        told = {name: clients[name.partition(",")[0]].result(process) for name, process in writing.items()}
        readings = {}
        for name in places:
            reading = {reader: start(reader, "read", name) for reader in clients}
            readings |= {(reader, name): clients[reader].result(process) for reader, process in reading.items()}
        readings[SDK_V1, SDK_V1] = sdk_client.result(start(SDK, "read", SDK_V1, **VERSION_1))
        records = {
            name: own_client.run("workspace_document.py", place.url, str(place.ca), MLFLOW_TRACKING_TOKEN=place.token)
            for name, place in places.items()
        }
        yield Done(
            {name: _alike(document) for name, document in records.items()},
            told,
            {key: _alike(document) for key, document in readings.items()},
        )


def test_both_leave_the_same_records(done: Done) -> None:
    check(list(differences(done.records[SDK], done.records[OWN], "records")), "records", KNOWN)

    real = done.records[SDK]
    counts = {part: (len(content), items(content)) for part, content in real.items()}
    points = sum(len(history) for run in real["runs"].values() for history in run["histories"].values())
    files = sum(len(thing.get("files", ())) for part in real.values() for thing in part.values())
    print(f"\ncompared (things, values): {counts}; points of metrics: {points}; files by SHA-256: {files}")
    assert (counts["runs"][0], counts["versions"][0]) == (25, 5)
    assert points > 20


def test_both_are_told_the_same(done: Done) -> None:
    assert done.told[SDK] == done.told[OWN] == done.told[SDK_V1]

    print(f"\ncompared answers: {items(done.told[SDK])}")


@pytest.mark.parametrize("writer", [SDK, OWN, SDK_V1])
def test_both_read_the_same(done: Done, writer: str) -> None:
    """Whoever wrote it, and in whichever version."""
    real = done.readings[SDK, writer]
    found: list[Difference] = []
    readers = [reader for reader, of in done.readings if of == writer]
    for reader in readers:
        found += differences(real, done.readings[reader, writer], f"readings/{reader}")

    assert found == []

    counts = {part: items(content) for part, content in real.items()}
    print(f"\n{writer}'s, {len(readers)} readings, values of each: {counts}, {sum(counts.values())} in all")
    assert len(real["runs"]) == 24


def test_each_reads_of_the_other_what_it_reads_of_itself(done: Done) -> None:
    found = list(differences(done.readings[SDK, SDK], done.readings[SDK, OWN], "read"))

    check(found, "read", KNOWN)

    print(f"\nvalues compared: {items(done.readings[SDK, SDK])}, known to differ: {len(found)}")


def test_version_1_of_the_metrics_says_what_version_2_does_but_for_steps(done: Done) -> None:
    found = [
        *differences(done.readings[SDK, SDK], done.readings[SDK, SDK_V1], "version 1/read"),
        *differences(done.records[SDK], done.records[SDK_V1], "version 1/records"),
    ]

    check(found, "version 1", KNOWN)

    compared = items(done.readings[SDK, SDK]) + items(done.records[SDK])
    print(f"\nvalues compared: {compared}, known to differ: {len(found)}")


def test_models_of_whole_runs_are_downloaded_to_the_same_places(
    sdk_client: Client, own_client: Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with SdkPlace(tmp_path_factory.mktemp("place")) as place:
        _register_files_of_a_run(place)
        found = {
            name: client.result(
                client.start(
                    "sdk_script.py", name, "find models", str(tmp_path_factory.mktemp("sdk")), **place.for_sdk()
                )
            )
            for name, client in ((SDK, sdk_client), (OWN, own_client))
        }

    assert found[OWN] == found[SDK]
    assert sorted(found[SDK]["whole run"]["files"]) == ["model/MLmodel", "model/model.pkl", "note.txt"]


def test_the_sdk_prints_every_refusal(sdk_client: Client, tmp_path_factory: pytest.TempPathFactory) -> None:
    with SdkPlace(tmp_path_factory.mktemp("place")) as place:
        folder = str(tmp_path_factory.mktemp("sdk"))
        said = sdk_client.result(sdk_client.start("sdk_script.py", SDK, "print errors", folder, **place.for_sdk()))

    assert all(said.values()), said
    assert "8000 characters" in said["tag too long"]
    assert "kept" in said["property of another value"]


def _register_files_of_a_run(place: SdkPlace) -> None:
    """By MLflow, as MLflow 3 registers a logged model: with all files of a container as the source."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(place.ca))
        patch.setenv("SSL_CERT_FILE", str(place.ca))
        client = MlflowClient(place.tracking_uri, place.tracking_uri)
        run = client.create_run("0")
        for path in ("note.txt", "model/MLmodel", "model/model.pkl"):
            folder, _, name = path.rpartition("/")
            client.log_text(run.info.run_id, path, f"{folder}/{name}".strip("/"))
        for name, path in (("whole run", ""), ("folder of a run", "/model"), ("file of a run", "/model/model.pkl")):
            client.create_registered_model(name)
            client.create_model_version(name, f"{run.info.artifact_uri}{path}", run.info.run_id)


def _alike(document: Any) -> Any:
    """A document without ids, and without the times that both put into names of files."""
    text = json.dumps(document, ensure_ascii=False)
    text = re.sub(r"(\w)_\d{10,16}(\.png)?(\.json)?", r"\1\2", text)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", text)
    return json.loads(re.sub("[0-9a-f]{32}/", "<upload>/", text))
