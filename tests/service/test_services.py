"""Web services in Azure ML's shapes, as its SDK sends and reads them. `tests/interop/test_deploy.py` has the SDK."""

import http.client
import io
import json
import tarfile
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from mlflow_amlstore.records.locations import run_container, upload_container
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import DeploymentError, EndpointState
from mlflow_amlstore.service.access import Role
from mlflow_amlstore.workspace.opening import open_folder

if TYPE_CHECKING:
    from tests.service.conftest import Service


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    json: Any

    @property
    def operation(self) -> str:
        return self.headers["operation-location"].rpartition("/")[2]


class Mms:
    """Model management of a service, and the records behind it, into which hosts would write."""

    def __init__(self, service: "Service", records: RecordStore) -> None:
        self.service, self.records = service, records
        self.base = f"/modelmanagement/v1.0{urlsplit(service.tracking_uri).path.removeprefix('/mlflow/v2.0')}"

    def __call__(self, method: str, path: str, body: Any = None, role: Role = Role.OWNER) -> Answer:
        url = urlsplit(path) if "://" in path else urlsplit(f"{self.base}{path}")
        connection = http.client.HTTPConnection(urlsplit(self.service.url).netloc)
        kind = "application/json-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {self.service.token_of(role)}", "Content-Type": kind}
        content = None if body is None else json.dumps(body)
        connection.request(method, f"{url.path}{'?' + url.query if url.query else ''}", content, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, named, json.loads(text) if text else None)

    def deploy(self, name: str, **more: Any) -> Answer:
        body = {"name": name, "computeType": "ACI", "environmentImageRequest": {"modelIds": ["ridge:1"]}, **more}
        return self("POST", "/services", body)


@pytest.fixture(scope="module")
def mms(service: "Service") -> Iterator[Mms]:
    records = open_folder(service.folder).records
    records.runs.create("0", run_id="run")
    records.files.write(run_container("0", "run"), "model.skops", BytesIO(b"a model"))
    for _ in range(2):
        records.models.register("ridge", "workspace:/0/run/artifacts/model.skops", run_id="run")
    yield Mms(service, records)
    records.close()


def test_a_service_is_told_with_azures_words_and_defaults(mms: Mms) -> None:
    made = mms.deploy(
        "by-default",
        containerResourceRequirements={"cpu": None, "memoryInGB": None},
        description=None,
        kvTags=None,
        properties={},
        keys={"primaryKey": None, "secondaryKey": None},
        location=None,
        cname=None,
        dnsNameLabel=None,
    )
    assert (made.status, made.operation) == (201, "deploy.by-default.1")
    told = mms("GET", "/services/by-default?expand=true").json
    needed = (
        "name computeType createdTime description kvTags properties authEnabled appInsightsEnabled cname "
        "containerResourceRequirements location publicIp scoringUri sslCertificate sslEnabled sslKey"
    ).split()
    assert set(needed) <= told.keys()
    assert told["state"] == "Transitioning"
    assert told["authEnabled"] is True
    assert told["containerResourceRequirements"] == {"cpu": 0.1, "memoryInGB": 0.5}
    assert told["scoringUri"] == f"{mms.service.url.rstrip('/')}/endpoints/by-default/score"


def test_what_is_asked_for_becomes_limits_of_the_deployment(mms: Mms) -> None:
    resources = {"cpu": 1.5, "memoryInGB": 2}
    more = {"numReplicas": 3, "maxConcurrentRequestsPerContainer": 4, "scoringTimeoutMs": 1500}
    keys = {"primaryKey": "p" * 20, "secondaryKey": "s" * 20}
    mms.deploy("limited", computeType="AKS", containerResourceRequirements=resources, keys=keys, **more)
    spec = mms.records.endpoints.get("limited").newest.spec
    assert (spec.cpu, spec.memory_gb, spec.workers, spec.concurrency, spec.predict_limit_s) == (1.5, 2, 3, 4, 1.5)
    assert mms("POST", "/services/limited/listkeys").json == keys


