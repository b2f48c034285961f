"""What a model takes, and the check of what a request brings: 400 that names field, value and rule, never a traceback.

A model is one of four: it takes arrays of a width (`Arrays`), tables with typed columns (`Frames`), tensors (`Tensors`)
or whatever comes (`Anything`). A request with columns is put into the model's order where the model has names; where it
has none, their places count. Columns that a model doesn't have are left out, as MLflow does.
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from mlflow_amlstore.errors import InvalidValue, ModelNotLoaded
from mlflow_amlstore.scoring.payloads import Named, Records, Request, Table

_NUMBERS = "fiu"  # NumPy's kinds
_DTYPES = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32", "boolean": "bool"}


class Column(msgspec.Struct, frozen=True):
    """A column of a table; `type` is MLflow's word for it, or `any`. Without a name its place counts."""

    name: str
    type: str = "any"
    required: bool = True


class Tensor(msgspec.Struct, frozen=True):
    """A tensor; −1 in its shape is any size. Without a name it is the only one."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Checked(msgspec.Struct, frozen=True):
    """What a model is given. `doubt` is what to answer where the model refuses a value that only it can judge."""

    values: Any
    rows: int
    doubt: InvalidValue | None = None


class Inputs(Protocol):
    """What a model takes."""

    def check(self, request: Request) -> Checked:
        """What the model is given for a request. Raises InvalidValue."""

    def columns(self) -> Sequence[Column]:
        """The columns of a table, or of an array whose columns have names."""

    def tensors(self) -> Sequence[Tensor]:
        """The same as tensors."""


def _where(field: str, row: int, place: int | None = None, names: Sequence[str] = ()) -> str:
    if place is None:
        return f"{field}[{row}]"
    name = f" ({names[place]})" if place < len(names) else ""
    return f"{field}[{row}][{place}]{name}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Arrays:
    """Rows of numbers, `width` of them (None: any), in the order of `names` where the model has names."""

    def __init__(self, width: int | None, names: Sequence[str] = (), dtype: str = "float64", *, numeric: bool = False):
        self._width, self._names, self._dtype = width, tuple(names), np.dtype(dtype)
        self._numeric = numeric  # the signature says so; else the model is asked
        self._places = {name: place for place, name in enumerate(self._names)}

    def columns(self) -> Sequence[Column]:
        return [Column(name, _mlflow_type(self._dtype)) for name in self._names]

    def tensors(self) -> Sequence[Tensor]:
        return [Tensor("", self._dtype.name, (-1, -1 if self._width is None else self._width))]

    def check(self, request: Request) -> Checked:
        rows, field = self._rows(request)
        try:
            values = np.array(rows) if type(rows) is list else rows
        except (ValueError, OverflowError):
            values = None
        if (
            values is None
            or values.ndim != 2
            or values.dtype.kind not in _NUMBERS
            or (values.shape[1] != self._width and self._width is not None)
            or not values.shape[0]
        ):
            return self._unusual(rows, values, field)
        if values.dtype != self._dtype:
            values = self._cast(values, field)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            return Checked(values, len(values), self._not_finite(values, field))
        return Checked(values, len(values))

    def _rows(self, request: Request) -> tuple[Any, str]:
        """The rows of a request, in the model's order, and where they stand."""
        content, field = request.content, request.field
        if isinstance(content, Table):
            given = content.columns
            if given is None:
                return content.rows, field
            if field != "body":
                field = f"{field}.data" if field != "data" else field
            if self._names and tuple(given) != self._names and not _are_places(given):
                return self._picked(content.rows, _places(given, self._names, f"{request.field}.columns"), field), field
            if self._width is not None and len(given) != self._width:
                raise InvalidValue(
                    f"{request.field}.columns", given, f"must be {self._width}, as the model has features"
                )
            return content.rows, field
        if isinstance(content, Records):
            names = self._names or tuple(content.rows[0] if content.rows else ())
            rows = []
            for number, row in enumerate(content.rows):
                if not self._names and row.keys() != content.rows[0].keys():
                    rule = f"must have the columns of the first row: {', '.join(map(repr, names))}"
                    raise InvalidValue(_where(field, number), list(row)[:10], rule)
                try:
                    rows.append([row[name] for name in names])
                except KeyError as error:
                    raise InvalidValue(_where(field, number), list(row)[:10], f"lacks the column {error}") from None
            return rows, field
        return self._of_named(content.values, field)

    def _of_named(self, values: Mapping[str, Any], field: str) -> tuple[Any, str]:
        if len(values) == 1 and (len(self._names) != 1 or next(iter(values)) not in self._places):
            ((name, only),) = values.items()
            if self._names and self._width != 1 and np.ndim(only) < 2:
                raise InvalidValue(field, [name], f"lacks the column {next(n for n in self._names if n != name)!r}")
            return only, f"{field}.{name}"
        names = self._names or tuple(values)
        if missing := [name for name in names if name not in values]:
            raise InvalidValue(field, list(values)[:10], f"lacks the column {missing[0]!r}")
        columns = [_flat(values[name], f"{field}.{name}") for name in names]
        _equally_long(columns, names, field)
        return [list(row) for row in zip(*columns, strict=True)], field

    def _picked(self, rows: Any, places: Sequence[int], field: str) -> Any:
        picked, last = [], max(places)
        for number, row in enumerate(rows):
            if not isinstance(row, list) or len(row) <= last:
                raise InvalidValue(_where(field, number), row, "must be a list with a value for each of the columns")
            picked.append([row[place] for place in places])
        return picked

    def _cast(self, values: Any, field: str) -> Any:
        if self._dtype.kind in "iu" and values.dtype.kind == "f":
            wrong = np.argwhere(~(np.isfinite(values) & (values == np.floor(values))))
            if len(wrong):
                row, place = map(int, wrong[0])
                where = _where(field, row, place, self._names)
                raise InvalidValue(where, float(values[row, place]), "must be a whole number")
        return values.astype(self._dtype)

    def _unusual(self, rows: Any, values: Any, field: str) -> Checked:
        """Say what is wrong with rows; or, where nothing is but that they aren't numbers, leave it to the model."""
        if not isinstance(rows, list):
            rows = rows.tolist()
        if not isinstance(rows, list):
            raise InvalidValue(field, rows, "must be a list of rows")
        if not rows:
            raise InvalidValue(field, rows, "must have at least one row")
        if self._width is None and not self._numeric and not any(isinstance(row, list) for row in rows):
            values = np.array(rows, dtype=object if any(isinstance(row, str) for row in rows) else None)
            return Checked(values, len(rows), InvalidValue(_where(field, 0), rows[0], "isn't what the model takes"))
        doubt = None
        width = self._width
        for number, row in enumerate(rows):
            if not isinstance(row, list):
                rule = f"must be a row: a list of {width or 'the'} values, so that {field} is a list of lists"
                raise InvalidValue(_where(field, number), row, rule)
            if width is None:
                width = len(row)
            if len(row) != width:
                has = "the model has features" if self._width else "the first row has"
                raise InvalidValue(_where(field, number), row, f"must have {width} values, as {has}; it has {len(row)}")
            for place, value in enumerate(row):
                if type(value) is float or type(value) is int:
                    continue
                where = _where(field, number, place, self._names)
                if isinstance(value, list | dict):
                    raise InvalidValue(where, value, "must be a number, no list or object")
                if value is None:
                    doubt = doubt or InvalidValue(where, value, "must be a number: the model takes no missing values")
                elif self._numeric:
                    raise InvalidValue(where, value, "must be a number")
                else:
                    doubt = doubt or InvalidValue(where, value, "must be a number")
        has_texts = any(isinstance(value, str) for row in rows for value in row)
        values = np.array(rows, dtype=object)
        if not has_texts:
            try:
                values = values.astype(self._dtype)
            except (ValueError, TypeError, OverflowError) as error:
                if doubt is None:
                    raise InvalidValue(field, rows[0], "must be numbers that a float64 can hold") from error
                raise doubt from error
        return Checked(values, len(rows), doubt)

    def _not_finite(self, values: Any, field: str) -> InvalidValue:
        row, place = map(int, np.argwhere(~np.isfinite(values))[0])
        value = float(values[row, place])
        what = "missing values" if math.isnan(value) else "infinity"
        where = _where(field, row, place, self._names)
        return InvalidValue(where, value, f"must be a finite number: the model takes no {what}")


