"""What `Run` logs, how it reads back, and what MLflow sees of it."""

import decimal
import enum
import fractions
import io
import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from mlflow_amlstore.core import Experiment, Run, Workspace
from mlflow_amlstore.core.buffered_log import buffered_log
from mlflow_amlstore.errors import AmlStoreError, InvalidValue
from mlflow_amlstore.service.run_history.metrics import PAGE_VALUES

mpl.use("agg")

CONFUSION = {
    "schema_type": "confusion_matrix",
    "schema_version": "1.0.0",
    "data": {"class_labels": ["a", "b"], "matrix": [[3, 1], [0, 2]]},
}
ACCURACY = {
    "schema_type": "accuracy_table",
    "schema_version": "1.0.1",
    "data": {
        "probability_tables": [[[4, 6, 0, 0], [0, 0, 6, 4]]],
        "percentile_tables": [[[4, 6, 0, 0], [1, 0, 6, 3]]],
        "probability_thresholds": [0.0, 1.0],
        "percentile_thresholds": [0.0, 0.9],
        "class_labels": ["a"],
    },
}
RESIDUALS = {
    "schema_type": "residuals",
    "schema_version": "1.0.0",
    "data": {"bin_edges": [50, 100, 200, 350], "bin_counts": [0.88, 20, 50.99]},
}
PREDICTIONS = {
    "schema_type": "predictions",
    "schema_version": "1.0.0",
    "data": {
        "bin_averages": [0.25, 0.75],
        "bin_errors": [0.013, math.nan],
        "bin_counts": [56, 34],
        "bin_edges": [0.0, 0.5, 1.0],
    },
}
DOCUMENTS = {
    "log_confusion_matrix": CONFUSION,
    "log_accuracy_table": ACCURACY,
    "log_residuals": RESIDUALS,
    "log_predictions": PREDICTIONS,
}

EACH_KIND = pytest.mark.parametrize("ws", ["embedded", "served"], indirect=True)


class Color(str, enum.Enum):
    RED = "red"


@pytest.fixture
def mlflow_client(ws: Workspace) -> MlflowClient:
    return MlflowClient(ws.get_mlflow_tracking_uri())


def history(client: MlflowClient, run: Run, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run.id, name)]


def assert_same(found: object, expected: object) -> None:
    """Equal, NaN to NaN too."""
    assert repr(found) == repr(expected)


