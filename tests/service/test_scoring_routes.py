"""Requests for predictions go through the service to whoever runs the endpoint, and lead nowhere else."""

import http.client
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from scoring_processes import KEYS, Answer, Scorer, save, served_folder

from mlflow_amlstore.client.connection import connection_of
from mlflow_amlstore.client.run_history.hosting import RemoteHostedEndpoint
from mlflow_amlstore.client.run_history.remote_records import RemoteRecords
from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.records.locations import endpoint_container, run_container
from mlflow_amlstore.records.types import DeploymentSpec, EndpointSpec, EndpointState
from mlflow_amlstore.service.access import Role

if TYPE_CHECKING:
    from tests.service.conftest import Service

MODEL = b"a model's bytes"


@pytest.fixture(scope="module")
def records(service: "Service") -> Iterator[RemoteRecords]:
    """What a submitter sees, with a registered model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMLSTORE_KEY", service.key)
        records = RemoteRecords(connection_of(service.tracking_uri))
        records.runs.create("0", run_id="run")
        records.files.write(run_container("0", "run"), "model/model.skops", BytesIO(MODEL))
        records.models.register("ridge", "workspace:/0/run/artifacts/model", run_id="run")
        yield records
        records.close()


@pytest.fixture(scope="module")
def pool(service: "Service", records: RemoteRecords) -> str:
    """A pool of agents."""
    agent = service.token_of(Role.AGENT)
    path = f"/execution/v1.0{workspace_of(service)}/computes/pool/agents"
    service.call("POST", path, agent, {"slots": 1})
    return "pool"


def workspace_of(service: "Service") -> str:
    return urlsplit(service.tracking_uri).path.removeprefix("/mlflow/v2.0")


def deploy(records: RemoteRecords, name: str, target: str = "", **spec: Any) -> None:
    records.endpoints.create(EndpointSpec(name, "AKS", target, **spec), DeploymentSpec(("ridge:1",), "ScikitLearn"))


@pytest.fixture
def take(service: "Service", records: RemoteRecords, pool: str, tmp_path: Path) -> Any:
    """Deploy an endpoint and take it, as an agent does."""

    def take(name: str, **spec: Any) -> RemoteHostedEndpoint:
        deploy(records, name, **spec)
        path = f"/execution/v1.0{workspace_of(service)}/computes/{pool}/take-endpoint"
        taken = service.call("POST", path, service.token_of(Role.AGENT), {"agent": "one"})
        assert taken["name"] == name
        return RemoteHostedEndpoint(service.tracking_uri, name, taken["token"], tmp_path)

    return take


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scorer]:
    import numpy as np
    from sklearn.linear_model import LinearRegression

    folder = served_folder(tmp_path_factory.mktemp("served"))
    save(LinearRegression().fit(np.array([[0.0], [1.0]]), np.array([1.0, 3.0])), folder / "model.skops")
    scorer = Scorer(folder).healthy()
    yield scorer
    scorer.end()


def ask(
    service: "Service",
    path: str,
    body: Any = None,
    *,
    key: str | None = KEYS[0],
    method: str | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    url = urlsplit(service.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port)
    sent = {} if key is None else {"Authorization": f"Bearer {key}"}
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    sent |= {"Content-Type": "application/json"} if content is not None else {}
    connection.request(method or ("GET" if body is None else "POST"), path, content, {**sent, **(headers or {})})
    answer = connection.getresponse()
    got = Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    connection.close()
    return got


class TestRouting:
    @pytest.fixture(autouse=True)
    def hosted(self, take: Any, records: RemoteRecords, scorer: Scorer) -> Iterator[RemoteHostedEndpoint]:
        host: RemoteHostedEndpoint = take("diabetes")
        assert host.hold(f"http://127.0.0.1:{scorer.port}", None)
        yield host
        records.endpoints.delete("diabetes")

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("score", {"data": [[2.0]]}),
            ("invocations", {"inputs": [[2.0]]}),
            ("score:predict", {"instances": [[2.0]]}),
            (
                "v2/models/diabetes_model/infer",
                {"inputs": [{"name": "input-0", "shape": [1, 1], "datatype": "FP64", "data": [2.0]}]},
            ),
        ],
    )
    def test_each_way_to_ask_leads_to_the_endpoint(
        self, service: "Service", scorer: Scorer, path: str, body: Any
    ) -> None:
        answer = ask(service, f"/endpoints/diabetes/{path}", body)
        assert (answer.status, answer.body) == (200, scorer.ask(f"/{path}", body).body), answer

    def test_the_endpoint_checks_its_key_and_no_role_is_needed(self, service: "Service") -> None:
        for key in (None, "another-key", service.token, service.token_of(Role.OWNER)):
            assert ask(service, "/endpoints/diabetes/score", {"data": [[2.0]]}, key=key).status == 401

    def test_swagger_and_health_are_told_and_metrics_are_not(self, service: "Service") -> None:
        assert ask(service, "/endpoints/diabetes/swagger.json").json["swagger"] == "2.0"
        assert ask(service, "/endpoints/diabetes/health", key=None).status == 200
        assert ask(service, "/endpoints/diabetes/metrics").status == 404

    def test_no_answer_runs_in_a_browser_beside_studio(self, service: "Service") -> None:
        asked = [("score", {"data": [[2.0]]}), ("score", {"data": 1}), ("swagger.json", None), ("health", None)]
        answers = [ask(service, f"/endpoints/diabetes/{path}", body) for path, body in asked]
        answers.append(ask(service, "/endpoints/nowhere/score", {}))
        for answer in answers:
            assert answer.headers["content-security-policy"] == "sandbox"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "set-cookie" not in answer.headers

    def test_a_large_body_is_streamed_to_the_endpoint_which_refuses_it(self, service: "Service") -> None:
        answer = ask(service, "/endpoints/diabetes/score", {"data": [[0.5]] * 200_000})
        assert answer.status in (200, 413), answer.body[:200]

    def test_the_scoring_uri_is_the_services_own(self, service: "Service", records: RemoteRecords) -> None:
        host = records.endpoints.get("diabetes").host
        assert host is not None
        assert host.address == f"{service.url.rstrip('/')}/endpoints/diabetes"


class Recorder(http.server.BaseHTTPRequestHandler):
    """Answers as a model with intent might, and keeps what it was sent."""

    seen: list[dict[str, str]]

    def do_POST(self) -> None:
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b"<script>alert(1)</script>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Set-Cookie", "session=mine")
        self.send_header("Clear-Site-Data", '"*"')
        self.send_header("Content-Security-Policy", "default-src *")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def test_cookies_and_the_services_tokens_pass_in_no_direction(
    service: "Service", records: RemoteRecords, take: Any
) -> None:
    seen: list[dict[str, str]] = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Recorder,), {"seen": seen})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = take("hostile")
        host.hold(f"http://127.0.0.1:{server.server_port}", None)
        cookie = {"Cookie": "amlstore_session=secret", "X-Hop": "1", "Connection": "keep-alive, X-Hop"}
        answer = ask(service, "/endpoints/hostile/score", {}, key="its-own-key", headers=cookie)
        ask(service, "/endpoints/hostile/score", {}, key=service.token)
        server.shutdown()
    records.endpoints.delete("hostile")
    assert answer.status == 200
    assert answer.headers["content-security-policy"] == "sandbox"
    assert not {"set-cookie", "clear-site-data"} & answer.headers.keys()
    assert not {"cookie", "x-hop"} & seen[0].keys()
    assert seen[0]["authorization"] == "Bearer its-own-key"
    assert "authorization" not in seen[1]


def test_what_isnt_there_isnt_hosted_or_doesnt_answer_is_told_apart(
    service: "Service", records: RemoteRecords, take: Any
) -> None:
    assert ask(service, "/endpoints/nowhere/score", {}).status == 404
    assert ask(service, "/endpoints/Not-A-Name/score", {}).status == 404
    host = take("silent")
    answer = ask(service, "/endpoints/silent/score", {})
    assert (answer.status, "retry-after" in answer.headers) == (503, True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    host.hold(f"http://127.0.0.1:{port}", None)
    assert ask(service, "/endpoints/silent/score", {}).status == 502
    records.endpoints.delete("silent")


class TestHosting:
    def test_a_host_tells_what_becomes_of_its_endpoint(self, records: RemoteRecords, take: Any) -> None:
        host = take("told")
        host.hold("http://127.0.0.1:1", None)
        host.say(1, "It is being started")
        host.set_state(1, EndpointState.HEALTHY, None, {"scikit-learn": "1.5"})
        host.set_serving({1: 100})
        log = host.log(1)
        log.write(b"a line\n")
        log.end()
        now = records.endpoints.get("told")
        assert (now.state, now.serving, now.newest.versions) == (
            EndpointState.HEALTHY,
            {1: 100},
            {"scikit-learn": "1.5"},
        )
        assert [each.text for each in records.endpoints.events("told")] == ["It is being started"]
        with records.files.open(endpoint_container("told"), "logs/1.txt") as content:
            assert content.read() == b"a line\n"
        host.leave()
        assert records.endpoints.get("told").state is EndpointState.UNHEALTHY
        records.endpoints.delete("told")

    def test_it_gets_its_models_files_and_the_hashes_of_its_keys_alone(
        self, records: RemoteRecords, take: Any, tmp_path: Path
    ) -> None:
        host = take("fetching")
        folder = tmp_path / "model"
        folder.mkdir()
        place = host.fetch_model("ridge:1", folder)
        assert (place / "model.skops").read_bytes() == MODEL
        assert host.model("ridge:1").name == "ridge"
        keys = records.endpoints.keys("fetching")
        assert len(host.key_hashes()) == 2
        assert not set(keys) & set(host.key_hashes())
        with pytest.raises(NotFound):
            host.fetch_model("other:1", folder)
        records.endpoints.delete("fetching")

    def test_its_token_opens_no_other_endpoint_and_ends_with_the_lease(
        self, service: "Service", records: RemoteRecords, take: Any
    ) -> None:
        host, other = take("first-one"), take("second-one")
        token = other._token
        path = f"/execution/v1.0{workspace_of(service)}/endpoints"
        assert ask(service, f"{path}/second-one/host", key=token).status == 200
        assert ask(service, f"{path}/first-one/host", key=token).status == 404
        assert ask(service, f"{path}/first-one/keys", key=token).status == 403
        assert ask(service, "/api/2.0/mlflow/experiments/get?experiment_id=0", key=token).status == 403
        other.leave()
        while ask(service, f"{path}/second-one/host", key=token).status != 401:  # it is noticed within half a second
            pass
        with pytest.raises(NotFound):
            other.get()
        assert host.get().name == "first-one"
        for name in ("first-one", "second-one"):
            records.endpoints.delete(name)
