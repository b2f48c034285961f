"""Requests and answers in every format: what a body asks for, as one plain request, and an answer in its shape.

| body | from | answer |
|---|---|---|
| `{"data": …, "method"}` | Azure ML's scikit-learn image | the prediction: a list |
| `{"input_data": …}` | Azure ML's MLflow image | the prediction: a list, or a table's records |
| `{"dataframe_split" | "dataframe_records" | "instances" | "inputs": …}`, CSV | MLflow | `{"predictions": …}` |
| `{"inputs": [{"name", "shape", "datatype", "data"}]}` | KServe V2 | `{"outputs": [{…}]}` |
| `{"instances" | "inputs": …}` on `…:predict` | TensorFlow Serving | `{"predictions": …}`, `{"outputs": …}` |

Numbers are written so that they read back as the same ones: a float32 as the float64 that it is. What JSON has no
number for (NaN, infinity) is `null`.
"""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np

from mlflow_amlstore.errors import BadRequest, InvalidValue

Style = Literal["classic", "input_data", "mlflow", "v2", "serving rows", "serving columns"]
V2_TYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "object",
}
"""KServe's names of types, and NumPy's."""
_V2_NAMES = {name: kind for kind, name in V2_TYPES.items()}
FORMATS = ("data", "input_data", "dataframe_split", "dataframe_records", "instances", "inputs")
"""The fields that a body has one of."""
_BESIDE = {"method", "params", "id", "parameters", "outputs", "signature_name"}


def v2_type(name: str) -> str:
    """KServe's name of a NumPy type."""
    return _V2_NAMES.get(name, "BYTES")


class Table(msgspec.Struct, frozen=True, gc=False):
    """Rows of values; `columns` are their names where the request gives them."""

    columns: list[Any] | None
    rows: list[Any]


class Records(msgspec.Struct, frozen=True, gc=False):
    """Rows that are objects: a value by its column's name."""

    rows: list[Any]


class Named(msgspec.Struct, frozen=True, gc=False):
    """Whole columns or tensors by name: lists, or arrays."""

    values: dict[str, Any]


class Request(msgspec.Struct, frozen=True, gc=False):
    """What a body asks for; `field` is where its values stand in it."""

    style: Style
    field: str
    content: Table | Records | Named
    method: str | None = None
    params: dict[str, Any] | None = None
    id: str | None = None
    outputs: tuple[str, ...] = ()


_decode = msgspec.json.Decoder().decode


def read(body: bytes, *, is_csv: bool = False, is_serving: bool = False, is_v2: bool = False) -> Request:
    """The request that a body is. Raises BadRequest or InvalidValue, which name what is wrong."""
    if is_csv:
        return Request("mlflow", "body", _csv(body))
    document = _document(body)
    found = [name for name in document if name in FORMATS]
    if len(found) != 1:
        has = f"has {' and '.join(map(repr, found))}" if found else f"has {_listed(document)}"
        raise InvalidValue("body", list(document)[:10], f"must have one of {', '.join(FORMATS)}; it {has}")
    field = found[0]
    if len(document) == 1:
        method = params = None
    else:
        if unknown := [name for name in document if name != field and name not in _BESIDE]:
            raise InvalidValue("body", unknown[0], f"is no field beside {field!r}; method and params are")
        method, params = document.get("method"), document.get("params")
        if method is not None and not isinstance(method, str):
            raise InvalidValue("method", method, "must be a text")
        if params is not None and not isinstance(params, dict):
            raise InvalidValue("params", params, "must be an object: {name: value}")
    value = document[field]
    if field == "data":
        return Request("classic", field, _anything(field, value), method, params)
    if field == "inputs" and (is_v2 or _is_v2(value)):
        return _v2(document, value, method, params)
    if is_v2:
        raise InvalidValue(
            "body", field, "must be 'inputs': KServe's protocol has [{name, shape, datatype, data}] there"
        )
    if field == "input_data":
        return Request("input_data", field, _anything(field, value), method, params)
    if is_serving and field in ("instances", "inputs"):
        style: Style = "serving rows" if field == "instances" else "serving columns"
        return Request(style, field, _anything(field, value), method, params)
    if field == "dataframe_split":
        if not isinstance(value, dict):
            raise InvalidValue(field, value, 'must be an object: {"columns": […], "data": [[…], …]}')
        return Request("mlflow", field, _split(field, value), method, params)
    if field == "dataframe_records" and not (isinstance(value, list) and all(isinstance(row, dict) for row in value)):
        raise InvalidValue(field, value, "must be a list of objects, one for each row: [{column: value, …}, …]")
    return Request("mlflow", field, _anything(field, value), method, params)


