"""Azure ML's run history, as its SDK asks: experiments and runs by name and id, trees of runs, filters, events."""

import urllib.error
import uuid
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.search.filter import Comparison, Entity
from mlflow_amlstore.records.types import RunFilter, RunStatus
from mlflow_amlstore.service.addresses import workspace_path
from mlflow_amlstore.service.run_history.odata import MAX_LENGTH, read_experiment_filter, read_run_filter

if TYPE_CHECKING:
    from tests.service.conftest import Service

Call = Callable[..., Any]
with_children = partial(RunFilter, include_children=True)


@pytest.fixture
def call(service: "Service") -> Call:
    def send(method: str, route: str, body: object = None, **query: object) -> Any:
        prefix = f"/history/v1.0{quote(workspace_path(service.workspace_name))}"
        return service.call(
            method, f"{prefix}/{quote(route)}{'?' if query else ''}{urlencode(query)}", service.token, body
        )

    return send


@pytest.fixture
def experiment(call: Call) -> Any:
    return call("POST", f"experiments/e {uuid.uuid4().hex}")


@pytest.fixture
def tree(call: Call, experiment: Any) -> list[str]:
    """A run, its child, that one's child, and a run of its own: their ids."""
    ids = [uuid.uuid4().hex for _ in range(4)]
    for run_id, parent in zip(ids, (None, *ids[:2], None), strict=True):
        body = {"runId": run_id, "parentRunId": parent, "tags": {"n": str(ids.index(run_id))}}
        call("PATCH", f"experiments/{experiment['name']}/runs/{run_id}", body)
    return ids


def ids_of(page: Any) -> set[str]:
    return {run["runId"] for run in page["value"]}


def refused(call: Call, *arguments: object, **query: object) -> int:
    with pytest.raises(urllib.error.HTTPError) as error:
        call(*arguments, **query)
    return error.value.code


class TestRoutes:
    @pytest.mark.parametrize("form", ["experiments/{name}/", "experimentids/{id}/", ""])
    def test_a_run_is_named_with_its_experiment_s_name_or_id_or_without_any(
        self, call: Call, experiment: Any, tree: list[str], form: str
    ) -> None:
        root, child, *_ = tree
        prefix = form.format(name=experiment["name"], id=experiment["experimentId"])
        at = f"{prefix}runs/{root}"

        assert call("PATCH", at, {"runId": root, "tags": {"t": "1"}})["tags"] == {"n": "0", "t": "1"}
        assert call("DELETE", f"{at}/tags", ["t", "never"])["tags"] == {"n": "0"}
        assert ids_of(call("GET", f"{at}/children")) == {child}
        event = {"name": "Microsoft.MachineLearning.Run.Start", "timestamp": "2026-08-01T10:00:00Z"}
        call("POST", f"{at}/events", {**event, "data": {"RunId": root, "StartTime": "2026-08-01T10:00:00Z"}})
        call("POST", f"{prefix}batch/events", {"events": [{**event, "data": {"RunId": child}}]})
        assert call("GET", f"{prefix}runs/{child}")["status"] == "Running"
        assert call("GET", f"{at}/details")["startTimeUtc"] == call("GET", at)["startTimeUtc"]
        if prefix:
            assert ids_of(call("POST", f"{prefix}runs:query", {"filter": "(ParentRunId eq null)"})) == {root, tree[3]}
            batch = call("PATCH", f"{prefix}batch/runs", {"runs": [{"runId": child, "displayName": "named"}]})
            assert batch["runs"][child]["displayName"] == "named"

    def test_an_experiment_that_is_named_as_another_s_id_is_not_taken_for_it(self, call: Call, experiment: Any) -> None:
        named_as_id = call("POST", f"experiments/{experiment['experimentId']}0")
        assert call("GET", f"experiments/{experiment['experimentId']}0") == named_as_id
        assert refused(call, "GET", f"experiments/{experiment['experimentId']}") == 404
        run_id = uuid.uuid4().hex
        call("PATCH", f"experimentids/{experiment['experimentId']}/runs/{run_id}", {"runId": run_id})
        for wrong in (f"experimentids/{named_as_id['experimentId']}", f"experiments/{named_as_id['name']}"):
            assert refused(call, "GET", f"{wrong}/runs/{run_id}") == 404
            assert refused(call, "PATCH", f"{wrong}/runs/{run_id}", {"runId": run_id}) == 404

    def test_experiments_are_listed_by_name_and_tags(self, call: Call, experiment: Any) -> None:
        call("PATCH", f"experimentids/{experiment['experimentId']}", {"tags": {"kind": experiment["name"]}})
        name, other = experiment["name"], f"(name eq {uuid.uuid4().hex})"
        for filter in (f"(name eq {name})", f"(Tags/kind eq {name})", f"((name eq {name}) and (Tags/kind eq {name}))"):
            found = call("POST", "experiments:query", {"viewType": "ActiveOnly", "filter": filter})["value"]
            assert [each["experimentId"] for each in found] == [experiment["experimentId"]], filter
        assert call("POST", "experiments:query", {"filter": other})["value"] == []

    def test_a_page_of_experiments_is_full_where_a_filter_leaves_some_out(self, call: Call, experiment: Any) -> None:
        names = [f"{experiment['name']}-{number}" for number in range(5)]
        tag = f"kind-{experiment['name']}"
        for name in names:
            made = call("POST", f"experiments/{name}")
            if name != names[3]:
                call("PATCH", f"experimentids/{made['experimentId']}", {"tags": {tag: "1"}})
        query = {"filter": f"(Tags/{tag} ne null or Tags/{tag} eq null)", "top": 2}
        first = call("POST", "experiments:query", query)
        second = call("POST", "experiments:query", {**query, "continuationToken": first["continuationToken"]})
        assert [each["name"] for each in first["value"]] == [names[4], names[2]]
        assert [each["name"] for each in second["value"]] == [names[1], names[0]]
        assert second["continuationToken"] is None


