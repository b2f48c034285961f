"""The mean of a metric over runs, column by column, and how far the runs are from it."""

from collections import defaultdict
from collections.abc import Sequence
from math import sqrt

from sqlalchemy import BigInteger, bindparam, func, literal_column, select

from mlflow_amlstore.records.dialects import key_list, texts_in
from mlflow_amlstore.records.sql.driver_statement import Driver, DriverStatement
from mlflow_amlstore.records.tables import NUMBER, points, runs, series
from mlflow_amlstore.records.types import MeanCurve

_POINT = points.c
_LARGEST = "1.7976931348623157e308"
_SELECT_SERIES = DriverStatement(
    select(runs.c.run_id, series.c.series_id, series.c.last_step)
    .join(runs, series.c.run_pk == runs.c.run_pk)
    .where(runs.c.run_id.in_(texts_in()), series.c.name == bindparam("metric")),
    "keys",
    "metric",
)
_SELECT_FIRST = DriverStatement(select(func.min(_POINT.step)).where(_POINT.series_id == bindparam("series")), "series")
_PLACE = (_POINT.step // bindparam("width", type_=BigInteger)).label("place")  # no difference, which may overflow
_SELECT_MEANS = DriverStatement(
    select(_PLACE, func.min(_POINT.step), func.avg(_POINT.value), func.count())
    .where(
        _POINT.series_id == bindparam("series"),
        _POINT.step >= bindparam("first"),
        _POINT.step <= bindparam("last"),
        _POINT.value_type == literal_column(str(NUMBER)),
        _POINT.value >= literal_column(f"-{_LARGEST}"),
        _POINT.value <= literal_column(_LARGEST),
    )
    .group_by(literal_column("1")),
    "width", "series", "first", "last",
)  # fmt: skip


def means(
    driver: Driver, groups: Sequence[Sequence[str]], name: str, *, columns: int, window: tuple[int, int] | None
) -> list[MeanCurve]:
    """The mean curve of each group of runs. In a column each run counts once, by the mean of its points there."""
    found = _SELECT_SERIES.run(driver, key_list([run_id for group in groups for run_id in group]), name).fetchall()
    ids = {run_id: series_id for run_id, series_id, _ in found}
    if not ids:
        return [MeanCurve(0, 0, [], [], []) for _ in groups]
    if window is None:
        firsts = [_SELECT_FIRST.run(driver, series_id).fetchone()[0] for series_id in ids.values()]
        window = min(firsts), max(last for _, _, last in found)
    first, last = window
    width = -(-(last - first + 1) // columns)  # of a column, in steps
    curves = []
    for group in groups:
        of_columns: dict[int, list[float]] = defaultdict(list)
        steps: dict[int, int] = {}
        count = 0
        known = [ids[run_id] for run_id in group if run_id in ids]
        for series_id in known:
            for place, step, mean, points_there in _SELECT_MEANS.run(driver, width, series_id, first, last).fetchall():
                of_columns[place].append(mean)
                steps[place] = min(step, steps.get(place, step))
                count += points_there
        places = sorted(of_columns)
        averages = [sum(of_columns[place]) / len(of_columns[place]) for place in places]
        deviations = [_deviation(of_columns[place], mean) for place, mean in zip(places, averages, strict=True)]
        curves.append(MeanCurve(len(known), count, [steps[place] for place in places], averages, deviations))
    return curves


def _deviation(values: Sequence[float], mean: float) -> float:
    """The standard deviation of a sample; 0 for one value."""
    if len(values) < 2:
        return 0.0
    return sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
