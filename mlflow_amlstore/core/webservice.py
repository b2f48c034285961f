"""Webservices: endpoints of the workspace, under the names that Azure ML's SDK has for them."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from mlflow_amlstore.core.compute import AksCompute
from mlflow_amlstore.core.deploy_configuration import (
    AciServiceDeploymentConfiguration,
    AksServiceDeploymentConfiguration,
    LocalWebserviceDeploymentConfiguration,
    WebserviceDeploymentConfiguration,
    configured,
)
from mlflow_amlstore.core.environment import Environment, environment_definition, environment_of
from mlflow_amlstore.core.inference_config import InferenceConfig
from mlflow_amlstore.core.model import Model
from mlflow_amlstore.core.named_texts import delete_tags, texts_of
from mlflow_amlstore.core.not_yet import names_the_missing
from mlflow_amlstore.core.snapshots import store_snapshot
from mlflow_amlstore.errors import (
    Changed,
    DeploymentFailed,
    InvalidValue,
    NotFound,
    NotSupported,
    WebserviceNotFound,
)
from mlflow_amlstore.hosting.deploying import deployment_of
from mlflow_amlstore.hosting.looking import is_settled, looked_at
from mlflow_amlstore.hosting.starting import start
from mlflow_amlstore.protocol.times import datetime_or_none
from mlflow_amlstore.records.locations import endpoint_container
from mlflow_amlstore.records.types import (
    LOCAL_TARGET,
    DeploymentSpec,
    EndpointEvent,
    EndpointRecord,
    EndpointSpec,
    EndpointState,
)

if TYPE_CHECKING:
    import requests

    from mlflow_amlstore.core.workspace import Workspace

_LOOKED_EVERY_S = 0.1
_UNAUTHORIZED = 401
_ANSWER_WITHIN_S = 3600.0  # as long as Azure ML's server lets a script take
_TIPS = (
    "Tips: You can try get_logs() or `amlstore endpoints logs` to see what it prints, if deployment takes longer than "
    "it should."
)
_LOCAL_STATES = {
    EndpointState.TRANSITIONING: "deploying",
    EndpointState.HEALTHY: "running",
    EndpointState.IDLE: "running",
    EndpointState.FAILED: "failed",
}
_KEYS = ("primary", "secondary")
_CLUSTER = "compute_target"  # among an endpoint's settings: the inference cluster that was named
_KEYS_KNOWN_WITHIN_S = 10.0  # its processes notice a new key some moments later
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@names_the_missing
class Webservice:
    """An endpoint: a model that answers over HTTP.

    `Model.deploy` makes one, and `Webservice(workspace, name)` opens it.
    """

    _webservice_type: ClassVar[str | None] = None
    _kinds: ClassVar[dict[str, type["Webservice"]]] = {}

    _workspace: "Workspace"
    _record: EndpointRecord
    _is_deleted = False

    def __new__(cls, workspace: "Workspace", name: str) -> "Webservice":
        """Open the endpoint of this name. Raises NotFound, which scripts know as WebserviceException."""
        try:
            return cls._of(workspace, workspace.records.endpoints.get(name))
        except NotFound:
            raise WebserviceNotFound(name) from None

    @classmethod
    def _of(cls, workspace: "Workspace", record: EndpointRecord) -> "Webservice":
        self = object.__new__(Webservice._kinds.get(record.spec.kind, Webservice))
        self._workspace, self._record = workspace, looked_at(workspace.records, record)
        return self

    @staticmethod
    def list(
        workspace: "Workspace",
        compute_type: str | None = None,
        image_name: str | None = None,
        image_id: str | None = None,
        model_name: str | None = None,
        model_id: str | None = None,
        tags: Sequence[Any] | Mapping[str, str] | None = None,
        properties: Sequence[Any] | Mapping[str, str] | None = None,
        image_digest: str | None = None,
        location: str | None = None,
    ) -> "list[Webservice]":
        """Return the endpoints that match all that is given, by name. There are no images here."""
        found = []
        for record in workspace.records.endpoints.list():
            models = record.newest.spec.models
            if compute_type is not None and record.spec.kind != compute_type.upper():
                continue
            if model_id is not None and model_id not in models:
                continue
            if model_name is not None and model_name not in [model.rpartition(":")[0] for model in models]:
                continue
            if _has_all(record.spec.tags, tags) and _has_all(record.spec.properties, properties):
                found.append(Webservice._of(workspace, record))
        return found

    # What it is

    @property
    def name(self) -> str:
        """Its name."""
        return self._record.name

    @property
    def workspace(self) -> "Workspace":
        """Its workspace."""
        return self._workspace

    @property
    def compute_type(self) -> str:
        """Azure ML's word for where it runs: ACI, AKS or LOCAL."""
        return self._record.spec.kind

    @property
    def state(self) -> str:
        """Transitioning, Healthy, Unhealthy, Unschedulable or Failed, as it was last looked at."""
        if self._is_deleted:
            return "Deleting"
        state = self._record.state
        return EndpointState.HEALTHY.value if state is EndpointState.IDLE else state.value

    @property
    def error(self) -> dict[str, Any] | None:
        """Why it isn't Healthy: code, statusCode, message, details; None where nothing is wrong."""
        error = self._record.error
        if error is None:
            return None
        details = [{"code": error.code, "message": error.details or error.message}]
        return {"code": error.code, "statusCode": 400, "message": error.message, "details": details}

    @property
    def scoring_uri(self) -> str | None:
        """The address for requests; None before it has one."""
        host = self._record.host
        return f"{host.address}/score" if host is not None and host.address else None

    @property
    def swagger_uri(self) -> str | None:
        """The address of its description."""
        uri = self.scoring_uri
        return None if uri is None else uri.removesuffix("score") + "swagger.json"

    @property
    def auth_enabled(self) -> bool:
        """Whether a request needs a key."""
        return self._record.spec.auth

    @property
    def description(self) -> str | None:
        """What it is."""
        return self._record.spec.description or None

    @property
    def tags(self) -> dict[str, str]:
        """Its tags."""
        return dict(self._record.spec.tags)

    @property
    def properties(self) -> dict[str, str]:
        """Its properties, which can't be changed."""
        return dict(self._record.spec.properties)

    @property
    def created_time(self) -> datetime | None:
        """When it was made (UTC)."""
        return datetime_or_none(self._record.created_ms)

    @property
    def updated_time(self) -> datetime | None:
        """When it was changed (UTC)."""
        return datetime_or_none(self._record.updated_ms)

    @property
    def models(self) -> Sequence[Model]:
        """The models of its newest deployment."""
        return [Model(self._workspace, id=model) for model in self._record.newest.spec.models]

    @property
    def environment(self) -> Environment | None:
        """The environment that its newest deployment was given."""
        definition = self._record.newest.spec.environment
        return None if definition is None else environment_of(definition)

    @property
    def image(self) -> None:
        """None: no image is built."""
        return

    def update_deployment_state(self) -> None:
        """Look at it again."""
        self._record = looked_at(self._workspace.records, self._workspace.records.endpoints.get(self.name))

    def serialize(self) -> dict[str, Any]:
        """Return it as a dictionary."""
        created, updated = self.created_time, self.updated_time
        return {
            "name": self.name,
            "computeType": self.compute_type,
            "state": self.state,
            "error": self.error,
            "scoringUri": self.scoring_uri,
            "description": self.description,
            "tags": self.tags,
            "properties": self.properties,
            "authEnabled": self.auth_enabled,
            "createdTime": None if created is None else created.isoformat(),
            "updatedTime": None if updated is None else updated.isoformat(),
            "swaggerUri": self.swagger_uri,
            "modelIds": list(self._record.newest.spec.models),
        }

    # What it does

    def wait_for_deployment(self, show_output: bool = False, timeout_sec: float | None = None) -> None:
        """Wait until its newest deployment serves.

        Raises DeploymentFailed, which scripts know as WebserviceException: with the whole traceback where it has
        Failed, and after `timeout_sec` seconds, in which case the deployment goes on.
        """
        endpoints, number = self._workspace.records.endpoints, self._record.newest.number
        deadline = None if timeout_sec is None else time.monotonic() + timeout_sec
        last = 0
        if show_output:
            _print(f"{_TIPS}\nRunning")
        while True:
            self.update_deployment_state()
            for event in endpoints.events(self.name, after=last) if show_output else ():
                last = event.event_id
                if event.number in (0, number):
                    _print(_line(event).rstrip())
            if is_settled(self._record, number):
                break
            if deadline is not None and time.monotonic() > deadline:
                problem = f"Service deployment request timed out after {timeout_sec} s; it goes on. State: {self.state}"
                raise DeploymentFailed(problem)
            time.sleep(_LOOKED_EVERY_S)
        deployment = self._record.deployment(number)
        if deployment.state is EndpointState.FAILED and deployment.error is not None:
            error = deployment.error
            told = {"code": error.code, "statusCode": 400, "message": error.message}
            raise DeploymentFailed(
                "Service deployment polling reached non-successful terminal state, current service state: Failed\n"
                f"More information can be found using '.get_logs()'\nError:\n{json.dumps(told, indent=2)}\n"
                f"{error.details}".rstrip()
            )
        if show_output:
            _print("Succeeded")
        _print(f'{self.compute_type} service creation operation finished, operation "Succeeded"')

    def run(self, input: Any) -> Any:
        """Send a request, which is JSON as text or bytes, and return the answer, parsed.

        Raises DeploymentFailed with status and answer where it isn't 200.
        """
        import requests  # slow to import

        uri = self.scoring_uri
        if uri is None:
            self.update_deployment_state()
            uri = self.scoring_uri
        if uri is None:
            raise DeploymentFailed(f"{self.name} is {self.state} and has no address yet. Wait for its deployment")
        body = input if isinstance(input, (str, bytes)) else json.dumps(input)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        try:
            answer = self._ask(uri, body, headers)
        except requests.ConnectionError:  # its processes may be gone: whoever looks starts them again
            self.update_deployment_state()
            self.wait_for_deployment()
            answer = self._ask(self.scoring_uri or uri, body, headers)
        if answer.status_code != 200:
            raise DeploymentFailed(
                "Received bad response from service. More information can be found by calling `.get_logs()` on the "
                f"webservice object.\nResponse Code: {answer.status_code}\nHeaders: {dict(answer.headers)}\n"
                f"Content: {answer.content!r}"
            )
        try:
            return answer.json()
        except ValueError:
            return answer.text

    def _ask(self, uri: str, body: str | bytes, headers: Mapping[str, str]) -> "requests.Response":
        """Send a request with the primary key, if one is needed, until that is known where it answers."""
        import requests

        content = body.encode() if isinstance(body, str) else body
        end = time.monotonic() + _KEYS_KNOWN_WITHIN_S
        with requests.Session() as session:
            # A proxy doesn't reach this machine's loopback, and .netrc would take the place of the key.
            session.trust_env = urlsplit(uri).hostname not in _LOOPBACK
            while True:
                if self.auth_enabled:
                    key = self._workspace.records.endpoints.keys(self.name)[0]
                    headers = {**headers, "Authorization": f"Bearer {key}"}
                answer = session.post(uri, content, headers=headers, timeout=_ANSWER_WITHIN_S)
                if answer.status_code != _UNAUTHORIZED or not self.auth_enabled or time.monotonic() > end:
                    return answer
                time.sleep(_LOOKED_EVERY_S)

    def get_logs(self, num_lines: int = 5000, init: bool = False) -> str:
        """Return the last lines that its newest deployment printed; before it printed any, and with `init`, what was
        done to start it."""
        container, path = endpoint_container(self.name), f"logs/{self._record.newest.number}.txt"
        text = ""
        with suppress(NotFound):
            if not init:
                with self._workspace.records.files.open(container, path) as source:
                    text = source.read().decode("utf-8", "replace")
        text = text or "".join(map(_line, self._workspace.records.endpoints.events(self.name)))
        return "".join(text.splitlines(keepends=True)[-num_lines:])

    def get_keys(self) -> tuple[str, str]:
        """Return the primary and the secondary key."""
        return self._workspace.records.endpoints.keys(self.name)

    def regen_key(self, key: str, set_key: str | None = None) -> None:
        """Make the `Primary` or the `Secondary` key anew, or the one that is given; the old one opens no more."""
        which = str(key).lower()
        if which not in _KEYS:
            raise InvalidValue("key", key, "must be 'Primary' or 'Secondary'")
        self._workspace.records.endpoints.set_key(self.name, which, set_key)

    def get_token(self) -> tuple[str, datetime]:
        """Not here: an endpoint is opened by its keys."""
        raise NotSupported("A token of an endpoint", "Use one of get_keys()")

    def add_tags(self, tags: Mapping[str, str]) -> None:
        """Add tags, or change those of these names."""
        self._update(tags={**self.tags, **texts_of("tags", tags)})

    def remove_tags(self, tags: Any) -> None:
        """Remove tags by name."""
        kept = self.tags
        delete_tags(tags, lambda name: kept.__delitem__(name) if name in kept else None)
        self._update(tags=kept)

    def add_properties(self, properties: Mapping[str, str]) -> None:
        """Add properties, which can't be changed later. Raises Changed if one has another value already."""
        self._update(properties=self._with(properties))

    def delete(self) -> None:
        """Delete it: it answers no more. One that is gone already is said, and is no error."""
        try:
            self._workspace.records.endpoints.delete(self.name)
        except NotFound:
            _print(f"No service with name {self.name} found to delete.")
        self._is_deleted = True

    def _with(self, properties: Mapping[str, str] | None) -> dict[str, str] | None:
        """Its properties and others, which are added and never changed. Raises Changed."""
        if properties is None:
            return None
        known = self.properties
        for name, value in texts_of("properties", properties).items():
            if known.setdefault(name, value) != value:
                raise Changed("property", self.name, name, known[name], value, owner="endpoint")
        return known

    def _update(self, **given: Any) -> None:
        self._record = self._workspace.records.endpoints.update(self.name, **given)

    def _deploy_next(
        self, models: "Sequence[Model] | None", inference_config: InferenceConfig | None, **given: Any
    ) -> None:
        """Add a deployment where anything of it was given."""
        limits = {name: value for name, value in given.items() if value is not None}
        if models is None and inference_config is None and not limits:
            return
        before = self._record.newest.spec
        chosen = self.models if models is None else list(models)
        if inference_config is None and before.entry_script:
            script: dict[str, Any] = {
                "entry_script": before.entry_script,
                "snapshot_id": before.snapshot_id,
                "environment": before.environment,
            }
        else:
            script = _script_of(self._workspace, inference_config)
        kept = {name: getattr(before, name) for name in _LIMITS}
        records = self._workspace.records
        spec = deployment_of(records, [model._record for model in chosen], **{**kept, **script, **limits})
        self._record = records.endpoints.deploy(self.name, spec)
        start(records, self.name)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(workspace={self._workspace!r}, name={self.name}, state={self.state}, "
            f"scoring_uri={self.scoring_uri})"
        )


