"""Batches of metrics that come twice, because the answer to the first was lost, are logged once: by their metricIds."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.service.run_history.conftest import Call, calls_of, new_run, refused

if TYPE_CHECKING:
    from tests.service.conftest import Service

AT = "2026-08-01T10:00:00Z"


def batch_of_version_2(*values: tuple[str | None, Any]) -> dict[str, Any]:
    rows = [{"metricId": metric_id, "createdUtc": AT, "data": {"m": value}} for metric_id, value in values]
    return {"values": [{"name": "m", "columns": {"m": "double"}, "value": rows}]}


def batch_of_version_1(*values: tuple[str | None, Any]) -> dict[str, Any]:
    return {
        "values": [
            {"name": "m", "metricType": "azureml.v1.scalar", "metricId": metric_id, "createdUtc": AT,
             "cells": [{"m": value}]}
            for metric_id, value in values
        ]
    }  # fmt: skip


VERSIONS = pytest.mark.parametrize(
    ("area", "route", "batch"),
    [
        ("metric", "runs/{run}/batch", batch_of_version_2),
        ("history", "experiments/e/runs/{run}/batch/metrics", batch_of_version_1),
    ],
    ids=["version 2", "version 1"],
)
Batch = Callable[..., dict[str, Any]]


def values_of(call: Call, run_id: str) -> list[Any]:
    found = call("metric", "POST", f"runs/{run_id}/full", {"metricName": "m"})
    return [value["data"]["m"] for value in found["value"]]


@VERSIONS
class TestTwice:
    def test_a_batch_whose_values_have_ids_is_logged_once(
        self, call: Call, run_id: str, area: str, route: str, batch: Batch
    ) -> None:
        for _ in range(3):
            call(area, "POST", route.format(run=run_id), batch(("a", 1.5), ("b", 2.5)))
        assert values_of(call, run_id) == [1.5, 2.5]

    def test_once_in_each_run(self, call: Call, run_id: str, area: str, route: str, batch: Batch) -> None:
        for each in (run_id, other := new_run(call)):
            call(area, "POST", route.format(run=each), batch(("a", 1.5)))
        assert values_of(call, run_id) == values_of(call, other) == [1.5]

    def test_other_values_under_the_same_ids_are_another_batch(
        self, call: Call, run_id: str, area: str, route: str, batch: Batch
    ) -> None:
        for value in (1.5, 2.5):
            call(area, "POST", route.format(run=run_id), batch(("a", value)))
        assert values_of(call, run_id) == [1.5, 2.5]

    @pytest.mark.parametrize("ids", [(None, None), ("a", None)])
    def test_what_has_no_ids_is_logged_as_it_comes(
        self, call: Call, run_id: str, area: str, route: str, batch: Batch, ids: tuple[str | None, ...]
    ) -> None:
        for _ in range(2):
            call(area, "POST", route.format(run=run_id), batch(*[(metric_id, 1.5) for metric_id in ids]))
        assert values_of(call, run_id) == [1.5] * 4

    def test_a_batch_that_was_refused_is_tried_anew(
        self, call: Call, run_id: str, area: str, route: str, batch: Batch
    ) -> None:
        later = f"{run_id}-later"
        assert refused(call, area, "POST", route.format(run=later), batch(("a", 1.5))).status == 404
        call("history", "PATCH", f"experiments/e/runs/{later}", {"runId": later})
        call(area, "POST", route.format(run=later), batch(("a", 1.5)))
        assert values_of(call, later) == [1.5]


@VERSIONS
def test_a_service_that_was_killed_in_between_knows_it_too(
    start_service: "Callable[..., Service]", area: str, route: str, batch: Batch
) -> None:
    service = start_service()
    run_id = new_run(call := calls_of(service))
    for _ in range(2):
        call(area, "POST", route.format(run=run_id), batch(("a", 1.5), ("b", 2.5)))
        service.kill()
        service.start()
    assert values_of(call, run_id) == [1.5, 2.5]
