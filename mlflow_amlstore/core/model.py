"""`Model`: a version of a registered model, as Azure ML's SDK has it."""

import os
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mlflow_amlstore.core.display import facts_table
from mlflow_amlstore.core.downloads import download_all, whole_folder
from mlflow_amlstore.core.named_texts import delete_tags, texts_of, wanted_texts
from mlflow_amlstore.core.not_yet import names_the_missing, refuse_given
from mlflow_amlstore.core.paging import all_items
from mlflow_amlstore.errors import AlreadyExists, InvalidValue, NotFound
from mlflow_amlstore.protocol.times import datetime_or_none
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.local_place import check_file
from mlflow_amlstore.records.locations import (
    WORKSPACE_SCHEME,
    check_path,
    run_container,
    split_location,
    upload_container,
)
from mlflow_amlstore.records.types import (
    FRAMEWORK_PROPERTIES,
    FRAMEWORK_PROPERTY,
    FRAMEWORK_VERSION_PROPERTY,
    ModelFilter,
    ModelVersionRecord,
    RunInfo,
    framework_properties,
)
from mlflow_amlstore.records.validation import check_model_name

if TYPE_CHECKING:
    from mlflow_amlstore.core.workspace import Workspace

_MODELS_FOLDER = "azureml-models"
_PAGE = 255  # Azure ML's largest
_Wanted = str | Mapping[str, object] | Iterable[str | Iterable[object]] | None
"""What tags or properties to look for: a name, `{name: value}`, or a list of names and of pairs `[name, value]`."""


