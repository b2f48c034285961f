"""Which process set a run going, in SQL, and what becomes of the runs of one that is gone.

A process has a lock's name (`records.process_lock`). A submitted run has no row: its runner looks after it.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import NamedTuple

from sqlalchemy import Connection, Row, bindparam, delete, func, select, update

from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.dialects import insert_or_set
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.machine import this_machine
from mlflow_amlstore.records.sql.driver_statement import Driver, DriverStatement
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.tables import experiments, files, run_processes, run_properties, runs, series
from mlflow_amlstore.records.types import MACHINE_PROPERTY, RUNS_FOLDER_PROPERTY, RunError, RunStatus

_ROW = ("run_pk", "machine", "lock_name")
_PUT = DriverStatement(
    insert_or_set(run_processes, ["machine", "lock_name"], {name: bindparam(name) for name in _ROW}), *_ROW
)
_FORGET = DriverStatement(delete(run_processes).where(run_processes.c.run_pk == bindparam("run")), "run")
_GOING = [status.value for status in RunStatus if status not in ENDED]


class GoingScript(NamedTuple):
    """A submitted run that hasn't ended: on which machine (`records.machine`), and in which folder there."""

    run_id: str
    machine: str
    runs_folder: str | None


def put_process(driver: Driver, run_key: int, lock_name: str) -> None:
    """Say that this process sets a run going, in the transaction of what does so."""
    _PUT.run(driver, run_key, this_machine(), lock_name)


def forget_process(driver: Driver, run_key: int) -> None:
    """Forget which process set a run going: it has ended, or is somebody else's now."""
    _FORGET.run(driver, run_key)


class SqlRunProcesses:
    """The processes that set runs of one workspace going."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def fail(self, lock_name: str, error: RunError) -> list[str]:
        """Mark the runs Failed that a process left which is gone, and forget it; return their ids.

        A run's end is the last that is known of it: its latest point's or file's time, or else its start.
        """
        of_process = select(runs).join(run_processes).where(run_processes.c.lock_name == lock_name)
        now_ms = self._database.now_ms()
        with self._database.write() as connection:
            found = connection.execute(of_process.where(runs.c.status.in_(_GOING))).all()
            for row in found:
                end_ms = min(max(_known_times_ms(connection, row)), now_ms)
                connection.execute(update(runs).where(runs.c.run_pk == row.run_pk).values(_failed(error, end_ms)))
            self._forget_all(connection, lock_name)
        return [row.run_id for row in found]

    def fail_script(self, run_id: str, error: RunError) -> bool:
        """Mark a submitted run Failed, now, that nobody looks after; return whether it hadn't ended."""
        going = update(runs).where(runs.c.run_id == run_id, runs.c.status.in_(_GOING))
        with self._database.write() as connection:
            return bool(connection.execute(going.values(_failed(error, self._database.now_ms()))).rowcount)

    def forget(self, lock_name: str) -> None:
        """Forget a process; its runs stay as they are."""
        with self._database.write() as connection:
            self._forget_all(connection, lock_name)

    def is_known(self, lock_name: str) -> bool:
        """Whether a run is of this process."""
        of_process = select(run_processes.c.run_pk).where(run_processes.c.lock_name == lock_name).limit(1)
        with self._database.read() as connection:
            return connection.execute(of_process).first() is not None

    def going_scripts(self) -> list[GoingScript]:
        """Return the submitted runs that haven't ended. One that goes on after its end isn't its runner's any more."""
        machine, folder = run_properties.alias(), run_properties.alias()
        statement = (
            select(runs.c.run_id, machine.c.value, folder.c.value)
            .select_from(experiments)  # each has an index of its runs by status
            .join(runs, runs.c.experiment_id == experiments.c.experiment_id)
            .join(machine, (machine.c.run_pk == runs.c.run_pk) & (machine.c.name == MACHINE_PROPERTY))
            .outerjoin(folder, (folder.c.run_pk == runs.c.run_pk) & (folder.c.name == RUNS_FOLDER_PROPERTY))
            .where(runs.c.status.in_(_GOING), runs.c.end_ms.is_(None))
        )
        with self._database.read() as connection:
            return [GoingScript(*row) for row in connection.execute(statement)]

    def _forget_all(self, connection: Connection, lock_name: str) -> None:
        connection.execute(delete(run_processes).where(run_processes.c.lock_name == lock_name))


def _failed(error: RunError, end_ms: int) -> dict[str, object]:
    return {"status": RunStatus.FAILED.value, "end_ms": end_ms, "error": json.dumps(asdict(error))}


def _known_times_ms(connection: Connection, run: Row[tuple[object, ...]]) -> Iterator[int]:
    yield run.created_ms if run.start_ms is None else run.start_ms
    container = run_container(str(run.experiment_id), run.run_id)
    for latest in (
        select(func.max(series.c.last_timestamp_ms)).where(series.c.run_pk == run.run_pk),
        select(func.max(files.c.modified_ms)).where(files.c.container == container),
    ):
        time_ms = connection.execute(latest).scalar()
        if time_ms is not None:
            yield time_ms
