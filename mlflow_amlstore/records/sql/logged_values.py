"""What the `Run` vocabulary logs, in SQL: many calls' scalars, lists, rows, tables and files in one transaction.

Two hundred thousand scalars are one training run, so they are put in columns by one plain loop, and written by
statements for the driver (`driver_statement`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, bindparam, insert, literal_column, select
from sqlalchemy.sql.expression import ClauseElement

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.database import driver_connection
from mlflow_amlstore.records.dialects import insert_or_set
from mlflow_amlstore.records.logged_values import check_logged_values, check_same_kind, is_nan, other_kind
from mlflow_amlstore.records.sql.driver_statement import BulkStatement, Driver, DriverStatement, numbered
from mlflow_amlstore.records.sql.run_log import active_run
from mlflow_amlstore.records.sql.series_extremes import read_of_points
from mlflow_amlstore.records.sql.series_ids import highest_series_id
from mlflow_amlstore.records.tables import NAN, NUMBER, TEXT, points, series
from mlflow_amlstore.records.types import GRID_KINDS, Cell, LoggedValues, MetricKind
from mlflow_amlstore.records.validation import MAX_INT64

_SERIES_COLUMNS = (
    "name", "metric", "column_name", "kind",
    "last_step", "last_timestamp_ms", "last_value", "last_value_type", "series_id", "last_seq",
    "min_value", "max_value", "extremes_step", "extremes_timestamp_ms", "extremes_seq",
)  # fmt: skip
_MOVING = (
    "last_seq", "last_step", "last_timestamp_ms", "last_value", "last_value_type",
    "min_value", "max_value", "extremes_step", "extremes_timestamp_ms", "extremes_seq",
)  # fmt: skip
_INF = float("inf")
_POINT_COLUMNS = ("series_id", "step", "timestamp_ms", "value", "value_type", "seq", "text")
_Columns = Mapping[str, Sequence[Cell]]
_STEP_BEFORE_ALL = -MAX_INT64 - 1

_of_run = select(*[series.c[name] for name in _SERIES_COLUMNS]).where(series.c.run_pk == bindparam("run"))
_SELECT_ONE = DriverStatement(_of_run.where(series.c.name == bindparam("series")), "run", "series")
_SELECT_GRID = DriverStatement(
    _of_run.where(
        series.c.name > bindparam("first"),
        series.c.name < bindparam("end"),
        series.c.metric == bindparam("grid"),
        series.c.column_name != literal_column("''"),
    ).order_by(series.c.series_id),
    "run", "first", "end", "grid",
)  # fmt: skip


def _upsert_series(count: int) -> tuple[ClauseElement, Sequence[str]]:
    values, names = numbered(("run_pk", *_SERIES_COLUMNS), count)
    return insert_or_set(series, _MOVING, values), names


def _insert_points(count: int) -> tuple[ClauseElement, Sequence[str]]:
    values, names = numbered(_POINT_COLUMNS, count)
    return insert(points).values(values), names


_UPSERT_SERIES = BulkStatement(_upsert_series)
_INSERT_POINTS = BulkStatement(_insert_points)


class _Series:
    """One series as it will be when the transaction ends."""

    __slots__ = ("column", "highest", "kind", "latest", "latest_type", "lowest", "metric", "name", "seq", "series_id")

    def __init__(
        self, name: str, metric: str, column: str, kind: str, step: int, timestamp_ms: int, value: float,
        value_type: int, series_id: int, seq: int,
    ) -> None:  # fmt: skip
        self.name, self.metric, self.column, self.kind = name, metric, column, kind
        self.latest, self.latest_type = (step, timestamp_ms, value), value_type
        self.series_id, self.seq = series_id, seq
        self.lowest, self.highest = _INF, -_INF  # the wrong way round: none yet

    @classmethod
    def read(cls, driver: Driver, row: tuple[Any, ...]) -> "_Series":
        """A series that is known, of a row of `_SERIES_COLUMNS`."""
        *facts, lowest, highest, step, timestamp_ms, seq = row
        found = cls(*facts)
        if (step, timestamp_ms, seq) != (*found.latest[:2], found.seq):  # somebody logged who keeps no extremes
            lowest, highest = read_of_points(driver, found.series_id)
        if lowest is not None:
            found.lowest, found.highest = lowest, highest
        return found

    @property
    def is_mlflows(self) -> bool:
        """Whether only MLflow has logged into it, which knows no kinds: a row or table may have its name, too."""
        return self.seq == 0

    def values(self, run_key: int) -> tuple[Any, ...]:
        names = (self.name, self.metric, self.column, self.kind)
        extremes = (self.lowest, self.highest) if self.lowest <= self.highest else (None, None)
        kept_with = (*self.latest[:2], self.seq)
        return (run_key, *names, *self.latest, self.latest_type, self.series_id, self.seq, *extremes, *kept_with)


class LoggedGroup:
    """Values of one run, checked when made and written together in their order."""

    def __init__(self, logged: Sequence[LoggedValues | tuple[Any, ...]]) -> None:
        """Check everything. Raises InvalidValue; nothing has been written then."""
        self._logged = logged
        checked_names = set()
        for call in self._logged:
            name, kind, cells, step, _ = call
            # A plain float under a known name breaks no rule but a step's: most of what a training loop logs.
            if kind is MetricKind.SCALAR and type(cells) is float and step is None and name in checked_names:
                continue
            check_logged_values(LoggedValues(*call))
            checked_names.add(name)

    def write(self, connection: Connection, run_id: str) -> None:
        """Write it inside the caller's transaction. Raises NotFound, Deleted, InvalidValue (a name of another kind)."""
        driver = driver_connection(connection)
        writing = _Writing(driver, active_run(driver, run_id))
        if self._logged:
            writing.add_all(self._logged)