def _document(body: bytes) -> dict[str, Any]:
    if not body:
        raise BadRequest('The request\'s body is empty; it must be a JSON object such as {"data": [[…], …]}')
    try:
        document = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        document = _with_nan(body, error)
    except RecursionError as error:
        raise BadRequest("The request's body is nested too deeply") from error
    if not isinstance(document, dict):
        raise InvalidValue("body", document, f"must be a JSON object with one of {', '.join(FORMATS)}")
    return document


def _with_nan(body: bytes, first: Exception) -> Any:
    """Python's own JSON has NaN and Infinity, and its clients send them: the check of values says what is wrong."""
    if b"NaN" in body or b"Infinity" in body:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            pass
    raise BadRequest(f"The request's body could not be decoded as JSON: {first}") from first


def _anything(field: str, value: Any) -> Table | Records | Named:
    """Rows, records, a table's parts, or columns by name: whichever a value looks like."""
    if isinstance(value, list):
        if value and isinstance(value[0], dict):
            for number, row in enumerate(value):
                if not isinstance(row, dict):
                    raise InvalidValue(f"{field}[{number}]", row, "must be an object, as the first row is")
            return Records(value)
        return Table(None, value)
    if isinstance(value, dict):
        if "data" in value and isinstance(value["data"], list) and value.keys() <= {"columns", "index", "data"}:
            return _split(field, value)
        return Named(value)
    raise InvalidValue(field, value, "must be a list of rows or an object")


def _split(field: str, value: dict[str, Any]) -> Table:
    if unknown := value.keys() - {"columns", "index", "data"}:
        raise InvalidValue(field, sorted(unknown)[0], "is no part of a split table: columns, index and data are")
    if "data" not in value:
        raise InvalidValue(field, sorted(value), "lacks 'data', the list of rows")
    columns, rows = value.get("columns"), value["data"]
    if not isinstance(rows, list):
        raise InvalidValue(f"{field}.data", rows, "must be a list of rows")
    if columns is not None and not isinstance(columns, list):
        raise InvalidValue(f"{field}.columns", columns, "must be a list of names")
    index = value.get("index")
    if isinstance(index, list) and len(index) != len(rows):
        raise InvalidValue(f"{field}.index", len(index), f"must have a label for each row of data: {len(rows)}")
    return Table(columns, rows)


def _is_v2(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, dict) and one.keys() >= {"name", "shape", "datatype"} for one in value)
    )


def _v2(document: dict[str, Any], value: Any, method: str | None, params: dict[str, Any] | None) -> Request:
    if not isinstance(value, list) or not value:
        raise InvalidValue("inputs", value, "must be a list of tensors: [{name, shape, datatype, data}]")
    values: dict[str, Any] = {}
    for number, one in enumerate(value):
        name, tensor = _tensor(f"inputs[{number}]", one)
        if name in values:
            raise InvalidValue(f"inputs[{number}].name", name, "stands twice")
        values[name] = tensor
    asked = document.get("outputs") or []
    if not (
        isinstance(asked, list) and all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in asked)
    ):
        raise InvalidValue("outputs", asked, "must be a list of objects with a name: [{name}]")
    id = document.get("id")
    given = params or document.get("parameters") or None
    return Request(
        "v2",
        "inputs",
        Named(values),
        method,
        given,
        None if id is None else str(id),
        tuple(one["name"] for one in asked),
    )


