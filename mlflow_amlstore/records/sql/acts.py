"""Who did what by hand, in SQL.

The topics keep their own acts, in the transaction of what is done, so that no caller can forget them. Tags are part of
what scripts log and so aren't acts, but for the one that renames a run. What is tagged by hand is kept by whoever shows
the form, with `SqlActs.add`.
"""

from sqlalchemy import Connection, insert, select

from mlflow_amlstore.records.acting import who_acts
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.tables import acts
from mlflow_amlstore.records.types import Act
from mlflow_amlstore.records.validation import (
    MAX_NAME_LENGTH,
    MAX_TAG_VALUE_LENGTH,
    check_length,
    check_short_text,
    check_text_name,
    encodable,
)

_DETAIL_LENGTH = 500
_COLUMNS = (acts.c.at_ms, acts.c.subject_kind, acts.c.subject_id, acts.c.act, acts.c.who, acts.c.detail)


def keep_act(
    connection: Connection, at_ms: int, subject_kind: str, subject_id: str, act: str, detail: str = ""
) -> None:
    """Keep an act of whoever acts (`records.acting`), in the transaction of what is done."""
    values = {
        "at_ms": at_ms,
        "subject_kind": subject_kind,
        "subject_id": subject_id,
        "act": act,
        "who": encodable(who_acts())[:MAX_NAME_LENGTH],
        "detail": detail[:_DETAIL_LENGTH],
    }
    connection.execute(insert(acts).values(values).inline())


class SqlActs:
    """What people did by hand in one workspace."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, subject_kind: str, subject_id: str, act: str, who: str, detail: str = "") -> None:
        """Record an act, now. Inside `RecordStore.transaction` it stands or falls with what was done.

        The subject's kind, the act and who did it are texts of 1 to 250 characters, the subject's id of 1 to 1000, the
        detail of at most 8000. Raises InvalidValue.
        """
        check_short_text("subject kind", subject_kind)
        check_text_name("subject id", subject_id)
        check_short_text("act", act)
        check_short_text("who", who)
        check_length("detail", detail, MAX_TAG_VALUE_LENGTH)
        values = {
            "at_ms": self._database.now_ms(),
            "subject_kind": subject_kind,
            "subject_id": subject_id,
            "act": act,
            "who": who,
            "detail": detail,
        }
        with self._database.write() as connection:
            connection.execute(insert(acts).values(values).inline())

    def of(self, subject_kind: str, subject_id: str) -> list[Act]:
        """Return the acts on a subject, the newest first."""
        chosen = select(*_COLUMNS).where(acts.c.subject_kind == subject_kind, acts.c.subject_id == subject_id)
        with self._database.read() as connection:
            return [Act(*row) for row in connection.execute(chosen.order_by(acts.c.act_id.desc()))]
