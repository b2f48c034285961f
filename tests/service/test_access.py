"""Every route of the table is refused to whoever has no right to it. A new route is in the table, so it is tested."""

import http.client
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import jwt
import pytest

from mlflow_amlstore.errors import NotAllowed
from mlflow_amlstore.records.sql.run_leases import RENEWED_EVERY_S
from mlflow_amlstore.service.access import Access, Caller, Right, Role, TokenUse, rights_of
from mlflow_amlstore.service.addresses import BLOB_PREFIX, WORKSPACE, workspace_path
from mlflow_amlstore.service.app import ROUTES
from mlflow_amlstore.service.routing import Area, Call, Route, Routes

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
    Area.EXECUTION: ["/execution/v1.0{workspace}"],
    Area.ENVIRONMENT: ["/environment/v1.0{workspace}", "/environment/v2.0{workspace}"],
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
    connection = http.client.HTTPConnection(url.hostname or "", url.port)
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


# What a tracking token may not call. A new route is listed here, or it names `Right.TRACK` and is in one of the areas.
CLOSED_TO_TRACKING = {
    "GET /auth/keys",
    "POST /auth/keys",
    "DELETE /auth/keys/{key_id}",
    "GET /metrics",
    "GET /openapi.json",
    "GET /subscriptions",
    f"GET {WORKSPACE}",
    f"GET /rp/workspaces{WORKSPACE}",
    f"GET {WORKSPACE}/providers/Microsoft.Authorization/permissions",
    "POST /experiments/{experiment}/runs/{run}/local",
    "POST /experiments/{experiment}/runs/{run}/agents",
    "POST /experiments/{experiment}/snapshotrun",
    "POST /experiments/{experiment}/localrun",
    "POST /computes/{name}/take",
    "POST /computes/{name}/agents",
    "PUT /runs/{run}/lease",
    "DELETE /runs/{run}/lease",
    "GET /computes",
    "GET /computes/{name}",
    "PUT /computes/{name}",
    "DELETE /computes/{name}",
    "GET /environments/",
    "GET /environments/{name}",
    "PUT /environments/{name}",
    "GET /environments/{name}/labels/{label}",
    "GET /environments/{name}/versions/{version}",
    "PUT /environments/{name}/versions/{version}",
    "PUT /environments/{name}/versions/{version}/metadata",
    "GET /environments/{name}/image",
    "GET /environments/{name}/versions/{version}/image",
    "POST /environments/{name}/versions/{version}/image",
    "POST /environments/{name}/versions/{version}/imageoncompute/{compute}",
    "POST /environments/{name}/recipe",
    "POST /environments/{name}/versions/{version}/recipe",
}
TRACKING_AREAS = {Area.MLFLOW, Area.HISTORY, Area.METRIC, Area.ARTIFACT, Area.CONTENT, Area.MODEL_MANAGEMENT}
TRACKING_ELSEWHERE = {"POST /auth/tracking-token", "GET /version"}  # its own renewal, and what MLflow's client asks


def test_every_route_is_either_for_tracking_or_listed_as_closed_to_it() -> None:
    tracking = [route for route in with_role if route.right is Right.TRACK]
    assert {name_of(route) for route in with_role} - {name_of(route) for route in tracking} == CLOSED_TO_TRACKING
    assert {name_of(route) for route in tracking if route.area not in TRACKING_AREAS} == TRACKING_ELSEWHERE


def test_a_route_that_names_no_right_is_closed_to_tracking() -> None:
    routes = Routes(Area.MLFLOW)

    @routes.get("/api/2.0/mlflow/new", Role.READER)
    def new(call: Call) -> None:
        """Answer."""

    (route,) = routes
    with pytest.raises(NotAllowed, match=r"GET /api/2\.0/mlflow/new needs an access token; this one is for tracking"):
        route.check_rights(Caller("key", Role.OWNER, 0, TokenUse.TRACKING))
    route.check_rights(Caller("key", Role.READER, 0, TokenUse.ACCESS))


def test_a_token_for_tracking_has_one_right() -> None:
    assert {rights_of(TokenUse.TRACKING, role) for role in Role if role is not Role.AGENT} == {frozenset({Right.TRACK})}


def test_a_submitted_runs_token_tracks_and_holds_its_lease() -> None:
    assert rights_of(TokenUse.RUN, Role.CONTRIBUTOR) == {Right.TRACK, Right.HOLD}


def test_an_agents_key_does_nothing_but_work_and_no_other_key_does_that() -> None:
    assert rights_of(TokenUse.ACCESS, Role.AGENT) == {Right.WORK}
    assert not any(Right.WORK in rights_of(use, role) for use in TokenUse for role in Role if role is not Role.AGENT)


def test_a_session_has_one_right_and_a_sign_in_link_none() -> None:
    assert rights_of(TokenUse.SESSION, Role.OWNER) == {Right.LOOK}
    assert rights_of(TokenUse.SIGN_IN, Role.OWNER) == frozenset()


