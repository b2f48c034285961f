"""A record store that is as narrow as Azure ML, whichever route a call comes by.

What is beyond its limits is refused, in its words. It knows no prompts: they are models.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlflow_amlstore.errors import AmlStoreError
from mlflow_amlstore.protocol.limits import Limits, over_limit_message
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import RunInfo, RunRecord


class OverLimit(AmlStoreError):
    """Something is too long, or there is too much of it, in Azure's words."""

    mlflow_code = "INVALID_PARAMETER_VALUE"
    http_status = 400

    def __init__(self, field: str, limit: int, size: int) -> None:
        super().__init__(over_limit_message(field, limit, size))


def check_count(field: str, size: int, limit: int) -> None:
    """Raise OverLimit for more than the limit."""
    if size > limit:
        raise OverLimit(field, limit, size)


def limited(records: RecordStore, limits: Limits) -> RecordStore:
    """The same records, with Azure's limits."""
    within: Any = copy.copy(records)
    within.runs = _LimitedRuns(records.runs, limits)
    within.experiments = _LimitedExperiments(records.experiments, limits)
    within.models = _ModelsAndPrompts(records.models, limits)
    return within  # type: ignore[no-any-return]


class _Limited:
    """One topic of a record store. What has no limit is asked of the topic itself."""

    def __init__(self, topic: Any, limits: Limits) -> None:
        self._topic, self._limits = topic, limits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._topic, name)


class _LimitedExperiments(_Limited):
    def create(self, name: str, **given: Any) -> str:
        check_count("ExperimentName", len(name), self._limits.experiment_name_length)
        return str(self._topic.create(name, **given))

    def rename(self, experiment_id: str, name: str) -> None:
        check_count("ExperimentName", len(name), self._limits.experiment_name_length)
        self._topic.rename(experiment_id, name)


class _ModelsAndPrompts(_Limited):
    """Prompts are models as any other."""

    def search(self, **given: Any) -> Any:
        return self._topic.search(**given, with_prompts=True)

    def search_versions(self, **given: Any) -> Any:
        return self._topic.search_versions(**given, with_prompts=True)


class _LimitedRuns(_Limited):
    def create(
        self,
        experiment_id: str,
        *,
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        **given: Any,
    ) -> RunRecord:
        self._check_new(name, tags or {})
        self._check_properties(properties or {})
        record: RunRecord = self._topic.create(experiment_id, name=name, tags=tags, properties=properties, **given)
        return record

    def create_children(
        self, parent: RunInfo, tags_of_each: Sequence[Mapping[str, str]], **given: Any
    ) -> list[RunRecord]:
        for tags in tags_of_each:
            self._check_new(None, tags)
        return list(self._topic.create_children(parent, tags_of_each, **given))

    def update(self, run_id: str, *, name: str | None = None, **given: Any) -> RunInfo:
        self._check_name(name)
        info: RunInfo = self._topic.update(run_id, name=name, **given)
        return info

    def log(
        self,
        run_id: str,
        *,
        params: Sequence[tuple[str, str]] = (),
        tags: Sequence[tuple[str, str]] = (),
        **given: Any,
    ) -> None:
        for _, value in params:
            check_count("Parameters.Value", len(value), self._limits.param_value_length)
        if params:
            names = self._topic.get(run_id).params.keys() | {name for name, _ in params}
            check_count("Parameters", len(names), self._limits.params_per_run)
        self._check_tags_of(run_id, tags)
        self._topic.log(run_id, params=params, tags=tags, **given)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        self._check_tags_of(run_id, tags.items())
        self._topic.set_tags(run_id, tags)

    def add_properties(self, run_id: str, properties: Mapping[str, str]) -> None:
        self._check_properties(properties)
        self._topic.add_properties(run_id, properties)

    def _check_new(self, name: str | None, tags: Mapping[str, str]) -> None:
        self._check_name(name)
        self._check_texts(tags.items())
        check_count("Tags", len(tags), self._limits.tags_per_run)

    def _check_name(self, name: str | None) -> None:
        check_count("DisplayName", len(name or ""), self._limits.run_name_length)

    def _check_tags_of(self, run_id: str, tags: Iterable[tuple[str, str]]) -> None:
        given = dict(tags)
        self._check_texts(given.items())
        if given:
            names = self._topic.get(run_id).tags.keys() | given.keys()
            check_count("Tags", len(names), self._limits.tags_per_run)

    def _check_texts(self, tags: Iterable[tuple[str, str]]) -> None:
        for name, value in tags:
            check_count("Tags.Key", len(name), self._limits.tag_name_length)
            check_count("Tags.Value", len(value), self._limits.tag_value_length)

    def _check_properties(self, properties: Mapping[str, str]) -> None:
        for value in properties.values():
            check_count("Properties.Value", len(value), self._limits.param_value_length)
