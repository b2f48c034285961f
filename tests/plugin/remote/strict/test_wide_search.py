"""Searches that Azure ML can't do have the result that MLflow's own stores give."""

import logging
import random
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

from mlflow_amlstore.workspace.opening import EmbeddedWorkspace, create_workspace

FILTERS = [
    "",
    "metrics.loss < 0.5",
    "metrics.loss < 0.5 and params.model = 'b'",
    "params.model != 'a'",
    "params.model LIKE '%a%'",
    "params.model ILIKE 'A'",
    "tags.team != 'red'",
    "tags.team LIKE 're%' and metrics.loss > 0.1",
    "tags.`my key` = '1'",
    "params.\"odd name\" = 'x'",
    "metrics.`odd name` >= 2",
    "attributes.status = 'FINISHED'",
    "attributes.run_name LIKE 'run-1%'",
    "tags.mlflow.runName = 'run-3'",
    "start_time > 0",
]
ORDERS = [
    [],
    ["metrics.loss ASC"],
    ["metrics.loss DESC", "params.model"],
    ["params.model DESC"],
    ["tags.team", "metrics.loss"],
    ["attributes.run_name DESC"],
    ["start_time ASC"],
    ["metrics.`odd name` DESC"],
]


def make_runs(client: MlflowClient, experiment_id: str, count: int) -> None:
    """The same runs in whichever workspace, by their names."""
    dice = random.Random(7)
    for number in range(count):
        run_id = client.create_run(experiment_id, start_time=1000 + number, run_name=f"run-{number}").info.run_id
        values = {"loss": dice.choice([0.1, 0.3, 0.3, 0.9, float("nan")]), "odd name": dice.randrange(4)}
        kept = dict(dice.sample(sorted(values.items()), dice.randrange(3)))
        tags = [RunTag("team", dice.choice(["red", "blue"])), RunTag("my key", str(dice.randrange(3)))]
        client.log_batch(
            run_id,
            [Metric(name, value, 0, 0) for name, value in kept.items()],
            [Param("model", dice.choice("ab")), Param("odd name", dice.choice("xy"))],
            tags[: dice.randrange(3)],
        )
        if number % 3:
            client.set_terminated(run_id, end_time=2000 + number)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedWorkspace:
    opened = create_workspace(tmp_path_factory.mktemp("embedded"))
    client = MlflowClient(opened.root_uri)
    make_runs(client, client.create_experiment("searched"), 30)
    return opened


@pytest.fixture
def searched(client: MlflowClient) -> str:
    """The experiment with the same runs in the strict workspace."""
    found = client.get_experiment_by_name("searched")
    if found is None:
        make_runs(client, client.create_experiment("searched"), 30)
        found = client.get_experiment_by_name("searched")
    assert found is not None
    return str(found.experiment_id)


def names(client: MlflowClient, experiment_id: str, **search: object) -> list[str]:
    return [run.info.run_name for run in client.search_runs([experiment_id], **search)]  # type: ignore[arg-type]


@pytest.mark.parametrize("filter", FILTERS)
def test_a_filter_finds_the_same_runs(
    client: MlflowClient, searched: str, embedded: EmbeddedWorkspace, filter: str
) -> None:
    other = MlflowClient(embedded.root_uri)
    there = names(other, other.get_experiment_by_name("searched").experiment_id, filter_string=filter)
    assert names(client, searched, filter_string=filter) == there
    assert there or "odd" in filter or "my key" in filter


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_an_ordering_has_the_same_order(
    client: MlflowClient, searched: str, embedded: EmbeddedWorkspace, order: list[str]
) -> None:
    other = MlflowClient(embedded.root_uri)
    there = names(other, other.get_experiment_by_name("searched").experiment_id, order_by=order)
    assert names(client, searched, order_by=order) == there


def test_pages_follow_one_another(client: MlflowClient, searched: str) -> None:
    whole = names(client, searched, order_by=["metrics.loss DESC"])
    found, token = [], None
    while True:
        page = client.search_runs([searched], order_by=["metrics.loss DESC"], max_results=7, page_token=token)
        found += [run.info.run_name for run in page]
        token = page.token
        if not token:
            break
    assert found == whole