class Frames:
    """Tables with typed columns, given to the model as pandas' DataFrame."""

    def __init__(self, columns: Sequence[Column]) -> None:
        import pandas

        self._pandas = pandas
        self._columns = tuple(columns)
        self._names = tuple(column.name for column in columns)
        self._index = pandas.Index(self._names)
        has_doubles = all(column.type == "double" and column.required for column in columns)
        self._doubles = Arrays(len(columns), self._names, numeric=True) if has_doubles else None

    def columns(self) -> Sequence[Column]:
        return self._columns

    def tensors(self) -> Sequence[Tensor]:
        return [Tensor(column.name, _DTYPES.get(column.type, "object"), (-1,)) for column in self._columns]

    def check(self, request: Request) -> Checked:
        if self._doubles is not None:
            checked = self._doubles.check(request)
            frame = self._pandas.DataFrame(checked.values, columns=self._index, copy=False)
            return Checked(frame, checked.rows, checked.doubt)
        values, field = self._values(request)
        _equally_long(list(values.values()), list(values), field)
        doubts: list[InvalidValue] = []
        columns = {}
        count = len(next(iter(values.values()), ()))
        if not count:
            raise InvalidValue(field, [], "must have at least one row")
        for place, column in enumerate(self._columns):
            if column.name in values:
                columns[column.name] = _typed(column, place, values[column.name], field, doubts)
        frame = self._pandas.DataFrame(columns, copy=False)
        return Checked(frame, count, doubts[0] if doubts else None)

    def _values(self, request: Request) -> tuple[dict[str, Any], str]:
        """The columns of a request by name, and where they stand."""
        content, field = request.content, request.field
        if isinstance(content, Named):
            values = {name: _flat(value, f"{field}.{name}") for name, value in content.values.items()}
            self._all_there(values, field)
            return {name: values[name] for name in self._names if name in values}, field
        if isinstance(content, Records):
            for number, row in enumerate(content.rows):
                self._all_there(row, _where(field, number))
            some = [name for name in self._names if any(name in row for row in content.rows)]
            return {name: [row.get(name) for row in content.rows] for name in some}, field
        given = content.columns
        where = field if given is None or field == "body" else f"{field}.data"
        width = len(self._names) if given is None else len(given)
        for number, row in enumerate(content.rows):
            if not isinstance(row, list) or len(row) != width:
                raise InvalidValue(_where(where, number), row, f"must be a list of {width} values, one for each column")
        if not content.rows:
            raise InvalidValue(where, [], "must have at least one row")
        columns = list(zip(*content.rows, strict=True))
        if given is None or _are_places(given):
            if width != len(self._names):
                raise InvalidValue(f"{field}.columns", given, f"must be {len(self._names)}, as the model has columns")
            return dict(zip(self._names, columns, strict=True)), where
        named = dict(zip(map(str, given), columns, strict=True))
        self._all_there(named, f"{field}.columns")
        return {name: named[name] for name in self._names if name in named}, where

    def _all_there(self, given: Mapping[str, Any], field: str) -> None:
        for column in self._columns:
            if column.required and column.name not in given:
                raise InvalidValue(field, list(given)[:10], f"lacks the column {column.name!r}")


