"""Runs of a workspace behind a service: implements `records.common_store.CommonRuns`.

As in the SDK, a status is changed by sending an event, and a run by sending only what changes.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlflow_amlstore.client.at_once import at_once
from mlflow_amlstore.client.http.service_call import segment
from mlflow_amlstore.client.journal.journal import journal_of
from mlflow_amlstore.client.journal.values import Values, with_kept
from mlflow_amlstore.client.run_calls import call, get_run
from mlflow_amlstore.client.run_history.experiments import RemoteExperiments
from mlflow_amlstore.client.run_history.routes import RunHistory, named
from mlflow_amlstore.client.run_messages import RunMessages, run_record
from mlflow_amlstore.errors import AlreadyExists, Changed, InvalidValue, NotFound, NotSupported, ServiceError
from mlflow_amlstore.protocol.event_names import ERROR, EVENTS, PREFIX
from mlflow_amlstore.protocol.times import iso_time, time_ms_or_none
from mlflow_amlstore.protocol.views import MLFLOW_VIEWS
from mlflow_amlstore.records.random_name import random_name
from mlflow_amlstore.records.run_queue import in_order
from mlflow_amlstore.records.search.filter import NO_FILTER, Filter
from mlflow_amlstore.records.status import ENDED, status_from_azure
from mlflow_amlstore.records.types import (
    LOCAL_TARGET,
    RUN_TYPE_PROPERTY,
    SCRIPT_RUN,
    Page,
    QueueEntry,
    RunError,
    RunFilter,
    RunInfo,
    RunRecord,
    RunStatus,
    View,
)
from mlflow_amlstore.records.validation import check_run_id, check_text_values

_WITHOUT_TIMES = (ERROR, *(event for status, event in EVENTS.items() if status not in (RunStatus.RUNNING, *ENDED)))
_PAGE = 500
_READERS = 8
_ORDER = "StartTimeUtc desc"
_Fetch = Callable[[int, "str | None"], "tuple[list[RunRecord], str | None]"]
"""A page of runs of at most so many, after a token; and the next token."""


class RemoteRuns:
    """Runs of one workspace."""

    def __init__(self, history: RunHistory) -> None:
        self._history = history
        self._messages = RunMessages(history.connection)

    def create(
        self,
        experiment_id: str,
        *,
        run_id: str | None = None,
        name: str | None = None,
        user_id: str = "",
        status: RunStatus = RunStatus.RUNNING,
        start_ms: int | None = None,
        parent_run_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        definition: Mapping[str, Any] | None = None,
        in_this_process: bool = False,
    ) -> RunRecord:
        if definition is not None:
            raise NotSupported("Recording a submission", "`submissions` submits over a service")
        if run_id is None:
            run_id = str(uuid.uuid4())
        else:
            self._check_free(run_id)
        body = _new_run(run_id, name, parent_run_id, user_id, tags or {}, properties or {})
        path = f"experimentids/{segment(experiment_id)}/runs/{segment(run_id)}"
        record = _record(self._history.call("PATCH", path, given=body))
        if status is RunStatus.NOT_STARTED:
            return record
        moment = _now_ms() if start_ms is None else start_ms
        self._tell(record.info, EVENTS[status], moment)
        return replace(record, info=replace(record.info, status=status, start_ms=moment))

    def advance(self, run_id: str, status: RunStatus, *, start_ms: int | None = None) -> RunStatus:
        info = self.get(run_id).info
        if info.status in ENDED:
            return info.status
        if status is RunStatus.CANCEL_REQUESTED and self._history.connection.limits is not None:
            status = RunStatus.CANCELED  # Azure ML ends the run on this event, which its SDK sends, too
        self._tell(info, EVENTS[status], start_ms or _now_ms())
        return self.get(run_id).info.status

    def definition(self, run_id: str) -> dict[str, Any]:
        with named("run", run_id):
            return dict(self._history.call("GET", f"{_route(run_id)}/details").get("runDefinition") or {})

    def queue(self) -> list[QueueEntry]:
        experiments = self._experiments()
        going_on = [status for status in RunStatus if status not in ENDED]

        def found(asked: tuple[str, RunStatus]) -> list[RunInfo]:
            wanted = RunFilter(include_children=True, run_type=SCRIPT_RUN, status=asked[1])
            return [record.info for record in self.find(wanted, experiment_id=asked[0]).items]

        lists = at_once(found, [(each, status) for each in experiments for status in going_on], threads=_READERS)
        infos = {info.run_id: info for each in lists for info in each}  # one that went on meanwhile is found twice
        in_time = sorted(infos.values(), key=lambda info: (info.created_ms, info.number))
        definitions = at_once(self.definition, [info.run_id for info in in_time], threads=_READERS)
        return in_order(
            (info, experiments[info.experiment_id], str(definition.get("target") or LOCAL_TARGET))
            for info, definition in zip(in_time, definitions, strict=True)
        )

    def _experiments(self) -> dict[str, str]:
        """The names of the active experiments, by id."""
        names: dict[str, str] = {}
        page_token: str | None = None
        while True:
            page = RemoteExperiments(self._history).search(page_token=page_token)
            names |= {each.experiment_id: each.name for each in page.items}
            page_token = page.next_token
            if page_token is None:
                return names

    def create_children(
        self,
        parent: RunInfo,
        tags_of_each: Sequence[Mapping[str, str]],
        *,
        user_id: str = "",
        start_ms: int,
        in_this_process: bool = False,
    ) -> list[RunRecord]:
        if not tags_of_each:
            return []
        batch = f"experimentids/{segment(parent.experiment_id)}/batch"
        bodies = [_new_run(str(uuid.uuid4()), None, parent.run_id, user_id, tags, {}) for tags in tags_of_each]
        answer = self._history.call("PATCH", f"{batch}/runs", given={"runs": bodies})
        for failed in (answer.get("errors") or {}).values():
            error = failed.get("error") or {}
            raise ServiceError(str(error.get("code") or ""), str(error.get("message") or failed))
        records = [_record(answer["runs"][body["runId"]]) for body in bodies]
        events = [_event(record.info, EVENTS[RunStatus.RUNNING], start_ms) for record in records]
        self._history.call("POST", f"{batch}/events", given={"events": events})
        return [
            replace(record, info=replace(record.info, status=RunStatus.RUNNING, start_ms=start_ms))
            for record in records
        ]

    def _check_free(self, run_id: str) -> None:
        """The service would change a run that is there."""
        try:
            self.get(check_run_id(run_id))
        except NotFound:
            return
        raise AlreadyExists("run", run_id)

    def get(self, run_id: str) -> RunRecord:
        return self._with_kept(_record(self._history.get_run(run_id)))

    def whole(self, run_id: str) -> RunRecord:
        """As `get`, but that it can't tell when a run was deleted."""
        facts = _record(self._history.get_run(run_id))
        with named("run", run_id):
            message = get_run(self._history.connection, run_id)
        found = run_record(self._messages.whole(message))
        info = replace(facts.info, name=found.info.name, deleted_ms=found.info.deleted_ms)
        return replace(found, info=info, properties=facts.properties)

    def search(
        self,
        experiment_ids: Sequence[str],
        *,
        filter: Filter = NO_FILTER,
        view: View = View.ACTIVE,
        order_by: Sequence[str] = (),
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[RunRecord]:
        limits = self._history.connection.limits
        given = {
            "experiment_ids": list(experiment_ids),
            "filter": filter.text,
            "run_view_type": MLFLOW_VIEWS[view],
            "order_by": list(order_by),
            "max_results": max_results if limits is None else min(max_results, limits.max_results - 1),
            "page_token": page_token,
        }
        answer = call(self._history.connection, "search", given)
        messages = self._messages.all_whole(answer.get("runs") or ())
        return Page([run_record(message) for message in messages], answer.get("next_page_token") or None)

    def delete(self, run_id: str) -> None:
        with named("run", run_id):
            call(self._history.connection, "delete", {"run_id": run_id})

    def restore(self, run_id: str) -> None:
        with named("run", run_id):
            call(self._history.connection, "restore", {"run_id": run_id})

    def _with_kept(self, record: RunRecord) -> RunRecord:
        """A run with the name, params and tags that a journal has of it."""
        if not self._messages.may_have_journal(record.tags):
            return record
        entries = journal_of(self._history.connection, record.info.run_id).entries()
        kept = with_kept(Values(record.info.name, record.params, record.tags), entries)
        return replace(record, info=replace(record.info, name=kept.name), params=kept.params, tags=kept.tags)

    def input_datasets(self, run_id: str) -> list[dict[str, Any]]:
        with named("run", run_id):
            return list(self._history.call("GET", f"{_route(run_id)}/details").get("inputDatasets") or ())

    def find(
        self,
        filter: RunFilter,
        *,
        experiment_id: str | None = None,
        max_results: int | None = None,
        page_token: str | None = None,
    ) -> Page[RunRecord]:
        if filter.parent_run_id is not None and filter.recursive:
            return self._page_of(self._descendants(filter.parent_run_id), filter, None)
        if filter.parent_run_id is not None:
            fetch = self._children(filter.parent_run_id, _odata(filter))
        else:
            fetch = self._of_experiment(filter, experiment_id)
        records, token = fetch(max_results or _PAGE, page_token)
        while max_results is None and token is not None:
            more, token = fetch(_PAGE, token)
            records += more
        return self._page_of(records, filter, token)

    def _page_of(self, records: Iterable[RunRecord], filter: RunFilter, token: str | None) -> Page[RunRecord]:
        """Those that meet the filter, with what their journals have of them, which are read side by side."""
        met = [record for record in records if _meets(record, filter)]
        if any(self._messages.may_have_journal(record.tags) for record in met):
            met = at_once(self._with_kept, met, threads=_READERS)
        return Page(met, token)

    def _of_experiment(self, filter: RunFilter, experiment_id: str | None) -> _Fetch:
        if experiment_id is None:
            raise InvalidValue("experiment", None, "runs of a service are listed by experiment, or below a run")
        return self._query(experiment_id, _odata(filter))

    def _query(self, experiment_id: str, odata: str | None) -> _Fetch:
        path = f"experimentids/{segment(experiment_id)}/runs:query"

        def fetch(top: int, token: str | None) -> tuple[list[RunRecord], str | None]:
            body = {"filter": odata, "orderby": _ORDER, "top": top, "continuationToken": token}
            return _page(self._history.call("POST", path, given=body))

        return fetch

    def _children(self, run_id: str, odata: str | None) -> _Fetch:
        path = f"{_route(run_id)}/children"

        def fetch(top: int, token: str | None) -> tuple[list[RunRecord], str | None]:
            given = {"$filter": odata, "$orderby": _ORDER, "$top": top, "$continuationToken": token}
            with named("run", run_id):
                return _page(self._history.call("GET", path, params=given))

        return fetch

    def _descendants(self, run_id: str) -> list[RunRecord]:
        """All runs below a run. Azure ML finds runs by their root and within one experiment, so of its answers the tree
        is made here; our service knows what is below any run, wherever it is."""
        run = self._history.get_run(run_id)
        if self._history.connection.limits is None:
            fetch = self._children(run_id, f"(RootRunId eq {run_id} and RunId ne {run_id})")
        else:
            fetch = self._query(str(run["experimentId"]), f"(RootRunId eq {run.get('rootRunId') or run_id})")
        tree, token = fetch(_PAGE, None)
        while token is not None:
            more, token = fetch(_PAGE, token)
            tree += more
        return _below(run_id, tree)

    def update(
        self,
        run_id: str,
        *,
        status: RunStatus | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        name: str | None = None,
        error: RunError | None = None,
        in_this_process: bool = False,
    ) -> RunInfo:
        info = self.get(run_id).info
        if name:
            self._modify(run_id, {"displayName": name})
            info = replace(info, name=name)
        if error is not None:
            response = {"error": {"code": error.code, "message": error.message}}
            self._tell(info, ERROR, _now_ms(), {"ErrorResponse": response})
            info = replace(info, error=error)
        if status is not None:
            info = self._set_status(info, status, start_ms, end_ms)
        return info

    def _set_status(self, info: RunInfo, status: RunStatus, start_ms: int | None, end_ms: int | None) -> RunInfo:
        if status not in EVENTS:
            words = ", ".join(each.value for each in EVENTS)
            raise InvalidValue("status", status.value, f"must be one of {words}")
        if status is RunStatus.RUNNING:
            began = start_ms or info.start_ms or _now_ms()
            self._tell(info, EVENTS[status], began)
            return replace(info, status=status, start_ms=began)
        ended = end_ms or _now_ms()
        self._tell(info, EVENTS[status], ended)
        return replace(info, status=status, end_ms=ended)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        check_text_values("tag", tags)
        self._modify(run_id, {"tags": dict(tags)})

    def delete_tag(self, run_id: str, name: str) -> None:
        with named("run", run_id):
            self._history.call("DELETE", f"{_route(run_id)}/tags", given=[name])

    def add_properties(self, run_id: str, properties: Mapping[str, str]) -> None:
        check_text_values("property", properties)
        record = self.get(run_id)
        for name, value in properties.items():
            known = record.properties.get(name, value)
            if known != value:
                raise Changed("property", run_id, name, known, value)
        self._modify(run_id, {"properties": dict(properties)})

    def _modify(self, run_id: str, changes: dict[str, Any]) -> None:
        with named("run", run_id):
            self._history.call("PATCH", _route(run_id), given={"runId": run_id, **changes})

    def _tell(self, info: RunInfo, event: str, time_ms: int, data: Mapping[str, Any] | None = None) -> None:
        self._history.call("POST", f"{_route(info.run_id)}/events", given=_event(info, event, time_ms, data))


def _route(run_id: str) -> str:
    return f"runs/{segment(run_id)}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _new_run(
    run_id: str,
    name: str | None,
    parent_run_id: str | None,
    user_id: str,
    tags: Mapping[str, str],
    properties: Mapping[str, str],
) -> dict[str, Any]:
    check_text_values("tag", tags)
    check_text_values("property", properties)
    return {
        "runId": run_id,
        "displayName": name or random_name(),
        "parentRunId": parent_run_id,
        "status": RunStatus.NOT_STARTED.value,
        "tags": dict(tags),
        "properties": dict(properties),
        "target": LOCAL_TARGET,
        "runTypeV2": {"orchestrator": "External", "traits": ["unspecified"]},
        "createdBy": {"userName": user_id},
    }