_OF_PARTS = {"models", "framework", "entry_script", "snapshot_id", "environment"}
_LIMITS = tuple(each.name for each in fields(DeploymentSpec) if each.name not in _OF_PARTS)


class AciWebservice(Webservice):
    """What runs in Azure Container Instances there: here on this machine, or on an agent of a service."""

    _webservice_type = "ACI"

    @staticmethod
    def deploy_configuration(
        cpu_cores: float | None = None,
        memory_gb: float | None = None,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        description: str | None = None,
        location: str | None = None,
        auth_enabled: bool | None = None,
        **others: Any,
    ) -> AciServiceDeploymentConfiguration:
        """Say how to deploy: `cpu_cores` and `memory_gb` limit it; a key is needed unless `auth_enabled` is False.

        Raises InvalidValue, NotSupported.
        """
        given = {"location": location, "auth_enabled": auth_enabled, "description": description, **others}
        given |= {"cpu_cores": cpu_cores, "memory_gb": memory_gb, "tags": tags, "properties": properties}
        made: AciServiceDeploymentConfiguration = configured(
            AciServiceDeploymentConfiguration, "AciWebservice.deploy_configuration", given
        )
        return made

    def update(
        self,
        image: object = None,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        description: str | None = None,
        auth_enabled: bool | None = None,
        ssl_enabled: bool | None = None,
        ssl_cert_pem_file: str | None = None,
        ssl_key_pem_file: str | None = None,
        ssl_cname: str | None = None,
        enable_app_insights: bool | None = None,
        models: Sequence[Model] | None = None,
        inference_config: InferenceConfig | None = None,
    ) -> None:
        """Change what is given. Models or a script make the next deployment, which serves once it is Healthy."""
        if image is not None:
            raise NotSupported("A webservice of an image", "Give models and an inference_config")
        self._update(tags=tags, properties=self._with(properties), description=description, auth=auth_enabled)
        self._deploy_next(models, inference_config)


