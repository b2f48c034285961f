"""Workspaces of Azure ML by their names: found by the resource manager, reached with a credential that stays here."""

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import mlflow
import pytest
from azure.core.exceptions import ServiceRequestError
from azure_cloud import Cloud, Token

from mlflow_amlstore.client.azure_workspace import RETRY_FOR_S
from mlflow_amlstore.client.http import backoff
from mlflow_amlstore.core import Experiment, Workspace
from mlflow_amlstore.errors import InvalidValue, LoginNeeded, NotFound, ServiceError, ServiceUnreachable, TokenRefused


def test_it_is_opened_by_its_names(cloud: Cloud) -> None:
    credential = cloud.credential()
    workspace = Workspace(*cloud.names, credential)
    details = workspace.get_details()
    assert (workspace.subscription_id, workspace.resource_group, workspace.name) == cloud.names
    assert details["type"] == "Microsoft.MachineLearningServices/workspaces"
    assert details["mlFlowTrackingUri"] == cloud.root
    assert workspace.experiments.keys() == {"Default"}
    assert set(credential.scopes) == {(f"{cloud.url}/.default",)}


def test_its_tracking_uri_ends_and_has_no_token(cloud: Cloud, pointed_at: Callable[[str], None]) -> None:
    workspace = Workspace(*cloud.names, cloud.credential())
    uri = workspace.get_mlflow_tracking_uri()
    assert uri == workspace.get_mlflow_tracking_uri()
    assert parse_qs(urlsplit(uri).query).keys() == {"expires"}
    pointed_at(uri)
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 0.5)
        mlflow.log_text("content", "file.txt")
    assert mlflow.get_run(run.info.run_id).data.metrics == {"loss": 0.5}
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/file.txt") == "content"
    tracking = [value for name, value in os.environ.items() if name.startswith("MLFLOW_")]
    assert "eyJ" not in repr(workspace) + run.info.artifact_uri + str(tracking)


