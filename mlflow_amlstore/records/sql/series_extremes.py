"""Keeping a series' extremes as it is logged into (`search.extremes`)."""

from sqlalchemy import ColumnElement, bindparam, case, func, literal_column, select, update

from mlflow_amlstore.records.search.extremes import KEPT, are_current, of_points
from mlflow_amlstore.records.search.ordering import Of
from mlflow_amlstore.records.sql.driver_statement import Driver, DriverStatement
from mlflow_amlstore.records.tables import NUMBER, points, series

_ONE = (series.c.run_pk == bindparam("run"), series.c.name == bindparam("series"))
_LOW, _HIGH = bindparam("low", type_=series.c.min_value.type), bindparam("high", type_=series.c.max_value.type)
_SELECT_OF_POINTS = DriverStatement(
    select(func.min(points.c.value), func.max(points.c.value)).where(
        points.c.series_id == bindparam("series"), points.c.value_type == literal_column(str(NUMBER))
    ),
    "series",
)


def read_of_points(driver: Driver, series_id: int) -> tuple[float | None, float | None]:
    """The lowest and the highest number among a series' points; None where it has no numbers."""
    lowest, highest = _SELECT_OF_POINTS.run(driver, series_id).fetchone()
    return lowest, highest


def lower(new: ColumnElement[float], known: ColumnElement[float]) -> ColumnElement[float]:
    """The lower of two numbers; NULL is none."""
    return case((_is_lower(new, known), new), else_=known)


def higher(new: ColumnElement[float], known: ColumnElement[float]) -> ColumnElement[float]:
    """The higher of two numbers; NULL is none."""
    return case((_is_higher(new, known), new), else_=known)


def _is_lower(new: ColumnElement[float], known: ColumnElement[float]) -> ColumnElement[bool]:
    return (new < known) | known.is_(None)


def _is_higher(new: ColumnElement[float], known: ColumnElement[float]) -> ColumnElement[bool]:
    return (new > known) | known.is_(None)


ARE_OUT_OF_DATE = case((are_current(series), literal_column("0")), else_=literal_column("1"))
"""1 for a series into which somebody logged who keeps no extremes, else 0."""

MOVE_EXTREMES = DriverStatement(
    update(series)
    .where(_is_lower(_LOW, series.c.min_value) | _is_higher(_HIGH, series.c.max_value), *_ONE)
    .values(min_value=lower(_LOW, series.c.min_value), max_value=higher(_HIGH, series.c.max_value)),
    "low", "low", "high", "high", "low", "high", "run", "series",
)  # fmt: skip
"""Take a new lowest and highest number into account."""

SET_EXTREMES = DriverStatement(
    update(series)
    .where(*_ONE)
    .values(
        min_value=of_points(series, Of.MIN),
        max_value=of_points(series, Of.MAX),
        **{copy: series.c[name] for copy, name in KEPT.items()},
    ),
    "run",
    "series",
)
"""Take the extremes from the points."""
