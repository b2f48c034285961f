"""MLflow without this package's plugin, through the artifact proxy: its own client, and what it must not reach."""

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mlflow_amlstore.pytest_plugin import mlflow_pointed_at
from mlflow_amlstore.service.access import Role

if TYPE_CHECKING:
    from tests.service.conftest import Service

PROXY = "/api/2.0/mlflow-artifacts"


@pytest.fixture
def client(service: "Service", monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """MLflow's own client, by the service's plain address."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", service.token_of(Role.CONTRIBUTOR))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with mlflow_pointed_at(service.url):  # downloads by artifact URI look here
        yield MlflowClient(service.url)


@pytest.fixture
def run_id(client: MlflowClient) -> str:
    return str(client.create_run("0").info.run_id)


def _files(client: MlflowClient, run_id: str, path: str | None = None) -> dict[str, int | None]:
    return {file.path: None if file.is_dir else file.file_size for file in client.list_artifacts(run_id, path)}


def _call(service: "Service", method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {service.token_of(Role.CONTRIBUTOR)}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None
    finally:
        connection.close()


def test_mlflow_writes_lists_reads_and_deletes(client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    (tmp_path / "up" / "deep").mkdir(parents=True)
    (tmp_path / "up" / "ü &+.bin").write_bytes(b"\0\1\2")
    (tmp_path / "up" / "deep" / "empty").touch()

    client.log_artifact(run_id, str(tmp_path / "up" / "ü &+.bin"))
    client.log_artifacts(run_id, str(tmp_path / "up"), "folder/sub")
    client.log_text(run_id, "hello", "note.txt")
    client.log_text(run_id, "hello again", "note.txt")

    assert _files(client, run_id) == {"folder": None, "note.txt": 11, "ü &+.bin": 3}
    assert _files(client, run_id, "folder/sub") == {"folder/sub/deep": None, "folder/sub/ü &+.bin": 3}
    assert _files(client, run_id, "note.txt") == {}
    assert Path(client.download_artifacts(run_id, "ü &+.bin", str(tmp_path))).read_bytes() == b"\0\1\2"
    (tmp_path / "down").mkdir()
    whole = Path(client.download_artifacts(run_id, "", str(tmp_path / "down")))
    assert sorted(path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()) == [
        "folder/sub/deep/empty",
        "folder/sub/ü &+.bin",
        "note.txt",
        "ü &+.bin",
    ]
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/note.txt") == "hello again"
    get_artifact_repository(client.get_run(run_id).info.artifact_uri).delete_artifacts("folder")
    assert _files(client, run_id) == {"note.txt": 11, "ü &+.bin": 3}


def test_mlflow_uploads_and_downloads_large_files_in_parts(
    client: MlflowClient, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(23 * 1024**2 + 5)
    (tmp_path / "big.bin").write_bytes(content)
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true")  # MLflow 2 has no such thing
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(5 * 1024**2))
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(5 * 1024**2))
    monkeypatch.setenv("MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE", str(4 * 1024**2))

    client.log_artifact(run_id, str(tmp_path / "big.bin"), "sub")

    assert _files(client, run_id, "sub") == {"sub/big.bin": len(content)}
    (tmp_path / "down").mkdir()
    assert Path(client.download_artifacts(run_id, "sub/big.bin", str(tmp_path / "down"))).read_bytes() == content


def test_an_upload_in_parts_appears_when_it_is_complete(service: "Service", client: MlflowClient, run_id: str) -> None:
    location = f"0/{run_id}/artifacts/sub"

    def call(what: str, **body: object) -> tuple[int, Any]:
        return _call(service, "POST", f"{PROXY}/mpu/{what}/{location}", json.dumps(body).encode())

    _, created = call("create", path="C:\\Users\\x\\big.bin", num_parts=3)
    assert [credential["part_number"] for credential in created["credentials"]] == [1, 2, 3]
    for credential, content in zip(created["credentials"], (b"one ", b"two ", b"three"), strict=True):
        request = urllib.request.Request(credential["url"], content, credential["headers"], method="PUT")
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 201
    assert _files(client, run_id) == {}
    parts = [{"part_number": number, "etag": "", "url": None} for number in (3, 1, 2)]

    unknown = call("complete", path="big.bin", upload_id="0" * 32, parts=parts)
    foreign = call("complete", path="big.bin", upload_id="../x", parts=parts)
    whole = call("complete", path="big.bin", upload_id=created["upload_id"], parts=parts)

    assert [unknown[0], foreign[0], whole] == [404, 400, (200, {})]
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/sub/big.bin") == "one two three"
    _, created = call("create", path="/tmp/other.bin", num_parts=1)
    urllib.request.urlopen(urllib.request.Request(created["credentials"][0]["url"], b"x", method="PUT")).close()
    assert call("abort", path="/tmp/other.bin", upload_id=created["upload_id"]) == (200, {})
    gone = call("complete", path="/tmp/other.bin", upload_id=created["upload_id"], parts=[{"part_number": 1}])
    assert gone[0] == 404
    assert [call("create", path="a", num_parts=number)[0] for number in (0, 10_001)] == [400, 400]


def test_presigned_urls_are_content_urls(service: "Service", client: MlflowClient, run_id: str) -> None:
    def call(what: str, **body: object) -> tuple[int, Any]:
        return _call(service, "POST", f"/api/2.0/mlflow/artifacts/presigned-{what}-url", json.dumps(body).encode())

    status, upload = call("upload", run_id=run_id, path="sub/a.bin", expiration=60)
    request = urllib.request.Request(upload["presigned_url"], b"content", upload["headers"], method="PUT")
    with urllib.request.urlopen(request) as answer:
        assert (status, answer.status) == (200, 201)
    _, download = call("download", run_id=run_id, path="sub/a.bin")
    _, proxied = _call(service, "GET", f"{PROXY}/presigned/0/{run_id}/artifacts/sub/a.bin")

    assert (download["headers"], download["file_size"]) == (proxied["headers"], proxied["file_size"]) == ({}, 7)
    for url in (download["presigned_url"], proxied["url"]):
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == b"content"
    for what, body in (
        ("upload", {"run_id": run_id, "model_id": "m", "path": "a"}),
        ("upload", {"path": "a"}),
        ("upload", {"run_id": run_id, "path": "../a"}),
        ("upload", {"run_id": run_id, "path": "a", "expiration": 0}),
        ("download", {"run_id": run_id, "path": "sub/a.bin", "expiration": 604_801}),
    ):
        assert call(what, **body)[0] == 400
    assert call("download", run_id=run_id, path="nothing")[0] == 404


def test_a_run_is_listed_by_its_id(service: "Service", client: MlflowClient, run_id: str) -> None:
    client.log_text(run_id, "hello", "sub/note.txt")
    route = "/api/2.0/mlflow/artifacts/list"

    assert _call(service, "GET", f"{route}?run_id={run_id}") == (
        200,
        {"root_uri": f"mlflow-artifacts:/0/{run_id}/artifacts", "files": [{"path": "sub", "is_dir": True}]},
    )
    _, sub = _call(service, "GET", f"{route}?run_uuid={run_id}&path=sub")
    assert sub["files"] == [{"path": "sub/note.txt", "is_dir": False, "file_size": 5}]
    assert _call(service, "GET", f"{route}?run_id=unknown")[0] == 404


def test_a_download_is_an_attachment_and_may_be_of_a_part(
    service: "Service", client: MlflowClient, run_id: str
) -> None:
    client.log_text(run_id, "<script>", "sub/ü.html")
    headers = {"Authorization": f"Bearer {service.token_of(Role.READER)}", "Range": "bytes=1-6"}
    url = f"{service.url}{PROXY}/artifacts/0/{run_id}/artifacts/sub/{quote('ü')}.html"

    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        assert (answer.status, answer.read()) == (206, b"script")
        assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''%C3%BC.html"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_stream_of_unknown_length_is_taken(service: "Service", client: MlflowClient, run_id: str) -> None:
    chunks = [os.urandom(700_000) for _ in range(5)]
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc)
    headers = {"Authorization": f"Bearer {service.token_of(Role.CONTRIBUTOR)}"}
    target = f"{PROXY}/artifacts/0/{run_id}/artifacts/stream"
    connection.request("PUT", target, iter(chunks), headers, encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()
    assert _files(client, run_id) == {"stream": 3_500_000}


CLIMBING = [
    "../x",
    "%2e%2e/x",
    "%252e%252e/x",
    "..%2fx",
    "..%5cx",
    "%2fetc%2fpasswd",
    "C%3a%5cx",
    "file%3a///x",
    "a%00b",
]


@pytest.mark.parametrize("path", CLIMBING)
def test_no_route_takes_a_path_that_climbs_out(
    service: "Service", client: MlflowClient, run_id: str, path: str
) -> None:
    container = f"0/{run_id}/artifacts"
    in_address = [
        ("GET", f"{PROXY}/artifacts/{container}/{path}", None),
        ("PUT", f"{PROXY}/artifacts/{container}/{path}", b"x"),
        ("DELETE", f"{PROXY}/artifacts/{container}/{path}", None),
        ("GET", f"{PROXY}/presigned/{container}/{path}", None),
        ("POST", f"{PROXY}/mpu/create/{container}/{path}", b'{"path": "a"}'),
        ("POST", f"{PROXY}/mpu/abort/{container}/{path}", b'{"path": "a"}'),
        ("POST", f"{PROXY}/mpu/complete/{container}/{path}", b'{"path": "a", "upload_id": "", "parts": []}'),
        ("GET", f"{PROXY}/artifacts?path={container}/{path}", None),
        ("GET", f"/api/2.0/mlflow/artifacts/list?run_id={run_id}&path={path}", None),
    ]
    for method, target, body in in_address:
        status, answer = _call(service, method, target, body)
        assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), (target, answer)
    assert _files(client, run_id) == {}


@pytest.mark.parametrize("location", ["", "0", "0/x", "x/y/artifacts/z", "0/models/y/z", "etc/passwd", "..", "."])
def test_only_containers_are_there(service: "Service", location: str) -> None:
    for method, target in (("GET", f"{PROXY}/artifacts?path={location}"), ("PUT", f"{PROXY}/artifacts/{location}")):
        assert _call(service, method, target, b"x" if method == "PUT" else None)[0] in (400, 404)


def test_only_runs_that_are_there_take_files(service: "Service", client: MlflowClient, run_id: str) -> None:
    """A deleted run is there until it is purged and takes files, as in MLflow's own server."""
    client.delete_run(run_id)
    for container, expected in ((f"0/{run_id}", 200), (f"1/{run_id}", 404), ("0/unknown", 404)):
        target = f"{PROXY}/artifacts/{container}/artifacts/b"
        assert _call(service, "PUT", target, b"x")[0] == expected, container
        assert _call(service, "DELETE", target)[0] == expected, container
    client.restore_run(run_id)
    assert _call(service, "PUT", f"{PROXY}/artifacts/1/{run_id}/artifacts/a", b"x")[0] == 404


def test_a_name_is_a_file_or_a_folder(service: "Service", run_id: str) -> None:
    assert _call(service, "PUT", f"{PROXY}/artifacts/0/{run_id}/artifacts/a", b"x")[0] == 200
    status, answer = _call(service, "PUT", f"{PROXY}/artifacts/0/{run_id}/artifacts/a/b", b"x")
    assert (status, "either a file or a folder" in answer["message"]) == (400, True)
