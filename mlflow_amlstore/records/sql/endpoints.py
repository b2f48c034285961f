"""Endpoints in SQL: models that answer over HTTP, their deployments, traffic, keys and events.

The first half is what everybody asks for (`common_store.CommonEndpoints`). The second is for who runs endpoints: they
hold an endpoint, tell how its deployments are, and which of them serve.
"""

import builtins
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import cached_property
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from mlflow_amlstore.errors import AlreadyExists, InvalidState, NotFound
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.dialects import insert_new, locked
from mlflow_amlstore.records.endpoint_rules import (
    KEYS,
    check_endpoint,
    check_endpoint_key,
    check_traffic,
    check_which_key,
    checked_deployment,
)
from mlflow_amlstore.records.locations import endpoint_container
from mlflow_amlstore.records.sealing import Seal
from mlflow_amlstore.records.sql.acts import keep_act
from mlflow_amlstore.records.sql.files import SqlFiles
from mlflow_amlstore.records.sql.run_leases import LEASE_S
from mlflow_amlstore.records.tables import (
    compute_targets,
    deployments,
    endpoint_events,
    endpoints,
    model_versions,
    registered_models,
)
from mlflow_amlstore.records.types import (
    LOCAL_TARGET,
    NO_SUCH_TARGET,
    DeploymentError,
    DeploymentRecord,
    DeploymentSpec,
    EndpointEvent,
    EndpointHost,
    EndpointRecord,
    EndpointSpec,
    EndpointState,
)
from mlflow_amlstore.records.validation import encodable

_DETAILS_LENGTH = 64_000  # of an error: a long traceback
_EVENTS_KEPT = 500
_HINT = "`amlstore endpoints` lists those that there are"
_E, _D = endpoints.c, deployments.c
T = TypeVar("T")


