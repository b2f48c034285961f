"""The limits that a workspace of Azure ML has, as figures.

Most are published (https://learn.microsoft.com/azure/machine-learning/resource-limits-capacity). Those of a call are
not; they are what its refusals say, as people report them: 200 metrics (mlflow issue 2441), 250 points of one metric
(mlflow 11462), 200 params of a run (azure-sdk-for-python 35685), 100 artifacts (ultralytics 3223), 1000 results (mlflow
10694). What Azure publishes and nobody reports a refusal for, 50 metric names of a run, is not held here.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What a workspace takes; lengths are in characters."""

    metrics_per_call: int = 200
    points_per_metric_per_call: int = 250
    params_per_call: int = 100  # MLflow's own
    params_per_run: int = 200
    param_value_length: int = 1000  # as a run's property has it
    tags_per_call: int = 50
    tags_per_run: int = 50
    tag_name_length: int = 100
    tag_value_length: int = 1000
    paths_per_call: int = 100
    path_length: int = 5000
    max_results: int = 1000
    experiment_name_length: int = 256
    run_name_length: int = 256


AZURE = Limits()

LIMITS_HEADER = "x-amlstore-limits"
"""A service that has no such limits says "none" in every answer; whoever says nothing is taken to have Azure's."""
NO_LIMITS = "none"

_OVER_LIMIT = re.compile(r"over the size limit\. FieldName=(?P<field>[\w./]+), Limit=\d+, Size=\d+")


def over_limit_message(field: str, limit: int, size: int) -> str:
    """Azure's sentence for what is too long or too many."""
    return (
        f"A field of the entity is over the size limit. FieldName={field}, Limit={limit}, Size={size}. "
        "See https://aka.ms/azure-machine-learning-limits for service limits documentation."
    )


def field_over_limit(message: str) -> str | None:
    """The field that Azure's sentence names, such as `Parameters`; None for any other sentence."""
    match = _OVER_LIMIT.search(message)
    return match["field"] if match else None
