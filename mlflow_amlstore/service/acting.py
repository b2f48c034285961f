"""In whose name a call changes records: they keep who changed what (`records.acting`)."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeVar

from mlflow_amlstore.records import acting
from mlflow_amlstore.service.routing import Call
from mlflow_amlstore.service.secret import LOCAL_KEY_ID

T = TypeVar("T")


def who(call: Call) -> str:
    """Whoever makes a call, as a person knows them: the key's name, or this machine's user for the local key."""
    assert call.caller is not None  # as a route that asks needs a role
    if call.caller.key_id == LOCAL_KEY_ID:
        return acting.this_user()
    key = call.records.keys.find(call.caller.key_id)
    return call.caller.key_id if key is None else key.name


def acting_for(call: Call) -> AbstractContextManager[None]:
    """What is changed in the block, on this thread, is changed by whoever makes the call."""
    return acting.acting_for(partial(who, call))


def as_one_write(call: Call, work: Callable[[], T]) -> T:
    """Return what `work` returns, done in one transaction and in the name of the caller.

    For a handler that streams; the application does the same for those that don't.
    """
    with acting_for(call), call.records.transaction():
        return work()
