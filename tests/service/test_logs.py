"""The service's log: its lines, what is kept out of them, and that a log which nobody reads stops nothing."""

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from mlflow_amlstore.errors import DiskFull
from mlflow_amlstore.service import logs
from mlflow_amlstore.service.keys import new_key
from mlflow_amlstore.workspace.opening import create_workspace
from mlflow_amlstore.workspace.redaction import redact

TOKEN = jwt.encode({"sub": "local", "exp": 1}, b"x" * 32, algorithm="HS256")


class Written:
    """A log into a file, and what is in it when the log is stopped."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)

    def start(self, level: logs.Level = "info", *, is_readable: bool = False) -> None:
        logs.start(level, descriptor=self._descriptor, is_readable=is_readable)

    def text(self) -> str:
        logs.stop()
        return self._file.read_text(encoding="utf-8")

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn")
    before = root.handlers[:], root.level, uvicorn.level
    yield Written(tmp_path / "log")
    logs.stop()
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    uvicorn.setLevel(before[2])


def log_one(path: str = "/api/2.0/mlflow/runs/get", status: int = 200, **more: Any) -> None:
    logs.log_request(request_id="r1", method="GET", path=path, status=status, seconds=0.0123, **more)


def test_a_request_is_one_line_of_json(written: Written) -> None:
    written.start()
    log_one(caller="local", sent_bytes=17)
    (line,) = written.lines()
    time.strptime(line.pop("time"), "%Y-%m-%dT%H:%M:%S.%fZ")
    assert line == {
        "level": "info",
        "request_id": "r1",
        "method": "GET",
        "path": "/api/2.0/mlflow/runs/get",
        "status": 200,
        "duration_ms": 12.3,
        "caller": "local",
        "bytes": 17,
    }


@pytest.mark.parametrize(
    ("status", "level"), [(200, "info"), (404, "info"), (401, "warning"), (403, "warning"), (507, "error")]
)
def test_refusals_are_warnings_and_failures_errors(written: Written, status: int, level: str) -> None:
    written.start()
    log_one(status=status)
    assert [line["level"] for line in written.lines()] == [level]


def test_what_is_below_the_level_is_left_out(written: Written) -> None:
    written.start("warning")
    log_one()
    log_one(status=403)
    logging.getLogger("some.library").info("no")
    assert [line["status"] for line in written.lines()] == [403]


def test_on_a_terminal_lines_are_for_reading(written: Written) -> None:
    written.start(is_readable=True)
    log_one(caller="local")
    log_one("/évil\x1b[2J\n/path")
    logs.log_error("r2", DiskFull("/w"))
    first, second, third = written.text().splitlines()
    assert first[12:] == " info    200 GET /api/2.0/mlflow/runs/get  12.3 ms  local  r1"
    assert second.endswith(r" 200 GET /\xe9vil\x1b[2J\n/path  12.3 ms  r1")
    assert " error   DiskFull: No space left on the disk of workspace /w" in third
    assert third.endswith("  r2")


def test_an_error_of_another_kind_has_its_traceback(written: Written) -> None:
    def fail() -> None:
        raise ValueError(f"{TOKEN} is no number")

    written.start()
    try:
        fail()
    except ValueError as error:
        logs.log_error("r3", error)
    (line,) = written.lines()
    assert (line["level"], line["request_id"], line["error"]) == ("error", "r3", "ValueError")
    assert line["message"] == "REDACTED is no number"
    assert "in fail" in line["traceback"]
    assert TOKEN not in line["traceback"]


def test_an_error_of_ours_says_all_in_its_message(written: Written) -> None:
    written.start()
    logs.log_error("r4", DiskFull("/w"))
    (line,) = written.lines()
    assert (line["error"], line["message"].partition(":")[0]) == (
        "DiskFull",
        "No space left on the disk of workspace /w",
    )
    assert "traceback" not in line


def test_other_libraries_log_here_too_without_secrets(written: Written) -> None:
    written.start()
    logger = logging.getLogger("uvicorn.error")
    logger.warning("Invalid request with %s", TOKEN)
    try:
        raise RuntimeError(f"Bearer {TOKEN}")
    except RuntimeError:
        logger.exception("Exception in ASGI application")
    logger.info("Started server process")
    first, second = written.lines()
    assert (first["level"], first["message"]) == ("warning", "Invalid request with REDACTED")
    assert (second["level"], second["error"]) == ("error", "RuntimeError")
    assert "RuntimeError: Bearer REDACTED" in second["traceback"]


class TestRedaction:
    @pytest.mark.parametrize(
        "text",
        [
            TOKEN,
            f"token={TOKEN}&x=1",
            f"azureml://h/mlflow?expires=2026-01-01T00:00:00Z&token={TOKEN}",
            f"'{TOKEN[:60]}… (200 characters)",  # as errors cut what they quote
            f"/api/{TOKEN}/x",
            f"Authorization: Bearer {TOKEN}",
        ],
    )
    def test_of_tokens(self, text: str) -> None:
        assert TOKEN[:30] not in redact(text)
        assert TOKEN.split(".")[2] not in redact(text)
        assert "REDACTED" in redact(text)

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("/x?se=1&sig=a%2Bb%3D&sp=r", "/x?se=1&sig=REDACTED&sp=r"),
            ("/x?SIG=a+b=", "/x?SIG=REDACTED"),
            ("sig%3Dabc next", "sig%3DREDACTED next"),
            ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic REDACTED"),
            ("bearer abc.def", "bearer REDACTED"),
            ("a design=1 and token or bearer", "a design=1 and token or bearer"),
        ],
    )
    def test_of_signatures_and_authorization(self, text: str, shown: str) -> None:
        assert redact(text) == shown

    def test_of_keys(self, tmp_path: Path) -> None:
        opened = create_workspace(tmp_path)
        _, key = new_key(opened.records, "ci", "reader")
        opened.close()
        assert redact(f"The key {key!r} and amlk_local_x-y_z.") == "The key 'REDACTED' and REDACTED."

    def test_of_a_path(self, written: Written) -> None:
        written.start()
        log_one(f"/x/{TOKEN}/amlk_local_abc")
        log_one("/x?sig=abc")
        assert [line["path"] for line in written.lines()] == ["/x/REDACTED/REDACTED", "/x?sig=REDACTED"]


def test_a_long_path_is_cut(written: Written) -> None:
    written.start()
    log_one("/" + "x" * 60_000)
    (line,) = written.lines()
    assert len(line["path"]) < 600


def test_text_that_utf8_does_not_have_is_logged_all_the_same(written: Written) -> None:
    written.start()
    logging.getLogger("some.library").info("a file named \udcff")
    logs.log_error("r", OSError("\udcff"))
    assert len(written.lines()) == 2


def test_a_log_that_nobody_reads_stops_nothing_and_says_what_was_dropped(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_MAX_WAITING", 1000)
    ours, its = os.pipe()
    logs.start("info", descriptor=its, is_readable=False)
    began = time.monotonic()
    while time.monotonic() - began < 0.5 or not logs._log._dropped:  # more than a pipe takes, while nobody reads it
        log_one()
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.extend(iter(lambda: os.read(ours, 65_536), b"")))
    reader.start()
    logs.stop()
    os.close(its)
    reader.join()
    os.close(ours)
    lines = [json.loads(line) for line in b"".join(received).splitlines()]
    assert any("were dropped" in line.get("message", "") for line in lines)


def test_a_log_whose_reader_is_gone_stops_nothing(written: Written) -> None:
    ours, its = os.pipe()
    os.close(ours)
    logs.start("info", descriptor=its, is_readable=False)
    for _ in range(3):
        log_one()
        time.sleep(0.15)
    logs.stop()
    os.close(its)

    written.start()  # and the next log is none the worse
    log_one()
    assert len(written.lines()) == 1


def test_what_a_line_costs(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints it; the time decides nothing, since it depends on the machine."""
    written.start()
    began = time.thread_time()
    for _ in range(10_000):
        log_one(caller="local")
    cost_us = (time.thread_time() - began) / 10_000 * 1e6
    assert len(written.text().splitlines()) == 10_000
    with capsys.disabled():
        print(f"\nThe log: {cost_us:.1f} µs a request")