class TestTrees:
    def test_every_run_knows_the_root_of_its_tree(self, call: Call, tree: list[str]) -> None:
        roots = [call("GET", f"runs/{run_id}")["rootRunId"] for run_id in tree]
        assert roots == [tree[0], tree[0], tree[0], tree[3]]

    def test_a_run_without_its_parent_is_a_root(self, call: Call, experiment: Any) -> None:
        body = {"runId": uuid.uuid4().hex, "parentRunId": uuid.uuid4().hex}
        made = call("PATCH", f"experiments/{experiment['name']}/runs/{body['runId']}", body)
        assert made["rootRunId"] == body["runId"]

    def test_what_is_below_a_root_is_found_with_it_and_without(
        self, call: Call, experiment: Any, tree: list[str]
    ) -> None:
        root, child, grandchild, _ = tree

        def found(filter: str) -> set[str]:
            return ids_of(call("POST", f"experiments/{experiment['name']}/runs:query", {"filter": filter}))

        assert found(f"RootRunId eq {root}") == {root, child, grandchild}
        assert found(f"(RootRunId eq {root} and RunId ne {root})") == {child, grandchild}
        assert found(f'((RootRunId eq {root} and (Tags/n eq "2")) and RunId ne {root})') == {grandchild}
        assert (
            refused(call, "POST", f"experiments/{experiment['name']}/runs:query", {"filter": f"(RunId ne {root})"})
            == 400
        )