class AksWebservice(Webservice):
    """What runs in Azure Kubernetes Service there: here on the agents of a target, or on this machine."""

    _webservice_type = "AKS"

    @property
    def compute_name(self) -> str | None:
        """The inference cluster that it was deployed to."""
        return self._record.spec.settings.get(_CLUSTER)

    @property
    def num_replicas(self) -> int:
        """How many processes answer."""
        return self._record.newest.spec.workers

    @property
    def scoring_timeout_ms(self) -> int:
        """How many milliseconds a prediction may take."""
        return round(self._record.newest.spec.predict_limit_s * 1000)

    def get_access_token(self) -> None:
        """Not here: an endpoint is opened by its keys."""
        self.get_token()

    @staticmethod
    def deploy_configuration(
        autoscale_enabled: bool | None = None,
        autoscale_min_replicas: int | None = None,
        autoscale_max_replicas: int | None = None,
        autoscale_refresh_seconds: int | None = None,
        autoscale_target_utilization: int | None = None,
        collect_model_data: bool | None = None,
        auth_enabled: bool | None = None,
        cpu_cores: float | None = None,
        memory_gb: float | None = None,
        enable_app_insights: bool | None = None,
        scoring_timeout_ms: int | None = None,
        replica_max_concurrent_requests: int | None = None,
        max_request_wait_time: int | None = None,
        num_replicas: int | None = None,
        primary_key: str | None = None,
        secondary_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        description: str | None = None,
        **others: Any,
    ) -> AksServiceDeploymentConfiguration:
        """Say how to deploy. `num_replicas` are processes, each of which predicts `replica_max_concurrent_requests` at
        once, in `scoring_timeout_ms` each; keys are two texts of 16 characters or more.

        Raises InvalidValue, NotSupported.
        """
        given = {name: value for name, value in locals().items() if name != "others"} | others
        made: AksServiceDeploymentConfiguration = configured(
            AksServiceDeploymentConfiguration, "AksWebservice.deploy_configuration", given
        )
        return made

    def update(
        self,
        image: object = None,
        auth_enabled: bool | None = None,
        cpu_cores: float | None = None,
        memory_gb: float | None = None,
        scoring_timeout_ms: int | None = None,
        replica_max_concurrent_requests: int | None = None,
        num_replicas: int | None = None,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        description: str | None = None,
        models: Sequence[Model] | None = None,
        inference_config: InferenceConfig | None = None,
        **others: Any,
    ) -> None:
        """Change what is given. Models, a script or limits make the next deployment."""
        if image is not None:
            raise NotSupported("A webservice of an image", "Give models and an inference_config")
        configured(AksServiceDeploymentConfiguration, "AksWebservice.update", dict(others))
        self._update(tags=tags, properties=self._with(properties), description=description, auth=auth_enabled)
        self._deploy_next(
            models,
            inference_config,
            cpu=cpu_cores,
            memory_gb=memory_gb,
            workers=num_replicas,
            concurrency=replica_max_concurrent_requests,
            predict_limit_s=None if scoring_timeout_ms is None else scoring_timeout_ms / 1000,
        )


