"""A service's token in a process: renewed before it ends and when it is refused, by whatever this process has."""

import base64
import json
import os
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.tokens.credentials import KeyCredential
from mlflow_amlstore.errors import LoginNeeded, TokenRefused
from mlflow_amlstore.workspace.tracking_uri import parse

Connect = Callable[..., Connection]
KEY = "a-key-that-nobody-may-see"


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


class TestBeforeItEnds:
    def test_a_process_that_has_only_the_uri_outlives_its_token(self, service: Any, connect: Connect) -> None:
        service.lifetime_s = 1.0
        use_for(4.5, connect())
        assert all(request.bearer for request in service.calls)
        assert 4 <= len(service.renewals) <= 9

    def test_it_needs_no_call_for_that(self, service: Any, connect: Connect) -> None:
        service.lifetime_s = 2.0
        connection = connect()
        time.sleep(5)
        before = len(service.seen)
        connection.request("GET", "/api/a")
        assert service.seen[before].path == "/api/a"  # and wasn't refused on the first try
        assert len(service.seen) == before + 1

    @pytest.mark.parametrize("skew_s", [120.0, -120.0])
    @pytest.mark.parametrize("lifetime_s", [3.0, 3600.0])
    def test_clocks_that_differ_by_two_minutes_dont_matter(
        self, service: Any, connect: Connect, skew_s: float, lifetime_s: float
    ) -> None:
        service.clock_skew_s, service.lifetime_s = skew_s, lifetime_s
        connection = connect()
        use_for(4.0, connection, 0.2)
        assert len(service.renewals) == (0 if lifetime_s == 3600 else pytest.approx(2, abs=1))

    def test_an_outage_is_outlived(self, service: Any, connect: Connect, fault: Any) -> None:
        service.lifetime_s = 2.0
        connection = connect()
        connection.request("GET", "/api/a")
        service.auth_faults.extend([fault.breaks, fault.answers(503), fault.breaks])
        time.sleep(3.0)
        connection.request("GET", "/api/a")
        assert len(service.renewals) >= 4

    def test_a_token_of_unknown_form_works_too(self, service: Any, connect: Connect) -> None:
        service._ends["opaque"] = time.monotonic() + 60
        assert connect(service.uri("opaque")).request("GET", "/api/a") == {"path": "/api/a"}

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")
    def test_a_forked_child_renews_for_itself(self, service: Any, connect: Connect) -> None:
        service.lifetime_s = 6  # so that a third of it is time enough for a renewal where much else runs
        connection = connect()
        connection.request("GET", "/api/a")
        pid = os.fork()
        if pid == 0:
            try:
                time.sleep(7)
                connection.request("GET", "/api/child")
                os._exit(0)
            finally:
                os._exit(1)
        connection.close()
        renewed_by_parent = len(service.renewals)
        assert os.waitpid(pid, 0)[1] == 0
        assert len(service.renewals) > renewed_by_parent
        assert len(service.requests_to("/api/child")) == 1

    def test_closing_ends_it(self, service: Any, connect: Connect) -> None:
        service.lifetime_s = 0.6
        connection = connect()
        connection.request("GET", "/api/a")
        connection.close()
        time.sleep(0.1)
        before = len(service.renewals)
        time.sleep(1)
        assert len(service.renewals) == before


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
        began = time.monotonic()
        with pytest.raises(TokenRefused) as raised:
            connection.request("POST", "/api/a", json={"n": 1})
        assert time.monotonic() - began < 2
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
    def test_the_same_uri_while_a_twelfth_of_its_life_is_left_then_a_fresh_one(
        self, service: Any, connect: Connect
    ) -> None:
        service.lifetime_s = 2.4
        connection = connect(service.root, KeyCredential(service.url, KEY))
        first = connection.issue_uri()
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            assert connection.issue_uri() == first  # though its own token was renewed meanwhile
            time.sleep(0.1)
        time.sleep(0.4)
        second = connection.issue_uri()
        assert second != first
        assert parse(second).is_same_store(parse(first))

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
    def test_the_environment_gets_the_living_uri_if_it_names_this_workspace(
        self, service: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service.lifetime_s = 1.0
        given = service.uri()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
        monkeypatch.setenv("MLFLOW_REGISTRY_URI", service.root.replace("/W", "/other") + "?token=x")
        use_for(1.5, connect(given))
        inherited = parse(os.environ["MLFLOW_TRACKING_URI"])
        assert inherited.root == service.root
        assert service.is_good(inherited.token)
        assert os.environ["MLFLOW_REGISTRY_URI"].endswith("/other?token=x")

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
    service._ends[token] = time.monotonic() + 60
    assert connect(service.uri(token)).request("GET", "/api/a") == {"path": "/api/a"}
