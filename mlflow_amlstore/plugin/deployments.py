"""`mlflow.deployments` for targets `amlstore` and `azureml`: registered models become endpoints of the workspace.

An endpoint's deployments are numbered. To MLflow they have names: what `create_deployment` gave, else the endpoint's.
An update is the next deployment of the same name.
"""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import mlflow
import requests
from mlflow.deployments import BaseDeploymentClient
from mlflow.store.artifact.utils.models import get_model_name_and_version
from mlflow.tracking import MlflowClient

from mlflow_amlstore.client.tokens.clouds import cloud_of_host
from mlflow_amlstore.core.workspace import Workspace
from mlflow_amlstore.errors import (
    AlreadyExists,
    InvalidState,
    InvalidValue,
    NotFound,
    NotSupported,
    ServiceError,
    ServiceUnreachable,
)
from mlflow_amlstore.hosting.deploying import deployment_of
from mlflow_amlstore.hosting.looking import events_until_settled, looked_at
from mlflow_amlstore.hosting.starting import start
from mlflow_amlstore.plugin import _theirs, deployment_config
from mlflow_amlstore.plugin.as_errors import as_mlflow_errors, raises_mlflow_errors
from mlflow_amlstore.plugin.deployment_config import Config
from mlflow_amlstore.protocol.times import iso_time
from mlflow_amlstore.records.locations import ENDPOINT_NAME, ENDPOINT_NAME_RULE
from mlflow_amlstore.records.types import (
    LOCAL_TARGET,
    DeploymentRecord,
    DeploymentSpec,
    EndpointRecord,
    EndpointSpec,
    EndpointState,
    ModelVersionRecord,
)
from mlflow_amlstore.workspace import tracking_uri

_logger = logging.getLogger("mlflow.deployments")  # whose lines MLflow shows, and no plugin's

_GROUP = "mlflow.deployments"
_FLAVOR = "python_function"
_SCHEMES = (tracking_uri.EMBEDDED, tracking_uri.REMOTE, tracking_uri.REMOTE_PLAIN)
_DELETED = "amlstore.deletedDeployments"  # a property of an endpoint: their numbers. Records of deployments stay
_LOOKED_EVERY_S = 0.1
_MORE_THAN_A_PREDICTION_S = 30.0
_LONGEST_END_S = 35.0  # a deployment that serves no more answers for so long what it has taken

_HELP = f"""\
Deploys registered models as endpoints of a workspace.

Target URIs
  amlstore              the workspace of MLFLOW_TRACKING_URI, or else of config.json
  amlstore:///FOLDER    the workspace in a folder
  azureml://…           the workspace of a service, by its tracking URI (also azureml+http://…)

Models
  models:/NAME/VERSION, models:/NAME/STAGE, models:/NAME@ALIAS; or runs:/RUN/PATH, models:/MODEL_ID and files, which
  are registered first, as NAME-model.

Config, as -C NAME=VALUE
  cpu, memory_gb, workers, concurrency, queue_length, load_limit_s, predict_limit_s, max_batch_size, max_latency_ms
  traffic               percent that a deployment of an endpoint gets, or JSON: {{"blue": 90, "green": 10}}
  async                 true: don't wait until it is Healthy
  auth_enabled, description, tags, properties, compute, port
  {deployment_config.DEPLOYMENT_FILE}    a YAML or JSON file with these, or with what Azure ML has in it
  {deployment_config.ENDPOINT_FILE}  the same for endpoints
"""


def target_help() -> str:
    """Return what `mlflow deployments help -t amlstore` prints."""
    other = _theirs(_GROUP, mlflow.get_tracking_uri())
    return _HELP if other is None else str(other.target_help())


@as_mlflow_errors()
def run_local(name: str, model_uri: str, flavor: str | None = None, config: Mapping[str, Any] | None = None) -> None:
    """Deploy a model on this machine, in the folder that MLflow tracks into, or that config.json names.

    It is an endpoint as any other, and goes on when this process ends, until `delete_deployment(name)`. `config` may
    have a `port`. Raises MlflowException for a workspace that isn't a folder of this machine.
    """
    other = _theirs(_GROUP, mlflow.get_tracking_uri())
    if other is not None:
        other.run_local(name, model_uri, flavor, config)
        return
    client = DeploymentClient(tracking_uri.EMBEDDED)
    if client.workspace.path is None:
        raise NotSupported("run_local in the workspace of a service", "Deploy there with create_deployment")
    told = client.create_deployment(name, model_uri, flavor, {"computeType": "local", **(config or {})})
    _logger.info("%s answers at %s", name, told["scoringUri"])


