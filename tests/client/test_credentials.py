"""Keys of services on this machine: where they are found, kept and forgotten, and who else could see them."""

import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fork_server import ForkedProcess, run_forked

from mlflow_amlstore.client.tokens import stored_keys
from mlflow_amlstore.client.tokens.credentials import AccessToken, Credential, KeyCredential, find_credential
from mlflow_amlstore.client.tokens.stored_keys import (
    announce_service,
    find_key,
    forget_key,
    login_file,
    save_key,
    service_of_folder,
    use_key_variable_for,
    withdraw_service,
)
from mlflow_amlstore.errors import InvalidValue, LoginNeeded, NotAllowed, ServiceUnreachable, TokenRefused
from mlflow_amlstore.workspace.service_url import same_machine_form, service_url_of

URL = "https://amlstore.example:8443"
LOCAL = "http://127.0.0.1:5480"
SECRET = "s3cret-key"
posix_only = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")


class MemoryKeyring:
    """A keyring of the package `keyring` that keeps its keys in this process."""

    def __init__(self) -> None:
        from keyring.backend import KeyringBackend

        kept: dict[tuple[str, str], str] = {}

        class Backend(KeyringBackend):
            priority = 1

            def get_password(self, service: str, username: str) -> str | None:
                return kept.get((service, username))

            def set_password(self, service: str, username: str, password: str) -> None:
                kept[service, username] = password

            def delete_password(self, service: str, username: str) -> None:
                del kept[service, username]

        self.kept, self.backend = kept, Backend()


@pytest.fixture
def keyring() -> Iterator[MemoryKeyring]:
    module = pytest.importorskip("keyring")
    before = module.get_keyring()
    ours = MemoryKeyring()
    module.set_keyring(ours.backend)
    yield ours
    module.set_keyring(before)


FOLDER = Path("/a/workspace")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestFinding:
    def test_the_places_are_searched_in_their_order(
        self, keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stored_keys, "_opened", set())  # what other tests opened
        announce_service(LOCAL, "announced", FOLDER)
        assert find_key(LOCAL) == "announced"
        login_file().parent.mkdir(parents=True)
        login_file().write_text(json.dumps({LOCAL: "from login"}))
        login_file().chmod(0o600)
        assert find_key(LOCAL) == "from login"
        keyring.kept["amlstore", LOCAL] = "from keyring"
        assert find_key(LOCAL) == "from keyring"
        monkeypatch.setenv("AMLSTORE_KEY", "from environment")
        assert find_key(LOCAL) == "from keyring"
        use_key_variable_for(LOCAL)
        assert find_key(LOCAL) == "from environment"

    def test_a_service_on_this_machine_has_one_key_by_whatever_name(self) -> None:
        announce_service("http://localhost:5480/", SECRET, FOLDER)
        for name in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
            assert find_key(f"http://{name}:5480") == SECRET
        for other in ("http://127.0.0.1:5481", "https://127.0.0.1:5480", "http://127.0.0.1"):
            with pytest.raises(LoginNeeded):
                find_key(other)

    def test_without_one_the_error_names_every_place(self) -> None:
        with pytest.raises(LoginNeeded) as raised:
            find_key(URL)
        for place in ("AMLSTORE_KEY", "keyring", "`amlstore login`", "services that this user started here"):
            assert place in str(raised.value)
        assert f"amlstore login {URL}" in str(raised.value)

    def test_a_credential_is_found_without_a_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AMLSTORE_KEY", f" {SECRET}\n")
        use_key_variable_for(URL)
        assert find_credential(f"{URL}/") == KeyCredential(URL, SECRET)

    def test_a_keyring_that_fails_is_passed_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        keyring = pytest.importorskip("keyring")

        def fail(*_: str) -> str:
            raise RuntimeError("the keyring is locked")

        monkeypatch.setattr(keyring, "get_password", fail)
        with pytest.raises(LoginNeeded, match=r"the keyring: there is none that works \(RuntimeError\)"):
            find_key(URL)
        assert save_key(URL, SECRET) == str(login_file())

    def test_without_the_package_keyring_the_file_does(self, tmp_path: Path, empty_home: Path) -> None:
        """In a process of its own, where the package can't be found."""
        script = (
            "import sys; sys.modules['keyring'] = None\n"
            "import importlib.util as util\n"
            "find = util.find_spec\n"
            "util.find_spec = lambda name, *more: None if name == 'keyring' else find(name, *more)\n"
            "from mlflow_amlstore.client.tokens.stored_keys import find_key, save_key\n"
            f"print(save_key({URL!r}, {SECRET!r})); print(find_key({URL!r}))"
        )
        done = run_forked(["-c", script], check=True)
        assert done.stdout.split() == [str(empty_home / ".config/amlstore/keys.json"), SECRET]


