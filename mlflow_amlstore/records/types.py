"""The values a record store takes and gives. Free of MLflow, of SQL and of HTTP.

Times are UTC milliseconds since the epoch. Ids are strings. Records are frozen; points are tuples, because histories
come by the hundred thousand and a tuple is made in a quarter of a dataclass's time.
"""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, NamedTuple, TypeVar, Union, overload

T = TypeVar("T")


SNAPSHOT_PROPERTY = "ContentSnapshotId"
"""The property of a run that names its snapshot."""
SCRIPT_RUN = "azureml.scriptrun"
"""The type of a run whose script was submitted."""
NO_SUCH_TARGET = (
    "The workspace has no such target; `ComputeTarget.create` makes one, `amlstore agent --compute` makes a service's "
    "pool, and `local` is always there"
)
LOCAL_TARGET = "local"
"""The target that is always there, in the SDK's word: the machine of whoever submits."""
AGENTS = "Agents"
"""The kind of a compute target that is a pool of agents."""
RUN_TYPE_PROPERTY = "azureml.runsource"
"""The property of a run that says what made it: its type."""
MACHINE_PROPERTY, RUNS_FOLDER_PROPERTY = "amlstore.machine", "amlstore.runs_folder"
"""The properties of a submitted run that say which machine its runner is on (`records.machine`), and which folder has
its launch there (`runner.launch`)."""
PROCESS_ENDED = "ProcessEnded"
"""The code of the error of a run whose process ended without completing it."""
DESCRIPTION_TAG = "mlflow.note.content"
"""The tag of a run or experiment that MLflow's UI shows as its description."""
_ANNOUNCED = " Its last lines:"
_MIRROR_TAGS = ("mlflow.runName", "mlflow.parentRunId")
FRAMEWORK_PROPERTY, FRAMEWORK_VERSION_PROPERTY = "azureml.modelFramework", "azureml.modelFrameworkVersion"
"""The properties of a model's version that name the framework that it is of, and its version."""
FRAMEWORK_PROPERTIES = (FRAMEWORK_PROPERTY, FRAMEWORK_VERSION_PROPERTY)


def framework_properties(framework: object, version: object) -> dict[str, str]:
    """These properties of a model's version, as far as they are known."""
    known = zip(FRAMEWORK_PROPERTIES, (framework, version), strict=True)
    return {name: str(value) for name, value in known if value is not None}


class View(str, Enum):
    """Which of the active and the deleted a search looks at."""

    ACTIVE = "active"
    DELETED = "deleted"
    ALL = "all"


class RunStatus(str, Enum):
    """Azure ML's run statuses; the adapters translate (`spec.md`, "MLflow calls and where they land")."""

    NOT_STARTED = "NotStarted"
    QUEUED = "Queued"
    PREPARING = "Preparing"
    STARTING = "Starting"
    RUNNING = "Running"
    CANCEL_REQUESTED = "CancelRequested"
    FINALIZING = "Finalizing"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELED = "Canceled"


class MetricKind(str, Enum):
    """How a metric was logged, which decides how it reads back.

    Scalars and lists are one vector of values, rows and tables one grid with named columns; of the others, the value is
    the path of a file of the run. The values are what databases hold, in at most 8 characters.
    """

    SCALAR = "scalar"
    LIST = "list"
    ROW = "row"
    TABLE = "table"
    IMAGE = "image"
    CONFUSION_MATRIX = "matrix"
    ACCURACY_TABLE = "accuracy"
    RESIDUALS = "residual"
    PREDICTIONS = "predict"

    @property
    def words(self) -> str:
        """The kind as a person reads it, such as `confusion matrix`."""
        return self.name.lower().replace("_", " ")


VECTOR_KINDS = frozenset({MetricKind.SCALAR, MetricKind.LIST})
GRID_KINDS = frozenset({MetricKind.ROW, MetricKind.TABLE})
FILE_KINDS = frozenset(MetricKind) - VECTOR_KINDS - GRID_KINDS


