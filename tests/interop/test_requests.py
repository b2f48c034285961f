"""What our client sends for each call of MLflow's, beside what Microsoft's sends: the same, but for what
`known_differences` says.

What Microsoft's sent is kept in `recorded/`, so that ours is compared wherever the tests run. In the environment
`interop` it's recorded once more, and must be what is kept; AMLSTORE_INTEROP_RECORD=1 writes it anew.
"""

import json
import os
import re
from pathlib import Path

import mlflow
import pytest
from clients import Client, RecordedService
from exchange import Calls, differences, normalised
from known_differences import EVERYWHERE, KNOWN
from packaging.version import Version

RECORDED = Path(__file__).parent / "recorded" / "azureml-mlflow-1.62.json"
RECORD_VARIABLE = "AMLSTORE_INTEROP_RECORD"

NEWEST = Version("3.17")


def record(client: Client, folder: Path) -> Calls:
    """What a client sends for each call, to a service of its own."""
    with RecordedService(folder / "place") as place:
        local = folder / "local"
        local.mkdir()
        told = client.run("calls.py", str(local), **place.with_token(), SERVICE_URL=place.url)
        return normalised(place.requests_of_calls(), told["ids"], place.url, str(local))


@pytest.fixture(scope="module")
def kept() -> Calls:
    calls: Calls = json.loads(RECORDED.read_text(encoding="utf-8"))
    return calls


def test_what_is_kept_is_what_microsofts_client_sends(real_client: Client, tmp_path: Path) -> None:
    recorded = record(real_client, tmp_path)

    if os.environ.get(RECORD_VARIABLE):
        RECORDED.write_text(json.dumps(recorded, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    assert list(differences(json.loads(RECORDED.read_text(encoding="utf-8")), recorded)) == []


@pytest.mark.skipif(Version(mlflow.__version__) < NEWEST, reason="the calls are those of the newest MLflow")
def test_ours_sends_the_same_but_for_known_differences(kept: Calls, own_client: Client, tmp_path: Path) -> None:
    found = list(differences(kept, record(own_client, tmp_path)))

    unknown = [difference for difference in found if not any(re.search(pattern, difference) for pattern in KNOWN)]
    unused = [pattern for pattern in KNOWN if not any(re.search(pattern, difference) for difference in found)]
    requests = sum(request["times"] for call in kept.values() for request in call)
    differing = {difference.partition(": ")[0] for difference in found if not EVERYWHERE.search(difference)}
    print(
        f"\ncompared {len(kept)} calls with {requests} requests: {len(found)} differences, of {len(KNOWN)} known kinds"
    )
    print(f"the same but for headers that every call has: {len(kept) - len(differing)} calls")
    assert unknown == []
    assert unused == []