@names_the_missing
class Model:
    """A version of a registered model: the newest one of a name, unless a version is given.

    >>> Model.register(ws, model_path="model.txt", model_name="classifier", tags={"kind": "text"}).id
    'classifier:1'
    >>> Model(ws, "classifier").tags
    {'kind': 'text'}
    """

    class Framework:
        """The frameworks that `model_framework` can name."""

        CUSTOM = "Custom"
        TENSORFLOW = "TensorFlow"
        SCIKITLEARN = "ScikitLearn"
        ONNX = "Onnx"
        MULTI = "Multi"

    def __init__(
        self,
        workspace: "Workspace",
        name: str | None = None,
        id: str | None = None,
        tags: _Wanted = None,
        properties: _Wanted = None,
        version: int | None = None,
        run_id: str | None = None,
        model_framework: str | None = None,
        expand: bool = True,
    ) -> None:
        """Open a version by `id` (`name:version`) or by name and number, else the newest that matches all arguments.

        `expand` is accepted for old scripts: a model is always read whole. Raises NotFound.
        """
        if id is not None:
            name, _, number = id.rpartition(":")
            version = _version_number(id, number)
        if name is None:
            raise InvalidValue("model name", name, "give a name, or an id such as 'NAME:1'")
        self._workspace = workspace
        self._record: ModelVersionRecord = (
            _newest(workspace.records, _filter(name, tags, properties, run_id, model_framework))
            if version is None
            else _version(workspace.records, name, version)
        )

    @classmethod
    def _of(cls, workspace: "Workspace", record: ModelVersionRecord) -> "Model":
        self = cls.__new__(cls)
        self._workspace, self._record = workspace, record
        return self

    @staticmethod
    def register(
        workspace: "Workspace",
        model_path: str | PathLike[str],
        model_name: str,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        description: str | None = None,
        datasets: object = None,
        model_framework: str | None = None,
        model_framework_version: str | None = None,
        child_paths: Iterable[str] | None = None,
        sample_input_dataset: object = None,
        sample_output_dataset: object = None,
        resource_configuration: object = None,
    ) -> "Model":
        """Upload a local file or folder and register it as the next version.

        Raises InvalidValue for a missing or empty path and for a folder without files; NotSupported for data sets,
        child paths and a resource configuration.
        """
        refuse_given(
            "Model.register",
            datasets=datasets,
            child_paths=child_paths,
            sample_input_dataset=sample_input_dataset,
            sample_output_dataset=sample_output_dataset,
            resource_configuration=resource_configuration,
        )
        tags, properties = texts_of("tags", tags or {}), texts_of("properties", properties or {})
        if not os.fspath(model_path):
            raise InvalidValue("model_path", "", "must not be empty; '.' is the current folder")
        path = Path(os.path.abspath(model_path))  # which gives "." a name
        if not path.exists():
            raise InvalidValue("model_path", str(model_path), "is neither a file nor a folder")
        container = upload_container(uuid.uuid4().hex)
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        if not files:
            raise InvalidValue("model_path", str(model_path), "is a folder without files")
        items = [(file.relative_to(path.parent).as_posix(), file) for file in files]
        workspace.records.files.write_local(container, items)
        return _register(
            workspace,
            model_name,
            f"{WORKSPACE_SCHEME}{container}/{path.name}",
            None,
            tags,
            properties,
            model_framework,
            model_framework_version,
            description,
        )

    @staticmethod
    def list(
        workspace: "Workspace",
        name: str | None = None,
        tags: _Wanted = None,
        properties: _Wanted = None,
        run_id: str | None = None,
        latest: bool = False,
        dataset_id: str | None = None,
        expand: bool = True,
        page_count: int = 255,
        model_framework: str | None = None,
    ) -> "list[Model]":
        """Return the versions that match all arguments, by name and then the newest first; with `latest`, only the
        newest of each model.

        `tags` and `properties` are a name that must be set, a dict of names and values, or a list of names and of pairs
        `[name, value]`. Values are compared as texts. `expand` and `page_count` are accepted for old scripts. Raises
        NotSupported for a `dataset_id`.

        >>> [model.id for model in Model.list(ws, tags=["kind", ["alpha", 0.03]])]
        []
        """
        refuse_given("Model.list", dataset_id=dataset_id)
        filter = _filter(name, tags, properties, run_id, model_framework, latest_only=latest)
        find = partial(workspace.records.models.find_versions, filter, max_results=_PAGE)
        return [Model._of(workspace, record) for record in all_items(find)]

    @staticmethod
    def get_model_path(model_name: str, version: int | None = None, _workspace: "Workspace | None" = None) -> str:
        """Return where a model is on this machine: `azureml-models/NAME/VERSION/FILE_OR_FOLDER`, else `./NAME`.

        A version that isn't there is downloaded, whole or not at all, from `_workspace` or from the workspace of the
        run that this process was submitted as. Raises NotFound.
        """
        check_model_name(model_name)
        if version is not None and (type(version) is not int or version < 1):
            raise InvalidValue("version", version, "must be a version's number, from 1")
        local = _local_path(model_name, version)
        workspace = _workspace or Model._of_submitted_run()
        if workspace is not None and (version is None or local is None):
            model = Model(workspace, model_name, version=version)
            return _local_path(model_name, model.version) or model._download_whole(Path(_MODELS_FOLDER, model_name))
        if local is None and Path(model_name).exists():
            return model_name
        if local is None:
            where = f"It is neither in {_MODELS_FOLDER}/{model_name} nor in the current folder; give _workspace=ws"
            raise NotFound("model", model_name, where)
        return local

    _of_submitted_run: ClassVar[Callable[[], "Workspace | None"]]
    """Opens the workspace of the run that this process was submitted as; given by `core`, as that stands above."""

    @property
    def workspace(self) -> "Workspace":
        """The workspace that it is in."""
        return self._workspace

    @property
    def name(self) -> str:
        """The model's name."""
        return self._record.name

    @property
    def version(self) -> int:
        """The version's number, from 1."""
        return self._record.version

    @property
    def id(self) -> str:
        """`name:version`."""
        return f"{self.name}:{self.version}"

    @property
    def description(self) -> str | None:
        """What it is."""
        return self._record.description

    @property
    def tags(self) -> dict[str, str]:
        """Its tags."""
        return dict(self._record.tags)

    @property
    def properties(self) -> dict[str, str]:
        """Its properties, which can't be changed."""
        return {name: value for name, value in self._record.properties.items() if name not in FRAMEWORK_PROPERTIES}

    @property
    def model_framework(self) -> str | None:
        """The framework that it is of, such as `ScikitLearn`."""
        return self._record.properties.get(FRAMEWORK_PROPERTY)

    @property
    def model_framework_version(self) -> str | None:
        """The framework's version."""
        return self._record.properties.get(FRAMEWORK_VERSION_PROPERTY)

    @property
    def run_id(self) -> str | None:
        """The run that it came from."""
        return self._record.run_id

    @property
    def created_time(self) -> datetime | None:
        """When it was registered (UTC)."""
        return datetime_or_none(self._record.created_ms)

    @property
    def url(self) -> str:
        """Where its files are."""
        location = self._workspace.records.models.location_of(self._record)
        return self._record.storage_location if location is None else self._workspace.file_uri(location)

    def download(
        self, target_dir: str | PathLike[str] = ".", exist_ok: bool = False, exists_ok: bool | None = None
    ) -> str:
        """Download the file or folder into a folder, beside what is there: whole, or not at all.

        Returns the path of the one file or folder that the model is; that of the folder it came into where it is
        several, as all files of a run may be. Raises AlreadyExists if one of its files is there, unless `exist_ok`;
        InvalidValue if the model lies outside the workspace; LocalFileFailed where its files can't be written;
        NotFound where they were deleted.
        """
        location = self._workspace.records.models.location_of(self._record)
        if location is None:
            raise InvalidValue("model", self.id, f"is not in this workspace but at {self._record.storage_location}")
        container, path = split_location(location)
        files = self._workspace.records.files
        above = path.rpartition("/")[0]
        target = Path(target_dir)
        places = {
            file.path: target / file.path.removeprefix(f"{above}/" if above else "")
            for file in files.list_all(container, path)
        }
        if not places:
            raise NotFound("file", path or "*", f"Model {self.id} has no files any more: they were deleted")
        for place in () if exist_ok or exists_ok else places.values():
            if os.path.lexists(place):
                check_file(place)
                raise AlreadyExists("file", str(place), "Give exist_ok=True to write over it")
        download_all(files, container, places)
        return str(_top(target, {place.relative_to(target).parts[0] for place in places.values()}))

    def _download_whole(self, folder: Path) -> str:
        """Download it into `folder/VERSION`, which appears whole or not at all; return where it is."""
        version = folder / str(self.version)
        with whole_folder(version) as whole:
            self.download(whole)
        return _local_path(self.name, self.version) or str(version)

    def add_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        for name, value in texts_of("tags", tags).items():
            self._workspace.records.models.set_version_tag(self.name, self.version, name, value)
        self._refresh()

    def remove_tags(self, tags: str | Iterable[str]) -> None:
        """Delete tags. A tag that isn't there is ignored."""
        delete_tags(tags, partial(self._workspace.records.models.delete_version_tag, self.name, self.version))
        self._refresh()

    def add_properties(self, properties: Mapping[str, str]) -> None:
        """Add properties, which can't be changed later. Raises Changed if one has another value already."""
        given = texts_of("properties", properties)
        self._workspace.records.models.add_version_properties(self.name, self.version, given)
        self._refresh()

    def delete(self) -> None:
        """Delete this version; its files stay."""
        self._workspace.records.models.delete_version(self.name, self.version)

    def _refresh(self) -> None:
        self._record = self._workspace.records.models.get_version(self.name, self.version)

    def serialize(self) -> dict[str, object]:
        """Return its facts as a dictionary."""
        return {
            "createdTime": None if self.created_time is None else self.created_time.isoformat(),
            "description": self.description,
            "id": self.id,
            "name": self.name,
            "framework": self.model_framework,
            "frameworkVersion": self.model_framework_version,
            "tags": self.tags,
            "properties": self.properties,
            "runId": self.run_id,
            "url": self.url,
            "version": self.version,
        }

    def __repr__(self) -> str:
        return (
            f"Model(workspace={self._workspace.name}, name={self.name}, id={self.id}, version={self.version}, "
            f"tags={self.tags}, properties={self.properties})"
        )

    def _repr_html_(self) -> str:
        return facts_table({"Name": self.name, "Version": self.version, "Tags": self.tags, "Run": self.run_id})


