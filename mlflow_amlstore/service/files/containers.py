"""Whose files a route is about: from a run or logged model, as each protocol names it, to its container."""

from urllib.parse import unquote, urlsplit

from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.records.common_store import CommonFiles
from mlflow_amlstore.records.locations import container_of, logged_model_container, split_location, upload_of
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import FileRecord
from mlflow_amlstore.service.addresses import BLOB_PREFIX


def container_in_experiment(records: RecordStore, experiment: str, run_or_model_id: str) -> str:
    """The container of what an experiment, named by its id or name, has. Raises NotFound."""
    experiment_id = _experiment_of(records, run_or_model_id)
    _check_is_in(records, experiment, experiment_id, run_or_model_id)
    return container_of(experiment_id, run_or_model_id)


def container_of_uri(records: RecordStore, experiment: str, run_or_model_id: str) -> str:
    """The container that an artifact URI names by an experiment's id or name ("" for any). Raises NotFound.

    A URI with the experiment's id is believed even if the run isn't there: it may be gone.
    """
    try:
        if not experiment:
            return container_of_owner(records, run_or_model_id)
        return container_in_experiment(records, experiment, run_or_model_id)
    except NotFound:
        if experiment.isascii() and experiment.isdecimal():
            return container_of(experiment, run_or_model_id)
        raise


def check_run_in_experiment(records: RecordStore, experiment: str, run_id: str) -> None:
    """Raise NotFound where an experiment, named by its id or name, has no such run."""
    _check_is_in(records, experiment, records.runs.get(run_id).info.experiment_id, run_id)


def container_of_owner(records: RecordStore, run_or_model_id: str) -> str:
    """The container of a run or logged model, deleted ones too, as in MLflow's own stores. Raises NotFound."""
    return container_of(_experiment_of(records, run_or_model_id), run_or_model_id)


def check_writable(records: RecordStore, container: str) -> None:
    """Refuse to write into a container whose run or logged model is not there; an upload is made by writing to it."""
    if upload_of(container) is not None:
        return
    owner = container.split("/")[-2]
    if container_of_owner(records, owner) != container:
        raise NotFound("run", owner, f"{container!r:.200} doesn't name the experiment that it is in")


def file_location(location: str) -> tuple[str, str]:
    """Split `CONTAINER/PATH` of a file. Raises PathUnsafe, NotFound for a location without a path."""
    container, path = split_location(location)
    if not path:
        raise NotFound("file", location, "The address names a whole container; add the path of a file in it")
    return container, path


def get_file(files: CommonFiles, container: str, path: str) -> FileRecord:
    """Return what is known of a file. Raises NotFound."""
    record = files.find(container, path)
    if record is None:
        raise NotFound("file", path, f"{container} has no such file")
    return record


def file_of_url(content_url: str) -> tuple[str, str]:
    """The container and path of the file that a content URL opens."""
    return file_location(unquote(urlsplit(content_url).path).removeprefix(f"{BLOB_PREFIX}/"))


def _check_is_in(records: RecordStore, experiment: str, experiment_id: str, run_or_model_id: str) -> None:
    if experiment != experiment_id and records.experiments.get(experiment_id).name != experiment:
        raise NotFound("run", run_or_model_id, f"The experiment {experiment!r:.100} has no such run")


def _experiment_of(records: RecordStore, run_or_model_id: str) -> str:
    if container_of("0", run_or_model_id) == logged_model_container("0", run_or_model_id):
        return records.logged_models.get(run_or_model_id, allow_deleted=True).experiment_id
    return records.runs.get(run_or_model_id).info.experiment_id
