"""`amlstore show RUN`."""

import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from mimetypes import guess_type

import click

from mlflow_amlstore.cli.metric_files import latest_document, latest_file
from mlflow_amlstore.cli.output import (
    columns_that_fit,
    one_line,
    print_json,
    print_rows,
    size_text,
    terminal_width,
    text,
    time_text,
)
from mlflow_amlstore.cli.run_fields import complete_run, error_line, find_run, output_models, run_json
from mlflow_amlstore.cli.workspace_option import with_records
from mlflow_amlstore.core.sparkline import levels_for, numbers_of, sparkline
from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.types import (
    FILE_KINDS,
    GRID_KINDS,
    VECTOR_KINDS,
    FileRecord,
    MetricKind,
    MetricRecord,
    RunFilter,
    RunRecord,
)

_DRAWING_WIDTHS = (20, 60)
_SHORTENED = {"first": 8, "last": 8, "name": 12}
_ROWS_AT_EACH_END = 5
_MAX_CLASSES = 10
_MAX_DOCUMENT_BYTES = 100_000
_MAX_NAMED = 30
_TYPES = {
    "ckpt": "checkpoint",
    "h5": "HDF5",
    "ipynb": "notebook",
    "jsonl": "JSON lines",
    "keras": "Keras",
    "npy": "NumPy",
    "npz": "NumPy",
    "onnx": "ONNX",
    "parquet": "Parquet",
    "pkl": "pickle",
    "pt": "PyTorch",
    "pth": "PyTorch",
    "safetensors": "safetensors",
    "skops": "skops",
    "ubj": "UBJSON",
    "yaml": "YAML",
    "yml": "YAML",
}


@click.command("show")
@with_records
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(records: CommonStore, run: str, as_json: bool) -> None:
    """Show a run whole: RUN is its id, or as much of its beginning as is unique."""
    found = find_run(records, run)
    experiment = records.experiments.get(found.info.experiment_id).name
    files = _files(records, found)
    children = [child.info.run_id for child in records.runs.find(RunFilter(parent_run_id=found.info.run_id)).items][
        ::-1
    ]
    if as_json:
        listed = [
            {"path": path, "size_bytes": file.size_bytes, "sha256": (not file.is_growing and file.sha256) or None}
            for path, file in files.items()
        ]
        descriptions = records.metrics.descriptions(found.info.run_id)
        shown = {"metric_descriptions": descriptions, "files": listed, "children": children}
        print_json({**run_json(found, experiment), **shown})
        return
    _print_facts(found, experiment, children)
    if found.metrics:
        rows = [(point.name, text(point.value), point.step, time_text(point.timestamp_ms)) for point in found.metrics]
        _print_section("Metrics (latest)", ["name", "value", "step", "time"], rows)
    _print_metrics(records, found, files)
    _print_named("Metric descriptions", records.metrics.descriptions(found.info.run_id))
    _print_named(*_folded("Params", found.params))
    _print_named("Properties", found.properties)
    _print_named(*_folded("Tags", found.tags))
    if found.datasets:
        used = [
            (given.dataset.name, given.dataset.digest, given.tags.get("mlflow.data.context"))
            for given in found.datasets
        ]
        _print_section("Datasets", ["name", "digest", "context"], used)
    if files:
        listed_files = [(path, size_text(file.size_bytes), _type_of(file)) for path, file in files.items()]
        _print_section("Files", ["path", "size", "type"], listed_files)


def _files(records: CommonStore, run: RunRecord) -> dict[str, FileRecord]:
    """The run's files, and those of the models that came out of it under `models/MODEL_ID/`."""
    info = run.info
    own = records.files.list_all(run_container(info.experiment_id, info.run_id))
    found = {file.path: file for file in own}
    for model_id, container in output_models(run, own):
        found.update((f"models/{model_id}/{file.path}", file) for file in records.files.list_all(container))
    return found


def _print_facts(run: RunRecord, experiment: str, children: list[str]) -> None:
    info = run.info
    facts = {
        "run_id": info.run_id,
        "name": info.name,
        "experiment": f"{experiment} ({info.experiment_id})",
        "status": info.status.value + (" (deleted)" if info.deleted_ms is not None else ""),
        "error": error_line(run),
        "user": info.user_id,
        "start": time_text(info.start_ms),
        "end": time_text(info.end_ms),
        "parent run": info.parent_run_id,
        "child runs": _listed(children),
    }
    _print_named("Run", {name: value for name, value in facts.items() if value})