class _Writing:
    """The rows of one group, made call by call."""

    def __init__(self, driver: Driver, run_key: int) -> None:
        self._driver, self._run_key = driver, run_key
        self._rows: list[tuple[Any, ...]] = []
        self._vectors: dict[str, _Series] = {}
        self._grids: dict[str, dict[str, _Series]] = {}
        self._highest_id = 0

    def add_all(self, logged: Iterable[LoggedValues | tuple[Any, ...]]) -> None:
        """Write the calls."""
        vectors, add_row = self._vectors, self._rows.append
        for name, kind, cells, step, timestamp_ms in logged:
            if kind is not MetricKind.SCALAR:
                self._add(name, kind, cast(_Columns, cells), step, timestamp_ms)
                continue
            of = vectors.get(name)
            if of is None or of.kind not in ("scalar", "list"):
                of = self._vector(name, kind)
            of.seq = seq = of.seq + 1
            if step is None:
                step = seq - 1
            if type(cells) is float and cells == cells:
                value, value_type, text = cells, NUMBER, None
            else:
                value, value_type, text = _stored(cast(Cell, cells))
            if value_type == NUMBER:
                if value < of.lowest:
                    of.lowest = value
                if value > of.highest:
                    of.highest = value
            add_row((of.series_id, step, timestamp_ms, value, value_type, seq, text))
            if value_type != TEXT and (latest := (step, timestamp_ms, value)) > of.latest:
                of.latest, of.latest_type = latest, value_type
        changed = [*vectors.values(), *[column for grid in self._grids.values() for column in grid.values()]]
        _UPSERT_SERIES.run(self._driver, [of.values(self._run_key) for of in changed])
        _INSERT_POINTS.run(self._driver, self._rows)

    def _add(self, name: str, kind: MetricKind, columns: _Columns, step: int | None, timestamp_ms: int) -> None:
        if not any(columns.values()):  # nothing was logged: the name isn't taken
            return
        if kind in GRID_KINDS:
            grid = self._grid(name)
            first = 1 + max((column.seq for column in grid.values()), default=0)
            for column, cells in columns.items():
                self._add_cells(self._column(grid, name, column, kind), cells, first, step, timestamp_ms)
        else:
            of = self._vector(name, kind)
            self._add_cells(of, columns[""], of.seq + 1, step, timestamp_ms)

    def _add_cells(self, of: _Series, cells: Sequence[Cell], first: int, step: int | None, timestamp_ms: int) -> None:
        for seq, cell in enumerate(cells, start=first):
            value, value_type, text = _stored(cell)
            at = seq - 1 if step is None else step
            self._rows.append((of.series_id, at, timestamp_ms, value, value_type, seq, text))
            of.seq = seq
            if value_type == NUMBER:
                of.lowest, of.highest = min(of.lowest, value), max(of.highest, value)
            if value_type != TEXT and (latest := (at, timestamp_ms, value)) > of.latest:
                of.latest, of.latest_type = latest, value_type

    def _vector(self, name: str, kind: MetricKind) -> _Series:
        """The series of a metric that is no grid, a new one where there is none."""
        known = self._vectors.get(name)
        if known is None:
            row = _SELECT_ONE.run(self._driver, self._run_key, name).fetchone()
            known = None if row is None else _Series.read(self._driver, row)
            if (known is None or known.is_mlflows) and (grid := self._grid(name)):
                raise other_kind(name, MetricKind(next(iter(grid.values())).kind), kind)
            known = self._vectors[name] = known or self._new(name, name, "", kind)
        if known.column:
            raise _same_to_mlflow(name, name, known)
        check_same_kind(name, MetricKind(known.kind), kind)
        return known

    def _grid(self, name: str) -> dict[str, _Series]:
        """The columns of a row or table by name; empty where there is none."""
        known = self._grids.get(name)
        if known is None:
            rows = _SELECT_GRID.run(self._driver, self._run_key, f"{name}.", f"{name}/", name)
            known = self._grids[name] = {
                column.column: column for column in (_Series.read(self._driver, row) for row in rows.fetchall())
            }
        return known

    def _column(self, grid: dict[str, _Series], name: str, column: str, kind: MetricKind) -> _Series:
        if not grid:
            plain = self._vectors.get(name) or self._find(name)
            if plain is not None and not plain.column and not plain.is_mlflows:
                raise other_kind(name, MetricKind(plain.kind), kind)
        known = grid.get(column)
        if known is None:
            to_mlflow = f"{name}.{column}"
            taken = self._vectors.get(to_mlflow) or self._find(to_mlflow)
            for other in self._grids.values():
                taken = taken or next((of for of in other.values() if of.name == to_mlflow), None)
            if taken is not None:
                raise _same_to_mlflow(name, to_mlflow, taken)
            known = grid[column] = self._new(to_mlflow, name, column, kind)
        return known

    def _find(self, name: str) -> _Series | None:
        row = _SELECT_ONE.run(self._driver, self._run_key, name).fetchone()
        return None if row is None else _Series.read(self._driver, row)

    def _new(self, name: str, metric: str, column: str, kind: MetricKind) -> _Series:
        self._highest_id = (self._highest_id or highest_series_id(self._driver)) + 1
        return _Series(name, metric, column, kind.value, _STEP_BEFORE_ALL, 0, 0.0, TEXT, self._highest_id, 0)


def _stored(cell: Cell) -> tuple[float, int, str | None]:
    """`value`, `value_type` and `text` of a cell (`tables.points`)."""
    if cell is None or isinstance(cell, str):
        return 0.0, TEXT, cell
    if is_nan(cell):
        return 0.0, NAN, None
    if isinstance(cell, bool):
        return float(cell), NUMBER, "true" if cell else "false"
    if isinstance(cell, int):
        return float(cell), NUMBER, str(int(cell))
    return float(cell), NUMBER, None


def read_cell(value: float, value_type: int, text: str | None) -> Cell:
    """The cell that is stored so."""
    if value_type == TEXT:
        return text
    if value_type == NAN:
        return float("nan")
    if text is None:
        return value
    return text == "true" if text in ("true", "false") else int(text)


def _same_to_mlflow(name: str, to_mlflow: str, taken: _Series) -> InvalidValue:
    kind = MetricKind(taken.kind).words
    rule = f"MLflow would see it as {to_mlflow!r}, which the {kind} {taken.metric!r} is; choose another name"
    return InvalidValue("metric", name, rule)
