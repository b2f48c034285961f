"""Metrics of a workspace behind a service, in version 2 of Azure ML's protocol: implements
`records.common_store.CommonMetrics`."""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import repeat
from typing import Any, cast

from mlflow_amlstore.client.at_once import at_once
from mlflow_amlstore.client.http.transport import is_sending_here
from mlflow_amlstore.client.run_calls import both_ids
from mlflow_amlstore.client.run_history.routes import RunHistory, named
from mlflow_amlstore.client.run_messages import points
from mlflow_amlstore.errors import NotFound, PartlyRefused
from mlflow_amlstore.protocol.metric_kinds import (
    ARTIFACT_TYPE,
    COLUMN_TYPES,
    FLOAT_TYPES,
    KINDS,
    UX_TYPES,
    artifact_id,
    column_type,
)
from mlflow_amlstore.protocol.times import iso_time, time_ms
from mlflow_amlstore.records.curves import curve_of_history
from mlflow_amlstore.records.types import (
    FILE_KINDS,
    GRID_KINDS,
    Cell,
    Curve,
    LoggedTuple,
    LoggedValues,
    MetricKind,
    MetricPoint,
    MetricRecord,
    Page,
    SeriesCurve,
)
from mlflow_amlstore.workspace.redaction import redact

_CELLS_PER_REQUEST = 20_000
_CELLS_PER_REQUEST_TO_AZURE = 50  # as many metrics as the SDK sends at once
_READERS = 2  # one answer is on its way while another is read; more are in each other's way
_NAN = float("nan")

_Item = dict[str, Any]
_Columns = Mapping[str, Sequence[Cell]]


