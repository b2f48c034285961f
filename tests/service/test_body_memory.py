"""What bodies take in memory: nothing before the credential is looked at, and all together no more than their bound."""

import asyncio
import json
import os
import re
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlflow_amlstore.errors import PayloadTooLarge, ServiceBusy
from mlflow_amlstore.service import body as module
from mlflow_amlstore.service.body import MEMORY_BYTES, SMALL_BYTES, BodyMemory
from mlflow_amlstore.service.routing import MAX_JSON_BYTES

if TYPE_CHECKING:
    from tests.service.conftest import Service

needs_linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
CONNECTIONS = 40
LARGE = MAX_JSON_BYTES - 1024
SLACK_MIB = 64
CREATE = "/api/2.0/mlflow/experiments/create"


def size_mib(service: "Service") -> float:
    assert service.process is not None
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{service.process.pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


class Sender:
    """A client that announces a large body, and sends as much of it as is taken."""

    def __init__(self, service: "Service", path: str, credential: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2])))
        bearer = f"Authorization: Bearer {credential}\r\n" if credential else ""
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{bearer}Content-Type: application/json\r\n"
        self._socket.sendall(f"{head}Connection: close\r\nContent-Length: {LARGE}\r\n\r\n".encode())
        text = json.dumps({"name": f"of {os.urandom(8).hex()}", "more": ""})[:-2].encode()
        self._left = memoryview(text + b"x" * (LARGE - len(text) - 2) + b'"}')

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send_some(self) -> int:
        """Send as much as is taken at once, and not the last byte. Returns how much that was."""
        self._socket.setblocking(False)
        try:
            sent = self._socket.send(self._left[: min(4_194_304, len(self._left) - 1)])
        except OSError:  # it is answered, or not read from
            return 0
        self._left = self._left[sent:]
        return sent

    def answer(self) -> bytes:
        """Send the rest, and return the answer's first line."""
        self._socket.settimeout(60)
        with suppress(OSError):  # it is answered already
            self._socket.sendall(self._left)
        return self._socket.recv(65536).partition(b"\r\n")[0]


def send_all(senders: Sequence[Sender]) -> None:
    """Send until none of them gets rid of more."""
    rounds_without = 0
    while rounds_without < 10:
        rounds_without = 0 if sum(sender.send_some() for sender in senders) else rounds_without + 1
        time.sleep(0.02)


@needs_linux
@pytest.mark.parametrize("credential", ["", "none-of-ours"])
@pytest.mark.parametrize("path", ["/auth/token", CREATE, "/health", "/discovery"])
def test_who_has_no_credential_fills_no_memory(service: "Service", path: str, credential: str) -> None:
    before = size_mib(service)
    with ExitStack() as stack:
        senders = [stack.enter_context(Sender(service, path, credential)) for _ in range(CONNECTIONS)]
        send_all(senders)
        assert size_mib(service) - before < SLACK_MIB
        assert b" 4" in senders[-1].answer()[:13]


@needs_linux
def test_all_bodies_together_stay_below_their_bound_and_are_all_answered(
    start_service: Callable[..., "Service"],
) -> None:
    service = start_service()
    token = service.exchange(service.key)
    before = size_mib(service)
    with ExitStack() as stack:
        senders = [stack.enter_context(Sender(service, CREATE, token)) for _ in range(12)]
        for _ in range(5):  # on a busy machine the service reads on after a while
            send_all(senders)
            time.sleep(0.2)
        full = size_mib(service)
        assert MEMORY_BYTES / 2**20 / 2 < full - before < MEMORY_BYTES / 2**20 + SLACK_MIB
        assert service.call("GET", "/health/ready", token) == {"status": "ready"}
        with ThreadPoolExecutor(len(senders)) as threads:
            answers = list(threads.map(Sender.answer, senders))
    assert set(answers) == {b"HTTP/1.1 200 OK"}
    deadline = time.monotonic() + 60
    while size_mib(service) - before >= SLACK_MIB:  # an answer goes out before what it answers is freed
        assert time.monotonic() < deadline
        time.sleep(0.02)


class TestTurns:
    def test_small_ones_need_none_and_one_over_the_limit_gets_none(self) -> None:
        memory = BodyMemory(0)
        assert asyncio.run(memory.take(str(SMALL_BYTES), MAX_JSON_BYTES)) == 0
        with pytest.raises(PayloadTooLarge):
            asyncio.run(memory.take(str(MAX_JSON_BYTES + 1), MAX_JSON_BYTES))

    def test_who_came_first_is_first_and_who_goes_away_holds_nobody_up(self) -> None:
        async def scene() -> list[str]:
            order: list[str] = []
            memory = BodyMemory(300_000)

            async def use(name: str, size: int, until: asyncio.Event) -> None:
                taken = await memory.take(str(size), MAX_JSON_BYTES)
                order.append(name)
                await until.wait()
                memory.give_back(taken)

            first, rest = asyncio.Event(), asyncio.Event()
            rest.set()
            tasks = [asyncio.create_task(use("first", 200_000, first))]
            for name, size in (("goes away", 250_000), ("large", 300_000), ("would fit", 70_000)):
                tasks.append(asyncio.create_task(use(name, size, rest)))
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert order == ["first"]
            tasks[1].cancel()
            await asyncio.sleep(0)
            first.set()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert await memory.take("300000", MAX_JSON_BYTES) == 300_000  # all of it came back
            return order

        assert asyncio.run(scene()) == ["first", "large", "would fit"]

    def test_who_waits_too_long_is_told_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_ROOM_WAIT_S", 0.01)

        async def scene() -> Any:
            memory = BodyMemory(100_000)
            await memory.take("100000", MAX_JSON_BYTES)
            await memory.take("100000", MAX_JSON_BYTES)

        with pytest.raises(ServiceBusy, match="send it again"):
            asyncio.run(scene())
