"""Values of runs side by side, as charts over runs draw them, and searches that count what they find."""

import math

import pytest

from mlflow_amlstore.records.search.filter import Entity
from mlflow_amlstore.records.search.grammars import RUNS
from mlflow_amlstore.records.search.ordering import Of, Ordering
from mlflow_amlstore.records.store import RecordStore

LOSS = Ordering(Entity.METRIC, "loss")
LOWEST = Ordering(Entity.METRIC, "loss", of=Of.MIN)
RATE = Ordering(Entity.PARAM, "rate")
DURATION = Ordering(Entity.ATTRIBUTE, "duration")


@pytest.fixture
def logged(records: RecordStore) -> RecordStore:
    """Five runs; the last has no param, the first hasn't ended."""
    for number in range(5):
        run_id = f"r{number}"
        records.runs.create("0", run_id=run_id, name=f"run {number}", start_ms=1000 + number)
        points = [("loss", value, step, 1) for step, value in enumerate((9.0, float(number), 5.0))]
        records.runs.log(run_id, points=points, params=[("rate", f"0.{number}")] if number < 4 else [])
        if number:
            records.runs.update(run_id, end_ms=1000 + 100 * number)
    return records


def test_the_latest_started_come_first_and_those_that_lack_a_value_not_at_all(logged: RecordStore) -> None:
    found = logged.runs.values(None, wanted=[LOWEST, RATE])
    assert [(run.run_id, run.name, run.values) for run in found] == [
        (f"r{number}", f"run {number}", [float(number), f"0.{number}"]) for number in (3, 2, 1, 0)
    ]
    assert [run.run_id for run in logged.runs.values(None, wanted=[LOSS, DURATION])] == ["r4", "r3", "r2", "r1"]
    assert [run.run_id for run in logged.runs.values(None, wanted=[LOSS], max_results=2)] == ["r4", "r3"]


def test_they_are_of_the_runs_that_are_found_or_named(logged: RecordStore) -> None:
    found = logged.runs.values(["0"], filter=RUNS.parse("params.rate != '0.1'"), wanted=[RATE])
    assert [run.values for run in found] == [["0.3"], ["0.2"], ["0.0"]]
    assert [run.run_id for run in logged.runs.values(None, run_ids=["r1", "gone"], wanted=[RATE])] == ["r1"]
    assert logged.runs.values(None, run_ids=[], wanted=[RATE]) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_no_value(records: RecordStore, run_id: str, value: float) -> None:
    records.runs.log(run_id, points=[("loss", value, 0, 1)])
    assert records.runs.values(None, wanted=[LOSS]) == []


class TestCounted:
    def test_every_page_says_how_many_all_pages_have(self, logged: RecordStore) -> None:
        filter = RUNS.parse("metrics.loss = 5 and attributes.start_time > 1000")
        for order_by in ([], [LOWEST], [Ordering(Entity.PARAM, "rate", is_descending=True)], [DURATION]):
            seen, token = [], None
            for _ in range(4):
                page = logged.runs.search(
                    None, filter=filter, order_by=order_by, counts=True, max_results=1, page_token=token
                )
                assert page.found == 4 == logged.runs.count(None, filter=filter)
                seen += [run.info.run_id for run in page.items]
                token = page.next_token
            assert sorted(seen) == ["r1", "r2", "r3", "r4"]
            plain = logged.runs.search(None, filter=filter, order_by=order_by)
            assert [run.info.run_id for run in plain.items] == seen
            assert plain.found is None

    def test_nothing_is_found(self, logged: RecordStore) -> None:
        page = logged.runs.search(None, filter=RUNS.parse("metrics.loss < 0"), counts=True)
        assert (list(page.items), page.found) == ([], 0)


def test_the_names_of_all_runs_are_given_in_order(logged: RecordStore) -> None:
    other = logged.experiments.create("other")
    for place, user in enumerate(("zoe", 'it\'s "both"', "")):
        run = logged.runs.create(other, user_id=user)
        logged.runs.log(run.info.run_id, params=[(f"p{place}", "1")])
    names = logged.runs.names(None)
    assert names.people == ['it\'s "both"', "zoe"]
    assert names.metrics == ["loss"]
    assert names.params == ["p0", "p1", "p2", "rate"]
    assert logged.runs.names([other]).metrics == []
    assert logged.runs.names(None, max_results=1).params == ["p0"]
