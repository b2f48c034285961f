"""Writes parity.md: MLflow's REST endpoints, read from its protobufs, and what the service does with each; Azure ML's
routes; what Microsoft's client and ours send for each call; and what was never tried.

python docs/parity.py
"""

import ast
import importlib
import json
import re
import runpy
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import mlflow
from mlflow.protos import databricks_pb2

from mlflow_amlstore.service import files, mlflow_api
from mlflow_amlstore.service.app import ROUTES
from mlflow_amlstore.service.mlflow_api import unsupported_routes
from mlflow_amlstore.service.routing import Area, Route

DOCUMENT = Path(__file__).with_name("parity.md")
END = Path(__file__).with_name("parity_end.md")
"""What no table of the code says: what the plugin does in a lesser workspace, and what was never tried."""
INTEROP = Path(__file__).parents[1] / "tests" / "interop"

_PROTOBUFS = ("service_pb2", "model_registry_pb2", "mlflow_artifacts_pb2", "webhooks_pb2")
_CLIENTS = (
    "store/tracking/rest_store.py",
    "store/tracking/gateway/rest_mixin.py",
    "store/model_registry/rest_store.py",
    "store/workspace/rest_store.py",
)
_CLIENT_METHODS = {  # of endpoints that MLflow's client calls by their paths
    "GET /api/2.0/mlflow-artifacts/artifacts": "list_artifacts",
    "GET /api/2.0/mlflow-artifacts/artifacts/{}": "download_artifacts",
    "PUT /api/2.0/mlflow-artifacts/artifacts/{}": "log_artifact",
    "DELETE /api/2.0/mlflow-artifacts/artifacts/{}": "delete_artifacts",
    "GET /api/2.0/mlflow-artifacts/presigned/{}": "download_artifacts",
    "POST /api/2.0/mlflow-artifacts/mpu/create/{}": "create_multipart_upload",
    "POST /api/2.0/mlflow-artifacts/mpu/complete/{}": "complete_multipart_upload",
    "POST /api/2.0/mlflow-artifacts/mpu/abort/{}": "abort_multipart_upload",
    "GET /api/3.0/mlflow/server-info": "fetch_server_info",
    "PUT /api/3.0/mlflow/scorers/online-config": "upsert_online_scoring_config",
    "GET /api/3.0/mlflow/scorers/online-configs": "get_online_scoring_configs",
    "POST /v1/traces": "log_spans",
}
_TITLES = {
    "experiments": "Experiments",
    "runs": "Runs",
    "metrics": "Metrics",
    "logged-models": "Logged models",
    "registered-models": "Registered models, aliases and prompts",
    "model-versions": "Model versions",
    "artifacts": "Files",
    "mlflow-artifacts": "Files",
    "traces": "Traces",
    "server-info": "The service itself",
}
_DIFFERENCES = {
    "POST /api/2.0/mlflow/experiments/create": "`artifact_location` may only be an object store's",
    "GET /api/2.0/mlflow/experiments/search": "`max_results` may be left out",
    "POST /api/2.0/mlflow/experiments/search": "`max_results` may be left out",
    "POST /api/2.0/mlflow/experiments/search-datasets": "MLflow's server has it under `/ajax-api` only",
    "POST /api/2.0/mlflow/runs/create": "long tag values are always cut, as MLflow does by default",
    "POST /api/2.0/mlflow/runs/update": "a status that MLflow doesn't have is refused, not ignored",
    "POST /api/2.0/mlflow/runs/log-batch": "long values are always cut, as MLflow does by default",
    "POST /api/2.0/preview/mlflow/runs/log-batch-async": "only Azure ML's service has it",
    "GET /api/2.0/preview/mlflow/runs/get-run-data-status": "only Azure ML's service has it",
    "POST /api/2.0/mlflow/runs/log-parameter": "long values are always cut, as MLflow does by default",
    "POST /api/2.0/mlflow/runs/set-tag": "long values are always cut, as MLflow does by default",
    "POST /api/2.0/mlflow/runs/search": "runs added between two pages neither repeat nor hide any",
    "GET /api/2.0/mlflow/metrics/get-history-bulk": "MLflow's server has it under `/ajax-api` only",
    "DELETE /api/2.0/mlflow/logged-models/{}/tags/{}": "the tag's name may have a `/`",
    "POST /api/2.0/mlflow/model-versions/create": "a source `models:/…` is looked up; the answer has `model_id`",
    "GET /api/2.0/mlflow/model-versions/get": "the answer has `model_id`",
    "GET /api/2.0/mlflow/model-versions/search": "the answer has `model_id`",
}