class SqlEndpoints:
    """The endpoints of one workspace."""

    def __init__(self, database: Database, files: SqlFiles) -> None:
        self._database, self._files = database, files

    @cached_property
    def _seal(self) -> Seal:
        return Seal(self._database.folder, "keys of endpoints")

    # What everybody asks for

    def create(
        self,
        spec: EndpointSpec,
        deployment: DeploymentSpec,
        *,
        keys: tuple[str, str] | None = None,
        overwrite: bool = False,
    ) -> EndpointRecord:
        check_endpoint(spec)
        given = tuple(check_endpoint_key(which, key) for which, key in zip(KEYS, keys, strict=True)) if keys else None
        sealed = self._seal.close(json.dumps(given or (_new_key(), _new_key())))
        now_ms = self._database.now_ms()
        values = {
            "name": spec.name,
            "target": spec.target,
            "spec": _json(asdict(spec)),
            "sealed_keys": sealed,
            "wanted": "{}",
            "serving": "{}",
            "created_ms": now_ms,
            "updated_ms": now_ms,
        }
        with self._database.write() as connection:
            _check_target(connection, spec.target)
            is_new = connection.execute(insert_new(endpoints).values(values).inline()).rowcount > 0
            if not is_new:
                if not overwrite:
                    raise AlreadyExists(
                        "endpoint", spec.name, "Update it, delete it first, or deploy with overwrite=True"
                    )
                changed = {"spec": values["spec"], "target": spec.target, **({"sealed_keys": sealed} if given else {})}
                connection.execute(update(endpoints).where(_E.name == spec.name).values(changed))
            self._add_deployment(connection, spec.name, deployment, None)
            keep_act(connection, now_ms, "endpoint", spec.name, "create" if is_new else "replace")
        return self.get(spec.name)

    def deploy(
        self, name: str, deployment: DeploymentSpec, *, traffic: Mapping[int, int] | None = None
    ) -> EndpointRecord:
        with self._database.write() as connection:
            self._add_deployment(connection, name, deployment, traffic)
            keep_act(connection, self._database.now_ms(), "endpoint", name, "deploy", ", ".join(deployment.models))
        return self.get(name)

    def update(
        self,
        name: str,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        auth: bool | None = None,
        traffic: Mapping[int, int] | None = None,
    ) -> EndpointRecord:
        with self._database.write() as connection:
            pk = _pk_of(connection, name)
            record = self._read(connection, _E.endpoint_pk == pk)[0]
            given = {"description": description, "auth": auth, "tags": tags, "properties": properties}
            spec = EndpointSpec(**{**asdict(record.spec), **{key: it for key, it in given.items() if it is not None}})
            check_endpoint(spec)
            values: dict[str, Any] = {"spec": _json(asdict(spec)), "updated_ms": self._database.now_ms()}
            if traffic is not None:
                check_traffic(traffic, len(record.deployments))
                values["wanted"] = _traffic_text(traffic)
                self._start_again(connection, pk, record, traffic)
            connection.execute(update(endpoints).where(_E.endpoint_pk == pk).values(values))
            keep_act(connection, values["updated_ms"], "endpoint", name, "update")
        return self.get(name)

    def delete(self, name: str) -> None:
        with self._database.write() as connection:
            if not connection.execute(delete(endpoints).where(_E.name == name)).rowcount:
                raise NotFound("endpoint", name, _HINT)
            keep_act(connection, self._database.now_ms(), "endpoint", name, "delete")
        self._files.delete(endpoint_container(name))

    def get(self, name: str) -> EndpointRecord:
        with self._database.read() as connection:
            for record in self._read(connection, _E.name == name):
                return record
        raise NotFound("endpoint", name, _HINT)

    def list(self) -> builtins.list[EndpointRecord]:
        with self._database.read() as connection:
            return self._read(connection, _E.name.is_not(None))

    def count(self) -> int:
        """Return how many endpoints there are."""
        with self._database.read() as connection:
            return int(connection.execute(select(func.count()).select_from(endpoints)).scalar_one())

    def keys(self, name: str) -> tuple[str, str]:
        with self._database.read() as connection:
            sealed = connection.execute(select(_E.sealed_keys).where(_E.name == name)).scalar()
        if sealed is None:
            raise NotFound("endpoint", name, _HINT)
        primary, secondary = json.loads(self._seal.open(sealed))
        return primary, secondary

    def set_key(self, name: str, which: str, key: str | None = None) -> None:
        check_which_key(which)
        new = _new_key() if key is None else check_endpoint_key(which, key)
        with self._database.write() as connection:
            sealed = connection.execute(locked(select(_E.sealed_keys).where(_E.name == name))).scalar()
            if sealed is None:
                raise NotFound("endpoint", name, _HINT)
            try:
                kept = json.loads(self._seal.open(sealed))
            except InvalidState:  # sealed with a secret that is gone: the other one can't be kept either
                kept = [_new_key(), _new_key()]
            kept[KEYS.index(which)] = new
            now_ms = self._database.now_ms()
            values = {"sealed_keys": self._seal.close(json.dumps(kept)), "updated_ms": now_ms}
            connection.execute(update(endpoints).where(_E.name == name).values(values))
            keep_act(connection, now_ms, "endpoint", name, "key", which)

    def events(self, name: str, *, after: int = 0) -> builtins.list[EndpointEvent]:
        columns = endpoint_events.c
        chosen = select(columns.event_id, columns.at_ms, columns.number, columns.text).where(columns.event_id > after)
        with self._database.read() as connection:
            pk = connection.execute(select(_E.endpoint_pk).where(_E.name == name)).scalar()
            if pk is None:
                raise NotFound("endpoint", name, _HINT)
            found = chosen.where(columns.endpoint_pk == pk).order_by(columns.event_id)
            return [EndpointEvent(*row) for row in connection.execute(found)]

    # For who runs endpoints

    def take(self, target: str, holder: str) -> str | None:
        """Take an endpoint of this target, or of no particular one, that nobody runs; return its name.

        The lease lasts `LEASE_S` seconds from each renewal on.
        """
        now_ms = self._database.now_ms()
        is_free = or_(_E.holder.is_(None), and_(_E.ends_ms.is_not(None), _E.ends_ms < now_ms))
        first = select(func.min(_E.endpoint_pk)).where(_E.target.in_((target, "")), is_free)
        with self._database.read() as connection:  # an agent asks often
            if connection.execute(first).scalar() is None:
                return None
        with self._database.write() as connection:
            while (pk := connection.execute(first).scalar()) is not None:
                mine = {"holder": holder, "address": None, "ends_ms": self._end_ms()}
                if connection.execute(update(endpoints).where(_E.endpoint_pk == pk, is_free).values(mine)).rowcount:
                    name: str = connection.execute(select(_E.name).where(_E.endpoint_pk == pk)).scalar_one()
                    return name
        return None

    def held(self) -> frozenset[tuple[str, str]]:
        """Return the endpoints that are held by a lease which hasn't run out, each with its holder."""
        chosen = select(_E.name, _E.holder).where(_E.holder.is_not(None), _E.ends_ms >= self._database.now_ms())
        with self._database.read() as connection:
            return frozenset((name, holder) for name, holder in connection.execute(chosen))

    def hold(self, name: str, holder: str, address: str, *, has_lease: bool) -> bool:
        """Say where an endpoint answers, and prolong the lease if there is one. False where somebody else runs it.

        Without a lease, whoever has the lock of the endpoint's folder on its machine is right.
        """
        values = {"holder": holder, "address": address, "ends_ms": self._end_ms() if has_lease else None}
        chosen = _E.name == name
        if has_lease:
            chosen = and_(chosen, _E.holder == holder)
        with self._database.write() as connection:
            return connection.execute(update(endpoints).where(chosen).values(values)).rowcount > 0

    def leave(self, name: str, holder: str) -> None:
        """Run an endpoint no longer: somebody else may take it."""
        values = {"holder": None, "address": None, "ends_ms": None}
        with self._database.write() as connection:
            connection.execute(update(endpoints).where(_E.name == name, _E.holder == holder).values(values))

    def set_state(
        self,
        name: str,
        number: int,
        state: EndpointState,
        *,
        error: DeploymentError | None = None,
        versions: Mapping[str, str] | None = None,
    ) -> None:
        """Tell how a deployment is. One that has Failed before it served loses the traffic that it was to get."""
        now_ms = self._database.now_ms()
        values: dict[str, Any] = {"state": state.value, "error": _error_text(error), "updated_ms": now_ms}
        if versions is not None:
            values["versions"] = _json(dict(versions))
        with self._database.write() as connection:
            pk = _pk_of(connection, name)
            chosen = (_D.endpoint_pk == pk) & (_D.number == number)
            connection.execute(update(deployments).where(chosen).values(values))
            if state is EndpointState.FAILED:
                record = self._read(connection, _E.endpoint_pk == pk)[0]
                if number in record.wanted and number not in record.serving and record.serving:
                    kept = {"wanted": _traffic_text(record.serving), "updated_ms": now_ms}
                    connection.execute(update(endpoints).where(_E.endpoint_pk == pk).values(kept))

    def set_serving(self, name: str, traffic: Mapping[int, int]) -> None:
        """Tell which deployments serve."""
        values = {"serving": _traffic_text(traffic), "updated_ms": self._database.now_ms()}
        with self._database.write() as connection:
            connection.execute(update(endpoints).where(_E.name == name).values(values))

    def say(self, name: str, number: int, text: str) -> None:
        """Keep what happened, as a sentence. The newest few hundred are kept."""
        columns = endpoint_events.c
        with self._database.write() as connection:
            pk = _pk_of(connection, name)
            values = {"endpoint_pk": pk, "at_ms": self._database.now_ms(), "number": number}
            text = encodable(text)[:_DETAILS_LENGTH]
            connection.execute(insert(endpoint_events).values({**values, "text": text}).inline())
            of_mine = select(columns.event_id).where(columns.endpoint_pk == pk).order_by(columns.event_id.desc())
            last = connection.execute(of_mine.offset(_EVENTS_KEPT).limit(1)).scalar()
            if last is not None:
                old = (columns.endpoint_pk == pk) & (columns.event_id <= last)
                connection.execute(delete(endpoint_events).where(old))

    def _add_deployment(
        self, connection: Connection, name: str, spec: DeploymentSpec, traffic: Mapping[int, int] | None
    ) -> None:
        spec = _checked_deployment(connection, spec)
        pk = _pk_of(connection, name)
        number = (connection.execute(select(func.max(_D.number)).where(_D.endpoint_pk == pk)).scalar() or 0) + 1
        wanted = {number: 100} if traffic is None else traffic
        check_traffic(wanted, number)
        begins = EndpointState.TRANSITIONING if wanted.get(number) else EndpointState.STOPPED  # nobody would start it
        now_ms = self._database.now_ms()
        values = {
            "endpoint_pk": pk,
            "number": number,
            "spec": _json(asdict(spec)),
            "state": begins.value,
            "versions": "{}",
            "created_ms": now_ms,
            "updated_ms": now_ms,
        }
        connection.execute(insert(deployments).values(values).inline())
        changed = {"wanted": _traffic_text(wanted), "updated_ms": now_ms}
        connection.execute(update(endpoints).where(_E.endpoint_pk == pk).values(changed))

    def _start_again(self, connection: Connection, pk: int, record: EndpointRecord, traffic: Mapping[int, int]) -> None:
        """Deployments that get traffic again are to be started."""
        for number, percent in traffic.items():
            if percent and record.deployment(number).state in (EndpointState.STOPPED, EndpointState.FAILED):
                chosen = (_D.endpoint_pk == pk) & (_D.number == number)
                values = {"state": EndpointState.TRANSITIONING.value, "error": None}
                connection.execute(update(deployments).where(chosen).values(values))

    def _read(self, connection: Connection, chosen: ColumnElement[bool]) -> builtins.list[EndpointRecord]:
        of_each: dict[int, list[DeploymentRecord]] = {}
        found = select(deployments).join(endpoints, _E.endpoint_pk == _D.endpoint_pk).where(chosen)
        for row in connection.execute(found.order_by(_D.endpoint_pk, _D.number)):
            of_each.setdefault(row.endpoint_pk, []).append(_deployment_of(row))
        rows = connection.execute(select(endpoints).where(chosen).order_by(_E.name))
        return [_record_of(row, of_each[row.endpoint_pk]) for row in rows]

    def _end_ms(self) -> int:
        return self._database.now_ms() + round(LEASE_S * 1000)


