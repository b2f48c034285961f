"""MLflow's tracking store over a workspace's run records. Thin: convert, call, convert back."""

import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import mlflow.entities as mlflow_entities
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking import SEARCH_MAX_RESULTS_DEFAULT

from mlflow_amlstore.plugin import convert, local_paths, submitted_run
from mlflow_amlstore.plugin.as_errors import as_mlflow_errors, raises_mlflow_errors
from mlflow_amlstore.plugin.async_logging import LosslessAsyncLogging
from mlflow_amlstore.plugin.one_store import OneStoreEach
from mlflow_amlstore.plugin.racing_experiments import RacingExperiments
from mlflow_amlstore.plugin.unsupported_methods import NoTraces, UnsupportedMethods
from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.types import ModelDirection, Page, RunModel, RunRecord
from mlflow_amlstore.records.validation import MAX_TAG_VALUE_LENGTH, check_run_id
from mlflow_amlstore.runner import deaths
from mlflow_amlstore.workspace.artifact_uri import to_stored_location
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace, open_workspace

if convert.HAS_LOGGED_MODELS:
    from mlflow_amlstore.plugin.logged_models import LoggedModelsMixin
else:

    class LoggedModelsMixin:  # type: ignore[no-redef]  # MLflow 2 has no logged models to adapt
        """Nothing to add."""


_LOGGED_MODELS_TAG = "mlflow.log-model.history"


@as_mlflow_errors()
def tracking_store_of(store_uri: str) -> "TrackingStore":
    """The one store of a workspace, whatever `expires` its URI has: queued asynchronous logging must find it again."""
    opened = open_workspace(store_uri)
    return _stores.of(opened)