_AZURE_AREAS = {  # in the order of a client's calls, with the tests that show them
    Area.ARM: ("The cloud and the workspace", "tests/service/test_arm.py, tests/azure, tests/interop"),
    Area.HISTORY: (
        "Run history: experiments, runs, events, metrics of version 1, files and tokens of a run",
        "tests/core (`served`), tests/interop/test_sdk.py, tests/service/test_run_history.py, test_azure_runs.py",
    ),
    Area.METRIC: (
        "Metrics of version 2",
        "tests/core (`served`), tests/interop/test_sdk.py, tests/service/run_history/test_metrics.py",
    ),
    Area.CONTENT: ("Snapshots", "tests/core (`served`), tests/interop/test_sdk.py"),
    Area.MODEL_MANAGEMENT: (
        "Model management: assets and models",
        "tests/service/test_model_management.py, tests/core/test_models.py (`served`), tests/interop/test_sdk.py",
    ),
    Area.EXECUTION: (
        "Submission, and what this package's agents and runners call",
        "tests/core/test_submit.py, test_agents.py, tests/interop/test_submit.py",
    ),
    Area.ENVIRONMENT: (
        "Registered environments",
        "tests/service/test_environments.py, tests/core/test_environment.py (`served`), "
        "tests/interop/test_environments.py",
    ),
    Area.ARTIFACT: ("Files by container", "tests/service/test_files_uploads.py, tests/interop"),
    Area.BLOB: ("Content URLs: the storage protocol", "tests/service/test_files_blobs.py, tests/interop"),
}
_AZURE_ROUTES_INTRODUCTION = (
    "What comes before each: `/history/v1.0`, `/metric/v2.0`, `/content/v2.0`, `/modelmanagement/v1.0`, "
    "`/execution/v1.0`, `/environment/v1.0` or `/artifact/v2.0` and the workspace's path, a storage account's name for "
    "content URLs. Missing, and answered 404: what `azureml-core` asks of datasets, datastores and compute."
)
_CALLS_INTRODUCTION = """## What the two clients send

One script makes each call once, with `azureml-mlflow` 1.62 (MLflow 3.15) and with this package, against the same kind
of service over TLS; requests are compared in method, path, query, headers that matter, and body
(`tests/interop/test_requests.py`). *Same* is: but for what every call has."""


class Endpoint(NamedTuple):
    """One of MLflow's: its request message's name, HTTP method and path."""

    request: str
    method: str
    path: str

    @property
    def key(self) -> str:
        """Method and path without the names of the path's parameters."""
        return _key(self.method, self.path)


def mlflow_endpoints() -> list[Endpoint]:
    """The endpoints of the MLflow that is installed."""
    return list(_endpoints())


def known_routes() -> dict[str, Route]:
    """The service's routes in MLflow's area, by method and path."""
    tables = (*mlflow_api.ROUTES, *files.ROUTES)
    routes = [route for table in tables for route in table if route.area is Area.MLFLOW]
    return {_key(route.method, route.path): route for route in routes}


def client_methods(requests: Iterable[str]) -> dict[str, str]:
    """The method of MLflow's client that sends each request, by the request's name."""
    wanted = set(requests)
    found: dict[str, str] = {}
    for name in _CLIENTS:
        source = Path(mlflow.__file__).parent / name
        if source.exists():
            for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef):
                    names = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
                    for request in sorted(names & wanted):
                        found.setdefault(request, node.name.removeprefix("_"))
    return found


