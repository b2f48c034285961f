"""A run as JSON, and finding the run that a person means."""

import re
from typing import TYPE_CHECKING

from mlflow_amlstore.cli.output import one_line
from mlflow_amlstore.errors import InvalidValue, NotFound
from mlflow_amlstore.records.locations import is_location, logged_model_container
from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.types import ModelDirection, Page, RunRecord, View

if TYPE_CHECKING:
    from mlflow_amlstore.records.store import RecordStore


_ALL_EXPERIMENTS = 50_000
_BEGINNING = re.compile(r"[a-zA-Z0-9][\w\-]*")


def run_json(run: RunRecord, experiment: str) -> dict[str, object]:
    """All of a run but its histories and files."""
    info = run.info
    return {
        "run_id": info.run_id,
        "name": info.name,
        "experiment_id": info.experiment_id,
        "experiment": experiment,
        "status": info.status.value,
        "user_id": info.user_id,
        "created_ms": info.created_ms,
        "start_ms": info.start_ms,
        "end_ms": info.end_ms,
        "deleted_ms": info.deleted_ms,
        "parent_run_id": info.parent_run_id,
        "params": run.params,
        "metrics": {
            point.name: {"value": point.value, "step": point.step, "timestamp_ms": point.timestamp_ms}
            for point in run.metrics
        },
        "tags": run.tags,
        "properties": run.properties,
        "datasets": [
            {
                "name": given.dataset.name,
                "digest": given.dataset.digest,
                "source_type": given.dataset.source_type,
                "source": given.dataset.source,
                "schema": given.dataset.schema,
                "profile": given.dataset.profile,
                "tags": given.tags,
            }
            for given in run.datasets
        ],
        "models": [
            {"direction": model.direction.value, "model_id": model.model_id, "step": model.step} for model in run.models
        ],
    }


def find_run(records: "RecordStore", given: str) -> RunRecord:
    """Return the run with this id, or whose id is the only one to begin so. Raises NotFound, InvalidValue (several)."""
    try:
        return records.runs.get(given)
    except NotFound:
        found = _beginning_with(records, given)
        if not found:
            raise NotFound("run", given, "`amlstore runs` lists them") from None
        if len(found) > 1:
            raise InvalidValue("RUN", given, "several runs' ids begin so; give more of it") from None
        return found[0]


def named_run(run: RunRecord) -> str:
    """A run in a sentence: its id and its name."""
    return f"run {run.info.run_id} ({one_line(run.info.name)})" if run.info.name else f"run {run.info.run_id}"


def _beginning_with(records: "RecordStore", given: str) -> list[RunRecord]:
    """The runs whose ids begin so; two of them where there are more."""
    if not _BEGINNING.fullmatch(given):
        return []
    experiments = records.experiments.search(view=View.ALL, max_results=_ALL_EXPERIMENTS).items
    found: list[RunRecord] = []
    page: Page[RunRecord] | None = None
    while len(found) < 2 and (page is None or page.next_token):
        page = records.runs.search(
            [experiment.experiment_id for experiment in experiments],
            filter=grammars.RUNS.parse(f"attributes.run_id LIKE '{given}%'"),
            view=View.ALL,
            max_results=20,
            page_token=page.next_token if page else None,
        )
        # LIKE takes the `_` that an id may have for any character.
        found += [run for run in page.items if run.info.run_id.startswith(given)]
    return found[:2]


def output_models(run: RunRecord) -> list[tuple[str, str]]:
    """Return `(model_id, container)` of the logged models that came out of a run; an id that is none has no files."""
    outputs = dict.fromkeys(model.model_id for model in run.models if model.direction is ModelDirection.OUTPUT)
    found = [(model_id, logged_model_container(run.info.experiment_id, model_id)) for model_id in outputs]
    return [(model_id, container) for model_id, container in found if is_location(container)]
