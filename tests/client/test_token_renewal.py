"""A service's token in a process: renewed before it ends and when it is refused, by whatever this process has."""

import base64
import json
import math
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest
from machine_speed import at_least

from mlflow_amlstore.client.connection import Connection, connection_of
from mlflow_amlstore.client.tokens.credentials import KeyCredential
from mlflow_amlstore.errors import LoginNeeded, TokenRefused
from mlflow_amlstore.workspace.tracking_uri import parse

from .conftest import KEY, SmallService, answers, breaks_before_answering, have_no_key

Connect = Callable[..., Connection]


class OwnToken(NamedTuple):
    token: str
    expires_on: int


class OwnCredential:
    """A test's own credential, with azure-identity's one method."""

    def __init__(self, service: Any) -> None:
        self._service = service
        self.scopes: list[tuple[str, ...]] = []

    def get_token(self, *scopes: str, **_: Any) -> OwnToken:
        self.scopes.append(scopes)
        token, left_s = self._service.issue()
        return OwnToken(token, int(time.time() + left_s))


def use_for(seconds: float, connection: Connection, pause_s: float = 0.05) -> None:
    """Call the service for a while."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        connection.request("GET", "/api/a")
        time.sleep(pause_s)


WAITING: dict[tuple[str, tuple[Any, ...]], Callable[..., None]] = {}


def overlaps(*cases: tuple[Any, ...]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A test that waits for tokens to end. It has a service of its own, and runs while all others of its kind do; once,
    or with the arguments of each case."""

    def overlapping(waits: Callable[..., None]) -> Callable[..., None]:
        for case in cases or ((),):
            WAITING[waits.__name__, case] = waits

        @pytest.mark.parametrize("case", cases or ((),), ids=str)
        def test(waited: dict[Any, "Future[None]"], case: tuple[Any, ...]) -> None:
            waited[waits.__name__, case].result()

        return test

    return overlapping


@pytest.fixture(scope="module")
def life_s() -> float:
    """How long a token lives, in seconds."""
    return at_least(1, 2)


@pytest.fixture(scope="module")
def waited(tmp_path_factory: pytest.TempPathFactory, life_s: float) -> Iterator[dict[Any, "Future[None]"]]:
    """How those that wait have ended."""

    def run(waits: Callable[..., None], case: tuple[Any, ...]) -> None:
        service = SmallService()
        service.lifetime_s = life_s
        with ExitStack() as undo:
            undo.callback(service.stop)

            def connect(uri: str | None = None, credential: Any = None) -> Connection:
                made = connection_of(uri or service.uri(), credential)
                undo.callback(made.close)
                return made

            waits(service, connect, *case)

    with pytest.MonkeyPatch.context() as environment, ThreadPoolExecutor(len(WAITING)) as pool:
        have_no_key(environment, tmp_path_factory.mktemp("home"))
        ended = {(name, case): pool.submit(run, waits, case) for (name, case), waits in WAITING.items()}
        wait(ended.values())
        yield ended


@overlaps()
def test_a_process_that_has_only_the_uri_outlives_its_token(service: Any, connect: Connect) -> None:
    began = time.monotonic()
    use_for(service.lifetime_s * 2.5, connect())
    assert all(request.bearer for request in service.calls)
    soonest_s = service.lifetime_s * 0.6  # it is renewed when a third of its life is left, or little more
    assert 3 <= len(service.renewals) <= 1 + (time.monotonic() - began) / soonest_s


@overlaps()
def test_it_needs_no_call_for_that(service: Any, connect: Connect) -> None:
    connection = connect()
    time.sleep(service.lifetime_s * 2.5)
    connection.request("GET", "/api/a")
    assert len(service.calls) == 1  # and wasn't refused on the first try


@overlaps((120.0, True), (-120.0, True), (120.0, False), (-120.0, False))
def test_clocks_that_differ_by_two_minutes_dont_matter(
    service: Any, connect: Connect, skew_s: float, is_short: bool
) -> None:
    seconds, service.clock_skew_s = service.lifetime_s * 1.4, skew_s
    if not is_short:
        service.lifetime_s = 3600.0
    use_for(seconds, connect(), seconds / 20)
    assert len(service.renewals) == (pytest.approx(2, abs=1) if is_short else 0)


@overlaps()
def test_an_outage_is_outlived(service: Any, connect: Connect) -> None:
    connection = connect()
    connection.request("GET", "/api/a")
    service.auth_faults.extend([breaks_before_answering, answers(503), breaks_before_answering])
    time.sleep(service.lifetime_s * 1.5)
    connection.request("GET", "/api/a")
    assert len(service.renewals) >= 4