@EACH_KIND
class TestScalars:
    @pytest.mark.parametrize(
        ("value", "kept"),
        [
            (0.5, 0.5),
            (3, 3),
            (True, True),
            ("warm-up", "warm-up"),
            ("NaN", "NaN"),
            (None, None),
            (2**60 + 1, 2**60 + 1),
            (math.inf, math.inf),
            (np.float32(0.5), 0.5),
            (np.float64(0.5), 0.5),
            (np.int64(3), 3),
            (np.bool_(True), True),
            (np.str_("text"), "text"),
            (np.array(0.5), 0.5),
            (np.array([0.5]), 0.5),
            (pd.Series([7]).iloc[0], 7),
            (pd.NA, None),
            (decimal.Decimal("0.5"), 0.5),
            (fractions.Fraction(1, 2), 0.5),
            (Color.RED, "red"),
        ],
    )
    def test_one_value_is_read_back_as_that_value(self, run: Run, value: object, kept: object) -> None:
        run.log("m", value)
        found = run.get_metrics()["m"]
        assert (found, type(found)) == (kept, type(kept))

    def test_values_logged_again_become_a_vector(self, run: Run) -> None:
        for value in (1, 1, "three", 0.5):
            run.log("m", value)
        assert run.get_metrics("m") == {"m": [1, 1, "three", 0.5]}

    def test_zero_has_no_sign(self, run: Run) -> None:
        run.log("zero", -0.0)
        run.log_list("zeros", [-0.0, 1.5])
        run.log_row("row", zero=-0.0, text="a")
        assert repr(run.get_metrics()) == "{'zero': 0.0, 'zeros': [0.0, 1.5], 'row': {'zero': 0.0, 'text': 'a'}}"

    def test_nothing_logged_is_nothing(self, run: Run, mlflow_client: MlflowClient) -> None:
        run.log_list("list", [])
        run.log_table("table", {"x": [], "y": []})
        assert run.get_metrics() == run.get_metrics("list") == {}
        assert mlflow_client.get_run(run.id).data.metrics == {}
        run.log_list("list", [1])
        run.log_table("table", {"x": [1], "z": [2]})
        assert run.get_metrics() == {"list": 1, "table": {"x": 1, "z": 2}}
        with pytest.raises(InvalidValue, match=r"metric 'none': must have at least one column"):
            run.log_table("none", {})
        with pytest.raises(InvalidValue, match=r"metric 'none': must have at least one column"):
            run.log_row("none")

    def test_nan_is_kept(self, run: Run) -> None:
        run.log("m", math.nan)
        assert math.isnan(run.get_metrics()["m"])

    def test_mlflow_sees_numbers_by_step_or_position(self, run: Run, mlflow_client: MlflowClient) -> None:
        for value in (0.5, True, "no number", 2):
            run.log("m", value)
        run.log("at", 0.5, step=np.int64(10))  # type: ignore[arg-type]  # as loops over NumPy's ranges give it
        run.flush()
        assert history(mlflow_client, run, "m") == [(0, 0.5), (1, 1.0), (3, 2.0)]
        assert history(mlflow_client, run, "at") == [(10, 0.5)]
        assert mlflow_client.get_run(run.id).data.metrics == {"m": 2.0, "at": 0.5}

    def test_what_mlflow_logged_is_in_the_run_too(self, run: Run, mlflow_client: MlflowClient) -> None:
        for step, value in enumerate((0.5, 0.25)):
            mlflow_client.log_metric(run.id, "mse", value, step=step)
        mlflow_client.log_param(run.id, "alpha", 0.03)
        run.log("mse", 0.1)
        assert run.get_metrics() == {"mse": [0.5, 0.25, 0.1]}
        assert run.get_details()["params"] == {"alpha": "0.03"}


@EACH_KIND
class TestLists:
    @pytest.mark.parametrize(
        ("value", "kept"),
        [
            ([1, 2.5, "x", None], [1, 2.5, "x", None]),
            (lambda: (n * n for n in range(3)), [0, 1, 4]),
            (range(3), [0, 1, 2]),
            (np.array([1.5, 2.5]), [1.5, 2.5]),
            (pd.Series([1, 2]), [1, 2]),
            ([np.float32(0.5), np.int8(2)], [0.5, 2]),
        ],
    )
    def test_any_iterable_of_values_is_a_list(self, run: Run, value: Any, kept: list[object]) -> None:
        run.log_list("l", value() if callable(value) else value)
        assert run.get_metrics() == {"l": kept}

    def test_mlflow_sees_a_list_by_position(self, run: Run, mlflow_client: MlflowClient) -> None:
        run.log_list("l", [5, "text", 7])
        run.log_list("l", [8])
        run.flush()
        assert history(mlflow_client, run, "l") == [(0, 5.0), (2, 7.0), (3, 8.0)]


