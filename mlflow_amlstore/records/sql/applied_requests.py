"""Writes that a client may send again, remembered with their answers, in the transaction that made them."""

from collections.abc import Callable

from sqlalchemy import bindparam, delete, select, update

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.database import Database, driver_connection
from mlflow_amlstore.records.dialects import insert_new, insert_or_set
from mlflow_amlstore.records.sql.driver_statement import Driver, DriverStatement
from mlflow_amlstore.records.tables import applied_requests

REMEMBERED_MS = 24 * 3600 * 1000
_MAX_ID_LENGTH = 64

_SELECT_ANSWER = DriverStatement(
    select(applied_requests.c.answer).where(applied_requests.c.request_id == bindparam("request")), "request"
)
_INSERT = DriverStatement(insert_new(applied_requests), "request_id", "answer", "applied_ms")
_UPDATE = DriverStatement(
    update(applied_requests)
    .where(applied_requests.c.request_id == bindparam("request"))
    .values(answer=bindparam("new_answer")),
    "new_answer",
    "request",
)
_SET = DriverStatement(insert_or_set(applied_requests, ["answer", "applied_ms"]), "request_id", "answer", "applied_ms")


def remember(driver: Driver, request_id: str, answer: bytes, now_ms: int) -> None:
    """Note an answer, in the place of one that was given before, inside the caller's write transaction."""
    _SET.run(driver, request_id, answer, now_ms)


def recall(driver: Driver, request_id: str) -> bytes | None:
    """The answer that was noted, for a day at least."""
    row = _SELECT_ANSWER.run(driver, request_id).fetchone()
    return None if row is None else bytes(row[0])


class SqlAppliedRequests:
    """The applied requests of one workspace."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def once(self, request_id: str, apply: Callable[[], bytes]) -> bytes:
        if not 0 < len(request_id) <= _MAX_ID_LENGTH:
            raise InvalidValue("request id", request_id, f"must have 1 to {_MAX_ID_LENGTH} characters")
        with self._database.write() as connection:
            driver = driver_connection(connection)
            if not _INSERT.run(driver, request_id, b"", self._database.now_ms()).rowcount:
                return recall(driver, request_id) or b""
            answer = apply()
            _UPDATE.run(driver, answer, request_id)
            return answer

    def forget_old(self) -> None:
        """Forget what no client will send again."""
        with self._database.write() as connection:
            oldest = self._database.now_ms() - REMEMBERED_MS
            connection.execute(delete(applied_requests).where(applied_requests.c.applied_ms < oldest))
