"""A run's logs, and the last lines of one."""

from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import RunRecord
from mlflow_amlstore.studio.previews import plain_text

LOG_SUFFIXES = (".txt", ".log", ".out", ".err")
_TAIL_BYTES = 64 * 1024


def tail_of(records: RecordStore, container: str, path: str, most_bytes: int = _TAIL_BYTES) -> str:
    """The last lines of a log, as text to show. Raises NotFound."""
    record, source = records.files.open_record(container, path)
    with source:
        begin = max(record.size_bytes - most_bytes, 0)
        source.seek(begin)
        content = source.read(most_bytes)
    if begin:
        content = content.partition(b"\n")[2] or content
    return plain_text(content)


def log_paths(records: RecordStore, run: RunRecord) -> list[str]:
    """The paths of a run's logs, that of its driver first."""
    container = run_container(run.info.experiment_id, run.info.run_id)
    found = []
    for folder in ("user_logs", "azureml-logs", "logs"):
        found += [file.path for file in records.files.list_all(container, folder, max_results=50)]
    return [path for path in found if path.endswith(LOG_SUFFIXES)]
