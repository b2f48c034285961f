"""Pages go on after the last row's values, so rows added meanwhile neither repeat nor hide any."""

import base64
import json
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, literal_column, select, text

from mlflow_amlstore.errors import PageTokenInvalid
from mlflow_amlstore.records.search.paging import SortTerm, after_key, decode_token, encode_token, sort_clauses
from mlflow_amlstore.records.types import View


def _add_runs(records: Any, prefix: str, count: int, chance: random.Random) -> None:
    for number in range(count):
        value = chance.choice([0.5, 1.0, 2.0, math.nan, math.inf, -math.inf, None])
        records.add_run(
            f"{prefix}{number}",
            start_ms=chance.choice([1, 2, None]),
            metrics={} if value is None else {"m": value},
            params={"p": chance.choice("xy")} if chance.random() < 0.7 else {},
        )


ORDERINGS = [
    [],
    ["metrics.m"],
    ["metrics.m DESC"],
    ["params.p DESC", "metrics.m"],
    ["start_time"],
    ["params.p", "start_time DESC", "run_id DESC"],
    ["status", "metrics.m DESC", "params.p"],
]


@pytest.mark.parametrize("order_by", ORDERINGS)
@pytest.mark.parametrize("size", [1, 4, 40])
def test_pages_make_up_the_whole(records: Any, order_by: list[str], size: int) -> None:
    _add_runs(records, "run", 30, random.Random(5))

    assert records.search_by_pages("runs", size, order_by=order_by) == records.search("runs", None, order_by)


@pytest.mark.parametrize("order_by", ORDERINGS)
def test_runs_added_between_pages_neither_repeat_nor_hide_any(records: Any, order_by: list[str]) -> None:
    chance = random.Random(6)
    _add_runs(records, "first", 20, chance)
    before = records.search("runs", None, order_by)

    found, token = records.page("runs", order_by=order_by, max_results=4)
    added = 0
    while token:
        _add_runs(records, f"later{added}-", 3, chance)
        added += 1
        ids, token = records.page("runs", order_by=order_by, max_results=4, page_token=token)
        found += ids

    assert len(set(found)) == len(found)
    assert [run_id for run_id in found if run_id.startswith("first")] == before
    assert found == [run_id for run_id in records.search("runs", None, order_by) if run_id in set(found)]


def test_a_page_that_ends_with_the_last_row_has_no_next(records: Any) -> None:
    for number in range(4):
        records.add_run(f"run{number}")

    first, token = records.page("runs", max_results=2)
    second, end = records.page("runs", max_results=2, page_token=token)

    assert (first, second, end) == (["run0", "run1"], ["run2", "run3"], None)
    assert records.page("runs", max_results=2, page_token="")[0] == first


def test_the_next_page_may_have_another_size(records: Any) -> None:
    for number in range(5):
        records.add_run(f"run{number}")

    _, token = records.page("runs", max_results=1)
    rest, end = records.page("runs", max_results=4, page_token=token)

    assert (rest, end) == (["run1", "run2", "run3", "run4"], None)


@pytest.mark.parametrize(
    "other",
    [
        {"filter": "start_time > 0"},
        {"order_by": ["run_id"]},
        {"experiment_keys": [0, 1]},
        {"view": View.ALL},
    ],
)
def test_a_token_of_another_search_is_refused(records: Any, other: dict[str, Any]) -> None:
    records.add_run("a")
    records.add_run("b")
    _, token = records.page("runs", max_results=1)

    with pytest.raises(PageTokenInvalid, match="belongs to a search with another filter, ordering or scope"):
        records.page("runs", max_results=1, page_token=token, **other)


def test_a_token_of_another_resource_is_refused(records: Any) -> None:
    records.add_experiment("e")
    _, token = records.page("experiments", max_results=1)

    with pytest.raises(PageTokenInvalid, match="another filter"):
        records.page("runs", page_token=token)


@given(st.one_of(st.text(), st.binary().map(lambda content: base64.urlsafe_b64encode(content).decode())))
def test_a_token_that_nobody_issued_is_refused(token: str) -> None:
    with pytest.raises(PageTokenInvalid):
        decode_token(token, "fingerprint", 2)


@pytest.mark.parametrize(
    "key", [[], ["a"], ["a", "b", "c"], ["a", []], ["a", True], ["a", math.nan], ["a", 2**63], ["a", "\ud800"]]
)
def test_a_forged_key_is_refused(key: list[Any]) -> None:
    token = base64.urlsafe_b64encode(json.dumps(["fingerprint", *key]).encode()).decode()

    with pytest.raises(PageTokenInvalid, match="is not a page token of this store"):
        decode_token(token, "fingerprint", 2)


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.text(),
            st.floats(allow_nan=False),
            st.integers(min_value=-(2**63), max_value=2**63 - 1),
        )
    ).map(tuple)
)
def test_a_token_keeps_its_key_and_is_safe_in_urls(key: tuple[Any, ...]) -> None:
    token = encode_token(key, "fingerprint")

    assert decode_token(token, "fingerprint", len(key)) == key
    assert token.isascii()
    assert not set(token) & set("+/&?#% ")


@pytest.mark.parametrize("is_descending", [False, True])
def test_an_ordering_of_any_statement_can_be_paged(is_descending: bool) -> None:
    number = SortTerm(literal_column("n"), is_descending, is_nullable=True)
    terms = [number, SortTerm(literal_column("id"))]
    with create_engine("sqlite://").connect() as connection:
        connection.execute(text("CREATE TABLE t (id INTEGER, n INTEGER)"))
        connection.execute(text("INSERT INTO t VALUES (1, 5), (2, NULL), (3, 7), (4, 5), (5, NULL)"))
        statement = select(literal_column("n"), literal_column("id")).select_from(text("t"))
        ordered = list(connection.execute(statement.order_by(*sort_clauses(terms))))
        for position, row in enumerate(ordered):
            rest = statement.where(after_key(terms, tuple(row))).order_by(*sort_clauses(terms))
            assert list(connection.execute(rest)) == ordered[position + 1 :]

    expected = [3, 1, 4, 2, 5] if is_descending else [1, 4, 3, 2, 5]
    assert [row.id for row in ordered] == expected