class Tensors:
    """Tensors of a type and shape: one without a name, or several by name."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = tuple(tensors)

    def columns(self) -> Sequence[Column]:
        return []

    def tensors(self) -> Sequence[Tensor]:
        return self._tensors

    def check(self, request: Request) -> Checked:
        content, field = request.content, request.field
        if isinstance(content, Named):
            given: dict[str, Any] = dict(content.values)
        elif isinstance(content, Records):
            given = {}
            for tensor in self._tensors:
                if any(tensor.name not in row for row in content.rows):
                    raise InvalidValue(field, list(content.rows[0])[:10], f"lacks the tensor {tensor.name!r}")
                given[tensor.name] = [row[tensor.name] for row in content.rows]
        else:
            given = {self._tensors[0].name: content.rows}
        if len(self._tensors) == 1 and len(given) == 1:
            given = {self._tensors[0].name: next(iter(given.values()))}
        values = {}
        for tensor in self._tensors:
            if tensor.name not in given:
                raise InvalidValue(field, list(given)[:10], f"lacks the tensor {tensor.name!r}")
            values[tensor.name] = _as_tensor(
                tensor, given[tensor.name], f"{field}.{tensor.name}" if tensor.name else field
            )
        rows = len(values[self._tensors[0].name]) if values[self._tensors[0].name].ndim else 1
        return Checked(values if self._tensors[0].name else values[""], rows)


class Anything:
    """What a model without a signature is given: a DataFrame where columns are named, else arrays."""

    def columns(self) -> Sequence[Column]:
        return []

    def tensors(self) -> Sequence[Tensor]:
        return []

    def check(self, request: Request) -> Checked:
        content, field = request.content, request.field
        try:
            if isinstance(content, Named):
                arrays = {name: np.array(value) for name, value in content.values.items()}
                return Checked(arrays, len(next(iter(arrays.values()))) if arrays else 0)
            if isinstance(content, Table) and content.columns is None:
                return Checked(np.array(content.rows), len(content.rows))
            import pandas

            columns = content.columns if isinstance(content, Table) else None
            return Checked(pandas.DataFrame(content.rows, columns=columns), len(content.rows))
        except (ValueError, TypeError, OverflowError) as error:
            rule = f"must be rows that are equally long, with as many values as there are columns ({error})"
            raise InvalidValue(field, "…", rule) from error


def from_signature(signature: Mapping[str, Any]) -> Inputs | None:
    """What MLflow's signature says that a model takes; None where it says nothing. Raises ModelNotLoaded."""
    said = _json(signature.get("inputs"))
    if not said:
        return None
    try:
        if said[0].get("type") == "tensor":
            specs = [(one.get("name") or "", one["tensor-spec"]) for one in said]
            tensors = [Tensor(name, spec["dtype"], tuple(spec["shape"])) for name, spec in specs]
            (first, *others) = tensors
            is_table = not others and not first.name and len(first.shape) == 2 and first.shape[0] == -1
            if is_table and np.dtype(first.dtype).kind in _NUMBERS:
                return Arrays(None if first.shape[1] < 0 else first.shape[1], (), first.dtype, numeric=True)
            return Tensors(tensors)
        columns = [Column(one.get("name") or "", str(one["type"]), one.get("required", True)) for one in said]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelNotLoaded("SignatureInvalid", f"its signature isn't MLflow's: {said!r:.200}") from error
    if not all(column.name for column in columns):
        kinds = {_DTYPES.get(column.type, "object") for column in columns}
        numeric = "object" not in kinds and "bool" not in kinds
        return Arrays(len(columns), (), kinds.pop() if len(kinds) == 1 else "float64", numeric=numeric)
    return Frames(columns)


