"""`amlstore login`, `logout` and `uri`, and what `doctor` says of a service."""

import fcntl
import json
import os
import pty
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest
from forked_service import ForkedService
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_amlstore.workspace.tracking_uri import parse

from .conftest import AMLSTORE, ENVIRONMENT, Amlstore, Result

NO_KEYRING = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedService]:
    with ForkedService(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def new_key(service: ForkedService, amlstore: Amlstore, tmp_path: Path) -> str:
    return amlstore("keys", "create", tmp_path.name, "-w", str(service.folder)).out.strip()


@pytest.fixture
def elsewhere(amlstore: Amlstore, tmp_path: Path) -> Callable[..., Result]:
    """Run `amlstore` as a user who started no service, in an empty folder."""
    (tmp_path / "elsewhere").mkdir()
    homes = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config"), **NO_KEYRING}

    def run(*arguments: str, typed: str = "", **environment: str) -> Result:
        return amlstore(*arguments, typed=typed, folder=tmp_path / "elsewhere", environment={**homes, **environment})

    return run


class TestLogin:
    def test_keeps_a_key_that_is_good(
        self, elsewhere: Callable[..., Result], service: ForkedService, new_key: str, tmp_path: Path
    ) -> None:
        result = elsewhere("login", service.url, typed=f"{new_key}\n")
        file = tmp_path / "config" / "amlstore" / "keys.json"
        said = f"Logged in to the workspace workspace at {service.url}; the key is in {file}\n"
        assert (result.exit_code, result.out) == (0, said)
        assert file.stat().st_mode & 0o777 == 0o600
        assert parse(elsewhere("uri", "--url", service.url).out.strip()).token is not None

    def test_asks_on_a_terminal_without_showing_what_is_typed(
        self, service: ForkedService, new_key: str, tmp_path: Path
    ) -> None:
        ours, its = pty.openpty()
        environment = {**ENVIRONMENT, **NO_KEYRING, "XDG_CONFIG_HOME": str(tmp_path / "config")}
        process = subprocess.Popen(
            [AMLSTORE, "login", service.url],
            env=environment,
            stdin=its,
            stdout=its,
            stderr=its,
            preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)),
        )
        os.close(its)
        shown = b""
        while b"Key: " not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, f"{new_key}\n".encode())
        try:
            while chunk := os.read(ours, 1000):
                shown += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(ours)
        assert process.wait(30) == 0
        assert b"Logged in" in shown
        assert new_key.encode() not in shown

    @pytest.mark.parametrize("typed", ["amlk_000000000000_" + "x" * 43, "password", "\n", ""])
    def test_keeps_nothing_that_is_not(
        self, elsewhere: Callable[..., Result], service: ForkedService, tmp_path: Path, typed: str
    ) -> None:
        result = elsewhere("login", service.url, typed=typed)
        assert result.exit_code in (1, 2)
        assert result.out == ""
        assert result.err.startswith("amlstore: ")
        assert not typed.strip() or typed.strip() not in result.err
        assert not (tmp_path / "config").exists()

    def test_where_no_service_is_says_so_soon(self, elsewhere: Callable[..., Result]) -> None:
        result = elsewhere("login", "http://127.0.0.1:9", typed="x\n")
        assert (result.exit_code, result.out) == (1, "")
        assert "The workspace service http://127.0.0.1:9 can't be reached" in result.err

    def test_over_plain_http_to_another_machine_is_refused(self, elsewhere: Callable[..., Result]) -> None:
        result = elsewhere("login", "http://ml.example.org", typed="x\n")
        assert (result.exit_code, result.out) == (2, "")
        assert "use https://" in result.err


def test_logout_forgets_the_key(elsewhere: Callable[..., Result], service: ForkedService, new_key: str) -> None:
    elsewhere("login", service.url, typed=new_key)
    assert elsewhere("logout", service.url).out == f"Logged out of {service.url}\n"
    assert elsewhere("logout", service.url).out == f"There was no key for {service.url}\n"
    assert elsewhere("uri", "--url", service.url).exit_code == 2