@EACH_KIND
class TestNumbersThatJsonHasNot:
    MIXED = pytest.mark.parametrize(
        "cells",
        [
            ["a", math.nan, math.inf, -math.inf],
            ["NaN", math.nan, "Infinity", math.inf, "-Infinity", -math.inf, "nan"],
            [True, math.nan, False, -math.inf],
            [None, math.nan],
            [1, math.inf, "NaN", None, True, math.nan, 0.5],
            [1, math.nan, 0.5],
        ],
        ids=repr,
    )

    @MIXED
    def test_in_a_list_they_are_numbers_and_texts_are_texts(self, run: Run, cells: list[object]) -> None:
        run.log_list("l", cells)
        assert repr(run.get_metrics()["l"]) == repr(cells)

    @MIXED
    def test_in_a_vector_too(self, run: Run, cells: list[object]) -> None:
        for cell in cells:
            run.log("m", cell)
        assert repr(run.get_metrics()["m"]) == repr(cells)

    def test_on_a_page_after_another_too(self, run: Run) -> None:
        cells = [*range(PAGE_VALUES), math.nan, 0.5]
        run.log_list("l", cells)
        assert repr(run.get_metrics()["l"]) == repr(cells)

    @MIXED
    def test_in_a_table_too(self, run: Run, cells: list[object]) -> None:
        run.log_table("t", {"x": cells, "y": cells[::-1], "z": list(range(len(cells)))})
        run.log_row("r", x=cells[1], y=cells[0])
        assert repr(run.get_metrics()) == repr(
            {
                "t": {"x": cells, "y": cells[::-1], "z": list(range(len(cells)))},
                "r": {"x": cells[1], "y": cells[0]},
            }
        )


@EACH_KIND
class TestRowsAndTables:
    def test_a_row_logged_once_is_a_tuple_and_in_a_loop_a_table(self, run: Run) -> None:
        run.log_row("r", description="ignored", angle=1, error="x")
        assert run.get_metrics() == {"r": {"angle": 1, "error": "x"}}
        run.log_row("r", angle=np.float64(2.5), error="y")
        assert run.get_metrics() == {"r": {"angle": [1, 2.5], "error": ["x", "y"]}}

    def test_a_table_is_columns_of_a_dict_or_a_data_frame(self, run: Run) -> None:
        run.log_table("t", {"x": [1, 2], "y": np.array([0.5, 0.25])})
        run.log_table("f", pd.DataFrame({"x": [1, 2], 7: ["a", "b"]}))
        assert run.get_metrics() == {"t": {"x": [1, 2], "y": [0.5, 0.25]}, "f": {"x": [1, 2], "7": ["a", "b"]}}

    def test_a_table_of_values_is_one_row(self, run: Run) -> None:
        run.log_table("t", {"x": np.float32(0.5), "y": "a"})
        assert run.get_metrics() == {"t": {"x": 0.5, "y": "a"}}

    def test_a_cell_that_was_not_logged_is_nan_among_texts_too(self, run: Run) -> None:
        run.log_row("epochs", note="first", score=0.5)
        run.log_row("epochs", score=0.75)
        epochs = run.get_metrics("epochs")["epochs"]
        assert (epochs["score"], epochs["note"][0]) == ([0.5, 0.75], "first")
        assert math.isnan(epochs["note"][1])

    def test_mlflow_sees_one_history_for_each_numeric_column(self, run: Run, mlflow_client: MlflowClient) -> None:
        for n in range(3):
            run.log_row("r", x=n, note="text")
        run.flush()
        assert history(mlflow_client, run, "r.x") == [(0, 0.0), (1, 1.0), (2, 2.0)]
        assert mlflow_client.get_run(run.id).data.metrics == {"r.x": 2.0}

    @pytest.mark.parametrize("mlflow_is_first", [True, False])
    def test_what_mlflow_logs_under_a_tables_name_is_a_row_at_its_end(
        self, run: Run, mlflow_client: MlflowClient, mlflow_is_first: bool
    ) -> None:
        if mlflow_is_first:
            mlflow_client.log_metric(run.id, "t", 5)
        run.log_row("t", t=1, word="a")  # a column may have the table's name
        run.flush()
        if not mlflow_is_first:
            mlflow_client.log_metric(run.id, "t", 5)
        assert_same(run.get_metrics("t"), {"t": {"t": [1, math.nan], "word": ["a", math.nan], "": [math.nan, 5.0]}})
        run.log_row("t", t=2, word="b")
        mlflow_client.log_metric(run.id, "t", 6, step=1)
        table = {
            "t": [1, 2, math.nan, math.nan],
            "word": ["a", "b", math.nan, math.nan],
            "": [math.nan, math.nan, 5.0, 6.0],
        }
        assert_same(run.get_metrics(), {"t": table})
        assert history(mlflow_client, run, "t") == [(0, 5.0), (1, 6.0)]
        assert history(mlflow_client, run, "t.t") == [(0, 1.0), (1, 2.0)]

    def test_a_scalar_of_the_run_s_own_is_refused_under_a_tables_name_although_mlflow_has_one(
        self, run: Run, experiment: Experiment, mlflow_client: MlflowClient
    ) -> None:
        mlflow_client.log_metric(run.id, "t", 5)
        run.log_row("t", n=1)
        run.flush()
        other_process = buffered_log(run.experiment.workspace.records.metrics, run.id)
        other_process.kinds.clear()  # which knows nothing of the row
        run.log("t", 6)
        with pytest.raises(AmlStoreError, match="is already logged as a row; choose another name for the scalar"):
            run.flush()
        assert_same(run.get_metrics(), {"t": {"n": [1, math.nan], "": [math.nan, 5.0]}})