@overlaps()
def test_closing_ends_renewal(service: Any, connect: Connect) -> None:
    connection = connect()
    connection.request("GET", "/api/a")
    connection.close()
    time.sleep(service.lifetime_s * 0.2)
    before = len(service.renewals)
    time.sleep(service.lifetime_s * 1.5)
    assert len(service.renewals) == before


@overlaps()
def test_a_uri_is_issued_again_while_a_twelfth_of_its_life_is_left_then_a_fresh_one(
    service: Any, connect: Connect
) -> None:
    connection = connect(service.root, KeyCredential(service.url, KEY))
    began = time.monotonic()
    first = connection.issue_uri()
    issued = time.monotonic()
    asked = 0
    while True:
        before, uri, after = time.monotonic(), connection.issue_uri(), time.monotonic()
        if after - began < service.lifetime_s * 11 / 12:
            assert uri == first  # though its own token was renewed meanwhile
            asked += 1
        if before - issued > service.lifetime_s * 11 / 12:
            break
        time.sleep(service.lifetime_s / 24)
    assert asked > 3
    assert uri != first
    assert parse(uri).is_same_store(parse(first))


@overlaps()
def test_the_environment_gets_the_living_uri_if_it_names_this_workspace(service: Any, connect: Connect) -> None:
    given = service.uri()
    os.environ["MLFLOW_TRACKING_URI"] = given
    os.environ["MLFLOW_REGISTRY_URI"] = service.root.replace("/W", "/other") + "?token=x"
    use_for(service.lifetime_s * 1.5, connect(given))
    inherited = parse(os.environ["MLFLOW_TRACKING_URI"])
    assert inherited.root == service.root
    assert service.is_good(inherited.token)
    assert os.environ["MLFLOW_REGISTRY_URI"].endswith("/other?token=x")


def test_a_token_of_unknown_form_works_too(service: Any, connect: Connect) -> None:
    service._ends["opaque"] = math.inf
    assert connect(service.uri("opaque")).request("GET", "/api/a") == {"path": "/api/a"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")
def test_a_forked_child_renews_for_itself(service: Any, connect: Connect, life_s: float) -> None:
    service.lifetime_s = life_s
    connection = connect()
    connection.request("GET", "/api/a")
    pid = os.fork()
    if pid == 0:
        try:
            time.sleep(life_s * 1.3)
            connection.request("GET", "/api/child")
            os._exit(0)
        finally:
            os._exit(1)
    connection.close()
    renewed_by_parent = len(service.renewals)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(service.renewals) > renewed_by_parent
    assert len(service.requests_to("/api/child")) == 1


class TestWhenItIsRefused:
    def test_a_credential_gets_another_and_the_call_goes_on(self, service: Any, connect: Connect) -> None:
        ended, _ = service.issue(lifetime_s=0)
        connection = connect(service.uri(ended), KeyCredential(service.url, KEY))
        assert connection.request("POST", "/api/a", json={"n": 1}) == {"applied": 1}
        assert [request.path for request in service.seen] == ["/api/a", "/auth/token", "/auth/tracking-token", "/api/a"]
        first, second = service.calls
        assert first.headers["X-Request-Id"] == second.headers["X-Request-Id"]

    def test_a_key_of_this_machine_does_too(
        self, service: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ended, _ = service.issue(lifetime_s=0)
        connection = connect(service.uri(ended))
        monkeypatch.setenv("AMLSTORE_KEY", KEY)
        assert connection.request("POST", "/api/a", json={"n": 1}) == {"applied": 1}

    def test_however_many_threads_find_out_one_renews(self, service: Any, connect: Connect) -> None:
        connection = connect(service.uri(), KeyCredential(service.url, KEY))
        connection.request("GET", "/api/a")
        with service._lock:
            service._ends.clear()
        together = threading.Barrier(16)

        def call(_: int) -> None:
            together.wait()
            connection.request("POST", "/api/a", json={})

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(call, range(16)))
        assert (len(service.renewals), len(service.applied)) == (1, 16)

    def test_with_nothing_to_renew_it_there_is_one_clear_error_at_once(self, service: Any, connect: Connect) -> None:
        ended, _ = service.issue(lifetime_s=0)
        connection = connect(service.uri(ended))
        with pytest.raises(TokenRefused) as raised:
            connection.request("POST", "/api/a", json={"n": 1})
        assert [request.path for request in service.seen] == ["/api/a", "/auth/tracking-token"]  # each but once
        message = str(raised.value)
        assert message.startswith("The tracking URI expired at 2026-01-31T13:00:00Z, and there is no key to renew it")
        assert "get_mlflow_tracking_uri()" in message
        assert "AMLSTORE_KEY: none" in message
        assert ended not in message
        assert raised.value.mlflow_code == "UNAUTHENTICATED"
        assert service.applied == []

    def test_and_no_storm_of_requests(self, service: Any, connect: Connect) -> None:
        ended, _ = service.issue(lifetime_s=0)
        connection = connect(service.uri(ended))

        def call(_: int) -> None:
            with pytest.raises(TokenRefused):
                connection.request("POST", "/api/a", json={})

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(call, range(50)))
        assert (len(service.calls), len(service.renewals)) == (50, 1)

    def test_the_next_uri_is_taken_at_once(self, service: Any, connect: Connect) -> None:
        ended, _ = service.issue(lifetime_s=0)
        connection = connect(service.uri(ended))
        with pytest.raises(TokenRefused):
            connection.request("GET", "/api/a")
        service.clock_skew_s = -60.0  # even if its clock was put back meanwhile
        connect(service.uri())
        assert connection.request("GET", "/api/a") == {"path": "/api/a"}

    def test_a_revoked_key_ends_it(self, service: Any, connect: Connect) -> None:
        connection = connect(service.root, KeyCredential(service.url, KEY))
        connection.request("GET", "/api/a")
        service.revoke_all()
        with pytest.raises(TokenRefused, match=r"^The key for .* was refused: The key is not one of this workspace's"):
            connection.request("GET", "/api/a")


