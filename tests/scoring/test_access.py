"""Nothing but health answers without a key, and a key that was changed ends with the next request."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skops")

from scoring_processes import KEYS, Scorer, hashes, save, scoring, served_folder
from sklearn.linear_model import Ridge

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
    assert got.status in ((401, 404) if (method, path) == ("GET", "/score") else (401,))
    if got.status == 401:
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
    assert scorer.ask("/score").status == 404


def test_keys_arent_in_the_log(scorer: Scorer) -> None:
    assert not [key for key in KEYS if key in scorer.log.read_text()]


def test_without_authentication_no_key_is_asked_for(serve: object) -> None:
    running = serve(Ridge().fit([[0.0], [1.0]], [0.0, 1.0]), auth=False).healthy()  # type: ignore[operator]
    assert running.score(BODY, key=None).status == 200
    assert running.ask("/metrics", key=None).status == 200
