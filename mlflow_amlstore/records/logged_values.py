"""The rules for what the `Run` vocabulary logs. They hold at the call, before a value waits in any buffer, and again
where it is written; each function raises InvalidValue with the metric's name and the value."""

import math
from collections.abc import Mapping, Sequence

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.locations import check_new_path
from mlflow_amlstore.records.types import FILE_KINDS, GRID_KINDS, VECTOR_KINDS, Cell, LoggedValues, MetricKind
from mlflow_amlstore.records.validation import (
    MAX_TAG_VALUE_LENGTH,
    check_integer,
    check_length,
    check_text_name,
    is_text_name,
)

_CELL_RULE = "must be a number, a boolean, a string or None"


def check_logged_values(logged: LoggedValues) -> None:
    """One call's name, kind, cells, step and time."""
    name, kind, cells, step, timestamp_ms = logged
    if type(name) is not str or not is_text_name(name):
        check_text_name("metric", name)
    if step is not None:
        check_integer(f"step of metric {name!r}", step)
    if type(timestamp_ms) is not int or timestamp_ms < 0:
        check_integer(f"timestamp of metric {name!r}", timestamp_ms, minimum=0)
    if kind is MetricKind.SCALAR:
        check_cell(f"metric {name!r}", cells)
        return
    if not isinstance(cells, Mapping) or not cells:
        raise InvalidValue(f"metric {name!r}", cells, "must have at least one column")
    if kind in GRID_KINDS:
        _check_grid(name, kind, cells)
        return
    if list(cells) != [""]:
        raise InvalidValue(f"metric {name!r}", list(cells), f'a {kind.words} has one column, ""')
    for cell in cells[""]:
        check_cell(f"metric {name!r}", cell)
        if kind in FILE_KINDS:
            check_new_path(str(cell))


def _check_grid(name: str, kind: MetricKind, columns: Mapping[str, Sequence[Cell]]) -> None:
    lengths = {column: len(cells) for column, cells in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidValue(f"metric {name!r}", lengths, "columns must be of equal length")
    if kind is MetricKind.ROW and set(lengths.values()) != {1}:
        raise InvalidValue(f"metric {name!r}", lengths, "a row has one cell in each column")
    for column, cells in columns.items():
        if type(column) is not str or not is_text_name(column):
            check_text_name(f"column of metric {name!r}", column)
        for cell in cells:
            if type(cell) is not float:  # the rest of it costs more than the check
                check_cell(f"metric {name!r}, column {column!r}", cell)


def check_cell(field: str, cell: object) -> None:
    """A value that a metric may have."""
    if cell is None or isinstance(cell, float):
        return
    if isinstance(cell, int):
        if cell.bit_length() > 1023:
            raise InvalidValue(field, f"an integer of {cell.bit_length()} bits", "must fit in a 64-bit float")
    elif isinstance(cell, str):
        try:
            cell.encode()
        except UnicodeEncodeError as error:
            raise InvalidValue(field, cell, "must be valid Unicode") from error
    else:
        raise InvalidValue(field, cell, _CELL_RULE)


def check_description(name: str, description: object) -> None:
    """What is said of a metric: a text as long as a tag's value may be."""
    field = f"description of metric {name!r}"
    check_length(field, description, MAX_TAG_VALUE_LENGTH)
    check_cell(field, description)


def check_same_kind(name: str, known: MetricKind, kind: MetricKind) -> None:
    """A name stays what it was first logged as: scalars and lists are one kind here, and so are rows and tables."""
    if kind is known or any({kind, known} <= alike for alike in (VECTOR_KINDS, GRID_KINDS)):
        return
    raise other_kind(name, known, kind)


def other_kind(name: str, known: MetricKind, wanted: MetricKind) -> InvalidValue:
    """What is raised for a name that is another kind of metric."""
    return InvalidValue(
        "metric", name, f"is already logged as a {known.words}; choose another name for the {wanted.words}"
    )


def is_nan(cell: Cell) -> bool:
    """Whether the cell is the number NaN; the string "NaN" is a string."""
    return isinstance(cell, float) and math.isnan(cell)