def _print_metrics(records: CommonStore, run: RunRecord, files: Mapping[str, FileRecord]) -> None:
    """The run's metrics as they were logged: series drawn, tables, and the names of images and documents."""
    metrics = [metric for metric in records.metrics.list_metrics(run.info.run_id) if any(metric.columns.values())]
    latest = {point.name for point in run.metrics}
    _print_series(
        [
            metric
            for metric in metrics
            if metric.kind in VECTOR_KINDS and (len(metric.columns[""]) > 1 or metric.name not in latest)
        ]
    )
    for metric in metrics:
        if metric.kind in GRID_KINDS:
            _print_grid(metric)
    with_files = [metric for metric in metrics if metric.kind in FILE_KINDS]
    if with_files:
        named = [(metric.name, metric.kind.words, path) for metric in with_files for path in metric.columns[""]]
        _print_section("Images and documents", ["name", "kind", "file"], named)
    for metric in with_files:
        if metric.kind is MetricKind.CONFUSION_MATRIX:
            _print_confusion_matrix(records, run, metric, files)


def _print_series(series: Sequence[MetricRecord]) -> None:
    """Series of several values, drawn on a terminal, and what is no number, which `Metrics (latest)` lacks."""
    if not series:
        return
    columns = ["name", "count", "first", "min", "max", "last"]
    rows = []
    for metric in series:
        values = metric.columns[""]
        numbers = numbers_of(values)
        ends = (min(numbers), max(numbers)) if numbers else (None, None)
        rows.append([text(cell) for cell in (metric.name, len(values), values[0], *ends, values[-1])])
    width = terminal_width()
    if width is not None:
        taken = sum(max(map(len, cells)) + 2 for cells in zip(columns, *rows, strict=True))
        narrowest, widest = _DRAWING_WIDTHS
        drawn_width, levels = min(widest, max(narrowest, width - taken)), levels_for(sys.stdout.encoding)
        columns.insert(1, "drawn")
        for row, metric in zip(rows, series, strict=True):
            row.insert(1, sparkline(metric.columns[""], drawn_width, levels))
    _print_section("Series", columns, rows, shorten=_SHORTENED)


def _print_grid(metric: MetricRecord) -> None:
    """A row, or the first and last rows of a table, and as many of its columns as the terminal has room for."""
    width = terminal_width()
    columns = list(metric.columns)
    shown = columns if width is None else columns[: columns_that_fit(width)]
    rows = list(zip(*[metric.columns[column] for column in shown], strict=True))
    title = f"Table {metric.name}: {len(rows)} row{'s' if len(rows) > 1 else ''}"
    if len(rows) > 2 * _ROWS_AT_EACH_END:
        title += f", the first and last {_ROWS_AT_EACH_END}"
        between = [] if width is None else [("...",) * len(shown)]
        rows = [*rows[:_ROWS_AT_EACH_END], *between, *rows[-_ROWS_AT_EACH_END:]]
    if len(shown) < len(columns):
        title += f"; {len(columns)} columns, the first {len(shown)}"
    _print_section(title, shown, rows)


def _print_confusion_matrix(
    records: CommonStore, run: RunRecord, metric: MetricRecord, files: Mapping[str, FileRecord]
) -> None:
    """A small matrix; of a larger one, and of a file that is none any more, the name must do."""
    file = files.get(latest_file(metric))
    if file is None or file.size_bytes > _MAX_DOCUMENT_BYTES:
        return
    try:
        data = latest_document(records, run, metric)["data"]
    except InvalidValue:
        return
    labels, width = data["class_labels"], terminal_width()
    if not labels or len(labels) > _MAX_CLASSES or (width is not None and len(labels) >= columns_that_fit(width)):
        return
    rows = [(label, *counts) for label, counts in zip(labels, data["matrix"], strict=True)]
    _print_section(f"Confusion matrix {metric.name}: a row for each true class", ["", *map(text, labels)], rows)


def _listed(run_ids: Sequence[str]) -> str:
    """As many ids as a person reads."""
    more = len(run_ids) - _MAX_NAMED
    return ", ".join(run_ids[:_MAX_NAMED]) + (f" and {more} more; --json has all" if more > 0 else "")


def _folded(title: str, values: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    """A title, and as many of the values as a person reads."""
    if len(values) <= _MAX_NAMED:
        return title, values
    return f"{title}: the first {_MAX_NAMED} of {len(values)}; --json has all", dict(islice(values.items(), _MAX_NAMED))


def _type_of(file: FileRecord) -> str:
    """What a file is, in the words of those who train models, else its media type."""
    name = file.path.rpartition("/")[2]
    if name == "MLmodel":
        return "YAML"
    media_type = file.content_type or guess_type(name)[0] or ""  # a service doesn't list it
    return _TYPES.get(name.rpartition(".")[2].lower(), media_type)


def _print_named(title: str, values: Mapping[str, str]) -> None:
    if values:
        _print_section(title, ["name", "value"], list(values.items()))


def _print_section(
    title: str, columns: list[str], rows: Sequence[Sequence[object]], *, shorten: Mapping[str, int] | None = None
) -> None:
    click.echo(f"\n{one_line(title)}")
    print_rows(columns, rows, shorten=shorten, wrap=["value"] if columns == ["name", "value"] else ())
