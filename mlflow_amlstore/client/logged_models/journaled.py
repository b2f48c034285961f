"""Logged models of a workspace that has no endpoints for them: kept in the journal of the run that logged them.

A model's id begins with its run's mark, 16 hexadecimal digits of a hash of the run's id. A tag of the run has it too,
so that one search finds a model's run wherever it is. A model's files are its run's, under `models/MODEL_ID`, where
Azure ML's own client has them. A model that no run logged gets a run of its own.
"""

import hashlib
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mlflow_amlstore.client.at_once import at_once
from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.journal.journal import JOURNAL_TAG, YES, Entry, journal_of
from mlflow_amlstore.client.journal.keeping import mark_run
from mlflow_amlstore.client.logged_models.source import Json, LoggedModelSource
from mlflow_amlstore.client.run_calls import Pair, get_run
from mlflow_amlstore.client.run_log import RunLog
from mlflow_amlstore.errors import AlreadyExists, InvalidValue, NotFound
from mlflow_amlstore.records.random_name import random_name
from mlflow_amlstore.records.types import LoggedModelPoint, LoggedModelRecord
from mlflow_amlstore.records.validation import check_logged_model_name

MODELS_TAG = "amlstore_models"
FOLDER = "models"
FINAL_STATUSES = ("READY", "FAILED")
_MARK_LENGTH = 16
_PAGE = 1000
_READERS = 8
_API = "/api/2.0/mlflow"
_run_of_mark: dict[tuple[int, str], str] = {}  # of each connection, which lives as long as its process
_METRIC_FIELDS = ("key", "value", "timestamp", "step")  # of a metric's message that isn't about a model
_POINT_FIELDS = tuple(LoggedModelPoint._fields)


@dataclass(frozen=True)
class RunModels:
    """What a run's journal says of models: those that it logged, those that came out of it and went into it."""

    models: dict[str, LoggedModelRecord] = field(default_factory=dict)
    outputs: list[tuple[str, int]] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)


