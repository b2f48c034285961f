"""What Azure ML's clients ask the cloud: its addresses, the subscriptions, and where the workspace is."""

import json
import urllib.error
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from mlflow_amlstore.errors import AmlStoreError, InvalidValue, NotAllowed, WorkspaceBusy
from mlflow_amlstore.service.access import Role
from mlflow_amlstore.service.addresses import SUBSCRIPTION_ID, workspace_path
from mlflow_amlstore.service.error_answers import error_answer
from mlflow_amlstore.service.routing import Area

if TYPE_CHECKING:
    from tests.service.conftest import Service


def ask(service: "Service", path: str, token: str = "") -> Any:
    return service.call("GET", path, token or service.token_of(Role.READER))


def refused(service: "Service", path: str, token: str = "") -> tuple[int, Any]:
    with pytest.raises(urllib.error.HTTPError) as error:
        ask(service, path, token)
    return error.value.code, json.load(error.value)


def test_the_one_cloud_is_this_service_at_the_address_that_the_client_used(service: "Service") -> None:
    (cloud,) = ask(service, "/metadata/endpoints?api-version=2019-05-01", "no token is needed")

    assert cloud["name"] == "AmlStore"
    assert cloud["resourceManager"] == cloud["portal"] == cloud["authentication"]["loginEndpoint"] == service.url
    # azureml-mlflow downloads from nothing but `https://….blob.SUFFIX/…`, which content URLs have in their path.
    assert cloud["suffixes"]["storage"] == "core.windows.net"


def test_there_is_one_subscription(service: "Service") -> None:
    (subscription,) = ask(service, "/subscriptions?api-version=2022-12-01")["value"]

    assert subscription["subscriptionId"] == SUBSCRIPTION_ID
    assert subscription["id"] == f"/subscriptions/{SUBSCRIPTION_ID}"
    # azureml-core looks for the tenant that its token names.
    claims = jwt.decode(service.token, options={"verify_signature": False})
    assert subscription["tenantId"] == claims["tid"]


@pytest.mark.parametrize("prefix", ["", "/rp/workspaces"])
def test_the_workspace_says_where_its_parts_are(service: "Service", prefix: str) -> None:
    path = workspace_path(service.workspace_name)
    found = ask(service, f"{prefix}{path}?api-version=2022-05-01")

    assert (found["id"], found["name"]) == (path, service.workspace_name)
    properties = found["properties"]
    discovery = ask(service, properties["discoveryUrl"].removeprefix(service.url), "no token is needed")
    assert properties["workspaceId"] == discovery["workspaceId"]
    assert properties["mlFlowTrackingUri"] == discovery["trackingRoot"].replace("/v2.0/", "/v1.0/")
    # What azureml-core takes from a discovery document; a key that is missing is an error there.
    addresses = {"api", "history", "experimentation", "modelmanagement", "hyperdrive", "studio"}
    assert {discovery[name] for name in addresses} == {service.url}


def test_the_case_of_a_path_doesnt_matter_as_in_azure(service: "Service") -> None:
    path = workspace_path(service.workspace_name)
    spelled = path.replace("resourceGroups", "resourcegroups").replace("Microsoft", "microsoft")

    for other in (spelled, path.upper()):
        assert ask(service, other)["id"] == path


def test_another_workspace_isnt_found(service: "Service") -> None:
    for path in (workspace_path("another"), workspace_path(service.workspace_name).replace(SUBSCRIPTION_ID, "x")):
        status, answer = refused(service, path)
        assert (status, answer["error"]["code"]) == (404, "ResourceNotFound")
        assert workspace_path(service.workspace_name) in answer["error"]["message"]


def test_who_has_no_good_token_is_told_so_in_the_clouds_words(service: "Service") -> None:
    status, answer = refused(service, workspace_path(service.workspace_name), "nobody's")

    assert (status, answer["error"]["code"]) == (401, "AuthenticationFailed")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotAllowed("a reader's"), 403, "AuthorizationFailed"),
        (InvalidValue("api-version", "x", "must be a date"), 400, "BadRequest"),
        (WorkspaceBusy("/folder", 1), 503, "InternalServerError"),
    ],
)
def test_other_refusals_have_the_clouds_form_too(error: AmlStoreError, status: int, code: str) -> None:
    answer = error_answer(Area.ARM, error, "request")

    assert answer.status_code == status
    assert json.loads(answer.body)["error"] == {"code": code, "message": str(error)}
