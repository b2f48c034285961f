"""Clocks that are two minutes off, the client's or the service's, either way: nobody notices."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient

if TYPE_CHECKING:
    from tests.service.conftest import Service

StartService = Callable[..., "Service"]
SKEWS = [pytest.param(120, id="two minutes ahead"), pytest.param(-120, id="two minutes behind")]

# Python reads it when it starts, before anything that has a clock.
SITECUSTOMIZE = """
import os, time
skew_s, real, real_ns = int(os.environ["SKEW_S"]), time.time, time.time_ns
time.time = lambda: real() + skew_s
time.time_ns = lambda: real_ns() + skew_s * 1_000_000_000
"""
CLIENT = """
import sys, time
from mlflow import MlflowClient
import mlflow_amlstore.plugin.remote_artifacts, mlflow_amlstore.plugin.remote_registry
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
print(run_id, count)
"""


@pytest.fixture
def skewed(tmp_path: Path) -> Callable[[int], dict[str, str]]:
    """What a process needs in its environment for a clock that is so many seconds off."""
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    return lambda skew_s: {"PYTHONPATH": str(tmp_path / "clock"), "SKEW_S": str(skew_s)}


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


def run_client(service: "Service", clock: dict[str, str], seconds: float) -> None:
    """Run a client for a while, with nothing but a URI that is issued when it has started; look for what it logged."""
    nowhere = {"HOME": "/nowhere", "XDG_STATE_HOME": "/nowhere", "XDG_CONFIG_HOME": "/nowhere"}
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(seconds)],
        env={**os.environ, **nowhere, **clock},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert client.stdout is not None
    assert client.stdout.readline() == "ready\n"
    root = service.tracking_uri.partition("?")[0]
    token = service.call("POST", "/auth/tracking-token", service.exchange(service.key))
    out, err = client.communicate(f"{root}?expires={token['expires']}&token={token['token']}\n", timeout=60)
    assert client.returncode == 0, err
    run_id, count = out.split()
    assert steps(service, run_id) == list(range(int(count)))


def steps(service: "Service", run_id: str) -> list[int]:
    path = f"/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key=m"
    return sorted(point["step"] for point in service.call("GET", path, service.token)["metrics"])


def test_the_clock_is_off_in_a_process_that_is_told_so(skewed: Callable[[int], dict[str, str]]) -> None:
    code = "import time; print(time.time() - time.clock_gettime(time.CLOCK_REALTIME))"
    for skew_s in (120, -120):
        environment = {**os.environ, **skewed(skew_s)}
        printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout
        assert float(printed) == pytest.approx(skew_s, abs=1)


@pytest.mark.parametrize(("lifetime_s", "seconds"), [(3, 5), (3600, 0)], ids=["tokens of 3 s", "tokens of an hour"])
def test_clients_whose_clocks_are_off_log_on_with_nothing_but_their_uri(
    start_service: StartService, skewed: Callable[[int], dict[str, str]], lifetime_s: int, seconds: float
) -> None:
    service = start_service("--token-lifetime", str(lifetime_s))
    with ThreadPoolExecutor(2) as pool:
        for client in [pool.submit(run_client, service, skewed(skew_s), seconds) for skew_s in (120, -120)]:
            client.result()
    service.stop()
    assert '"status":401' not in service.log.read_text()


@pytest.mark.parametrize("skew_s", SKEWS)
def test_a_service_whose_clock_was_put_right_or_wrong_serves_its_clients_on(
    start_service: StartService, skewed: Callable[[int], dict[str, str]], skew_s: int
) -> None:
    """Tokens from before are good after; those from after are good for clients with another clock."""
    service = start_service()
    client = MlflowClient(service.tracking_uri)
    run_id = client.create_run("0").info.run_id
    client.log_metric(run_id, "m", 0, step=0)
    service.stop()

    with _environment(skewed(skew_s)):
        service.start()
        client.log_metric(run_id, "m", 1, step=1)
        run_client(service, {}, 0)
        service.stop()

    service.start()
    client.log_metric(run_id, "m", 2, step=2)
    assert steps(service, run_id) == [0, 1, 2]
    service.stop()
    assert '"status":401' not in service.log.read_text()


def test_tokens_that_live_for_seconds_are_renewed_over_services_with_another_clock(
    start_service: StartService, skewed: Callable[[int], dict[str, str]]
) -> None:
    services = []
    for skew_s in (120, -120):
        with _environment(skewed(skew_s)):
            services.append(start_service("--token-lifetime", "3"))
    with ThreadPoolExecutor(2) as pool:
        for client in [pool.submit(run_client, service, {}, 5) for service in services]:
            client.result()