def test_get_and_from_config_open_the_same(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subscription, group, name = cloud.names
    assert Workspace.get(name, cloud.credential(), subscription, group, location="westeurope").name == name
    assert Workspace(subscription, group, name, auth=cloud.credential()).name == name
    (tmp_path / "config.json").write_text(
        json.dumps({"subscription_id": subscription, "resource_group": group, "workspace_name": name})
    )
    for variable, value in cloud.signed_in.items():
        monkeypatch.setenv(variable, value)
    workspace = Workspace.from_config(tmp_path)
    assert workspace.name == name
    file = workspace.write_config(tmp_path / "copy")
    assert json.loads(file.read_text()) == {
        "workspace_name": name,
        "subscription_id": subscription,
        "resource_group": group,
    }


def test_a_uri_typed_by_hand_is_enough_where_somebody_has_signed_in(cloud: Cloud) -> None:
    script = "import mlflow, sys; mlflow.start_run(); mlflow.log_metric('m', 1); print(mlflow.active_run().info.run_id)"
    done = cloud.run(script, **cloud.signed_in, MLFLOW_TRACKING_URI=cloud.root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0]


def test_a_workspace_that_isnt_there_is_named(cloud: Cloud) -> None:
    subscription, group, _ = cloud.names
    with pytest.raises(NotFound, match=r"[Ww]orkspace 'other'.*Azure says.*Look at config\.json"):
        Workspace(subscription, group, "other", cloud.credential())


@pytest.mark.parametrize("names", [("", "g", "w"), ("s", " ", "w"), ("s", "g", ""), ("s", "g/../x", "w")])
def test_a_name_that_is_none_is_refused_at_once(cloud: Cloud, names: tuple[str, str, str]) -> None:
    with pytest.raises(InvalidValue, match="must name it"):
        Workspace(*names, cloud.credential())


def test_without_any_credential_the_ways_to_get_one_are_told(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LoginNeeded) as refused:
        Workspace(*cloud.names)
    for word in ("azure-identity tried EnvironmentCredential", "az login", "AZURE_CLIENT_SECRET", "credential="):
        assert word in str(refused.value)


def test_an_expired_service_principal_is_told_in_azures_words(cloud: Cloud) -> None:
    tenant = "11111111-1111-1111-1111-111111111111"
    base = f"{cloud.url}/{tenant}"
    expired = "AADSTS7000222: The provided client secret keys for app 'x' are expired. Visit the portal. Trace ID: 1"
    cloud.misbehave(
        {
            "path": "openid-configuration",
            "status": 200,
            "body": {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
            },
        },
        {
            "path": "/oauth2/v2.0/token",
            "status": 401,
            "body": {"error": "invalid_client", "error_description": expired, "error_codes": [7000222]},
        },
    )
    script = (
        "import sys; from mlflow_amlstore.core import Workspace\n"
        "try: Workspace(*sys.argv[1:])\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    principal = {"AZURE_CLIENT_ID": "x", "AZURE_TENANT_ID": tenant, "AZURE_CLIENT_SECRET": "hidden-secret"}
    done = cloud.run(script, *cloud.names, **principal, AZURE_TOKEN_CREDENTIALS="EnvironmentCredential")
    assert done.stdout.startswith("LoginNeeded"), done.stdout + done.stderr
    assert "AADSTS7000222: The provided client secret keys for app 'x' are expired" in done.stdout
    assert "hidden-secret" not in done.stdout + done.stderr


FORBIDDEN = {
    "error": {
        "code": "AuthorizationFailed",
        "message": "The client 'c' with object id 'o' does not have authorization to perform action "
        "'Microsoft.MachineLearningServices/workspaces/{action}' over scope "
        "'/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w' or the scope is "
        "invalid. If access was recently granted, please refresh your credentials.",
    }
}


def forbidden(action: str) -> object:
    return json.loads(json.dumps(FORBIDDEN).replace("{action}", action))


def test_a_workspace_without_permission_names_the_role(cloud: Cloud) -> None:
    cloud.misbehave({"path": "^/subscriptions/", "status": 403, "body": forbidden("read")})
    with pytest.raises(ServiceError, match=r"Ask its owner for the role 'Reader'.* on the workspace 'w'") as refused:
        Workspace(*cloud.names, cloud.credential())
    assert refused.value.mlflow_code == "PERMISSION_DENIED"


def test_a_write_without_permission_names_the_role(cloud: Cloud, pointed_at: Callable[[str], None]) -> None:
    workspace = Workspace(*cloud.names, cloud.credential())
    cloud.misbehave({"path": "runs/create", "status": 403, "body": forbidden("experiments/runs/write")})
    pointed_at(workspace.get_mlflow_tracking_uri())
    with pytest.raises(mlflow.MlflowException, match="role 'AzureML Data Scientist'") as refused:
        mlflow.start_run()
    assert refused.value.error_code == "PERMISSION_DENIED"


def test_a_credential_of_the_wrong_kind_is_refused_once(cloud: Cloud) -> None:
    class Stale:
        asked = 0

        def get_token(self, *_: str, **__: object) -> object:
            self.asked += 1
            token = cloud.exchange(cloud.key)
            return type("Token", (), {"token": f"{token[:-4]}AAAA", "expires_on": 2_000_000_000})()

    with pytest.raises(TokenRefused):
        Workspace(*cloud.names, Stale())


class Gives:
    """A credential that gives, or raises, whatever it is told to."""

    def __init__(self, given: object) -> None:
        self.given = given

    def get_token(self, *_: str, **__: object) -> Any:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, "get_token returned NoneType"),
        ("eyJhbGciOi", "get_token returned str"),
        (Token(None, 2_000_000_000), "must give an AccessToken"),  # type: ignore[arg-type]
        (Token("x", None), "must give an AccessToken"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_token_is_told(cloud: Cloud, given: object, told: str) -> None:
    with pytest.raises(InvalidValue, match=f"'Gives' for credential.*{told}") as refused:
        Workspace(*cloud.names, Gives(given))
    assert "eyJ" not in str(refused.value)


@pytest.mark.parametrize(
    "raised",
    [
        RuntimeError("no luck with eyJhbGciOi.secret"),
        ValueError('{"access_token": "eyJ-opaque"}'),
        KeyError("x"),
        OSError(),
    ],
)
def test_whatever_a_credential_raises_is_told_without_its_secrets(cloud: Cloud, raised: Exception) -> None:
    with pytest.raises(LoginNeeded, match=r"No credential for https://127.*az login") as refused:
        Workspace(*cloud.names, Gives(raised))
    assert "secret" not in str(refused.value).partition("Sign in")[0]


@pytest.mark.parametrize("credential", ["eyJhbGciOi", Gives, 3], ids=["token", "class", "number"])
def test_what_is_no_credential_is_refused_at_once(cloud: Cloud, credential: Any) -> None:
    for opens in (lambda: Workspace(*cloud.names, credential), lambda: Workspace.from_url(cloud.url, credential)):
        with pytest.raises((InvalidValue, LoginNeeded)) as refused:
            _ = opens().experiments
        assert "eyJ" not in str(refused.value)


def test_a_sign_in_that_doesnt_answer_for_a_while_is_outlived(cloud: Cloud, pointed_at: Callable[[str], None]) -> None:
    credential = Gives(Token(cloud.exchange(cloud.key), int(time.time()) + 200))
    pointed_at(Workspace(*cloud.names, credential).get_mlflow_tracking_uri())
    with mlflow.start_run():
        credential.given = ServiceRequestError("Failed to establish a new connection")
        mlflow.log_metric("m", 1)  # the token lives on
        mlflow.log_metric("n", 1)
    assert mlflow.last_active_run().data.metrics == {"m": 1, "n": 1}


def test_a_sign_in_that_answers_again_is_waited_for(cloud: Cloud) -> None:
    class Late(Gives):
        asked = 0

        def get_token(self, *_: str, **__: object) -> Any:
            self.asked += 1
            if self.asked < 3:
                raise ServiceRequestError("Temporary failure in name resolution")
            return self.given

    late = Late(Token(cloud.exchange(cloud.key), int(time.time()) + 3600))
    assert Workspace(*cloud.names, late).experiments.keys() == {"Default"}


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "MLFLOW_TRACKING_SERVER_CERT_PATH"])
@pytest.mark.parametrize("file", ["/nope/ca.pem", __file__])
def test_a_file_of_authorities_that_is_none_is_named_at_once(cloud: Cloud, variable: str, file: str) -> None:
    script = "import sys; from mlflow_amlstore.core import Workspace; Workspace(*sys.argv[1:])"
    assert cloud.run(script, *cloud.names, **cloud.signed_in).returncode == 0
    began = time.monotonic()
    done = cloud.run(script, *cloud.names, **{**cloud.signed_in, variable: file})
    assert f"{file!r}, which {variable} names, can't be used" in done.stderr.splitlines()[-1]
    assert time.monotonic() - began < RETRY_FOR_S  # it isn't tried again


