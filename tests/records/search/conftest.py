"""A workspace's database, and a way to put records straight into its tables: searches are tested on their own here."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from mlflow_amlstore.records import tables
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.schema import create_database
from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.search.experiments import page_of_experiments
from mlflow_amlstore.records.search.logged_models import page_of_logged_models
from mlflow_amlstore.records.search.models import page_of_models, page_of_versions
from mlflow_amlstore.records.search.runs import page_of_runs
from mlflow_amlstore.records.types import OrderTerm, View

PAGE_OF: dict[str, Any] = {
    "experiments": page_of_experiments,
    "logged_models": page_of_logged_models,
    "models": page_of_models,
    "runs": page_of_runs,
    "versions": page_of_versions,
}
GRAMMARS = {
    "experiments": grammars.EXPERIMENTS,
    "logged_models": grammars.LOGGED_MODELS,
    "models": grammars.MODELS,
    "runs": grammars.RUNS,
    "versions": grammars.VERSIONS,
}

# The answers compared in `parity` are those of MLflow 3's own stores; MLflow 2's differ in places.
collect_ignore = [] if version("mlflow-skinny").startswith("3.") else ["parity"]


class Records:
    """Adds records of any shape and searches them; every search is one page of `max_results`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._series_count = 0

    def _insert(self, table: Any, **values: Any) -> int:
        with self.database.write() as connection:
            return int(connection.execute(table.insert().values(**values)).inserted_primary_key[0])

    def add_experiment(
        self, name: str, *, created_ms: int = 0, updated_ms: int = 0, tags: Mapping[str, str] | None = None, **more: Any
    ) -> int:
        key = self._insert(tables.experiments, name=name, created_ms=created_ms, updated_ms=updated_ms, **more)
        for tag, value in (tags or {}).items():
            self._insert(tables.experiment_tags, experiment_id=key, name=tag, value=value)
        return key

    def add_run(
        self,
        run_id: str,
        *,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        datasets: Sequence[tuple[str, str, str | None]] = (),
        **more: Any,
    ) -> int:
        columns = {"experiment_id": 0, "name": run_id, "status": "Completed", "user_id": "", "created_ms": 0, **more}
        run_pk = self._insert(tables.runs, run_id=run_id, **columns)
        for name, value in (metrics or {}).items():
            self.add_series(run_pk, name, value)
        for table, named in ((tables.run_params, params), (tables.run_tags, tags)):
            for name, text in (named or {}).items():
                self._insert(table, run_pk=run_pk, name=name, value=text)
        for name, digest, context in datasets:
            self._add_dataset(columns["experiment_id"], run_pk, name, digest, context)
        return run_pk

    def add_series(self, run_pk: int, name: str, value: float, value_type: int = tables.NUMBER) -> None:
        if value != value:
            value, value_type = 0.0, tables.NAN
        self._series_count += 1
        self._insert(
            tables.series,
            series_id=self._series_count,
            run_pk=run_pk,
            name=name,
            metric=name,
            column_name="",
            kind="scalar",
            last_step=0,
            last_timestamp_ms=0,
            last_value=value,
            last_value_type=value_type,
        )

    def _add_dataset(self, experiment_id: int, run_pk: int, name: str, digest: str, context: str | None) -> None:
        with self.database.read() as connection:
            row = connection.execute(
                tables.datasets.select().filter_by(experiment_id=experiment_id, name=name, digest=digest)
            ).first()
        dataset_id = (
            row.dataset_id
            if row
            else self._insert(
                tables.datasets, experiment_id=experiment_id, name=name, digest=digest, source_type="t", source="s"
            )
        )
        self._insert(tables.run_datasets, run_pk=run_pk, dataset_id=dataset_id)
        if context is not None:
            self._insert(
                tables.run_dataset_tags, run_pk=run_pk, dataset_id=dataset_id, name="mlflow.data.context", value=context
            )

    def add_model(self, name: str, *, updated_ms: int = 0, tags: Mapping[str, str] | None = None) -> int:
        key = self._insert(tables.registered_models, name=name, created_ms=0, updated_ms=updated_ms)
        for tag, value in (tags or {}).items():
            self._insert(tables.registered_model_tags, registered_pk=key, name=tag, value=value)
        return key

    def add_version(
        self, registered_pk: int, version: int, *, tags: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        columns = {"stage": "None", "source": "s", "status": "READY", "created_ms": 0, "updated_ms": 0, **more}
        columns.setdefault("storage_location", columns["source"])
        self._insert(tables.model_versions, registered_pk=registered_pk, version=version, **columns)
        for tag, value in (tags or {}).items():
            self._insert(tables.model_version_tags, registered_pk=registered_pk, version=version, name=tag, value=value)

    def add_logged_model(
        self,
        model_id: str,
        *,
        points: Sequence[Mapping[str, Any]] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        columns = {"experiment_id": 0, "name": "model", "status": "READY", "created_ms": 0, "updated_ms": 0, **more}
        model_pk = self._insert(tables.logged_models, model_id=model_id, **columns)
        for table, named in ((tables.logged_model_params, params), (tables.logged_model_tags, tags)):
            for name, value in (named or {}).items():
                self._insert(table, model_pk=model_pk, name=name, value=value)
        for point in points:
            row = {"dataset_name": "", "dataset_digest": "", "step": 0, "timestamp_ms": 0, "run_id": "r", **point}
            row["value_type"] = tables.NUMBER if row["value"] == row["value"] else tables.NAN
            if row["value_type"] == tables.NAN:
                row["value"] = 0.0
            self._insert(tables.logged_model_metrics, model_pk=model_pk, **row)

    def page(self, resource: str, **arguments: Any) -> tuple[list[Any], str | None]:
        """One page of `resource` (runs, experiments, …) as ids, and the next token."""
        arguments = {"filter": None, "order_by": (), "max_results": 1000, "page_token": None, **arguments}
        arguments["filter"] = GRAMMARS[resource].parse(arguments["filter"])
        if resource in ("runs", "experiments"):
            arguments.setdefault("view", View.ACTIVE)
        keys = []
        if resource in ("runs", "logged_models"):
            keys = [arguments.pop("experiment_keys", [0])]
        if resource == "logged_models":
            arguments.setdefault("datasets", ())
            arguments["order_by"] = [
                term if isinstance(term, OrderTerm) else OrderTerm(term) for term in arguments["order_by"]
            ]
        with self.database.read() as connection:
            rows, token = PAGE_OF[resource](connection, *keys, **arguments)
        return [_id(resource, row) for row in rows], token

    def search(self, resource: str, filter: str | None = None, order_by: Sequence[Any] = (), **more: Any) -> list[Any]:
        """All ids that a search finds."""
        ids, token = self.page(resource, filter=filter, order_by=order_by, **more)
        assert token is None
        return ids

    def search_by_pages(self, resource: str, size: int, **arguments: Any) -> list[Any]:
        """All ids that a search finds, asked for page by page."""
        found, token = self.page(resource, max_results=size, **arguments)
        while token:
            ids, token = self.page(resource, max_results=size, page_token=token, **arguments)
            assert ids
            found += ids
        return found


def _id(resource: str, row: Any) -> Any:
    if resource == "versions":
        return row.model_name, row.version
    column = {"runs": "run_id", "experiments": "name", "models": "name", "logged_models": "model_id"}[resource]
    return getattr(row, column)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    database = Database(tmp_path / "workspace")
    create_database(database)
    yield Records(database)
    database.close()


@pytest.fixture(scope="session")
def shared_records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Records]:
    """Records that the tests of a folder put there once and then only read."""
    database = Database(tmp_path_factory.mktemp("records") / "workspace")
    create_database(database)
    yield Records(database)
    database.close()
