"""From a request's method and path to its route."""

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote

from starlette.routing import compile_path

from mlflow_amlstore.errors import NotFound, RouteNotFound
from mlflow_amlstore.service.addresses import BLOB_PREFIX, WORKSPACE, workspace_path
from mlflow_amlstore.service.routing import Area, Route

_ANY_WORKSPACE = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(WORKSPACE))
# What Azure ML's data plane puts before the path of an area (azureml-wire.md, sections 1 to 4).
_PREFIX = re.compile(
    r"/(?P<area>mlflow/v[12]\.0|history/v1\.0|artifact/v2\.0|metric/v2\.0|content/v[12]\.0|modelmanagement/v1\.0|execution/v1\.0|environment/v[12]\.0)"
    rf"(?P<workspace>{_ANY_WORKSPACE})(?P<rest>/.*)?",
    re.DOTALL,
)
_AJAX_PREFIX = "/ajax-api/"
"""How MLflow's pages, and scripts that were written after them, spell `/api/`: another name of the same routes."""
_AREAS = {
    "mlflow/v1.0": Area.MLFLOW,
    "mlflow/v2.0": Area.MLFLOW,
    "history/v1.0": Area.HISTORY,
    "artifact/v2.0": Area.ARTIFACT,
    "metric/v2.0": Area.METRIC,
    "content/v1.0": Area.CONTENT,
    "content/v2.0": Area.CONTENT,
    "modelmanagement/v1.0": Area.MODEL_MANAGEMENT,
    "execution/v1.0": Area.EXECUTION,
    "environment/v1.0": Area.ENVIRONMENT,
    "environment/v2.0": Area.ENVIRONMENT,
}


class Match(NamedTuple):
    """A route, the parameters in its path, and whether the workspace was named in the path."""

    route: Route
    path: dict[str, str]
    names_workspace: bool


class Router:
    """The routes of one workspace's service."""

    def __init__(self, routes: Iterable[Route], workspace_name: str) -> None:
        self._workspace_path = workspace_path(workspace_name)
        self._fixed: dict[tuple[Area, str, str], Route] = {}
        self._patterns: dict[tuple[Area, str], list[tuple[re.Pattern[str], Route]]] = {}
        for route in routes:
            if "{" in route.path or route.area is Area.ARM:
                self._patterns.setdefault((route.area, route.method), []).append((_pattern(route), route))
            else:
                self._fixed[route.area, route.method, route.path] = route

    def match(self, method: str, path: str, raw_path: str) -> Match:
        """Return the route of a request. Raises RouteNotFound, and NotFound for another workspace's.

        `raw_path` is the path as it was sent: Studio's paths have names in them that may contain `/`.
        """
        prefixed = _PREFIX.fullmatch(path)
        if prefixed is not None:
            found = self._find(_AREAS[prefixed["area"]], method, prefixed["rest"] or "")
            if found is not None and prefixed["workspace"] != self._workspace_path:
                name = prefixed["workspace"].rpartition("/")[2]
                raise NotFound("workspace", name, f"This service has only {self._workspace_path}")
        elif path.startswith(f"{BLOB_PREFIX}/"):
            found = self._find(Area.BLOB, method, path[len(BLOB_PREFIX) :])
        else:
            found = (
                self._find(Area.MLFLOW, method, path)
                or self._find(Area.ROOT, method, path)
                or self._find(Area.ARM, method, path)
            )
        if found is None:
            found = self._find(Area.STUDIO, method, raw_path)
            if found is not None:
                return Match(found[0], {name: unquote(value) for name, value in found[1].items()}, False)
            if method == "HEAD":
                return self.match("GET", path, raw_path)  # whose answer is sent without its body
            raise RouteNotFound(method, path)
        return Match(*found, names_workspace=prefixed is not None)

    def _find(self, area: Area, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        if area is Area.MLFLOW and path.startswith(_AJAX_PREFIX):
            path = f"/api/{path[len(_AJAX_PREFIX) :]}"
        fixed = self._fixed.get((area, method, path))
        if fixed is not None:
            return fixed, {}
        for pattern, route in self._patterns.get((area, method), ()):
            match = pattern.fullmatch(path)
            if match is not None:
                return route, match.groupdict()
        return None


def _pattern(route: Route) -> re.Pattern[str]:
    """What a route's path looks like; names in it may have line feeds, and ARM's paths be in any case."""
    flags = re.DOTALL | (re.IGNORECASE if route.area is Area.ARM else 0)
    return re.compile(compile_path(route.path)[0].pattern, flags)