@raises_mlflow_errors
class DeploymentClient(BaseDeploymentClient):
    """Deploys to the workspace that a target URI names."""

    def __new__(cls, target_uri: str) -> Any:
        """Give Microsoft's own client for a workspace of Azure ML, where that is installed too, and chosen."""
        is_bare = ":" not in target_uri
        uri = mlflow.get_tracking_uri() if is_bare and target_uri == tracking_uri.REMOTE else target_uri
        other = _theirs(_GROUP, uri)
        return super().__new__(cls) if other is None else other.AzureMLDeploymentClient(uri)

    def __init__(self, target_uri: str) -> None:
        """Open the workspace. Raises MlflowException where there is none, and for one of Azure ML."""
        super().__init__(target_uri)
        self.workspace = _workspace_of(target_uri)
        self._records = self.workspace.records
        self._planned: dict[str, Config] = {}

    # Deployments

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Deploy a model, and wait until it is Healthy; return what `get_deployment` does.

        Without `endpoint`, an endpoint of this name is made. The first deployment of an endpoint gets all traffic, and
        makes the endpoint, with what `create_endpoint` was told. Later ones get none, as on Azure ML, unless the
        config's `traffic` says otherwise: until `update_endpoint` gives them some they are Stopped, and weren't tried.
        What `config` may have is in `mlflow deployments help -t amlstore`.

        Raises MlflowException with the model's traceback where the deployment fails; it stays, with its log.
        """
        _check_name("deployment", name)
        _check_flavor(flavor)
        read = deployment_config.read(config)
        called = name if endpoint is None else endpoint
        known = self._found(called)
        if known is not None and (endpoint is None or name in _by_name(known)):
            raise AlreadyExists("deployment", name, "Update it with update_deployment, or delete it first")
        version = self._version(model_uri, name)
        spec = deployment_of(self._records, [version], **read.deployment, name=name)
        if known is None:
            record = self._create(called, spec, read)
        else:
            number = known.newest.number + 1
            traffic = _with(known, number, name, read.traffic)
            record = self._records.endpoints.deploy(called, spec, traffic=traffic)
            start(self._records, called)
        if read.waits and record.newest.number in record.wanted:
            self._settle(record)
        return self.get_deployment(name, called)

    def _create(self, called: str, spec: DeploymentSpec, read: Config) -> EndpointRecord:
        """Make an endpoint with its first deployment."""
        planned = self._planned.get(called, Config())
        about = {"kind": "ACI", "target": self._target, **planned.endpoint, **read.endpoint}
        settings = {**planned.endpoint.get("settings", {}), **read.endpoint.get("settings", {})}
        endpoint = EndpointSpec(**{**about, "name": called, "settings": settings})
        record = self._records.endpoints.create(endpoint, spec, keys=read.keys or planned.keys)
        self._planned.pop(called, None)
        start(self._records, called)
        return record

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Change a deployment's model or what `config` names, and wait until the new one is Healthy.

        It takes over the traffic then, and no request fails; where it fails, the old one goes on.
        """
        _check_flavor(flavor)
        read = deployment_config.read(config)
        called = name if endpoint is None else endpoint
        record = self._records.endpoints.get(called)
        old = _named(record, name)
        spec = replace(old.spec, name=name)
        if model_uri is not None:
            version = self._version(model_uri, name)
            made = deployment_of(self._records, [version], entry_script=old.spec.entry_script)
            spec = replace(spec, models=made.models, framework=made.framework)
        spec = replace(spec, **read.deployment)
        self._update(record, read)
        if spec != old.spec:
            number = record.newest.number + 1
            taken_over = {number if each == old.number else each: percent for each, percent in record.wanted.items()}
            traffic = taken_over if read.traffic is None else _with(record, number, name, read.traffic, old.number)
            record = self._records.endpoints.deploy(called, spec, traffic=traffic)
        elif read.traffic is not None:
            traffic = _with(record, old.number, name, read.traffic, old.number)
            record = self._records.endpoints.update(called, traffic=traffic)
        start(self._records, called)
        if read.waits:
            self._settle(record)
        return self.get_deployment(name, called)

    def delete_deployment(
        self,
        name: str,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
        delete_empty_endpoint: bool = False,
    ) -> None:
        """Take a deployment out of the traffic, which the others then share, and delete it. Nothing happens where there
        is none.

        Without `endpoint`, the endpoint of this name goes with its only deployment. With it, `delete_empty_endpoint`
        says so (also in `config`): an endpoint has at least one deployment here.
        """
        called = name if endpoint is None else endpoint
        record = self._found(called)
        others = {} if record is None else _by_name(record)
        if record is None or others.pop(name, None) is None:
            _logger.info("No deployment with name %s found to delete", name)
            return
        if not others:
            wanted = (config or {}).get("delete_empty_endpoint", delete_empty_endpoint)
            if endpoint is not None and str(wanted).lower() != "true":
                raise InvalidState(
                    f"Deployment {name} is the only one of endpoint {called}, which has at least one. Give "
                    "delete_empty_endpoint=True, or delete the endpoint"
                )
            self._records.endpoints.delete(called)
            return
        mine = {each.number for each in record.deployments if _name(record, each) == name}
        rest = {number: percent for number, percent in record.wanted.items() if number not in mine}
        if not rest:
            raise InvalidState(
                f"Deployment {name} gets all traffic of endpoint {called}. Give it to {', '.join(sorted(others))} with "
                "update_endpoint first"
            )
        properties = {**record.spec.properties, _DELETED: ",".join(map(str, sorted(_deleted(record) | mine)))}
        traffic = None if rest == record.wanted else _shared(rest, 100)
        record = self._records.endpoints.update(called, properties=properties, traffic=traffic)
        self._settle(record)

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """Return what `get_deployment` does for all deployments, or for those of an endpoint."""
        records = self._records.endpoints.list() if endpoint is None else [self._records.endpoints.get(endpoint)]
        seen = [looked_at(self._records, record) for record in records]
        return [_described(record, name) for record in seen for name in _by_name(record)]

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """Return what is known of a deployment: its state, why it has failed, its model, traffic and addresses.

        `endpoint` is the one of this name unless it is given. Raises MlflowException where there is none.
        """
        record = looked_at(self._records, self._records.endpoints.get(name if endpoint is None else endpoint))
        _named(record, name)
        return _described(record, name)

    def predict(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None, df: Any = None
    ) -> Any:
        """Return an endpoint's prediction for a DataFrame, an array, or arrays by name: an array, or a DataFrame where
        the model answers with columns.

        `df` is azureml-mlflow's name of `inputs`. Without `endpoint`, `deployment_name` is that of an endpoint. One
        deployment of several that share the traffic can't be chosen. Raises MlflowException with what the endpoint
        says.
        """
        from mlflow_amlstore.plugin.predictions import body_of, result_of

        called = endpoint or deployment_name
        if called is None:
            raise InvalidValue("deployment_name", None, "must be given, or else endpoint")
        record = looked_at(self._records, self._records.endpoints.get(called))
        if deployment_name is not None:
            _check_answers(record, deployment_name)
        body = body_of(df if inputs is None else inputs)
        address = self._address(record)
        headers = {"Content-Type": "application/json"}
        if record.spec.auth:
            headers["Authorization"] = f"Bearer {self._records.endpoints.keys(called)[0]}"
        limit_s = max(record.deployment(number).spec.predict_limit_s for number in record.serving)
        timeout_s = limit_s + _MORE_THAN_A_PREDICTION_S
        answer = _ask("POST", f"{address}/score", timeout_s, headers=headers, data=body)
        about = _ask("GET", f"{address}/swagger.json", timeout_s, headers=headers, params={"version": "3"})
        return result_of(answer, about["components"]["schemas"]["ServiceOutput"]["format"])

    # Endpoints

    def create_endpoint(self, name: str, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Say what an endpoint is to be; it is made with its first deployment.

        Until then this client alone knows of it: an endpoint has at least one deployment here.
        """
        _check_name("endpoint", name)
        if name in self._planned or self._found(name) is not None:
            raise AlreadyExists("endpoint", name, "Update it, or delete it first")
        self._planned[name] = deployment_config.read(config, file_key=deployment_config.ENDPOINT_FILE)
        _logger.info("Endpoint %s will be made with its first deployment", name)
        return self.get_endpoint(name)

    def update_endpoint(self, endpoint: str, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Change traffic, `{name: percent}`, description, tags, properties or whether a key is needed.

        Waits until the deployments that get traffic are Healthy, and have it.
        """
        read = deployment_config.read(config, file_key=deployment_config.ENDPOINT_FILE)
        if endpoint in self._planned:
            planned = self._planned[endpoint]
            self._planned[endpoint] = replace(
                planned, endpoint={**planned.endpoint, **read.endpoint}, keys=read.keys or planned.keys
            )
            return self.get_endpoint(endpoint)
        record = self._records.endpoints.get(endpoint)
        self._update(record, read)
        if read.traffic is not None:
            if isinstance(read.traffic, int):
                rule = "must be percent by the name of a deployment, such as {'blue': 100}"
                raise InvalidValue("traffic", read.traffic, rule)
            record = self._records.endpoints.update(endpoint, traffic=_numbered(record, read.traffic))
        start(self._records, endpoint)
        if read.waits:
            self._settle(record)
        return self.get_endpoint(endpoint)

    def delete_endpoint(self, endpoint: str) -> None:
        """Delete an endpoint with its deployments. Nothing happens where there is none."""
        is_planned = self._planned.pop(endpoint, None) is not None
        if self._found(endpoint) is not None:
            self._records.endpoints.delete(endpoint)
        elif not is_planned:
            _logger.info("No endpoint with name %s found to delete", endpoint)

    def list_endpoints(self) -> list[dict[str, Any]]:
        """Return what `get_endpoint` does for all endpoints."""
        there = [_endpoint(looked_at(self._records, record)) for record in self._records.endpoints.list()]
        return there + [_planned_endpoint(name, config) for name, config in self._planned.items()]

    def get_endpoint(self, endpoint: str) -> dict[str, Any]:
        """Return what is known of an endpoint, under the names that Azure ML has for it.

        Raises MlflowException where there is none.
        """
        if endpoint in self._planned and self._found(endpoint) is None:
            return _planned_endpoint(endpoint, self._planned[endpoint])
        return _endpoint(looked_at(self._records, self._records.endpoints.get(endpoint)))

    # What these are made of

    @property
    def _target(self) -> str:
        """Where an endpoint runs unless its config says: on this machine, or on any of a service's."""
        return LOCAL_TARGET if self.workspace.path is not None else ""

    def _found(self, name: str) -> EndpointRecord | None:
        try:
            return self._records.endpoints.get(name)
        except NotFound:
            return None

    def _version(self, model_uri: str, name: str) -> ModelVersionRecord:
        """The version that a model URI means, which is registered first where it means a run's model, or a file."""
        root = tracking_uri.parse(self.workspace._root_uri)
        if model_uri.startswith("models:/") and ("/" in model_uri[len("models:/") :] or "@" in model_uri):
            uri = self.workspace.get_mlflow_tracking_uri()
            model, number = get_model_name_and_version(MlflowClient(uri, uri), model_uri)
            return self._records.models.get_version(model, int(number))
        for which, uri in (("tracking", mlflow.get_tracking_uri()), ("registry", mlflow.get_registry_uri())):
            if uri.partition(":")[0] not in _SCHEMES or not tracking_uri.parse(uri).is_same_store(root):
                rule = (
                    f"has to be registered first, and MLflow's {which} URI isn't the target's workspace. Set it to "
                    "what `amlstore uri` prints, or give models:/NAME/VERSION"
                )
                raise InvalidValue("model_uri", model_uri, rule)
        made = mlflow.register_model(model_uri, f"{name}-model")
        _logger.info("Registered %s as version %s of %s", model_uri, made.version, made.name)
        return self._records.models.get_version(made.name, int(made.version))

    def _update(self, record: EndpointRecord, read: Config) -> None:
        """Change what a config says of an endpoint that is there."""
        given: dict[str, Any] = {
            name: read.endpoint[name] for name in ("auth", "description", "tags") if name in read.endpoint
        }
        if "properties" in read.endpoint:
            given["properties"] = {**record.spec.properties, **read.endpoint["properties"]}
        if given:
            self._records.endpoints.update(record.name, **given)
        for which, key in zip(("primary", "secondary"), read.keys or (), strict=False):
            self._records.endpoints.set_key(record.name, which, key)

    def _settle(self, record: EndpointRecord) -> None:
        """Wait until deployments serve as it is wanted, and what they replace answers no more.

        Raises InvalidState with the traceback of one that fails.
        """
        name, since_ms = record.name, record.updated_ms
        for number in record.wanted:
            for event in events_until_settled(self._records, name, number):
                if event.at_ms >= since_ms:
                    _logger.info("%s: %s", name, event.text)
            deployment = self._records.endpoints.get(name).deployment(number)
            if deployment.state is EndpointState.FAILED and deployment.error is not None:
                error = deployment.error
                what = f"Deployment {_name(record, deployment)} of endpoint {name} has failed"
                raise InvalidState(f"{what}: {error.code}: {error.message}\n{error.details}".rstrip())
        ended_s = time.monotonic() + _LONGEST_END_S
        while True:
            now = looked_at(self._records, self._records.endpoints.get(name))
            if now.wanted != record.wanted or (now.serving == now.wanted and _is_alone(now)):
                return
            if now.serving == now.wanted and time.monotonic() > ended_s:  # one that was killed never says it has ended
                return
            time.sleep(_LOOKED_EVERY_S)

    def _address(self, record: EndpointRecord) -> str:
        if record.host is None or not record.host.address or not record.serving:
            error = record.error
            why = "" if error is None else f": {error.code}: {error.message}"
            raise InvalidState(f"Endpoint {record.name} is {record.state.value}, and doesn't answer{why}")
        return record.host.address


def _workspace_of(target_uri: str) -> Workspace:
    if ":" in target_uri:
        opened = Workspace.from_tracking_uri(target_uri)
    elif mlflow.get_tracking_uri().partition(":")[0] in _SCHEMES:
        opened = Workspace.from_tracking_uri(mlflow.get_tracking_uri())
    else:
        opened = Workspace.from_config()
    url = opened._backend.facts.get("serviceUrl")
    if opened._backend.is_azure_ml or (url is not None and cloud_of_host(url) is not None):
        instead = "Install azureml-mlflow, and set AMLSTORE_AZUREML_PLUGIN=azureml-mlflow"
        raise NotSupported("mlflow.deployments on a workspace of Azure ML", instead)
    return opened


def _check_name(kind: str, name: object) -> None:
    """Deployments and endpoints have names by the same rule."""
    if not isinstance(name, str) or not ENDPOINT_NAME.fullmatch(name):
        raise InvalidValue(f"name of the {kind}", name, ENDPOINT_NAME_RULE)


def _check_flavor(flavor: str | None) -> None:
    if flavor not in (None, _FLAVOR):
        raise InvalidValue("flavor", flavor, f"must be {_FLAVOR}, the only one that is deployed")


# Names and traffic


def _name(record: EndpointRecord, deployment: DeploymentRecord) -> str:
    return deployment.spec.name or record.name


def _deleted(record: EndpointRecord) -> set[int]:
    return {int(number) for number in record.spec.properties.get(_DELETED, "").split(",") if number}


def _by_name(record: EndpointRecord) -> dict[str, DeploymentRecord]:
    """The deployment that each name means: the newest that has traffic or is to get it, else the newest."""
    found: dict[str, DeploymentRecord] = {}
    gone = _deleted(record)
    active = {*record.wanted, *record.serving}
    for each in record.deployments:
        known = found.get(_name(record, each))
        if each.number not in gone and (known is None or each.number in active or known.number not in active):
            found[_name(record, each)] = each
    return found


def _named(record: EndpointRecord, name: str) -> DeploymentRecord:
    by_name = _by_name(record)
    if name not in by_name:
        raise NotFound("deployment", name, f"Endpoint {record.name} has {', '.join(sorted(by_name))}")
    return by_name[name]


def _numbered(record: EndpointRecord, traffic: Mapping[str, int]) -> dict[int, int]:
    return {_named(record, name).number: percent for name, percent in traffic.items() if percent}


def _with(
    record: EndpointRecord, number: int, name: str, traffic: int | dict[str, int] | None, replaced: int | None = None
) -> dict[int, int]:
    """The traffic of an endpoint with a deployment more, or one in the place of another.

    Unless it is said, it gets none, or all where nothing else can answer.
    """
    if isinstance(traffic, dict):
        others = {each: percent for each, percent in traffic.items() if each != name}
        mine = {number: traffic[name]} if traffic.get(name) else {}
        return {**_numbered(record, others), **mine}
    rest = {each: percent for each, percent in record.wanted.items() if each != replaced}
    if traffic is None:
        can_answer = any(record.deployment(each).state is not EndpointState.FAILED for each in rest)
        traffic = 0 if can_answer else 100
    if not rest and traffic != 100:
        raise InvalidValue("traffic", traffic, "must be 100, as no other deployment has traffic")
    return {**_shared(rest, 100 - traffic), **({number: traffic} if traffic else {})}


def _shared(parts: Mapping[int, int], total: int) -> dict[int, int]:
    """Whole numbers in the proportion of others, `total` together."""
    whole = sum(parts.values())
    shares = {number: divmod(percent * total, whole) for number, percent in parts.items()}
    left = total - sum(share for share, _ in shares.values())
    first = sorted(shares, key=lambda number: -shares[number][1])[:left]
    found = {number: share + (number in first) for number, (share, _) in shares.items()}
    return {number: share for number, share in found.items() if share}


def _is_alone(record: EndpointRecord) -> bool:
    """Whether all deployments that are to serve no more have ended."""
    ended = (EndpointState.STOPPED, EndpointState.FAILED)
    return all(each.number in record.wanted or each.state in ended for each in record.deployments)


def _check_answers(record: EndpointRecord, name: str) -> None:
    """Raise where a deployment isn't the one that answers all requests."""
    number = _named(record, name).number
    if record.serving and number not in record.serving:
        state = record.deployment(number).state.value
        raise InvalidState(f"Deployment {name} of endpoint {record.name} gets no traffic, and is {state}")
    if len(record.serving) > 1:
        raise NotSupported(
            f"Asking one of the deployments that share the traffic of endpoint {record.name}",
            "Ask the endpoint, or give the deployment all traffic",
        )


# What is told of them


def _described(record: EndpointRecord, name: str) -> dict[str, Any]:
    deployment = _named(record, name)
    error = deployment.error
    return {
        "name": name,
        "endpointName": record.name,
        "flavor": _FLAVOR,
        "state": deployment.state.value,
        "error": None if error is None else {"code": error.code, "message": error.message, "details": error.details},
        "model": ", ".join(deployment.spec.models),
        "traffic": record.serving.get(deployment.number, 0),
        "computeType": record.spec.kind,
        "authEnabled": record.spec.auth,
        **_addresses(record),
        "createdTime": iso_time(deployment.created_ms),
        "updatedTime": iso_time(deployment.updated_ms),
    }


def _endpoint(record: EndpointRecord) -> dict[str, Any]:
    names = {deployment.number: name for name, deployment in _by_name(record).items()}
    traffic = {names.get(number, str(number)): percent for number, percent in record.serving.items()}
    return {
        "name": record.name,
        "tags": record.spec.tags,
        "properties": {
            "authMode": "Key" if record.spec.auth else "None",
            "description": record.spec.description,
            "provisioningState": record.state.value,
            "properties": {name: value for name, value in record.spec.properties.items() if name != _DELETED},
            **_addresses(record),
            "traffic": traffic,
        },
    }


def _planned_endpoint(name: str, config: Config) -> dict[str, Any]:
    about = config.endpoint
    return {
        "name": name,
        "tags": about.get("tags", {}),
        "properties": {
            "authMode": "Key" if about.get("auth", True) else "None",
            "description": about.get("description", ""),
            "provisioningState": "NotStarted",
            "properties": about.get("properties", {}),
            "scoringUri": None,
            "swaggerUri": None,
            "traffic": {},
        },
    }


def _addresses(record: EndpointRecord) -> dict[str, str | None]:
    address = record.host.address if record.host is not None else ""
    return {
        "scoringUri": f"{address}/score" if address else None,
        "swaggerUri": f"{address}/swagger.json" if address else None,
    }


def _ask(method: str, url: str, timeout_s: float, **given: Any) -> Any:
    """The JSON that an endpoint answers with. Raises ServiceError with what it says instead, ServiceUnreachable."""
    try:
        answer = requests.request(method, url, timeout=timeout_s, **given)
    except requests.RequestException as error:
        raise ServiceUnreachable(url, type(error).__name__) from None
    try:
        told = json.loads(answer.content)
    except ValueError:
        told = answer.text[:1000]
    if answer.ok:
        return told
    is_ours = isinstance(told, dict) and "message" in told
    code, message = (told.get("error_code", ""), told["message"]) if is_ours else ("", str(told))
    raise ServiceError(str(code), f"{url} answered with {answer.status_code}: {message}", answer.status_code)
