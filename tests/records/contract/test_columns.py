"""What the `Run` vocabulary logs into any record store, and what MLflow sees of it."""

import math
from collections.abc import Iterable, Mapping

import pytest

from mlflow_amlstore.errors import Deleted, InvalidValue, NotFound
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import Cell, MetricKind, MetricRecord


def latest(records: RecordStore, run_id: str) -> dict[str, float]:
    return {point.name: point.value for point in records.runs.get(run_id).metrics}


def log(
    records: RecordStore,
    run_id: str,
    name: str,
    kind: MetricKind,
    cells: Cell | Mapping[str, Iterable[Cell]],
    *,
    step: int | None = None,
    timestamp_ms: int = 100,
) -> None:
    columns = {column: list(values) for column, values in cells.items()} if isinstance(cells, Mapping) else cells
    records.metrics.log_values(run_id, [(name, kind, columns, step, timestamp_ms)])


def series(records: RecordStore, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in records.metrics.history(run_id, name).items]


def test_scalars_of_one_name_are_read_back_in_the_order_they_were_logged(records: RecordStore, run_id: str) -> None:
    records.runs.log(run_id, points=[("loss", 0.5, 2, 20), ("loss", 0.7, 1, 10), ("acc", 1, 0, 0)])
    assert records.metrics.list_metrics(run_id) == [
        MetricRecord("loss", MetricKind.SCALAR, {"": [0.7, 0.5]}),
        MetricRecord("acc", MetricKind.SCALAR, {"": [1.0]}),
    ]


@pytest.mark.parametrize("value", [3, 3.0, True, False, None, "text", "", "NaN", 2**53 + 1, -(2**100), math.inf])
def test_a_scalar_is_read_back_as_what_it_was(records: RecordStore, run_id: str, value: Cell) -> None:
    log(records, run_id, "m", MetricKind.SCALAR, value)
    [found] = records.metrics.list_metrics(run_id)
    assert repr(found.columns) == repr({"": [value]})


def test_a_scalar_logged_again_is_a_vector_with_each_value_kept_even_if_equal(
    records: RecordStore, run_id: str
) -> None:
    records.metrics.log_values(run_id, [("m", MetricKind.SCALAR, value, None, 5) for value in (1.0, 1.0, 0.5, 1.0)])
    log(records, run_id, "m", MetricKind.SCALAR, 1.0, timestamp_ms=5)
    log(records, run_id, "m", MetricKind.LIST, {"": [2.0, 3.0]}, timestamp_ms=6)
    assert records.metrics.list_metrics(run_id) == [
        MetricRecord("m", MetricKind.SCALAR, {"": [1.0, 1.0, 0.5, 1.0, 1.0, 2.0, 3.0]})
    ]
    assert series(records, run_id, "m") == [(0, 1.0), (1, 1.0), (2, 0.5), (3, 1.0), (4, 1.0), (5, 2.0), (6, 3.0)]


def test_a_step_that_is_given_is_the_step_that_mlflow_sees(records: RecordStore, run_id: str) -> None:
    log(records, run_id, "m", MetricKind.SCALAR, 1, step=10)
    log(records, run_id, "m", MetricKind.SCALAR, True, step=-5)
    assert series(records, run_id, "m") == [(-5, 1.0), (10, 1.0)]
    assert latest(records, run_id) == {"m": 1.0}
    [found] = records.metrics.list_metrics(run_id, "m", with_times=True)
    assert (repr(found.columns), found.steps, found.times_ms) == (repr({"": [1, True]}), [10, -5], [100, 100])


def test_names_may_be_any_text(records: RecordStore, run_id: str) -> None:
    names = ["Accuracy (%)", "µ/σ²", "a.b", "../up", "x" * 300, "名前 🎉"]
    for name in names:
        log(records, run_id, name, MetricKind.SCALAR, 1.0)
        log(records, run_id, f"table {name}"[:300], MetricKind.ROW, {name: [2.0]})
    assert records.metrics.list_names(run_id)[::2] == [(name, MetricKind.SCALAR) for name in names]
    assert set(latest(records, run_id)) >= set(names)


def test_a_list_keeps_its_order_and_its_repeated_values(records: RecordStore, run_id: str) -> None:
    log(records, run_id, "fib", MetricKind.LIST, {"": (value for value in [1, 1, 2, 1])})
    assert records.metrics.list_metrics(run_id) == [MetricRecord("fib", MetricKind.LIST, {"": [1.0, 1.0, 2.0, 1.0]})]


