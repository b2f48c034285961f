"""Nothing but health answers without a key, and a key that was changed ends with the next request."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skops")

from scoring_processes import KEYS, Scorer, hashes, save, scoring, served_folder
from sklearn.linear_model import Ridge

from mlflow_amlstore.scoring.doors import is_of_this_machine_alone

BODY = {"data": [[1.0]]}
CLOSED = [
    ("POST", "/score"),
    ("GET", "/score"),
    ("POST", "/invocations"),
    ("POST", "/score:predict"),
    ("POST", "/v1/models/diabetes_model:predict"),
    ("POST", "/v2/models/diabetes_model/infer"),
    ("GET", "/v2"),
    ("GET", "/v2/models/diabetes_model"),
    ("GET", "/swagger.json"),
    ("GET", "/metrics"),
    ("GET", "/version"),
    ("GET", "/no-such-path"),
    ("OPTIONS", "/score"),
    ("GET", "/own/metrics"),
]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scorer]:
    folder = served_folder(tmp_path_factory.mktemp("keys"))
    save(Ridge().fit([[0.0], [1.0]], [0.0, 1.0]), folder / "model.skops")
    with scoring(folder) as running:
        yield running.healthy()


@pytest.mark.parametrize("path", ["/", "/health", "/ping", "/v2/health/live", "/v2/health/ready"])
def test_health_needs_no_key(scorer: Scorer, path: str) -> None:
    assert scorer.ask(path, key=None).status == 200


@pytest.mark.parametrize(("method", "path"), CLOSED)
@pytest.mark.parametrize("authorization", [None, "Bearer", "Bearer wrong", f"Basic {KEYS[0]}", KEYS[0], "Bearer é"])
def test_everything_else_does(scorer: Scorer, method: str, path: str, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode().decode("latin-1")}
    got = scorer.ask(path, BODY if method == "POST" else None, method=method, key=None, headers=headers)
    assert got.status == 401
    assert got.headers["www-authenticate"] == "Bearer"
    assert KEYS[0].encode() not in got.body


@pytest.mark.parametrize("key", KEYS)
def test_both_keys_open_it(scorer: Scorer, key: str) -> None:
    assert scorer.score(BODY, key=key).json == [pytest.approx(0.6667, abs=1e-3)]


def test_a_changed_key_ends_with_the_next_request_even_on_an_open_connection(scorer: Scorer) -> None:
    connection = scorer.connection()
    assert scorer.score(BODY, connection=connection).status == 200
    path = scorer.folder / "keys.json"
    before = path.read_text()
    try:
        _replace(path, hashes("new-key", KEYS[1]))
        assert scorer.score(BODY, connection=connection).status == 401
        assert scorer.score(BODY, key="new-key").status == 200
        assert scorer.score(BODY, key=KEYS[1]).status == 200
        path.unlink()
        assert scorer.score(BODY, key=KEYS[1]).status == 401
    finally:
        _replace(path, before)
    connection.close()


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)  # whole, as whoever changes keys does


def test_an_unknown_path_is_a_404_that_says_what_there_is(scorer: Scorer) -> None:
    got = scorer.ask("/predict", BODY)
    assert got.status == 404
    assert "/score" in got.json["message"]


def test_a_prediction_asked_for_in_another_way_is_a_405_that_says_how(scorer: Scorer) -> None:
    for method in ("GET", "PUT", "OPTIONS"):
        got = scorer.ask("/score?a=b", method=method)
        assert (got.status, got.headers["allow"]) == (405, "POST")
        assert "use POST" in got.json["message"]


def test_keys_arent_in_the_log(scorer: Scorer) -> None:
    assert not [key for key in KEYS if key in scorer.log.read_text()]


def test_without_authentication_no_key_is_asked_for(serve: object) -> None:
    running = serve(Ridge().fit([[0.0], [1.0]], [0.0, 1.0]), auth=False).healthy()  # type: ignore[operator]
    assert running.score(BODY, key=None).status == 200
    assert running.ask("/metrics", key=None).status == 200


def test_without_authentication_nobody_but_this_machine_is_answered(tmp_path: Path) -> None:
    folder = served_folder(tmp_path, auth=False)
    with socket.create_server(("0.0.0.0", 0)) as open_to_all:
        event = Scorer(folder, open_to_all).failed()
    assert event["code"] == "AuthOff"
    assert "0.0.0.0" in event["message"]
    assert "127.0.0.1" in event["message"]


@pytest.mark.parametrize(
    ("address", "expected"), [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("::", False)]
)
def test_loopback_addresses_are_known(address: str, expected: bool) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as one:
        try:
            one.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no {address}")
        assert is_of_this_machine_alone(one) is expected


def test_a_long_request_id_is_refused_only_after_the_key(scorer: Scorer) -> None:
    long = {"x-request-id": "x" * 101}
    assert scorer.score(BODY, key=None, headers=long).status == 401
    assert scorer.score(BODY, headers=long).status == 431


def test_every_answer_says_nosniff(scorer: Scorer) -> None:
    for got in (scorer.score(BODY), scorer.score({}), scorer.score(BODY, key=None), scorer.ask("/health", key=None)):
        assert got.headers["x-content-type-options"] == "nosniff"


def test_pages_of_other_origins_may_ask_only_where_the_deployment_names_them(scorer: Scorer, serve: Any) -> None:
    page = {"Origin": "https://example.org"}
    assert "access-control-allow-origin" not in scorer.score(BODY, headers=page).headers
    assert scorer.ask("/score", method="OPTIONS", key=None, headers=page).status == 401
    model = Ridge().fit([[0.0], [1.0]], [0.0, 1.0])
    named = serve(model, cors_origins=["https://example.org"]).healthy()
    preflight = named.ask("/score", method="OPTIONS", key=None, headers=page)
    assert preflight.status == 200
    assert preflight.headers["access-control-allow-origin"] == "https://example.org"
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    got = named.score(BODY, headers=page)
    assert (got.status, got.headers["access-control-allow-origin"]) == (200, "https://example.org")
    refused = named.score(BODY, key=None, headers=page)
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "https://example.org")
    assert named.ask("/score", method="OPTIONS", key=None, headers={"Origin": "https://evil.org"}).status == 401
