"""The route table of a service as strict as Azure ML, with which tests find what the cloud would refuse.

Routes that the cloud doesn't have are left out. The others check what the cloud checks of one call before they do their
work; what it checks of a run is checked by its records (`limited_records`).
`strict_app` makes an application of the table.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from mlflow_amlstore.errors import AmlStoreError
from mlflow_amlstore.protocol.limits import Limits
from mlflow_amlstore.protocol.search import can_search_models, refusal
from mlflow_amlstore.service.azure_errors import ErrorDetail, ErrorResponse
from mlflow_amlstore.service.files.azure_artifacts import CreatedArtifacts, NewArtifacts
from mlflow_amlstore.service.files.containers import file_location, file_of_url
from mlflow_amlstore.service.files.refusals import BlobRefused
from mlflow_amlstore.service.files.transfer import on_thread
from mlflow_amlstore.service.limited_records import check_count
from mlflow_amlstore.service.routing import Area, Call, Route

_ONLY_SINCE_3 = ("/api/2.0/mlflow/logged-models", "/api/2.0/mlflow/runs/outputs", "/api/3.0/")
_OURS_ALONE = ((Area.METRIC, "/runs/{run}/curves"),)
_BATCHES = ("/api/2.0/mlflow/runs/log-batch", "/api/2.0/preview/mlflow/runs/log-batch-async")


class BeyondAzure(AmlStoreError):
    """Something that Azure ML can't do, such as a search."""

    mlflow_code = "INVALID_PARAMETER_VALUE"
    http_status = 400


@dataclass(frozen=True)
class Strictness:
    """What a service does not do although it could. Each part may be on its own."""

    has_logged_models: bool = True
    """False: the endpoints that came with MLflow 3 aren't there, and asking for them gets 404 without a word."""
    limits: Limits | None = None
    """Azure ML's figures; with them its search is narrower, and a run's files are written once."""
    requests_per_s: float | None = None
    """More are answered 429."""

    def routes(self, routes: Iterable[Route]) -> Iterator[Route]:
        """The route table of one service that is this strict."""
        given_out: set[tuple[str, str]] = set()
        for route in routes:
            if self.limits is not None and (route.area, route.path) in _OURS_ALONE:
                continue
            if self.has_logged_models or not (route.area is Area.MLFLOW and route.path.startswith(_ONLY_SINCE_3)):
                yield self._checked(route, given_out)

    def _checked(self, route: Route, given_out: set[tuple[str, str]]) -> Route:
        if self.limits is None:
            return route
        if route.area in (Area.HISTORY, Area.ARTIFACT) and route.body is NewArtifacts:
            handler = _given_out_once(route.handler, given_out)
            return replace(route, handler=_after(self._check_new_paths, handler))
        if route.area is Area.BLOB and route.method == "PUT":
            return replace(route, handler=_new_only(route.handler))
        check = self._checks().get((route.method, route.path))
        return route if check is None else replace(route, handler=_after(check, route.handler))

    def _checks(self) -> dict[tuple[str, str], Callable[[Call, Any], None]]:
        base = "/api/2.0/mlflow"
        return {
            **{("POST", path): self._check_batch for path in _BATCHES},
            ("POST", f"{base}/runs/search"): self._check_run_search,
            ("GET", f"{base}/metrics/get-history"): lambda call, body: self._check_max_results(body.max_results),
            ("GET", f"{base}/registered-models/search"): _check_model_search,
        }

    def _figure(self, name: str) -> int:
        assert self.limits is not None
        return int(getattr(self.limits, name))

    def _check_batch(self, call: Call, body: Any) -> None:
        metrics, params = body.metrics or (), body.params or ()
        check_count("Metrics", len(metrics), self._figure("metrics_per_call"))
        most = max(Counter(metric.key for metric in metrics).values(), default=0)
        check_count("MetricV2Dto.Value/Count", most, self._figure("points_per_metric_per_call"))
        check_count("Parameters", len(params), self._figure("params_per_call"))

    def _check_run_search(self, call: Call, body: Any) -> None:
        self._check_max_results(body.max_results)
        problem = refusal(body.filter, body.order_by)
        if problem:
            provided = f". Provided filter string: {body.filter}" if body.filter else ""
            raise BeyondAzure(f"Currently unsupported: {problem}{provided}")

    def _check_max_results(self, asked: int | None) -> None:
        limit = self._figure("max_results")
        if asked is not None and asked > limit:
            raise BeyondAzure(f"MaxResults = {asked} is invalid: MaxResults must be less than {limit}.")

    def _check_new_paths(self, call: Call, body: NewArtifacts) -> None:
        limit = self._figure("paths_per_call")
        if len(body.paths) > limit:
            raise BeyondAzure(f"Artifact batch size exceeded the limit of {limit}")
        for new in body.paths:
            check_count("ArtifactPath", len(new.path), self._figure("path_length"))


def _after(check: Callable[[Call, Any], None], handler: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(handler)
    def checked(call: Call, body: Any) -> Any:
        check(call, body)
        return handler(call, body)

    return checked


def _given_out_once(
    handler: Callable[..., CreatedArtifacts], given_out: set[tuple[str, str]]
) -> Callable[..., CreatedArtifacts]:
    """Refuse the paths of a run that were given out for writing before, whether or not their content ever came.

    `given_out` has those since the service started. A file that is there was given out before.
    """

    @functools.wraps(handler)
    def create(call: Call, body: NewArtifacts) -> CreatedArtifacts:
        created = handler(call, body)
        errors = dict(created.errors)
        for sent, content in created.artifact_content_information.items():
            file = file_of_url(content.content_uri)
            if file in given_out or call.records.files.find(*file) is not None:
                artifact_id = created.artifacts[sent].artifact_id
                conflict = f"Resource Conflict: ArtifactId {artifact_id} already exists."
                errors[sent] = ErrorResponse(ErrorDetail("UserError", conflict))
            given_out.add(file)
        return CreatedArtifacts(
            {sent: artifact for sent, artifact in created.artifacts.items() if sent not in errors},
            {sent: content for sent, content in created.artifact_content_information.items() if sent not in errors},
            errors,
        )

    return create


def _new_only(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Let nothing be written over where the client asks for that, as every client of Azure's does."""

    @functools.wraps(handler)
    async def put(call: Call, request: Request) -> Response:
        if request.headers.get("if-none-match") == "*" and "comp" not in request.query_params:
            container, path = file_location(call.path["location"])
            if await on_thread(call.records.files.find, container, path) is not None:
                raise BlobRefused(409, "BlobAlreadyExists", "The specified blob already exists.")
        response: Response = await handler(call, request)
        return response

    return put


def _check_model_search(call: Call, body: Any) -> None:
    if not can_search_models(body.filter):
        raise BeyondAzure(
            "Currently unsupported filter string format (we currently do not support OR). "
            f"Provided filter string: {body.filter.strip()}"
        )
