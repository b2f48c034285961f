"""`azureml.core.authentication`: the SDK's names for azure-identity's credentials, given to `Workspace` as `auth`."""

import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from azure_cloud import Cloud

from mlflow_amlstore.azureml.core.authentication import (
    AbstractAuthentication,
    AzureCliAuthentication,
    InteractiveLoginAuthentication,
    MsiAuthentication,
    ServicePrincipalAuthentication,
    TokenAuthentication,
)
from mlflow_amlstore.core import Workspace
from mlflow_amlstore.errors import InvalidValue, LoginNeeded, NotSupported


def test_a_function_s_tokens_open_a_workspace(cloud: Cloud) -> None:
    asked = []

    def get_token(audience: str) -> str:
        asked.append(audience)
        return cloud.exchange(cloud.key)

    auth = TokenAuthentication(get_token)
    workspace = Workspace(*cloud.names, auth=auth)
    assert workspace.experiments.keys() == {"Default"}
    assert set(asked) == {f"{cloud.url}/"}
    token = auth.get_token("https://anything/.default")
    assert time.time() < token.expires_on < time.time() + 4000
    assert token.token not in repr(token)
    assert auth.get_authentication_header()["Authorization"].startswith("Bearer ey")


def test_a_token_that_doesnt_say_when_it_ends_lives_for_five_minutes() -> None:
    token = TokenAuthentication(lambda audience: audience, cloud="AzureChinaCloud").get_token()
    assert token.token == "https://management.chinacloudapi.cn/"
    assert 290 < token.expires_on - time.time() < 301


def test_what_is_no_function_of_tokens_is_refused() -> None:
    with pytest.raises(InvalidValue, match="'str' for get_token_for_audience: must be a function"):
        TokenAuthentication("a token")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="'NoneType' for get_token_for_audience: must return a token's text"):
        TokenAuthentication(lambda _: None).get_token()  # type: ignore[arg-type, return-value]
    with pytest.raises(InvalidValue, match="'Mars' for AZUREML_CURRENT_CLOUD: must be one of AzureCloud"):
        TokenAuthentication(lambda _: "", cloud="Mars").get_token()


@pytest.mark.parametrize("auth", [AzureCliAuthentication(), InteractiveLoginAuthentication()], ids=["cli", "login"])
def test_who_ran_az_login_is_signed_in(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, auth: AbstractAuthentication
) -> None:
    for variable, value in cloud.signed_in.items():
        monkeypatch.setenv(variable, value)
    assert Workspace.get(cloud.names[2], auth, *cloud.names[:2]).name == cloud.names[2]


def test_a_service_principal_that_isnt_known_is_an_error_without_its_password(cloud: Cloud) -> None:
    auth = ServicePrincipalAuthentication("tenant", "client", "hunter2")
    with pytest.raises(LoginNeeded) as raised:
        Workspace(*cloud.names, auth=auth)
    assert "hunter2" not in f"{raised.value} {auth!r} {vars(raised.value)}"


class _Identities(http.server.BaseHTTPRequestHandler):
    """What a machine in Azure asks for a token of its own."""

    asked: list[dict[str, list[str]]]

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        self.asked.append(query)
        answer = {"access_token": "of the machine", "expires_on": str(int(time.time()) + 3600), "token_type": "Bearer"}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({**answer, "resource": query["resource"][0]}).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def asked_of_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, list[str]]]]:
    """What a machine with identities is asked; this one is such a machine until the test ends."""
    _Identities.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Identities)
    threading.Thread(target=server.serve_forever).start()
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{server.server_port}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "x")
    monkeypatch.delenv("AZUREML_CURRENT_CLOUD", raising=False)
    yield _Identities.asked
    server.shutdown()
    server.server_close()


def test_a_machine_s_own_identity_gives_tokens(asked_of_machine: list[dict[str, list[str]]]) -> None:
    assert MsiAuthentication().get_token().token == "of the machine"
    chosen = MsiAuthentication(identity_config={"client_id": "c"}).get_token("https://vault.azure.net/.default")
    assert chosen.token == "of the machine"
    assert [(asked["resource"], asked.get("client_id")) for asked in asked_of_machine] == [
        (["https://management.azure.com"], None),
        (["https://vault.azure.net"], ["c"]),
    ]


def test_azure_identity_is_loaded_with_the_first_token() -> None:
    code = (
        "import sys; from mlflow_amlstore.azureml.core.authentication import *; InteractiveLoginAuthentication(True); "
        "ServicePrincipalAuthentication('t', 'i', 'p'); MsiAuthentication(); print('azure.identity' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_what_the_sdk_s_classes_have_besides_is_named() -> None:
    with pytest.raises(NotSupported, match=r"AzureCliAuthentication.signed_session is not supported"):
        AzureCliAuthentication().signed_session()  # type: ignore[attr-defined]
