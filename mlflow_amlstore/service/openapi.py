"""The OpenAPI document (3.1), made from the route table."""

import re
from functools import lru_cache
from typing import Any, get_args, get_origin

import msgspec

import mlflow_amlstore
from mlflow_amlstore.service.addresses import BLOB_PREFIX, WORKSPACE
from mlflow_amlstore.service.azure_errors import ErrorResponse
from mlflow_amlstore.service.error_answers import AzureError, MlflowError, ModelError
from mlflow_amlstore.service.routing import Access, Area, Call, Role, Route, Routes

ROUTES = Routes(Area.ROOT)

_PARAMETER = re.compile(r"{(\w+)(?::path)?}")
_PREFIXES = {
    Area.ROOT: [""],
    Area.MLFLOW: ["", f"/mlflow/v1.0{WORKSPACE}", f"/mlflow/v2.0{WORKSPACE}"],
    Area.HISTORY: [f"/history/v1.0{WORKSPACE}"],
    Area.ARTIFACT: [f"/artifact/v2.0{WORKSPACE}"],
    Area.METRIC: [f"/metric/v2.0{WORKSPACE}"],
    Area.CONTENT: [f"/content/v1.0{WORKSPACE}", f"/content/v2.0{WORKSPACE}"],
    Area.MODEL_MANAGEMENT: [f"/modelmanagement/v1.0{WORKSPACE}"],
    Area.EXECUTION: [f"/execution/v1.0{WORKSPACE}"],
    Area.ENVIRONMENT: [f"/environment/v1.0{WORKSPACE}", f"/environment/v2.0{WORKSPACE}"],
    Area.BLOB: [BLOB_PREFIX],
    Area.ARM: [""],
    Area.STUDIO: [""],
}
_REFUSALS = {"4XX": "Refused; the body says why", "5XX": "Failed; nothing was written"}
_ERRORS: dict[Area, type[msgspec.Struct]] = {
    Area.ROOT: MlflowError,
    Area.MLFLOW: MlflowError,
    Area.HISTORY: AzureError,
    Area.ARTIFACT: AzureError,
    Area.METRIC: AzureError,
    Area.CONTENT: AzureError,
    Area.MODEL_MANAGEMENT: ModelError,
    Area.EXECUTION: AzureError,
    Area.ENVIRONMENT: AzureError,
    Area.ARM: ErrorResponse,
    Area.STUDIO: MlflowError,
}


@ROUTES.get("/openapi.json", Role.READER)
def openapi(call: Call) -> dict[str, Any]:
    """Give this document."""
    return document(call.routes)


@lru_cache(maxsize=1)
def document(routes: tuple[Route, ...]) -> dict[str, Any]:
    """The document for a route table. Of Studio it has what gives data: pages and their forms are no API."""
    routes = tuple(route for route in routes if route.area is not Area.STUDIO or _has_schema(route.answer))
    given = [kind for route in routes for kind in (route.body, route.answer) if _has_schema(kind)]
    kinds = list(dict.fromkeys([*given, *_ERRORS.values()]))
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for prefix in _PREFIXES[route.area]:
            template = _PARAMETER.sub(r"{\1}", prefix + route.path)
            paths.setdefault(template, {})[route.method.lower()] = _operation(route, prefix, template, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "mlflow-amlstore workspace service", "version": mlflow_amlstore.__version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, prefix: str, template: str, schema_of: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()} {template}",
        "summary": route.summary,
        "tags": [route.area.value],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PARAMETER.findall(prefix + route.path)
        ],
        "responses": {"200": {"description": "Done"}, **_refusals(route.area, schema_of)},
    }
    if route.access not in (Access.PUBLIC, Access.SIGNED_URL):
        operation["security"] = [{"bearer": []}]
        if isinstance(route.access, Role):
            operation["x-role"], operation["x-right"] = route.access.name.lower(), route.right.value
    if route.answer in schema_of:
        operation["responses"]["200"]["content"] = {"application/json": {"schema": schema_of[route.answer]}}
    if route.body is not None:
        if route.method == "GET":
            operation["parameters"] += _query_parameters(route.body)
        else:
            operation["requestBody"] = _request_body(route, schema_of)
    return operation


def _request_body(route: Route, schema_of: dict[Any, Any]) -> dict[str, Any]:
    if route.body not in schema_of:  # a list of texts
        return {"required": True, "content": {"application/json": {"schema": msgspec.json.schema(route.body)}}}
    is_list = get_origin(route.body) is list
    # A DELETE may have its fields in the query instead.
    is_needed = is_list or (
        route.method != "DELETE" and any(field.required for field in msgspec.structs.fields(route.body))
    )
    return {"required": is_needed, "content": {"application/json": {"schema": schema_of[route.body]}}}


def _refusals(area: Area, schema_of: dict[Any, Any]) -> dict[str, Any]:
    kind = _ERRORS.get(area)
    content = {"application/xml": {}} if kind is None else {"application/json": {"schema": schema_of[kind]}}
    return {status: {"description": text, "content": content} for status, text in _REFUSALS.items()}


def _query_parameters(body: type[msgspec.Struct]) -> list[dict[str, Any]]:
    return [
        {
            "name": field.encode_name,
            "in": "query",
            "required": field.required,
            "schema": msgspec.json.schema(field.type),
        }
        for field in msgspec.structs.fields(body)
    ]


def _has_schema(kind: Any) -> bool:
    if get_origin(kind) is list:
        return _has_schema(get_args(kind)[0])
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
