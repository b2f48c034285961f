"""The small integer that stands for one metric of one run in every point of it."""

from collections.abc import Collection

from sqlalchemy import bindparam, func, select

from mlflow_amlstore.records.sql.driver_statement import Driver, DriverStatement
from mlflow_amlstore.records.sql.series_extremes import ARE_OUT_OF_DATE
from mlflow_amlstore.records.sql.workspace_lock import lock_workspace
from mlflow_amlstore.records.tables import series

_SELECT_ONE = DriverStatement(
    select(series.c.series_id, ARE_OUT_OF_DATE).where(
        series.c.run_pk == bindparam("run"), series.c.name == bindparam("metric")
    ),
    "run",
    "metric",
)
_SELECT_ALL = DriverStatement(
    select(series.c.name, series.c.series_id, ARE_OUT_OF_DATE).where(series.c.run_pk == bindparam("run")), "run"
)
_SELECT_LAST = DriverStatement(select(func.max(series.c.series_id)))
_FEW = 20  # up to here, asking for each is faster than reading all that a run has


def series_ids(driver: Driver, run_key: int, names: Collection[str]) -> tuple[dict[str, int], list[str]]:
    """Return the ids of a run's metrics by name, new ones for those it doesn't have yet, and perhaps of others; and the
    names of those whose extremes are out of date.

    The caller is in a write transaction and inserts the new ones in it, so no two get the same id.
    """
    known: dict[str, int] = {}
    out_of_date: list[str] = []
    if len(names) > _FEW:
        for name, series_id, is_out_of_date in _SELECT_ALL.run(driver, run_key).fetchall():
            known[name] = series_id
            if is_out_of_date:
                out_of_date.append(name)
    else:
        for name in names:
            row = _SELECT_ONE.run(driver, run_key, name).fetchone()
            if row is not None:
                known[name], is_out_of_date = row
                if is_out_of_date:
                    out_of_date.append(name)
    new = [name for name in names if name not in known]
    if new:
        last = highest_series_id(driver)
        known.update((name, last + number) for number, name in enumerate(new, start=1))
    return known, out_of_date


def highest_series_id(driver: Driver) -> int:
    """Return the highest id given out, 0 for none; the caller is in a write transaction and gives out the next."""
    lock_workspace(driver)
    return _SELECT_LAST.run(driver).fetchone()[0] or 0