def _tensor(field: str, given: Any) -> tuple[str, Any]:
    if not isinstance(given, dict):
        raise InvalidValue(field, given, "must be an object: {name, shape, datatype, data}")
    for part in ("name", "shape", "datatype", "data"):
        if part not in given:
            raise InvalidValue(field, sorted(given), f"lacks {part!r}; a tensor has name, shape, datatype and data")
    name, shape, kind, data = given["name"], given["shape"], given["datatype"], given["data"]
    if kind not in V2_TYPES:
        raise InvalidValue(f"{field}.datatype", kind, f"must be one of {', '.join(V2_TYPES)}")
    if not (isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)):
        raise InvalidValue(f"{field}.shape", shape, "must be a list of sizes")
    try:
        tensor = np.array(data)
    except (ValueError, OverflowError) as error:
        raise InvalidValue(
            f"{field}.data", data, "must be a list of values, or of lists that are equally long"
        ) from error
    wanted = np.dtype(V2_TYPES[kind])
    if not (wanted.kind == "O" or _holds(tensor, wanted)):
        raise InvalidValue(f"{field}.data", data, f"must be values of the datatype {kind}")
    count = 1
    for size in shape:
        count *= size
    if tensor.size != count:
        raise InvalidValue(f"{field}.shape", shape, f"means {count} values, but data has {tensor.size}")
    return str(name), tensor.astype(wanted, copy=False).reshape(shape)


def _holds(values: Any, kind: Any) -> bool:
    """Whether a type has room for values as they are, but for a float's last digits."""
    if not values.size:
        return True
    if kind.kind == "f":
        return values.dtype.kind in "fiu"
    if kind.kind == "b":
        return values.dtype.kind == "b" or (values.dtype.kind in "iu" and bool(((values == 0) | (values == 1)).all()))
    if values.dtype.kind not in "iu":
        return False
    room = np.iinfo(kind)
    return int(values.min()) >= room.min and int(values.max()) <= room.max


def _csv(body: bytes) -> Table:
    """A table whose first line names the columns, as MLflow's server reads it. A value that is a number is one."""
    try:
        lines = list(csv.reader(io.StringIO(body.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadRequest(f"The request's body could not be read as CSV: {error}") from error
    lines = [line for line in lines if line]
    if not lines:
        raise BadRequest("The request's body is empty; CSV has a line with the columns' names first")
    return Table(lines[0], [[_csv_value(text) for text in line] for line in lines[1:]])


def _csv_value(text: str) -> Any:
    if text == "":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, list(names)[:5])) or "no field"


def _unusual(value: Any) -> Any:
    """What msgspec doesn't write by itself."""
    return plain(value) if hasattr(value, "tolist") or hasattr(value, "to_dict") else _as_text(value)


def _as_text(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"The model gave a {type(value).__name__}, which JSON has nothing for")


encode = msgspec.json.Encoder(enc_hook=_unusual).encode
"""A value as JSON."""


def plain(result: Any) -> Any:
    """A prediction as what JSON has: a table as its records, as MLflow writes them."""
    if isinstance(result, np.ndarray):
        if result.dtype.kind in "mM":
            return np.datetime_as_string(result).tolist() if result.dtype.kind == "M" else result.astype(str).tolist()
        return result.tolist()
    if hasattr(result, "to_dict"):  # pandas'
        frame = result if hasattr(result, "columns") else result.to_frame()
        return frame.to_dict(orient="records")
    if isinstance(result, np.generic):
        return result.item()
    if isinstance(result, Mapping):
        return {str(name): plain(value) for name, value in result.items()}
    if hasattr(result, "toarray"):  # SciPy's sparse matrices
        return result.toarray().tolist()
    return result


def answer(request: Request, result: Any, method: str, *, model: str, version: int) -> bytes:
    """A prediction in the shape of the format that asked for it."""
    style = request.style
    if style == "classic" or style == "input_data":
        return encode(plain(result))
    if style == "v2":
        return encode(_v2_answer(request, result, method, model, version))
    return encode({"outputs" if style == "serving columns" else "predictions": plain(result)})


def _v2_answer(request: Request, result: Any, method: str, model: str, version: int) -> dict[str, Any]:
    if hasattr(result, "columns") and hasattr(result, "items"):
        parts = {str(name): column.to_numpy() for name, column in result.items()}
    elif isinstance(result, Mapping):
        parts = {str(name): np.asarray(value) for name, value in result.items()}
    else:
        parts = {method: np.asarray(result.toarray() if hasattr(result, "toarray") else result)}
    outputs = []
    for name, tensor in parts.items():
        kind = v2_type(tensor.dtype.name)
        data = tensor.ravel() if kind != "BYTES" else tensor.astype(object).ravel()
        outputs.append({"name": name, "shape": list(tensor.shape), "datatype": kind, "data": plain(data)})
    said: dict[str, Any] = {"model_name": model, "model_version": str(version), "outputs": outputs}
    if request.id is not None:
        said["id"] = request.id
    return said
