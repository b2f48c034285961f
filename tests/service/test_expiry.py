"""Tracking URIs expire, and nobody notices: each sentence of that promise, over a real service whose tokens live 3 s.

All clients run at once, each a process with a key of its own, by which the service's log tells whose request it was.
"""

import json
import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient

from mlflow_amlstore.core import Workspace
from mlflow_amlstore.workspace.credentials import KeyCredential
from tests.service.conftest import Service

if TYPE_CHECKING:
    from subprocess import Popen

LIFETIME_S = 3
BEGIN = """
import json, logging, multiprocessing, os, pickle, subprocess, sys, threading, time
logging.basicConfig(level=logging.DEBUG)
import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _get_store
import mlflow_amlstore.plugin.remote_artifacts, mlflow_amlstore.plugin.remote_registry

def log_for(seconds, client, run_id, name="m"):
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        client.log_metric(run_id, name, count, step=count)
        count += 1
        time.sleep(0.1)
    return count

def child(pickled, run_id):
    store = pickle.loads(pickled)
    time.sleep(4)
    store.set_tag(run_id, mlflow.entities.RunTag("spawned", "yes"))

if __name__ == "__main__":
    print("ready", flush=True)
    uri = sys.stdin.readline().strip()
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
"""
# What each client does with the URI that it is handed, and whether it can find its key.
CLIENTS = {
    "only the URI": """
        run_id = client.create_run("0").info.run_id
        print(run_id, log_for(10, client, run_id))
    """,
    "idle": """
        run_id = client.create_run("0").info.run_id
        time.sleep(7)
        client.log_metric(run_id, "m", 1.0)
        print(run_id, 1)
    """,
    "a key and no token": """
        run_id = client.create_run("0").info.run_id
        print(run_id, log_for(7, client, run_id))
    """,
    "many threads": """
        run_id = client.create_run("0").info.run_id
        threads = [threading.Thread(target=log_for, args=(7, client, run_id, f"m{n}")) for n in range(16)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    """,
    "its token has ended": """
        client.search_registered_models()
        print("found")
    """,
    "its token has ended and it has no key": """
        began = time.monotonic()
        try:
            with mlflow.start_run():
                pass
        except MlflowException as error:
            print(json.dumps([error.error_code, error.message, time.monotonic() - began]))
    """,
    "its key will be revoked": """
        run_id = client.create_run("0").info.run_id
        try:
            log_for(10, client, run_id)
        except MlflowException as error:
            print(json.dumps([error.error_code, error.message]))
    """,
    "a new URI in the middle": """
        with mlflow.start_run() as run:
            mlflow.log_metric("m", 0)
            store = _get_store()
            mlflow.set_tracking_uri(sys.stdin.readline().strip())
            assert _get_store() is store
            assert mlflow.active_run().info.run_id == run.info.run_id
            mlflow.log_metric("m", 1, step=1)
            (mlflow.artifacts.list_artifacts(run_id=run.info.run_id))
        print(run.info.run_id, 2)
    """,
    "forked": """
        run_id = client.create_run("0").info.run_id
        if os.fork():
            os._exit(0)  # so that nobody but the child is left to renew
        print(run_id, log_for(7, client, run_id), flush=True)
    """,
    "spawned": """
        run_id = client.create_run("0").info.run_id
        pickled = pickle.dumps(_get_store())
        started = multiprocessing.get_context("spawn").Process(target=child, args=(pickled, run_id))
        started.start()
        started.join()
        assert started.exitcode == 0
        print(run_id, 0)
    """,
    "a child with its environment": """
        os.environ["MLFLOW_TRACKING_URI"] = uri
        run_id = client.create_run("0").info.run_id
        log_for(4, client, run_id)
        was = os.environ["MLFLOW_TRACKING_URI"]
        while os.environ["MLFLOW_TRACKING_URI"] == was:
            time.sleep(0.01)  # until it is fresh, since the child takes long to start, for a life of 3 s
        code = "import os; from mlflow_amlstore.workspace.connection import connection_of; import time; "
        code += "c = connection_of(os.environ['MLFLOW_TRACKING_URI']); c.token(); time.sleep(5); "
        code += "c.request('GET', '/api/2.0/mlflow/runs/get', params={'run_id': os.environ['RUN']})"
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "RUN": run_id}, check=True)
        print(run_id, 0)
    """,
    "many files": """
        run_id = client.create_run("0").info.run_id
        for number in range(6):
            client.log_text(run_id, "x" * 100, f"{number}.txt")
            client.download_artifacts(run_id, f"{number}.txt")
            time.sleep(1)
        print(run_id, 0)
    """,
}
WITH_KEY = {"a key and no token", "many threads", "its token has ended"}


