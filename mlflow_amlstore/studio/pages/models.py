"""`/models` and `/models/NAME`: registered models and their versions."""

import json
from contextlib import suppress

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlflow_amlstore.errors import NotFound, StorageFailed
from mlflow_amlstore.records.locations import split_location
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import ModelFilter, ModelVersionRecord
from mlflow_amlstore.records.validation import model_version_key
from mlflow_amlstore.service.files.transfer import on_thread
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes
from mlflow_amlstore.studio.by_hand import Act, acts_on
from mlflow_amlstore.studio.page import Pages
from mlflow_amlstore.studio.pages.outputs import zip_answer
from mlflow_amlstore.studio.previews import damage, markdown

PAGES = Pages()
ROUTES = Routes(Area.STUDIO)
_ROWS = 200


class ModelsQuery(msgspec.Struct, frozen=True):
    """`page` is a page's `next_page`."""

    page: str = ""


class ModelRow(msgspec.Struct, frozen=True):
    """A registered model."""

    name: str
    latest: int | None
    updated_ms: int
    aliases: dict[str, int]
    tags: dict[str, str]
    description: str


class ModelsPage(msgspec.Struct, frozen=True):
    """A page of registered models, by name."""

    rows: list[ModelRow]
    next_page: str | None


class ModelQuery(msgspec.Struct, frozen=True):
    """Which versions are compared, with a comma between."""

    versions: str = ""


class Version(msgspec.Struct, frozen=True):
    """A version of a model. `signature` has its inputs and outputs as MLflow's MLmodel file tells them."""

    version: int
    created_ms: int
    who: str
    stage: str
    status: str
    aliases: list[str]
    tags: dict[str, str]
    properties: dict[str, str]
    description: str
    run_id: str | None
    run_name: str
    files: int
    size_bytes: int
    signature: list[tuple[str, str]]
    metrics: dict[str, float]


class ModelPage(msgspec.Struct, frozen=True):
    """A registered model with its versions, the newest first; `compared` are those that were chosen."""

    name: str
    description_html: str
    tags: dict[str, str]
    created_ms: int
    updated_ms: int
    versions: list[Version]
    compared: list[int]
    acts: list[Act]


@PAGES.page("/models", "models.html")
def models(call: Call, query: ModelsQuery) -> ModelsPage:
    """Show the registered models."""
    found = call.records.models.search(max_results=_ROWS, page_token=query.page or None)
    rows = [
        ModelRow(
            name=each.name,
            latest=max((version.version for version in each.latest_versions), default=None),
            updated_ms=each.updated_ms,
            aliases=each.aliases,
            tags=each.tags,
            description=each.description or "",
        )
        for each in found.items
    ]
    return ModelsPage(rows, found.next_token)


@PAGES.page("/models/{name}", "model.html", is_long=True)
def model(call: Call, query: ModelQuery) -> ModelPage:
    """Show a registered model and its versions."""
    records = call.records
    found = records.models.get(call.path["name"])
    listed = records.models.find_versions(ModelFilter(name=found.name), max_results=_ROWS).items
    chosen = {each for each in query.versions.split(",") if each}
    return ModelPage(
        name=found.name,
        description_html=markdown(found.description or ""),
        tags=found.tags,
        created_ms=found.created_ms,
        updated_ms=found.updated_ms,
        versions=[_version(records, each) for each in sorted(listed, key=lambda each: -each.version)],
        compared=sorted(each.version for each in listed if str(each.version) in chosen),
        acts=acts_on(records, "model", found.name),
    )


@ROUTES.get("/models/{name}/{version}.zip", Role.READER, Right.LOOK)
async def download(call: Call, request: Request) -> Response:
    """Give the files of a model's version as a zip file."""

    def find() -> tuple[str, str, str]:
        number = call.path["version"]
        if not number.isdecimal():
            raise NotFound("version", number)
        version = call.records.models.get_version(call.path["name"], model_version_key(number))
        location = call.records.models.location_of(version)
        if location is None:
            raise NotFound("files of version", number, "They aren't in this workspace")
        return (*split_location(location), f"{version.name}-{version.version}")

    container, folder, name = await on_thread(find)
    return await zip_answer(call.records, container, folder, name)


def _version(records: RecordStore, version: ModelVersionRecord) -> Version:
    location = records.models.location_of(version)
    files, size_bytes, signature = 0, 0, []
    if location is not None:
        container, folder = split_location(location)
        listed = records.files.list_all(container, folder, max_results=1000)
        files, size_bytes = len(listed), sum(file.size_bytes for file in listed)
        described = next((file.path for file in listed if file.path.rpartition("/")[2] == "MLmodel"), None)
        if described is not None:
            signature = _signature(records, container, described)
    run_name, metrics = "", dict[str, float]()
    if version.run_id is not None:
        with suppress(NotFound):
            run = records.runs.get(version.run_id)
            run_name, metrics = run.info.name, {point.name: point.value for point in run.metrics[:20]}
    return Version(
        version=version.version,
        created_ms=version.created_ms,
        who=version.user_id or "",
        stage=version.stage,
        status=version.status,
        aliases=version.aliases,
        tags=version.tags,
        properties=version.properties,
        description=version.description or "",
        run_id=version.run_id if run_name else None,
        run_name=run_name,
        files=files,
        size_bytes=size_bytes,
        signature=signature,
        metrics=metrics,
    )


def _signature(records: RecordStore, container: str, path: str) -> list[tuple[str, str]]:
    import yaml  # slow to import

    found: list[tuple[str, str]] = []
    try:
        with records.files.open(container, path) as source:
            described = source.read(1_000_000)
    except StorageFailed as error:
        return [("MLmodel", damage(error))]
    with suppress(yaml.YAMLError, AttributeError, TypeError, ValueError):
        signature = (yaml.safe_load(described) or {}).get("signature") or {}
        for direction in ("inputs", "outputs"):
            for column in json.loads(signature.get(direction) or "[]"):
                kind = column.get("type")
                if kind == "tensor":
                    spec = column["tensor-spec"]
                    kind = f"{spec['dtype']} {tuple(spec['shape'])}"
                found.append((f"{direction[:-1]} {column.get('name', '')}".strip(), str(kind)))
    return found