@EACH_KIND
class TestImages:
    def test_an_image_file_is_a_file_of_the_run_and_its_address_the_value(
        self, run: Run, tmp_path: Path, mlflow_client: MlflowClient
    ) -> None:
        (tmp_path / "plot.jpg").write_bytes(b"jpeg")
        run.log_image("a / plot: é", path=str(tmp_path / "plot.jpg"))
        [name] = run.get_file_names()
        assert name.endswith(".jpg")
        assert run.get_metrics() == {"a / plot: é": f"aml://artifactId/ExperimentRun/dcid.{run.id}/{name}"}
        run.download_file(name, tmp_path / "back.jpg")
        assert (tmp_path / "back.jpg").read_bytes() == b"jpeg"
        assert [file.path for file in mlflow_client.list_artifacts(run.id)] == [name]

    def test_a_plot_is_drawn_as_png(self, run: Run) -> None:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots()
        axes.plot([1, 2, 3])
        run.log_image("figure", plot=figure)
        run.log_image("plt", plot=plt)
        run.log_image("as path", plt)
        figure.savefig("saved.png")
        run.log_image("as plot", plot="saved.png")
        plt.close("all")
        assert len(run.get_file_names()) == 4
        for name in run.get_file_names():
            run.download_file(name, "image.png")
            assert Path("image.png").read_bytes().startswith(b"\x89PNG")

    def test_a_number_that_mlflow_logs_under_an_images_name_stays_a_number(
        self, run: Run, mlflow_client: MlflowClient
    ) -> None:
        run.log_image("image", path=io.BytesIO(b"one"))
        run.flush()
        mlflow_client.log_metric(run.id, "image", 5)
        [name] = run.get_file_names()
        values = run.get_metrics()["image"]
        assert sorted(values, key=str) == [5.0, f"aml://artifactId/ExperimentRun/dcid.{run.id}/{name}"]

    def test_images_of_one_name_are_several(self, run: Run) -> None:
        for content in (b"one", b"two"):
            run.log_image("x" * 300, path=io.BytesIO(content))
        addresses = run.get_metrics()["x" * 300]
        assert [address.rpartition("/")[2] for address in addresses] == sorted(run.get_file_names())

    @pytest.mark.parametrize(
        ("given", "problem"),
        [
            ({}, "give either path .* or plot"),
            ({"path": "a.png", "plot": object()}, "give either path .* or plot"),
            ({"path": "not/there.png"}, "'not/there.png' for image 'i': can't be read: No such file"),
            ({"path": "."}, "can't be read: Is a directory"),
            ({"path": io.StringIO("text")}, "must be a stream of bytes"),
            ({"path": 7}, "must be a path, a stream of bytes, matplotlib's plt or a figure"),
            ({"plot": "plot.png"}, "'plot.png' for image 'i': can't be read: No such file"),
        ],
    )
    def test_what_is_no_image_is_refused_and_leaves_nothing(
        self, run: Run, given: dict[str, Any], problem: str
    ) -> None:
        with pytest.raises(InvalidValue, match=problem):
            run.log_image("i", **given)
        assert (run.get_metrics(), run.get_file_names()) == ({}, [])


