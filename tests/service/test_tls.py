"""TLS: development certificates, the user's own, and what clients make of them."""

import datetime
import os
import socket
import ssl
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from fork_server import ForkedProcess, run_forked
from forked_service import ForkedService

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.service import tls

NAMES = ["127.0.0.1", "::1", "lab.example.org", "localhost"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tls"


def certificate_in(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def later(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    monkeypatch.setattr(tls, "_now", lambda: moment)


class TestSelfSigned:
    def test_names_are_in_it_and_the_ca_signed_it(self, folder: Path) -> None:
        made = tls.self_signed(NAMES, folder)
        assert made.ca == folder / "ca.pem"
        leaf, authority = certificate_in(made.chain), certificate_in(made.ca)
        leaf.verify_directly_issued_by(authority)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["lab.example.org", "localhost"]
        assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]

    def test_keys_are_for_this_user_alone(self, folder: Path) -> None:
        made = tls.self_signed(NAMES, folder)
        assert folder.stat().st_mode & 0o777 == 0o700
        for file in folder.iterdir():
            assert file.stat().st_mode & 0o777 == 0o600, file
        assert b"PRIVATE" not in (made.ca or folder).read_bytes()

    def test_it_is_used_again(self, folder: Path) -> None:
        before = tls.self_signed(NAMES, folder).chain.read_bytes()
        assert tls.self_signed([*reversed(NAMES)], folder).chain.read_bytes() == before

    def test_other_names_get_another_one_of_the_same_ca(self, folder: Path) -> None:
        first, second = tls.self_signed(NAMES, folder), tls.self_signed(["localhost"], folder)
        assert first.chain != second.chain
        assert first.ca == second.ca

    def test_it_is_made_anew_before_it_ends(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = tls.self_signed(NAMES, folder)
        before, ca = first.chain.read_bytes(), (first.ca or folder).read_bytes()
        later(monkeypatch, 360)
        first.renew()
        assert first.chain.read_bytes() == before
        later(monkeypatch, 370)
        first.renew()
        assert first.chain.read_bytes() != before
        assert (first.ca or folder).read_bytes() == ca
        certificate_in(first.chain).verify_directly_issued_by(certificate_in(folder / "ca.pem"))

    def test_so_is_the_ca(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = tls.self_signed(NAMES, folder)
        before = certificate_in(folder / "ca.pem")
        later(monkeypatch, 3640)
        first.renew()
        after = certificate_in(folder / "ca.pem")
        assert before.subject != after.subject
        certificate_in(first.chain).verify_directly_issued_by(after)

    def test_many_processes_at_once_make_one(self, folder: Path) -> None:
        program = "import sys, pathlib; from mlflow_amlstore.service import tls; "
        program += "tls.self_signed(sys.argv[2:], pathlib.Path(sys.argv[1]))"
        making = [ForkedProcess(["-c", program, folder, *NAMES]) for _ in range(8)]
        assert [process.wait() for process in making] == [0] * 8
        authority = certificate_in(folder / "ca.pem")
        certificate_in(tls.self_signed(NAMES, folder).chain).verify_directly_issued_by(authority)
        assert sorted(file.name for file in folder.glob(".*")) == []


class TestGiven:
    def test_a_good_one(self, folder: Path) -> None:
        made = tls.self_signed(NAMES, folder)
        assert tls.given(made.chain, made.key) == tls.Certificate(made.chain, made.key)

    def test_one_that_is_not_there(self, folder: Path) -> None:
        with pytest.raises(InvalidValue, match="--tls-cert: must be a file that this user can read"):
            tls.given(folder / "none.pem", folder / "none.pem")

    def test_one_that_is_no_certificate(self, tmp_path: Path) -> None:
        (tmp_path / "x.pem").write_text("no")
        with pytest.raises(InvalidValue, match="--tls-cert: must be a certificate in PEM form"):
            tls.given(tmp_path / "x.pem", tmp_path / "x.pem")

    def test_the_key_of_another(self, folder: Path, tmp_path: Path) -> None:
        first, other = tls.self_signed(NAMES, folder), tls.self_signed(NAMES, tmp_path / "other")
        with pytest.raises(InvalidValue, match="--tls-key: must be the key of"):
            tls.given(first.chain, other.key)

    def test_an_encrypted_key_asks_nobody(self, folder: Path, tmp_path: Path) -> None:
        made, key = tls.self_signed(NAMES, folder), tmp_path / "key.pem"
        loaded = tls.serialization.load_pem_private_key(made.key.read_bytes(), None)
        encryption = tls.serialization.BestAvailableEncryption(b"x")
        pem, pkcs8 = tls.serialization.Encoding.PEM, tls.serialization.PrivateFormat.PKCS8
        key.write_bytes(loaded.private_bytes(pem, pkcs8, encryption))
        with pytest.raises(InvalidValue, match="encrypted"):
            tls.given(made.chain, key)

    def test_one_that_has_ended(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made = tls.self_signed(NAMES, folder)
        later(monkeypatch, 398)
        with pytest.raises(InvalidValue, match="it expired at"):
            tls.given(made.chain, made.key)


def health(url: str, ca: Path | None) -> str:
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    with urllib.request.urlopen(f"{url}/health", context=context) as answer:
        return str(answer.read().decode())


def ca_of(service: ForkedService) -> Path:
    return service.folder.parent / "state" / "amlstore" / "tls" / "ca.pem"


class TestAService:
    def test_is_trusted_by_whoever_has_its_ca(self, start_service: Callable[..., ForkedService]) -> None:
        service = start_service("--tls", "self-signed")
        assert service.url.startswith("https://127.0.0.1:")
        assert service.tracking_uri.startswith("azureml://127.0.0.1:")
        ca = ca_of(service)
        assert health(service.url, ca) == "OK"
        assert health(service.url.replace("127.0.0.1", "localhost"), ca) == "OK"
        with pytest.raises(URLError, match="certificate verify failed"):
            health(service.url, None)
        before = ca.read_bytes()
        service.restart()
        assert ca.read_bytes() == before
        assert health(service.url, ca) == "OK"

    def test_may_be_reached_by_other_machines(self, start_service: Callable[..., ForkedService]) -> None:
        service = start_service("--tls", "self-signed", "--host", "0.0.0.0", "--allowed-host", "lab.example.org")
        port = urlsplit(service.url).port
        assert health(f"https://127.0.0.1:{port}", ca_of(service)) == "OK"
        names = certificate_in(next(ca_of(service).parent.glob("server-*.pem"))).extensions
        alternative = names.get_extension_for_class(x509.SubjectAlternativeName).value
        assert "lab.example.org" in alternative.get_values_for_type(x509.DNSName)

    def test_tells_how_to_trust_it_and_mlflow_does_so(self, tmp_path: Path) -> None:
        service = ForkedService(tmp_path, "--tls", "self-signed")
        with service:
            assert service.process is not None
            assert service.process.stdout is not None
            told = [service.process.stdout.readline().strip() for _ in range(4)]
            ca = ca_of(service)
            assert told[1:] == [
                f"export MLFLOW_TRACKING_SERVER_CERT_PATH={ca}",
                f"export REQUESTS_CA_BUNDLE={ca}",
                f"curl --cacert {ca} {service.url}/health",
            ]
            program = "import mlflow\nmlflow.log_metric('x', 1)\nprint(mlflow.search_runs()['metrics.x'].tolist())"
            environment = {**service.environment, "MLFLOW_TRACKING_SERVER_CERT_PATH": str(ca)}
            done = run_forked(["-c", program], env=environment)
            assert "[1.0]" in done.stdout.splitlines(), done.stderr

    def test_doesnt_wait_for_the_goodbye_of_idle_clients(self, start_service: Callable[..., ForkedService]) -> None:
        running = start_service("--tls", "self-signed")
        context = ssl.create_default_context(cafile=running.ca)
        address = urlsplit(running.url)
        with (
            socket.create_connection((address.hostname or "", address.port or 0)) as plain,
            context.wrap_socket(plain, server_hostname=address.hostname) as idle,
        ):
            idle.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert idle.recv(1000).startswith(b"HTTP/1.1 200")
            running.stop()
        assert "timeout graceful shutdown exceeded" not in running.log.read_text()

    def test_takes_the_users_own(self, start_service: Callable[..., ForkedService], folder: Path) -> None:
        made = tls.self_signed(["127.0.0.1"], folder)
        service = start_service("--tls-cert", str(made.chain))
        assert health(service.url, made.ca) == "OK"

    def test_does_not_start_with_a_bad_one(self, tmp_path: Path) -> None:
        (tmp_path / "bad.pem").write_text("no")
        with pytest.raises(RuntimeError, match="must be a certificate in PEM form"):
            ForkedService(tmp_path, "--tls-cert", str(tmp_path / "bad.pem")).start()

    def test_speaks_nothing_older_than_tls_1_2(self, start_service: Callable[..., ForkedService]) -> None:
        service = start_service("--tls", "self-signed")
        url = urlsplit(service.url)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection((url.hostname, url.port)) as connection, pytest.raises(OSError):  # noqa: PT011
            old.wrap_socket(connection)


@pytest.mark.skipif(os.name != "posix", reason="files are private by their mode on POSIX only")
def test_an_authority_that_ends_too_soon_by_a_wrong_clock_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls.self_signed(NAMES, folder)
    monkeypatch.setattr(tls, "_CA_LIFETIME", tls._LIFETIME)
    later(monkeypatch, 3640)
    with pytest.raises(InvalidValue, match="is the clock of this machine right"):
        tls.self_signed(NAMES, folder)
