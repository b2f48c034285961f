"""A run as JSON, and finding the run that a person means."""

import re
from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem

from mlflow_amlstore.cli.output import one_line
from mlflow_amlstore.cli.workspace_option import open_chosen
from mlflow_amlstore.errors import AmlStoreError, InvalidValue, NotFound, ServiceError
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.locations import is_location, logged_model_container
from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.search.filter import NO_FILTER, Filter
from mlflow_amlstore.records.types import ExperimentRecord, FileRecord, ModelDirection, Page, RunRecord, View

_PAGE = 1000
_MOST_COMPLETED = 50
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
        "error": None if info.error is None else {"code": info.error.code, "message": info.error.message},
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


def find_run(records: CommonStore, given: str) -> RunRecord:
    """Return the run with this id, or whose id is the only one to begin so. Raises NotFound, InvalidValue (several)."""
    try:
        return records.runs.whole(given)
    except NotFound:
        found = _beginning_with(records, given)
        if not found:
            raise NotFound("run", given, "`amlstore runs` lists them") from None
        if len(found) > 1:
            raise InvalidValue("RUN", given, "several runs' ids begin so; give more of it") from None
        return found[0]


def complete_run(context: click.Context, _: click.Parameter, beginning: str) -> list[CompletionItem]:
    """The ids of runs that begin so, for the shell, with the runs' names: of a workspace's folder, the latest first."""
    if context.params.get("url") or not (beginning == "" or _BEGINNING.fullmatch(beginning)):
        return []
    try:
        records = open_chosen(context.params.get("workspace")).records
        filter = grammars.RUNS.parse(f"attributes.run_id LIKE '{beginning}%'")
        experiments = list(all_experiments(records))
        page = records.runs.search(experiments, filter=filter, view=View.ALL, max_results=_MOST_COMPLETED)
    except AmlStoreError:  # whoever types the command is told why
        return []
    runs = [run.info for run in page.items if run.info.run_id.startswith(beginning)]
    return [CompletionItem(info.run_id, help=one_line(info.name)) for info in runs]


def named_run(run: RunRecord) -> str:
    """A run in a sentence: its id and its name."""
    return f"run {run.info.run_id} ({one_line(run.info.name)})" if run.info.name else f"run {run.info.run_id}"


def outcome(run: RunRecord) -> str:
    """How a run stands, in a sentence, with the first line of its error."""
    why = error_line(run)
    return f"{named_run(run)} is {run.info.status.value}{f': {why}' if why else ''}"


def error_line(run: RunRecord) -> str:
    """The first line of a run's error, empty where it has none. The last lines of a script's log follow in the rest."""
    error = run.info.error
    return "" if error is None else one_line(error.summary)


def all_experiments(records: CommonStore) -> dict[str, str]:
    """`{experiment id: name}` of all experiments, deleted ones too."""
    found: dict[str, str] = {}
    page: Page[ExperimentRecord] | None = None
    while page is None or page.next_token:
        token = page.next_token if page else None
        page = records.experiments.search(view=View.ALL, max_results=_PAGE, page_token=token)
        found.update((experiment.experiment_id, experiment.name) for experiment in page.items)
    return found


def _beginning_with(records: CommonStore, given: str) -> list[RunRecord]:
    """The runs whose ids begin so; two of them where there are more."""
    if not _BEGINNING.fullmatch(given):
        return []
    try:
        found = _ids_beginning_with(records, given, grammars.RUNS.parse(f"attributes.run_id LIKE '{given}%'"))
    except ServiceError:  # Azure ML knows no LIKE of ids: all runs are looked through
        found = _ids_beginning_with(records, given, NO_FILTER)
    return [records.runs.whole(run_id) for run_id in found]


def _ids_beginning_with(records: CommonStore, given: str, filter: Filter) -> list[str]:
    experiments = list(all_experiments(records))
    found: list[str] = []
    page: Page[RunRecord] | None = None
    while len(found) < 2 and (page is None or page.next_token):
        token = page.next_token if page else None
        page = records.runs.search(experiments, filter=filter, view=View.ALL, max_results=_PAGE, page_token=token)
        # LIKE takes the `_` that an id may have for any character.
        found += [run.info.run_id for run in page.items if run.info.run_id.startswith(given)]
    return found[:2]


def output_models(run: RunRecord, own_files: Iterable[FileRecord]) -> list[tuple[str, str]]:
    """Return `(model_id, container)` of the logged models that came out of a run and have files of their own.

    Azure ML keeps no logged models: there, their files are among the run's own, under `models/MODEL_ID/`. An id that is
    none has no files.
    """
    outputs = dict.fromkeys(model.model_id for model in run.models if model.direction is ModelDirection.OUTPUT)
    among_own = {file.path.split("/")[1] for file in own_files if file.path.startswith("models/")}
    others = [model_id for model_id in outputs if model_id not in among_own]
    found = [(model_id, logged_model_container(run.info.experiment_id, model_id)) for model_id in others]
    return [(model_id, container) for model_id, container in found if is_location(container)]
