"""Clocks that are two minutes off, the client's or the service's, either way: nobody notices.

What waits here overlaps: the module's services and clients run at once, and each test looks at some of them.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import pytest
from fork_server import ForkedProcess
from forked_service import ForkedService
from machine_speed import at_least
from mlflow import MlflowClient

SKEWS = [pytest.param(120, id="two minutes ahead"), pytest.param(-120, id="two minutes behind")]

# It comes before anything that has a clock.
SKEW = """
import os, time
skew_s, real, real_ns = int(os.environ["SKEW_S"]), time.time, time.time_ns
time.time = lambda: real() + skew_s
time.time_ns = lambda: real_ns() + skew_s * 1_000_000_000
"""
CLIENT = """
import sys, time
from mlflow import MlflowClient
seconds = float(sys.argv[1])
print("ready", flush=True)
uri = sys.stdin.readline().strip()
client = MlflowClient(uri)
run_id = client.create_run("0").info.run_id
until, count = time.monotonic() + seconds, 0
while True:
    client.log_metric(run_id, "m", count, step=count)
    count += 1
    if time.monotonic() > until:
        break
    time.sleep(0.1)
client.log_text(run_id, "x", "x.txt")
assert client.list_artifacts(run_id)[0].path == "x.txt"
print(run_id, count, time.time() - time.clock_gettime(time.CLOCK_REALTIME))
"""


class SkewedService(ForkedService):
    """A service whose clock is `skew_s` seconds off from its next start on, in a fresh interpreter: some of the modules
    that a forked one has imported already hold on to the right clock."""

    skew_s = 0

    def _launch(self, arguments: Sequence[str], environment: Mapping[str, str], log: IO[str]) -> Any:
        if not self.skew_s:
            return super()._launch(arguments, environment, log)
        option, code = self.command
        command = [sys.executable, option, SKEW + code, *arguments]
        environment = {**environment, "SKEW_S": str(self.skew_s)}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)


def run_client(service: ForkedService, skew_s: int, seconds: float) -> None:
    """Run a client for a while, with nothing but a URI that is issued when it has started; look for what it logged."""
    nowhere = {"HOME": "/nowhere", "XDG_STATE_HOME": "/nowhere", "XDG_CONFIG_HOME": "/nowhere"}
    environment = {**os.environ, **nowhere, "SKEW_S": str(skew_s)}
    arguments = ["-c", SKEW + CLIENT, str(seconds)]
    with ForkedProcess(arguments, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        root = service.tracking_uri.partition("?")[0]
        token = service.call("POST", "/auth/tracking-token", service.exchange(service.key))
        print(f"{root}?expires={token['expires']}&token={token['token']}", file=client.stdin, flush=True)
        run_id, count, off_s = client.stdout.read().split()
        assert client.wait() == 0
    assert float(off_s) == pytest.approx(skew_s, abs=1)
    assert steps(service, run_id) == list(range(int(count)))


def steps(service: ForkedService, run_id: str) -> list[int]:
    path = f"/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key=m"
    return sorted(point["step"] for point in service.call("GET", path, service.token)["metrics"])


def skew_of(service: ForkedService) -> float:
    """How far a service's clock is off, by the end of a token that lives for an hour (s)."""
    token = service.call("POST", "/auth/tracking-token", service.exchange(service.key))
    ends = datetime.fromisoformat(token["expires"].replace("Z", "+00:00"))
    return ends.timestamp() - 3600 - time.time()


def clients_of(folder: Path, life_s: float, seconds: float) -> None:
    with SkewedService(folder, "--token-lifetime", str(life_s)) as service, ThreadPoolExecutor(2) as pool:
        for client in [pool.submit(run_client, service, skew_s, seconds) for skew_s in (120, -120)]:
            client.result()
    assert '"status":401' not in service.log.read_text()


def put_right_or_wrong(folder: Path, skew_s: int) -> None:
    service = SkewedService(folder)
    with service:
        client = MlflowClient(service.tracking_uri)
        run_id = client.create_run("0").info.run_id
        client.log_metric(run_id, "m", 0, step=0)
    service.skew_s = skew_s
    with service:
        assert abs(skew_of(service) - skew_s) < abs(skew_s) / 2
        client.log_metric(run_id, "m", 1, step=1)
        run_client(service, 0, 0)
    service.skew_s = 0
    with service:
        client.log_metric(run_id, "m", 2, step=2)
        assert steps(service, run_id) == [0, 1, 2]
    assert '"status":401' not in service.log.read_text()


def renewed_by_another_clock(folder: Path, skew_s: int, life_s: float) -> None:
    service = SkewedService(folder, "--token-lifetime", str(life_s))
    service.skew_s = skew_s
    with service:
        run_client(service, 0, life_s * 1.7)


@pytest.fixture(scope="module")
def under_way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, "Future[None]"]]:
    """What runs, by a name."""
    life_s = at_least(3, 5)
    with ThreadPoolExecutor(6) as pool:

        def start(what: Callable[..., None], *given: object) -> "Future[None]":
            return pool.submit(what, tmp_path_factory.mktemp("service"), *given)

        yield {
            "tokens of seconds": start(clients_of, life_s, life_s * 1.7),
            "tokens of an hour": start(clients_of, 3600, 0),
            **{f"put {skew_s} s off": start(put_right_or_wrong, skew_s) for skew_s in (120, -120)},
            **{f"{skew_s} s off": start(renewed_by_another_clock, skew_s, life_s) for skew_s in (120, -120)},
        }


@pytest.mark.parametrize("tokens", ["tokens of seconds", "tokens of an hour"])
def test_clients_whose_clocks_are_off_log_on_with_nothing_but_their_uri(
    under_way: dict[str, "Future[None]"], tokens: str
) -> None:
    under_way[tokens].result()


@pytest.mark.parametrize("skew_s", SKEWS)
def test_a_service_whose_clock_was_put_right_or_wrong_serves_its_clients_on(
    under_way: dict[str, "Future[None]"], skew_s: int
) -> None:
    """Tokens from before are good after; those from after are good for clients with another clock."""
    under_way[f"put {skew_s} s off"].result()


@pytest.mark.parametrize("skew_s", SKEWS)
def test_tokens_that_live_for_seconds_are_renewed_over_services_with_another_clock(
    under_way: dict[str, "Future[None]"], skew_s: int
) -> None:
    under_way[f"{skew_s} s off"].result()
