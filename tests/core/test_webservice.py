"""`Model.deploy` and `Webservice`: the documents' way from a trained model to answers, in a workspace's folder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_for

from mlflow_amlstore.core import Environment, Experiment, Model, Workspace
from mlflow_amlstore.core.compute import AksCompute, ComputeTarget
from mlflow_amlstore.core.inference_config import InferenceConfig
from mlflow_amlstore.core.resource_configuration import ResourceConfiguration
from mlflow_amlstore.core.webservice import AciWebservice, AksWebservice, LocalWebservice, Webservice
from mlflow_amlstore.errors import AlreadyExists, Changed, DeploymentFailed, InvalidValue, NotFound, NotSupported
from mlflow_amlstore.hosting.endpoint_folder import EndpointFolder

joblib = pytest.importorskip("joblib")
linear_model = pytest.importorskip("sklearn.linear_model")

ROWS = json.dumps({"data": [[1.0, 2.0], [3.0, 5.0]]})


@pytest.fixture
def workspace(embedded_ws: Workspace) -> Iterator[Workspace]:
    """A workspace whose endpoints end with the test."""
    yield embedded_ws
    names = [service.name for service in Webservice.list(embedded_ws)]
    for name in names:
        Webservice(embedded_ws, name).delete()
    folder = str(embedded_ws.records.folder)  # type: ignore[attr-defined]
    for name in (*names, "diabetes-service"):
        wait_for(lambda name=name: not EndpointFolder.of(folder, name).is_looked_after())


@pytest.fixture
def model(workspace: Workspace, tmp_path: Path) -> Model:
    """The sum of two numbers, registered from a run as the documents do."""
    file = tmp_path / "model.pkl"
    joblib.dump(linear_model.LinearRegression().fit([[0, 0], [1, 0], [0, 1]], [0, 1, 1]), file)
    run = Experiment(workspace, "training").start_logging()
    run.upload_file("outputs/model.pkl", str(file))
    registered = run.register_model("diabetes_model", "outputs/model.pkl", model_framework="ScikitLearn")
    run.complete()
    return registered


@pytest.fixture
def service(workspace: Workspace, model: Model) -> Webservice:
    deployed = Model.deploy(workspace, "diabetes-service", [model])
    deployed.wait_for_deployment()
    return deployed


def test_a_model_is_deployed_without_code_asked_and_deleted(
    workspace: Workspace, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Model.deploy(workspace, "diabetes-service", [model])
    assert isinstance(service, AciWebservice)
    assert service.state == "Transitioning"
    service.wait_for_deployment(show_output=True)
    printed = capsys.readouterr().out
    assert printed.endswith('Succeeded\nACI service creation operation finished, operation "Succeeded"\n')
    assert "Healthy after" in printed
    assert (service.state, service.error, service.auth_enabled, service.compute_type) == ("Healthy", None, True, "ACI")
    assert service.scoring_uri is not None
    assert service.swagger_uri == service.scoring_uri.removesuffix("score") + "swagger.json"
    assert service.run(ROWS) == pytest.approx([3.0, 8.0])
    again = Webservice(workspace, "diabetes-service")
    assert (type(again), again.models[0].id) == (AciWebservice, "diabetes_model:1")
    assert again.run({"data": [[2.0, 2.0]]}) == pytest.approx([4.0])
    assert list(workspace.webservices) == ["diabetes-service"]
    wait_for(lambda: "loaded" in service.get_logs())
    service.delete()
    assert workspace.webservices == {}
    with pytest.raises(NotFound):
        Webservice(workspace, "diabetes-service")
    service.delete()
    assert "No service with name diabetes-service found to delete." in capsys.readouterr().out


def test_keys_are_two_and_are_made_anew(service: Webservice) -> None:
    primary, secondary = service.get_keys()
    service.regen_key("Primary")
    assert service.get_keys()[0] != primary
    service.regen_key("Secondary", set_key="my-own-key-of-24-letters")
    assert service.get_keys()[1] == "my-own-key-of-24-letters" != secondary
    assert service.run(ROWS) == pytest.approx([3.0, 8.0])
    with pytest.raises(InvalidValue, match="Primary"):
        service.regen_key("third")
    with pytest.raises(NotSupported, match="get_keys"):
        service.get_token()


def test_what_is_changed_is_seen_by_all(workspace: Workspace, service: Webservice, model: Model) -> None:
    assert isinstance(service, AciWebservice)
    service.update(tags={"team": "a"}, description="sums")
    service.add_tags({"b": "2"})
    service.remove_tags(["team", "none"])
    service.add_properties({"p": "1"})
    again = Webservice(workspace, service.name)
    assert (again.tags, again.description, again.properties) == ({"b": "2"}, "sums", {"p": "1"})
    service.update(models=[model])
    service.wait_for_deployment()
    assert service.run(ROWS) == pytest.approx([3.0, 8.0])
    assert [each.name for each in Webservice.list(workspace, model_name="diabetes_model")] == [service.name]
    assert [each.name for each in Webservice.list(workspace, tags=[["b", "2"]])] == [service.name]
    assert Webservice.list(workspace, compute_type="AKS") == Webservice.list(workspace, tags=["team"]) == []
    assert service.serialize()["modelIds"] == ["diabetes_model:1"]


def test_a_name_is_given_once_unless_it_is_overwritten(workspace: Workspace, service: Webservice, model: Model) -> None:
    with pytest.raises(AlreadyExists):
        Model.deploy(workspace, service.name, [model])
    again = Model.deploy(workspace, service.name, [model], overwrite=True)
    again.wait_for_deployment()
    assert again.get_keys() == service.get_keys()


def test_a_broken_model_is_failed_with_its_whole_traceback(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "broken.pkl").write_bytes(b"cno_such_package\nModel\n.")
    broken = Model.register(workspace, str(tmp_path / "broken.pkl"), "broken", model_framework="ScikitLearn")
    service = Model.deploy(workspace, "diabetes-service", [broken])
    with pytest.raises(DeploymentFailed) as failed:
        service.wait_for_deployment()
    assert "current service state: Failed" in failed.value.message
    assert "Traceback (most recent call last)" in failed.value.message
    assert "no_such_package" in failed.value.message
    assert service.state == "Failed"
    assert service.error is not None
    assert service.error["code"] == "PackageMissing"


def test_a_wait_ends_in_time_and_the_deployment_goes_on(workspace: Workspace, model: Model) -> None:
    service = Model.deploy(workspace, "diabetes-service", [model])
    with pytest.raises(DeploymentFailed, match="goes on"):
        service.wait_for_deployment(timeout_sec=0)
    service.wait_for_deployment()
    assert service.run(ROWS) == pytest.approx([3.0, 8.0])


def test_a_request_that_is_refused_says_what_the_endpoint_said(service: Webservice) -> None:
    with pytest.raises(DeploymentFailed, match=r"Response Code: 400(?s:.)*must have 2 values"):
        service.run(json.dumps({"data": [[1.0]]}))


def test_settings_act_or_are_said_to_have_no_effect(
    workspace: Workspace, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    config = AksWebservice.deploy_configuration(
        num_replicas=2,
        scoring_timeout_ms=5000,
        replica_max_concurrent_requests=3,
        memory_gb=1.5,
        primary_key="p" * 32,
        secondary_key="s" * 32,
        tags={"a": "1"},
        enable_app_insights=True,
        namespace="n",
    )
    assert "enable_app_insights, namespace have no effect here" in caplog.text
    service = Model.deploy(workspace, "diabetes-service", [model], deployment_config=config)
    assert isinstance(service, AksWebservice)
    service.wait_for_deployment()
    assert service.get_keys() == ("p" * 32, "s" * 32)
    spec = workspace.records.endpoints.get("diabetes-service").newest.spec
    assert (spec.workers, spec.predict_limit_s, spec.concurrency, spec.memory_gb) == (2, 5.0, 3, 1.5)
    assert service.tags == {"a": "1"}
    assert service.run(ROWS) == pytest.approx([3.0, 8.0])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cpu_cores": 0}, "cpu_cores"),
        ({"memory_gb": "1"}, "memory_gb"),
        ({"primary_key": "x" * 32}, "both"),
        ({"colour": "red"}, "colour"),
        ({"num_replicas": 0}, "num_replicas"),
        ({"num_replicas": 2, "autoscale_enabled": True}, "autoscale_enabled"),
        ({"auth_enabled": True, "token_auth_enabled": True}, "token_auth_enabled is not supported"),
    ],
)
def test_settings_that_cant_be_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises((InvalidValue, NotSupported), match=said):
        AksWebservice.deploy_configuration(**given)


def test_a_local_webservice_needs_no_key_and_no_docker(workspace: Workspace, model: Model) -> None:
    service = Model.deploy(
        workspace, "diabetes-service", [model], deployment_config=LocalWebservice.deploy_configuration()
    )
    assert isinstance(service, LocalWebservice)
    service.wait_for_deployment()
    assert (service.state, service.auth_enabled) == ("running", False)
    assert f":{service.port}/" in str(service.scoring_uri)
    assert service.run(ROWS) == pytest.approx([3.0, 8.0])
    with pytest.raises(NotImplementedError):
        service.get_keys()


@pytest.mark.parametrize("models", [0, 2])
def test_without_code_it_is_one_model(workspace: Workspace, model: Model, models: int) -> None:
    with pytest.raises(InvalidValue, match="InferenceConfig"):
        Model.deploy(workspace, "diabetes-service", [model] * models)
    assert workspace.webservices == {}


def test_models_are_a_list_of_registered_ones(workspace: Workspace, model: Model) -> None:
    for models in (model, "model.pkl", ["model.pkl"]):
        with pytest.raises(InvalidValue, match="must be a list of Model"):
            Model.deploy(workspace, "diabetes-service", models)
    assert workspace.webservices == {}


def test_an_inference_config_names_a_script_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="is no file of"):
        InferenceConfig("score.py", source_directory=tmp_path)
    (tmp_path / "score.py").write_text("")
    config = InferenceConfig("score.py", source_directory=tmp_path, environment=Environment("own"))
    assert (config.script_in_source, config.source) == ("score.py", tmp_path)
    alone = InferenceConfig(tmp_path / "score.py")
    assert (alone.script_in_source, alone.source) == ("score.py", tmp_path / "score.py")


def test_a_model_s_own_resources_and_an_inference_cluster(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(b"never loaded by this test")
    resources = ResourceConfiguration(cpu=2, memory_in_gb=1.5)
    model = Model.register(
        workspace, tmp_path / "m.pkl", "m", model_framework="ScikitLearn", resource_configuration=resources
    )
    assert (Model(workspace, "m").resource_configuration, model.properties) == (resources, {})
    cluster = ComputeTarget.create(workspace, "inference", AksCompute.provisioning_configuration(agent_count=2))
    assert isinstance(cluster, AksCompute)
    service = Model.deploy(workspace, "diabetes-service", [model], deployment_target=cluster)
    assert isinstance(service, AksWebservice)
    assert service.compute_name == "inference"
    spec = workspace.records.endpoints.get(service.name).newest.spec
    assert (spec.cpu, spec.memory_gb) == (2, 1.5)
    config = AksWebservice.deploy_configuration(memory_gb=1, memory_gb_limit=3)
    service = Model.deploy(workspace, "diabetes-service", [model], deployment_config=config, overwrite=True)
    spec = workspace.records.endpoints.get(service.name).newest.spec
    assert (spec.cpu, spec.memory_gb) == (2, 3)


def test_properties_are_added_and_never_changed(service: Webservice) -> None:
    assert isinstance(service, AciWebservice)
    service.add_properties({"p": "1"})
    service.update(properties={"q": "2"})
    assert service.properties == {"p": "1", "q": "2"}
    with pytest.raises(Changed, match="'p'"):
        service.update(properties={"p": "2"})


def test_one_that_isnt_there_is_said_in_the_sdk_s_words(workspace: Workspace) -> None:
    with pytest.raises(NotFound, match="WebserviceNotFound: Webservice with name 'none' not found") as missing:
        Webservice(workspace, "none")
    assert missing.value.message == str(missing.value)
