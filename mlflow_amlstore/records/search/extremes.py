"""The lowest and the highest number of a series, which are kept in its row.

A process of a version that knows no extremes may log beside one that does. It moves the series' latest point (or the
number of its points, where `Run` logs) and leaves alone what is kept of these beside the extremes. Extremes of which
that is so are out of date: readers take them from the points, and the next to log sets them right.

One thing escapes this: a point before the latest that such a process logs through MLflow, after which it logs no later
one into that series.
"""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, case, func, literal_column, select

from mlflow_amlstore.records.search.ordering import Of
from mlflow_amlstore.records.tables import NUMBER, points

# What is kept beside the extremes, and of what it is a copy.
KEPT = {"extremes_step": "last_step", "extremes_timestamp_ms": "last_timestamp_ms", "extremes_seq": "last_seq"}
_COLUMNS: dict[Of, tuple[str, Any]] = {Of.MIN: ("min_value", func.min), Of.MAX: ("max_value", func.max)}


def are_current(series: FromClause) -> ColumnElement[bool]:
    """Whether the extremes that are kept in a row of `tables.series` are those of its points; NULL for never set."""
    return and_(*[series.c[copy] == series.c[name] for copy, name in KEPT.items()])


def of_points(series: FromClause, of: Of) -> ColumnElement[Any]:
    """The lowest or highest number of the points of a row of `tables.series`; NULL where it has no numbers."""
    _, extreme = _COLUMNS[of]
    point = points.c
    numbers = (point.series_id == series.c.series_id, point.value_type == literal_column(str(NUMBER)))
    return select(extreme(point.value)).where(*numbers).correlate(series).scalar_subquery()


def extreme(series: FromClause, of: Of) -> ColumnElement[Any]:
    """The lowest or highest number of a row of `tables.series`; NULL where it has no numbers."""
    column, _ = _COLUMNS[of]
    return case((are_current(series), series.c[column]), else_=of_points(series, of))