class LocalWebservice(Webservice):
    """What runs on this machine: no Docker is needed. It is an endpoint of the workspace as any other."""

    _webservice_type = "LOCAL"

    STATE_DEPLOYING, STATE_RUNNING, STATE_FAILED = "deploying", "running", "failed"
    STATE_DELETED, STATE_UNKNOWN = "deleted", "unknown"

    @staticmethod
    def deploy_configuration(port: int | None = None) -> LocalWebserviceDeploymentConfiguration:
        """Say on which port it answers; without one, on any that is free."""
        made: LocalWebserviceDeploymentConfiguration = configured(
            LocalWebserviceDeploymentConfiguration, "LocalWebservice.deploy_configuration", {"port": port}
        )
        return made

    @property
    def state(self) -> str:
        """deploying, running, failed, deleted or unknown."""
        return self.STATE_DELETED if self._is_deleted else _LOCAL_STATES.get(self._record.state, self.STATE_UNKNOWN)

    @property
    def port(self) -> int | None:
        """The port that it answers on."""
        uri = self.scoring_uri
        return None if uri is None else int(uri.rpartition(":")[2].partition("/")[0])

    def get_keys(self) -> tuple[str, str]:
        """Return the keys of one that `amlstore deploy` made. Raises NotSupported for one that answers without."""
        self._check_keys()
        return super().get_keys()

    def regen_key(self, key: str, set_key: str | None = None) -> None:
        """Make a key anew of one that `amlstore deploy` made. Raises NotSupported for one that answers without."""
        self._check_keys()
        super().regen_key(key, set_key)

    def _check_keys(self) -> None:
        if not self.auth_enabled:
            raise NotSupported("A key of a LocalWebservice", "It answers without; AciWebservice has keys")

    def reload(self, wait: bool = False) -> None:
        """Deploy again what it was made of: the models, and the script as it is now."""
        self._deploy_next(self.models, self._inference_config)
        if wait:
            self.wait_for_deployment()

    _inference_config: InferenceConfig | None = None

    def update(
        self,
        models: Sequence[Model] | None = None,
        deployment_config: LocalWebserviceDeploymentConfiguration | None = None,
        wait: bool = False,
        inference_config: InferenceConfig | None = None,
    ) -> None:
        """Deploy other models, or another script."""
        self._deploy_next(models, inference_config)
        self._inference_config = inference_config or self._inference_config
        if wait:
            self.wait_for_deployment()

    def delete(self, delete_cache: bool = True, delete_image: bool = False, delete_volume: bool = True) -> None:
        """Delete it. There is no image and no volume."""
        super().delete()


