"""`amlstore serve --parity`: what Azure ML refuses is refused, in Azure's words, so that a test finds it."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from mlflow_amlstore.service.access import Role
from mlflow_amlstore.service.addresses import workspace_path
from tests.service.conftest import Service

API = "/api/2.0/mlflow"


class Refusal(NamedTuple):
    status: int
    body: bytes
    headers: Any

    @property
    def message(self) -> str:
        return str(json.loads(self.body)["Error"]["Message"])


class Strict:
    def __init__(self, service: Service) -> None:
        self.service = service
        self.token = service.token_of(Role.CONTRIBUTOR)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        return self.service.call(method, f"{API}/{path}", self.token, body)

    def refused(self, method: str, path: str, body: object = None) -> Refusal:
        with pytest.raises(urllib.error.HTTPError) as refused:
            self.ask(method, path, body)
        return Refusal(refused.value.code, refused.value.read(), refused.value.headers)

    def new_run(self) -> str:
        return str(self.ask("POST", "runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"])

    def new_paths(self, run_id: str, *paths: str) -> Any:
        route = f"/history/v1.0{quote(workspace_path(self.service.workspace_name))}/experiments/0/runs/{run_id}"
        body = {"paths": [{"path": path} for path in paths]}
        return self.service.call("POST", f"{route}/artifacts/batch/metadata", self.token, body)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strict]:
    with Service(tmp_path_factory.mktemp("around") / "service", "--parity") as running:
        yield Strict(running)


def pairs(count: int, value: str = "v") -> list[dict[str, str]]:
    return [{"key": f"k{number}", "value": value} for number in range(count)]


def points(count: int, names: int) -> list[dict[str, Any]]:
    return [{"key": f"m{n % names}", "value": 1.0, "timestamp": n, "step": n} for n in range(count)]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "logged-models"),
        ("GET", "logged-models/m-0123"),
        ("POST", "logged-models/search"),
        ("POST", "runs/outputs"),
    ],
)
def test_what_came_with_mlflow_3_isnt_there(strict: Strict, method: str, path: str) -> None:
    found = strict.refused(method, path, {} if method == "POST" else None)
    assert (found.status, found.body) == (404, b"")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"metrics": points(201, 201)}, "FieldName=Metrics, Limit=200, Size=201"),
        ({"params": pairs(101)}, "FieldName=Parameters, Limit=100, Size=101"),
        ({"params": pairs(1, "v" * 1001)}, "FieldName=Parameters.Value, Limit=1000, Size=1001"),
        ({"tags": pairs(1, "v" * 1001)}, "FieldName=Tags.Value, Limit=1000, Size=1001"),
        ({"tags": [{"key": "k" * 101, "value": ""}]}, "FieldName=Tags.Key, Limit=100, Size=101"),
        ({"tags": pairs(51)}, "FieldName=Tags, Limit=50"),
    ],
)
def test_a_batch_over_a_limit_is_refused_and_nothing_of_it_kept(strict: Strict, given: Any, field: str) -> None:
    run_id = strict.new_run()
    found = strict.refused("POST", "runs/log-batch", {"run_id": run_id, **given})
    assert found.status == 400
    assert field in found.message
    data = strict.ask("GET", f"runs/get?run_id={run_id}")["run"]["data"]
    assert not any(data.get(kind) for kind in ("metrics", "params"))


def test_a_run_takes_200_params_in_all(strict: Strict) -> None:
    run_id = strict.new_run()
    for some in (pairs(200)[:100], pairs(200)[100:]):  # MLflow's own limit of a call
        strict.ask("POST", "runs/log-batch", {"run_id": run_id, "params": some})
    strict.ask("POST", "runs/log-parameter", {"run_id": run_id, "key": "k0", "value": "v"})
    found = strict.refused("POST", "runs/log-parameter", {"run_id": run_id, "key": "one more", "value": "v"})
    assert "FieldName=Parameters, Limit=200, Size=201" in found.message


@pytest.mark.parametrize(
    "search",
    [
        {"order_by": ["metrics.loss ASC"]},
        {"order_by": ["params.x"]},
        {"order_by": ["attributes.run_name"]},
        {"filter": "tags.a != 'x'"},
        {"filter": "params.a LIKE 'x%'"},
        {"filter": "tags.a ILIKE 'x%'"},
        {"filter": "metrics.`a b` > 1"},
        {"filter": "tags.\"mlflow.user\" = 'x'"},
        {"filter": "attributes.status = 'FINISHED'"},
        {"max_results": 1001},
    ],
)
def test_a_search_that_azure_cant_do_is_refused(strict: Strict, search: Any) -> None:
    found = strict.refused("POST", "runs/search", {"experiment_ids": ["0"], **search})
    assert found.status == 400
    assert json.loads(found.body)["error_code"] == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize(
    "search",
    [
        {"order_by": ["start_time DESC"]},
        {"order_by": ["attributes.end_time"]},
        {"filter": "tags.mlflow.parentRunId = 'x' and metrics.loss <= 3 and params.a != 'b'"},
        {"filter": "attributes.run_id IN ('a', 'b')"},
        {"filter": "params.a = 'like `this`'"},
        {"filter": "attributes.run_id IN ('a)', \"like.`this`\")"},
        {"max_results": 1000},
    ],
)
def test_a_search_that_azure_can_do_isnt(strict: Strict, search: Any) -> None:
    strict.ask("POST", "runs/search", {"experiment_ids": ["0"], **search})


@pytest.mark.parametrize("filter", ["name != 'a'", "name = 'a' AND name LIKE 'a%'", "tags.a = 'x'", "NAME = 'a'"])
def test_registered_models_are_searched_by_one_name_only(strict: Strict, filter: str) -> None:
    found = strict.refused("GET", f"registered-models/search?filter={quote(filter)}")
    assert (found.status, json.loads(found.body)["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    "filter", ["", "name = 'salt and pepper'", "`name` LIKE 'is it != this%'", "name IN ('a', 'b')"]
)
def test_by_that_name_they_are(strict: Strict, filter: str) -> None:
    assert strict.ask("GET", f"registered-models/search?filter={quote(filter)}") == {}


def test_a_path_is_given_out_once_though_nothing_came(strict: Strict) -> None:
    run_id = strict.new_run()
    assert list(strict.new_paths(run_id, "a", "b")["artifactContentInformation"]) == ["a", "b"]
    again = strict.new_paths(run_id, "b", "c")
    assert list(again["artifactContentInformation"]) == ["c"]
    message = f"Resource Conflict: ArtifactId ExperimentRun/dcid.{run_id}/b already exists."
    assert again["errors"] == {"b": {"error": {"code": "UserError", "message": message}}}


def test_a_written_file_stays_what_it_is_after_a_restart(start_service: Callable[..., Service]) -> None:
    strict = Strict(start_service("--parity"))
    run_id = strict.new_run()
    url = strict.new_paths(run_id, "a")["artifactContentInformation"]["a"]["contentUri"]
    headers = {"x-ms-blob-type": "BlockBlob", "If-None-Match": "*"}
    request = urllib.request.Request(url, b"1", headers, method="PUT")
    urllib.request.urlopen(request).close()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert (refused.value.code, refused.value.headers["x-ms-error-code"]) == (409, "BlobAlreadyExists")
    strict.service.restart()
    assert strict.new_paths(run_id, "a")["errors"]


def test_a_hundred_paths_at_once(strict: Strict) -> None:
    run_id = strict.new_run()
    assert len(strict.new_paths(run_id, *map(str, range(100)))["artifacts"]) == 100
    with pytest.raises(urllib.error.HTTPError) as refused:
        strict.new_paths(run_id, *map(str, range(100, 201)))
    assert "Artifact batch size exceeded the limit of 100" in refused.value.read().decode()


def test_too_many_requests_are_told_when_to_come_again(start_service: Callable[..., Service]) -> None:
    strict = Strict(start_service("--requests-per-second", "5"))
    found = None
    for _ in range(20):
        try:
            strict.ask("POST", "runs/search", {"experiment_ids": ["0"]})
        except urllib.error.HTTPError as refused:
            found = refused
    assert found is not None
    assert (found.code, found.headers["Retry-After"]) == (429, "1")


def test_each_part_can_be_had_alone(start_service: Callable[..., Service], tmp_path: Path) -> None:
    level = Strict(start_service("--api-level", "2.0"))
    assert level.refused("POST", "logged-models", {"experiment_id": "0"}).status == 404
    level.ask("POST", "runs/log-batch", {"run_id": level.new_run(), "tags": pairs(1, "v" * 1001)})
    limits = Strict(start_service("--limits", "azure"))
    assert limits.ask("POST", "logged-models", {"experiment_id": "0"})["model"]
    found = limits.refused("POST", "runs/log-batch", {"run_id": limits.new_run(), "tags": pairs(1, "v" * 1001)})
    assert found.status == 400


@pytest.mark.parametrize(("options", "told"), [((), "none"), (("--parity",), None), (("--api-level", "2.0"), "none")])
def test_a_service_without_limits_says_so_in_every_answer(
    start_service: Callable[..., Service], options: tuple[str, ...], told: str | None
) -> None:
    service = start_service(*options)
    with urllib.request.urlopen(f"{service.url}/health") as answer:
        assert answer.headers["x-amlstore-limits"] == told