class TestWithoutATokenInTheUri:
    def test_the_first_call_gets_one_for_a_key(
        self, service: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AMLSTORE_KEY", KEY)
        connection = connect(service.root)
        assert service.seen == []
        connection.request("GET", "/api/a")
        assert [request.path for request in service.seen] == ["/auth/token", "/auth/tracking-token", "/api/a"]

    def test_a_credential_of_ones_own_is_asked_for_the_services_scope(self, service: Any, connect: Connect) -> None:
        credential = OwnCredential(service)
        connect(service.root, credential).request("GET", "/api/a")
        assert credential.scopes == [(f"{service.url}/.default",)]

    def test_without_a_key_the_error_says_where_it_was_looked_for(self, service: Any, connect: Connect) -> None:
        with pytest.raises(LoginNeeded, match=f"No credential for {service.url} .*amlstore login {service.url}"):
            connect(service.root).request("GET", "/api/a")
        assert service.seen == []


class TestIssuing:
    def test_it_says_when_it_expires_by_the_services_clock(self, service: Any, connect: Connect) -> None:
        service.clock_skew_s = 100.0
        uri = parse(connect(service.root, KeyCredential(service.url, KEY)).issue_uri())
        assert uri.expires is not None
        assert uri.expires.timestamp() == pytest.approx(time.time() + 3700, abs=5)

    def test_a_uri_that_came_from_elsewhere_is_renewed_before_it_is_handed_on(
        self, service: Any, connect: Connect
    ) -> None:
        given = service.uri()
        issued = connect(given).issue_uri()
        assert parse(issued).token != parse(given).token
        assert len(service.renewals) == 1


class TestProcessesToCome:
    def test_it_is_left_alone_if_it_names_another(
        self, service: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
        connect(service.root, KeyCredential(service.url, KEY)).issue_uri()
        assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///mlflow.db"

    def test_a_pickle_has_the_living_token_and_no_key(self, service: Any, connect: Connect) -> None:
        connection = connect(service.root, KeyCredential(service.url, KEY))
        pickled = pickle.dumps(connection)
        assert connection.token().encode() not in pickled
        pickled = pickle.dumps(connection)
        assert connection.token().encode() in pickled
        assert KEY.encode() not in pickled


def test_what_a_token_claims_is_read_and_not_believed(service: Any, connect: Connect) -> None:
    """One that says it ended long ago is still sent: the service decides."""
    claims = base64.urlsafe_b64encode(json.dumps({"iat": 1, "exp": 2}).encode()).decode().rstrip("=")
    token = f"e30.{claims}.x"
    service._ends[token] = math.inf
    assert connect(service.uri(token)).request("GET", "/api/a") == {"path": "/api/a"}