class JournaledModels(LoggedModelSource):
    """The logged models of one workspace, in the journals of its runs."""

    def __init__(self, connection: Connection) -> None:
        """Takes no network."""
        self._connection = connection

    def create(
        self,
        experiment_id: str,
        *,
        name: str | None = None,
        source_run_id: str | None = None,
        model_type: str | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> LoggedModelRecord:
        """Create a pending model, with a name made up where none is given. Raises InvalidValue, NotFound."""
        check_logged_model_name(name)
        run_id = source_run_id or self._new_run(experiment_id)
        mark = self._mark(run_id)
        model_id = f"m-{mark}{secrets.token_hex(_MARK_LENGTH // 2)}"
        entry = {
            "kind": "model",
            "model_id": model_id,
            "experiment_id": str(experiment_id),
            "name": name or random_name(),
            "model_type": model_type,
            "source_run_id": source_run_id,
            "params": _texts(params or {}),
            "tags": _texts(tags or {}),
        }
        mark_run(self._connection, run_id, {JOURNAL_TAG: YES, MODELS_TAG: mark})
        written = journal_of(self._connection, run_id).append([entry])
        return self.of_entries(run_id, written).models[model_id]

    def get(self, model_id: str, *, allow_deleted: bool = False) -> LoggedModelRecord:
        """Return a model, a deleted one only if allowed. Raises NotFound."""
        model = self.of_run(self._run_of(model_id)).models.get(model_id)
        if model is None:
            raise NotFound("logged model", model_id)
        if model.deleted_ms is not None and not allow_deleted:
            raise NotFound("logged model", model_id, "It is deleted")
        return model

    def in_experiments(self, experiment_ids: Sequence[str]) -> list[LoggedModelRecord]:
        """Every model of these experiments that isn't deleted, in no order."""
        run_ids = [run["info"]["run_id"] for run in self._runs(experiment_ids, f"tags.{JOURNAL_TAG} = '{YES}'")]
        found = at_once(self.of_run, run_ids, threads=_READERS)
        return [model for of_run in found for model in of_run.models.values() if model.deleted_ms is None]

    def of_run(self, run_id: str) -> RunModels:
        """What a run's journal says of models."""
        return self.of_entries(run_id, journal_of(self._connection, run_id).entries())

    def of_entries(self, run_id: str, entries: Iterable[Entry]) -> RunModels:
        """What entries that were read from a run's journal say of models."""
        found = _folded(entries)
        for model in found.models.values():
            files = f"{self._connection.root}/experiments/{model.experiment_id}/runs/{run_id}/artifacts"
            found.models[model.model_id] = replace(model, artifact_location=f"{files}/{FOLDER}/{model.model_id}")
        return found

    def finalize(self, model_id: str, status: str) -> LoggedModelRecord:
        """Mark a model READY or FAILED."""
        if status not in FINAL_STATUSES:
            raise InvalidValue("status", status, f"a logged model is finalized as {' or '.join(FINAL_STATUSES)}")
        return self._change(model_id, {"kind": "model_status", "status": status})

    def set_tags(self, model_id: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self._change(model_id, {"kind": "model_tags", "tags": _texts(tags)})

    def delete_tag(self, model_id: str, name: str) -> None:
        """Delete a tag, which must be there."""
        if name not in self.get(model_id, allow_deleted=True).tags:
            raise NotFound("tag", name, f"Logged model {model_id} has no such tag")
        self._change(model_id, {"kind": "model_tag_deleted", "name": name})

    def add_params(self, model_id: str, params: Mapping[str, str]) -> None:
        """Add params that the model doesn't have yet."""
        known = self.get(model_id, allow_deleted=True).params
        for name in params:
            if name in known:
                raise AlreadyExists("param", name, f"Logged model {model_id} has it with value {known[name]!r}")
        self._change(model_id, {"kind": "model_params", "params": _texts(params)})

    def delete(self, model_id: str) -> None:
        """Delete a model; its files stay."""
        self._change(model_id, {"kind": "model_deleted"})

    def find_in_run(self, model_id: str) -> LoggedModelRecord | None:
        """Return a model."""
        return self.get(model_id)

    def log(
        self, run_log: RunLog, run_id: str, metrics: Sequence[Json], params: Sequence[Pair], tags: Sequence[Pair]
    ) -> None:
        """Log into a run, and add the points about models to their journals. Raises NotFound for an unknown model.

        When MLflow logs a model, it sends the run's latest metrics again, about the model. The run isn't given these
        twice.
        """
        latest = {
            _value_of(metric) for metric in get_run(self._connection, run_id).get("data", {}).get("metrics") or ()
        }
        of_run = [
            {name: value for name, value in metric.items() if name in _METRIC_FIELDS}
            for metric in metrics
            if "model_id" not in metric or _value_of(metric) not in latest
        ]
        if of_run or params or tags:
            run_log.log(run_id, of_run, params, tags)
        self._add_points(_point_of(run_id, metric) for metric in metrics if "model_id" in metric)

    def _add_points(self, points: Iterable[LoggedModelPoint]) -> None:
        """Add metric points to the models that they are about; one that is there already is kept once."""
        of_model: dict[str, list[LoggedModelPoint]] = {}
        for point in points:
            of_model.setdefault(point.model_id, []).append(point)
        for model_id, its_points in of_model.items():
            self._change(model_id, {"kind": "model_points", "points": [list(point) for point in its_points]})

    def log_outputs(self, run_id: str, models: Sequence[tuple[str, int]]) -> None:
        """Record models, each with its step, that came out of a run."""
        self._keep(run_id, {"kind": "outputs", "models": [list(model) for model in models]})

    def log_inputs(self, run_id: str, datasets: Sequence[Json], model_ids: Sequence[str]) -> None:
        """Record datasets and models that went into a run."""
        if datasets:
            self._post("runs/log-inputs", run_id=run_id, datasets=list(datasets))
        self._keep(run_id, {"kind": "inputs", "models": list(model_ids)})

    def _keep(self, run_id: str, entry: Entry) -> None:
        mark_run(self._connection, run_id, {JOURNAL_TAG: YES})
        journal_of(self._connection, run_id).append([entry])

    def _change(self, model_id: str, entry: Entry) -> LoggedModelRecord:
        run_id = self._run_of(model_id)
        journal = journal_of(self._connection, run_id)
        before = journal.entries()
        if model_id not in self.of_entries(run_id, before).models:
            raise NotFound("logged model", model_id)
        written = journal.append([{"model_id": model_id, **entry}])
        return self.of_entries(run_id, [*before, *written]).models[model_id]

    def _run_of(self, model_id: str) -> str:
        """The run that keeps a model. Raises NotFound."""
        mark = model_id.removeprefix("m-")[:_MARK_LENGTH]
        key = (id(self._connection), mark)
        known = _run_of_mark.get(key)
        if known is None:
            if not all(character in "0123456789abcdef" for character in mark) or len(mark) < _MARK_LENGTH:
                raise NotFound("logged model", model_id)
            runs = self._runs(self._all_experiments(), f"tags.{MODELS_TAG} = '{mark}'")
            known = next((str(run["info"]["run_id"]) for run in runs), None)
            if known is None:
                raise NotFound("logged model", model_id)
            _run_of_mark[key] = known
        return known

    def _mark(self, run_id: str) -> str:
        """The mark of a run, the same whoever asks: of processes that log into one run, each sets the same tag."""
        mark = hashlib.sha256(run_id.encode()).hexdigest()[:_MARK_LENGTH]
        _run_of_mark[id(self._connection), mark] = run_id
        return mark

    def _new_run(self, experiment_id: str) -> str:
        """A run for models that no run logged."""
        now_ms = int(time.time() * 1000)
        answer = self._post("runs/create", experiment_id=experiment_id, run_name="logged models", start_time=now_ms)
        run_id = str(answer["run"]["info"]["run_id"])
        self._post("runs/update", run_id=run_id, run_uuid=run_id, status="FINISHED", end_time=now_ms)
        return run_id

    def _all_experiments(self) -> list[str]:
        asked = {"max_results": _PAGE, "view_type": "ALL"}
        return [str(item["experiment_id"]) for item in self._pages("experiments/search", "experiments", asked)]

    def _runs(self, experiment_ids: Sequence[str], filter: str) -> Iterator[Any]:
        asked = {"experiment_ids": list(experiment_ids), "filter": filter, "run_view_type": "ALL", "max_results": _PAGE}
        return self._pages("runs/search", "runs", asked)

    def _pages(self, route: str, field_name: str, asked: dict[str, Any]) -> Iterator[Any]:
        token = None
        while True:
            answer = self._post(route, **asked, **({"page_token": token} if token else {}))
            yield from answer.get(field_name) or ()
            token = answer.get("next_page_token")
            if not token:
                return

    def _post(self, route: str, **given: Any) -> Any:
        return self._connection.request("POST", f"{self._connection.mlflow_path}{_API}/{route}", json=given)


def _folded(entries: Iterable[Entry]) -> RunModels:
    """What the entries of a journal, in their order, come to."""
    found = RunModels()
    points: dict[str, dict[LoggedModelPoint, None]] = {}
    in_order = list(entries)
    for entry in in_order:  # first, as the clock of who changed a model may be behind that of who made it
        if entry["kind"] == "model":
            found.models[entry["model_id"]] = _new_model(entry)
    for entry in in_order:
        kind, model_id = entry["kind"], entry.get("model_id", "")
        if kind == "model":
            continue
        if kind == "outputs":
            found.outputs.extend((model, step) for model, step in entry["models"] if (model, step) not in found.outputs)
        elif kind == "inputs":
            found.inputs.extend(model for model in entry["models"] if model not in found.inputs)
        elif model_id in found.models:
            if kind == "model_points":
                points.setdefault(model_id, {}).update(dict.fromkeys(_point(values) for values in entry["points"]))
            else:
                found.models[model_id] = _changed(found.models[model_id], entry)
    for model_id, its_points in points.items():
        ordered = sorted(its_points, key=lambda point: (point.name, point.timestamp_ms, point.step))
        found.models[model_id] = replace(found.models[model_id], metrics=ordered)
    return found


def _new_model(entry: Entry) -> LoggedModelRecord:
    return LoggedModelRecord(
        model_id=entry["model_id"],
        experiment_id=entry["experiment_id"],
        name=entry["name"],
        model_type=entry["model_type"],
        status="PENDING",
        status_message=None,
        source_run_id=entry["source_run_id"],
        created_ms=entry["at_ms"],
        updated_ms=entry["at_ms"],
        deleted_ms=None,
        artifact_location=None,
        params=dict(entry["params"]),
        tags=dict(entry["tags"]),
        metrics=[],
    )


def _changed(model: LoggedModelRecord, entry: Entry) -> LoggedModelRecord:
    kind, at_ms = entry["kind"], entry["at_ms"]
    if kind == "model_status":
        return replace(model, status=entry["status"], updated_ms=at_ms)
    if kind == "model_deleted":
        return replace(model, deleted_ms=at_ms, updated_ms=at_ms)
    if kind == "model_params":
        return replace(model, params={**entry["params"], **model.params})
    if kind == "model_tags":
        return replace(model, tags={**model.tags, **entry["tags"]})
    if kind == "model_tag_deleted":
        return replace(model, tags={name: value for name, value in model.tags.items() if name != entry["name"]})
    return model  # of a later release


def _value_of(metric: Json) -> tuple[str, str, int, int]:
    return metric["key"], str(metric["value"]), metric["timestamp"], metric.get("step", 0)


def _point_of(run_id: str, metric: Json) -> LoggedModelPoint:
    return LoggedModelPoint(
        metric["model_id"],
        metric["key"],
        float(metric["value"]),
        metric["step"],
        metric["timestamp"],
        run_id,
        metric.get("dataset_name") or "",
        metric.get("dataset_digest") or "",
    )


def _texts(values: Mapping[str, str]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


def _point(values: Sequence[Any]) -> LoggedModelPoint:
    given = dict(zip(_POINT_FIELDS, values, strict=False))
    return LoggedModelPoint(**{**given, "value": float(given["value"])})