for _kind in (AciWebservice, AksWebservice, LocalWebservice):
    assert _kind._webservice_type is not None
    Webservice._kinds[_kind._webservice_type] = _kind


def deploy(
    workspace: "Workspace",
    name: str,
    models: Sequence[Model],
    inference_config: InferenceConfig | None = None,
    deployment_config: WebserviceDeploymentConfiguration | None = None,
    deployment_target: AksCompute | None = None,
    overwrite: bool = False,
    show_output: bool = False,
) -> Webservice:
    """Deploy models as an endpoint, without code or with a scoring script; return at once.

    Without a configuration it is an AciWebservice with all defaults, or on an inference cluster an AksWebservice.
    Raises InvalidValue, NotFound, NotSupported, AlreadyExists (unless `overwrite`), all before anything is started.
    """
    if not isinstance(deployment_target, AksCompute | None):
        raise InvalidValue("deployment_target", deployment_target, "must be an AksCompute")
    target = None if deployment_target is None else deployment_target.name
    config = deployment_config
    if config is None:
        config = AciServiceDeploymentConfiguration() if target is None else AksServiceDeploymentConfiguration()
    limits: dict[str, Any] = {"cpu": config.cpu_cores, "memory_gb": config.memory_gb}
    kind, auth, settings = "ACI", config.auth_enabled is not False, dict(config.settings)
    if isinstance(config, AksServiceDeploymentConfiguration):
        kind, target = "AKS", target or config.compute_target_name
        limits["workers"] = config.num_replicas or 1
        limits["concurrency"] = config.replica_max_concurrent_requests or 1
        if config.scoring_timeout_ms is not None:
            limits["predict_limit_s"] = config.scoring_timeout_ms / 1000
    elif isinstance(config, LocalWebserviceDeploymentConfiguration):
        if workspace.records.folder is None:
            raise NotSupported("A LocalWebservice of a service", "Use AciWebservice: the service's agents run it")
        kind, auth = "LOCAL", False
        settings = {"port": config.port} if config.port else {}
    spec = deployment_parts(workspace, models, inference_config, **limits)
    if target is not None:
        workspace.records.compute_targets.get(target)  # which raises NotFound
        settings[_CLUSTER] = target
    endpoint = EndpointSpec(
        name,
        kind,
        LOCAL_TARGET if workspace.records.folder is not None else target or "",
        auth,
        description=config.description or "",
        tags=texts_of("tags", config.tags or {}),
        properties=texts_of("properties", config.properties or {}),
        settings=settings,
    )
    record = workspace.records.endpoints.create(endpoint, spec, keys=config.keys, overwrite=overwrite)
    start(workspace.records, name)
    service = Webservice._of(workspace, record)
    if isinstance(service, LocalWebservice):
        service._inference_config = inference_config
    if show_output:
        service.wait_for_deployment(show_output=True)
    return service