class Ended:
    """What the clients did, told after all of them have ended."""

    def __init__(self, service: Service, keys: dict[str, str], done: dict[str, tuple[int, str, str]]) -> None:
        self.service, self.keys, self._done = service, keys, done
        service.stop()
        self.log = [json.loads(line) for line in service.log.read_text().splitlines()]
        service.start()

    def printed(self, name: str) -> str:
        """What a client printed at last. It must have ended well."""
        code, out, err = self._done[name]
        assert code == 0, err[-3000:]
        return out.splitlines()[-1]

    def all_printed(self) -> str:
        return "".join(out + err for _, out, err in self._done.values())

    def calls(self, name: str) -> list[dict[str, Any]]:
        """The requests that the service took from a client."""
        key_id = self.keys[name].split("_")[1]
        return [line for line in self.log if line.get("caller") == key_id]

    def renewals(self, name: str) -> int:
        return sum(call["path"] == "/auth/tracking-token" for call in self.calls(name))

    def history(self, run_id: str) -> list[float]:
        points = MlflowClient(self.service.tracking_uri).get_metric_history(run_id, "m")
        return sorted(point.value for point in points)


def tracking_uri(service: Service, key: str) -> str:
    token = service.call("POST", "/auth/tracking-token", service.exchange(key))
    return f"{service.tracking_uri.partition('?')[0]}?expires={token['expires']}&token={token['token']}"


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    folder = tmp_path_factory.mktemp("expiry")
    with Service(folder / "service", "--token-lifetime", str(LIFETIME_S)) as service:
        keys = {name: service.new_key(name, "contributor") for name in CLIENTS}
        running = {name: _start(service, folder, name, keys[name]) for name in CLIENTS}
        expired = {name: tracking_uri(service, keys[name]) for name in CLIENTS if "has ended" in name}
        for client in running.values():
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n", client.communicate()
        time.sleep(LIFETIME_S)
        for name, client in running.items():
            by_hand = service.tracking_uri.partition("?")[0]
            uri = by_hand if name == "a key and no token" else expired.get(name) or tracking_uri(service, keys[name])
            _tell(client, uri)
        time.sleep(LIFETIME_S * 1.5)
        _tell(running["a new URI in the middle"], tracking_uri(service, keys["a new URI in the middle"]))
        service.revoke("its key will be revoked")
        outs = {name: client.communicate(timeout=60) for name, client in running.items()}
        yield Ended(service, keys, {name: (running[name].returncode, *out) for name, out in outs.items()})


def _start(service: Service, folder: Path, name: str, key: str) -> "Popen[str]":
    script = folder / f"{re.sub(' ', '_', name)}.py"
    script.write_text(BEGIN + textwrap.indent(textwrap.dedent(CLIENTS[name]), "    "))
    own = {"HOME": str(folder / "nowhere"), "XDG_STATE_HOME": str(folder / "nowhere"), "XDG_CONFIG_HOME": str(folder)}
    environment = {**os.environ, **own, "MLFLOW_LOGGING_LEVEL": "DEBUG"}
    if name in WITH_KEY:
        environment["AMLSTORE_KEY"] = key
    pipe = subprocess.PIPE
    command = [sys.executable, str(script)]
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=folder)


def _tell(client: "Popen[str]", uri: str) -> None:
    assert client.stdin is not None
    client.stdin.write(uri + "\n")
    client.stdin.flush()


