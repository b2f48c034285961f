"""Models of a workspace behind a service: implements `records.common_store.CommonModels`."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mlflow_amlstore.client.http.service_call import segment
from mlflow_amlstore.client.run_history.routes import RunHistory, named
from mlflow_amlstore.errors import Changed, NotFound, NotSupported, PathUnsafe
from mlflow_amlstore.protocol.artifact_origins import RUN_CONTAINER_PREFIX, RUN_ORIGIN, UPLOAD_ORIGIN, artifact_id
from mlflow_amlstore.protocol.times import time_ms_or_none
from mlflow_amlstore.records.locations import (
    WORKSPACE_SCHEME,
    container_of,
    upload_container,
)
from mlflow_amlstore.records.types import (
    FRAMEWORK_PROPERTIES,
    FRAMEWORK_PROPERTY,
    FRAMEWORK_VERSION_PROPERTY,
    ModelFilter,
    ModelVersionRecord,
    Page,
    framework_properties,
)
from mlflow_amlstore.records.validation import check_model_name, check_model_tags, check_text_values

_ASSET_URL = "aml://asset/"
_PAGE = 255  # Azure ML's largest

_Operation = dict[str, object]


class RemoteModels:
    """Versions of one workspace's models."""

    def __init__(self, history: RunHistory) -> None:
        self._history = history

    def register(
        self,
        name: str,
        source: str,
        *,
        run_id: str | None = None,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> ModelVersionRecord:
        check_model_name(name)
        check_model_tags(dict(tags or {}))
        check_text_values("property", properties or {})
        own = dict(properties or {})
        asset = {"name": name, "artifacts": [{"prefix": _artifact_id(source)}], "runid": run_id}
        asset_id = self._history.call_models("POST", "assets", asset)["id"]
        body = {
            "name": name,
            "url": f"{_ASSET_URL}{asset_id}",
            "mimeType": "application/json",
            "unpack": False,
            "runId": run_id,
            "experimentName": self._experiment_name(source, run_id),
            "description": description,
            "framework": own.pop(FRAMEWORK_PROPERTY, None),
            "frameworkVersion": own.pop(FRAMEWORK_VERSION_PROPERTY, None),
            "kvTags": dict(tags or {}),
            "properties": own,
            "datasets": [],
        }
        return _record(self._history.call_models("POST", "models", body))

    def _experiment_name(self, source: str, run_id: str | None) -> str | None:
        if run_id is None:
            return None
        experiment_id = source.removeprefix(WORKSPACE_SCHEME).partition("/")[0]
        return str(self._history.get_experiment(experiment_id)["name"])

    def get_version(self, name: str, version: int) -> ModelVersionRecord:
        with named("model version", f"{name}/{version}"):
            return _record(self._history.call_models("GET", _route(name, version)))

    def find_versions(
        self, filter: ModelFilter, *, max_results: int | None = None, page_token: str | None = None
    ) -> Page[ModelVersionRecord]:
        if filter.latest_only and not _can_be_asked(filter):
            newest: dict[str, ModelVersionRecord] = {}
            for record in self.find_versions(replace(filter, latest_only=False)).items:
                newest.setdefault(record.name, record)
            return Page(list(newest.values()), None)
        found: list[ModelVersionRecord] = []
        token = page_token
        while True:
            records, token = self._page(filter, min(max_results or _PAGE, _PAGE), token)
            found += [record for record in records if _meets(record, filter)]
            if token is None or (max_results is not None and found):
                return Page(found, token)

    def _page(self, filter: ModelFilter, count: int, token: str | None) -> tuple[list[ModelVersionRecord], str | None]:
        properties = dict(filter.properties)
        given = {
            "name": filter.name,
            "runId": filter.run_id,
            "framework": properties.pop(FRAMEWORK_PROPERTY, None),
            "tags": _terms(filter.tags),
            "properties": _terms(properties),
            "latestVersionOnly": filter.latest_only or None,
            "count": count,
            "$skipToken": token,
        }
        answer = self._history.call_models("GET", "models", params=given)
        return [_record(found) for found in answer.get("value") or ()], _next_token(answer)

    def location_of(self, version: ModelVersionRecord) -> str | None:
        if not version.storage_location.startswith(_ASSET_URL):
            return None
        asset_id = version.storage_location.removeprefix(_ASSET_URL)
        with named("asset", asset_id):
            asset = self._history.call_models("GET", f"assets/{segment(asset_id)}")
        places = [str(artifact.get("prefix") or artifact.get("id")) for artifact in asset.get("artifacts") or ()]
        if len(places) != 1:
            raise NotSupported(f"A model of {len(places)} artifacts", f"{version.name}:{version.version} is one")
        return self._location(places[0])

    def _location(self, place: str) -> str:
        """`CONTAINER/PATH` of `ORIGIN/CONTAINER/PATH`, as Azure ML names it."""
        origin, _, rest = place.partition("/")
        container, _, path = rest.partition("/")
        if origin == UPLOAD_ORIGIN:
            return f"{upload_container(container)}/{path}"
        if origin != RUN_ORIGIN:
            raise NotSupported(
                f"A model at {place}", f"Models are files of runs, or uploaded: {RUN_ORIGIN}, {UPLOAD_ORIGIN}"
            )
        owner = container.removeprefix(RUN_CONTAINER_PREFIX)
        return f"{container_of(self._experiment_of(owner), owner)}/{path}"

    def _experiment_of(self, run_or_model_id: str) -> str:
        with suppress(NotFound):  # a logged model may stand in a run's place
            return str(self._history.get_run(run_or_model_id)["experimentId"])
        return str(self._history.get_logged_model(run_or_model_id)["experiment_id"])

    def set_version_tag(self, name: str, version: int, tag: str, value: str) -> None:
        check_model_tags({tag: value})
        self._change_tags(name, version, {tag: value})

    def delete_version_tag(self, name: str, version: int, tag: str) -> None:
        self._change_tags(name, version, {tag: None})

    def _change_tags(self, name: str, version: int, changes: Mapping[str, str | None]) -> None:
        """One tag by itself, or all of them to Azure ML, as its SDK sends them."""
        if self._history.connection.limits is not None:
            tags = {**self.get_version(name, version).tags, **changes}
            kept = {tag: value for tag, value in tags.items() if value is not None}
            self._patch(name, version, [{"op": "replace", "path": "/kvTags", "value": kept}])
            return
        pointers = {tag: f"/kvTags/{tag.replace('~', '~0').replace('/', '~1')}" for tag in changes}
        operations: list[_Operation] = [
            {"op": "remove", "path": pointers[tag]}
            if value is None
            else {"op": "add", "path": pointers[tag], "value": value}
            for tag, value in changes.items()
        ]
        self._patch(name, version, operations)

    def add_version_properties(self, name: str, version: int, properties: Mapping[str, str]) -> None:
        check_text_values("property", properties)
        known = self.get_version(name, version).properties
        for key, value in properties.items():
            if known.get(key, value) != value:
                raise Changed("property", f"{name}:{version}", key, known[key], value, owner="model version")
        all_of_them = {key: value for key, value in {**known, **properties}.items() if key not in FRAMEWORK_PROPERTIES}
        self._patch(name, version, [{"op": "add", "path": "/properties", "value": all_of_them}])

    def _patch(self, name: str, version: int, operations: Sequence[_Operation]) -> None:
        with named("model version", f"{name}/{version}"):
            self._history.call_models("PATCH", _route(name, version), operations)

    def delete_version(self, name: str, version: int) -> None:
        with named("model version", f"{name}/{version}"):
            self._history.call_models("DELETE", _route(name, version))


def _route(name: str, version: int) -> str:
    return f"models/{segment(f'{name}:{version}')}"


def _artifact_id(source: str) -> str:
    if not source.startswith(WORKSPACE_SCHEME):
        raise PathUnsafe("model source", source, "must be files of this workspace")
    return artifact_id(source.removeprefix(WORKSPACE_SCHEME))


def _terms(wanted: Mapping[str, str | None]) -> str | None:
    """What is looked for in the SDK's words, which escape nothing: what comes is looked through again (`_meets`)."""
    return ",".join(term for name, value in wanted.items() if (term := _term(name, value))) or None


def _term(name: str, value: str | None) -> str | None:
    if "," in name or "=" in name:
        return None
    return name if value is None or "," in value else f"{name}={value}"


def _can_be_asked(filter: ModelFilter) -> bool:
    """Whether the query says all of the filter."""
    wanted = [*filter.tags.items(), *filter.properties.items()]
    return all("," not in f"{name}{value or ''}" and "=" not in name for name, value in wanted)


def _meets(record: ModelVersionRecord, filter: ModelFilter) -> bool:
    wanted = ((record.tags, filter.tags), (record.properties, filter.properties))
    return filter.name in (None, record.name) and all(
        name in values and value in (None, values[name]) for values, given in wanted for name, value in given.items()
    )


def _next_token(answer: Mapping[str, Any]) -> str | None:
    link = parse_qs(urlsplit(answer.get("nextLink") or "").query)
    return next(iter(link.get("$skipToken", ())), None) or answer.get("continuationToken") or None


def _record(found: Mapping[str, Any]) -> ModelVersionRecord:
    """A version as the SDK has it; the files' place is its asset's, which `location_of` asks for."""
    created = time_ms_or_none(found.get("createdTime")) or 0
    return ModelVersionRecord(
        name=str(found["name"]),
        version=int(found["version"]),
        created_ms=created,
        updated_ms=time_ms_or_none(found.get("modifiedTime")) or created,
        description=found.get("description"),
        user_id=(found.get("createdBy") or {}).get("userName"),
        stage="None",
        source=str(found["url"]),
        storage_location=str(found["url"]),
        run_id=found.get("runId"),
        run_link=None,
        status="READY",
        status_message=None,
        model_id=None,
        tags={name: value or "" for name, value in (found.get("kvTags") or {}).items()},
        aliases=[],
        properties={
            **{name: value or "" for name, value in (found.get("properties") or {}).items()},
            **framework_properties(found.get("framework"), found.get("frameworkVersion")),
        },
    )
