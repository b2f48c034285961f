"""MLflow's tracking calls on a service: written by MLflow, read through the workspace's folder, and the reverse."""

import os
import pickle
import socket
import subprocess
import sys
import uuid
from fractions import Fraction
from math import inf, isnan, nan
from typing import Any

import mlflow
import numpy as np
import pytest
from fork_server import run_forked
from forked_service import ForkedService
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

from mlflow_amlstore.plugin.remote_tracking import RemoteTrackingStore, tracking_store_of
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace
from mlflow_amlstore.workspace.tracking_uri import parse

HAS_LOGGED_MODELS = hasattr(mlflow.entities, "LoggedModel")
needs_logged_models = pytest.mark.skipif(not HAS_LOGGED_MODELS, reason="MLflow 2 has no logged models")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")


def store_of(client: MlflowClient) -> RemoteTrackingStore:
    store = client._tracking_client.store
    assert isinstance(store, RemoteTrackingStore)
    return store


def test_who_was_told_of_no_experiment_gets_the_one_that_another_process_makes(
    client: MlflowClient, workspace: EmbeddedWorkspace
) -> None:
    name = f"iris {uuid.uuid4().hex}"
    assert client.get_experiment_by_name(name) is None
    made = workspace.records.experiments.create(name)
    assert client.create_experiment(name) == made
    with pytest.raises(MlflowException, match="already exists"):
        client.create_experiment(name)


