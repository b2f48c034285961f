"""Metrics of version 1, as they are on the wire."""

import math
import time

from mlflow_amlstore.protocol.times import time_ms
from tests.service.run_history.conftest import Call


def test_values_without_a_time_were_logged_now(call: Call, run_id: str) -> None:
    before = time.time() * 1000
    metric = {"name": "m", "metricType": "azureml.v1.scalar", "cells": [{"m": 1.5}]}
    call("history", "POST", f"experiments/e/runs/{run_id}/metrics", metric)
    [found] = call("history", "POST", "experiments/e/metrics:query", {"filter": f"RunId eq {run_id}"})["value"]
    assert before - 1 <= time_ms(found["createdUtc"]) <= time.time() * 1000


def test_numbers_that_json_has_not_are_as_python_writes_them(call: Call, run_id: str) -> None:
    for number in (1.5, math.nan, math.inf, -math.inf):
        metric = {"name": "m", "metricType": "azureml.v1.scalar", "cells": [{"m": number}]}
        call("history", "POST", f"experiments/e/runs/{run_id}/metrics", metric)
    [found] = call("history", "POST", "experiments/e/metrics:query", {"filter": f"RunId eq {run_id}"})["value"]
    assert [cell["m"] for cell in found["cells"]] == [1.5, "nan", "inf", "-inf"]
    assert [column["type"] for column in found["schema"]["properties"]] == ["float"]