def test_a_run_is_found_by_what_it_had_no_room_for(client: MlflowClient, experiment_id: str) -> None:
    long = "x" * 2000
    ids = [client.create_run(experiment_id).info.run_id for _ in range(3)]
    client.log_param(ids[0], "prompt", long)
    client.log_batch(ids[1], params=[Param(f"p{n}", "v") for n in range(100)])
    client.log_batch(ids[1], params=[Param(f"q{n}", "v") for n in range(101)])
    client.log_batch(ids[2], tags=[RunTag(f"t{n}", "v") for n in range(60)])
    for run_id in ids:
        client.log_param(run_id, "short", "s")
    assert run_ids(client, experiment_id, f"params.prompt = '{long}'") == {ids[0]}
    assert run_ids(client, experiment_id, "params.q100 = 'v'") == {ids[1]}
    assert run_ids(client, experiment_id, f"params.prompt != '{long}'") == set()
    assert run_ids(client, experiment_id, "tags.t59 = 'v'") == {ids[2]}
    assert run_ids(client, experiment_id, "params.short = 's'") == set(ids)
    assert run_ids(client, experiment_id, "params.q100 = 'v' and metrics.loss > 0") == set()


def run_ids(client: MlflowClient, experiment_id: str, filter: str) -> set[str]:
    return {run.info.run_id for run in client.search_runs([experiment_id], filter)}


def test_the_pages_of_a_wide_search_are_fetched_once(
    client: MlflowClient, searched: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "mlflow_amlstore"):
        found = mlflow.search_runs([searched], order_by=["metrics.loss"], max_results=30, output_format="list")
        first = client.search_runs([searched], order_by=["metrics.loss"], max_results=10)
        second = client.search_runs([searched], order_by=["metrics.loss"], max_results=10, page_token=first.token)
    assert [run.info.run_id for run in [*first, *second]] == [run.info.run_id for run in found[:20]]
    assert len([record for record in caplog.records if "fetched 30 runs" in record.getMessage()]) == 2


def test_pages_go_on_as_they_began(client: MlflowClient, experiment_id: str) -> None:
    ids = [client.create_run(experiment_id, tags={"k": "v"}).info.run_id for _ in range(6)]
    for first_is_long in (False, True):
        if first_is_long:
            client.log_param(ids[0], "long", "x" * 1500)
        page = client.search_runs([experiment_id], "tags.k = 'v'", max_results=2)
        found = [run.info.run_id for run in page]
        if first_is_long:
            client.search_runs([experiment_id], order_by=["metrics.other"], max_results=1)
            client.delete_run(ids[0])
        else:
            client.log_param(ids[5], "long", "x" * 1500)
        while page.token:
            page = client.search_runs([experiment_id], "tags.k = 'v'", max_results=2, page_token=page.token)
            found += [run.info.run_id for run in page]
        assert set(found) | {ids[0]} == set(ids)


@pytest.mark.parametrize("max_results", [-1, 0, 50_001, "5"])
def test_a_number_of_results_that_is_none_is_refused(client: MlflowClient, searched: str, max_results: Any) -> None:
    with pytest.raises(MlflowException) as refused:
        client.search_runs([searched], "params.model = 'a'", max_results=max_results)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_the_best_run_is_the_best(client: MlflowClient, searched: str) -> None:
    (best,) = mlflow.search_runs([searched], order_by=["metrics.loss ASC"], max_results=1, output_format="list")
    assert best.data.metrics["loss"] == 0.1


def test_deleted_runs_are_searched_where_asked_for(client: MlflowClient, experiment_id: str) -> None:
    make_runs(client, experiment_id, 3)
    gone = client.search_runs([experiment_id])[0].info
    client.delete_run(gone.run_id)
    found = client.search_runs([experiment_id], "tags.team != 'x'", ViewType.DELETED_ONLY, order_by=["metrics.loss"])
    assert {run.info.run_id for run in found} <= {gone.run_id}
    every = client.search_runs([experiment_id], "attributes.run_name LIKE 'run%'", ViewType.ALL)
    assert len(every) == 3


def test_the_cost_is_told(
    client: MlflowClient, searched: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow_amlstore.plugin import client_side_search

    monkeypatch.setattr(client_side_search, "_told", set())
    with caplog.at_level(logging.WARNING, "mlflow_amlstore"):
        for _ in range(2):
            client.search_runs([searched], order_by=["metrics.loss"])
    (told,) = [record.getMessage() for record in caplog.records]
    assert "can't search with ordering by metric 'loss': fetched 30 runs in 1 requests" in told


def test_a_filter_that_mlflow_has_none_of_is_refused(client: MlflowClient, searched: str) -> None:
    with pytest.raises(MlflowException) as refused:
        client.search_runs([searched], "tags.a = 'x' OR tags.b = 'y'")
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_registered_models_are_found_though_mlflow_asks_for_prompts_to_be_left_out(client: MlflowClient) -> None:
    for name in ("searched-a", "searched-b"):
        client.create_registered_model(name, tags={"stage": name[-1]})
    found = client.search_registered_models("name LIKE 'searched-%'", order_by=["name DESC"])
    assert [model.name for model in found] == ["searched-b", "searched-a"]
    assert [model.name for model in client.search_registered_models("tag.stage = 'a'")] == ["searched-a"]