class ModelDirection(str, Enum):
    """Whether a logged model went into a run or came out of it."""

    INPUT = "input"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a search; `next_token` is None on the last. `found` counts the items of all pages, where it was
    asked for; on a page with no item it is 0."""

    items: Sequence[T]
    next_token: str | None
    found: int | None = None


class MetricPoint(NamedTuple):
    """One value of one series; it may be NaN or ±Inf. Where points are taken, a plain tuple of these four will do."""

    name: str
    value: float
    step: int
    timestamp_ms: int


PointTuple = tuple[str, float, int, int]


class PointColumns(Sequence[MetricPoint]):
    """Points of one series, kept as three columns of numbers and made into tuples when they are looked at.

    A long history is tens of thousands of points; as many tuples would have Python's garbage collector go through all
    that MLflow has in memory, which takes several times longer than reading them.
    """

    __slots__ = ("name", "steps", "timestamps_ms", "values")

    def __init__(self, name: str, values: "array[float]", steps: "array[int]", timestamps_ms: "array[int]") -> None:
        self.name, self.values, self.steps, self.timestamps_ms = name, values, steps, timestamps_ms

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> MetricPoint: ...
    @overload
    def __getitem__(self, index: slice) -> list[MetricPoint]: ...
    def __getitem__(self, index: int | slice) -> MetricPoint | list[MetricPoint]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        return MetricPoint(self.name, self.values[index], self.steps[index], self.timestamps_ms[index])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as a list has none

    def __repr__(self) -> str:
        return repr(list(self))


class LoggedModelPoint(NamedTuple):
    """A metric point that is also about a logged model, and perhaps about a dataset ("" where it isn't)."""

    model_id: str
    name: str
    value: float
    step: int
    timestamp_ms: int
    run_id: str
    dataset_name: str
    dataset_digest: str


Cell = Union[float, int, bool, str, None]  # noqa: UP007  # read at run time by Python 3.10's NamedTuple


class LoggedValues(NamedTuple):
    """What one call of the `Run` vocabulary logs into one metric. A plain tuple of these five will do.

    `cells` is the value itself for a scalar, `{"": [values]}` for a list, the cells by column for a row or table, and
    `{"": [PATH]}` for the kinds that are files. Without a `step`, a value's step is its position in the metric, from 0.
    """

    name: str
    kind: MetricKind
    cells: Cell | Mapping[str, Sequence[Cell]]
    step: int | None
    timestamp_ms: int


LoggedTuple = tuple[str, MetricKind, Union[Cell, Mapping[str, Sequence[Cell]]], Union[int, None], int]  # noqa: UP007


@dataclass(frozen=True, slots=True)
class MetricRecord:
    """A metric as the `Run` vocabulary sees it, in the order it was logged: "" is the only column of what is no grid,
    and in a grid a cell that was not logged is NaN. What MLflow logged under a grid's own name are rows at its end, in
    a column "". `steps` and `times_ms`, where asked for, are those of each row."""

    name: str
    kind: MetricKind
    columns: dict[str, list[Cell]]
    steps: list[int] = field(default_factory=list, compare=False)
    times_ms: list[int] = field(default_factory=list, compare=False)


@dataclass(frozen=True, slots=True)
class MetricPage:
    """Some rows of a metric, with their steps and times. `cell_types` are the types of all cells of each column, the
    NaN of a cell that was not logged too, on whichever page they are."""

    metric: MetricRecord
    cell_types: dict[str, frozenset[type]]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """One series of a run: a metric, or a column of a row or table, whose `name` is then `metric.column`.

    `last_value` is the latest in MLflow's sense (highest step, then time, then value), NaN too; it, its step and its
    time are None where all values are texts. The extremes are over all numbers: NaN is left out, ±Inf is not.
    """

    name: str
    metric: str
    column: str
    kind: MetricKind
    last_value: float | None
    last_step: int | None
    last_timestamp_ms: int | None
    minimum: float | None
    maximum: float | None

    @property
    def is_single(self) -> bool:
        """Whether it is one number, or equal ones that no step tells apart."""
        return self.last_step is not None and self.last_step <= 0 and self.minimum == self.maximum


@dataclass(frozen=True, slots=True)
class Curve:
    """One run's metric as it is drawn: of each of the columns that the window was divided into, at most the first,
    lowest, highest and last point, in order of x; all points where those are few.

    x is a step or a time in milliseconds. Of `ys` None is NaN, at which a line breaks; `infinities` are `(x, 1 or -1)`
    and in neither list. `minimum` and `maximum` are `(x, y)` of the window's lowest and highest finite point, the first
    of equal ones.
    """

    run_id: str
    points_in_all: int
    points_in_window: int
    xs: list[int]
    ys: list[float | None]
    infinities: list[tuple[int, int]]
    minimum: tuple[int, float] | None
    maximum: tuple[int, float] | None


@dataclass(frozen=True, slots=True)
class SeriesCurve:
    """One series of a run as it is drawn; `metric`, `column` and `kind` are as in `MetricSummary`."""

    name: str
    metric: str
    column: str
    kind: MetricKind
    curve: Curve

    @property
    def last_value(self) -> float | None:
        """The last finite number that is drawn; None where there is none."""
        return next((y for y in reversed(self.curve.ys) if y is not None), None)

    @property
    def is_single(self) -> bool:
        """Whether it has one point."""
        return self.curve.points_in_all == 1


@dataclass(frozen=True, slots=True)
class ExperimentRecord:
    """`artifact_location` is a remote URI, or None where files live in the workspace."""

    experiment_id: str
    name: str
    created_ms: int
    updated_ms: int
    deleted_ms: int | None
    artifact_location: str | None
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class MeanCurve:
    """The mean of a metric over some runs: of how many runs and points, and at each of `xs` (steps) the mean of the
    runs and their standard deviation."""

    runs: int
    points: int
    xs: list[int]
    means: list[float]
    deviations: list[float]


@dataclass(frozen=True, slots=True)
class RunGroup:
    """The runs that have the same value of a param, None for those without it: how many they are, and of each of the
    metrics that were asked for how many have it, the mean and the standard deviation."""

    value: str | None
    runs: int
    metrics: list[tuple[int, float | None, float | None]]


@dataclass(frozen=True, slots=True)
class RunNames:
    """Who has runs, and the names of what was logged into them, each in order."""

    people: list[str]
    metrics: list[str]
    params: list[str]
    tags: list[str]


@dataclass(frozen=True, slots=True)
class RunValues:
    """A run and the values that were asked for, in their order: numbers, and texts of params and tags."""

    run_id: str
    name: str
    values: list[float | int | str]


@dataclass(frozen=True, slots=True)
class ExperimentActivity:
    """What goes on in an experiment: its active runs, how many of them are running, when the latest was started, and
    by whom."""

    runs: int
    running: int
    last_ms: int | None
    owner: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that a run used, by name and digest; `schema` and `profile` are JSON texts."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class DatasetInput:
    """A dataset and the tags of its use in one run (`mlflow.data.context` says training, validation, …)."""

    dataset: Dataset
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """One dataset of an experiment and one context that it was used in."""

    experiment_id: str
    name: str
    digest: str
    context: str | None


@dataclass(frozen=True, slots=True)
class RunModel:
    """A logged model that is an input or an output of a run."""

    direction: ModelDirection
    model_id: str
    step: int = 0


@dataclass(frozen=True, slots=True)
class RunError:
    """Why a run failed: a code, such as `UserError`, and what happened, which may be followed by lines of its log."""

    code: str
    message: str

    @property
    def summary(self) -> str:
        """What happened, in one line."""
        return self.message.partition("\n")[0].removesuffix(_ANNOUNCED)

    @property
    def details(self) -> str:
        """The lines that follow it."""
        return self.message.partition("\n")[2]


def with_last_lines(happened: str, lines: str) -> str:
    """The message of an error: what happened, in one line, and the last lines of the log that tells of it, if any."""
    return f"{happened}.{_ANNOUNCED}\n{lines}" if lines else happened


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run's own facts. `artifact_location` is a remote URI, or None where files live in the workspace; `number`
    counts the workspace's runs, in the order that they came."""

    run_id: str
    experiment_id: str
    name: str
    status: RunStatus
    user_id: str
    created_ms: int
    start_ms: int | None
    end_ms: int | None
    deleted_ms: int | None
    parent_run_id: str | None
    artifact_location: str | None
    error: RunError | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class RunActivity:
    """How many active runs a workspace has, and how many of them are running."""

    runs: int
    running: int


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A run that hasn't ended. `target` is the compute target that it was submitted to, None where it wasn't.

    `position` counts from 1 those that wait for a slot of the target.
    """

    info: RunInfo
    experiment: str
    target: str | None
    position: int | None

    @property
    def since_ms(self) -> int:
        """When it started; of one that waits, when it was submitted."""
        return self.info.start_ms or self.info.created_ms


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs a listing is of: those that meet all that is given.

    A tag or property is given with its value, or with None for any value. `run_type` is the property
    `azureml.runsource`. With `parent_run_id` the listing is of that run's children: of all generations if `recursive`,
    and then with the run itself if `with_itself`. Without it, child runs are left out unless `include_children`.
    """

    parent_run_id: str | None = None
    recursive: bool = False
    with_itself: bool = False
    include_children: bool = False
    run_type: str | None = None
    tags: Mapping[str, str | None] = field(default_factory=dict)
    properties: Mapping[str, str | None] = field(default_factory=dict)
    status: RunStatus | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run without its histories: `metrics` holds each series' latest point (highest step, then time, then value)."""

    info: RunInfo
    metrics: list[MetricPoint]
    params: dict[str, str]
    tags: dict[str, str]
    properties: dict[str, str]
    datasets: list[DatasetInput]
    models: list[RunModel]

    @property
    def own_tags(self) -> dict[str, str]:
        """The tags but for those that repeat the run's own facts for MLflow's sake."""
        return {name: value for name, value in self.tags.items() if name not in _MIRROR_TAGS}


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of a container. `path` is relative, with forward slashes; `sha256` is lower-case hex, and so is `md5`,
    which is known where the file's sender gave it. A file that is written to yet has a name in the place of a hash."""

    path: str
    size_bytes: int
    sha256: str
    content_type: str
    modified_ms: int
    md5: str | None = None

    @property
    def is_growing(self) -> bool:
        """Whether it is written to yet: more of it may come."""
        return self.sha256.startswith("growing-")


@dataclass(frozen=True, slots=True)
class ComputeTargetRecord:
    """Where runs are submitted to: so many of them run at a time. `kind` is Azure ML's word, such as `AmlCompute`;
    `settings` is what it was made with, and is JSON."""

    name: str
    kind: str
    slots: int
    settings: dict[str, Any]
    created_ms: int


@dataclass(frozen=True, slots=True)
class RunLease:
    """A run that somebody looks after, and the key by which it was submitted."""

    run_id: str
    key_id: str


@dataclass(frozen=True, slots=True)
class EnvironmentRecord:
    """A version of a registered environment. `definition` is JSON, as the SDK sends it of an environment."""

    name: str
    version: str
    definition: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FileListing:
    """An immediate child of a folder: a file, or a folder with the total size of what is under it."""

    path: str
    is_folder: bool
    size_bytes: int


@dataclass(frozen=True, slots=True)
class LoggedModelRecord:
    """A model logged by a run (MLflow 3); `status` is MLflow's word (PENDING, READY, FAILED)."""

    model_id: str
    experiment_id: str
    name: str
    model_type: str | None
    status: str
    status_message: str | None
    source_run_id: str | None
    created_ms: int
    updated_ms: int
    deleted_ms: int | None
    artifact_location: str | None
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[LoggedModelPoint]


@dataclass(frozen=True, slots=True)
class OrderTerm:
    """One term of a logged-model ordering; the dataset fields narrow a metric to one dataset."""

    name: str
    is_ascending: bool = True
    dataset_name: str | None = None
    dataset_digest: str | None = None


@dataclass(frozen=True, slots=True)
class ModelVersionRecord:
    """A numbered version of a model. `source` is a URI, relative in this workspace (see `records.locations`)."""

    name: str
    version: int
    created_ms: int
    updated_ms: int
    description: str | None
    user_id: str | None
    stage: str
    source: str
    storage_location: str
    run_id: str | None
    run_link: str | None
    status: str
    status_message: str | None
    model_id: str | None
    tags: dict[str, str]
    aliases: list[str]
    properties: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelFilter:
    """Which versions of models a listing is of: those that meet all that is given.

    A tag or property is given with its value, or with None for any value. `latest_only`: of those the newest of each
    model.
    """

    name: str | None = None
    run_id: str | None = None
    tags: Mapping[str, str | None] = field(default_factory=dict)
    properties: Mapping[str, str | None] = field(default_factory=dict)
    latest_only: bool = False


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A registered model: a name with numbered versions. `latest_versions` has the newest of each stage."""

    name: str
    created_ms: int
    updated_ms: int
    description: str | None
    deployment_job_id: str | None
    tags: dict[str, str]
    aliases: dict[str, int]
    latest_versions: list[ModelVersionRecord]


@dataclass(frozen=True, slots=True)
class TrashContents:
    """Ids of deleted experiments, runs and logged models; runs of a deleted experiment are in `run_ids` too."""

    experiment_ids: list[str]
    run_ids: list[str]
    model_ids: list[str]

    def __bool__(self) -> bool:
        return bool(self.experiment_ids or self.run_ids or self.model_ids)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key of a service over this workspace; `sha256` is of the secret, which is kept nowhere."""

    key_id: str
    name: str
    role: str
    sha256: str
    created_ms: int
    revoked_ms: int | None


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody did by hand to a run, an experiment, a model, …: `act` is a word such as `delete`."""

    at_ms: int
    subject_kind: str
    subject_id: str
    act: str
    who: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SavedView:
    """A view of a page under a name: the query of its address, and who saved it when."""

    page: str
    name: str
    query: str
    who: str
    saved_ms: int