def test_a_list_logged_again_goes_on_even_if_the_clock_went_back(records: RecordStore, run_id: str) -> None:
    log(records, run_id, "l", MetricKind.LIST, {"": [3, 2]}, timestamp_ms=50)
    log(records, run_id, "l", MetricKind.LIST, {"": [1]}, timestamp_ms=40)
    assert records.metrics.list_metrics(run_id) == [MetricRecord("l", MetricKind.LIST, {"": [3.0, 2.0, 1.0]})]


def test_a_list_may_hold_strings_and_any_number(records: RecordStore, run_id: str) -> None:
    log(records, run_id, "l", MetricKind.LIST, {"": ["a", 1, "", math.inf, "Żółć", math.nan]})
    [found] = records.metrics.list_metrics(run_id)
    assert repr(found.columns) == repr({"": ["a", 1, "", math.inf, "Żółć", math.nan]})


def test_mlflow_sees_the_numbers_of_a_list_by_their_position(records: RecordStore, run_id: str) -> None:
    log(records, run_id, "l", MetricKind.LIST, {"": [5, "text", 6]})
    assert series(records, run_id, "l") == [(0, 5.0), (2, 6.0)]
    assert latest(records, run_id) == {"l": 6.0}


def test_a_list_that_ends_with_text_still_has_a_latest_number(records: RecordStore, run_id: str) -> None:
    log(records, run_id, "l", MetricKind.LIST, {"": [5, "text"]})
    assert latest(records, run_id) == {"l": 5.0}
    log(records, run_id, "l", MetricKind.LIST, {"": ["text"]})
    assert latest(records, run_id) == {"l": 5.0}


def test_a_metric_of_text_alone_is_nothing_to_mlflow(records: RecordStore, run_id: str) -> None:
    log(records, run_id, "note", MetricKind.SCALAR, "hello")
    assert latest(records, run_id) == {}
    assert series(records, run_id, "note") == []
    assert records.metrics.list_metrics(run_id) == [MetricRecord("note", MetricKind.SCALAR, {"": ["hello"]})]


def test_a_row_is_a_table_of_one_row_that_grows_by_more_rows(records: RecordStore, run_id: str) -> None:
    for x, y in [(1, "a"), (2, "b"), (3, "c")]:
        log(records, run_id, "pairs", MetricKind.ROW, {"x": [x], "y": [y]})

    assert records.metrics.list_metrics(run_id) == [
        MetricRecord("pairs", MetricKind.ROW, {"x": [1.0, 2.0, 3.0], "y": ["a", "b", "c"]})
    ]
    assert series(records, run_id, "pairs.x") == [(0, 1.0), (1, 2.0), (2, 3.0)]
    assert latest(records, run_id) == {"pairs.x": 3.0}


def test_a_table_is_read_back_by_column_and_goes_on_when_logged_again(records: RecordStore, run_id: str) -> None:
    log(records, run_id, "t", MetricKind.TABLE, {"x": [1, 2], "y": [0.5, 0.5]})
    log(records, run_id, "t", MetricKind.TABLE, {"x": [3], "y": [0.5]})
    assert records.metrics.list_metrics(run_id) == [
        MetricRecord("t", MetricKind.TABLE, {"x": [1.0, 2.0, 3.0], "y": [0.5, 0.5, 0.5]})
    ]
    assert series(records, run_id, "t.y") == [(0, 0.5), (1, 0.5), (2, 0.5)]


def test_an_empty_table_is_nothing(records: RecordStore, run_id: str) -> None:
    log(records, run_id, "t", MetricKind.TABLE, {"x": [], "y": []})
    assert records.metrics.list_metrics(run_id) == []
    assert latest(records, run_id) == {}


def test_rows_with_other_columns_stay_aligned_and_missing_cells_read_as_nan(records: RecordStore, run_id: str) -> None:
    log(records, run_id, "t", MetricKind.ROW, {"x": [1], "y": [10]})
    log(records, run_id, "t", MetricKind.ROW, {"x": [2], "z": ["late"]})
    log(records, run_id, "t", MetricKind.ROW, {"y": [30]})

    [found] = records.metrics.list_metrics(run_id)
    nan = math.nan
    assert repr(found.columns) == repr({"x": [1, 2, nan], "y": [10, nan, 30], "z": [nan, "late", nan]})
    assert series(records, run_id, "t.y") == [(0, 10.0), (2, 30.0)]


def test_two_callers_rows_are_never_mixed(records: RecordStore, run_id: str) -> None:
    log(records, run_id, "t", MetricKind.TABLE, {"x": [1, 1, 1], "y": [2, 2, 2]}, timestamp_ms=7)
    log(records, run_id, "t", MetricKind.TABLE, {"x": [1, 1, 1], "y": [2, 2, 2]}, timestamp_ms=7)
    [found] = records.metrics.list_metrics(run_id)
    assert {column: len(cells) for column, cells in found.columns.items()} == {"x": 6, "y": 6}


