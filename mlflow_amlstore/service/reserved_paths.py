"""Paths that are given out for writing once, as Azure ML does with a run's."""

from mlflow_amlstore.records.store import RecordStore


class ReservedPaths:
    """Which paths were given out since the service started; a file that is there was given out before."""

    def __init__(self) -> None:
        self._taken: set[tuple[str, str]] = set()

    def take(self, records: RecordStore, container: str, path: str) -> bool:
        """Take a path; False where it is taken already, whether or not its content ever came."""
        place = (container, path)
        is_free = place not in self._taken and records.files.find(container, path) is None
        self._taken.add(place)
        return is_free