def test_an_operation_is_read_from_the_deployment_and_its_events(mms: Mms) -> None:
    operation = f"/operations/{mms.deploy('operated').operation}"
    endpoints = mms.records.endpoints
    assert mms("GET", operation).json["state"] == "NotStarted"
    endpoints.hold("operated", "host", "http://127.0.0.1:1", has_lease=False)
    endpoints.say("operated", 1, "Copying a|b #1\nnow")
    running = mms("GET", operation).json
    assert running["state"] == "Running"
    at, _, text = running["streamingOperationLog"].partition("|")
    assert (len(at), at.isdecimal(), text) == (14, True, "Copying a/b No. 1 now")
    offset = len(running["streamingOperationLog"])
    endpoints.say("operated", 1, "Loaded")
    assert mms("GET", f"{operation}?offset={offset}").json["streamingOperationLog"].endswith("|Loaded")
    endpoints.set_state("operated", 1, EndpointState.HEALTHY)
    endpoints.set_serving("operated", {1: 100})
    assert mms("GET", operation).json["state"] == "Succeeded"
    assert mms("GET", "/services/operated").json["state"] == "Healthy"
    endpoints.leave("operated", "host")
    assert mms("GET", "/services/operated").json["state"] == "Unhealthy"


def test_a_failure_comes_with_its_traceback(mms: Mms) -> None:
    operation = mms.deploy("failing").operation
    error = DeploymentError("PackageMissing", "it needs lightgbm", "Traceback (most recent call last): …")
    mms.records.endpoints.set_state("failing", 1, EndpointState.FAILED, error=error)
    failed = mms("GET", f"/operations/{operation}").json
    assert failed["state"] == "Failed"
    assert failed["operationDetails"] == {"subOperationType": "DeployService"}
    assert failed["error"] == {
        "code": "PackageMissing",
        "statusCode": 400,
        "message": "it needs lightgbm",
        "details": [{"code": "PackageMissing", "message": "Traceback (most recent call last): …"}],
    }


def test_services_are_found_by_what_they_are_and_listed_in_pages(mms: Mms) -> None:
    for number in range(3):
        mms.deploy(f"paged-{number}", kvTags={"page": str(number), "of": "all"}, computeType="AKS")
    first = mms("GET", "/services?expand=true&tags=of%3Dall&count=2").json
    assert [each["name"] for each in first["value"]] == ["paged-0", "paged-1"]
    last = mms("GET", first["nextLink"]).json
    assert [each["name"] for each in last["value"]] == ["paged-2"]
    assert "nextLink" not in last
    for query, names in {
        "tags=page%3D1": ["paged-1"],
        "computeType=AKS&tags=page": ["paged-0", "paged-1", "paged-2"],
        "computeType=ACI&tags=page": [],
        "modelName=other": [],
        "modelId=ridge%3A2": [],
        "imageName=any": [],
    }.items():
        assert [each["name"] for each in mms("GET", f"/services?{query}").json["value"]] == names, query


def test_a_change_of_words_is_made_at_once_and_one_of_what_answers_by_the_next_deployment(mms: Mms) -> None:
    mms.deploy("changing", properties={"a": "1"})
    words = [
        {"op": "replace", "path": "/kvTags", "value": {"t": "1"}},
        {"op": "add", "path": "/properties/b", "value": "2"},
        {"op": "replace", "path": "/description", "value": "new"},
    ]
    changed = mms("PATCH", "/services/changing", words)
    assert (changed.status, mms("GET", f"/operations/{changed.operation}").json["state"]) == (202, "Succeeded")
    spec = mms.records.endpoints.get("changing").spec
    assert (spec.tags, spec.properties, spec.description) == ({"t": "1"}, {"a": "1", "b": "2"}, "new")
    image = {"op": "replace", "path": "/environmentImageRequest", "value": {"modelIds": ["ridge:2"]}}
    assert mms("PATCH", "/services/changing", [image]).operation == "deploy.changing.2"
    assert mms.records.endpoints.get("changing").newest.spec.models == ("ridge:2",)
    for path, value in (("/nothing", 1), ("/kvTags", 1), ("/authEnabled", "x")):
        refused = mms("PATCH", "/services/changing", [{"op": "replace", "path": path, "value": value}])
        assert (refused.status, path.strip("/") in refused.json["message"]) == (400, True)