def _pk_of(connection: Connection, name: str) -> int:
    """The key of an endpoint, which no other transaction changes before the end of this one. Raises NotFound."""
    pk: int | None = connection.execute(locked(select(_E.endpoint_pk).where(_E.name == name))).scalar()
    if pk is None:
        raise NotFound("endpoint", name, _HINT)
    return pk


def _record_of(row: Any, of_it: list[DeploymentRecord]) -> EndpointRecord:
    host = None if row.holder is None else EndpointHost(row.holder, row.address or "", row.ends_ms)
    return EndpointRecord(
        _read_as(EndpointSpec, row.spec),
        tuple(of_it),
        _traffic_of(row.wanted),
        _traffic_of(row.serving),
        host,
        row.created_ms,
        row.updated_ms,
    )


def _deployment_of(row: Any) -> DeploymentRecord:
    spec = _read_as(DeploymentSpec, row.spec)
    error = None if row.error is None else _read_as(DeploymentError, row.error)
    state = EndpointState(row.state)
    versions = json.loads(row.versions)
    return DeploymentRecord(row.number, spec, state, error, row.created_ms, row.updated_ms, versions)


def _read_as(kind: type[T], text: str) -> T:
    """Read a dataclass; what another version of this package wrote besides is left out."""
    told = json.loads(text)
    values = {each.name: told[each.name] for each in fields(kind) if each.name in told}  # type: ignore[arg-type]
    if "models" in values:
        values["models"] = tuple(values["models"])
    return kind(**values)


