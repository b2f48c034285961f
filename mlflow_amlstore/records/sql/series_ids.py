"""The small integer that stands for one metric of one run in every point of it."""

from collections.abc import Collection

from sqlalchemy import bindparam, func, select

from mlflow_amlstore.records.sql.driver_statement import Driver, DriverStatement
from mlflow_amlstore.records.sql.workspace_lock import lock_workspace
from mlflow_amlstore.records.tables import series

_SELECT_ONE = DriverStatement(
    select(series.c.series_id).where(series.c.run_pk == bindparam("run"), series.c.name == bindparam("metric")),
    "run",
    "metric",
)
_SELECT_ALL = DriverStatement(
    select(series.c.name, series.c.series_id).where(series.c.run_pk == bindparam("run")), "run"
)
_SELECT_LAST = DriverStatement(select(func.max(series.c.series_id)))
_FEW = 20  # up to here, asking for each is faster than reading all that a run has


def series_ids(driver: Driver, run_key: int, names: Collection[str]) -> dict[str, int]:
    """Return the ids of a run's metrics by name, new ones for those it doesn't have yet.

    The caller is in a write transaction and inserts the new ones in it, so no two get the same id.
    """
    if len(names) > _FEW:
        known = dict(_SELECT_ALL.run(driver, run_key).fetchall())
    else:
        rows = ((name, _SELECT_ONE.run(driver, run_key, name).fetchone()) for name in names)
        known = {name: row[0] for name, row in rows if row is not None}
    new = [name for name in names if name not in known]
    if new:
        last = highest_series_id(driver)
        known.update((name, last + number) for number, name in enumerate(new, start=1))
    return known


def highest_series_id(driver: Driver) -> int:
    """Return the highest id given out, 0 for none; the caller is in a write transaction and gives out the next."""
    lock_workspace(driver)
    return _SELECT_LAST.run(driver).fetchone()[0] or 0