@pytest.mark.parametrize(
    "name", ["only the URI", "idle", "a key and no token", "a new URI in the middle", "forked", "spawned", "many files",
             "a child with its environment"],
)  # fmt: skip
def test_a_client_outlives_its_token_and_loses_nothing(ended: Ended, name: str) -> None:
    run_id, count = ended.printed(name).split()
    if int(count) > 1:
        assert ended.history(run_id) == list(range(int(count)))
    assert ended.renewals(name) >= 2
    assert all(call["status"] == 200 for call in ended.calls(name)), "refused and tried again, not renewed in time"


def test_one_renewal_serves_all_threads(ended: Ended) -> None:
    ended.printed("many threads")
    assert 3 <= ended.renewals("many threads") <= 6  # in 7 s, with a third of 3 s left each time


def test_a_client_that_can_renew_is_refused_once_and_goes_on(ended: Ended) -> None:
    assert ended.printed("its token has ended") == "found"
    calls = [line["status"] for line in ended.log if line.get("path", "").endswith("/registered-models/search")]
    assert calls == [401, 200]
    assert ended.renewals("its token has ended") == 2  # the one that made its URI, and one


def test_one_that_can_not_hears_once_and_soon_when_it_expired_and_what_to_call(ended: Ended) -> None:
    code, message, seconds = json.loads(ended.printed("its token has ended and it has no key"))
    assert code == "UNAUTHENTICATED"
    assert seconds < 3
    assert re.search(r"expired at 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", message)
    assert "get_mlflow_tracking_uri" in message
    assert all(call["path"] == "/auth/tracking-token" for call in ended.calls("its token has ended and it has no key"))


def test_a_revoked_key_ends_it(ended: Ended) -> None:
    code, message = json.loads(ended.printed("its key will be revoked"))
    assert code == "UNAUTHENTICATED"
    assert "revoked" in message


def test_no_token_key_or_signature_is_in_any_record_log_or_output(ended: Ended) -> None:
    """With all logging at DEBUG. The folder with the service's secret, and keys as hashes, is searched too."""
    places = {path.name: path.read_bytes() for path in ended.service.folder.rglob("*") if path.is_file()}
    places |= {"service's log": ended.service.log.read_bytes(), "clients": ended.all_printed().encode()}
    assert b"/auth/tracking-token" in places["service's log"]
    assert b"tracking-token" in places["clients"]  # urllib3 has told of its requests
    for name, content in places.items():
        assert re.findall(rb"eyJ[\w-]{10,}|sig=[\w%-]{10,}|amlk_[0-9a-f]{12}_[\w-]{4,}", content) == [], name
        for key in ended.keys.values():
            assert key.encode() not in content


@pytest.fixture
def workspace(ended: Ended) -> Workspace:
    return Workspace.from_url(ended.service.url, KeyCredential(ended.service.url, ended.service.key))


def test_a_uri_is_handed_out_again_while_enough_of_its_life_is_left_then_a_fresh_one(workspace: Workspace) -> None:
    first = workspace.get_mlflow_tracking_uri()
    until = time.monotonic() + LIFETIME_S * 0.8
    while time.monotonic() < until:
        assert workspace.get_mlflow_tracking_uri() == first
        time.sleep(0.2)
    time.sleep(LIFETIME_S * 0.2)
    second = workspace.get_mlflow_tracking_uri()
    assert second != first
    assert second.partition("?")[0] == first.partition("?")[0]
    assert re.fullmatch(r"azureml\+http://127\.0\.0\.1:\d+/mlflow/v2\.0/[^?]+\?expires=[^&]+Z&token=[\w.-]+", second)


def test_its_token_is_good_for_tracking_and_nothing_else(ended: Ended, workspace: Workspace) -> None:
    token = workspace.get_mlflow_tracking_uri().partition("&token=")[2]
    service = ended.service
    assert service.call("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", token)["experiment"]
    for method, path, status in (("GET", "/auth/keys", "403"), ("POST", "/auth/token", "401")):
        with pytest.raises(OSError, match=status):
            service.call(method, path, token)