def _local_path(name: str, version: int | None) -> str | None:
    """A version, else the newest, that was downloaded before."""
    folder = Path(_MODELS_FOLDER, name)
    there = [each for each in folder.iterdir() if each.is_dir()] if folder.is_dir() else []
    versions = [int(each.name) for each in there if each.name.isdecimal()]
    chosen = folder / str(max(versions, default=0) if version is None else version)
    found = {each.name for each in chosen.iterdir()} if chosen.is_dir() else set()
    return str(_top(chosen, found)) if found else None


def _top(folder: Path, names: Collection[str]) -> Path:
    """What a model is in the folder that it was downloaded into: its one file or folder there, else all of it."""
    return folder / next(iter(names)) if len(names) == 1 else folder


def register_run_model(
    workspace: "Workspace",
    run: RunInfo,
    name: str,
    path: str,
    *,
    tags: Mapping[str, str] | None,
    properties: Mapping[str, str] | None,
    framework: str | None,
    framework_version: str | None,
    description: str | None,
) -> Model:
    """Register a file or folder of a run as the next version of a model. Raises NotFound if there is none."""
    if not path:
        raise InvalidValue("model_path", path, "must not be empty; '.' is all files of the run")
    container, path = run_container(run.experiment_id, run.run_id), check_path(path)
    if not workspace.records.files.list_all(container, path, max_results=1):
        raise NotFound("file", path, f"Run {run.run_id} has no such file or folder: upload it first")
    source = f"{WORKSPACE_SCHEME}{container}/{path}".rstrip("/")
    return _register(workspace, name, source, run.run_id, tags, properties, framework, framework_version, description)


