"""`amlstore serve`: what it prints, what it refuses, how it begins and ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit

import pytest
from forked_service import ForkedService

from mlflow_amlstore.service import server
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace

from .conftest import AMLSTORE, ENVIRONMENT, Amlstore

WITHOUT_EXTRA = """
import sys
from importlib import util
find_spec = util.find_spec
util.find_spec = lambda name: None if name == "uvicorn" else find_spec(name)
sys.modules["uvicorn"] = sys.modules["starlette"] = None
from mlflow_amlstore.cli import main
main()
"""

IMPATIENT = """
from mlflow_amlstore.service import server
server.SHUTDOWN_S, server._HARD_STOP_S = 2, 3600
from mlflow_amlstore.cli import main
main()
"""


def get(url: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {})) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def serving(tmp_path: Path) -> "Callable[..., ForkedService]":
    running: list[ForkedService] = []

    def start(*options: str) -> ForkedService:
        running.append(ForkedService(tmp_path / f"service-{len(running)}", *options))
        running[-1].start()
        return running[-1]

    yield start  # type: ignore[misc]
    for service in running:
        service.stop()


class TestWhatIsServed:
    def test_a_folder_that_does_not_exist_becomes_a_workspace(self, tmp_path: Path) -> None:
        with ForkedService(tmp_path) as service:
            assert get(f"{service.url}/health") == (200, "OK")
            config = json.loads((service.folder / "config.json").read_text())
        assert config == {"workspace_name": "workspace", "path": "."}

    def test_an_empty_one_does_too_and_keeps_what_is_logged(self, tmp_path: Path) -> None:
        (tmp_path / "workspace").mkdir()
        with ForkedService(tmp_path) as service:
            body = {"name": "kept"}
            made = service.call("POST", "/api/2.0/mlflow/experiments/create", service.token, body)
            service.restart()
            path = f"/api/2.0/mlflow/experiments/get?experiment_id={made['experiment_id']}"
            assert service.call("GET", path, service.token)["experiment"]["name"] == "kept"

    def test_a_folder_that_holds_other_things_is_refused(self, amlstore: Amlstore, tmp_path: Path) -> None:
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter-1.tex").touch()
        result = amlstore("serve", "thesis", "--port", "0", folder=tmp_path)
        assert (result.exit_code, result.out) == (2, "")
        assert result.err == (
            f"amlstore: No workspace in {tmp_path}/thesis. Make one with `amlstore init {tmp_path}/thesis`, "
            "or correct the path\n"
        )
        assert [entry.name for entry in (tmp_path / "thesis").iterdir()] == ["chapter-1.tex"]

    def test_without_a_folder_it_is_the_one_that_config_json_names(self, tmp_path: Path) -> None:
        below = tmp_path / "workspace" / "scripts" / "deep"
        with ForkedService(tmp_path) as service:
            service.stop()
            below.mkdir(parents=True)
            command = [AMLSTORE, "serve", "--port", "0"]
            with subprocess.Popen(
                command,
                cwd=below,
                env=service.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            ) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == f"Workspace: {tmp_path}/workspace\n"
                process.stdout.readline()
                process.stdout.readline()
                process.terminate()

    def test_a_config_that_names_a_service_is_refused(self, amlstore: Amlstore, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"service_url": "https://ml.example.org"}')
        result = amlstore("serve", ".", "--port", "0", folder=tmp_path)
        assert (result.exit_code, result.out) == (2, "")
        assert "it names no embedded workspace" in result.err


class TestWhatItPrints:
    def test_its_url_and_a_tracking_uri_with_a_token(self, serving: Callable[..., ForkedService]) -> None:
        service = serving("--token-lifetime", "600")
        port = urlsplit(service.url).port
        assert service.url == f"http://127.0.0.1:{port}"
        uri = urlsplit(service.tracking_uri)
        assert (uri.scheme, uri.netloc) == ("azureml+http", f"127.0.0.1:{port}")
        assert uri.path.startswith("/mlflow/v2.0/subscriptions/")
        assert uri.path.endswith("/workspaces/workspace")
        query = parse_qs(uri.query)
        expires = time.strptime(query["expires"][0], "%Y-%m-%dT%H:%M:%SZ")
        assert query["token"][0].count(".") == 2
        lasts_s = time.mktime(expires) - time.mktime(time.gmtime())
        assert 500 < lasts_s <= 601

    @pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
    def test_a_token_on_a_terminal_alone_and_of_a_key_that_is_listed_and_revoked(
        self, amlstore: Amlstore, tmp_path: Path
    ) -> None:
        environment = {**ENVIRONMENT, "XDG_STATE_HOME": str(tmp_path / "state")}
        command = [AMLSTORE, "serve", tmp_path / "ws", "--port", "0", "--log-level", "error"]
        for _ in range(2):  # the second start uses the key that the first has made
            ours, its = os.openpty()
            with subprocess.Popen(command, env=environment, stdout=its) as process, os.fdopen(ours, "rb") as terminal:
                os.close(its)
                told = [terminal.readline().decode().strip() for _ in range(3)]
                uri = told[2].removeprefix("Tracking URI: ")
                token = parse_qs(urlsplit(uri).query)["token"][0]
                search = f"{told[1].removeprefix('Service: ')}/api/2.0/mlflow/experiments/search?max_results=1"
                assert get(search, {"Authorization": f"Bearer {token}"})[0] == 200

                _, *keys = amlstore("keys", "list", "-w", str(tmp_path / "ws")).rows
                assert [(key[1], key[2]) for key in keys] == [("amlstore serve", "contributor")]
                process.terminate()

        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = [process.stdout.readline().strip() for _ in range(3)]
            assert "?" not in told[2]
            search = f"{told[1].removeprefix('Service: ')}/api/2.0/mlflow/experiments/search?max_results=1"
            assert get(search, {"Authorization": f"Bearer {token}"})[0] == 200
            assert amlstore("keys", "revoke", "amlstore serve", "-w", str(tmp_path / "ws")).exit_code == 0
            while get(search, {"Authorization": f"Bearer {token}"})[0] == 200:
                time.sleep(0.01)
            assert get(search, {"Authorization": f"Bearer {token}"})[0] == 401
            process.terminate()

    def test_no_secret_reaches_the_log(self, serving: Callable[..., ForkedService]) -> None:
        service = serving("--log-level", "debug")
        token = service.token
        get(f"{service.url}/api/2.0/mlflow/experiments/search?token={token}", {"Authorization": f"Bearer {token}"})
        get(f"{service.url}/{token}/{service.key}?sig=c2lnbmF0dXJl", {"Authorization": f"Bearer {service.key}"})
        service.stop()
        log = service.log.read_text()
        assert log.count('"path"') >= 4
        for secret in (token, token.split(".")[2], service.key, service.key.split("_", 2)[2], "c2lnbmF0dXJl"):
            assert secret not in log

    def test_url_and_allowed_hosts_are_names_that_clients_may_use(self, serving: Callable[..., ForkedService]) -> None:
        service = ForkedService(serving().folder.parent.parent / "named", "--allowed-host", "lab.example.org")
        with service:
            for host, status in (("lab.example.org", 200), ("LAB.example.org:80", 200), ("evil.example.org", 403)):
                assert get(f"{service.url}/health", {"Host": host})[0] == status, host

    def test_the_tracking_uri_names_the_address_that_clients_use(self, tmp_path: Path) -> None:
        environment = {**ENVIRONMENT, "XDG_STATE_HOME": str(tmp_path / "state")}
        command = [AMLSTORE, "serve", tmp_path / "ws", "--port", "0", "--url", "https://ML.example.org/"]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            told = [process.stdout.readline() for _ in range(3)]
            process.terminate()
        assert told[1] == "Service: https://ml.example.org\n"
        assert told[2].startswith("Tracking URI: azureml://ml.example.org/mlflow/v2.0/")


class TestRefusals:
    def test_a_port_in_use(self, amlstore: Amlstore) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            result = amlstore("serve", "--port", str(port))
        assert (result.exit_code, result.out) == (2, "")
        problem = r"can't be had on 127\.0\.0\.1 \(Address already in use\)"
        assert re.fullmatch(rf"amlstore: Invalid value {port} for --port: {problem}; .*\n", result.err)

    @pytest.mark.parametrize("host", ["0.0.0.0", "::"])
    def test_other_machines_without_tls(self, amlstore: Amlstore, host: str) -> None:
        result = amlstore("serve", "--host", host, "--port", "0")
        assert (result.exit_code, result.out) == (2, "")
        assert result.err.count("\n") == 1
        assert "it needs TLS: `--tls self-signed`" in result.err

    def test_an_address_of_another_machine(self, amlstore: Amlstore) -> None:
        result = amlstore("serve", "--host", "192.0.2.1", "--port", "0", "--tls", "self-signed")
        assert (result.exit_code, result.out, result.err.count("\n")) == (2, "", 1)

    def test_a_name_that_means_nothing(self, amlstore: Amlstore) -> None:
        result = amlstore("serve", "--host", "no such host", "--port", "0")
        assert (result.exit_code, result.out, result.err.count("\n")) == (2, "", 1)
        assert "must be an address of this machine" in result.err

    def test_plain_http_for_clients_elsewhere(self, amlstore: Amlstore) -> None:
        result = amlstore("serve", "--port", "0", "--url", "http://ml.example.org")
        assert result.exit_code == 2
        assert "http:// is for this machine only" in result.err

    @pytest.mark.parametrize(
        "options",
        [["--tls-key", "x.pem"], ["--tls", "self-signed", "--tls-cert", "x.pem"], ["--token-lifetime", "0"]],
    )
    def test_options_that_make_no_sense(self, amlstore: Amlstore, options: list[str]) -> None:
        result = amlstore("serve", "--port", "0", *options)
        assert (result.exit_code, result.out) == (2, "")
        assert "Error: " in result.err

    def test_without_the_extra_it_says_what_to_install(self, workspace: EmbeddedWorkspace) -> None:
        command = [sys.executable, "-c", WITHOUT_EXTRA, "serve"]
        done = subprocess.run(command, cwd=workspace.folder, env=ENVIRONMENT, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "amlstore: `amlstore serve` needs the package uvicorn, which is not installed. "
            "Run `pip install 'mlflow-amlstore[service]'`, or in a clone `pip install '.[service]'`\n"
        )
        assert subprocess.run([*command, "--help"], env=ENVIRONMENT, capture_output=True).returncode == 0

    def test_a_secret_that_others_can_read(self, amlstore: Amlstore, tmp_path: Path) -> None:
        with ForkedService(tmp_path) as service:
            secret = service.folder / "service" / "secret"
        assert (secret.stat().st_mode & 0o777, secret.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        secret.chmod(0o640)
        result = amlstore("serve", str(service.folder), "--port", "0")
        assert (result.exit_code, result.out, result.err.count("\n")) == (2, "", 1)
        assert f"chmod 600 {secret}" in result.err


class TestTheKeyOfWhoeverStartedIt:
    def test_is_left_for_this_user_and_taken_back(self, serving: Callable[..., ForkedService]) -> None:
        service = serving()
        (left,) = (service.folder.parent / "state" / "amlstore" / "services").iterdir()
        assert left.stat().st_mode & 0o777 == 0o600
        key = json.loads(left.read_text())["key"]
        assert key.startswith("amlk_local_")
        assert service.call("POST", "/auth/token", key)["role"] == "owner"
        service.stop()
        assert not left.exists()

    def test_is_the_same_after_a_restart(self, serving: Callable[..., ForkedService]) -> None:
        service = serving()
        key, token = service.key, service.token
        service.restart()
        assert service.key == key
        assert service.call("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", token)

    def test_a_home_that_cannot_be_written_stops_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        environment = {**ENVIRONMENT, "XDG_STATE_HOME": str(tmp_path / "file")}
        with subprocess.Popen(
            [AMLSTORE, "serve", tmp_path / "ws", "--port", "0"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline().startswith("Workspace: ")
            process.terminate()
            assert "can't find the key by themselves" in process.stderr.read()
        assert process.returncode == 0


def slow_request(service: ForkedService) -> socket.socket:
    """A request that the service has accepted and waits for: its body is still to come."""
    url = urlsplit(service.url)
    connection = socket.create_connection((url.hostname, url.port))
    head = (
        f"POST /api/2.0/mlflow/experiments/create HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {service.token}"
        "\r\nContent-Type: application/json\r\nContent-Length: 16\r\nExpect: 100-continue\r\n\r\n"
    )
    connection.sendall(head.encode())
    assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    return connection


def wait_until_it_refuses(service: ForkedService) -> None:
    """Wait until nobody can connect any more: it has taken the signal."""
    url = urlsplit(service.url)
    with suppress(ConnectionRefusedError, ConnectionResetError):  # reset: it stopped listening at that very moment
        while True:
            socket.create_connection((url.hostname, url.port)).close()
            time.sleep(0.02)


class TestTheEnd:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_finishes_what_was_accepted(self, serving: Callable[..., ForkedService], number: int) -> None:
        service = serving()
        process = service.process
        assert process is not None
        with slow_request(service) as connection:
            process.send_signal(number)
            wait_until_it_refuses(service)
            assert process.poll() is None
            connection.sendall(b'{"name": "slow"}')
            answer = connection.recv(10_000)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert process.wait() == 0
        service.restart()
        path = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=slow"
        assert service.call("GET", path, service.token)["experiment"]["name"] == "slow"

    def test_waits_ten_seconds_and_no_longer(self, tmp_path: Path) -> None:
        """Two seconds here, and the harder stop that would end it five seconds later is put off."""
        assert (server.SHUTDOWN_S, server._HARD_STOP_S) == (10, 15)
        service = ForkedService(tmp_path)
        service.command = ("-c", IMPATIENT)
        with service, slow_request(service):
            process = service.process
            assert process is not None
            began = time.monotonic()
            process.terminate()
            process.wait()
            assert time.monotonic() - began > 2 * 0.8

    def test_a_second_signal_ends_it_at_once(self, serving: Callable[..., ForkedService]) -> None:
        service = serving()
        process = service.process
        assert process is not None
        with slow_request(service):
            process.terminate()
            wait_until_it_refuses(service)
            process.terminate()
            assert process.wait() == 128 + signal.SIGTERM


def test_it_starts_quickly_is_small_and_loads_nothing_that_it_does_not_need(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prints time and memory; what is asserted is what was loaded, since a time depends on the machine."""
    with ForkedService(tmp_path) as service:
        service.stop()
        began = time.monotonic()
        service.start()
        assert get(f"{service.url}/health")[0] == 200
        seconds = time.monotonic() - began
        assert service.process is not None
        rollup = Path(f"/proc/{service.process.pid}/smaps_rollup")
        size = re.search(r"^Pss: +(\d+) kB", rollup.read_text(), re.MULTILINE) if rollup.exists() else None
    with capsys.disabled():
        print(f"\n`amlstore serve`: {seconds:.2f} s to the first answer, {int(size[1]) / 1024 if size else 0:.0f} MiB")

    command = [sys.executable, "-X", "importtime", AMLSTORE, "serve", service.folder, "--port", "0"]
    with (
        (tmp_path / "imports").open("w+") as imports,
        subprocess.Popen(
            command, env=service.environment, stdout=subprocess.PIPE, stderr=imports, text=True
        ) as process,
    ):
        assert process.stdout is not None
        while not process.stdout.readline().startswith("Tracking URI"):
            pass
        process.terminate()
    imports = (tmp_path / "imports").read_text()
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in imports.splitlines()}
    assert "starlette" in loaded
    assert loaded & {"alembic", "azure", "keyring", "mlflow", "requests", "rich", "urllib3"} == set()


def test_it_may_have_many_connections(serving: Callable[..., ForkedService]) -> None:
    process = serving().process
    assert process is not None
    limits = Path(f"/proc/{process.pid}/limits")
    if not limits.exists():
        pytest.skip("needs Linux")
    soft, hard = re.findall(r"^Max open files +(\d+) +(\d+)", limits.read_text(), re.MULTILINE)[0]
    assert soft == hard


def test_it_listens_on_ipv6(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6 here")
    with ForkedService(tmp_path, "--host", "::1") as service:
        assert service.url.startswith("http://[::1]:")
        assert get(f"{service.url}/health") == (200, "OK")