@pytest.mark.parametrize("address", ["garbage", "https://[::1/x", "https://user:hidden@host/metadata", "ftp://host/x"])
def test_an_address_of_clouds_that_is_none_is_named(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("ARM_CLOUD_METADATA_URL", address)
    with pytest.raises(InvalidValue, match="for ARM_CLOUD_METADATA_URL: must be") as refused:
        Workspace(*cloud.names, cloud.credential())
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    "environment", [{"AZURE_TENANT_ID": "y y", "AZURE_CLIENT_ID": "x", "AZURE_CLIENT_SECRET": "hidden"}]
)
def test_variables_that_azure_identity_refuses_are_told_in_its_words(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LoginNeeded, match=r"tenant.*az login") as refused:
        Workspace(*cloud.names)
    assert "hidden" not in str(refused.value)


def test_a_credential_whose_tokens_are_all_wrong_is_refused(cloud: Cloud) -> None:
    class Wrong(Gives):
        def get_token(self, *_: str, **__: object) -> Any:
            return Token(f"eyJ{time.monotonic_ns()}", 2_000_000_000)

    with pytest.raises(TokenRefused, match="refused the credential's tokens") as refused:
        Workspace(*cloud.names, Wrong(None))
    assert "eyJ" not in str(refused.value)


@pytest.mark.parametrize("variable", ["MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
@pytest.mark.parametrize("value", ["inf", "nan", "-1", "0", "1e30", "soon"])
def test_a_number_that_is_none_doesnt_stop_anything(cloud: Cloud, variable: str, value: str) -> None:
    script = (
        "import sys; from mlflow_amlstore.core import Workspace; "
        "from mlflow_amlstore.client.tokens.credentials import KeyCredential; "
        "print(list(Workspace.from_url(sys.argv[1], KeyCredential(*sys.argv[1:])).experiments))"
    )
    done = cloud.run(script, cloud.url, cloud.key, **{variable: value})
    assert done.stdout == "['Default']\n", done.stderr


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
def test_a_proxy_that_is_none_is_named(cloud: Cloud, proxy: str) -> None:
    script = "import sys; from mlflow_amlstore.core import Workspace; Workspace.from_url(sys.argv[1]).experiments"
    given = {"AMLSTORE_KEY": cloud.key, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "NO_PROXY": "", "no_proxy": ""}
    assert cloud.run(script, cloud.url, **given).returncode == 0
    began = time.monotonic()
    done = cloud.run(script, cloud.url, HTTPS_PROXY=proxy, https_proxy=proxy, **given)
    assert "HTTPS_PROXY" in done.stderr.splitlines()[-1]
    assert time.monotonic() - began < backoff.RETRY_FOR_S  # it is tried twice again, as the variable says


@pytest.mark.parametrize(("role", "told"), [("reader", "log nothing"), ("contributor", "can read and log")])
def test_doctor_says_what_a_role_allows(cloud: Cloud, tmp_path: Path, role: str, told: str) -> None:
    subscription, group, name = cloud.names
    (tmp_path / "config.json").write_text(
        json.dumps({"subscription_id": subscription, "resource_group": group, "workspace_name": name})
    )
    token = cloud.credential(role).get_token().token
    script = "from mlflow_amlstore.cli import main; main()"
    told_by = {**cloud.signed_in, "TOKEN_OF_AZURE_CLI": token, "COLUMNS": "300"}
    done = cloud.run(script, "doctor", "--workspace", str(tmp_path), **told_by)
    assert told in done.stdout, done.stdout + done.stderr
    (tmp_path / "config.json").unlink()
    done = cloud.run(script, "doctor", **told_by, MLFLOW_TRACKING_URI=cloud.root)
    assert told in done.stdout, done.stdout + done.stderr


def test_a_token_that_was_refused_is_asked_for_again(cloud: Cloud, pointed_at: Callable[[str], None]) -> None:
    workspace = Workspace(*cloud.names, cloud.credential())
    pointed_at(workspace.get_mlflow_tracking_uri())
    with mlflow.start_run():
        time.sleep(1.1)  # a token of the same second is the same token
        cloud.misbehave({"path": "log-metric", "status": 401, "times": 1, "body": {"error_code": "UNAUTHENTICATED"}})
        mlflow.log_metric("m", 1)
    assert mlflow.last_active_run().data.metrics == {"m": 1}


def test_a_host_that_doesnt_resolve_is_named(
    cloud: Cloud, pointed_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    subscription, group, name = cloud.names
    path = f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices"
    host = "0123.workspace.nowhere.api.azureml.invalid"
    document = {
        "name": name,
        "location": "nowhere",
        "properties": {"mlFlowTrackingUri": f"azureml://{host}/mlflow/v1.0{path}/workspaces/{name}"},
    }
    cloud.misbehave({"path": "^/subscriptions/", "status": 200, "body": document})
    workspace = Workspace(*cloud.names, cloud.credential())
    with pytest.raises(ServiceUnreachable, match=f"{host}.*can't be resolved.*private link"):
        _ = workspace.experiments


def test_an_unknown_cloud_is_refused(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZUREML_CURRENT_CLOUD", "AzureMoonCloud")
    with pytest.raises(Exception, match="no cloud 'AzureMoonCloud'"):
        Workspace(*cloud.names, cloud.credential())
    monkeypatch.delenv("ARM_CLOUD_METADATA_URL")
    with pytest.raises(InvalidValue, match="must be one of AzureCloud, AzureChinaCloud, AzureUSGovernment"):
        Workspace(*cloud.names, cloud.credential())


def test_a_run_shows_its_curves_which_azure_has_only_as_histories(start_cloud: Callable[..., Cloud]) -> None:
    cloud = start_cloud("--parity")
    run = Experiment(Workspace(*cloud.names, cloud.credential()), "curves").start_logging(snapshot_directory=None)
    for step in range(300):
        run.log("loss", 9.0 if step == 200 else 1 / (1 + step))
    run.flush()
    html = run._repr_html_()
    assert re.search(r"loss</td><td [^>]*>[^<]*</td><td [^>]*>[▁▂▃▄▅▆▇█]{26}█[▁▂▃▄▅▆▇█]{13}</td>", html)
    assert html.count("<svg") == 1
    assert "loss: from 0.00333333 to 9" in html
