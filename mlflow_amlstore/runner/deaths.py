"""Finding the runs whose processes are gone, and marking them Failed: by whoever looks, and where it is certain.

A run that a process set going by itself (`start_logging`, MLflow) has failed where that process's lock is free
(`records.process_lock`). A submitted run has failed where nobody looks after its folder (`launch.RunFolder`). Both are
judged on their own machine only, and locks that can't be opened, another user's, aren't judged at all. After a restart
of the machine neither can go on. A run with a lease isn't judged here: the lease says who looks after it.
"""

import logging
import os
import time
import weakref
from typing import TYPE_CHECKING

from mlflow_amlstore.errors import AmlStoreError
from mlflow_amlstore.records.machine import this_machine, was_restarted_since
from mlflow_amlstore.records.process_lock import free_locks
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.types import MACHINE_PROPERTY, PROCESS_ENDED, RUNS_FOLDER_PROPERTY, RunError
from mlflow_amlstore.runner import processes
from mlflow_amlstore.runner.launch import RunFolder, runs_folder_id

if TYPE_CHECKING:
    from mlflow_amlstore.records.store import RecordStore

LOOKED_EVERY_S = 5.0
_UNUSED_AFTER_S = 24 * 3600  # another machine's process may have its lock, and no run yet
_ENDED = "The process ended without completing it"
_KILLED = "The process that looked after the run was killed, or the machine stopped"
_RESTARTED = "The machine was restarted"
_logger = logging.getLogger(__name__)
_looked_at: "weakref.WeakKeyDictionary[RecordStore, float]" = weakref.WeakKeyDictionary()


def look(records: "RecordStore") -> bool:
    """Do as `mark_dead` where this process hasn't for some seconds; return whether a run was marked.

    Raises nothing: whoever looks came for something else.
    """
    now = time.monotonic()
    if now < _looked_at.get(records, -LOOKED_EVERY_S) + LOOKED_EVERY_S:
        return False
    _looked_at[records] = now
    try:
        return bool(mark_dead(records))
    except (AmlStoreError, OSError) as error:  # the workspace is read-only, say
        _logger.debug("Runs whose processes are gone can't be marked in %s: %s", records.folder, error)
        return False


def look_at_script(records: "RecordStore", run_id: str) -> bool:
    """As `look`, for one submitted run, and at once."""
    record = records.runs.get(run_id)
    machine = record.properties.get(MACHINE_PROPERTY)
    info = record.info
    has_ended = info.status in ENDED or info.end_ms is not None  # one that goes on after its end has no runner
    if has_ended or machine is None or not _can_look(records):
        return False
    try:
        return _has_died(records, run_id, machine, record.properties.get(RUNS_FOLDER_PROPERTY))
    except (AmlStoreError, OSError) as error:
        _logger.debug("Run %s can't be marked: %s", run_id, error)
        return False


def mark_dead(records: "RecordStore") -> list[str]:
    """Mark the runs Failed whose processes are gone, and return their ids. Raises what the workspace raises."""
    if not _can_look(records):
        return []
    return [*_of_processes(records), *_of_scripts(records)]


def remove_unused_locks(records: "RecordStore") -> None:
    """Remove the files of locks that nobody holds and no run refers to; another machine's a day after they came."""
    for lock in free_locks(records.folder):
        with lock:
            is_unused = lock.machine == this_machine() or time.time() - lock.modified_s > _UNUSED_AFTER_S
            if is_unused and not records.run_processes.is_known(lock.name):
                lock.remove()


def _can_look(records: "RecordStore") -> bool:
    """Not inside a transaction, which may yet fail when the lock's file is gone."""
    return os.name == "posix" and not records.metrics.is_busy_here


def _of_processes(records: "RecordStore") -> list[str]:
    found, processes = [], records.run_processes
    for lock in free_locks(records.folder):
        with lock:  # nobody else marks the same meanwhile
            if not lock.machine:
                processes.forget(lock.name)
            elif lock.machine == this_machine():
                found += processes.fail(lock.name, RunError(PROCESS_ENDED, _ENDED))
            elif was_restarted_since(lock.machine):
                found += processes.fail(lock.name, RunError(PROCESS_ENDED, f"{_ENDED}: {_RESTARTED.lower()}"))
            else:
                continue
            lock.remove()
    return found


def _of_scripts(records: "RecordStore") -> list[str]:
    return [
        script.run_id
        for script in records.run_processes.going_scripts()
        if _has_died(records, script.run_id, script.machine, script.runs_folder)
    ]


def _has_died(records: "RecordStore", run_id: str, machine: str, runs_folder: str | None) -> bool:
    """Whether nobody looks after a submitted run any more; it is marked Failed then."""
    if run_id in records.run_leases.runs():
        return False
    if was_restarted_since(machine):
        return records.run_processes.fail_script(run_id, RunError("RunnerKilled", _RESTARTED))
    if machine != this_machine() or runs_folder != runs_folder_id():  # another user's folder can't be looked into
        return False
    folder = RunFolder.of(run_id)
    lock = folder.take()
    try:
        if lock is None and folder.path.exists():  # somebody looks after it
            return False
        if lock is not None and folder.has_launch and records.runs.get(run_id).info.status not in ENDED:
            from mlflow_amlstore.runner.recording import record_death  # slow to import, and rarely needed

            processes.end(lambda: processes.of_folder(folder.path), grace_s=0)  # whoever looks shouldn't wait
            record_death(folder.read(), folder, _KILLED)
            folder.remove()
            return True
        return records.run_processes.fail_script(run_id, RunError("RunnerKilled", _KILLED))
    finally:
        if lock is not None:
            os.close(lock)
