"""Makes plain cells, as metrics hold them, from the values of scripts, such as NumPy's and pandas'.

Values are recognised by their methods, not by their types, so NumPy, pandas and tensor libraries aren't imported.
"""

import numbers
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.types import Cell

_MISSING = {"NAType", "NaTType"}  # pandas' types for what isn't there


def as_cell(field: str, value: object) -> Cell:
    """One value: a number, boolean, string or None, or an array, tensor or NumPy scalar that holds one of them.

    Raises InvalidValue; for a list or a dict, the error names the call that takes it.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return _exact(value)
    if isinstance(value, Mapping):
        raise InvalidValue(field, value, "must be one value; log_row or log_table takes columns by name")
    if hasattr(value, "item") and hasattr(value, "dtype"):
        if getattr(value, "size", 1) != 1 and not callable(getattr(value, "size", None)):
            raise InvalidValue(field, value, "must be one value; log_list takes several")
        try:
            return as_cell(field, value.item())
        except (ValueError, TypeError, RuntimeError) as error:  # a tensor of several values
            raise InvalidValue(field, value, f"must be one value ({error}); log_list takes several") from None
    if isinstance(value, list | tuple | set | frozenset):
        raise InvalidValue(field, value, "must be one value; log_list takes several")
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real | Decimal):
        return float(value)
    if type(value).__name__ in _MISSING:
        return None
    raise InvalidValue(field, value, "must be a number, a boolean, a string or None")


def _exact(value: Any) -> Cell:
    """The plain value, also of a subclass such as NumPy's float64 or an enum."""
    if value is None or type(value) in (float, int, bool, str):
        return value  # type: ignore[no-any-return]  # it is one of these
    kind = next(kind for kind in (bool, int, float, str) if isinstance(value, kind))
    return kind.__call__(value) if kind is not str else str.__str__(value)


def as_cells(field: str, values: object) -> list[Cell]:
    """Several values, from any iterable, such as a generator. Raises InvalidValue."""
    if isinstance(values, str | bytes):
        raise InvalidValue(field, values, "must be several values, such as a list; log takes one")
    if isinstance(values, Mapping):
        raise InvalidValue(field, values, "must be several values, such as a list; log_table takes columns by name")
    if getattr(values, "ndim", 1) != 1:
        raise InvalidValue(field, values, "must have one dimension; log_table takes columns by name")
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, Iterable):
        raise InvalidValue(field, values, "must be several values, such as a list; log takes one")
    cells = list(values)
    if all(type(cell) is float for cell in cells):
        return cells
    return [as_cell(f"{field}, position {position}", cell) for position, cell in enumerate(cells)]


def _is_one_value(cell: object) -> bool:
    return cell is None or isinstance(cell, str | bool | int | float) or getattr(cell, "ndim", None) == 0


def as_columns(field: str, values: object) -> Mapping[str, Sequence[Cell]]:
    """Columns by name, from a dict of lists, a dict of values (one row) or a data frame. Raises InvalidValue."""
    if not isinstance(values, Mapping) and hasattr(values, "columns") and hasattr(values, "items"):
        values = dict(values.items())
    if not isinstance(values, Mapping):
        raise InvalidValue(field, values, "must be columns by name, such as {'x': [1, 2], 'y': [3, 4]}")
    if values and all(map(_is_one_value, values.values())):
        values = {name: [cell] for name, cell in values.items()}
    columns: dict[str, Sequence[Cell]] = {}
    for name, cells in values.items():
        if str(name) in columns:
            raise InvalidValue(field, str(name), "two columns have this name")
        columns[str(name)] = as_cells(f"{field}, column {str(name)!r}", cells)
    return columns
