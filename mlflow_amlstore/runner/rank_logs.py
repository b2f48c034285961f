"""The logs that tell of a run's processes, in Azure ML's forms: which there were, and how each ended.

`azureml-logs/75_job_post-NODE.txt` is every run's. `process_info.json` and `process_status.json`, a JSON object in each
line, are those of several ranks, and `70_mpi_log.txt` is one of MPI's.
"""

import json
import shlex
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO

from mlflow_amlstore.errors import AmlStoreError
from mlflow_amlstore.records.common_store import CommonGrowingFile, CommonStore
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.runner.launch import Launch, RunFolder
from mlflow_amlstore.runner.preparation_log import log_line, node_name, utc_text
from mlflow_amlstore.runner.processes import how_it_ended
from mlflow_amlstore.runner.ranks import HOST, Rank, is_mpi, process_count
from mlflow_amlstore.runner.run_records import begin_log

_FOLDER = "azureml-logs"


class RankLogs:
    """The logs of one run's processes, from their start on."""

    def __init__(
        self, records: CommonStore, launch: Launch, folder: RunFolder, started: Mapping[int, Rank], started_ms: int
    ) -> None:
        """`started` are the ranks by their process ids, `started_ms` is when (since the epoch)."""
        self._records, self._container = records, run_container(launch.experiment_id, launch.run_id)
        self._count = process_count(launch.definition)
        self._ended: list[bytes] = []  # lines for the end
        self._has_failed = False  # by a rank's own exit code
        self._status: CommonGrowingFile | None = None
        self._mpi: CommonGrowingFile | None = None
        if self._count > 1:
            self._write("process_info.json", b"".join(_info(pid, rank) for pid, rank in started.items()))
            self._status = begin_log(records, launch, folder, f"{_FOLDER}/process_status.json")
            for rank in started.values():
                self._status.write(_status(rank, "Started", started_ms))
        if is_mpi(launch.definition):
            self._mpi = begin_log(records, launch, folder, f"{_FOLDER}/70_mpi_log.txt")
            for pid, rank in started.items():
                command = shlex.join(rank.argv)
                self._mpi.write(log_line(f"Rank {rank.number} is process {pid}: {command}", started_ms))
        self.show()

    def show(self) -> None:
        """Let readers see what has been written."""
        for log in filter(None, (self._status, self._mpi)):
            log.show()

    def say_ended(self, rank: Rank, code: int | None, *, was_told: bool = False) -> None:
        """Say how a rank ended; `was_told` is whether the runner ended it. `code` is None where that isn't known."""
        how = "was ended" if code is None else how_it_ended(code)
        which = f"Rank {rank.number}" if self._count > 1 else "The script"
        line = log_line(f"{which} {how}{', as the run was to end' if was_told else ''}")
        self._ended.append(line)
        self._has_failed = self._has_failed or (bool(code) and not was_told)
        if self._mpi is not None:
            self._mpi.write(line)
        if self._status is not None:
            self._status.write(_status(rank, "Terminated" if was_told else "Failed" if code else "Completed"))

    def end(self, what: str, uploaded: Mapping[str, int]) -> None:
        """Keep the logs. `what` became of the run besides, if anything; `uploaded` are its files with their bytes."""
        for log in filter(None, (self._status, self._mpi)):
            log.end()
        if what and not self._has_failed:
            self._ended.append(log_line(what))
        files = f"{len(uploaded)} file{'' if len(uploaded) == 1 else 's'}"
        self._ended += [
            log_line(f"Uploaded {files} of outputs/ and logs/, {sum(uploaded.values())} bytes"),
            log_line("Removing the run's folder on this machine"),
        ]
        with suppress(AmlStoreError):  # a run that was deleted meanwhile
            self._write(f"75_job_post-{node_name()}.txt", b"".join(self._ended))

    def _write(self, name: str, content: bytes) -> None:
        self._records.files.write(self._container, f"{_FOLDER}/{name}", BytesIO(content))


def _info(pid: int, rank: Rank) -> bytes:
    """Which process a rank is. Its address is the one at which the ranks meet."""
    return _json_line(
        process_name=_name(rank), node_id=node_name(), pid_in_container=pid, private_ip=HOST, log=rank.log
    )


def _status(rank: Rank, status: str, time_ms: int | None = None) -> bytes:
    return _json_line(process_name=_name(rank), timestamp=utc_text(time_ms), status=status)


def _name(rank: Rank) -> str:
    return f"process_{rank.number}"


def _json_line(**fields: object) -> bytes:
    return f"{json.dumps(fields)}\n".encode()