class RemoteMetrics:
    """Metrics of one workspace's runs."""

    def __init__(self, history: RunHistory) -> None:
        self._history = history

    def history(self, run_id: str, name: str) -> Page[MetricPoint]:
        found: list[MetricPoint] = []
        asked: dict[str, Any] = {**both_ids(run_id), "metric_key": name}
        while True:
            with named("run", run_id):
                answer = self._history.call_mlflow("GET", "metrics/get-history", params=asked)
            found += points(answer.get("metrics") or ())
            if not answer.get("next_page_token"):
                return Page(found, None)
            asked["page_token"] = answer["next_page_token"]

    def sample(self, run_id: str, name: str, *, max_results: int) -> Sequence[MetricPoint]:
        if self._history.connection.limits is not None:  # Azure ML
            whole = self.history(run_id, name).items
            step = max(1.0, (len(whole) - 1) / max(1, max_results - 1))
            return [whole[round(number * step)] for number in range(min(max_results, len(whole)))]
        asked = {"run_ids": [run_id], "metric_key": name, "max_results": max_results}
        answer = self._history.call_mlflow("GET", "metrics/get-history-bulk-interval", params=asked)
        return points(answer.get("metrics") or ())

    def curves_of_run(self, run_id: str, names: Sequence[str], *, columns: int) -> list[SeriesCurve]:
        wanted = list(dict.fromkeys(names))
        if self._history.connection.limits is None:  # a service of ours
            given = {"names": wanted, "columns": columns}
            with suppress(NotFound), named("run", run_id):
                return list(map(_series_curve, self._history.call_metrics(run_id, "curves", given)))
            # One that is older has no such route: its histories are read whole, as Azure ML's.
        kinds = self._kinds(run_id)
        histories = at_once(lambda name: self.history(run_id, name).items, wanted, threads=_READERS)
        return [
            SeriesCurve(
                name, name, "", kinds.get(name) or MetricKind.SCALAR, curve_of_history(run_id, points, columns=columns)
            )
            for name, points in zip(wanted, histories, strict=True)
            if points
        ]

    def log_values(
        self,
        run_id: str,
        logged: Sequence[LoggedValues | LoggedTuple],
        *,
        write_id: str | None = None,
        descriptions: Mapping[str, str] | None = None,
    ) -> int:
        is_azure = self._history.connection.limits is not None
        calls = _first(logged, _CELLS_PER_REQUEST_TO_AZURE if is_azure else _CELLS_PER_REQUEST)
        items = _items(run_id, calls)
        write_id = write_id or uuid.uuid4().hex
        if is_azure:  # which has no room for descriptions
            _add_ids(items, write_id)
        elif descriptions:
            for item in items:
                if item["name"] in descriptions:
                    item["properties"]["description"] = descriptions[item["name"]]
        with named("run", run_id):
            answer = self._history.call_metrics(run_id, "batch", {"reportErrors": True, "values": items}, write_id)
        if refused := _refused(answer):
            raise PartlyRefused(len(calls), refused, next(iter(refused.values())))
        return len(calls)

    def descriptions(self, run_id: str) -> dict[str, str]:
        found = {name: properties.get("description") for name, properties in self._properties(run_id)}
        return {name: str(description) for name, description in sorted(found.items()) if description}

    @property
    def is_busy_here(self) -> bool:
        return is_sending_here()

    def list_names(self, run_id: str) -> list[tuple[str, MetricKind]]:
        listed: list[tuple[str, MetricKind]] = []
        for name, kind in self._kinds(run_id).items():
            if kind is not None:
                listed.append((name, kind))
            elif (metric := self._read(run_id, name, with_times=False)) is not None:
                listed.append((name, metric.kind))
        return listed

    def list_metrics(self, run_id: str, name: str | None = None, *, with_times: bool = False) -> list[MetricRecord]:
        if name is not None:
            metric = self._read(run_id, name, with_times)
            return [] if metric is None else [metric]
        read = at_once(partial(self._read, run_id, with_times=with_times), self._kinds(run_id), threads=_READERS)
        return [metric for metric in read if metric is not None]

    def _kinds(self, run_id: str) -> dict[str, MetricKind | None]:
        """The kinds of the run's metrics by name; None where the workspace's list doesn't tell, as Azure ML's."""
        return {name: KINDS.get(str(properties.get("uxMetricType"))) for name, properties in self._properties(run_id)}

    def _properties(self, run_id: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The names of the run's metrics, each with what the workspace's list tells of it."""
        body: dict[str, Any] = {}
        while True:
            with named("run", run_id):
                answer = self._history.call_metrics(run_id, "list", body)
            for found in answer.get("value") or ():
                yield str(found["metricKey"]["name"]), found.get("properties") or {}
            if not answer.get("continuationToken"):
                return
            body = {"continuationToken": answer["continuationToken"]}

    def _read(self, run_id: str, name: str, with_times: bool) -> MetricRecord | None:
        """One metric whole; None where the run has none of the name."""
        body: dict[str, Any] = {"metricName": name}
        if not with_times and self._history.connection.limits is None:  # a service of ours
            body["cellsOnly"] = True
        pages: list[Mapping[str, Any]] = []
        while True:
            try:
                with named("metric", name):
                    answer = self._history.call_metrics(run_id, "full", body)
            except NotFound:
                return None
            pages.append(answer)
            if not answer.get("continuationToken"):
                return _record(run_id, name, pages, with_times)
            body["continuationToken"] = answer["continuationToken"]


def _series_curve(answer: Mapping[str, Any]) -> SeriesCurve:
    curve = dict(answer["curve"])
    for field in ("minimum", "maximum"):
        curve[field] = None if curve[field] is None else tuple(curve[field])
    curve["infinities"] = [(x, sign) for x, sign in curve["infinities"]]
    return SeriesCurve(answer["name"], answer["metric"], answer["column"], MetricKind(answer["kind"]), Curve(**curve))


def _refused(answer: Mapping[str, Any]) -> dict[str, str]:
    """The names whose values weren't taken, each with the reason; Azure ML answers so with status 207."""
    return {
        str(error["metric"]["name"]): redact(str(error["errorResponse"]["error"]["message"]))
        for error in answer.get("errors") or ()
    }


def _first(logged: Sequence[LoggedValues | LoggedTuple], cells: int) -> Sequence[LoggedValues | LoggedTuple]:
    """The first calls that have no more cells than that, and one call at least."""
    count = 0
    for index, (_, kind, value, _, _) in enumerate(logged):
        count += 1 if kind is MetricKind.SCALAR else sum(map(len, cast(_Columns, value).values()))
        if count > cells and index:
            return logged[:index]
    return logged


def _add_ids(items: Sequence[_Item], write_id: str) -> None:
    """Give each value the id by which Azure ML knows it again: the same one in a write that is tried again."""
    of_write = uuid.UUID(write_id)
    for number, value in enumerate(value for item in items for value in item["value"]):
        value["metricId"] = str(uuid.uuid5(of_write, str(number)))


def _items(run_id: str, calls: Sequence[LoggedValues | LoggedTuple]) -> list[_Item]:
    """Values as Azure ML takes them. Scalars of one name and type share an item; every other call has its own.

    Items of one name keep the order of their calls. The order of items of different names doesn't matter.
    """
    items: list[_Item] = []
    open_items: dict[str, tuple[type, list[Any]]] = {}
    for name, kind, cells, step, timestamp_ms in calls:
        moment = iso_time(timestamp_ms)
        if kind is MetricKind.SCALAR:
            known = open_items.get(name)
            if known is None or known[0] is not type(cells):
                known = open_items[name] = (type(cells), [])
                items.append(_item(name, kind, {name: COLUMN_TYPES[type(cells)]}, known[1]))
            value: dict[str, Any] = {"createdUtc": moment, "data": {name: cells}}
            if step is not None:
                value["step"] = step
            known[1].append(value)
            continue
        open_items.pop(name, None)
        items += _items_of_columns(run_id, name, kind, cast(_Columns, cells), step, moment)
    return items


def _items_of_columns(
    run_id: str, name: str, kind: MetricKind, columns: _Columns, step: int | None, moment: str
) -> Iterator[_Item]:
    if kind in FILE_KINDS:
        columns = {"": [artifact_id(run_id, str(path)) for path in columns[""]]}
        types = {name: ARTIFACT_TYPE}
    else:
        types = {column or name: column_type({type(cell) for cell in cells}) for column, cells in columns.items()}
    rows = [
        {"createdUtc": moment, "data": dict(zip(types, row, strict=True)), **({} if step is None else {"step": step})}
        for row in zip(*columns.values(), strict=True)
    ]
    yield _item(name, kind, types, rows)


def _item(name: str, kind: MetricKind, types: Mapping[str, str], values: list[Any]) -> _Item:
    return {"name": name, "columns": types, "properties": {"uxMetricType": UX_TYPES[kind]}, "value": values}


def _cell(row: Mapping[str, Any], column: str, is_float: bool) -> Cell:
    """A row's cell; NaN where the row has none.

    NaN and ±Infinity come as texts. In a column of floats such a text is a number. In any other column only our service
    tells which texts are numbers.
    """
    cell: Cell = row["data"].get(column, _NAN)
    if not isinstance(cell, str) or not (is_float or column in row.get("notFinite", ())):
        return cell
    try:
        return float(cell)
    except ValueError:
        return cell  # Azure ML's SDK names a column after its first cell alone


def _cells(page: Mapping[str, Any], column: str, is_float: bool) -> Iterable[Cell]:
    """A column's cells on a page that has rows or, of our service, columns."""
    in_columns: Mapping[str, Sequence[Cell]] | None = page.get("cells")
    if in_columns is None:
        return (_cell(row, column, is_float) for row in page.get("value") or ())
    if column in in_columns:
        return in_columns[column]
    return repeat(_NAN, max(map(len, in_columns.values()), default=0))


def _record(run_id: str, name: str, pages: Sequence[Mapping[str, Any]], with_times: bool) -> MetricRecord:
    kind = KINDS.get(str((pages[-1].get("properties") or {}).get("uxMetricType")), MetricKind.SCALAR)
    types = pages[-1].get("columns") or {}
    columns: dict[str, list[Cell]] = {}
    for column, kind_of_cell in types.items():
        is_float = str(kind_of_cell).lower() in FLOAT_TYPES
        cells = [cell for page in pages for cell in _cells(page, column, is_float)]
        if kind in FILE_KINDS:
            cells = [cell.removeprefix(artifact_id(run_id)) if isinstance(cell, str) else cell for cell in cells]
        columns[column if kind in GRID_KINDS else ""] = cells
    if not with_times:
        return MetricRecord(name, kind, columns)
    rows = [row for page in pages for row in page.get("value") or ()]
    steps = [int(row.get("step") or 0) for row in rows]
    times_ms = [time_ms(row["createdUtc"]) if row.get("createdUtc") else 0 for row in rows]
    return MetricRecord(name, kind, columns, steps, times_ms)
