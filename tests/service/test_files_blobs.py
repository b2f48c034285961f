"""The storage protocol over content URLs: what a client can write and read, and all that it's refused."""

import base64
import hashlib
import http.client
import os
import re
import socket
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote, urlsplit

import pytest
from machine_speed import at_least

from mlflow_amlstore.service.access import Role
from mlflow_amlstore.service.addresses import workspace_path

if TYPE_CHECKING:
    from tests.service.conftest import Service

BLOB = {"x-ms-blob-type": "BlockBlob"}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """Azure's error code, which must be the same in the header and in the XML."""
        code = self.headers["x-ms-error-code"]
        assert f"<Code>{code}</Code>".encode() in self.body
        return code


class Storage:
    """The content URLs of one run."""

    def __init__(self, service: "Service") -> None:
        self.service = service
        self._staged_before = self._staged()
        self.token = service.token_of(Role.CONTRIBUTOR)
        created = service.call("POST", "/api/2.0/mlflow/runs/create", self.token, {"experiment_id": "0"})
        self.run_id = created["run"]["info"]["run_id"]
        self.artifacts = (
            f"/history/v1.0{quote(workspace_path(service.workspace_name))}/experiments/0/runs/{self.run_id}/artifacts"
        )

    def write_url(self, path: str) -> str:
        answer = self.service.call("POST", f"{self.artifacts}/batch/metadata", self.token, {"paths": [{"path": path}]})
        assert answer["errors"] == {}
        return str(answer["artifactContentInformation"][path]["contentUri"])

    def read_url(self, path: str) -> str:
        return str(self.content_information(path)["contentUri"])

    def content_information(self, path: str) -> dict[str, object]:
        found = self.service.call("GET", f"{self.artifacts}/contentinfo?path={quote(path, safe='')}", self.token)
        assert isinstance(found, dict)
        return found

    def listed(self) -> dict[str, int]:
        value = self.service.call("GET", self.artifacts, self.token)["value"]
        return {artifact["path"]: artifact["contentLength"] for artifact in value}

    def call(
        self, method: str, url: str, headers: dict[str, str] | None = None, body: bytes | None = None, query: str = ""
    ) -> Answer:
        """One request, on a connection of its own; `query` comes first, as Azure's clients have it."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc)
        try:
            target = f"{parts.path}?{query}{'&' if query else ''}{parts.query}"
            connection.request(method, target, body, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def put(self, path: str, content: bytes, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call("PUT", self.write_url(path), {**BLOB, **named}, content)

    def put_block(self, url: str, number: int, content: bytes, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call("PUT", url, named, content, f"comp=block&blockid={quote(_id(number), safe='')}")

    def put_list(self, url: str, document: bytes | list[int], **headers: str) -> Answer:
        if isinstance(document, list):
            document = b"<BlockList>%b</BlockList>" % b"".join(
                b"<Latest>%b</Latest>" % _id(number).encode() for number in document
            )
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call("PUT", url, named, document, "comp=blocklist")

    def incoming(self, *, data: bool = True) -> list[Path]:
        """What came into the staging folder since the test began, when what was broken off has had time to go.

        Without `data`, the room that blocks had is left out: it stays until the file's other blocks go.
        """
        if not self._staged(data) - self._staged_before:
            return []
        deadline = time.monotonic() + at_least(5, 10)
        while (found := self._staged(data) - self._staged_before) and time.monotonic() < deadline:
            time.sleep(0.02)
        return sorted(found)

    def _staged(self, data: bool = True) -> set[Path]:
        folder = self.service.folder / "files" / "incoming"
        found = folder.rglob("*") if folder.exists() else ()
        return {path for path in found if data or not (path.suffix == ".data" or path.is_dir())}


def _id(number: int) -> str:
    return base64.b64encode(f"{number:06d}".encode()).decode()


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()


@pytest.fixture
def storage(service: "Service") -> Storage:
    return Storage(service)


def test_a_file_is_put_and_got(storage: Storage) -> None:
    content = os.urandom(3_000_001)

    put = storage.put("sub dir/ü ?#%41&.bin", content, If_None_Match="*", Content_Type="application/octet-stream")
    got = storage.call("GET", storage.read_url("sub dir/ü ?#%41&.bin"))

    assert (put.status, got.status, got.body) == (201, 200, content)
    etag = f'"{hashlib.sha256(content).hexdigest()}"'
    assert put.headers["etag"] == got.headers["etag"] == etag
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", got.headers["last-modified"])
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["content-length"] == "3000001"
    assert storage.listed() == {"sub dir/ü ?#%41&.bin": 3_000_001}
    assert storage.incoming() == []


def test_a_file_appears_when_its_content_is_whole(storage: Storage) -> None:
    url = storage.write_url("model.bin")
    assert storage.listed() == {}
    assert storage.call("PUT", url, BLOB, b"content").status == 201
    assert storage.listed() == {"model.bin": 7}


def test_a_file_is_written_again(storage: Storage) -> None:
    for content in (b"first", b"the second"):
        assert storage.put("last.ckpt", content, If_None_Match="*").status == 201
        assert storage.call("GET", storage.read_url("last.ckpt")).body == content


def test_its_type_is_what_the_client_says_or_its_name(storage: Storage) -> None:
    storage.put("a.json", b"{}", Content_Type="application/octet-stream")
    storage.put("b.json", b"{}", x_ms_blob_content_type="text/x-mine", Content_Type="application/octet-stream")
    storage.put("c.json", b"{}", Content_Type="image/png")
    storage.put("d.json", b"{}", Content_Type="what a type")

    types = [storage.call("HEAD", storage.read_url(f"{name}.json")).headers["content-type"] for name in "abcd"]

    assert types == ["application/json", "text/x-mine; charset=utf-8", "image/png", "application/json"]


def test_what_is_served_cannot_act_as_a_page_of_the_service(storage: Storage) -> None:
    storage.put("report.html", b"<script>alert(1)</script>")
    headers = storage.call("GET", storage.read_url("report.html")).headers
    assert (headers["content-security-policy"], headers["x-content-type-options"]) == ("sandbox", "nosniff")


def test_an_empty_file_has_no_ranges(storage: Storage) -> None:
    assert storage.put("empty", b"").status == 201
    url = storage.read_url("empty")

    ranged = storage.call("GET", url, {"x-ms-range": "bytes=0-33554431"})
    whole = storage.call("GET", url)

    assert (ranged.status, ranged.code, ranged.headers["content-range"]) == (416, "InvalidRange", "bytes */0")
    assert (whole.status, whole.body, whole.headers["content-length"]) == (200, b"", "0")
    assert storage.listed() == {"empty": 0}


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=2999990-", 2_999_990, 3_000_000),
        ("bytes=2999990-33554431", 2_999_990, 3_000_000),
        ("bytes=-5", 2_999_995, 3_000_000),
        ("bytes=100-2500000", 100, 2_500_001),
    ],
)
@pytest.mark.parametrize("name", ["x-ms-range", "Range"])
def test_a_range_is_got(storage: Storage, name: str, header: str, start: int, stop: int) -> None:
    content = os.urandom(3_000_000)
    storage.put("big", content)

    got = storage.call("GET", storage.read_url("big"), {name: header})

    assert (got.status, got.body) == (206, content[start:stop])
    assert got.headers["content-range"] == f"bytes {start}-{stop - 1}/3000000"
    assert got.headers["content-length"] == str(stop - start)


def test_storages_own_range_wins(storage: Storage) -> None:
    storage.put("a", b"0123456789")
    got = storage.call("GET", storage.read_url("a"), {"Range": "bytes=0-1", "x-ms-range": "bytes=4-5"})
    assert got.body == b"45"


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [
        ("bytes=10-", 416, "InvalidRange"),
        ("bytes=5-4", 400, "InvalidHeaderValue"),
        ("bytes=-0", 400, "InvalidHeaderValue"),
        ("bytes=0-1,4-5", 400, "InvalidHeaderValue"),
        ("lines=0-1", 400, "InvalidHeaderValue"),
        ("bytes=" + "9" * 30 + "-", 400, "InvalidHeaderValue"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(storage: Storage, header: str, status: int, code: str) -> None:
    storage.put("a", b"0123456789")
    got = storage.call("GET", storage.read_url("a"), {"x-ms-range": header})
    assert (got.status, got.code) == (status, code)


def test_ranges_of_one_content_are_asked_for_with_its_etag(storage: Storage) -> None:
    etag = storage.put("last.ckpt", b"old content").headers["etag"]
    url = storage.read_url("last.ckpt")
    assert storage.call("GET", url, {"x-ms-range": "bytes=0-2", "If-Match": etag}).body == b"old"
    storage.put("last.ckpt", b"new content")

    changed = storage.call("GET", url, {"x-ms-range": "bytes=3-", "If-Match": etag})

    assert (changed.status, changed.code) == (412, "ConditionNotMet")
    assert storage.call("GET", url, {"If-Match": "*"}).body == b"new content"
    assert storage.call("GET", url, {"If-None-Match": etag}).status == 200
    current = storage.call("HEAD", url).headers["etag"]
    assert storage.call("GET", url, {"If-None-Match": current}).status == 304
    written = storage.call("PUT", storage.write_url("last.ckpt"), {**BLOB, "If-Match": etag}, b"x")
    assert (written.status, written.code) == (412, "ConditionNotMet")


def test_the_md5_that_came_with_a_file_is_checked_kept_and_told(storage: Storage) -> None:
    content = os.urandom(100_000)
    put = storage.put("a", content, Content_MD5=_md5(content))
    url = storage.read_url("a")

    assert put.headers["content-md5"] == _md5(content)
    assert storage.call("GET", url).headers["content-md5"] == _md5(content)
    head = storage.call("HEAD", url)
    assert (head.headers["content-md5"], head.headers["content-length"], head.body) == (_md5(content), "100000", b"")
    ranged = storage.call("GET", url, {"x-ms-range": "bytes=0-9"})
    assert "content-md5" not in ranged.headers
    assert ranged.headers["x-ms-blob-content-md5"] == _md5(content)


def test_a_range_comes_with_its_md5_if_asked_for(storage: Storage) -> None:
    content = os.urandom(5 * 1024**2)
    storage.put("a", content)
    url = storage.read_url("a")
    wanted = {"x-ms-range-get-content-md5": "true"}

    got = storage.call("GET", url, {**wanted, "x-ms-range": "bytes=1-4194304"})

    assert got.body == content[1:4194305]
    assert got.headers["content-md5"] == _md5(got.body)
    for headers in ({**wanted, "x-ms-range": "bytes=0-4194304"}, wanted):
        refused = storage.call("GET", url, headers)
        assert (refused.status, refused.code) == (400, "InvalidHeaderValue")


def test_content_with_another_md5_or_sha256_is_not_kept(storage: Storage) -> None:
    other = b"other"
    wrong_md5 = storage.put("a", b"content", Content_MD5=_md5(other))
    wrong_sha = storage.put("a", b"content", x_amlstore_sha256=hashlib.sha256(other).hexdigest())
    no_md5 = storage.put("a", b"content", Content_MD5="abc")
    no_sha = storage.put("a", b"content", x_amlstore_sha256="abc")

    assert [(answer.status, answer.code) for answer in (wrong_md5, wrong_sha, no_md5, no_sha)] == [
        (400, "Md5Mismatch"),
        (400, "IncompleteBody"),
        (400, "InvalidMd5"),
        (400, "InvalidHeaderValue"),
    ]
    assert storage.listed() == {}
    assert storage.incoming() == []
    assert storage.put("a", other, x_amlstore_sha256=hashlib.sha256(other).hexdigest().upper()).status == 201


def test_blocks_become_a_file(storage: Storage) -> None:
    contents = [os.urandom(1_500_000), os.urandom(1_500_000), os.urandom(17)]
    whole = b"".join(contents)
    url = storage.write_url("big.bin")
    for number in (2, 0, 1):
        offset = str(number * 1_500_000)
        put = storage.put_block(
            url, number, contents[number], Content_MD5=_md5(contents[number]), x_amlstore_offset=offset
        )
        assert (put.status, put.headers["content-md5"]) == (201, _md5(contents[number]))
    assert storage.listed() == {}

    listed = storage.put_list(
        url,
        [0, 1, 2],
        If_None_Match="*",
        x_ms_blob_content_md5=_md5(whole),
        x_amlstore_sha256=hashlib.sha256(whole).hexdigest(),
    )

    assert (listed.status, listed.headers["etag"]) == (201, f'"{hashlib.sha256(whole).hexdigest()}"')
    got = storage.call("GET", storage.read_url("big.bin"))
    assert (got.body, got.headers["content-md5"]) == (whole, _md5(whole))
    assert storage.incoming() == []
    assert storage.put_list(url, [0, 1, 2]).status == 201  # the answer was lost, say, and the list is sent again


def test_a_block_with_another_md5_is_not_kept(storage: Storage) -> None:
    url = storage.write_url("big.bin")
    wrong = storage.put_block(url, 0, b"content", Content_MD5=_md5(b"other"))
    missing = storage.put_list(url, [0])
    assert [(answer.status, answer.code) for answer in (wrong, missing)] == [
        (400, "Md5Mismatch"),
        (400, "InvalidBlockList"),
    ]
    assert storage.listed() == {}


def test_blocks_are_found_again_after_the_service_was_killed(start_service: "Callable[..., Service]") -> None:
    service = start_service()
    storage = Storage(service)
    url = storage.write_url("big.bin")
    assert storage.put_block(url, 0, b"first ").status == 201
    service.kill()
    service.start()

    listed = storage.call("GET", url, query="comp=blocklist&blocklisttype=uncommitted")

    assert listed.status == 200
    assert listed.body == (
        b'<?xml version="1.0" encoding="utf-8"?><BlockList><CommittedBlocks /><UncommittedBlocks><Block>'
        b"<Name>MDAwMDAw</Name><Size>6</Size></Block></UncommittedBlocks></BlockList>"
    )
    storage.put_block(url, 1, b"second")
    assert storage.put_list(url, [0, 1]).status == 201
    assert storage.call("GET", storage.read_url("big.bin")).body == b"first second"


def test_a_block_list_is_told_of_what_is_there(storage: Storage) -> None:
    url = storage.write_url("a")
    nothing = storage.call("GET", url, query="comp=blocklist&blocklisttype=all")
    storage.put_block(url, 0, b"x")
    committed = storage.call("GET", url, query="comp=blocklist")
    unknown = storage.call("GET", url, query="comp=blocklist&blocklisttype=x")

    assert (nothing.status, nothing.code) == (404, "BlobNotFound")
    assert (committed.status, committed.body.count(b"<Block>")) == (200, 0)
    assert (unknown.status, unknown.code) == (400, "InvalidQueryParameterValue")


BOMB = b"""<?xml version="1.0"?><!DOCTYPE BlockList [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<BlockList><Latest>&b;</Latest></BlockList>"""
OUTSIDE = b"""<!DOCTYPE BlockList SYSTEM "file:///etc/passwd"><BlockList><Latest>eA==</Latest></BlockList>"""


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (BOMB, "document type"),
        (OUTSIDE, "document type"),
        (b"<BlockList><Latest>eA==</Latest>", "no element found"),
        (b"", "no element found"),
        (b"\0\1", "not well-formed"),
        (b"<Blocks/>", "&lt;Blocks&gt; stands where it can't"),
        (b"<BlockList><Block>eA==</Block></BlockList>", "stands where it can't"),
        (b"<BlockList><Latest><Latest>eA==</Latest></Latest></BlockList>", "stands where it can't"),
        (b'<?xml version="1.0" encoding="x-y"?><BlockList/>', "unknown encoding"),
        (b"<BlockList>" + b"<a>" * 100_000, "stands where it can't"),
    ],
)
def test_a_block_list_that_is_none_is_refused(storage: Storage, document: bytes, message: str) -> None:
    answer = storage.put_list(storage.write_url("a"), document)
    assert (answer.status, answer.code) == (400, "InvalidInput")
    assert message in answer.body.decode()
    assert storage.listed() == {}


def test_a_block_list_may_be_long_but_not_any_length(storage: Storage) -> None:
    url = storage.write_url("a")
    storage.put_block(url, 0, b"x")

    many = storage.put_list(url, [0] * 50_000)
    too_many = storage.put_list(url, [0] * 50_001)
    too_large = storage.put_list(url, b"<BlockList>" + b" " * 8 * 1024**2)

    assert many.status == 201
    assert (too_many.status, too_many.code) == (400, "BlockListTooLong")
    assert (too_large.status, too_large.code) == (413, "RequestBodyTooLarge")
    assert storage.listed() == {"a": 50_000}


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("", {}, 400, "InvalidHeaderValue"),
        ("", {"x-ms-blob-type": "PageBlob"}, 400, "InvalidHeaderValue"),
        ("", {**BLOB, "Content-Length": str(5000 * 1024**2 + 1)}, 413, "RequestBodyTooLarge"),
        ("", {**BLOB, "Content-Length": "9" * 50}, None, ""),
        ("", {**BLOB, "Content-Length": "-1"}, None, ""),
        ("", {**BLOB, "Content-Length": "0x10"}, None, ""),
        ("", {**BLOB, "x-ms-copy-source": "https://elsewhere/x"}, 501, "NotImplemented"),
        ("comp=block&blockid=eA%3D%3D", {"x-ms-copy-source": "https://elsewhere/x"}, 501, "NotImplemented"),
        ("comp=metadata", BLOB, 400, "InvalidQueryParameterValue"),
        ("comp=block", {}, 400, "InvalidQueryParameterValue"),
        ("comp=block&blockid=..%2F..%2Fx", {}, 400, "InvalidQueryParameterValue"),
        ("comp=block&blockid=eA%3D%3D", {"Content-Length": "0"}, 400, "InvalidHeaderValue"),
        ("comp=block&blockid=eA%3D%3D", {"Content-Length": str(4000 * 1024**2 + 1)}, 413, "RequestBodyTooLarge"),
        ("comp=block&blockid=eA%3D%3D", {"x-amlstore-offset": "-1"}, 400, "InvalidHeaderValue"),
        ("comp=block&blockid=eA%3D%3D", {"x-amlstore-offset": "9" * 18}, 400, "InvalidInput"),
        ("comp=block&blockid=eA%3D%3D", {"x-amlstore-offset": "9" * 19}, 400, "InvalidHeaderValue"),
    ],
)
def test_a_put_that_makes_no_sense_is_refused(
    storage: Storage, query: str, headers: dict[str, str], status: int | None, code: str
) -> None:
    url = urlsplit(storage.write_url("a"))
    sent = {"Content-Length": "1", "Connection": "close", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    with socket.create_connection((url.hostname, url.port)) as connection:
        target = f"{url.path}?{query}&{url.query}"
        body = "" if sent["Content-Length"] == "0" else "x"
        connection.sendall(f"PUT {target} HTTP/1.1\r\nHost: {url.netloc}\r\n{head}\r\n{body}".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    if status is None:
        assert not answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 5"))  # the server itself may answer, or hang up
    else:
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
        assert f"x-ms-error-code: {code}\r\n".encode() in answer
    assert storage.listed() == {}
    assert storage.incoming() == []


def test_a_put_without_a_length_is_refused(storage: Storage) -> None:
    url = urlsplit(storage.write_url("a"))
    connection = http.client.HTTPConnection(url.netloc)
    connection.request("PUT", f"{url.path}?{url.query}", iter([b"x"]), BLOB, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["x-ms-error-code"]) == (411, "MissingContentLengthHeader")
    connection.close()


@pytest.mark.parametrize("query", ["", "comp=block&blockid=eA%3D%3D", "comp=blocklist"])
@pytest.mark.parametrize("sent", [0, 1000, 3_000_000])
def test_nothing_is_kept_of_what_breaks_off(storage: Storage, query: str, sent: int) -> None:
    url = urlsplit(storage.write_url("a"))
    with socket.create_connection((url.hostname, url.port)) as connection:
        head = f"Host: {url.netloc}\r\nContent-Length: 5000000\r\nx-ms-blob-type: BlockBlob\r\n"
        connection.sendall(f"PUT {url.path}?{query}&{url.query} HTTP/1.1\r\n{head}\r\n".encode() + b" " * sent)
        time.sleep(0.1)

    blocks = storage.call("GET", url.geturl(), query="comp=blocklist&blocklisttype=uncommitted")
    assert blocks.status == 404
    assert storage.listed() == {}
    assert storage.incoming(data=bool(sent < 1000 or not query)) == []


def test_a_client_that_goes_away_while_it_reads_is_left_alone(storage: Storage) -> None:
    content = os.urandom(20_000_000)
    storage.put("big", content)
    url = urlsplit(storage.read_url("big"))
    for _ in range(3):
        with socket.create_connection((url.hostname, url.port)) as connection:
            connection.sendall(f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode())
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    assert storage.call("GET", url.geturl()).body == content


def test_a_url_is_good_for_its_file_and_direction_only(storage: Storage) -> None:
    write, read = storage.write_url("a"), ""
    assert storage.call("PUT", write, BLOB, b"content").status == 201
    storage.put("b", b"other")
    read = storage.read_url("a")

    def refused(method: str, url: str, query: str = "") -> tuple[int, str]:
        answer = storage.call(method, url, BLOB, b"x" if method == "PUT" else None, query)
        assert b"sig=" not in answer.body
        return answer.status, answer.headers["x-ms-error-code"]

    assert refused("GET", write) == (403, "AuthorizationPermissionMismatch")
    assert refused("PUT", read) == (403, "AuthorizationPermissionMismatch")
    assert refused("PUT", read, "comp=block&blockid=eA%3D%3D") == (403, "AuthorizationPermissionMismatch")
    assert refused("PUT", read, "comp=blocklist") == (403, "AuthorizationPermissionMismatch")
    assert refused("GET", read.replace("/artifacts/a?", "/artifacts/b?")) == (403, "AuthenticationFailed")
    assert refused("PUT", write.replace("/artifacts/a?", "/artifacts/b?")) == (403, "AuthenticationFailed")
    assert refused("PUT", write.replace("/artifacts/a?", "/artifacts/a/b?")) == (403, "AuthenticationFailed")
    assert refused("GET", read.replace("sp=r", "sp=cw")) == (403, "AuthenticationFailed")
    assert refused("GET", read.partition("?")[0] + "?") == (403, "AuthenticationFailed")
    assert refused("GET", read.partition("&sig=")[0]) == (403, "AuthenticationFailed")
    assert storage.call("HEAD", write).status == storage.call("HEAD", read).status == 200
    assert storage.call("GET", storage.read_url("b")).body == b"other"


def test_a_url_expires(start_service: "Callable[..., Service]") -> None:
    storage = Storage(start_service("--token-lifetime", str(at_least(2, 5))))
    url = storage.write_url("a")
    assert storage.call("PUT", url, BLOB, b"x").status == 201
    expires = re.search("se=([^&]+)", url)
    assert expires is not None
    while time.time() <= datetime.fromisoformat(unquote(expires[1]).replace("Z", "+00:00")).timestamp():
        time.sleep(0.1)

    answer = storage.call("PUT", url, BLOB, b"y")

    assert (answer.status, answer.code) == (403, "AuthenticationFailed")
    assert f"expired at {expires[1]}" in answer.body.decode()


@pytest.mark.parametrize(
    "path",
    [
        "../../../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/x",
        "%252e%252e/x",
        "%25252e%25252e%25252fx",
        "a/..%5c..%5cx",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "file:///etc/passwd",
        "file%3a//etc/passwd",
        "C:%5cWindows",
        "C%3ax",
        "a%00b",
        "..;/x",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_a_path_that_climbs_out_is_refused(storage: Storage, method: str, path: str) -> None:
    url = storage.write_url("a")
    for start in ("/artifacts/", "/artifacts/sub/../", f"/{storage.run_id}/"):
        target = url.replace("/artifacts/a?", f"{start}{path}?")
        answer = storage.call(method, target, BLOB, b"x" if method == "PUT" else None)
        assert answer.status in (400, 403), (start, answer)
    assert storage.listed() == {}


def test_a_whole_container_has_no_content(storage: Storage) -> None:
    url = storage.write_url("a").replace("/artifacts/a?", "/artifacts?")
    assert storage.call("GET", url).status == 404


@pytest.mark.parametrize("method", ["DELETE", "POST", "PATCH"])
def test_other_methods_are_refused(storage: Storage, method: str) -> None:
    answer = storage.call(method, storage.write_url("a"))
    assert answer.status in (404, 405)


def test_azures_own_client_uploads_and_downloads(storage: Storage, tmp_path: Path) -> None:
    blob = pytest.importorskip("azure.storage.blob")
    sizes = {"empty": 0, "small": 10, "one put": 1_000_000, "blocks": 9_000_001}
    for name, size in sizes.items():
        content = os.urandom(size)
        small = {"max_single_put_size": 4 * 1024**2, "max_block_size": 1024**2}
        writing = blob.BlobClient.from_blob_url(storage.write_url(f"sub dir/{name}"), **small)
        for concurrency in (1, 4):
            writing.upload_blob(content, length=size, max_concurrency=concurrency, validate_content=concurrency == 1)
        small = {"max_single_get_size": 2 * 1024**2, "max_chunk_get_size": 1024**2}
        for checked in (False, True):
            reading = blob.BlobClient.from_blob_url(storage.read_url(f"sub dir/{name}"), **small)
            got = reading.download_blob(max_concurrency=4 if checked else 1, validate_content=checked).readall()
            assert got == content, name
        assert reading.get_blob_properties().size == size
    assert storage.listed() == {f"sub dir/{name}": size for name, size in sorted(sizes.items())}
    assert storage.incoming() == []


@pytest.mark.parametrize("path", ["a b/ü%41.txt", "100%.txt", "plain.txt", "a%20b.txt", "a%2520b.txt", "x#y&z=1?.txt"])
def test_a_url_whose_path_is_encoded_once_more_means_the_same_file(storage: Storage, path: str) -> None:
    """azureml-core encodes the path of the URL that it was given, to write and to read."""

    def encoded_again(url: str) -> str:
        parts = urlsplit(url)
        return parts._replace(path=quote(parts.path)).geturl()

    assert storage.call("PUT", encoded_again(storage.write_url(path)), BLOB, b"content").status == 201
    assert path in storage.listed()
    assert storage.call("HEAD", encoded_again(storage.read_url(path))).headers["content-length"] == "7"
    for url in (storage.read_url(path), encoded_again(storage.read_url(path))):
        assert storage.call("GET", url).body == b"content"


def test_a_url_of_one_file_is_not_good_for_the_file_that_its_name_decodes_to(storage: Storage) -> None:
    storage.put("a b.txt", b"another")
    url = storage.write_url("a%20b.txt")
    other = url.replace("a%2520b.txt", "a%20b.txt")
    assert other != url
    assert storage.call("PUT", other, BLOB, b"content").status == 403
    assert storage.call("GET", storage.read_url("a b.txt")).body == b"another"
