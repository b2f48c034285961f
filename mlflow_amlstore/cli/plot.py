"""`amlstore plot RUN METRIC -o FILE`."""

from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

import click

from mlflow_amlstore.cli.metric_files import latest_document, latest_file
from mlflow_amlstore.cli.output import one_line
from mlflow_amlstore.cli.run_fields import complete_run, find_run
from mlflow_amlstore.cli.workspace_option import with_records
from mlflow_amlstore.errors import ExtraMissing, InvalidValue, NotFound
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.types import FILE_KINDS, MetricKind, MetricRecord, RunRecord

_MAX_NAMES_LISTED = 10
_WITH_TRANSPARENCY = {".png", ".webp", ".tif", ".tiff"}
_LIKENESS = 0.4  # of names, from 0 to 1


@click.command("plot")
@with_records
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@click.argument("metric", metavar="METRIC")
@click.option(
    "-o", "--output", "target", metavar="FILE", required=True, type=click.Path(path_type=Path),
    help="Where to: a .png, .svg or .pdf file. One that is there is replaced.",
)  # fmt: skip
def command(records: CommonStore, run: str, metric: str, target: Path) -> None:
    """Save the chart that a metric's kind asks for.

    RUN is the run's id, or as much of its beginning as is unique. Numbers become a line, a table lines or bars, a
    document its chart; an image is copied.
    """
    _check_target(target)
    found = find_run(records, run)
    logged = _find_metric(records, found, metric)
    if logged.kind is MetricKind.IMAGE:
        _save_image(records, found, logged, target)
    else:
        _save_chart(records, found, logged, target)
    click.echo(f"Saved {target}")


def _check_target(target: Path) -> None:
    if not target.parent.is_dir():
        raise InvalidValue("FILE", str(target), f"there is no folder {target.parent}; make it first")
    if target.is_dir():
        raise InvalidValue("FILE", str(target), "is a folder; name a file in it")


def _find_metric(records: CommonStore, run: RunRecord, name: str) -> MetricRecord:
    """The metric of that name. Raises NotFound with the names that are like it, or all of them where they are few."""
    for metric in records.metrics.list_metrics(run.info.run_id, name, with_times=True):
        if any(metric.columns.values()):
            return metric
    names = list(dict.fromkeys(name for name, _ in records.metrics.list_names(run.info.run_id)))
    if not names:
        raise NotFound("metric", name, "The run has none")
    listed, which = names, "The run has"
    if len(names) > _MAX_NAMES_LISTED:
        listed, which = get_close_matches(name, names, _MAX_NAMES_LISTED, _LIKENESS), "Names like it:"
    hint = f"{which} {', '.join(map(repr, listed))}" if listed else "`amlstore show` lists them"
    raise NotFound("metric", name, hint)


def _save_chart(records: CommonStore, run: RunRecord, metric: MetricRecord, target: Path) -> None:
    if find_spec("matplotlib") is None:
        raise ExtraMissing("`amlstore plot`", "matplotlib", "plot")
    from mlflow_amlstore.cli.charts import CHART_TYPES, figure_of, picture_of

    file_type = target.suffix[1:].lower()
    if file_type not in CHART_TYPES:
        raise InvalidValue("FILE", str(target), f"its name must end in {', '.join(f'.{kind}' for kind in CHART_TYPES)}")
    document = latest_document(records, run, metric) if metric.kind in FILE_KINDS else None
    target.write_bytes(picture_of(figure_of(metric, run.info.name, document), file_type))


def _save_image(records: CommonStore, run: RunRecord, metric: MetricRecord, target: Path) -> None:
    """Copy the image that was logged last, converted where the new name's ending asks for it."""
    container, path = run_container(run.info.experiment_id, run.info.run_id), latest_file(metric)
    shown = one_line(path)
    ending = target.suffix.lower()
    if Path(path).suffix.lower() == ending:
        records.files.download(container, path, target)
        return
    if find_spec("PIL") is None:
        raise ExtraMissing("Converting images", "pillow", "plot")
    from PIL import Image, UnidentifiedImageError

    Image.init()
    if Image.EXTENSION.get(ending) not in Image.SAVE:
        raise InvalidValue("FILE", str(target), f"the image {shown} can't be converted to that; keep its ending")
    with records.files.open(container, path) as source:
        try:
            image = Image.open(source)
            has_room = ending in _WITH_TRANSPARENCY or image.mode in ("L", "RGB")
            (image if has_room else image.convert("RGB")).save(target)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            why = "it can't be read as one" if isinstance(error, UnidentifiedImageError) else str(error)
            raise InvalidValue("METRIC", metric.name, f"its image {shown} can't be converted: {why}") from error