def test_an_entry_script_and_its_folder_are_kept_as_a_snapshot(mms: Mms) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in {"source/score.py": b"def init(): ...", "source/lib/more.py": b"x = 1"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    packed.seek(0)
    mms.records.files.write(upload_container("sent"), "folder.tar.gz", packed)
    image = {
        "modelIds": ["ridge:1"],
        "driverProgram": "driver.py",
        "assets": [
            {"id": "driver.py", "url": "aml://artifact/LocalUpload/sent/driver.py", "mimeType": "application/x-python"},
            {"id": "folder.tar.gz", "url": "aml://artifact/LocalUpload/sent/folder.tar.gz", "unpack": True},
        ],
        "environment": {"environmentVariables": {"AZUREML_ENTRY_SCRIPT": "source/score.py"}},
    }
    assert mms.deploy("scripted", environmentImageRequest=image).status == 201
    spec = mms.records.endpoints.get("scripted").newest.spec
    assert (spec.framework, spec.entry_script) == ("Script", "source/score.py")
    kept = mms.records.files.list_all(f"snapshots/{spec.snapshot_id}/artifacts")
    assert [file.path for file in kept] == ["source/lib/more.py", "source/score.py"]


def test_a_packed_folder_leads_nowhere_else(mms: Mms) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("../../score.py")
        archive.addfile(member, io.BytesIO(b""))
    packed.seek(0)
    mms.records.files.write(upload_container("climbing"), "folder.tar.gz", packed)
    url = "aml://artifact/LocalUpload/climbing/folder.tar.gz"
    image = {"modelIds": ["ridge:1"], "driverProgram": "d", "assets": [{"id": "f", "url": url, "unpack": True}]}
    refused = mms.deploy("climbing", environmentImageRequest=image)
    assert (refused.status, "must not climb" in refused.json["message"]) == (400, True)


def test_a_name_is_checked_and_given_once_unless_it_is_overwritten(mms: Mms) -> None:
    assert mms("POST", "/services/validate/name/a-good-one", {}).json == {}
    assert "3 to 32" in mms("POST", "/services/validate/name/Bad", {}).json["error"]["message"]
    mms.deploy("once")
    assert "already exists" in mms.deploy("once").json["message"]
    assert mms.deploy("once", overwrite=True).operation == "deploy.once.2"


def test_deleting_says_whether_there_was_one(mms: Mms) -> None:
    mms.deploy("deleted")
    assert mms("DELETE", "/services/deleted").status == 200
    assert mms("DELETE", "/services/deleted").status == 204
    assert mms("GET", "/services/deleted").status == 404


def test_keys_are_a_contributors_and_deploying_a_submitters(mms: Mms) -> None:
    mms.deploy("guarded")
    assert mms("POST", "/services/guarded/listkeys", role=Role.READER).status == 403
    assert mms("POST", "/services/guarded/listkeys", role=Role.CONTRIBUTOR).status == 200
    before = mms.records.endpoints.keys("guarded")
    given = {"keyType": "Secondary", "keyValue": None}
    assert mms("POST", "/services/guarded/regenerateKeys", given, role=Role.CONTRIBUTOR).status == 202
    after = mms.records.endpoints.keys("guarded")
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)
    image = {"modelIds": ["ridge:1"]}
    body = {"name": "not-made", "computeType": "ACI", "environmentImageRequest": image}
    assert mms("POST", "/services", body, role=Role.CONTRIBUTOR).status == 403


def test_the_end_of_a_log_is_told(mms: Mms) -> None:
    mms.deploy("logging")
    assert mms("GET", "/services/logging/logs").json == {"content": ""}
    log = mms.records.files.grow("endpoints/logging/artifacts", "logs/1.txt")
    log.write(b"one\ntwo\nthree\n")
    log.end()
    assert mms("GET", "/services/logging/logs?tail=2&init=False").json == {"content": "two\nthree"}


def test_what_isnt_here_is_refused_with_what_is(mms: Mms) -> None:
    mms.deploy("refusing")
    for path, instead in (("/services/refusing/token", "get_keys()"), ("/packages", "Model.package")):
        refused = mms("POST", path, {})
        assert (refused.status, instead in refused.json["message"]) == (501, True)
