"""Every route of the table is refused to whoever has no right to it. A new route is in the table, so it is tested."""

import http.client
import json
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import jwt
import pytest

from mlflow_amlstore.service.access import Access, Role
from mlflow_amlstore.service.addresses import BLOB_PREFIX, workspace_path
from mlflow_amlstore.service.app import ROUTES
from mlflow_amlstore.service.routing import Area, Route

if TYPE_CHECKING:
    from tests.service.conftest import Service

OPEN = {"/health", "/health/live", "/health/ready", "/discovery", "/metadata/endpoints"}
PREFIX = {
    Area.ROOT: [""],
    Area.MLFLOW: ["", "/mlflow/v1.0{workspace}", "/mlflow/v2.0{workspace}"],
    Area.HISTORY: ["/history/v1.0{workspace}"],
    Area.ARTIFACT: ["/artifact/v2.0{workspace}"],
    Area.METRIC: ["/metric/v2.0{workspace}"],
    Area.CONTENT: ["/content/v1.0{workspace}", "/content/v2.0{workspace}"],
    Area.MODEL_MANAGEMENT: ["/modelmanagement/v1.0{workspace}"],
    Area.BLOB: [BLOB_PREFIX],
    Area.ARM: [""],
}
FILL = {"location:path": "0/run/artifacts/x"}
guarded = [route for route in ROUTES if route.access is not Access.PUBLIC]
with_role = [route for route in guarded if isinstance(route.access, Role)]


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


def paths_of(route: Route, workspace: str) -> list[str]:
    filled = route.path
    while "{" in filled:
        begin, _, rest = filled.partition("{")
        parameter, _, end = rest.partition("}")
        filled = f"{begin}{FILL.get(parameter, 'x')}{end}"
    return [prefix.format(workspace=workspace_path(workspace)) + filled for prefix in PREFIX[route.area]]


def status_of(service: "Service", method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    url = urlsplit(service.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_only_health_and_what_finds_the_workspace_are_open() -> None:
    assert {route.path for route in ROUTES if route.access is Access.PUBLIC} == OPEN


@pytest.fixture(scope="module")
def refused_tokens(service: "Service") -> dict[str, str]:
    """Tokens that open nothing, by what is wrong with them."""
    good = service.token
    secret = (service.folder / "service" / "secret").read_bytes()
    claims = jwt.decode(good, options={"verify_signature": False})
    head, payload, signature = good.split(".")
    none = jwt.encode(claims, None, algorithm="none")
    revoked = service.new_key("to be revoked", "owner")
    token_of_revoked = service.exchange(revoked)
    service.revoke("to be revoked")
    time.sleep(0.6)  # a revocation is noticed within half a second
    return {
        "empty": "",
        "not a token": "nothing-like-a-token",
        "expired": jwt.encode({**claims, "exp": int(time.time()) - 1}, secret, algorithm="HS256"),
        "wrong workspace": jwt.encode({**claims, "aud": "another"}, secret, algorithm="HS256"),
        "tampered": f"{head}.{payload[:-3]}AAA.{signature}",
        "alg=none": none,
        "signed by another": jwt.encode(claims, b"x" * 32, algorithm="HS256"),
        "a revoked key's": token_of_revoked,
        "a key in a token's place": service.key,
    }


@pytest.mark.parametrize("route", guarded, ids=name_of)
def test_a_route_is_refused_without_a_good_credential(
    service: "Service", refused_tokens: dict[str, str], route: Route
) -> None:
    attempts = {"missing": {}, "basic": {"Authorization": "Basic dXNlcjpwYXNz"}}
    attempts |= {name: bearer(token) for name, token in refused_tokens.items()}
    if route.access is Access.KEY:
        del attempts["a key in a token's place"]
    for path in paths_of(route, service.workspace_name):
        for name, headers in attempts.items():
            status, body = status_of(service, route.method, path, headers)
            expected = (401, 403) if route.access is Access.SIGNED_URL else (401,)
            assert status in expected, (name, path, status, body)
            for credential in headers.values():
                assert credential.partition(" ")[2] not in body.decode() or not credential.partition(" ")[2]


@pytest.mark.parametrize("route", [r for r in with_role if r.access is not Role.READER], ids=name_of)
def test_a_role_too_small_is_refused(service: "Service", route: Route) -> None:
    assert isinstance(route.access, Role)
    for role in Role:
        if role < route.access:
            for path in paths_of(route, service.workspace_name):
                status, body = status_of(service, route.method, path, bearer(service.token_of(role)))
                assert status == 403, (role, path, status, body)
                assert f"needs the role {route.access.name.lower()}" in body.decode()


@pytest.mark.parametrize("route", [r for r in with_role if r.access is Role.OWNER], ids=name_of)
def test_a_tracking_token_is_good_for_no_owners_route(service: "Service", route: Route) -> None:
    for path in paths_of(route, service.workspace_name):
        assert status_of(service, route.method, path, bearer(service.token))[0] == 403


@pytest.mark.parametrize("route", [r for r in with_role if "" not in PREFIX[r.area]], ids=name_of)
def test_another_workspaces_path_is_refused(service: "Service", route: Route) -> None:
    for path in paths_of(route, "another"):
        status, body = status_of(service, route.method, path, bearer(service.token))
        assert status == 404, (path, body)
        assert "another" in body.decode()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "127.0.0.1@evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost"}, 200),
        ({"Host": "LOCALHOST:1"}, 200),
        ({"Origin": "http://127.0.0.1:1"}, 200),
    ],
    ids=str,
)
def test_a_name_that_isnt_the_services_own_is_refused(service: "Service", headers: dict[str, str], status: int) -> None:
    path = "/api/2.0/mlflow/experiments/get?experiment_id=0"
    for target in (path, "/health", "/discovery"):
        assert status_of(service, "GET", target, {**bearer(service.token), **headers})[0] == status


def test_an_unknown_route_says_where_the_known_ones_are(service: "Service") -> None:
    status, body = status_of(service, "GET", "/api/2.0/mlflow/no-such", bearer(service.token))

    assert status == 404
    assert json.loads(body)["error_code"] == "ENDPOINT_NOT_FOUND"
    assert "/openapi.json" in json.loads(body)["message"]
