"""Metrics of version 2, as they are on the wire."""

import math
from typing import TYPE_CHECKING, Any

import pytest

from mlflow_amlstore.client.tokens.credentials import KeyCredential
from mlflow_amlstore.core import Experiment, Workspace
from mlflow_amlstore.service.run_history.metrics import PAGE_VALUES
from tests.service.run_history.conftest import Call, refused

if TYPE_CHECKING:
    from tests.service.conftest import Service


def at(second: int) -> str:
    return f"2026-08-01T10:00:{second:02}.000Z"


def log(
    call: Call, run_id: str, columns: dict[str, str], *rows: dict[str, Any], kind: str = "scalar", name: str = "m"
) -> None:
    values = [{"createdUtc": at(second), "data": row} for second, row in enumerate(rows)]
    metric = {"name": name, "columns": columns, "value": values, "properties": {"uxMetricType": f"azureml.v1.{kind}"}}
    call("metric", "POST", f"runs/{run_id}/batch", {"values": [metric]})


def read(call: Call, run_id: str, **more: object) -> Any:
    return call("metric", "POST", f"runs/{run_id}/full", {"metricName": "m", **more})


def cells_of(metric: Any, column: str = "m") -> list[Any]:
    return [value["data"][column] for value in metric["value"]]


class TestWriting:
    @pytest.mark.parametrize("kind", ["int", "double", "string", "bool", "none"])
    def test_a_cell_is_what_it_is_whatever_its_column_s_type(self, call: Call, run_id: str, kind: str) -> None:
        cells = [1, 1.5, "a", "1", True, None]
        log(call, run_id, {"m": kind}, *[{"m": cell} for cell in cells], kind="list")
        found = cells_of(read(call, run_id))
        assert [(cell, type(cell)) for cell in found] == [(cell, type(cell)) for cell in cells]

    @pytest.mark.parametrize(("kind", "found"), [("double", {"m": "double"}), ("string", {"m": "string"})])
    def test_texts_that_mean_a_number_are_one_among_floats_alone(
        self, call: Call, run_id: str, kind: str, found: dict[str, str]
    ) -> None:
        log(call, run_id, {"m": kind}, *[{"m": text} for text in ("NaN", "Infinity", "-Infinity")])
        assert read(call, run_id)["columns"] == found

    def test_a_value_of_two_columns_is_a_row_s_alone(self, call: Call, run_id: str) -> None:
        with pytest.raises(Exception, match=r"400.*a value of this kind has one column"):
            log(call, run_id, {"m": "int", "n": "int"}, {"m": 1, "n": 2})


