"""MLflow's REST API as clients in any language use it: what is required, understood, cut and refused."""

import json
import math
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from forked_service import ForkedService
from mlflow import MlflowClient

from mlflow_amlstore.service.access import Role
from mlflow_amlstore.service.mlflow_api import ROUTES, unsupported_routes
from mlflow_amlstore.service.uris import AzureUris, ProxyUris, Uris
from mlflow_amlstore.workspace.opening import open_folder

if TYPE_CHECKING:
    from tests.service.conftest import Service

MODEL_ID = "m-" + "0" * 32


@dataclass
class Api:
    """The service's MLflow API, answers as they are; an experiment and a registered model are the test's own."""

    url: str
    token: str
    experiment_id: str = ""
    model_name: str = ""

    def send(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return requests.request(method, f"{self.url}/api/2.0/mlflow/{path}", headers=headers, **more)

    def get(self, path: str, **query: Any) -> Any:
        return _answered(self.send("GET", path, params=query))

    def post(self, path: str, **body: Any) -> Any:
        return _answered(self.send("POST", path, json=body))

    def patch(self, path: str, **body: Any) -> Any:
        return _answered(self.send("PATCH", path, json=body))

    def delete(self, path: str, **body: Any) -> Any:
        return _answered(self.send("DELETE", path, json=body))

    def new_run(self) -> str:
        run_id: str = self.post("runs/create", experiment_id=self.experiment_id, start_time=1)["run"]["info"]["run_id"]
        return run_id

    def run_data(self, run_id: str) -> Any:
        return self.get("runs/get", run_id=run_id)["run"]["data"]


def _answered(response: requests.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def _refused(response: requests.Response) -> tuple[int, str]:
    answer = response.json()
    assert set(answer) == {"error_code", "message"}
    return response.status_code, answer["error_code"]


@pytest.fixture
def api(service: ForkedService) -> Api:
    api = Api(service.url, service.token, model_name=uuid.uuid4().hex)
    api.experiment_id = api.post("experiments/create", name=uuid.uuid4().hex)["experiment_id"]
    api.post("registered-models/create", name=api.model_name)
    return api


class TestRequired:
    BODIES = (
        ("POST", "experiments/create", {}, "name"),
        ("POST", "experiments/create", {"name": ""}, "name"),
        ("POST", "experiments/update", {"experiment_id": "0"}, "new_name"),
        ("POST", "experiments/set-experiment-tag", {"experiment_id": "0", "value": "x"}, "key"),
        ("POST", "runs/create", {}, "experiment_id"),
        ("POST", "runs/update", {"status": "FINISHED"}, "run_id"),
        ("POST", "runs/delete", {"run_id": ""}, "run_id"),
        ("POST", "runs/log-metric", {"run_id": "a", "value": 1, "timestamp": 1}, "key"),
        ("POST", "runs/log-metric", {"run_id": "a", "key": "k", "timestamp": 1}, "value"),
        ("POST", "runs/log-metric", {"run_id": "a", "key": "k", "value": 1}, "timestamp"),
        ("POST", "runs/log-metric", {"key": "k", "value": 1, "timestamp": 1}, "run_id"),
        ("POST", "runs/log-parameter", {"run_id": "a", "value": "1"}, "key"),
        ("POST", "runs/log-batch", {"metrics": []}, "run_id"),
        ("POST", "runs/log-batch", {"run_id": "a", "metrics": [{"key": "k", "timestamp": 1}]}, "metrics[0]"),
        ("POST", "runs/log-batch", {"run_id": "a", "params": [{"value": "1"}]}, "params[0]"),
        ("POST", "runs/log-batch", {"run_id": "a", "tags": [{"key": "", "value": "1"}]}, "tags[0].key"),
        ("POST", "runs/outputs", {"run_id": "a"}, "models"),
        ("POST", "runs/log-model", {"run_id": "a"}, "model_json"),
        ("POST", "experiments/search-datasets", {}, "experiment_ids"),
        ("POST", "logged-models/search", {}, "experiment_ids"),
        ("POST", "logged-models", {"name": "a"}, "experiment_id"),
        ("PATCH", f"logged-models/{MODEL_ID}", {}, "status"),
        ("POST", "registered-models/create", {}, "name"),
        ("POST", "registered-models/alias", {"name": "a", "alias": "b"}, "version"),
        ("POST", "model-versions/create", {"name": "a"}, "source"),
        ("POST", "model-versions/transition-stage", {"name": "a", "version": "1"}, "stage"),
        ("DELETE", "model-versions/delete", {"name": "a"}, "version"),
    )

    def test_a_missing_field_is_named(self, api: Api) -> None:
        for method, path, body, field in self.BODIES:
            response = api.send(method, path, json=body)
            assert _refused(response) == (400, "INVALID_PARAMETER_VALUE"), (path, body)
            assert field in response.json()["message"]

    QUERIES = (
        ("experiments/get", "experiment_id"),
        ("experiments/get-by-name", "experiment_name"),
        ("runs/get", "run_id"),
        ("metrics/get-history", "metric_key"),
        ("metrics/get-history-bulk?metric_key=a", "run_id"),
        ("metrics/get-history-bulk-interval?metric_key=a", "run_ids"),
        ("registered-models/get", "name"),
        ("model-versions/get?name=a", "version"),
        ("registered-models/alias?name=a", "alias"),
    )

    def test_a_missing_part_of_a_query_is_named(self, api: Api) -> None:
        for path, field in self.QUERIES:
            response = api.send("GET", path)
            assert _refused(response) == (400, "INVALID_PARAMETER_VALUE"), path
            assert field in response.json()["message"]


class TestUnderstood:
    def test_numbers_and_booleans_may_come_as_text_and_fields_unknown_or_null_are_passed_over(self, api: Api) -> None:
        created = api.post(
            "runs/create",
            experiment_id=api.experiment_id,
            start_time="1700000000000",
            tags=None,
            run_name=None,
            new_in_mlflow_9={},
        )["run"]
        run_id = created["info"]["run_id"]
        assert created["info"]["start_time"] == 1_700_000_000_000
        point = {"key": "m", "value": "2.5", "timestamp": "5", "step": "7", "more": 1}
        api.post("runs/log-batch", run_id=run_id, metrics=[point], params=None, tags=None)
        assert api.run_data(run_id)["metrics"] == [{"key": "m", "value": 2.5, "timestamp": 5, "step": 7}]
        assert api.post("runs/search", experiment_ids=[api.experiment_id], max_results="1", order_by=None)["runs"]
        model = api.post("logged-models", experiment_id=api.experiment_id, params=None)["model"]["info"]
        api.delete(f"logged-models/{model['model_id']}")
        for word in ("true", "True"):
            found = api.get(f"logged-models/{model['model_id']}", allow_deleted=word)["model"]["info"]
            assert found["name"] == model["name"]

    def test_a_run_may_be_named_by_its_ids_old_name(self, api: Api) -> None:
        run_id = api.new_run()
        info = api.get("runs/get", run_uuid=run_id)["run"]["info"]
        assert info["run_id"] == info["run_uuid"] == run_id
        api.post("runs/log-metric", run_uuid=run_id, key="m", value=1, timestamp=1)
        api.post("runs/log-parameter", run_uuid=run_id, key="p", value="1")
        api.post("runs/set-tag", run_uuid=run_id, key="t", value="1")
        assert api.get("metrics/get-history", run_uuid=run_id, metric_key="m")["metrics"][0]["value"] == 1
        answered = api.post("runs/update", run_uuid=run_id, status="FINISHED", end_time=5)["run_info"]
        assert (answered["status"], answered["end_time"]) == ("FINISHED", 5)

    @pytest.mark.parametrize(
        ("status", "word"), [(1, "RUNNING"), (3, "FINISHED"), (5, "KILLED"), ("FAILED", "FAILED"), (None, "RUNNING")]
    )
    def test_a_status_is_a_word_or_a_number(self, api: Api, status: str | int | None, word: str) -> None:
        assert api.post("runs/update", run_id=api.new_run(), status=status)["run_info"]["status"] == word

    @pytest.mark.parametrize("status", ["DONE", 9, "Completed"])
    def test_a_status_that_mlflow_does_not_have_is_refused(self, api: Api, status: str | int) -> None:
        response = api.send("POST", "runs/update", json={"run_id": api.new_run(), "status": status})
        assert _refused(response) == (400, "INVALID_PARAMETER_VALUE")

    @pytest.mark.parametrize(
        ("sent", "answered"),
        [
            ("NaN", "NaN"),
            ("Infinity", "Infinity"),
            ("-Infinity", "-Infinity"),
            (5e-324, 5e-324),
            (1.7976931348623157e308, 1.7976931348623157e308),
            (2**53 + 1, float(2**53 + 1)),
        ],
    )
    def test_any_float_comes_back_as_it_went(self, api: Api, sent: float | str, answered: float | str) -> None:
        run_id = api.new_run()
        api.post("runs/log-metric", run_id=run_id, key="m", value=sent, timestamp=1)
        api.post("runs/log-batch", run_id=run_id, metrics=[{"key": "m", "value": 1e308, "timestamp": 0}] * 2)
        history = api.get("metrics/get-history", run_id=run_id, metric_key="m")["metrics"]
        assert [repr(point["value"]) for point in history] == [repr(1e308), repr(answered)]

    def test_a_history_whose_sum_overflows_is_answered_in_numbers(self, api: Api) -> None:
        run_id = api.new_run()
        points = [{"key": "m", "value": 1.7e308, "timestamp": step, "step": step} for step in range(3)]
        api.post("runs/log-batch", run_id=run_id, metrics=points)
        history = api.get("metrics/get-history", run_id=run_id, metric_key="m")["metrics"]
        assert [point["value"] for point in history] == [1.7e308] * 3
        assert all(math.isfinite(point["value"]) for point in history)

    def test_views_are_words_or_numbers(self, api: Api) -> None:
        run_id = api.new_run()
        api.post("runs/delete", run_id=run_id)
        for view, count in (("ACTIVE_ONLY", 0), ("DELETED_ONLY", 1), (2, 1), ("3", 1), (None, 0)):
            assert (
                len(api.post("runs/search", experiment_ids=[api.experiment_id], run_view_type=view).get("runs", []))
                == count
            )
        response = api.send(
            "POST", "runs/search", json={"experiment_ids": [api.experiment_id], "run_view_type": "SOME"}
        )
        assert _refused(response) == (400, "INVALID_PARAMETER_VALUE")


class TestCut:
    def test_params_and_tags_of_runs_are_cut_as_mlflow_cuts_them(self, api: Api) -> None:
        long = "x" * 9000
        run_id = api.post("runs/create", experiment_id=api.experiment_id, tags=[{"key": "a", "value": long}])["run"][
            "info"
        ]["run_id"]
        api.post("runs/set-tag", run_id=run_id, key="b", value=long)
        api.post("runs/log-parameter", run_id=run_id, key="a", value=long)
        api.post(
            "runs/log-batch",
            run_id=run_id,
            params=[{"key": "b", "value": long}],
            tags=[{"key": "c", "value": long}, {"key": "empty"}],
        )
        data = api.run_data(run_id)
        assert {param["key"]: len(param["value"]) for param in data["params"]} == {"a": 6000, "b": 6000}
        lengths = {tag["key"]: len(tag["value"]) for tag in data["tags"]}
        del lengths["mlflow.runName"]
        assert lengths == {"a": 8000, "b": 8000, "c": 8000, "empty": 0}

    def test_other_tags_are_refused_where_they_are_too_long(self, api: Api) -> None:
        body = {"experiment_id": api.experiment_id, "key": "a", "value": "x" * 20_001}
        response = api.send("POST", "experiments/set-experiment-tag", json=body)
        assert _refused(response) == (400, "INVALID_PARAMETER_VALUE")


class TestRefused:
    def test_what_is_not_there_is_not_found(self, api: Api) -> None:
        for path in (
            "experiments/get?experiment_id=99",
            "experiments/get-by-name?experiment_name=none",
            "runs/get?run_id=none",
            f"logged-models/{MODEL_ID}",
            "registered-models/get?name=none",
            "model-versions/get?name=none&version=1",
            "model-versions/get-download-uri?name=none&version=1",
        ):
            assert _refused(api.send("GET", path)) == (404, "RESOURCE_DOES_NOT_EXIST"), path

    BREAK_A_RULE = (
        ("GET", "metrics/get-history?run_id=a&metric_key=m&max_results=0", None),
        ("GET", "metrics/get-history?run_id=a&metric_key=m&page_token=x", None),
        ("GET", "metrics/get-history-bulk?metric_key=m&max_results=0&run_id=a", None),
        ("GET", "metrics/get-history-bulk?metric_key=m" + "&run_id=a" * 101, None),
        ("GET", "metrics/get-history-bulk-interval?metric_key=m&run_ids=a&max_results=2501", None),
        ("GET", "metrics/get-history-bulk-interval?metric_key=m&run_ids=a&start_step=1", None),
        ("GET", "metrics/get-history-bulk-interval?metric_key=m&run_ids=a&start_step=2&end_step=1", None),
        ("POST", "runs/search", {"experiment_ids": ["0"], "max_results": 50_001}),
        ("POST", "runs/search", {"experiment_ids": ["0"], "max_results": 0}),
        ("POST", "runs/search", {"experiment_ids": ["0"], "filter": "metrics.loss <"}),
        ("POST", "experiments/search", {"max_results": 50_001}),
        ("GET", "registered-models/search?max_results=1001", None),
        ("GET", "model-versions/search?max_results=200001", None),
        ("GET", "model-versions/get?name=a&version=one", None),
        ("POST", "experiments/search-datasets", {"experiment_ids": ["0"] * 21}),
        ("POST", "logged-models/search", {"experiment_ids": ["0"], "order_by": [{"ascending": True}]}),
        ("PATCH", f"logged-models/{MODEL_ID}", {"status": "LOGGED_MODEL_PENDING"}),
        ("PATCH", f"logged-models/{MODEL_ID}", {"status": "SOMETHING"}),
        ("POST", "experiments/create", {"name": "a", "artifact_location": "mlflow-artifacts:/elsewhere"}),
        ("POST", "experiments/create", {"name": "a", "artifact_location": "mlflow-artifacts:/0/run/artifacts"}),
        ("POST", "experiments/create", {"name": "a", "artifact_location": "file:///etc"}),
        ("POST", "runs/log-metric", {"run_id": "a", "key": "k", "value": "much", "timestamp": 1}),
        ("POST", "runs/log-metric", {"run_id": "a", "key": "k", "value": True, "timestamp": 1}),
        ("POST", "runs/create", {"experiment_id": 0}),
    )

    def test_values_that_break_a_rule(self, api: Api) -> None:
        for method, path, body in self.BREAK_A_RULE:
            response = api.send(method, path, json=body)
            assert _refused(response) == (400, "INVALID_PARAMETER_VALUE"), (path, body)

    def test_a_batch_with_one_bad_value_logs_nothing(self, api: Api) -> None:
        run_id = api.new_run()
        before = api.run_data(run_id)
        point = {"key": "m", "value": 1, "timestamp": 1}
        for bad in ({"params": [{"key": "../a", "value": "1"}]}, {"tags": [{"key": "a?", "value": "1"}]}):
            response = api.send("POST", "runs/log-batch", json={"run_id": run_id, "metrics": [point], **bad})
            assert _refused(response) == (400, "INVALID_PARAMETER_VALUE")
        assert api.run_data(run_id) == before

    def test_a_param_keeps_its_value(self, api: Api) -> None:
        run_id = api.new_run()
        for value, status in (("1", 200), ("1", 200), ("2", 400)):
            body = {"run_id": run_id, "key": "p", "value": value}
            assert api.send("POST", "runs/log-parameter", json=body).status_code == status
        assert api.run_data(run_id)["params"] == [{"key": "p", "value": "1"}]

    @pytest.mark.parametrize("model_json", ["{", "[]", '{"flavors": {}}', '"text"'])
    def test_models_of_mlflow_2_that_are_none(self, api: Api, model_json: str) -> None:
        response = api.send("POST", "runs/log-model", json={"run_id": api.new_run(), "model_json": model_json})
        assert _refused(response) == (400, "INVALID_PARAMETER_VALUE")


class TestModels:
    def test_models_of_mlflow_2_are_listed_in_a_tag(self, api: Api) -> None:
        run_id = api.new_run()
        model = {
            "run_id": run_id,
            "artifact_path": "model",
            "utc_time_created": "2026-11-21 09:30:00",
            "flavors": {"sklearn": {"code": None, "config": {"secret": 1}}, "python_function": {}},
            "signature": {"inputs": "…"},
        }
        for _ in range(2):
            api.post("runs/log-model", run_id=run_id, model_json=json.dumps(model))
        tags = {tag["key"]: tag["value"] for tag in api.run_data(run_id)["tags"]}
        kept = {
            "run_id": run_id,
            "artifact_path": "model",
            "utc_time_created": "2026-11-21 09:30:00",
            "model_uuid": None,
            "flavors": {"sklearn": {"code": None}, "python_function": {}},
        }
        assert json.loads(tags["mlflow.log-model.history"]) == [kept, kept]

    def test_the_oldest_models_leave_a_tag_that_gets_too_long(self, api: Api) -> None:
        run_id = api.new_run()
        for index in range(5):
            path = f"{index}{'x' * 3000}"
            model = {"run_id": run_id, "artifact_path": path, "utc_time_created": "", "flavors": {}}
            api.post("runs/log-model", run_id=run_id, model_json=json.dumps(model))
        tags = {tag["key"]: tag["value"] for tag in api.run_data(run_id)["tags"]}
        kept = json.loads(tags["mlflow.log-model.history"])
        assert [model["artifact_path"][0] for model in kept] == ["3", "4"]

    def test_a_source_that_names_a_run_names_the_versions_own(self, api: Api) -> None:
        run_id, other = api.new_run(), api.new_run()
        given = {"name": api.model_name, "source": f"runs:/{run_id}/model"}
        for wrong in ({}, {"run_id": other}):
            response = api.send("POST", "model-versions/create", json={**given, **wrong})
            assert _refused(response) == (400, "INVALID_PARAMETER_VALUE")
            assert f"must name the run that the source names, {run_id}" in response.json()["message"]
        version = api.post("model-versions/create", **given, run_id=run_id)["model_version"]
        assert (version["run_id"], version["description"]) == (run_id, "")

    def test_versions_of_a_logged_model_know_it_and_it_knows_them(self, api: Api) -> None:
        run_id = api.new_run()
        model = api.post("logged-models", experiment_id=api.experiment_id, source_run_id=run_id)["model"]["info"]
        for source in (f"models:/{model['model_id']}", f"models:/{api.model_name}/1"):
            more = {"model_id": model["model_id"]} if source.endswith("/1") else {}
            version = api.post("model-versions/create", name=api.model_name, source=source, **more)["model_version"]
            assert (version["source"], version["model_id"]) == (source, model["model_id"])
            found = api.get("model-versions/get-download-uri", name=api.model_name, version=version["version"])
            assert found["artifact_uri"] == model["artifact_uri"]
        tags = api.get(f"logged-models/{model['model_id']}")["model"]["info"]["tags"]
        assert {tag["key"]: json.loads(tag["value"]) for tag in tags} == {
            "mlflow.modelVersions": [{"name": api.model_name, "version": 1}, {"name": api.model_name, "version": 2}]
        }

    @pytest.mark.parametrize(
        "source",
        [
            "/etc",
            "file:///etc",
            "http://host/model",
            "mlflow-artifacts:/elsewhere",
            "mlflow-artifacts:/0/run/artifacts/../../..",
            "mlflow-artifacts:/0/run/artifacts/%2e%2e/x",
            "workspace:/../..",
            "amlstore:///tmp",
            "models:/",
        ],
    )
    def test_sources_that_name_no_stored_object_are_refused(self, api: Api, source: str) -> None:
        response = api.send("POST", "model-versions/create", json={"name": api.model_name, "source": source})
        assert _refused(response) == (400, "INVALID_PARAMETER_VALUE")

    def test_a_version_may_be_a_number(self, api: Api) -> None:
        api.post("model-versions/create", name=api.model_name, source="s3://bucket/model")
        api.post("registered-models/alias", name=api.model_name, alias="best", version=1)
        assert api.get("registered-models/alias", name=api.model_name, alias="best")["model_version"]["version"] == "1"
        assert api.get("registered-models/get", name=api.model_name)["registered_model"]["aliases"] == [
            {"alias": "best", "version": "1"}
        ]
        api.delete("registered-models/alias", name=api.model_name, alias="best")
        response = api.send("GET", "registered-models/alias", params={"name": api.model_name, "alias": "best"})
        assert response.status_code == 404 or _refused(response)[1] == "INVALID_PARAMETER_VALUE"

    def test_latest_versions_by_either_method(self, api: Api) -> None:
        for _ in range(2):
            api.post("model-versions/create", name=api.model_name, source="s3://bucket/model")
        by_get = api.get("registered-models/get-latest-versions", name=api.model_name, stages=["None", "Staging"])
        assert by_get == api.post(
            "registered-models/get-latest-versions", name=api.model_name, stages=["None", "Staging"]
        )
        assert [version["version"] for version in by_get["model_versions"]] == ["2"]


class TestFilters:
    def test_uris_as_they_were_answered_are_found(self, api: Api) -> None:
        run_id = api.new_run()
        uri = api.get("runs/get", run_id=run_id)["run"]["info"]["artifact_uri"]
        model = api.post("logged-models", experiment_id=api.experiment_id)["model"]["info"]
        api.post("model-versions/create", name=api.model_name, source=f"{uri}/model")
        for text in (f"= '{uri}'", f"LIKE '{uri[:-5]}%'", f"LIKE 'mlflow-artifacts:/{api.experiment_id}/%'"):
            found = api.post("runs/search", experiment_ids=[api.experiment_id], filter=f"artifact_uri {text}")
            assert [run["info"]["run_id"] for run in found["runs"]] == [run_id]
        for text in (f"= '{uri}/model'", f"LIKE '{uri}/%'"):
            assert len(api.get("model-versions/search", filter=f"source_path {text}")["model_versions"]) == 1
        for text in (f"= '{model['artifact_uri']}'", f"LIKE 'mlflow-artifacts:/{api.experiment_id}/models/m-%'"):
            found = api.post(
                "logged-models/search", experiment_ids=[api.experiment_id], filter=f"artifact_location {text}"
            )
            assert [one["info"]["model_id"] for one in found["models"]] == [model["model_id"]]

    def test_uris_as_they_were_answered_under_the_tracking_uri_are_found(
        self, api: Api, service: ForkedService
    ) -> None:
        run_id = api.new_run()
        model_id = api.post("logged-models", experiment_id=api.experiment_id)["model"]["info"]["model_id"]
        root = service.tracking_uri.partition("?")[0]
        api.url = root.replace("azureml+http:", "http:")
        uri = api.get("runs/get", run_id=run_id)["run"]["info"]["artifact_uri"]
        assert uri == f"{root}/experiments/{api.experiment_id}/runs/{run_id}/artifacts"
        model_uri = api.get(f"logged-models/{model_id}")["model"]["info"]["artifact_uri"]
        assert model_uri == f"{root}/experiments/{api.experiment_id}/runs/{model_id}/artifacts"
        for source in (f"{uri}/model", model_uri):
            version = api.post("model-versions/create", name=api.model_name, source=source)["model_version"]
            assert version["source"] == source
            query = {"name": api.model_name, "version": version["version"]}
            assert api.get("model-versions/get-download-uri", **query) == {"artifact_uri": source}
            found = api.get("model-versions/search", filter=f"source_path = '{source}'")["model_versions"]
            assert [one["version"] for one in found] == [version["version"]]
        for text in (f"= '{uri}'", f"LIKE '{root}/experiments/{api.experiment_id}/runs/%'"):
            found = api.post("runs/search", experiment_ids=[api.experiment_id], filter=f"artifact_uri {text}")["runs"]
            assert [run["info"]["run_id"] for run in found] == [run_id]

    AZURE = AzureUris("azureml://host/mlflow/v2.0/workspaces/w")
    ROOT = f"{AZURE.root}/experiments/1/runs"

    @pytest.mark.parametrize(
        ("uris", "text", "of_runs", "of_logged_models"),
        [
            (ProxyUris(), "mlflow-artifacts:/1/abc/artifacts", "1/abc/artifacts", "1/abc/artifacts"),
            (ProxyUris(), "mlflow-artifacts://host:1/1/abc/artifacts", "1/abc/artifacts", "1/abc/artifacts"),
            (ProxyUris(), "mlflow-artifacts:/1/%", "1/%", "1/%"),
            (ProxyUris(), "s3://bucket/%", "s3://bucket/%", "s3://bucket/%"),
            (AZURE, f"{ROOT}/abc/artifacts", "1/abc/artifacts", "1/abc/artifacts"),
            (AZURE, f"{ROOT}/{MODEL_ID}/artifacts", f"1/models/{MODEL_ID}/artifacts", f"1/models/{MODEL_ID}/artifacts"),
            (AZURE, f"{ROOT}/ab%", "1/ab%", "1/models/ab%"),
            (AZURE, f"{ROOT[:-5]}/%", "1/%", "1/%"),
            (AZURE, "%/abc/artifacts", "%/abc/artifacts", "%/abc/artifacts"),
        ],
    )
    def test_a_clients_uris_become_those_of_records(
        self, uris: Uris, text: str, of_runs: str, of_logged_models: str
    ) -> None:
        assert uris.compared_run(text) == of_runs
        assert uris.compared_logged_model(text) == of_logged_models
        assert uris.compared_source(text) == (of_runs if of_runs == text else f"workspace:/{of_runs}")


def test_every_route_that_writes_needs_a_contributor() -> None:
    refused = {id(route) for route in unsupported_routes.routes}
    for route in (route for routes in ROUTES for route in routes if id(route) not in refused):
        reads = route.handler.__name__.startswith(("get_", "search_"))
        assert route.access is (Role.READER if reads else Role.CONTRIBUTOR), route.path


def test_no_two_routes_are_the_same() -> None:
    keys = [(route.method, route.path) for routes in ROUTES for route in routes]
    assert len(set(keys)) == len(keys)


def test_the_service_says_which_of_mlflows_features_it_has(api: Api) -> None:
    headers = {"Authorization": f"Bearer {api.token}"}
    answer = requests.get(f"{api.url}/api/3.0/mlflow/server-info", headers=headers).json()
    assert answer["workspaces_enabled"] is False
    assert answer["multipart_uploads_enabled"] is answer["multipart_downloads_enabled"] is True
    assert answer["features_enabled"] == {"gateway": False}


def test_a_key_that_is_given_twice_by_mistake_swallows_no_other_request(api: Api) -> None:
    """Where anything of the requests differs: the query, too."""
    for tag in ("a", "b"):
        api.post("registered-models/set-tag", name=api.model_name, key=tag, value="x")
    headers = {"Authorization": f"Bearer {api.token}", "Idempotency-Key": uuid.uuid4().hex}
    for tag in ("a", "a", "b"):
        address = f"{api.url}/api/2.0/mlflow/registered-models/delete-tag"
        answer = requests.delete(address, params={"name": api.model_name, "key": tag}, headers=headers)
        assert answer.status_code == 200, answer.text
    assert "tags" not in api.get("registered-models/get", name=api.model_name)["registered_model"]


class TestAjaxApi:
    """`/ajax-api` is another spelling of `/api`, as in MLflow's server: of the same routes, with the same rights."""

    @pytest.fixture
    def ajax_client(self, service: ForkedService, api: Api, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
        """MLflow's client, all of whose requests are spelt so."""
        send = requests.Session.request

        def spelt_otherwise(session: requests.Session, method: str, url: str, **given: Any) -> requests.Response:
            return send(session, method, url.replace("/api/", "/ajax-api/", 1), **given)

        monkeypatch.setattr(requests.Session, "request", spelt_otherwise)
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", api.token)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", api.url)  # MLflow 2.16 asks for files by this one alone
        return MlflowClient(api.url)

    def test_mlflows_client_finds_all_under_it(self, api: Api, ajax_client: MlflowClient, tmp_path: Path) -> None:
        run = ajax_client.create_run(api.experiment_id)
        ajax_client.log_metric(run.info.run_id, "loss", 0.5)
        ajax_client.set_tag(run.info.run_id, "team", "blue")
        (tmp_path / "notes.txt").write_text("hello")
        ajax_client.log_artifact(run.info.run_id, str(tmp_path / "notes.txt"))
        assert [file.path for file in ajax_client.list_artifacts(run.info.run_id)] == ["notes.txt"]
        assert Path(ajax_client.download_artifacts(run.info.run_id, "notes.txt")).read_text() == "hello"
        assert [point.value for point in ajax_client.get_metric_history(run.info.run_id, "loss")] == [0.5]
        [found] = ajax_client.search_runs([api.experiment_id], "tags.team = 'blue'")
        assert found.data.metrics == {"loss": 0.5}

    def test_each_of_its_routes_wants_the_same_credential(self, service: ForkedService) -> None:
        for route in (route for routes in ROUTES for route in routes):
            path = re.sub(r"{[^}]*}", "x", route.path).replace("/api/", "/ajax-api/", 1)
            answer = requests.request(route.method, f"{service.url}{path}")
            assert (answer.status_code, answer.json()["error_code"]) == (401, "UNAUTHENTICATED"), path

    def test_a_reader_changes_nothing_by_it(self, service: "Service", api: Api) -> None:
        answer = requests.post(
            f"{service.url}/ajax-api/2.0/mlflow/runs/create",
            json={"experiment_id": api.experiment_id},
            headers={"Authorization": f"Bearer {service.token_of(Role.READER)}"},
        )
        assert answer.status_code == 403

    def test_what_is_no_route_of_mlflows_has_no_such_spelling(self, service: "Service") -> None:
        owner = {"Authorization": f"Bearer {service.token_of(Role.OWNER)}"}
        for path in ("/ajax-api/auth/keys", "/ajax-api/health", "/ajax-api", "/ajax-api/2.0/mlflow/nothing"):
            answer = requests.get(f"{service.url}{path}", headers=owner)
            assert answer.status_code == 404, path


def test_who_changed_a_record_is_kept_by_the_name_of_the_key(service: "Service", api: Api) -> None:
    """Each caller's acts are their own, though writes of several are committed together."""
    runs = [api.new_run() for _ in range(20)]
    people = {name: service.exchange(service.new_key(name, "contributor")) for name in ("ana", "ben")}

    def delete(run_id: str, name: str) -> None:
        Api(service.url, people[name]).post("runs/delete", run_id=run_id)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(delete, runs, ["ana", "ben"] * 10))
    workspace = open_folder(service.folder)  # beside the service
    kept = [[(act.act, act.who) for act in workspace.records.acts.of("run", run)] for run in runs]
    workspace.close()
    assert kept == [[("deleted", name)] for name in ["ana", "ben"] * 10]