class TestDocuments:
    @pytest.mark.parametrize("call", DOCUMENTS)
    def test_a_document_is_a_json_file_of_the_run(self, run: Run, call: str) -> None:
        document = DOCUMENTS[call]
        getattr(run, call)("as dict", document)
        getattr(run, call)("as text", json.dumps(document))
        assert list(run.get_metrics()) == ["as dict", "as text"]
        for name in run.get_file_names():
            run.download_file(name, "back.json")
            assert repr(json.loads(Path("back.json").read_text())) == repr(document)

    def test_numpy_s_arrays_are_lists(self, run: Run) -> None:
        data = {"class_labels": np.array(["a", "b"]), "matrix": np.array([[3, 1], [0, 2]])}
        run.log_confusion_matrix("cm", {**CONFUSION, "data": data})
        [name] = run.get_file_names()
        run.download_file(name, "back.json")
        assert json.loads(Path("back.json").read_text()) == CONFUSION

    @pytest.mark.parametrize(
        ("call", "changes", "problem"),
        [
            ("log_confusion_matrix", "[1]", "must be a dict or a JSON object"),
            ("log_confusion_matrix", "{", "must be JSON"),
            ("log_confusion_matrix", {"schema_type": "residuals"}, "'residuals' for metric 'm', schema_type: must be"),
            ("log_confusion_matrix", {"schema_version": "9"}, "must be one of 1.0.0"),
            ("log_confusion_matrix", {"data": []}, "must be a dict with class_labels, matrix"),
            ("log_confusion_matrix", {"data": {"class_labels": ["a"]}}, "must have a list 'matrix'"),
            (
                "log_confusion_matrix",
                {"data": {"class_labels": ["a"], "matrix": [[1, 2]]}},
                r"\[1, 2\] for metric 'm', matrix: must have one number for each of class_labels",
            ),
            ("log_confusion_matrix", {"data": {"class_labels": ["a"], "matrix": [["x"]]}}, "'x' .*must be a number"),
            ("log_residuals", {"data": {"bin_edges": [1], "bin_counts": [1]}}, "one value for each bin: one less"),
            (
                "log_predictions",
                {"data": {**PREDICTIONS["data"], "bin_errors": [1]}},
                "bin_errors: must have",
            ),
            (
                "log_accuracy_table",
                {"data": {**ACCURACY["data"], "class_labels": []}},
                "one table for each",
            ),
            (
                "log_accuracy_table",
                {"data": {**ACCURACY["data"], "percentile_tables": [[[1, 2], [3, 4]]]}},
                "TP, FP, TN and FN in a row",
            ),
        ],
    )
    def test_what_breaks_the_schema_is_refused_and_leaves_nothing(
        self, run: Run, call: str, changes: Any, problem: str
    ) -> None:
        value = {**DOCUMENTS[call], **changes} if isinstance(changes, dict) else changes
        with pytest.raises(InvalidValue, match=problem):
            getattr(run, call)("m", value)
        assert (run.get_metrics(), run.get_file_names()) == ({}, [])