class TestKeeping:
    def test_in_the_keyring_where_one_works(self, keyring: MemoryKeyring) -> None:
        assert save_key(URL, SECRET) == "the keyring"
        assert keyring.kept == {("amlstore", URL): SECRET}
        assert not login_file().exists()
        assert forget_key(URL)
        assert not forget_key(URL)
        assert keyring.kept == {}

    def test_else_in_a_file_that_this_user_alone_can_read(self, empty_home: Path) -> None:
        assert save_key(URL, SECRET) == str(empty_home / ".config" / "amlstore" / "keys.json")
        save_key("https://other.example", "another")
        assert find_key(URL) == SECRET
        assert forget_key(URL)
        with pytest.raises(LoginNeeded):
            find_key(URL)
        assert find_key("https://other.example") == "another"

    @posix_only
    def test_files_and_folders_are_closed_to_others_whatever_the_umask(self, empty_home: Path) -> None:
        before = os.umask(0)
        try:
            save_key(URL, SECRET)
            announced = announce_service(LOCAL, SECRET, FOLDER)
        finally:
            os.umask(before)
        for file in (login_file(), announced):
            assert (mode_of(file), mode_of(file.parent)) == (0o600, 0o700)
        assert announced == empty_home / ".local/state/amlstore/services/127.0.0.1_5480.json"

    def test_folders_may_be_chosen(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        assert save_key(URL, SECRET) == str(tmp_path / "config" / "amlstore" / "keys.json")
        assert announce_service(LOCAL, SECRET, FOLDER).is_relative_to(tmp_path / "state" / "amlstore")

    def test_folders_that_depend_on_where_a_program_runs_are_not_used(
        self, empty_home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CONFIG_HOME", "not/absolute")
        monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
        assert save_key(URL, SECRET) == str(empty_home / ".config" / "amlstore" / "keys.json")
        assert announce_service(LOCAL, SECRET, FOLDER).is_relative_to(empty_home / ".local" / "state" / "amlstore")

    @posix_only
    def test_a_login_file_that_others_can_read_is_refused_and_said_so(self) -> None:
        save_key(URL, SECRET)
        login_file().chmod(0o640)
        with pytest.raises(LoginNeeded, match="can be read by others; run `chmod 600 "):
            find_key(URL)
        with pytest.raises(NotAllowed, match="can be read by others; run `chmod 600 "):
            save_key("https://other.example", "another")
        assert json.loads(login_file().read_text()) == {URL: SECRET}

    def test_a_damaged_login_file_is_said_so_and_not_written_over(self) -> None:
        save_key(URL, SECRET)
        login_file().write_text("{")
        with pytest.raises(LoginNeeded, match=r"keys\.json is not JSON"):
            find_key(URL)
        with pytest.raises(NotAllowed, match="is not JSON"):
            save_key(URL, SECRET)


class TestServicesStartedHere:
    def test_one_is_found_by_its_workspaces_folder_while_it_runs(self) -> None:
        assert service_of_folder(FOLDER) is None
        announce_service(LOCAL, SECRET, FOLDER)
        assert service_of_folder(FOLDER) == LOCAL
        assert service_of_folder(FOLDER / "below") is None
        withdraw_service(LOCAL)
        assert service_of_folder(FOLDER) is None

    def test_one_is_found_until_it_withdraws(self) -> None:
        announce_service(LOCAL, SECRET, FOLDER)
        assert find_key(LOCAL) == SECRET
        withdraw_service(LOCAL)
        withdraw_service(LOCAL)
        with pytest.raises(LoginNeeded):
            find_key(LOCAL)

    @posix_only
    def test_the_key_of_one_that_was_killed_isnt_sent_to_whoever_has_its_port_now(self) -> None:
        file = announce_service(LOCAL, SECRET, FOLDER)
        ended = ForkedProcess(["-c", ""])
        ended.wait()
        file.write_text(json.dumps({**json.loads(file.read_text()), "pid": ended.pid}))
        with pytest.raises(LoginNeeded, match="services that this user started here: the one that was here has ended"):
            find_key(LOCAL)

    @posix_only
    @pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="giving a file away needs root")
    def test_what_another_user_left_is_not_used(self) -> None:
        os.chown(announce_service(LOCAL, SECRET, FOLDER), 12345, 12345)
        with pytest.raises(LoginNeeded, match="belongs to another user"):
            find_key(LOCAL)


class TestKeyCredential:
    def test_it_exchanges_the_key_for_a_token(self, service: Any) -> None:
        credential: Credential = KeyCredential(service.url, "a-key-that-nobody-may-see")
        token: AccessToken = credential.get_token("any/.default", claims=None)
        assert service.is_good(token.token)
        assert isinstance(token.expires_on, int)
        (request,) = service.seen
        assert (request.method, request.path, request.body) == ("POST", "/auth/token", b"")

    def test_a_wrong_key_is_refused_in_words(self, service: Any) -> None:
        with pytest.raises(TokenRefused, match=f"The key for {service.url} was refused: The key is not one") as raised:
            KeyCredential(service.url, "wrong-key").get_token()
        assert "wrong-key" not in str(raised.value)
        assert str(raised.value).count("amlstore login") == 1

    def test_it_shows_no_key_and_no_token(self, service: Any, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        credential = KeyCredential(service.url, "a-key-that-nobody-may-see")
        token = credential.get_token()
        assert "nobody" not in repr(credential)
        assert token.token not in repr(token)
        assert "nobody" not in caplog.text
        assert token.token not in caplog.text

    def test_credentials_of_azure_identity_fit(self) -> None:
        from azure.identity import AzureCliCredential

        assert isinstance(AzureCliCredential(), Credential)
        assert isinstance(KeyCredential(URL, SECRET), Credential)

    def test_a_service_that_is_gone_is_said_so(self, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        service.stop()
        with pytest.raises(ServiceUnreachable, match="connection refused"):
            KeyCredential(service.url, SECRET).get_token()


class TestAddresses:
    @pytest.mark.parametrize(
        ("written", "normal"),
        [
            ("https://Host.Example:443/", "https://host.example"),
            (" https://host.example:8443 ", "https://host.example:8443"),
            ("http://localhost:5480", "http://localhost:5480"),
            ("http://[::1]:5480", "http://[::1]:5480"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
        ],
    )
    def test_the_normal_form(self, written: str, normal: str) -> None:
        assert service_url_of(written) == normal

    def test_one_name_for_this_machine(self) -> None:
        assert same_machine_form("https://localhost:5480") == "https://127.0.0.1:5480"
        assert same_machine_form("http://[::1]") == "http://127.0.0.1"
        assert same_machine_form("https://host.example") == "https://host.example"

    @pytest.mark.parametrize(
        ("written", "rule"),
        [
            ("host.example", "must be https://HOST"),
            ("ftp://host.example", "must be https://HOST"),
            ("https://", "must be https://HOST"),
            ("azureml://host.example/mlflow/v2.0/x", "is for Workspace.from_tracking_uri"),
            ("https://host.example:port", "must be https://HOST"),
            ("https://host.example/mlflow", "and nothing else"),
            ("https://user:hush@host.example", "and nothing else"),
            ("https://host.example?token=hush", "and nothing else"),
            ("http://10.0.0.1:5480", "http:// is for this machine only"),
            ("http://localhost.evil.example", "http:// is for this machine only"),
        ],
    )
    def test_what_is_none_is_refused_with_the_rule(self, written: str, rule: str) -> None:
        with pytest.raises(InvalidValue, match=rule) as raised:
            service_url_of(written)
        assert "hush" not in str(raised.value)