def _json(value: Mapping[str, Any]) -> str:
    return encodable(json.dumps(value))


def _traffic_text(traffic: Mapping[int, int]) -> str:
    return json.dumps({str(number): percent for number, percent in sorted(traffic.items()) if percent})


def _traffic_of(text: str) -> dict[int, int]:
    return {int(number): percent for number, percent in json.loads(text).items()}


def _error_text(error: DeploymentError | None) -> str | None:
    if error is None:
        return None
    return _json({"code": error.code, "message": error.message, "details": error.details[-_DETAILS_LENGTH:]})


def _new_key() -> str:
    return secrets.token_urlsafe(24)


# Rules


def _check_target(connection: Connection, target: str) -> None:
    """Endpoints run on this machine, on any pool, or on a target that there is."""
    if target not in (LOCAL_TARGET, ""):
        known = select(compute_targets.c.name).where(compute_targets.c.name == target)
        if connection.execute(known).first() is None:
            raise NotFound("compute target", target, NO_SUCH_TARGET)


def _checked_deployment(connection: Connection, spec: DeploymentSpec) -> DeploymentSpec:
    spec = checked_deployment(spec)
    for model in spec.models:
        name, _, version = model.rpartition(":")
        found = (
            select(model_versions.c.version)
            .join(registered_models, registered_models.c.registered_pk == model_versions.c.registered_pk)
            .where(registered_models.c.name == name, model_versions.c.deleted_ms.is_(None))
        )
        if not version.isdecimal() or int(version) not in connection.execute(found).scalars().all():
            raise NotFound("model", model, "`amlstore models` lists those that there are, as NAME:VERSION")
    return spec