@raises_mlflow_errors
class TrackingStore(RacingExperiments, NoTraces, UnsupportedMethods, LoggedModelsMixin, LosslessAsyncLogging):
    """A workspace as MLflow's tracking store. Safe across threads, fork and pickling."""

    def __init__(self, store_uri: str) -> None:
        """Open the workspace that `store_uri` names. Raises MlflowException where there is none."""
        super().__init__()
        self.workspace = open_workspace(store_uri)
        self._records = self.workspace.records
        self._logged_models = self._records.logged_models
        self._root_uri = self.workspace.root_uri

    def __reduce__(self) -> tuple[Any, ...]:
        return tracking_store_of, (self._root_uri,)

    # Experiments

    def search_experiments(
        self,
        view_type: int = ViewType.ACTIVE_ONLY,
        max_results: int = SEARCH_MAX_RESULTS_DEFAULT,
        filter_string: str | None = None,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[mlflow_entities.Experiment]:
        page = self._records.experiments.search(
            view=convert.to_view(view_type),
            filter=grammars.EXPERIMENTS.parse(filter_string),
            order_by=order_by or (),
            max_results=max_results,
            page_token=page_token,
        )
        return PagedList([convert.experiment_entity(record, self._root_uri) for record in page.items], page.next_token)

    def _make_experiment(
        self, name: str, artifact_location: str | None, tags: Sequence[mlflow_entities.ExperimentTag] | None
    ) -> str:
        return self._records.experiments.create(
            name,
            artifact_location=local_paths.artifact_location(artifact_location),
            tags={tag.key: tag.value for tag in tags or ()},
        )

    def get_experiment(self, experiment_id: str) -> mlflow_entities.Experiment:
        return convert.experiment_entity(self._records.experiments.get(experiment_id), self._root_uri)

    def _experiment_by_name(self, name: str) -> mlflow_entities.Experiment | None:
        record = self._records.experiments.find_by_name(name)
        return None if record is None else convert.experiment_entity(record, self._root_uri)

    def delete_experiment(self, experiment_id: str) -> None:
        self._records.experiments.delete(experiment_id)

    def restore_experiment(self, experiment_id: str) -> None:
        self._records.experiments.restore(experiment_id)

    def rename_experiment(self, experiment_id: str, new_name: str) -> None:
        self._records.experiments.rename(experiment_id, new_name)

    def set_experiment_tag(self, experiment_id: str, tag: mlflow_entities.ExperimentTag) -> None:
        self._records.experiments.set_tag(experiment_id, tag.key, tag.value)

    def delete_experiment_tag(self, experiment_id: str, key: str) -> None:
        self._records.experiments.delete_tag(experiment_id, key)

    # What `mlflow gc` calls

    def _get_deleted_runs(self, older_than: int = 0) -> list[str]:
        return self._records.trash.list_deleted(older_than_ms=older_than).run_ids

    def _get_deleted_logged_models(self, older_than: int = 0) -> list[str]:
        return self._records.trash.list_deleted(older_than_ms=older_than).model_ids

    def _hard_delete_run(self, run_id: str) -> None:
        self._records.trash.remove_run(run_id)

    def _hard_delete_logged_model(self, model_id: str) -> None:
        self._records.trash.remove_logged_model(model_id)

    def _hard_delete_experiment(self, experiment_id: str) -> None:
        self._records.trash.remove_experiment(experiment_id)

    # Runs

    def create_run(
        self,
        experiment_id: str,
        user_id: str | None,
        start_time: int | None,
        tags: Sequence[RunTag] | None,
        run_name: str | None,
    ) -> mlflow_entities.Run:
        record = self._records.runs.create(
            experiment_id,
            name=run_name,
            user_id=user_id or "",
            start_ms=start_time,
            tags=dict(convert.to_tags(tags or ())),
            in_this_process=not _serves_others(),
        )
        return convert.run_entity(record, self._root_uri)

    def get_run(self, run_id: str) -> mlflow_entities.Run:
        deaths.look(self._records)
        return convert.run_entity(self._records.runs.get(run_id), self._root_uri)

    def update_run_info(
        self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None
    ) -> mlflow_entities.RunInfo:
        status = convert.to_status(run_status)
        if submitted_run.is_this_process(run_id):
            status = end_time = None
        info = self._records.runs.update(
            run_id, status=status, end_ms=end_time, name=run_name, in_this_process=not _serves_others()
        )
        return convert.run_info_entity(info, self._root_uri)

    def delete_run(self, run_id: str) -> None:
        self._records.runs.delete(run_id)

    def restore_run(self, run_id: str) -> None:
        self._records.runs.restore(run_id)

    def _search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str | None,
        run_view_type: int,
        max_results: int | None,
        order_by: Sequence[str] | None,
        page_token: str | None,
    ) -> tuple[list[mlflow_entities.Run], str | None]:
        deaths.look(self._records)
        page: Page[RunRecord] = self._records.runs.search(
            experiment_ids,
            filter=grammars.RUNS.parse(filter_string).with_values(
                "artifact_uri", partial(to_stored_location, self._root_uri)
            ),
            view=convert.to_view(run_view_type),
            order_by=order_by or (),
            max_results=max_results,
            page_token=page_token,
        )
        return [convert.run_entity(record, self._root_uri) for record in page.items], page.next_token

    # Metrics, params and tags of a run

    def log_metric(self, run_id: str, metric: Metric) -> None:
        self._records.runs.log(
            run_id, points=convert.to_points([metric]), model_points=convert.to_model_points(run_id, [metric])
        )

    def log_param(self, run_id: str, param: Param) -> None:
        self._records.runs.log(run_id, params=convert.to_params([param]))

    def set_tag(self, run_id: str, tag: RunTag) -> None:
        self._records.runs.log(run_id, tags=convert.to_tags([tag]))

    def delete_tag(self, run_id: str, key: str) -> None:
        self._records.runs.delete_tag(run_id, key)

    def log_batch(
        self, run_id: str, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
    ) -> None:
        check_run_id(run_id)
        self._records.runs.log(
            run_id,
            points=convert.to_points(metrics),
            params=convert.to_params(params),
            tags=convert.to_tags(tags),
            model_points=convert.to_model_points(run_id, metrics),
        )

    def get_metric_history(
        self, run_id: str, metric_key: str, max_results: int | None = None, page_token: str | None = None
    ) -> PagedList[Metric]:
        page = self._records.metrics.history(run_id, metric_key, max_results=max_results, page_token=page_token)
        return PagedList(convert.history_entities(page.items), page.next_token)

    def get_metric_history_bulk(
        self, run_ids: Sequence[str], metric_key: str, max_results: int
    ) -> list[mlflow_entities.metric.MetricWithRunId]:
        """MLflow's server calls it where a store has it (`get_metric_history_bulk_handler`)."""
        points = self._records.metrics.history_of_runs(run_ids, metric_key, max_results=max_results)
        metrics = convert.metric_entities([point for _, point in points])
        return [
            mlflow_entities.metric.MetricWithRunId(run_id=run_id, metric=metric)
            for (run_id, _), metric in zip(points, metrics, strict=True)
        ]

    def get_metric_history_bulk_interval_from_steps(
        self, run_id: str, metric_key: str, steps: Sequence[int], max_results: int
    ) -> list[mlflow_entities.metric.MetricWithRunId]:
        points = self._records.metrics.at_steps(run_id, metric_key, list(steps), max_results=max_results)
        return [
            mlflow_entities.metric.MetricWithRunId(run_id=run_id, metric=metric)
            for metric in convert.metric_entities(points)
        ]

    def get_metric_history_bulk_interval(
        self, run_ids: Sequence[str], metric_key: str, max_results: int, start_step: int | None, end_step: int | None
    ) -> list[mlflow_entities.metric.MetricWithRunId]:
        steps = convert.to_step_range(start_step, end_step)
        sampled = [
            (run_id, self._records.metrics.sample(run_id, metric_key, max_results=max_results, steps=steps))
            for run_id in run_ids
        ]
        return [
            mlflow_entities.metric.MetricWithRunId(run_id=run_id, metric=metric)
            for run_id, points in sampled
            for metric in convert.metric_entities(points)
        ]

    def get_max_step_for_metric(self, run_id: str, metric_key: str) -> int:
        """MLflow 2's server calls it before it asks for an interval."""
        last = self._records.metrics.sample(run_id, metric_key, max_results=1)
        return last[-1].step if last else 0

    # Inputs and outputs of a run

    def log_inputs(
        self,
        run_id: str,
        datasets: Sequence[mlflow_entities.DatasetInput] | None = None,
        models: Sequence[Any] | None = None,
    ) -> None:
        """`models` are LoggedModelInput entities, which MLflow 2 doesn't have."""
        check_run_id(run_id)
        self._records.runs.log_inputs(
            run_id,
            datasets=convert.to_dataset_inputs(datasets or ()),
            models=[RunModel(ModelDirection.INPUT, model.model_id) for model in models or ()],
        )

    def log_outputs(self, run_id: str, models: Sequence[Any]) -> None:
        """`models` are LoggedModelOutput entities."""
        self._records.runs.log_inputs(
            run_id, models=[RunModel(ModelDirection.OUTPUT, model.model_id, model.step) for model in models]
        )

    def record_logged_model(self, run_id: str, mlflow_model: Any) -> None:
        """Add an `mlflow.models.Model` to the tag that lists a run's models; the oldest go where it gets too long."""
        known = self.get_run(run_id).data.tags.get(_LOGGED_MODELS_TAG, "[]")
        models = [*json.loads(known), mlflow_model.get_tags_dict()]
        while len(text := json.dumps(models)) > MAX_TAG_VALUE_LENGTH and len(models) > 1:
            del models[0]
        self.set_tag(run_id, RunTag(_LOGGED_MODELS_TAG, text))

    def _search_datasets(self, experiment_ids: Sequence[str]) -> list[mlflow_entities._DatasetSummary]:
        summaries = self._records.runs.list_datasets(experiment_ids)
        return [
            mlflow_entities._DatasetSummary(
                experiment_id=summary.experiment_id,
                name=summary.name,
                digest=summary.digest,
                context=summary.context,
            )
            for summary in summaries
        ]


def _serves_others() -> bool:
    """Whether this is a process of MLflow's server, whose clients set their runs going elsewhere."""
    handlers = sys.modules.get("mlflow.server.handlers")
    return getattr(handlers, "_tracking_store", None) is not None


_stores: OneStoreEach[EmbeddedWorkspace, TrackingStore] = OneStoreEach(
    lambda opened: TrackingStore(opened.root_uri)  # type: ignore[abstract]  # UnsupportedMethods has what mypy misses
)