def _event(info: RunInfo, event: str, time_ms: int, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
    field = "StartTime" if event == EVENTS[RunStatus.RUNNING] else "EndTime"
    times = {} if event in _WITHOUT_TIMES else {field: iso_time(time_ms)}
    return {
        "name": PREFIX + event,
        "timestamp": iso_time(_now_ms()),
        "data": {"RunId": info.run_id, **times, **(data or {})},
    }


def _record(found: Mapping[str, Any]) -> RunRecord:
    """A run as the SDK has it; its metrics, datasets and models are asked for elsewhere."""
    error = (found.get("error") or {}).get("error") or None
    tags = {name: value or "" for name, value in (found.get("tags") or {}).items()}
    return RunRecord(
        RunInfo(
            run_id=str(found["runId"]),
            experiment_id=str(found["experimentId"]),
            name=str(found.get("displayName") or found.get("name") or ""),
            status=status_from_azure(str(found["status"])),
            user_id=str((found.get("createdBy") or {}).get("userName") or ""),
            created_ms=time_ms_or_none(found.get("createdUtc")) or 0,
            start_ms=time_ms_or_none(found.get("startTimeUtc")),
            end_ms=time_ms_or_none(found.get("endTimeUtc")),
            deleted_ms=None,
            parent_run_id=found.get("parentRunId"),
            artifact_location=None,
            error=RunError(str(error.get("code") or ""), str(error.get("message") or "")) if error else None,
            number=int(found.get("runNumber") or 0),
        ),
        metrics=[],
        params=dict(found.get("params") or {}),
        tags=tags,
        properties={name: value or "" for name, value in (found.get("properties") or {}).items()},
        datasets=[],
        models=[],
    )


def _odata(filter: RunFilter) -> str | None:
    """The filter in the SDK's words, which escape nothing: what comes is looked through again (`_meets`)."""
    terms = []
    if filter.parent_run_id is None and not filter.include_children:
        terms.append("ParentRunId eq null")
    if filter.status is not None:
        terms.append(f"Status eq {filter.status.value}")
    if filter.run_type is not None:
        terms.append(f"RunType eq {filter.run_type} or Properties/{RUN_TYPE_PROPERTY} eq {filter.run_type}")
    for kind, wanted in (("Tags", filter.tags), ("Properties", filter.properties)):
        for name, value in wanted.items():
            exists = f"{kind}/{name} ne null or {kind}/{name} eq null"
            terms.append(exists if value is None else f'{kind}/{name} eq "{value}"')
    return " and ".join(f"({term})" for term in terms) or None


def _page(answer: Mapping[str, Any]) -> tuple[list[RunRecord], str | None]:
    return [_record(found) for found in answer.get("value") or ()], answer.get("continuationToken") or None


def _meets(record: RunRecord, filter: RunFilter) -> bool:
    properties = dict(filter.properties)
    if filter.run_type is not None:
        properties[RUN_TYPE_PROPERTY] = filter.run_type
    wanted = ((record.tags, filter.tags), (record.properties, properties))
    return filter.status in (None, record.info.status) and all(
        name in values and value in (None, values[name]) for values, given in wanted for name, value in given.items()
    )


def _below(run_id: str, tree: Iterable[RunRecord]) -> list[RunRecord]:
    """Those of the runs that descend from one, in their order."""
    children: dict[str | None, list[RunRecord]] = {}
    for record in tree:
        children.setdefault(record.info.parent_run_id, []).append(record)
    found: dict[str, RunRecord] = {}
    waiting = [run_id]
    while waiting:
        for record in children.get(waiting.pop(), ()):
            if record.info.run_id not in found:
                found[record.info.run_id] = record
                waiting.append(record.info.run_id)
    return [record for record in tree if record.info.run_id in found]
