"""Attacks on a service with paths that would lead out of its workspace, in each form that MLflow was once caught by.

Requests are sent as bytes, since a client library would put their targets in order first.
"""

import base64
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

import pytest

from mlflow_amlstore.service.addresses import BLOB_PREFIX, workspace_path
from mlflow_amlstore.service.routing import Area, Route

if TYPE_CHECKING:
    from tests.service.conftest import Service

CANARY = "canary-b1c2d3e4-that-no-answer-may-have"
# What would leave the workspace if anybody took it for a path: refused wherever a path is taken.
LEAVING = [
    "..", "../x", "../../../../../../etc/passwd", "a/../../x", "../canary", "../../canary",
    "%2e%2e/canary", ".%2e/x", "%2E%2E%2Fcanary", "..%2fcanary", "%252e%252e/x", "%25252e%25252e%25252fx",
    "..;/x", "..;a=b/x", "%2e%2e%3b/x", "..?x", "..#x", "..%00", "../x#y", "../x?y",
    "/etc/passwd", "//etc/passwd", "%2fetc/passwd", "%252fetc/passwd",
    "..\\x", "..\\..\\canary", "..%5ccanary", "..%255cx", "\\\\host\\share", "\\etc\\passwd",
    "C:\\windows\\win.ini",
    "file:x", "file:/etc/passwd", "file:///etc/passwd", "file://localhost/etc/passwd", "file://host/etc/passwd",
    "FILE:///etc/passwd", "file%3A///etc/passwd", "file:///etc/passwd?x#y",
    "a\0b", "x%00/../y",
    "%" + "25" * 9 + "2e",
]  # fmt: skip
# What leaves it in the eyes of some, or only as a model source or location.
ODD = [
    "%c0%ae%c0%ae/canary", "..%c0%afcanary", "%e0%80%ae%e0%80%ae/x", "%uff0e%uff0e/x", "．．/x", "..／x",
    "#", "?", ";", "#/../x", "?/../x", ";/../x", "x#", "x?y=/../z", "~/x", "~root", "$HOME/x", "`id`", "x|id", "{0}",
    " ..", ".. ", "...", "....//", ".", "./", "/", "//", "NUL", "con.txt", "-rf", "x" * 5000, "\r\nX: y", "\n..",
    "a%2500b", "a%255cb",
]  # fmt: skip
SOURCES = [
    "http://127.0.0.1:1/x", "https://host/x", "ftp://host/x", "data:text/plain,x", "fi\nle:///etc", " file:///etc",
    "s3://bucket/../x", "s3://bucket/%2e%2e/x", "s3://bucket/x?y=/../z", "s3://bucket/x#/../z", "s3://[bucket",
    "amlstore:///etc", "AMLSTORE:///etc", "workspace:/../../canary", "workspace:/0/x/artifacts/%2e%2e/x",
    "runs:/x/../y", "models:/x/../1", "mlflow-artifacts:/../x", "mlflow-artifacts://host/../x", "etc", "./x", "~/x",
]  # fmt: skip


class Answer(NamedTuple):
    status: int
    body: bytes


