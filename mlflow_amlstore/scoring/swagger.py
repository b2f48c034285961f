"""What an endpoint says of itself: Swagger 2.0 and OpenAPI 3.0.3, with an example that can be sent as it is.

Paths, names of schemas and `format` are those of Azure ML's images: azureml-mlflow reads `ServiceOutput.format`.
"""

from collections.abc import Callable, Sequence
from typing import Any

from mlflow_amlstore.scoring.deployment import Deployment
from mlflow_amlstore.scoring.inputs import Column, Inputs
from mlflow_amlstore.scoring.model import Model
from mlflow_amlstore.scoring.payloads import FORMATS, encode

VERSIONS = {"2": "2.0", "3": "3.0.3"}
ARRAY_FORMAT, FRAME_FORMAT = "numpy.ndarray", "pandas.DataFrame"
_TYPES = {
    "double": {"type": "number", "format": "double"},
    "float": {"type": "number", "format": "float"},
    "long": {"type": "integer", "format": "int64"},
    "integer": {"type": "integer", "format": "int32"},
    "boolean": {"type": "boolean"},
    "string": {"type": "string"},
    "binary": {"type": "string", "format": "byte"},
    "datetime": {"type": "string", "format": "date-time"},
}
_VALUES = {"long": 0, "integer": 0, "boolean": False, "string": "text", "binary": "", "datetime": "2026-01-31T12:00:00"}


def example_of(deployment: Deployment, inputs: Inputs) -> dict[str, Any] | None:
    """A body that the endpoint takes: the deployment's example, or one of zeros; None where nothing is known."""
    given = deployment.example
    if (
        isinstance(given, dict)
        and not {"columns", "data"} <= given.keys()
        and sum(name in FORMATS for name in given) == 1
    ):
        return given
    if isinstance(given, dict):
        return {"input_data": given}
    if isinstance(given, list):
        return {"data": given}
    columns, tensors = inputs.columns(), inputs.tensors()
    if columns:
        names = [column.name for column in columns]
        return {"input_data": {"columns": names, "data": [[_VALUES.get(column.type, 0.0) for column in columns]]}}
    if len(tensors) == 1 and tensors[0].shape[1:].count(-1) == 0:
        return {"data": _zeros([1, *tensors[0].shape[1:]])}
    if tensors:
        return {"inputs": {tensor.name: _zeros([max(size, 1) for size in tensor.shape]) for tensor in tensors}}
    return None


def document(deployment: Deployment, model: Model, version: str) -> bytes:
    """The document of a version in `VERSIONS`, as JSON."""
    is_3 = version == "3"
    refer: Callable[[str], dict[str, str]] = (
        (lambda name: {"$ref": f"#/components/schemas/{name}"})
        if is_3
        else (lambda name: {"$ref": f"#/definitions/{name}"})
    )
    schemas = {
        "ServiceInput": _input(deployment, model),
        "ServiceOutput": {
            "type": "array",
            "items": {"type": "object"} if model.answers_frames else {"type": "number"},
            "format": FRAME_FORMAT if model.answers_frames else ARRAY_FORMAT,
        },
        "ErrorResponse": {
            "type": "object",
            "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
        },
    }
    secured: dict[str, Any] = {"security": [{"Bearer": []}]} if deployment.auth else {}

    def answers(schema: dict[str, Any], means: str) -> dict[str, Any]:
        return {
            "description": means,
            **({"content": {"application/json": {"schema": schema}}} if is_3 else {"schema": schema}),
        }

    failed = answers(refer("ErrorResponse"), "What is wrong")
    taken: dict[str, Any]
    if is_3:
        taken = {"requestBody": {"required": True, "content": {"application/json": {"schema": refer("ServiceInput")}}}}
    else:
        given = {"name": "serviceInputPayload", "in": "body", "required": True, "schema": refer("ServiceInput")}
        taken = {"consumes": ["application/json"], "produces": ["application/json"], "parameters": [given]}
    score = {
        "operationId": "RunMLService",
        "description": f"Ask the model {deployment.model_name}, version {deployment.model_version}",
        **secured,
        **taken,
        "responses": {"200": answers(refer("ServiceOutput"), "The prediction"), "default": failed},
    }
    health = {
        "operationId": "ServiceHealthCheck",
        "description": "Whether the endpoint answers",
        "responses": {"200": {"description": "It does"}},
    }
    named: dict[str, Any] = {
        "info": {"title": deployment.endpoint, "version": str(deployment.number)},
        "paths": {"/": {"get": health}, "/score": {"post": score}},
    }
    bearer = {"type": "apiKey", "name": "Authorization", "in": "header", "description": "Bearer and one of the keys"}
    securing = {"Bearer": bearer} if deployment.auth else {}
    if is_3:
        return encode({"openapi": "3.0.3", **named, "components": {"schemas": schemas, "securitySchemes": securing}})
    return encode({"swagger": "2.0", **named, "securityDefinitions": securing, "definitions": schemas})


def _input(deployment: Deployment, model: Model) -> dict[str, Any]:
    example = example_of(deployment, model.inputs)
    rows = _rows(model.inputs)
    field = next((name for name in example or () if name in FORMATS), "data")
    schema: dict[str, Any] = {
        "type": "object",
        "required": [field],
        "properties": {
            field: rows if field == "data" else {"type": "object"},
            "method": {"type": "string", "enum": list(model.methods)},
        },
    }
    if field not in ("data", "input_data", "dataframe_split") or isinstance((example or {}).get(field), list):
        schema["properties"][field] = rows
    if example is not None:
        schema["example"] = example
    return schema


def _rows(inputs: Inputs) -> dict[str, Any]:
    columns: Sequence[Column] = inputs.columns()
    tensors = inputs.tensors()
    if columns:
        kinds = {column.type for column in columns}
        kind = _TYPES.get(kinds.pop(), {}) if len(kinds) == 1 else {}
        row = {"type": "array", "items": kind, "minItems": len(columns), "maxItems": len(columns)}
        return {"type": "array", "items": row, "format": FRAME_FORMAT}
    if len(tensors) != 1:
        return {"type": "array", "items": {}}
    is_whole = tensors[0].dtype.startswith(("int", "uint"))
    value: dict[str, Any] = (
        {"type": "integer", "format": "int64"} if is_whole else {"type": "number", "format": "double"}
    )
    for size in reversed(tensors[0].shape):
        sizes = {"minItems": size, "maxItems": size} if size >= 0 else {}
        value = {"type": "array", "items": value, **sizes}
    return {**value, "format": ARRAY_FORMAT}


def _zeros(shape: Sequence[int]) -> Any:
    return [_zeros(shape[1:]) for _ in range(shape[0])] if shape else 0.0
