"""Datasets that the runs of experiments used. MLflow's evaluation datasets are something else, and not supported."""

import msgspec

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes

routes = Routes(Area.MLFLOW)

_MAX_EXPERIMENTS = 20  # as in MLflow's server


class SearchDatasets(msgspec.Struct):
    """The experiments to look at."""

    experiment_ids: list[str]


class DatasetSummary(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A dataset of an experiment, and a context that it was used in."""

    experiment_id: str
    name: str
    digest: str
    context: str | None = None


class DatasetSummaries(msgspec.Struct, frozen=True, omit_defaults=True):
    """Datasets of experiments."""

    dataset_summaries: list[DatasetSummary] = []


@routes.post("/api/2.0/mlflow/experiments/search-datasets", Role.READER, Right.TRACK, is_long=True)
def search_datasets(call: Call, body: SearchDatasets) -> DatasetSummaries:
    """Return the datasets that the runs of experiments used."""
    if not 1 <= len(body.experiment_ids) <= _MAX_EXPERIMENTS:
        rule = f"between 1 and {_MAX_EXPERIMENTS} experiments must be named"
        raise InvalidValue("experiment_ids", body.experiment_ids, rule)
    return DatasetSummaries(
        [
            DatasetSummary(summary.experiment_id, summary.name, summary.digest, summary.context or None)
            for summary in call.records.runs.list_datasets(body.experiment_ids)
        ]
    )