def document() -> str:
    """The text of parity.md."""
    endpoints = mlflow_endpoints()
    methods = client_methods(endpoint.request for endpoint in endpoints)
    of_mlflow = {endpoint.key: methods.get(endpoint.request, "") for endpoint in endpoints} | _CLIENT_METHODS
    routes = known_routes()
    refused = {id(route) for route in unsupported_routes.routes}
    supported, not_supported = defaultdict(list), defaultdict(list)
    for key, route in routes.items():
        shown = f"`{route.method} {route.path.replace(':path', '')}`"
        client = f"`{of_mlflow[key]}`" if of_mlflow.get(key) else ""
        if id(route) in refused:
            not_supported[route.summary.partition(": ")[2].rstrip(".")].append(f"| {shown} | {client} |")
        else:
            supported[_title(route.path)].append(f"| {shown} | {client} | {_DIFFERENCES.get(key, '')} |")
    count = sum(map(len, supported.values()))
    lines = [
        "# Parity: MLflow's REST API and Azure ML's, here",
        "",
        f"Made by `python docs/parity.py` from the protobufs of MLflow {mlflow.__version__} and the service's route "
        f"table: {count} endpoints are supported, {len(routes) - count} are answered with NOT_IMPLEMENTED (501), any "
        "other with ENDPOINT_NOT_FOUND (404). The method is that of MLflow's client, where it calls the endpoint.",
        "",
        "Everywhere: an error has MLflow's code, and a sentence of its own. Unknown fields are ignored. A page token "
        "is valid for the search that it came from. NaN and ±Infinity are words, as protobuf has them. Shown by "
        "`tests/service/test_mlflow_parity.py`, which sends each request to MLflow's own server too, and by "
        "`tests/plugin`.",
        "",
        "## Supported",
    ]
    for title in dict.fromkeys(_TITLES.values()):
        if title in supported:
            header = ["| endpoint | method | different from MLflow's server |", "|---|---|---|"]
            lines += ["", f"### {title}", "", *header, *supported[title]]
    lines += ["", "## Not supported"]
    for topic, rows in not_supported.items():
        lines += ["", f"### {topic}", "", "| endpoint | method |", "|---|---|", *rows]
    lines += ["", *_azure_routes(), "", *_client_calls(), "", END.read_text(encoding="utf-8").rstrip()]
    return "\n".join(lines) + "\n"


def _azure_routes() -> list[str]:
    """Azure ML's own routes, and the tests that show them."""
    lines = ["## Azure ML's own routes", "", _AZURE_ROUTES_INTRODUCTION]
    for area, (title, shown_by) in _AZURE_AREAS.items():
        lines += ["", f"### {title}", "", f"Shown by {shown_by}.", "", "| route | what it does |", "|---|---|"]
        lines += [
            f"| `{route.method} {route.path.replace(':path', '')}` | {route.summary.rstrip('.')} |"
            for route in ROUTES
            if route.area is area
        ]
    return lines


def _client_calls() -> list[str]:
    """What Microsoft's client sends for each call, and what is different of ours."""
    recorded = json.loads((INTEROP / "recorded" / "azureml-mlflow-1.62.json").read_text(encoding="utf-8"))
    known: dict[str, str] = runpy.run_path(str(INTEROP / "known_differences.py"))["KNOWN"]
    everywhere = {pattern: why for pattern, why in known.items() if not pattern.startswith("^")}
    lines = [_CALLS_INTRODUCTION, "", "| every call, where it has such a part | why |", "|---|---|"]
    lines += [f"| `{_readable(pattern)}` | {why} |" for pattern, why in everywhere.items()]
    lines += ["", "| call | requests of azureml-mlflow | ours |", "|---|---|---|"]
    for name, requests in recorded.items():
        routes = ", ".join(dict.fromkeys(f"{request['method']} {_route(request['path'])}" for request in requests))
        own = dict.fromkeys(why for pattern, why in known.items() if _is_of(pattern, name))
        lines.append(f"| {name} | {routes} | {'; '.join(own) or 'same'} |")
    return lines


def _is_of(pattern: str, call: str) -> bool:
    """Whether a known difference is one call's alone."""
    return pattern.startswith("^") and re.match(pattern.partition(": ")[0] + "$", call) is not None


def _readable(pattern: str) -> str:
    return re.sub(r"[\\^$]|\.\*", "", pattern).strip(": ").replace("|", " or ")


def _route(path: str) -> str:
    for prefix in (r"/mlflow/v2\.0<workspace>/api/2\.0/(?:preview/)?mlflow", r"/\w+\.blob\.core\.windows\.net.*"):
        path = re.sub(f"^{prefix}", "" if "api" in prefix else "content URL", path)
    return path.replace("<workspace>", "").lstrip("/")


def _endpoints() -> Iterator[Endpoint]:
    for name in _PROTOBUFS:
        try:
            protobuf = importlib.import_module(f"mlflow.protos.{name}")
        except ImportError:  # MLflow 2 has no webhooks
            continue
        for service in protobuf.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                for endpoint in method.GetOptions().Extensions[databricks_pb2.rpc].endpoints:
                    path = f"/api/{endpoint.since.major}.0/{endpoint.path.lstrip('/')}"
                    yield Endpoint(method.input_type.name, endpoint.method, path)


def _key(method: str, path: str) -> str:
    return f"{method} {re.sub(r'{[^}]*}|<[^>]*>', '{}', path)}"


def _title(path: str) -> str:
    resource = re.sub(r"^/api/\d\.\d/(?:preview/)?(?:mlflow/)?", "", path).partition("/")[0]
    if "/artifacts" in path:
        return _TITLES["artifacts"]
    return _TITLES[resource]


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