class TestLogging:
    def test_what_mlflow_logs_is_in_the_workspace(
        self, client: MlflowClient, experiment_id: str, workspace: EmbeddedWorkspace
    ) -> None:
        mlflow.set_experiment(experiment_id=experiment_id)
        with mlflow.start_run(run_name="first") as run:
            mlflow.log_param("lr", 0.1)
            mlflow.log_metric("loss", 0.5, step=3)
            mlflow.log_metrics({"a": 1, "b": 2.5}, step=4)
            mlflow.log_params({"x": "y", "n": None})
            mlflow.set_tags({"k": "v"})
        record = workspace.records.runs.get(run.info.run_id)
        assert (record.info.name, record.info.status.value) == ("first", "Completed")
        assert record.params == {"lr": "0.1", "x": "y", "n": "None"}
        assert {(m.name, m.value, m.step) for m in record.metrics} == {("loss", 0.5, 3), ("a", 1.0, 4), ("b", 2.5, 4)}
        assert record.tags["k"] == "v"

    def test_what_json_has_no_number_for_is_kept(self, client: MlflowClient, run_id: str) -> None:
        for step, value in enumerate([nan, inf, -inf, 1e308]):
            client.log_metric(run_id, "m", value, step=step)
        client.log_batch(run_id, [Metric("b", nan, 0, 0), Metric("b", inf, 1, 1)])
        nan_first, *others = [point.value for point in client.get_metric_history(run_id, "m")]
        assert isnan(nan_first)
        assert others == [inf, -inf, 1e308]
        assert client.get_run(run_id).data.metrics["b"] == inf

    @pytest.mark.parametrize("value", [3, True, np.float32(0.5), np.int64(7), Fraction(1, 2)])
    def test_whatever_is_a_number_is_taken(self, client: MlflowClient, run_id: str, value: Any) -> None:
        client.log_metric(run_id, "m", value)
        assert client.get_run(run_id).data.metrics == {"m": float(value)}

    def test_what_is_none_is_refused_by_name(self, client: MlflowClient, run_id: str) -> None:
        for value in ("one", None, "1.5"):
            with pytest.raises(MlflowException, match="metric 'm'") as raised:
                store_of(client).log_metric(run_id, Metric("m", value, 0, 0))
            assert raised.value.error_code == "INVALID_PARAMETER_VALUE"
        assert client.get_run(run_id).data.metrics == {}

    def test_values_too_long_are_cut_as_mlflow_cuts_them(
        self, client: MlflowClient, run_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client.log_param(run_id, "p", "x" * 7000)
        client.set_tag(run_id, "t", "x" * 9000)
        data = client.get_run(run_id).data
        assert (len(data.params["p"]), len(data.tags["t"])) == (6000, 8000)
        monkeypatch.setenv("MLFLOW_TRUNCATE_LONG_VALUES", "false")
        for call in (
            lambda: store_of(client).log_param(run_id, Param("q", "x" * 7000)),
            lambda: store_of(client).set_tag(run_id, RunTag("u", "x" * 9000)),
        ):
            with pytest.raises(MlflowException, match=r"at most \d+ characters|exceeds|too long"):
                call()
        assert "q" not in client.get_run(run_id).data.params

    def test_a_batch_is_whole_or_absent(self, client: MlflowClient, run_id: str) -> None:
        client.log_param(run_id, "p", "1")
        with pytest.raises(MlflowException, match="Changing param values is not allowed") as raised:
            client.log_batch(run_id, [Metric("m", 1.0, 0, 0)], [Param("p", "2")], [RunTag("t", "v")])
        assert raised.value.error_code == "INVALID_PARAMETER_VALUE"
        data = client.get_run(run_id).data
        assert (data.metrics, data.params, data.tags.get("t")) == ({}, {"p": "1"}, None)

    def test_inputs_are_logged(self, client: MlflowClient, run_id: str) -> None:
        dataset = Dataset("iris", "d1", "local", "{}", schema="{}", profile=None)
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
        (read,) = client.get_run(run_id).inputs.dataset_inputs
        assert dict(read.dataset) == dict(dataset)
        assert [(tag.key, tag.value) for tag in read.tags] == [("mlflow.data.context", "training")]

    def test_asynchronous_logging_loses_nothing_at_exit(self, service: ForkedService, client: MlflowClient) -> None:
        script = (
            "import mlflow\n"
            "with mlflow.start_run() as run:\n"
            "    print(run.info.run_id)\n"
            "    for step in range(300):\n"
            "        mlflow.log_metric('m', step, step=step, synchronous=False)\n"
        )
        done = run_forked(["-c", script], env=service.environment, check=True)
        run_id = done.stdout.split()[0]
        assert [point.value for point in client.get_metric_history(run_id, "m")] == list(range(300))


class TestReading:
    def test_runs_are_found_and_read_as_they_are(
        self, client: MlflowClient, experiment_id: str, workspace: EmbeddedWorkspace
    ) -> None:
        runs = workspace.records.runs
        for number in range(25):
            run = runs.create(
                experiment_id, name=f"run {number}", user_id="me", start_ms=number, tags={"n": str(number)}
            )
            runs.log(run.info.run_id, points=[("m", number / 2, 1, 5)], params=[("p", "v")])
        found = client.search_runs([experiment_id], "metrics.m < 6", order_by=["metrics.m DESC"], max_results=10)
        assert [run.data.metrics["m"] for run in found] == [5.5 - half / 2 for half in range(10)]
        first = found[0]
        assert (first.info.run_name, first.info.status, first.info.lifecycle_stage) == ("run 11", "RUNNING", "active")
        assert (first.info.user_id, first.info.start_time, first.info.end_time) == ("me", 11, None)
        assert (first.data.params, first.data.tags["n"]) == ({"p": "v"}, "11")
        rest = client.search_runs([experiment_id], "metrics.m < 6", order_by=["metrics.m DESC"], page_token=found.token)
        assert [run.info.run_name for run in rest] == ["run 1", "run 0"]
        assert rest.token is None

    def test_one_run_is_read_as_it_is_found(self, client: MlflowClient, experiment_id: str, run_id: str) -> None:
        client.log_metric(run_id, "m", 1.0)
        client.set_terminated(run_id, "FAILED", end_time=5)
        (found,) = client.search_runs([experiment_id])
        read = client.get_run(run_id)
        assert read.to_dictionary() == found.to_dictionary()
        assert (read.info.status, read.info.end_time) == ("FAILED", 5)

    def test_deleted_runs_are_seen_when_asked_for(self, client: MlflowClient, experiment_id: str, run_id: str) -> None:
        client.delete_run(run_id)
        assert client.search_runs([experiment_id]) == []
        (deleted,) = client.search_runs([experiment_id], run_view_type=ViewType.DELETED_ONLY)
        assert deleted.info.lifecycle_stage == "deleted"

    def test_a_long_history_is_read_whole(
        self, client: MlflowClient, run_id: str, workspace: EmbeddedWorkspace
    ) -> None:
        for start in range(0, 30_000, 1000):
            points = [("m", float(step), step, step) for step in range(start, start + 1000)]
            workspace.records.runs.log(run_id, points=points)
        history = client.get_metric_history(run_id, "m")
        assert [(p.value, p.step, p.timestamp) for p in history] == [(float(n), n, n) for n in range(30_000)]

    def test_errors_have_mlflows_codes_and_the_stores_sentence(self, client: MlflowClient, experiment_id: str) -> None:
        for call, code, sentence in (
            (lambda: client.get_run("0" * 32), "RESOURCE_DOES_NOT_EXIST", "not found"),
            (lambda: client.create_experiment("Default"), "RESOURCE_ALREADY_EXISTS", "already exists"),
            (
                lambda: client.search_runs([experiment_id], "metrics.m ~ 1"),
                "INVALID_PARAMETER_VALUE",
                "search expression",
            ),
            (lambda: client.create_experiment(12), "INVALID_PARAMETER_VALUE", "name"),
        ):
            with pytest.raises(MlflowException, match=sentence) as raised:
                call()
            assert raised.value.error_code == code
        assert client.get_experiment_by_name("no such experiment") is None

    def test_tracing_is_refused_without_asking_the_service(self, client: MlflowClient, experiment_id: str) -> None:
        with pytest.raises(NotImplementedError, match="Tracing"):
            store_of(client).delete_traces(experiment_id, max_timestamp_millis=1)


@needs_logged_models
class TestLoggedModels:
    def test_one_is_created_read_found_and_finished(
        self, client: MlflowClient, experiment_id: str, run_id: str
    ) -> None:
        model = client.create_logged_model(
            experiment_id, name="tree", source_run_id=run_id, tags={"k": "v"}, params={"depth": "3"}
        )
        client.log_metric(run_id, "auc", 0.9, model_id=model.model_id)
        client.finalize_logged_model(model.model_id, "READY")
        read = client.get_logged_model(model.model_id)
        assert (read.name, str(read.status), read.model_type) == ("tree", "READY", None)
        assert (read.params, read.tags, read.source_run_id) == ({"depth": "3"}, {"k": "v"}, run_id)
        assert [(metric.key, metric.value, metric.run_id) for metric in read.metrics] == [("auc", 0.9, run_id)]
        (found,) = client.search_logged_models([experiment_id], "metrics.auc > 0.5", order_by=[{"field_name": "name"}])
        assert found.to_dictionary() == read.to_dictionary()

    def test_a_tag_of_any_name_is_deleted(self, client: MlflowClient, experiment_id: str) -> None:
        model = client.create_logged_model(experiment_id, tags={"a b/ü?#%": "v"})
        client.delete_logged_model_tag(model.model_id, "a b/ü?#%")
        assert client.get_logged_model(model.model_id).tags == {}

    def test_a_status_of_ones_own_is_refused(self, client: MlflowClient, experiment_id: str) -> None:
        model = client.create_logged_model(experiment_id)
        with pytest.raises(MlflowException, match="must be one of PENDING, READY, FAILED"):
            store_of(client).finalize_logged_model(model.model_id, "DONE")


class TestStore:
    def test_building_one_takes_no_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise AssertionError("a socket is opened")

        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        monkeypatch.setattr(socket.socket, "connect", refuse)
        uri = "azureml://no-such-host.example/mlflow/v2.0/subscriptions/s/resourceGroups/g/providers/p/workspaces/w"
        client = MlflowClient(uri, uri)
        assert isinstance(store_of(client), RemoteTrackingStore)
        assert client._get_registry_client().store is not None

    def test_uris_that_differ_in_expires_and_token_are_one_store(self, service: ForkedService) -> None:
        root = parse(service.tracking_uri).root
        assert tracking_store_of(service.tracking_uri) is tracking_store_of(f"{root}?expires=2026-01-31T13:00:00Z")

    @pytest.mark.parametrize("roles", [("reader", "contributor"), ("contributor", "reader")])
    def test_each_of_two_keys_keeps_its_own_rights(self, service: ForkedService, roles: tuple[str, str]) -> None:
        clients = {}
        for role in roles:
            wanted = {"name": f"{role} {uuid.uuid4().hex}", "role": role}
            key = service.call("POST", "/auth/keys", service.exchange(service.key), wanted)["key"]
            token = service.call("POST", "/auth/tracking-token", service.exchange(key))["token"]
            clients[role] = MlflowClient(f"{parse(service.tracking_uri).root}?token={token}")
        run_id = clients["contributor"].create_run("0").info.run_id
        for _ in range(2):
            with pytest.raises(MlflowException, match="needs the role contributor"):
                clients["reader"].log_metric(run_id, "m", 1.0)
            clients["contributor"].log_metric(run_id, "m", 1.0)
        assert len(clients["reader"].get_metric_history(run_id, "m")) == 2
        for client in clients.values():
            store_of(client).connection.close()

    def test_the_active_run_goes_on_with_the_next_uri(self, service: ForkedService, client: MlflowClient) -> None:
        with mlflow.start_run() as run:
            mlflow.log_metric("m", 1.0)
            mlflow.set_tracking_uri(f"{parse(service.tracking_uri).root}?token={service.token}")
            mlflow.log_metric("m", 2.0)
        assert [point.value for point in client.get_metric_history(run.info.run_id, "m")] == [1.0, 2.0]

    def test_no_repr_has_the_token(self, service: ForkedService, client: MlflowClient) -> None:
        token = parse(service.tracking_uri).token
        assert token not in repr(store_of(client)) + repr(client._get_registry_client().store)

    def test_a_pickled_store_works_in_another_process(
        self, service: ForkedService, client: MlflowClient, run_id: str
    ) -> None:
        assert pickle.loads(pickle.dumps(store_of(client))) is store_of(client)
        pickled = pickle.dumps(store_of(client))
        script = f"import pickle, sys; print(pickle.loads({pickled!r}).get_run(sys.argv[1]).info.run_id)"
        assert run_id in run_forked(["-c", script, run_id], check=True).stdout

    @needs_fork
    def test_forked_children_log_too(self, client: MlflowClient, run_id: str) -> None:
        client.log_metric(run_id, "m", 0.0)
        children = []
        for number in range(1, 4):
            pid = os.fork()
            if pid == 0:
                try:
                    client.log_metric(run_id, "m", float(number), step=number)
                    os._exit(0)
                finally:
                    os._exit(1)
            children.append(pid)
        assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
        assert sorted(point.value for point in client.get_metric_history(run_id, "m")) == [0.0, 1.0, 2.0, 3.0]

    def test_code_of_mlflows_that_calls_the_server_itself_gets_a_living_token(
        self, service: ForkedService, client: MlflowClient, run_id: str
    ) -> None:
        from mlflow.utils.rest_utils import http_request

        answer = http_request(
            store_of(client).get_host_creds(), "/api/2.0/mlflow/runs/get", "GET", params={"run_id": run_id}
        )
        assert answer.json()["run"]["info"]["run_id"] == run_id

    def test_the_plugin_loads_no_database(self) -> None:
        script = (
            "import sys, mlflow; before = set(sys.modules)\n"
            "import mlflow_amlstore.plugin.remote_tracking, mlflow_amlstore.plugin.remote_registry\n"
            "import mlflow_amlstore.plugin.remote_artifacts\n"
            "print({name.split('.')[0] for name in set(sys.modules) - before} & {'sqlalchemy', 'alembic', 'starlette'})"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "set()"


def test_mlflows_number_of_retries_holds_through_the_plugin(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And an outage is one clear error, when it is longer than that."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with ForkedService(tmp_path_factory.mktemp("short")) as service:
        client = MlflowClient(service.tracking_uri)
        client.search_experiments()
    with pytest.raises(MlflowException, match="can't be reached: connection refused") as raised:
        client.search_experiments()
    assert raised.value.error_code == "TEMPORARILY_UNAVAILABLE"
