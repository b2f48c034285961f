"""Logging into a run of a workspace over the network, within the limits that the workspace has.

A batch is sent in as many calls as it takes. What the run has no room for goes into its journal (`journal.keeping`),
and a warning says so, once.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from mlflow_amlstore.client import run_calls
from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.journal.journal import VALUES_TAG
from mlflow_amlstore.client.journal.keeping import MARKS, add_values, delete_kept_tag
from mlflow_amlstore.client.journal.values import RUN_NAME_TAG, cut
from mlflow_amlstore.client.run_calls import Pair, tags_of
from mlflow_amlstore.errors import ServiceError
from mlflow_amlstore.protocol.limits import Limits, field_over_limit
from mlflow_amlstore.records.validation import check_params, check_tags

_FILLING_TRIES = 10
_TAGS_OF_OTHERS = 8  # those, and what a workspace sets itself: a run's name, its user

_logger = logging.getLogger(__name__)


class RunLog:
    """What is logged into the runs of one workspace. Safe across threads."""

    def __init__(self, connection: Connection) -> None:
        """Takes no network."""
        self._connection = connection
        self._full: dict[str, set[str]] = {}  # of runs that take no more params, the names of those that they have
        self._has_warned = False

    def create(self, given: Mapping[str, Any]) -> Any:
        """Create a run from MLflow's message; return the run's. What it has no room for is kept as `log` does.

        Raises what `Connection.request` and the journal do.
        """
        try:
            return run_calls.call(self._connection, "create", given)["run"]
        except ServiceError as error:
            limits = self._limits_that_refused(error)
        name, tags = given.get("run_name") or "", list(given.get("tags") or ())
        check_tags((tag["key"], tag["value"]) for tag in tags)
        if len(name) > limits.run_name_length:
            tags = [tag for tag in tags if (tag["key"], tag["value"]) != (RUN_NAME_TAG, name)]
        fitting = [tag for tag in tags if _tag_fits(limits, tag)][: limits.tags_per_run - _TAGS_OF_OTHERS]
        short = {**given, "tags": fitting, **({"run_name": cut(name, limits.run_name_length)} if name else {})}
        run_id = str(run_calls.call(self._connection, "create", short)["run"]["info"]["run_id"])
        self._keep_name(limits, run_id, name)
        self._log_within(limits, run_id, (), (), [tag for tag in tags if tag not in fitting])
        return run_calls.get_run(self._connection, run_id)

    def update(self, run_id: str, given: Mapping[str, Any]) -> Any:
        """Change a run's status, end or name by MLflow's message; return that of its facts. Raises as `create`."""
        body = {**run_calls.both_ids(run_id), **given}
        try:
            return run_calls.call(self._connection, "update", body)["run_info"]
        except ServiceError as error:
            limits = self._limits_that_refused(error)
        name = given.get("run_name") or ""
        answer = run_calls.call(self._connection, "update", {**body, "run_name": cut(name, limits.run_name_length)})
        self._keep_name(limits, run_id, name)
        return {**answer["run_info"], "run_name": name}

    def log(self, run_id: str, metrics: Sequence[Any], params: Sequence[Pair], tags: Sequence[Pair]) -> None:
        """Log a batch, in messages of MLflow's.

        A batch that fits in one call is logged whole or not at all. Of one that takes several, the calls before a
        failure are kept. Raises what `Connection.request` and the journal do.
        """
        limits = self._connection.limits
        if limits is not None and not _fits(limits, metrics, params, tags):
            limits = self._connection.known_limits()
        was_refused = False
        if limits is None or (_fits(limits, metrics, params, tags) and not (params and run_id in self._full)):
            try:
                run_calls.log_batch(self._connection, run_id, metrics=metrics, params=params, tags=tags)
                return
            except ServiceError as error:
                limits = self._limits_that_refused(error)
                was_refused = True
        self._log_within(limits, run_id, metrics, params, tags, was_refused=was_refused)

    def log_param(self, run_id: str, param: Pair) -> None:
        """Log one param. Raises as `log`."""
        if run_id in self._full:
            self.log(run_id, (), [param], ())
            return
        try:
            run_calls.call(self._connection, "log-parameter", {**run_calls.both_ids(run_id), **param})
        except ServiceError as error:
            limits = self._limits_that_refused(error)
        else:
            return
        self._log_within(limits, run_id, (), [param], (), was_refused=True)

    def set_tag(self, run_id: str, tag: Pair) -> None:
        """Set one tag. Raises as `log`."""
        try:
            run_calls.set_tag(self._connection, run_id, tag["key"], tag["value"])
        except ServiceError as error:
            limits = self._limits_that_refused(error)
        else:
            return
        self._log_within(limits, run_id, (), (), [tag], was_refused=True)

    def delete_tag(self, run_id: str, name: str) -> None:
        """Delete a tag, which must be there, from the run and from its journal. Raises NotFound's ServiceError."""
        missing: ServiceError | None = None
        try:
            run_calls.delete_tag(self._connection, run_id, name)
        except ServiceError as error:
            if self._connection.limits is None or error.http_status != 404:
                raise
            missing = error
        if self._connection.limits is None:
            return
        has_more = VALUES_TAG in tags_of(run_calls.get_run(self._connection, run_id))
        was_kept = has_more and delete_kept_tag(self._connection, run_id, name)
        if missing is not None and not was_kept:
            raise missing

    def _log_within(
        self,
        limits: Limits,
        run_id: str,
        metrics: Sequence[Any],
        params: Sequence[Pair],
        tags: Sequence[Pair],
        *,
        was_refused: bool = False,
    ) -> None:
        """Log what may be too much.

        Of a value that is too long the run gets the beginning. So the run can refuse to change a param, and other
        clients see a part of it.
        """
        check_params([(pair["key"], pair["value"]) for pair in params])
        check_tags((tag["key"], tag["value"]) for tag in tags)
        for batch in _batches(limits, metrics):
            run_calls.log_batch(self._connection, run_id, metrics=batch)
        short = [_cut_pair(param, limits.param_value_length) for param in params]
        left: set[str] = set()  # the names that the run doesn't take
        for some in _parts(short, limits.params_per_call):
            left |= self._log_params(limits, run_id, some, was_refused=was_refused)
        longest = limits.param_value_length
        more_params = _whole(params, lambda param: param["key"] in left or len(param["value"]) > longest)
        short = [_cut_pair(tag, limits.tag_value_length) for tag in tags if len(tag["key"]) <= limits.tag_name_length]
        left = set()
        for some in _parts(short, limits.tags_per_call):
            left |= self._log_pairs(limits, run_id, "tags", some, was_refused=was_refused)[1]
        more_tags = _whole(tags, lambda tag: tag["key"] in left or not _tag_fits(limits, tag))
        if more_params or more_tags:
            self._keep(run_id, more_params, more_tags)

    def _log_params(self, limits: Limits, run_id: str, params: Sequence[Pair], *, was_refused: bool) -> set[str]:
        """Log as many params as the run takes; return the names of the others."""
        known = self._full.get(run_id)
        if known is None:
            known, left = self._log_pairs(limits, run_id, "params", params, was_refused=was_refused)
            if left:
                self._full[run_id] = known
            return left
        return self._log_again(run_id, "params", params, known)

    def _log_pairs(
        self, limits: Limits, run_id: str, field: str, pairs: Sequence[Pair], *, was_refused: bool
    ) -> tuple[set[str], set[str]]:
        """Log as many `params` or `tags` as the run takes.

        Returns the names that a full run has, and the names that it had no room for; both are empty where all fit.
        """
        if not was_refused and self._takes(run_id, field, pairs):
            return set(), set()
        for _ in range(_FILLING_TRIES):
            known = {pair["key"] for pair in run_calls.get_run(self._connection, run_id)["data"].get(field) or ()}
            most = limits.params_per_run if field == "params" else limits.tags_per_run - len(MARKS.keys() - known)
            room = max(0, most - len(known))
            new = [pair for pair in pairs if pair["key"] not in known]
            fitting = [pair for pair in pairs if pair["key"] in known] + new[:room]
            if not fitting or self._takes(run_id, field, fitting):
                return known | {pair["key"] for pair in fitting}, {pair["key"] for pair in new[room:]}
        return known, self._log_again(run_id, field, pairs, known)  # others fill it all the time

    def _log_again(self, run_id: str, field: str, pairs: Sequence[Pair], known: Collection[str]) -> set[str]:
        """Log those that the run has already, so that it can refuse to change a param. Returns the other names."""
        again = [pair for pair in pairs if pair["key"] in known]
        if again:
            self._send(run_id, field, again)
        return {pair["key"] for pair in pairs if pair["key"] not in known}

    def _takes(self, run_id: str, field: str, pairs: Sequence[Pair]) -> bool:
        """Log them; return False where the run has no room for them all, and has taken none."""
        try:
            self._send(run_id, field, pairs)
        except ServiceError as error:
            self._limits_that_refused(error)
            return False
        return True

    def _send(self, run_id: str, field: str, pairs: Sequence[Pair]) -> None:
        run_calls.log_batch(self._connection, run_id, **{field: pairs})

    def _keep_name(self, limits: Limits, run_id: str, name: str) -> None:
        if len(name) > limits.run_name_length:
            self._keep(run_id, {}, {RUN_NAME_TAG: name})

    def _keep(self, run_id: str, params: dict[str, str], tags: dict[str, str]) -> None:
        add_values(self._connection, run_id, params, tags)
        if not self._has_warned:
            self._has_warned = True
            first = next(iter({**params, **tags}))
            _logger.warning(
                "Run %s has no room for %r and maybe others: the workspace takes so many params and tags, and so long, "
                "and no more. They are kept in the run's files, from where this package shows them with the run; other "
                "clients see those that had room, and of long ones the beginning",
                run_id,
                first,
            )

    def _limits_that_refused(self, refusal: ServiceError) -> Limits:
        """The workspace's limits where they are why it refused; else the refusal is raised."""
        limits = self._connection.limits
        if limits is None or field_over_limit(refusal.message) is None:
            raise refusal
        return limits