@pytest.mark.parametrize(
    ("kind", "columns", "problem"),
    [
        (MetricKind.TABLE, {"x": [1, 2], "y": [1]}, r"\{'x': 2, 'y': 1\} .*columns must be of equal length"),
        (MetricKind.TABLE, {}, "must have at least one column"),
        (MetricKind.TABLE, {"": [1]}, "'' for column of metric 'm': a name must be given"),
        (MetricKind.LIST, {"x": [1]}, 'a list has one column, ""'),
        (MetricKind.ROW, {"a\nb": [1]}, "column of metric 'm': names may not contain control characters"),
        (MetricKind.ROW, {"a": [1, 2]}, "a row has one cell in each column"),
        (MetricKind.TABLE, {"x": [1, [2]]}, r"\[2\] for metric 'm', column 'x': must be a number, a boolean, a string"),
        (MetricKind.SCALAR, {"x": [1]}, "must be a number, a boolean, a string or None"),
        (MetricKind.SCALAR, 2**2000, "an integer of 2001 bits.* must fit in a 64-bit float"),
        (MetricKind.SCALAR, "half \ud800", "must be valid Unicode"),
        (MetricKind.IMAGE, {"": ["../up.png"]}, "must not climb out"),
    ],
)
def test_a_bad_shape_or_cell_is_refused_and_leaves_nothing(
    records: RecordStore, run_id: str, kind: MetricKind, columns: Cell | dict[str, list[Cell]], problem: str
) -> None:
    with pytest.raises(InvalidValue, match=problem):
        log(records, run_id, "m", kind, columns)
    assert records.metrics.list_metrics(run_id) == []


def test_a_name_keeps_its_kind(records: RecordStore, run_id: str) -> None:
    log(records, run_id, "l", MetricKind.LIST, {"": [1]})
    log(records, run_id, "t", MetricKind.TABLE, {"x": [1]})
    log(records, run_id, "cm", MetricKind.CONFUSION_MATRIX, {"": ["cm.json"]})
    for name, kind, columns, problem in [
        ("l", MetricKind.IMAGE, {"": ["a.png"]}, "'l' for metric: is already logged as a list; choose another name"),
        ("cm", MetricKind.ROW, {"x": [1]}, "is already logged as a confusion matrix; choose another name for the row"),
        ("t", MetricKind.SCALAR, 1.0, "'t' for metric: is already logged as a table; choose another name"),
        ("l", MetricKind.TABLE, {"x": [1]}, "'l' for metric: is already logged as a list; choose another name"),
        ("t", MetricKind.LIST, {"": [1]}, "'t' for metric: is already logged as a table; choose another name"),
        ("t.x", MetricKind.LIST, {"": [1]}, "MLflow would see it as 't.x', which the table 't' is"),
    ]:
        with pytest.raises(InvalidValue, match=problem):
            log(records, run_id, name, kind, columns)
    assert [found.name for found in records.metrics.list_metrics(run_id)] == ["l", "t", "cm"]


def test_a_scalar_that_mlflow_logs_under_a_tables_name_is_a_row_at_its_end(records: RecordStore, run_id: str) -> None:
    log(records, run_id, "t", MetricKind.TABLE, {"x": [1]})
    records.runs.log(run_id, points=[("t", 5.0, 0, 0)])
    log(records, run_id, "t", MetricKind.ROW, {"x": [2]})
    [found] = records.metrics.list_metrics(run_id)
    assert (found.name, found.kind) == ("t", MetricKind.TABLE)
    assert repr(found.columns) == repr({"x": [1, 2, math.nan], "": [math.nan, math.nan, 5.0]})


def test_a_point_that_mlflow_logs_into_a_column_takes_a_row_of_its_own(records: RecordStore, run_id: str) -> None:
    log(records, run_id, "t", MetricKind.TABLE, {"x": [1], "y": ["a"]})
    records.runs.log(run_id, points=[("t.x", 7.0, 9, 9)])
    log(records, run_id, "t", MetricKind.ROW, {"x": [2], "y": ["b"]})
    [found] = records.metrics.list_metrics(run_id)
    assert repr(found.columns) == repr({"x": [7.0, 1, 2], "y": [math.nan, "a", "b"]})
    assert latest(records, run_id) == {"t.x": 7.0}


def test_columns_of_a_deleted_or_unknown_run_are_refused(records: RecordStore, run_id: str) -> None:
    records.runs.delete(run_id)
    with pytest.raises(Deleted):
        log(records, run_id, "l", MetricKind.LIST, {"": [1]})
    with pytest.raises(NotFound):
        log(records, "gone", "l", MetricKind.LIST, {"": [1]})
