"""A metric in pages. Of each, only its own rows come out of the database; what cells there are on all pages, the
database counts for the first, whose token tells the others."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import ColumnElement, and_, case, func, select

from mlflow_amlstore.errors import PageTokenInvalid
from mlflow_amlstore.records.search.paging import SortTerm, after_key, decode_token, encode_token
from mlflow_amlstore.records.sql.driver_statement import Driver, run_query
from mlflow_amlstore.records.sql.metric_rows import CELL, CellRow, MetricColumn, grid, in_grid, vector
from mlflow_amlstore.records.tables import TEXT, points
from mlflow_amlstore.records.types import MetricPage, MetricRecord
from mlflow_amlstore.records.validation import MAX_INT64

_POINT = points.c
_TYPES: dict[str, type] = {"none": type(None), "text": str, "float": float, "bool": bool, "int": int}
_TYPE = case(  # how `logged_values` stores them
    (and_(_POINT.value_type == TEXT, _POINT.text.is_(None)), "none"),
    (_POINT.value_type == TEXT, "text"),
    (_POINT.text.is_(None), "float"),
    (_POINT.text.in_(("true", "false")), "bool"),
    else_="int",
).label("type")


def whole_page(metric: MetricRecord) -> MetricPage:
    """The only page of a metric of one series."""
    return MetricPage(metric, {"": frozenset(map(type, metric.columns[""]))}, None)


def page_of_vector(
    driver: Driver,
    name: str,
    column: MetricColumn,
    within: Sequence[ColumnElement[bool]],
    *,
    max_rows: int,
    page_token: str | None,
    query: str,
) -> MetricPage:
    """A page of a metric of one series. Raises PageTokenInvalid."""
    statement = select(*CELL).where(_POINT.series_id == column.series_id, *within)
    types = None
    if page_token:
        *key, told = decode_token(page_token, query, len(column.order) + 1)
        statement = statement.where(after_key([SortTerm(each) for each in column.order], tuple(key)))
        types = _read_types(page_token, told, [column])
    rows = run_query(driver, statement.order_by(*column.order).limit(max_rows + 1)).fetchall()
    metric = vector(name, column, rows[:max_rows])
    if len(rows) <= max_rows and not page_token and not within:  # it is whole
        return whole_page(metric)
    types = types or _types(driver, [column])
    token = None
    if len(rows) > max_rows:
        last = dict(zip([each.name for each in CELL], rows[max_rows - 1], strict=True))
        token = encode_token((*[last[each.name] for each in column.order], _told(types)), query)
    return MetricPage(metric, types, token)


def page_of_grid(
    driver: Driver,
    name: str,
    columns: Sequence[MetricColumn],
    within: Sequence[ColumnElement[bool]],
    *,
    max_rows: int,
    page_token: str | None,
    query: str,
) -> MetricPage:
    """A page of rows or a table: rows whose `seq` are in a range, and on the last page the values that MLflow logged
    under the grid's name. Raises PageTokenInvalid."""
    columns = in_grid(columns)
    first, types = 0, None
    if page_token:
        begin, told = decode_token(page_token, query, 2)
        if not isinstance(begin, int) or begin < 0:
            raise _no_token(page_token)
        first, types = begin, _read_types(page_token, told, columns)
    types = types or _types(driver, columns)
    end = min(first + max_rows, MAX_INT64)

    is_last = all(column.last_seq < end for column in columns)

    def of_page(column: MetricColumn) -> Iterable[CellRow]:
        if not column.name and not is_last:
            return ()
        on_page = (_POINT.seq >= first, _POINT.seq < end) if column.name else ()
        of_series = select(*CELL).where(_POINT.series_id == column.series_id)
        return run_query(driver, of_series.where(*on_page, *within).order_by(*column.order))

    return MetricPage(
        grid(name, columns, of_page), types, None if is_last else encode_token((end, _told(types)), query)
    )


def _types(driver: Driver, columns: Sequence[MetricColumn]) -> dict[str, frozenset[type]]:
    """The types of each column's cells. Those of a grid have NaN for a cell that they lack."""
    logged_by_mlflow = func.count(case((_POINT.seq == 0, 1)))
    counted: dict[str, dict[type, tuple[int, int]]] = {}
    for column in columns:
        statement = select(_TYPE, func.count(), logged_by_mlflow).where(_POINT.series_id == column.series_id)
        rows = run_query(driver, statement.group_by("type"))
        counted[column.name] = {_TYPES[name]: (count, of_mlflow) for name, count, of_mlflow in rows}
    named = [column for column in columns if column.name]
    rows_in_all = max((column.last_seq for column in named), default=0)
    rows_in_all += max((sum(seq_0 for _, seq_0 in counted[column.name].values()) for column in named), default=0)
    rows_in_all += sum(count for count, _ in counted.get("", {}).values())
    return {
        column: frozenset(types)
        if sum(count for count, _ in types.values()) == rows_in_all
        else frozenset((*types, float))
        for column, types in counted.items()
    }


def _told(types: Mapping[str, frozenset[type]]) -> str:
    """The types as a page's token tells them to the next page, which then need not count again."""
    names = {kind: name for name, kind in _TYPES.items()}
    return ";".join(",".join(sorted(names[kind] for kind in kinds)) for kinds in types.values())


def _read_types(page_token: str, told: object, columns: Sequence[MetricColumn]) -> dict[str, frozenset[type]] | None:
    """The reverse of `_told`; None where a column has come since. Raises PageTokenInvalid."""
    try:
        types = [frozenset(_TYPES[name] for name in kinds.split(",") if name) for kinds in str(told).split(";")]
    except KeyError as error:
        raise _no_token(page_token) from error
    if len(types) != len(columns):
        return None
    return {column.name: kinds for column, kinds in zip(columns, types, strict=True)}


def _no_token(page_token: str) -> PageTokenInvalid:
    return PageTokenInvalid(page_token, "is not a page token of this store")