class TestBadValues:
    @pytest.mark.parametrize(
        ("call", "given", "problem"),
        [
            ("log", ("m", {"a": 1}), r"\{'a': 1\} for metric 'm': must be one value; log_row or log_table"),
            ("log", ("m", [1, 2]), r"\[1, 2\] for metric 'm': must be one value; log_list takes several"),
            ("log", ("m", np.array([1, 2])), "must be one value.*; log_list takes several"),
            ("log", ("m", object()), "must be a number, a boolean, a string or None"),
            ("log", ("m", datetime(2026, 1, 1)), "must be a number, a boolean, a string or None"),
            ("log", ("m", "\ud800"), "must be valid Unicode"),
            ("log", ("", 1), "'' for metric: a name must be given"),
            ("log", (None, 1), "None for metric: a name must be given"),
            ("log", (["m"], 1), "for metric: a name must be given"),
            ("log", ("a\nb", 1), "names may not contain control characters"),
            ("log", ("x" * 1001, 1), "exceeds the maximum length of 1000 characters: it has 1001"),
            ("log", ("m", 1, "", "last"), "'last' for step of metric 'm': must be a 64-bit integer"),
            ("log", ("m", 1, "", 2**70), "must be a 64-bit integer"),
            ("log_list", ("m", {"a": [1]}), "must be several values, such as a list; log_table"),
            ("log_list", ("m", "abc"), "must be several values, such as a list; log takes one"),
            ("log_list", ("m", 5), "must be several values, such as a list; log takes one"),
            ("log_list", ("m", [1, [2]]), r"\[2\] for metric 'm', position 1: must be one value"),
            ("log_list", ("m", np.eye(2)), "must have one dimension"),
            ("log_row", ("m",), "must have at least one column"),
            ("log_table", ("m", {}), "must have at least one column"),
            ("log_table", ("m", {"x": [1, 2], "y": [1]}), r"\{'x': 2, 'y': 1\} .*columns must be of equal length"),
            ("log_table", ("m", {"x": 1, "y": [1]}), "1 for metric 'm', column 'x': must be several values"),
            ("log_table", ("m", [1, 2]), "must be columns by name"),
            ("log_table", ("m", {"1": [1], 1: [2]}), "'1' for metric 'm': two columns have this name"),
        ],
    )
    def test_each_is_refused_at_the_call_with_name_and_value_and_leaves_nothing(
        self, run: Run, call: str, given: tuple[Any, ...], problem: str
    ) -> None:
        with pytest.raises(InvalidValue, match=problem):
            getattr(run, call)(*given)
        assert run.get_metrics() == {}

    def test_a_row_s_cell_that_is_a_list_is_refused(self, run: Run) -> None:
        with pytest.raises(InvalidValue, match="column 'x': must be one value"):
            run.log_row("m", x=[1, 2])

    def test_any_text_is_a_name(self, run: Run, ws: Workspace) -> None:
        names = ["Accuracy (%)", "µ/σ²", "x" * 300, " spaces ", "名前 🎉", "a.b", "../up"]
        for name in names:
            run.log(name, 1.5)
        run.log_row("row", **dict.fromkeys(names, 2.5))
        assert run.get_metrics() == {**dict.fromkeys(names, 1.5), "row": dict.fromkeys(names, 2.5)}
        seen = MlflowClient(ws.get_mlflow_tracking_uri()).get_run(run.id).data.metrics
        assert seen == {**dict.fromkeys(names, 1.5), **{f"row.{name}": 2.5 for name in names}}


@EACH_KIND
def test_metrics_of_all_descendants_come_by_run(run: Run) -> None:
    with run.child_run("child") as child:
        child.log("m", 1)
        with child.child_run("grandchild") as grandchild:
            grandchild.log("m", 2)
    run.child_run("empty").complete()
    run.log("own", 3)
    assert run.get_metrics(recursive=True) == {run.id: {"own": 3}, child.id: {"m": 1}, grandchild.id: {"m": 2}}
    assert run.get_metrics("m", recursive=True) == {child.id: {"m": 1}, grandchild.id: {"m": 2}}


def test_a_metric_that_was_never_logged_is_not_there(run: Run) -> None:
    run.log_list("empty", [])
    assert run.get_metrics() == {}
    assert run.get_metrics("never") == {}