class TestUri:
    def test_of_a_service_that_this_user_started_needs_no_login(
        self, amlstore: Amlstore, service: ForkedService
    ) -> None:
        result = amlstore("uri", "--url", service.url, environment=service.environment)
        assert (result.exit_code, result.err) == (0, "")
        uri = parse(result.out.removesuffix("\n"))
        assert uri.root == parse(service.tracking_uri).root
        assert uri.token is not None
        client = mlflow.MlflowClient(result.out.strip(), result.out.strip())
        assert client.get_experiment("0").name == "Default"

    def test_takes_a_key_from_the_environment(
        self, elsewhere: Callable[..., Result], service: ForkedService, new_key: str
    ) -> None:
        result = elsewhere("uri", "--url", service.url, AMLSTORE_KEY=new_key)
        assert (result.exit_code, result.err) == (0, "")

    def test_without_a_credential_says_where_it_looked_and_what_to_do(
        self, elsewhere: Callable[..., Result], service: ForkedService
    ) -> None:
        result = elsewhere("uri", "--url", service.url)
        assert result.exit_code == 2
        assert f"Log in with `amlstore login {service.url}`" in result.err
        self.assert_mlflow_refuses(result.out.strip(), f"Log in with `amlstore login {service.url}`")

    def assert_mlflow_refuses(self, uri: str, problem: str) -> None:
        """As a script would that goes on with it, in MLFLOW_TRACKING_URI."""
        for use in (lambda: MlflowClient(uri), lambda: MlflowClient("sqlite://", uri).search_registered_models()):
            with pytest.raises(MlflowException, match="`amlstore uri` has failed: ") as refused:
                use()
            assert problem in str(refused.value)

    def test_of_the_service_that_config_json_names(
        self, elsewhere: Callable[..., Result], service: ForkedService, new_key: str, tmp_path: Path
    ) -> None:
        (tmp_path / "elsewhere" / "config.json").write_text(json.dumps({"service_url": service.url}))
        result = elsewhere("uri", AMLSTORE_KEY=new_key)
        assert (result.exit_code, result.err) == (0, "")
        assert parse(result.out.strip()).root == parse(service.tracking_uri).root

    def test_of_an_embedded_workspace(self, amlstore: Amlstore, tmp_path: Path) -> None:
        for result in (amlstore("uri"), amlstore("uri", "-w", "ws", folder=tmp_path)):
            assert (result.exit_code, result.err) == (0, "")
            assert result.out.startswith(f"amlstore://{tmp_path}/ws?expires=")

    def test_of_two_places_at_once_is_refused(self, amlstore: Amlstore, service: ForkedService) -> None:
        result = amlstore("uri", "--url", service.url, "-w", ".")
        assert result.exit_code == 2
        self.assert_mlflow_refuses(result.out.strip(), "--url and --workspace are two places; give one")

    def test_outside_any_workspace(self, elsewhere: Callable[..., Result]) -> None:
        result = elsewhere("uri")
        assert result.exit_code == 2
        assert "No config.json found" in result.err
        self.assert_mlflow_refuses(result.out.strip(), "No config.json found")

    def test_of_a_service_that_is_down(self, elsewhere: Callable[..., Result]) -> None:
        result = elsewhere(
            "uri", "--url", "http://127.0.0.1:9", AMLSTORE_KEY="amlk_x", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"
        )
        assert result.exit_code == 1
        self.assert_mlflow_refuses(result.out.strip(), "The workspace service http://127.0.0.1:9 can't be reached")

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            (["uri", "--ulr", "http://127.0.0.1:9"], "--ulr"),
            (["uri", "--url"], "requires an argument"),
            (["uri", "more"], "unexpected extra argument (more)"),
            (["uir"], "Did you mean `amlstore uri`?"),
            (["--url", "http://127.0.0.1:9", "uri"], "--url"),
        ],
    )
    def test_that_is_typed_wrong(self, amlstore: Amlstore, arguments: list[str], problem: str) -> None:
        result = amlstore(*arguments)
        assert (result.exit_code, problem in result.err) == (2, True)
        self.assert_mlflow_refuses(result.out.strip(), problem)

    def test_is_nothing_that_another_command_prints_where_it_fails(self, amlstore: Amlstore) -> None:
        for arguments in (["show", "uri"], ["runs", "--ulr"], ["uninstall"]):
            result = amlstore(*arguments)
            assert (result.exit_code > 0, result.out) == (True, "")

    def test_on_a_terminal_shows_a_person_the_problem_alone(self, amlstore_on_terminal: Callable[..., str]) -> None:
        assert "amlstore:failed" not in amlstore_on_terminal("uri", "more")

    @pytest.mark.parametrize(
        ("line", "printed"),
        [
            ("export MLFLOW_TRACKING_URI=$(amlstore uir)", "amlstore:failed?"),
            ("MLFLOW_TRACKING_URI=$(amlstore uir); export MLFLOW_TRACKING_URI", ""),
        ],
    )
    def test_under_set_e_a_script_stops_where_export_stands_behind(
        self, tmp_path: Path, line: str, printed: str
    ) -> None:
        script = f"set -e\n{line}\nprintenv MLFLOW_TRACKING_URI"
        environment = {**ENVIRONMENT, "PATH": f"{AMLSTORE.parent}{os.pathsep}{os.environ['PATH']}"}
        ended = subprocess.run(
            ["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert (ended.returncode == 0, ended.stdout.partition("?")[0]) == (bool(printed), printed.rstrip("?"))


class TestDoctor:
    def test_says_that_a_service_answers_and_a_key_is_found(
        self, elsewhere: Callable[..., Result], service: ForkedService, new_key: str, tmp_path: Path
    ) -> None:
        (tmp_path / "elsewhere" / "config.json").write_text(json.dumps({"service_url": service.url}))
        findings = {f["check"]: f for f in json.loads(elsewhere("doctor", "--json", AMLSTORE_KEY=new_key).out)}
        assert findings["service"] == {
            "check": "service",
            "is_ok": True,
            "detail": f"{service.url} answers: the workspace workspace",
            "remedy": "",
        }
        assert findings["credential"]["is_ok"]
        findings = {f["check"]: f for f in json.loads(elsewhere("doctor", "--json").out)}
        assert findings["service"]["is_ok"]
        assert not findings["credential"]["is_ok"]
        assert findings["credential"]["remedy"] == f"Log in with `amlstore login {service.url}`, or set AMLSTORE_KEY"

    def test_says_that_a_service_does_not_answer(self, elsewhere: Callable[..., Result], tmp_path: Path) -> None:
        (tmp_path / "elsewhere" / "config.json").write_text(json.dumps({"service_url": "http://127.0.0.1:9"}))
        result = elsewhere("doctor", "--json")
        assert result.exit_code == 1
        findings = {f["check"]: f for f in json.loads(result.out)}
        assert not findings["service"]["is_ok"]
        assert findings["service"]["remedy"] == "Check service_url, and that the service runs"