def _fits(limits: Limits, metrics: Sequence[Any], params: Sequence[Pair], tags: Sequence[Pair]) -> bool:
    return (
        len(metrics) <= limits.metrics_per_call
        and len(params) <= limits.params_per_call
        and len(tags) <= limits.tags_per_call
        and all(len(pair["value"]) <= limits.param_value_length for pair in params)
        and all(_tag_fits(limits, tag) for tag in tags)
    )


def _tag_fits(limits: Limits, tag: Pair) -> bool:
    return len(tag["key"]) <= limits.tag_name_length and len(tag["value"]) <= limits.tag_value_length


def _cut_pair(pair: Pair, length: int) -> Pair:
    return {**pair, "value": cut(pair["value"], length)}


def _parts(pairs: Sequence[Pair], size: int) -> Iterator[Sequence[Pair]]:
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]


def _whole(pairs: Sequence[Pair], is_kept: Callable[[Pair], bool]) -> dict[str, str]:
    return {pair["key"]: pair["value"] for pair in pairs if is_kept(pair)}


def _batches(limits: Limits, metrics: Sequence[Any]) -> Iterator[list[Any]]:
    """The metrics in their order, in batches that each fit."""
    batch: list[Any] = []
    of_name: Counter[str] = Counter()
    for metric in metrics:
        is_full = len(batch) == limits.metrics_per_call
        if is_full or of_name[metric["key"]] == limits.points_per_metric_per_call:
            yield batch
            batch, of_name = [], Counter()
        batch.append(metric)
        of_name[metric["key"]] += 1
    if batch:
        yield batch
