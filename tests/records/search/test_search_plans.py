"""How SQLite and PostgreSQL are asked: by keys and indexes, and in words that both understand."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine.interfaces import CacheStats

from mlflow_amlstore.records import tables
from mlflow_amlstore.records.search.filter import NO_FILTER, Entity
from mlflow_amlstore.records.search.ordering import Of, Ordering
from mlflow_amlstore.records.search.paging import SortTerm, sort_clauses
from mlflow_amlstore.records.search.runs import page_of_runs
from mlflow_amlstore.records.types import View


@pytest.fixture
def statements() -> Iterator[list[tuple[str, Any, Any]]]:
    """What is sent to databases: the statement, its parameters, and whether SQLAlchemy had compiled it before."""
    sent: list[tuple[str, Any, Any]] = []

    def note(*call: Any) -> None:
        _, _, statement, parameters, context, _ = call
        sent.append((statement, parameters, context.cache_hit))

    event.listen(Engine, "before_cursor_execute", note)
    yield sent
    event.remove(Engine, "before_cursor_execute", note)


def _plan(records: Any, statement: str, parameters: Any) -> list[str]:
    with records.database.read() as connection:
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]


SEARCHES = [
    ("runs", None, ()),
    ("runs", "metrics.m > 0.5 AND params.p = 'x'", ["metrics.m DESC"]),
    ("runs", "tags.t LIKE 'x%' AND params.q IS NULL", ["params.p", "tags.u DESC"]),
    ("runs", "dataset.name = 'iris' AND dataset.context != 'train'", ()),
    ("logged_models", "metrics.acc > 0.5 AND tags.t = 'x'", ["metrics.acc"]),
]


@pytest.mark.parametrize(("resource", "filter", "order_by"), SEARCHES)
def test_no_table_is_read_from_end_to_end(
    records: Any, statements: list[Any], resource: str, filter: str | None, order_by: Any
) -> None:
    records.search(resource, filter, order_by)
    statement, parameters, _ = statements[-1]

    steps = _plan(records, statement, parameters)

    assert any(step.startswith("SEARCH") for step in steps)
    assert not [step for step in steps if step.startswith("SCAN")]


def test_the_default_order_of_runs_is_read_from_an_index(records: Any, statements: list[Any]) -> None:
    records.search("runs")
    statement, parameters, _ = statements[-1]

    steps = _plan(records, statement, parameters)

    assert "ix_runs_experiment_id_start_ms" in steps[0]
    assert "USE TEMP B-TREE FOR ORDER BY" not in steps


def test_all_runs_of_a_workspace_are_read_as_they_lie_or_in_the_order_asked_for(
    records: Any, statements: list[Any]
) -> None:
    for order_by, way in (
        ((), "ix_runs_start_ms_run_id"),
        (["metrics.m"], "INTEGER PRIMARY KEY"),
        ([Ordering(Entity.METRIC, "m", of=Of.MIN)], "INTEGER PRIMARY KEY"),
    ):
        for only_top in (False, True):
            with records.database.read() as connection:
                page_of_runs(
                    connection,
                    None,
                    view=View.ACTIVE,
                    filter=NO_FILTER,
                    order_by=order_by,
                    only_top=only_top,
                    max_results=50,
                    page_token=None,
                )
            statement, parameters, _ = statements[-1]

            assert way in _plan(records, statement, parameters)[0]


def test_the_same_search_with_other_values_is_compiled_once(records: Any, statements: list[Any]) -> None:
    records.search("runs", "metrics.m > 0.5 AND params.p = 'x'", ["metrics.m DESC"])
    records.search("runs", "metrics.n > 0.7 AND params.q = 'y'", ["metrics.n DESC"])

    assert statements[-1][2] is CacheStats.CACHE_HIT


def test_postgresql_is_told_that_null_comes_last() -> None:
    started = SortTerm(tables.runs.c.start_ms, is_descending=True, is_nullable=True)

    clauses = [str(clause.compile(dialect=postgresql.dialect())) for clause in sort_clauses([started])]

    assert clauses == ["runs.start_ms DESC NULLS LAST"]
