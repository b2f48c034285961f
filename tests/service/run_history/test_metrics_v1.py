"""Metrics of version 1, as they are on the wire."""

import time

from mlflow_amlstore.workspace.run_history.moments import moment_ms
from tests.service.run_history.conftest import Call


def test_values_without_a_time_were_logged_now(call: Call, run_id: str) -> None:
    before = time.time() * 1000
    metric = {"name": "m", "metricType": "azureml.v1.scalar", "cells": [{"m": 1.5}]}
    call("history", "POST", f"experiments/e/runs/{run_id}/metrics", metric)
    [found] = call("history", "POST", "experiments/e/metrics:query", {"filter": f"RunId eq {run_id}"})["value"]
    assert before - 1 <= moment_ms(found["createdUtc"]) <= time.time() * 1000