class TestReading:
    def test_each_row_has_each_column_as_the_sdk_wants_it(self, call: Call, run_id: str) -> None:
        log(call, run_id, {"a": "string", "n": "int"}, {"a": "x", "n": 1}, {"n": 2}, {"a": "NaN"}, kind="table")
        found = read(call, run_id)
        assert found["columns"] == {"a": "string", "n": "double"}
        assert [value["data"] for value in found["value"]] == [
            {"a": "x", "n": 1},
            {"a": "NaN", "n": 2},
            {"a": "NaN", "n": "NaN"},
        ]

    def test_it_is_told_which_texts_are_numbers(self, call: Call, run_id: str) -> None:
        log(call, run_id, {"m": "string"}, *[{"m": cell} for cell in ("NaN", math.nan, 1.5, -math.inf)])
        found = read(call, run_id)["value"]
        assert [(value["data"]["m"], value.get("notFinite")) for value in found] == [
            ("NaN", None),
            ("NaN", ["m"]),
            (1.5, None),
            ("-Infinity", ["m"]),
        ]

    def test_a_metric_is_read_from_a_time_to_a_time(self, call: Call, run_id: str) -> None:
        log(call, run_id, {"m": "int"}, *[{"m": number} for number in range(6)])
        assert cells_of(read(call, run_id, startTime=at(1), endTime=at(3))) == [1, 2, 3]
        assert cells_of(read(call, run_id, startTime=at(4))) == [4, 5]
        assert cells_of(read(call, run_id, endTime="2026-08-01T12:00:01+02:00")) == [0, 1]
        assert cells_of(read(call, run_id, startTime=at(59))) == []
        assert "'yesterday' is not a time" in refused(call, *self.full(run_id, startTime="yesterday")).body

    def test_a_long_metric_comes_in_pages_of_one_type(self, call: Call, run_id: str) -> None:
        cells = [*range(PAGE_VALUES), 0.5, 7]
        log(call, run_id, {"m": "int"}, *[{"m": cell} for cell in cells[:60]])
        values = [{"createdUtc": at(59), "data": {"m": cell}} for cell in cells[60:]]
        call("metric", "POST", f"runs/{run_id}/batch", {"values": [{"name": "m", "columns": {}, "value": values}]})

        first = read(call, run_id)
        rest = read(call, run_id, continuationToken=first["continuationToken"])
        assert (len(first["value"]), rest["continuationToken"]) == (PAGE_VALUES, None)
        assert cells_of(first) + cells_of(rest) == cells
        assert first["columns"] == rest["columns"] == {"m": "double"}

    def test_who_wants_cells_alone_gets_columns(self, call: Call, run_id: str) -> None:
        log(call, run_id, {"m": "int"}, *[{"m": cell} for cell in (1, 1.5, "NaN", None, True)])
        found = read(call, run_id, cellsOnly=True)
        assert (found["cells"], found["value"]) == ({"m": [1, 1.5, "NaN", None, True]}, [])
        assert "cells" not in read(call, run_id)

    def test_cells_that_json_has_no_number_for_come_in_rows_all_the_same(self, call: Call, run_id: str) -> None:
        log(call, run_id, {"m": "double"}, {"m": 1.5}, {"m": math.nan})
        found = read(call, run_id, cellsOnly=True)
        assert [(value["data"]["m"], value.get("notFinite")) for value in found["value"]] == [
            (1.5, None),
            ("NaN", ["m"]),
        ]
        assert "cells" not in found

    @pytest.mark.parametrize("token", ["9" * 5000, "-1", "x", "٣"])
    def test_a_page_token_is_one_that_the_service_gave(self, call: Call, run_id: str, token: str) -> None:
        log(call, run_id, {"m": "int"}, {"m": 1})
        answer = refused(call, *self.full(run_id, continuationToken=token))
        assert (answer.status, "page_token" in answer.body) == (400, True)

    def full(self, run_id: str, **more: object) -> tuple[object, ...]:
        return ("metric", "POST", f"runs/{run_id}/full", {"metricName": "m", **more})


class TestList:
    def test_it_tells_the_kinds_which_the_client_then_need_not_ask_for(
        self, service: "Service", call: Call, run_id: str
    ) -> None:
        log(call, run_id, {"m": "int"}, {"m": 1}, name="scalar")
        log(call, run_id, {"m": "int"}, {"m": 1}, {"m": 2}, kind="list", name="list")
        log(call, run_id, {"x": "int", "y": "int"}, {"x": 1, "y": 1}, kind="table", name="table")
        listed = call("metric", "POST", f"runs/{run_id}/list", {})["value"]
        assert {one["metricKey"]["name"]: one["properties"]["uxMetricType"] for one in listed} == {
            "scalar": "azureml.v1.scalar",
            "list": "azureml.v1.list",
            "table": "azureml.v1.table",
        }

        workspace = Workspace.from_url(service.url, KeyCredential(service.url, service.key))
        metrics = Experiment(workspace, "e")._records.metrics
        names = metrics.list_names(run_id)
        workspace.close()
        assert [name for name, _ in names] == ["scalar", "list", "table"]
        asked = [line for line in service.log.read_text().splitlines() if run_id in line]
        assert not any("/full" in line for line in asked)
