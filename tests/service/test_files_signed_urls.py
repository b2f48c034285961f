"""Content URLs: for one file, one direction and some time; nothing else in them can be changed."""

import re
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from mlflow_amlstore.errors import NotAllowed, TokenRefused
from mlflow_amlstore.service.addresses import BLOB_PREFIX
from mlflow_amlstore.service.signed_urls import Direction, UrlSigner

if TYPE_CHECKING:
    from tests.service.conftest import Service

LOCATION = "1/run/artifacts/sub dir/ü?#%41.txt"
KEY_ID = "0123456789ab"
BASE = "https://127.0.0.1:8443"
AZUREML_MLFLOW_DOWNLOADS = re.compile(r"^https://(.*)\.blob\.core\.windows\.net/(.*)/(.*)\?(.*)")


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_800_000_000.25

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def signer(clock: Clock) -> UrlSigner:
    return UrlSigner(b"s" * 32, 3600, clock)


def _query(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def test_a_url_has_the_shape_that_azure_clients_take_apart(signer: UrlSigner) -> None:
    url = signer.sign(BASE, LOCATION, Direction.WRITE, KEY_ID)

    assert url.startswith(
        "https://127.0.0.1:8443/amlstore.blob.core.windows.net/1/run/artifacts/sub%20dir/%C3%BC%3F%23%2541.txt"
        "?sv=2025-11-05&sr=b&sp=cw&se=2027-01-15T09:00:00Z&si=0123456789ab&sig="
    )
    assert AZUREML_MLFLOW_DOWNLOADS.match(url)
    assert urlsplit(url).path.startswith(f"{BLOB_PREFIX}/1/")


@pytest.mark.parametrize("direction", Direction)
def test_a_url_is_good_for_its_file_and_direction(signer: UrlSigner, direction: Direction) -> None:
    query = _query(signer.sign(BASE, LOCATION, direction, KEY_ID))

    signer.verify(LOCATION, query, direction)
    signer.verify(LOCATION, query)
    other = Direction.READ if direction is Direction.WRITE else Direction.WRITE
    with pytest.raises(NotAllowed, match=r"is not for (reading|writing)") as refused:
        signer.verify(LOCATION, query, other)
    assert query["sig"] not in str(refused.value)


def test_a_url_ends(signer: UrlSigner, clock: Clock) -> None:
    query = _query(signer.sign(BASE, LOCATION, Direction.READ, KEY_ID))
    short = _query(signer.sign(BASE, LOCATION, Direction.READ, KEY_ID, lifetime_s=60))
    long = _query(signer.sign(BASE, LOCATION, Direction.READ, KEY_ID, lifetime_s=10**6))
    assert (query["se"], short["se"], long["se"]) == (query["se"], "2027-01-15T08:01:00Z", query["se"])

    clock.now_s += 59
    signer.verify(LOCATION, short)
    clock.now_s += 1
    with pytest.raises(TokenRefused, match=r"expired at 2027-01-15T08:01:00Z\. Ask the service"):
        signer.verify(LOCATION, short)
    signer.verify(LOCATION, query)
    clock.now_s += 3600
    with pytest.raises(TokenRefused, match="expired"):
        signer.verify(LOCATION, query)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sv", "2020-01-01"),
        ("sp", "rcw"),
        ("sp", "cw"),
        ("sp", "r\0"),
        ("se", "2127-01-15T09:00:00Z"),
        ("se", "x"),
        ("si", "another key"),
        ("si", None),
        ("sig", "A" * 43),
        ("sig", "ü"),
        ("sig", ""),
        ("sig", None),
        ("se", None),
        ("sp", None),
        ("sv", None),
    ],
)
def test_a_changed_url_is_refused(signer: UrlSigner, field: str, value: str | None) -> None:
    query = _query(signer.sign(BASE, LOCATION, Direction.READ, KEY_ID))
    signature = query["sig"]
    if value is None:
        del query[field]
    else:
        query[field] = value

    with pytest.raises(TokenRefused, match="signature") as refused:
        signer.verify(LOCATION, query)
    assert signature not in str(refused.value)


@pytest.mark.parametrize(
    "location", ["1/run/artifacts/other", LOCATION + "/x", "1/run2/artifacts/x", LOCATION[:-1], ""]
)
def test_a_url_of_another_file_is_refused(signer: UrlSigner, location: str) -> None:
    query = _query(signer.sign(BASE, LOCATION, Direction.READ, KEY_ID))
    with pytest.raises(TokenRefused):
        signer.verify(location, query)


def test_a_url_of_another_workspace_is_refused(signer: UrlSigner, clock: Clock) -> None:
    query = _query(UrlSigner(b"t" * 32, 3600, clock).sign(BASE, LOCATION, Direction.READ, KEY_ID))
    with pytest.raises(TokenRefused):
        signer.verify(LOCATION, query)


def test_a_url_ends_when_the_key_is_revoked_that_it_goes_back_to(service: "Service") -> None:
    key = service.new_key("of a script", "contributor")
    token = service.exchange(key)
    run = service.call("POST", "/api/2.0/mlflow/runs/create", token, {"experiment_id": "0"})["run"]["info"]["run_id"]
    asked = {"run_id": run, "path": "a.txt"}
    written = service.call("POST", "/api/2.0/mlflow/artifacts/presigned-upload-url", token, asked)["presigned_url"]
    put = requests.put(written, b"a", headers={"x-ms-blob-type": "BlockBlob"})
    read = service.call("POST", "/api/2.0/mlflow/artifacts/presigned-download-url", token, asked)["presigned_url"]
    assert (put.status_code, requests.get(read).content) == (201, b"a")

    service.revoke("of a script")
    deadline = time.monotonic() + 60
    while requests.get(read).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert requests.get(read).status_code == 403
    again = requests.put(written, b"b", headers={"x-ms-blob-type": "BlockBlob"})
    assert (again.status_code, "was revoked" in again.text) == (403, True)