def deployment_parts(
    workspace: "Workspace", models: Sequence[Model], inference_config: InferenceConfig | None = None, **limits: Any
) -> DeploymentSpec:
    """What a deployment is made of; the script's folder is kept. One model's own resources hold where no limits do.

    Raises as `deploy`.
    """
    _check_models(models)
    resources = models[0].resource_configuration if len(models) == 1 else None
    if resources is not None:
        limits["cpu"] = resources.cpu if limits.get("cpu") is None else limits["cpu"]
        limits["memory_gb"] = resources.memory_in_gb if limits.get("memory_gb") is None else limits["memory_gb"]
    script = _script_of(workspace, inference_config)
    return deployment_of(workspace.records, [model._record for model in models], **script, **limits)


def _check_models(models: object) -> None:
    if not isinstance(models, list | tuple) or not all(isinstance(model, Model) for model in models):
        raise InvalidValue("models", models, "must be a list of Model; Model.register makes one of a file")


def _script_of(workspace: "Workspace", config: InferenceConfig | None) -> dict[str, Any]:
    """What a deployment is told of a scoring script, whose folder is kept as a snapshot."""
    if config is None:
        return {}
    environment = config.environment
    return {
        "entry_script": config.script_in_source,
        "snapshot_id": store_snapshot(workspace.records, Path(config.source)),
        "environment": None if environment is None else environment_definition(environment),
        "variables": {} if environment is None else dict(environment.environment_variables),
    }


def _has_all(has: Mapping[str, str], wanted: Sequence[Any] | Mapping[str, str] | None) -> bool:
    """Whether tags or properties have all that is wanted: names, or pairs of name and value."""
    for one in wanted.items() if isinstance(wanted, Mapping) else wanted or ():
        name, *value = [one] if isinstance(one, str) else list(one)
        if name not in has or (value and has[name] != str(value[0])):
            return False
    return True


def _line(event: EndpointEvent) -> str:
    at = datetime.fromtimestamp(event.at_ms / 1000, timezone.utc).astimezone()
    return f"{at.isoformat(' ', 'seconds')} {event.text}.\n"


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