LACKING = (
    b"needs an access token; this one is for tracking and nothing else",
    b"needs an access token; this one is for what its run does and nothing else",
    b"isn't an agent's to call",
    b"needs an agent's key",
    b"needs the run's own token",
)


class Held(NamedTuple):
    """A token that somebody has, and what it should open."""

    text: str
    role: Role
    rights: frozenset[Right]


@pytest.fixture(scope="module")
def tokens(service: "Service") -> Iterator[dict[str, Held]]:
    """Access tokens and tracking tokens of keys of different roles, and tokens of a run, whose lease is renewed."""
    held: dict[str, Held] = {}
    for role in Role:
        access = service.token_of(role)
        held[f"{role.name} access"] = Held(access, role, rights_of(TokenUse.ACCESS, role))
        if role in (Role.READER, Role.OWNER):  # an owner's is a contributor's
            tracking = service.call("POST", "/auth/tracking-token", access)["token"]
            held[f"{role.name} tracking"] = Held(tracking, min(role, Role.CONTRIBUTOR), frozenset({Right.TRACK}))
    created = service.call("POST", "/api/2.0/mlflow/runs/create", service.token, {"experiment_id": "0"})
    where = f"/experimentids/0/runs/{created['run']['info']['run_id']}/token"
    path = f"/history/v1.0{workspace_path(service.workspace_name)}{where}"
    of_run = service.call("GET", path, service.token_of(Role.OWNER))["token"]
    path = f"/execution/v1.0{workspace_path(service.workspace_name)}/experiments/Default/runs/submitted/local"
    submission = {"Configuration": {"script": "train.py"}}
    of_submitted = service.call("POST", path, service.token_of(Role.OWNER), submission)["token"]
    lease = f"/execution/v1.0{workspace_path(service.workspace_name)}/runs/submitted/lease"
    is_over = threading.Event()

    def renew() -> None:
        while not is_over.wait(RENEWED_EVERY_S):
            service.call("PUT", lease, of_submitted, {"hasStarted": True})

    renewing = threading.Thread(target=renew)
    renewing.start()
    yield {
        **held,
        "run's": Held(of_run, Role.CONTRIBUTOR, frozenset({Right.TRACK})),
        "submitted run's": Held(of_submitted, Role.CONTRIBUTOR, rights_of(TokenUse.RUN, Role.CONTRIBUTOR)),
    }
    is_over.set()
    renewing.join()


@pytest.mark.parametrize("route", with_role, ids=name_of)
def test_a_token_opens_what_its_right_and_role_allow_and_nothing_else(
    service: "Service", tokens: dict[str, Held], route: Route
) -> None:
    assert isinstance(route.access, Role)
    for path in paths_of(route, service.workspace_name):
        for name, held in tokens.items():
            status, body = status_of(service, route.method, path, bearer(held.text))
            if route.right not in held.rights:
                assert status == 403, (name, path, body)
                assert any(why in body for why in LACKING), (name, path, body)
            elif held.role < route.access:
                needed = f"needs the role {route.access.name.lower()}".encode()
                assert (status, needed in body) == (403, True), (name, path, body)
            else:
                assert status not in (401, 403), (name, path, body)


@pytest.mark.parametrize("route", guarded, ids=name_of)
def test_a_content_url_opens_its_own_file_alone(service: "Service", content_queries: list[str], route: Route) -> None:
    for path in paths_of(route, service.workspace_name):
        for query in content_queries:
            status, body = status_of(service, route.method, f"{path}?{query}", {})
            assert status == (403 if route.access is Access.SIGNED_URL else 401), (path, body)


@pytest.fixture(scope="module")
def content_queries(service: "Service") -> list[str]:
    """The signed part of URLs that read and write a file of some run."""
    created = service.call("POST", "/api/2.0/mlflow/runs/create", service.token, {"experiment_id": "0"})
    asked = {"run_id": created["run"]["info"]["run_id"], "path": "a"}
    presign = "/api/2.0/mlflow/artifacts/presigned"
    upload = service.call("POST", f"{presign}-upload-url", service.token, asked)
    request = urllib.request.Request(upload["presigned_url"], b"1", upload["headers"], method="PUT")
    urllib.request.urlopen(request).close()
    download = service.call("POST", f"{presign}-download-url", service.token, asked)
    return [urlsplit(url["presigned_url"]).query for url in (upload, download)]


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
        ({"Host": "evil@127.0.0.1"}, 403),
        ({"Host": "127.0.0.1/evil"}, 403),
        ({"Host": "127.0.0.1:1:2"}, 403),
        ({"Host": "127.0.0.1:65536"}, 403),  # no port is so high
        ({"Host": "127.0.0.1:99999"}, 403),
        ({"Host": "localhost:65535"}, 200),
        ({"Host": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost"}, 200),
        ({"Host": "LOCALHOST:1"}, 200),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Host": "localhost:8080", "Origin": "http://localhost:8080"}, 200),  # a forwarded port
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
