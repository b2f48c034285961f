"""The store's statements are SQLite's and PostgreSQL's alike, and what they say differently is in one place."""

import gc
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
from sqlalchemy import Dialect, bindparam, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

import mlflow_amlstore.records.sql
from mlflow_amlstore.records import tables
from mlflow_amlstore.records.dialects import Pattern, insert_new, insert_or_set, key_list, keys_in, locked, pairs_in
from mlflow_amlstore.records.sql.driver_statement import BulkStatement, DriverStatement

POSTGRESQL, SQLITE = postgresql.dialect(paramstyle="format"), sqlite.dialect(paramstyle="qmark")
RECORDS = Path(mlflow_amlstore.records.sql.__file__).parents[1]


def _compiled(statement: object, dialect: Dialect) -> str:
    return re.sub(r"\s+", " ", str(statement.compile(dialect=dialect)))  # type: ignore[attr-defined]


def test_few_modules_know_which_databases_there_are() -> None:
    knows = re.compile(r"^(?:import sqlite3|from sqlite3|from sqlalchemy\.dialects)|[\"']postgresql[\"']", re.MULTILINE)
    found = {path.name for path in RECORDS.rglob("*.py") if knows.search(path.read_text())}

    assert found - {path.name for path in (RECORDS / "migrations").rglob("*.py")} == {
        "database.py",  # transactions and connections of SQLite
        "dialects.py",
        "driver_statement.py",  # what type a cursor has
        "sqlite.py",
    }


def test_every_statement_that_goes_to_the_driver_is_compiled_for_postgresql_too() -> None:
    for module in pkgutil.iter_modules(mlflow_amlstore.records.sql.__path__):
        importlib.import_module(f"{mlflow_amlstore.records.sql.__name__}.{module.name}")
    statements = [found for found in gc.get_objects() if isinstance(found, DriverStatement)]
    statements += [found._of_size(10) for found in gc.get_objects() if isinstance(found, BulkStatement)]

    for statement in statements:
        assert "?" in statement._compile(SQLITE) or not statement.width
        assert "%s" in statement._compile(POSTGRESQL) or not statement.width
    assert len(statements) > 40


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRESQL], ids=["sqlite", "postgresql"])
def test_a_row_whose_key_is_taken_is_left_or_set_by_the_insert_itself(dialect: Dialect) -> None:
    left = _compiled(insert_new(tables.run_tags), dialect)
    set_ = _compiled(insert_or_set(tables.run_tags, ["value"], only_if=lambda new: new.value > "b"), dialect)

    assert left.endswith(" ON CONFLICT DO NOTHING")
    assert " ON CONFLICT (run_pk, name) DO UPDATE SET value = excluded.value WHERE excluded.value > " in set_


def test_keys_are_a_list_of_any_length_in_one_value() -> None:
    version = tables.model_versions.c
    of_runs = select(tables.runs.c.run_id).where(tables.runs.c.run_pk.in_(keys_in()))
    of_versions = select(version.source).where(tuple_(version.registered_pk, version.version).in_(pairs_in()))

    assert key_list([1, 2]) == "[1, 2]"
    assert "FROM json_each(?)" in _compiled(of_runs, SQLITE)
    assert "FROM json_array_elements_text(CAST(%s" in _compiled(of_runs, POSTGRESQL)
    assert "json_extract(" in _compiled(of_versions, SQLITE)
    assert "AS JSON) ->> 1)" in _compiled(of_versions, POSTGRESQL)


def test_a_row_is_locked_where_others_could_write_too() -> None:
    statement = locked(select(tables.runs.c.run_pk))

    assert _compiled(statement, SQLITE) == "SELECT runs.run_pk FROM runs"
    assert _compiled(statement, POSTGRESQL) == "SELECT runs.run_pk FROM runs FOR NO KEY UPDATE"


def test_a_backslash_in_a_pattern_is_a_backslash() -> None:
    pattern = bindparam("pattern", type_=Pattern)

    assert pattern.type.bind_processor(SQLITE)("a\\_") == "a\\_"
    assert pattern.type.bind_processor(POSTGRESQL)("a\\_") == "a\\\\_"


def test_text_is_compared_by_its_bytes() -> None:
    assert tables.files.c.path.type.compile(POSTGRESQL) == 'TEXT COLLATE "C"'
    assert tables.files.c.path.type.compile(SQLITE) == "TEXT"