def _register(
    workspace: "Workspace",
    name: str,
    source: str,
    run_id: str | None,
    tags: Mapping[str, str] | None,
    properties: Mapping[str, str] | None,
    framework: str | None,
    framework_version: str | None,
    description: str | None,
) -> Model:
    kept = texts_of("properties", properties or {})
    record = workspace.records.models.register(
        name,
        source,
        run_id=run_id,
        description=description,
        tags=texts_of("tags", tags or {}),
        properties={**kept, **framework_properties(framework, framework_version)},
    )
    return Model._of(workspace, record)


def _newest(records: CommonStore, filter: ModelFilter) -> ModelVersionRecord:
    found = records.models.find_versions(filter, max_results=1).items
    if not found:
        raise NotFound("model", str(filter.name))
    return found[0]


def _version(records: CommonStore, name: str, version: int) -> ModelVersionRecord:
    try:
        return records.models.get_version(name, version)
    except NotFound:
        raise NotFound("model", f"{name}:{version}") from None


def _filter(
    name: str | None,
    tags: _Wanted,
    properties: _Wanted,
    run_id: str | None,
    framework: str | None,
    *,
    latest_only: bool = False,
) -> ModelFilter:
    wanted = _wanted("properties", properties)
    if framework is not None:
        wanted[FRAMEWORK_PROPERTY] = framework
    return ModelFilter(name, run_id, _wanted("tags", tags), wanted, latest_only)


def _wanted(field: str, given: _Wanted) -> dict[str, str | None]:
    """Names with the values that they must have, or None for any."""
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return wanted_texts(field, given)
    wanted: dict[str, str | None] = {}
    for item in [given] if isinstance(given, str) else given:
        if isinstance(item, str):
            wanted[item] = None
            continue
        pair = list(item)
        if len(pair) != 2:
            raise InvalidValue(field, pair, "must be names, and pairs of a name and a value")
        wanted[str(pair[0])] = str(pair[1])
    return wanted


def _version_number(model_id: str, text: str) -> int:
    if not text.isdecimal():
        raise InvalidValue("model id", model_id, "must be NAME:VERSION")
    return int(text)