@EACH_KIND
def test_times_that_no_calendar_has_are_no_obstacle(run: Run, mlflow_client: MlflowClient) -> None:
    mlflow_client.log_metric(run.id, "m", 1.0, timestamp=2**62)
    assert run.get_metrics() == {"m": 1.0}
    run.get_details()


@EACH_KIND
def test_two_runs_of_one_experiment_keep_their_own(experiment: Experiment) -> None:
    first, second = experiment.start_logging(), experiment.start_logging()
    first.log("m", 1)
    second.log("m", 2)
    assert (first.get_metrics(), second.get_metrics()) == ({"m": 1}, {"m": 2})


@EACH_KIND
def test_what_a_call_says_of_a_metric_is_kept_with_it(run: Run) -> None:
    for step in range(3):
        run.log("loss", 1 / (1 + step), description="on the training set", step=step)
    run.log_list("fibonacci", [1, 1, 2], "a sequence")
    run.log_row("split", description="shares of the rows", train=0.8, test=0.2)
    run.log_table("squares", {"x": [1, 2]}, description="a table")
    run.log_confusion_matrix("confusion", CONFUSION, "of two classes")
    run.log("plain", 1)
    run.log_list("empty", [], "nothing is logged")

    assert run.get_metric_descriptions() == {
        "loss": "on the training set",
        "fibonacci": "a sequence",
        "split": "shares of the rows",
        "squares": "a table",
        "confusion": "of two classes",
    }
    run.log("loss", 0.1, "on the test set")
    assert run.get_metric_descriptions()["loss"] == "on the test set"


@EACH_KIND
def test_a_call_that_is_refused_or_logs_nothing_takes_no_name(run: Run) -> None:
    said: dict[str, Any] = {"description": "x" * 8001}
    refused = {
        "of a scalar": lambda name: run.log(name, 1.0, **said),
        "of a list": lambda name: run.log_list(name, [1.0], **said),
        "of a table": lambda name: run.log_table(name, {"x": [1]}, **said),
        "of a row": lambda name: run.log_row(name, x=1, **said),
        "of an image": lambda name: run.log_image(name, io.BytesIO(b"png"), **said),
        "of a document": lambda name: run.log_residuals(name, RESIDUALS, **said),
    }
    for name, call in refused.items():
        with pytest.raises(InvalidValue, match="8000 characters"):
            call(name)
        run.log_confusion_matrix(name, CONFUSION)
    run.log_list("empty list", [])
    run.log_row("empty list", a=1)
    run.log_table("empty table", {"x": []})
    run.log("empty table", 1.0)
    run.flush()
    assert set(run.get_metrics()) == {*refused, "empty list", "empty table"}


@EACH_KIND
def test_a_description_is_a_text_of_at_most_8000_characters(run: Run) -> None:
    run.log("loss", 0.5, 3)  # old scripts give a step here

    with pytest.raises(InvalidValue, match=r"description of metric 'long'.*8000 characters"):
        run.log("long", 0.5, "x" * 8001)
    with pytest.raises(InvalidValue, match=r"description of metric 'half'.*valid Unicode"):
        run.log("half", 0.5, "\ud800")
    with pytest.raises(InvalidValue, match="description of metric 'confusion'"):
        run.log_confusion_matrix("confusion", CONFUSION, "x" * 8001)

    assert run.get_metric_descriptions() == {"loss": "3"}
    assert run.get_metrics() == {"loss": 0.5}
    assert run.get_file_names() == []


@EACH_KIND
def test_what_a_synchronous_run_says_of_a_metric_is_kept_too(experiment: Experiment) -> None:
    run = experiment.start_logging(synchronous=True)
    run.log("loss", 0.5, "on the training set")
    assert experiment.workspace.records.metrics.descriptions(run.id) == {"loss": "on the training set"}
    run.log_row("row", x=1.0)
    with pytest.raises(AmlStoreError, match="row"):
        run.log("row", 1.0, "of a number")
    run.log("loss", 0.25)
    assert run.get_metric_descriptions() == {"loss": "on the training set"}