@dataclass
class Attacker:
    """Who sends requests as bytes, and looks at every answer."""

    service: "Service"
    known: dict[str, Any]
    forbidden: list[bytes]
    leaving: frozenset[str] = frozenset(LEAVING)
    sources: frozenset[str] = frozenset(SOURCES)
    requests: int = 0
    fields: set[tuple[str, str]] = field(default_factory=set)
    _socket: socket.socket | None = None

    def send(self, method: str, target: str, body: object = None, headers: dict[str, str] | None = None) -> Answer:
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        head = {
            "Host": urlsplit(self.service.url).netloc,
            "Authorization": f"Bearer {self.known['token']}",
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **(headers or {}),
        }
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
        answer = self._exchange(method, "\r\n".join(lines).encode() + content)
        self.requests += 1
        assert answer.status < 500 or answer.status == 501, (method, target, body, answer)
        for secret in self.forbidden:
            assert secret not in answer.body, (method, target, body)
        return answer

    def _exchange(self, method: str, sent: bytes) -> Answer:
        if self._socket is None:
            url = urlsplit(self.service.url)
            self._socket = socket.create_connection((url.hostname, url.port))
        self._socket.sendall(sent)
        received = self._socket.recv(65536)
        while b"\r\n\r\n" not in received:
            received += self._more()
        head, _, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
        while length is not None and method != "HEAD" and len(body) < int(length[1]):
            body += self._more()
        if b"\r\nconnection: close" in head.lower():
            self._socket.close()
            self._socket = None
        return Answer(int(head.split(b" ", 2)[1]), body)

    def _more(self) -> bytes:
        assert self._socket is not None
        more = self._socket.recv(65536)
        assert more, "the service closed the connection in the middle of an answer"
        return more

    def forms_for(self, route: Route) -> list[str]:
        """What to attack a route with: where files are named, with all."""
        return [*LEAVING, *ODD, *SOURCES] if _is_about_files(route) else LEAVING

    def written_forms(self, route: Route) -> Iterator[tuple[str, str]]:
        """Forms and how each is written in a target: as it is and, where files are named, encoded too."""
        for form in self.forms_for(route):
            yield form, self.as_it_is(form)
            if _is_about_files(route) and quote(form, safe="") != self.as_it_is(form):
                yield form, quote(form, safe="")

    @staticmethod
    def as_it_is(form: str) -> str:
        """A form in a target, with only that encoded which would end the request's first line."""
        return quote(form, safe="!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")

    def prefixes_of(self, route: Route) -> list[str]:
        """What comes before a route's path."""
        workspace = quote(workspace_path(self.service.workspace_name))
        return {
            Area.MLFLOW: ["", f"/mlflow/v2.0{workspace}"] if _is_about_files(route) else [""],
            Area.HISTORY: [f"/history/v1.0{workspace}"],
            Area.ARTIFACT: [f"/artifact/v2.0{workspace}"],
            Area.METRIC: [f"/metric/v2.0{workspace}"],
            Area.CONTENT: [f"/content/v2.0{workspace}"],
            Area.EXECUTION: [f"/execution/v1.0{workspace}"],
            Area.ENVIRONMENT: [f"/environment/v1.0{workspace}"],
            Area.MODEL_MANAGEMENT: [f"/modelmanagement/v1.0{workspace}"],
            Area.BLOB: [BLOB_PREFIX],
            Area.ROOT: [""],
            Area.ARM: [""],
        }[route.area]

    def filled(self, route: Route, attacked_name: str = "", form: str = "") -> str:
        """A route's path with good values, and the form in the place of one; a location has a good container first."""
        run = self.known["run"]
        good = {
            "experiment": "0", "run": run, "origin": "ExperimentRun", "container": f"dcid.{run}",
            "location:path": f"0/{run}/artifacts/kept.txt", "path:path": "kept.txt", "prefix:path": "kept.txt",
            "model_id": self.known["model"],
        }  # fmt: skip
        if attacked_name:
            good[attacked_name] = f"0/{run}/artifacts/{form}" if attacked_name == "location:path" else form
        return re.sub(r"{(\w+(?::path)?)}", lambda match: good.get(match[1], "x"), route.path)


def _is_about_files(route: Route) -> bool:
    return "artifacts" in route.path or route.path.endswith(("model-versions/create", "/{location:path}"))


@pytest.fixture(scope="module")
def attacker(service: "Service") -> Iterator[Attacker]:
    """Knows a run with a file, a logged model, a registered model and a signed URL, each good to be attacked with."""
    outside = service.folder.parent
    for place in (outside, outside.parent):
        (place / "canary").write_text(CANARY)
        (place / "x").write_text(CANARY)
    secret = (service.folder / "service" / "secret").read_bytes()
    forbidden = [CANARY.encode(), b"root:x:0:0", b"SQLite format 3", secret, base64.b64encode(secret)]
    token = service.exchange(service.key)
    attacker = Attacker(service, {"token": token}, forbidden)

    def call(path: str, body: dict[str, Any]) -> Any:
        answer = attacker.send("POST", f"/api/2.0/mlflow/{path}", body)
        assert answer.status == 200, answer
        return json.loads(answer.body)

    run, bystander = (call("runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"] for _ in range(2))
    for run_id in (run, bystander):
        attacker.send("PUT", f"/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/kept.txt", b"kept")
    model = call("logged-models", {"experiment_id": "0", "name": "net"})["model"]["info"]["model_id"]
    call("registered-models/create", {"name": "model"})
    call("model-versions/create", {"name": "model", "source": f"runs:/{run}/kept.txt", "run_id": run})
    signed = call("artifacts/presigned-upload-url", {"run_id": run, "path": "put.txt"})["presigned_url"]
    attacker.known |= {"run": run, "bystander": bystander, "model": model, "signed_query": urlsplit(signed).query}
    yield attacker
    forms = len({*LEAVING, *ODD, *SOURCES})
    print(f"\ntraversal: {forms} forms in {len(attacker.fields)} fields, {attacker.requests} requests")


@pytest.fixture(autouse=True)
def _nothing_outside_changes(attacker: Attacker) -> Iterator[None]:
    """Whatever the test sends, the folders around the workspace stay as they were, and in it are only its own files."""
    folder = attacker.service.folder
    before = _listing(folder)
    yield
    assert _listing(folder) == before
    own = re.compile(
        r"config\.json|records\.db(-wal|-shm)?|service/secret|files/[0-9a-f]{2}/[0-9a-f]{64}|files/(incoming|blocks)/.*"
    )
    inside = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert [name for name in inside if not own.fullmatch(name)] == []
    kept = f"/api/2.0/mlflow-artifacts/artifacts/0/{attacker.known['bystander']}/artifacts/kept.txt"
    assert attacker.send("GET", kept) == (200, b"kept")


def _listing(workspace: Path) -> dict[str, bytes | None]:
    """All around a workspace but what the service writes on purpose: its log."""
    around = workspace.parent.parent
    return {
        path.relative_to(around).as_posix(): path.read_bytes() if path.is_file() else None
        for path in around.rglob("*")
        if not path.is_relative_to(workspace) and path != workspace.parent / "log"
    }
