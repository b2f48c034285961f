"""Keys of a service over the workspace, in SQL."""

from sqlalchemy import bindparam, insert, select, update

from mlflow_amlstore.errors import AlreadyExists, NotFound
from mlflow_amlstore.records.database import Database, driver_connection
from mlflow_amlstore.records.sql.driver_statement import DriverStatement
from mlflow_amlstore.records.sql.workspace_lock import lock_workspace
from mlflow_amlstore.records.tables import keys
from mlflow_amlstore.records.types import KeyRecord

_COLUMNS = (
    keys.c.key_id,
    keys.c.name,
    keys.c.role,
    keys.c.sha256,
    keys.c.created_ms,
    keys.c.revoked_ms,
)
_SELECT_KEY = DriverStatement(select(*_COLUMNS).where(keys.c.key_id == bindparam("key")), "key")


class SqlKeys:
    """Keys of one workspace. Only their hashes are here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, key: KeyRecord) -> None:
        """Add a key. Raises AlreadyExists for an id or an active key's name that is there."""
        with self._database.write() as connection:
            lock_workspace(driver_connection(connection))
            taken = select(keys.c.key_id).where(
                (keys.c.key_id == key.key_id) | ((keys.c.name == key.name) & keys.c.revoked_ms.is_(None))
            )
            if connection.execute(taken).first() is not None:
                raise AlreadyExists("key", key.name, "Revoke it first, or choose another name")
            connection.execute(
                insert(keys).values(
                    key_id=key.key_id,
                    name=key.name,
                    role=key.role,
                    sha256=key.sha256,
                    created_ms=key.created_ms,
                    revoked_ms=key.revoked_ms,
                )
            )

    def find(self, key_id: str) -> KeyRecord | None:
        """Return a key, revoked ones too, or None."""
        with self._database.read() as connection:
            row = _SELECT_KEY.run(driver_connection(connection), key_id).fetchone()
        return None if row is None else KeyRecord(*row)

    def list_keys(self) -> list[KeyRecord]:
        """Return all keys, revoked ones too, the oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(select(*_COLUMNS).order_by(keys.c.created_ms, keys.c.key_id))
            return [KeyRecord(*row) for row in rows]

    def revoke(self, key_id: str) -> None:
        """Revoke a key for good; nothing happens where it is revoked. Raises NotFound."""
        with self._database.write() as connection:
            known = connection.execute(select(keys.c.revoked_ms).where(keys.c.key_id == key_id)).first()
            if known is None:
                raise NotFound("key", key_id)
            if known.revoked_ms is None:
                now = self._database.now_ms()
                connection.execute(update(keys).where(keys.c.key_id == key_id).values(revoked_ms=now))