class TestFilters:
    @pytest.mark.parametrize(
        ("text", "meant"),
        [
            ("", with_children()),
            ("(ParentRunId eq null)", RunFilter()),
            ("(Status eq Completed)", with_children(status=RunStatus.COMPLETED)),
            ('(Tags/a b eq "c d")', with_children(tags={"a b": "c d"})),
            ('((Tags/a eq "x) and (y"))', with_children(tags={"a": "x) and (y"})),
            ('((Tags/a eq "x and Status eq y") and (Tags/b eq ""))', with_children(
                tags={"a": "x and Status eq y", "b": ""})),
            ("(Tags/a and b ne null or Tags/a and b eq null)", with_children(tags={"a and b": None})),
            ('(Properties/p eq "x ne null or y")', with_children(properties={"p": "x ne null or y"})),
            ("(RunType eq hd or Properties/azureml.runsource eq hd)", with_children(run_type="hd")),
            ('((ParentRunId eq null) and (Properties/ü eq "ü") and (Status eq Failed))', RunFilter(
                properties={"ü": "ü"}, status=RunStatus.FAILED)),
        ],
    )  # fmt: skip
    def test_the_sdk_s_filters_are_read(self, text: str, meant: RunFilter) -> None:
        assert read_run_filter(text) == meant

    @pytest.mark.parametrize(
        "text",
        ["x", "(Tags/a)", "(Tags/a ne null or Tags/b eq null)", "CreatedUtc ge 2026", "(Status eq Never)", "and", "()"],
    )
    def test_any_other_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidValue):
            read_run_filter(text)

    def test_a_filter_may_be_so_long_and_no_longer(self) -> None:
        longest = f'(Tags/a eq "{"x" * (MAX_LENGTH - 14)}")'
        assert len(read_run_filter(longest).tags["a"] or "") == MAX_LENGTH - 14
        with pytest.raises(InvalidValue, match=f"may have at most {MAX_LENGTH} characters"):
            read_run_filter(longest + " ")

    def test_an_experiment_filter_has_a_name_and_tags(self) -> None:
        text = '((name eq a b) and (Tags/t ne null or Tags/t eq null) and (Tags/u eq "v"))'
        assert read_experiment_filter(text).comparisons == (
            Comparison(Entity.ATTRIBUTE, "name", "=", "a b"),
            Comparison(Entity.TAG, "t", "IS NOT NULL", None),
            Comparison(Entity.TAG, "u", "=", "v"),
        )
        with pytest.raises(InvalidValue):
            read_experiment_filter("(Status eq Completed)")


class TestMetricsOfVersion1:
    def test_the_metrics_of_several_runs_are_asked_at_once(self, call: Call, experiment: Any, tree: list[str]) -> None:
        at = f"experiments/{experiment['name']}"
        for number, run_id in enumerate(tree):
            values = [
                {"name": name, "metricType": "azureml.v1.scalar", "createdUtc": "2026-08-01T10:00:00Z",
                 "cells": [{name: number}]}
                for name in ("m", "n or and")
            ]  # fmt: skip
            call("POST", f"{at}/runs/{run_id}/batch/metrics", {"values": values})

        def found(filter: str) -> list[tuple[str, str, Any]]:
            listed = call("POST", f"{at}/metrics:query", {"filter": filter})["value"]
            return [(one["runId"], one["name"], one["cells"][0][one["name"]]) for one in listed]

        one, other = f"RunId eq {tree[1]}", f"RunId eq {tree[2]}"
        assert found(one) == found(f"({one})") == [(tree[1], "m", 1), (tree[1], "n or and", 1)]
        assert found(f"({one} or {other} and name eq m)") == [(tree[1], "m", 1), (tree[2], "m", 2)]
        assert found(f"({other} and name eq n or and)") == [(tree[2], "n or and", 2)]
        assert found(f"({other} and name eq never)") == []
        for wrong in ("", "name eq m", f"{one} or Status eq Completed"):
            assert refused(call, "POST", f"{at}/metrics:query", {"filter": wrong}) == 400

    def test_what_mlflow_logs_under_a_tables_name_is_beside_a_column_of_that_name(
        self, service: "Service", call: Call, experiment: Any, tree: list[str]
    ) -> None:
        at, run_id = f"experiments/{experiment['name']}", tree[0]
        table = {"name": "t", "metricType": "azureml.v1.table", "createdUtc": "2026-08-01T10:00:00Z"}
        call("POST", f"{at}/runs/{run_id}/batch/metrics", {"values": [{**table, "cells": [{"t": 1}]}]})
        point = {"run_id": run_id, "key": "t", "value": 5, "timestamp": 0, "step": 0}
        mlflow = f"{quote(f'/mlflow/v2.0{workspace_path(service.workspace_name)}')}/api/2.0/mlflow"
        service.call("POST", f"{mlflow}/runs/log-metric", service.token, point)
        [metric] = call("POST", f"{at}/metrics:query", {"filter": f"RunId eq {run_id}"})["value"]
        assert metric["cells"] == [{"t": 1}, {"t": "nan"}, {"": "nan"}, {"": 5.0}]
