"""Runs by the value of a param, with the mean and the deviation of metrics, and the mean curve of such runs."""

import math
import random
import statistics

import pytest

from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.records.search.filter import Entity
from mlflow_amlstore.records.search.grammars import RUNS
from mlflow_amlstore.records.search.ordering import Of, Ordering
from mlflow_amlstore.records.store import RecordStore


@pytest.fixture
def logged(records: RecordStore) -> dict[str, list[float]]:
    """Runs with a param of three values, one without it, and what each logged."""
    rng = random.Random(3)
    values = {}
    for number in range(13):
        run_id = f"r{number:02}"
        records.runs.create("0", run_id=run_id, start_ms=number // 2)
        values[run_id] = [rng.gauss(number, 1) for _ in range(20)]
        records.runs.log(
            run_id,
            points=[("m", value, step, 1) for step, value in enumerate(values[run_id])],
            params=[("p", "abc"[number % 3])] if number < 12 else [],
        )
    return values


@pytest.mark.parametrize(("of", "value"), [(Of.MIN, min), (Of.MAX, max), (Of.LAST, lambda values: values[-1])])
def test_a_group_has_the_mean_and_the_deviation_of_its_runs(
    records: RecordStore, logged: dict[str, list[float]], of: Of, value: object
) -> None:
    metric = Ordering(Entity.METRIC, "m", of=of)
    groups = {group.value: group for group in records.runs.groups(None, param="p", metrics=[metric])}
    assert {name: group.runs for name, group in groups.items()} == {"a": 4, "b": 4, "c": 4, None: 1}
    for place, name in enumerate("abc"):
        of_group = [value(values) for values in list(logged.values())[place:12:3]]  # type: ignore[operator]
        [(count, mean, deviation)] = groups[name].metrics
        assert count == 4
        assert mean == pytest.approx(statistics.mean(of_group))
        assert deviation == pytest.approx(statistics.stdev(of_group))
    assert groups[None].metrics[0][2] == 0.0


def test_large_numbers_that_differ_little_have_their_deviation(records: RecordStore) -> None:
    for number, value in enumerate([1e9, 1e9 + 1, 1e9 + 2]):
        records.runs.create("0", run_id=f"r{number}")
        records.runs.log(f"r{number}", points=[("m", value, 0, 1)], params=[("p", "x")])
    [group] = records.runs.groups(None, param="p", metrics=[Ordering(Entity.METRIC, "m")])
    assert group.metrics == [(3, 1e9 + 1, 1.0)]


def test_groups_that_lie_around_different_numbers_have_all_their_digits(records: RecordStore) -> None:
    logged = {
        "tiny": [1e-9, 3e-9],
        "large": [1e9, 1e9 + 2],
        "one": [4.62068e-16],
        "same": [0.1, 0.1, 0.1],
        "wide": [-1e308, 1e308, 1e308],
        "beyond": [-1.7e308, 1.7e308],
    }
    for name, values in logged.items():
        for number, value in enumerate(values):
            records.runs.create("0", run_id=f"{name}{number}")
            records.runs.log(f"{name}{number}", points=[("m", value, 0, 1)], params=[("p", name)])
    found = records.runs.groups(None, param="p", metrics=[Ordering(Entity.METRIC, "m")])
    groups = {group.value: group.metrics[0] for group in found}
    assert groups["tiny"] == (2, pytest.approx(2e-9, rel=1e-12), pytest.approx(statistics.stdev([1e-9, 3e-9])))
    assert groups["large"] == (2, 1e9 + 1, pytest.approx(2**0.5, rel=1e-12))
    assert groups["one"] == (1, 4.62068e-16, 0.0)
    assert groups["same"] == (3, 0.1, 0.0)
    assert groups["wide"] == (3, pytest.approx(1e308 / 3), pytest.approx(2 / 3**0.5 * 1e308))
    assert groups["beyond"] == (2, 0.0, None)


def test_what_is_no_finite_number_counts_for_nothing(records: RecordStore, run_id: str) -> None:
    records.runs.create("0", run_id="infinite")
    records.runs.log(run_id, points=[("m", math.nan, 0, 1)], params=[("p", "x")])
    records.runs.log("infinite", points=[("m", math.inf, 0, 1)], params=[("p", "x")])
    [group] = records.runs.groups(None, param="p", metrics=[Ordering(Entity.METRIC, "m")])
    assert (group.runs, group.metrics) == (2, [(0, None, None)])


def test_a_filter_chooses_what_is_grouped(records: RecordStore, logged: dict[str, list[float]]) -> None:
    groups = records.runs.groups(["0"], filter=RUNS.parse("params.p != 'a' and metrics.m > 5"), param="p")
    found = records.runs.search(["0"], filter=RUNS.parse("params.p != 'a' and metrics.m > 5")).items
    assert sum(group.runs for group in groups) == len(found)
    assert {group.value for group in groups} == {"b", "c"}


def test_a_mean_curve_counts_each_run_once_in_a_column(records: RecordStore, logged: dict[str, list[float]]) -> None:
    runs = ["r00", "r03"]
    [curve] = records.metrics.means([runs], "m", columns=20)
    both = [logged[run_id] for run_id in runs]
    assert (curve.runs, curve.points, curve.xs) == (2, 40, list(range(20)))
    assert curve.means == pytest.approx([statistics.mean(pair) for pair in zip(*both, strict=True)])
    assert curve.deviations == pytest.approx([statistics.stdev(pair) for pair in zip(*both, strict=True)])
    [coarse, none] = records.metrics.means([runs, ["unknown"]], "m", columns=2)
    assert coarse.xs == [0, 10]
    assert coarse.means[0] == pytest.approx(statistics.mean([statistics.mean(values[:10]) for values in both]))
    assert (none.runs, none.xs) == (0, [])


def test_the_runs_before_and_after_are_by_their_start(records: RecordStore, logged: dict[str, list[float]]) -> None:
    assert records.runs.beside("r00") == (None, "r01")  # of one start, by which came first
    assert records.runs.beside("r05") == ("r04", "r06")
    records.runs.delete("r06")
    assert records.runs.beside("r05") == ("r04", "r07")
    assert records.runs.beside("r12") == ("r11", None)
    with pytest.raises(NotFound):
        records.runs.beside("unknown")
