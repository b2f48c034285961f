"""Putting into a run's journal what the run has no room for, and the tags that tell of it.

The tags are set first: so the run itself refuses what mustn't be written, and no reader misses what was.
"""

from collections.abc import Collection, Mapping

from mlflow_amlstore.client import run_calls
from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.journal.journal import JOURNAL_TAG, VALUES_TAG, YES, Entry, journal_of
from mlflow_amlstore.client.journal.values import folded, longer
from mlflow_amlstore.client.run_calls import tags_of
from mlflow_amlstore.errors import Changed, ServiceError
from mlflow_amlstore.protocol.limits import AZURE, field_over_limit
from mlflow_amlstore.records.validation import check_params, check_tags

MARKS = {JOURNAL_TAG: YES, VALUES_TAG: YES}
"""The tags that tell of values in a journal."""
_OTHERS_TAGS = ("mlflow.", "amlstore_")
_TRIES = 10


def add_values(connection: Connection, run_id: str, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
    """Add params and tags to a run's journal. Raises Changed, InvalidValue, and what `mark_run` does.

    Of a long param the run has the beginning and refuses any other, so nobody else can add another value. A full run
    can't do that. There, two processes that add different values of a param at the same time may both be told that
    theirs was kept. One of the two was, and everybody reads that one.
    """
    check_params(list(params.items()))
    check_tags(tags.items())
    journal = journal_of(connection, run_id)
    known = folded(journal.entries()).params
    _check_unchanged(run_id, known, params)
    mark_run(connection, run_id, MARKS)
    new = {name: value for name, value in params.items() if name not in known}
    entries: list[Entry] = []
    if new:
        entries.append({"kind": "params", "params": new})
    if tags:
        entries.append({"kind": "tags", "tags": dict(tags)})
    if entries:
        journal.append(entries)
    if new:  # another process may have kept other values since: the first ones hold, and the other is told
        _check_unchanged(run_id, folded(journal.entries()).params, new)


def delete_kept_tag(connection: Connection, run_id: str, name: str) -> bool:
    """Delete a tag from a run's journal; return whether it was there."""
    journal = journal_of(connection, run_id)
    if folded(journal.entries()).tags.get(name) is None:
        return False
    journal.append([{"kind": "tags", "tags": {name: None}}])
    return True


def mark_run(connection: Connection, run_id: str, tags: Mapping[str, str]) -> None:
    """Set the tags that tell what a run's journal has. In a full run, tags of the user's move into the journal to make
    room for them. Raises what `Connection.request` and the journal do.
    """
    for _ in range(_TRIES):
        try:
            _set_tags(connection, run_id, tags)
            return
        except ServiceError as error:
            if field_over_limit(error.message) is None:
                raise
            refusal = error
        tags = {**MARKS, **tags}
        _make_room(connection, run_id, tags, refusal)
    _set_tags(connection, run_id, tags)


def _make_room(connection: Connection, run_id: str, marks: Collection[str], refusal: ServiceError) -> None:
    tags = tags_of(run_calls.get_run(connection, run_id))
    needed = max(1, sum(mark not in tags for mark in marks))
    moved = [name for name in tags if not name.startswith(_OTHERS_TAGS)][-needed:]
    if len(moved) < needed:
        raise refusal
    journal = journal_of(connection, run_id)
    kept = folded(journal.entries()).tags
    whole = {name: longer(tags[name], kept.get(name), AZURE.tag_value_length) for name in moved}
    journal.append([{"kind": "tags", "tags": whole}])
    now = tags_of(run_calls.get_run(connection, run_id))
    for name in moved:
        if now.get(name) == tags[name]:  # else somebody moved it before us, or set it since: then it isn't in the way
            try:
                run_calls.delete_tag(connection, run_id, name)
            except ServiceError as error:
                if error.http_status != 404:  # another process that makes room was faster
                    raise


def _check_unchanged(run_id: str, known: Mapping[str, str], params: Mapping[str, str]) -> None:
    for name, value in params.items():
        if known.get(name, value) != value:
            raise Changed("param", run_id, name, known[name], value)


def _set_tags(connection: Connection, run_id: str, tags: Mapping[str, str]) -> None:
    run_calls.log_batch(connection, run_id, tags=[{"key": key, "value": value} for key, value in tags.items()])