def gives_frames(signature: Mapping[str, Any]) -> bool:
    """Whether a signature says that the model's answers are tables with named columns."""
    said = _json(signature.get("outputs"))
    return bool(said) and said[0].get("type") != "tensor" and bool(said[0].get("name"))


def known_params(signature: Mapping[str, Any] | None) -> list[str]:
    """The names of the parameters that a signature has."""
    return [str(one.get("name")) for one in _json((signature or {}).get("params")) or []]


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _mlflow_type(dtype: Any) -> str:
    return next((name for name, known in _DTYPES.items() if known == dtype.name), "any")


def _are_places(names: Sequence[Any]) -> bool:
    """Whether columns are named by their places, as pandas does where there are no names."""
    return all(type(name) is int or (isinstance(name, str) and name.isdecimal()) for name in names) and [
        int(name) for name in names
    ] == list(range(len(names)))


def _places(given: Sequence[Any], wanted: Sequence[str], field: str) -> list[int]:
    places = {str(name): place for place, name in enumerate(given)}
    if len(places) != len(given):
        raise InvalidValue(field, list(given)[:10], "has a name twice")
    if missing := [name for name in wanted if name not in places]:
        raise InvalidValue(field, list(given)[:10], f"lacks the column {missing[0]!r}")
    return [places[name] for name in wanted]


def _flat(values: Any, field: str) -> list[Any]:
    """A column that is a list, or an array of one dimension, or of two with one value in a row."""
    if isinstance(values, np.ndarray):
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        values = values.tolist()
    if not isinstance(values, list):
        raise InvalidValue(field, values, "must be a list with the column's value for each row")
    return values


def _equally_long(columns: Sequence[Sequence[Any]], names: Sequence[str], field: str) -> None:
    for name, column in zip(names, columns, strict=True):
        if len(column) != len(columns[0]):
            rule = f"must have as many values as {names[0]!r}: {len(columns[0])}"
            raise InvalidValue(f"{field}.{name}", len(column), rule)


def _typed(column: Column, place: int, values: Sequence[Any], field: str, doubts: list[InvalidValue]) -> Any:
    """A column as an array of its type."""
    kind, name = column.type, (column.name,)

    def wrong(row: int, rule: str) -> InvalidValue:
        return InvalidValue(f"{field}[{row}].{column.name}", values[row], rule)

    def finite(array: Any) -> Any:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            what = "infinity" if math.isinf(array[row]) else "missing values"
            doubts.append(wrong(row, f"must be a finite number: the model takes no {what}"))
        return array

    if kind in ("double", "float"):
        for row, value in enumerate(values):
            if not _is_number(value) and value is not None:
                raise wrong(row, "must be a number")
        return finite(np.array(values, dtype=_DTYPES[kind]))
    if kind in ("long", "integer"):
        room = np.iinfo(_DTYPES[kind])
        for row, value in enumerate(values):
            if not _is_number(value) or value != value or value in (math.inf, -math.inf) or value != int(value):
                raise wrong(row, "must be a whole number")
            if not room.min <= value <= room.max:
                raise wrong(row, f"must be a whole number from {room.min} to {room.max}")
        return np.array([int(value) for value in values], dtype=_DTYPES[kind])
    if kind == "boolean":
        for row, value in enumerate(values):
            if not isinstance(value, bool):
                raise wrong(row, "must be true or false")
        return np.array(values, dtype=bool)
    if kind in ("string", "binary", "datetime"):
        for row, value in enumerate(values):
            if value is None:
                doubts.append(wrong(row, "must be a text: the model takes no missing values"))
            elif not isinstance(value, str):
                raise wrong(row, "must be a text")
    if kind == "binary":
        try:
            return _objects([None if value is None else base64.b64decode(value, validate=True) for value in values])
        except (binascii.Error, ValueError) as error:
            raise InvalidValue(f"{field}[…].{name[0]}", "…", "must be bytes in base64") from error
    if kind == "datetime":
        try:
            return np.array([np.datetime64("NaT" if value is None else value) for value in values], "datetime64[ns]")
        except ValueError as error:
            raise InvalidValue(
                f"{field}[…].{name[0]}", values[0], "must be a time such as 2026-01-31T12:00:00"
            ) from error
    if kind == "any":
        kinds = {type(value) for value in values}
        if kinds <= {int, float}:
            return finite(np.array(values))
        if kinds <= {int, float, type(None)}:
            return finite(np.array(values, dtype=float))
        if kinds == {bool}:
            return np.array(values)
        doubts.append(wrong(0, "isn't what the model takes in this column"))
    return _objects(values)


def _objects(values: Sequence[Any]) -> Any:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _as_tensor(tensor: Tensor, value: Any, field: str) -> Any:
    wanted = None if tensor.dtype in ("object", "str", "string") else np.dtype(tensor.dtype)
    try:
        values = np.array(value)
    except (ValueError, OverflowError) as error:
        raise InvalidValue(field, value, "must be a tensor: lists that are equally long") from error
    if len(values.shape) != len(tensor.shape) or any(
        size not in (-1, has) for size, has in zip(tensor.shape, values.shape, strict=True)
    ):
        shape = [size if size >= 0 else "any" for size in tensor.shape]
        raise InvalidValue(field, list(values.shape), f"is its shape, which must be {shape}")
    if wanted is None:
        return values.astype(object)
    fits = {"f": _NUMBERS, "b": "b", "i": "iu", "u": "iu"}.get(wanted.kind, values.dtype.kind)
    if values.dtype.kind not in fits and not (wanted.kind in "iu" and _is_whole(values)):
        raise InvalidValue(field, value, f"must be of the type {wanted.name}")
    return values.astype(wanted, copy=False)


def _is_whole(values: Any) -> bool:
    return values.dtype.kind == "f" and bool(np.isfinite(values).all() and (values == np.floor(values)).all())
