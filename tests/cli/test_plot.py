"""`amlstore plot RUN METRIC -o FILE`: the chart that a metric's kind asks for, and what can't be charted."""

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from PIL import Image

from mlflow_amlstore.cli.charts import figure_of, picture_of
from mlflow_amlstore.core import Experiment, Run, Workspace
from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.types import MetricKind, MetricRecord
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace

from .conftest import Amlstore

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def run(workspace: EmbeddedWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A run named `first` in the workspace that the commands look into; what it logs is written at once."""
    monkeypatch.chdir(tmp_path)
    opened = Workspace.from_config(workspace.folder)
    started = Experiment(opened, "charts").start_logging(snapshot_directory=None, synchronous=True)
    started.display_name = "first"
    yield started
    opened.close()


def document(schema: str, **data: object) -> dict[str, Any]:
    return {"schema_type": schema, "schema_version": "1.0.0", "data": data}


CONFUSION = document("confusion_matrix", class_labels=["cat", "dog"], matrix=[[8, 2], [1, 9]])
ACCURACY = document(
    "accuracy_table",
    class_labels=["cat"],
    # true positives, false positives, true negatives, false negatives
    probability_tables=[[[4, 6, 0, 0], [3, 2, 4, 1], [0, 0, 6, 4]]],
    probability_thresholds=[0.0, 0.5, 1.0],
    percentile_tables=[[[4, 6, 0, 0]]],
    percentile_thresholds=[0.0],
)
RESIDUALS = document("residuals", bin_edges=[-2, -1, 0, 3], bin_counts=[3, 5, 4])
PREDICTIONS = document("predictions", bin_edges=[0, 10, 20], bin_averages=[4, 17], bin_errors=[1, 2], bin_counts=[5, 6])


def series(*cells: Any, steps: list[int] | None = None, kind: MetricKind = MetricKind.SCALAR) -> MetricRecord:
    return MetricRecord("loss", kind, {"": list(cells)}, steps or list(range(len(cells))))


def table(**columns: list[Any]) -> MetricRecord:
    return MetricRecord("rotation", MetricKind.TABLE, dict(columns))


def of_document(kind: MetricKind, content: dict[str, Any]) -> Figure:
    return figure_of(MetricRecord("rich", kind, {"": ["rich_1.json"]}), "first", content)


def lines(figure: Figure, axes: int = 0) -> list[tuple[list[float], list[float]]]:
    """The lines' x and y, NaN as None."""
    plain = [
        [[None if np.isnan(value) else value for value in data] for data in line.get_data()]
        for line in figure.axes[axes].get_lines()
    ]
    return [(x, y) for x, y in plain]


def triangles(figure: Figure) -> list[tuple[float, float]]:
    """What stands for ±Inf: its x, and 1 at the upper end or 0 at the lower."""
    marks = [found.get_offsets() for found in figure.axes[0].collections]
    return [(float(x), float(end)) for offsets in marks for x, end in np.asarray(offsets)]


def labels(figure: Figure, axes: int = 0) -> tuple[str, str]:
    return figure.axes[axes].get_xlabel(), figure.axes[axes].get_ylabel()


def title(figure: Figure) -> str:
    return figure.texts[0].get_text()


def legend(figure: Figure, axes: int = 0) -> list[str]:
    shown = figure.axes[axes].get_legend()
    return [] if shown is None else [label.get_text() for label in shown.get_texts()]


class TestSeries:
    def test_a_repeated_number_is_a_line_over_its_steps(self) -> None:
        figure = figure_of(series(3.0, 1.0, 2.0, steps=[0, 20, 10]), "first")
        assert lines(figure) == [([0, 10, 20], [3, 2, 1])]
        assert labels(figure) == ("step", "loss")
        assert title(figure) == "loss\nfirst"

    def test_over_its_position_where_all_steps_are_equal(self) -> None:
        figure = figure_of(series(3.0, 1.0, 2.0, steps=[7, 7, 7]), "first")
        assert lines(figure) == [([0, 1, 2], [3, 1, 2])]
        assert labels(figure) == ("position", "loss")

    def test_a_list_is_a_line_over_its_position(self) -> None:
        figure = figure_of(series(1, 1, 2, steps=[5, 6, 7], kind=MetricKind.LIST), "first")
        assert labels(figure) == ("position", "loss")

    def test_what_is_no_number_is_a_gap_and_infinity_a_triangle_at_its_end(self) -> None:
        figure = figure_of(series(1.0, math.nan, True, math.inf, "text", None, -math.inf, 2.0), "first")
        assert lines(figure) == [([0, 1, 2, 4, 5, 7], [1, None, 1, None, None, 2])]
        assert triangles(figure) == [(3, 1), (6, 0)]

    @pytest.mark.parametrize(
        ("cells", "problem"),
        [
            ([0.5], "it is the single value 0.5"),
            (["done"], "it is the single value done"),
            (["a", "b"], "none of its values is a finite number"),
            ([math.nan, None], "none of its values is a finite number"),
            (["\x1b[2Jcleared\n"], r"it is the single value \\x1b\[2Jcleared $"),
            (
                [1e308, -1.7e308],
                r"none of its values is a number of at most 1e\+300, the largest that an axis can have",
            ),
        ],
    )
    def test_a_single_value_and_text_alone_cannot_be_charted(self, cells: list[Any], problem: str) -> None:
        with pytest.raises(InvalidValue, match=f"'loss' for METRIC: can't be charted: {problem}"):
            figure_of(series(*cells), "first")

    def test_of_a_million_points_those_remain_that_a_picture_can_show(self) -> None:
        cells = [0.0] * 1_000_000
        cells[123_456], cells[654_321] = 5.0, -5.0
        start = time.perf_counter()
        picture_of(figure_of(series(*cells[:100_000], kind=MetricKind.LIST), "first"), "svg")
        tenth_s = time.perf_counter() - start
        start = time.perf_counter()
        figure = figure_of(series(*cells, kind=MetricKind.LIST), "first")
        assert len(picture_of(figure, "svg")) < 500_000
        assert time.perf_counter() - start < 20 * tenth_s
        [(x, y)] = lines(figure)
        assert len(x) < 5000
        assert (x[0], x[-1], x[y.index(5.0)], x[y.index(-5.0)]) == (0, 999_999, 123_456, 654_321)

    @pytest.mark.parametrize("spike", [5.0, -5.0, math.inf, -math.inf])
    def test_a_single_spike_in_a_noise_of_100_000_points_is_in_it(self, spike: float) -> None:
        cells = [math.sin(step * step) for step in range(100_000)]
        cells[70_001] = spike
        figure = figure_of(series(*cells), "first")
        [(x, y)] = lines(figure)
        if math.isinf(spike):
            assert triangles(figure) == [(70_001, max(0, math.copysign(1, spike)))]
        else:
            assert x[y.index(spike)] == 70_001
        assert {0, 99_999} <= set(x)

    def test_numbers_too_large_for_an_axis_are_at_its_ends(self) -> None:
        figure = figure_of(
            series(1e300, -1e300, 2**1022, -1.7e308, 5e-324, steps=[-(2**63), 0, 1, 2, 2**63 - 1]), "first"
        )
        [(_, values)] = lines(figure)
        assert values == [1e300, -1e300, 5e-324]
        assert triangles(figure) == [(1, 1), (2, 0)]
        assert picture_of(figure, "png").startswith(PNG)


class TestTables:
    def test_two_numeric_columns_are_x_and_y(self) -> None:
        figure = figure_of(table(recall=[0, 0.5, 1], precision=[1, 0.9, 0.2]), "first")
        assert lines(figure) == [([0, 0.5, 1], [1, 0.9, 0.2])]
        assert (labels(figure), legend(figure)) == (("recall", "precision"), [])

    def test_more_are_a_line_each_over_the_first(self) -> None:
        figure = figure_of(table(angle=[0, 90], cos=[1, 0], _sin=[0, 1]), "first")
        assert lines(figure) == [([0, 90], [1, 0]), ([0, 90], [0, 1])]
        assert labels(figure) == ("angle", "rotation")
        assert [name.strip("\u200b") for name in legend(figure)] == ["cos", "_sin"]

    def test_one_alone_is_a_line_over_the_row(self) -> None:
        figure = figure_of(table(error=[3, 1]), "first")
        assert (lines(figure), labels(figure)) == ([([0, 1], [3, 1])], ("row", "error"))

    def test_text_makes_bars_by_category(self) -> None:
        figure = figure_of(table(year=[3, 4], city=["Oslo", "Łódź"], next_year=[5, math.nan]), "first")
        bars = [container for container in figure.axes[0].containers if isinstance(container, BarContainer)]
        heights = [[bar.get_height() for bar in group] for group in bars]
        assert (heights[0], heights[1][0], math.isnan(heights[1][1])) == ([3, 4], 5, True)
        assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["Oslo", "Łódź"]
        assert (labels(figure), legend(figure)) == (("city", "rotation"), ["year", "next_year"])

    def test_a_long_table_with_notes_is_lines(self) -> None:
        figure = figure_of(table(epoch=[*range(500)], note=["fine"] * 500, loss=[*range(500)]), "first")
        assert (len(lines(figure)), labels(figure)) == (1, ("epoch", "loss"))

    def test_a_legend_names_no_more_than_it_has_room_for(self) -> None:
        figure = figure_of(table(x=[0, 1], **{f"y{index}": [0, index] for index in range(40)}), "first")
        assert legend(figure) == [*[f"y{index}" for index in range(11)], "… 40 in all"]

    def test_what_mlflow_logged_under_its_name_is_not_drawn(self) -> None:
        columns = {"x": [0, 1, math.nan], "y": [2, 3, math.nan], "": [math.nan, math.nan, 5]}
        figure = figure_of(table(**columns), "first")
        assert lines(figure) == [([0, 1, None], [2, 3, None])]
        assert labels(figure) == ("x", "y")

    def test_one_of_too_large_numbers_says_so(self) -> None:
        with pytest.raises(InvalidValue, match=r"none of its columns has a number of at most 1e\+300"):
            figure_of(table(a=[1e308, 1e308], b=["x", "y"]), "first")

    @pytest.mark.parametrize("columns", [{"a": [1.0]}, {"a": ["x", "y"]}, {"a": [math.nan] * 3, "b": [None] * 3}])
    def test_a_single_cell_and_tables_without_numbers_cannot_be_charted(self, columns: dict[str, list[Any]]) -> None:
        with pytest.raises(InvalidValue, match="'rotation' for METRIC: can't be charted: "):
            figure_of(table(**columns), "first")


class TestDocuments:
    def test_a_confusion_matrix_is_a_heat_map_with_its_numbers(self) -> None:
        figure = of_document(MetricKind.CONFUSION_MATRIX, CONFUSION)
        axes = figure.axes[0]
        assert axes.images[0].get_array().tolist() == [[8, 2], [1, 9]]
        numbers = {(number.get_position()): number.get_text() for number in axes.texts}
        assert numbers == {(0, 0): "8", (1, 0): "2", (0, 1): "1", (1, 1): "9"}
        assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
        assert labels(figure) == ("predicted class", "true class")

    def test_a_large_one_has_no_numbers_and_only_some_names(self) -> None:
        names = [str(index) for index in range(200)]
        large = document("confusion_matrix", class_labels=names, matrix=np.eye(200).tolist())
        axes = of_document(MetricKind.CONFUSION_MATRIX, large).axes[0]
        assert (len(axes.texts), [label.get_text() for label in axes.get_xticklabels()]) == (0, names[::8])

    def test_one_without_classes_cannot_be_charted(self) -> None:
        with pytest.raises(InvalidValue, match="can't be charted: it has no classes"):
            of_document(MetricKind.CONFUSION_MATRIX, document("confusion_matrix", class_labels=[], matrix=[]))

    def test_an_accuracy_table_is_the_roc_and_the_precision_recall_curve(self) -> None:
        figure = of_document(MetricKind.ACCURACY_TABLE, ACCURACY)
        assert lines(figure)[0] == ([1, pytest.approx(2 / 6), 0], [1, 0.75, 0])
        assert lines(figure, 1) == [([1, 0.75, 0], [0.4, 0.6, None])]
        assert [labels(figure, axes) for axes in (0, 1)] == [
            ("false positive rate", "true positive rate"), ("recall", "precision"),
        ]  # fmt: skip
        assert legend(figure) == ["cat"]

    def test_residuals_are_a_histogram(self) -> None:
        axes = of_document(MetricKind.RESIDUALS, RESIDUALS).axes[0]
        bars = [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in axes.patches]
        assert bars == [(-2, 1, 3), (-1, 1, 5), (0, 3, 4)]
        assert not any(isinstance(container, ErrorbarContainer) for container in axes.containers)

    def test_with_error_bars_where_the_document_has_them(self) -> None:
        with_errors = document("residuals", **RESIDUALS["data"], bin_errors=[1, 2, 0.5])
        containers = of_document(MetricKind.RESIDUALS, with_errors).axes[0].containers
        [errors] = [container for container in containers if isinstance(container, ErrorbarContainer)]
        spans = [segment[:, 1].tolist() for segment in errors.lines[2][0].get_segments()]
        assert spans == [[2, 4], [3, 7], [3.5, 4.5]]

    def test_predictions_are_predicted_over_true_with_the_ideal_line(self) -> None:
        figure = of_document(MetricKind.PREDICTIONS, PREDICTIONS)
        ideal, averages = lines(figure)[:2]
        assert (ideal, averages) == (([0, 20], [0, 20]), ([5, 15], [4, 17]))
        [errors] = figure.axes[0].containers
        assert isinstance(errors, ErrorbarContainer)
        assert [segment[:, 1].tolist() for segment in errors.lines[2][0].get_segments()] == [[3, 5], [15, 19]]
        assert [bar.get_height() for bar in figure.axes[1].patches] == [5, 6]
        assert (labels(figure)[1], labels(figure, 1)) == ("predicted value", ("true value", "count"))

    def test_nan_in_them_is_left_out(self) -> None:
        gaps = document(
            "predictions", bin_edges=[0, 10, math.nan], bin_averages=[math.nan] * 2, bin_errors=[math.nan] * 2,
            bin_counts=[0, math.inf],
        )  # fmt: skip
        unknown = document("confusion_matrix", class_labels=["a", "b"], matrix=[[math.nan] * 2] * 2)
        for kind, content in ((MetricKind.PREDICTIONS, gaps), (MetricKind.CONFUSION_MATRIX, unknown)):
            assert picture_of(of_document(kind, content), "png").startswith(PNG)


@pytest.mark.parametrize("name", ["$x_", "a\nb", "_hidden", "\\alpha^{", "日本 🌼", "n" * 1000])
def test_odd_names_are_drawn_as_they_are(name: str) -> None:
    odd = MetricRecord(name, MetricKind.TABLE, {"x": [1, 2], name: [1, 2], "$": [3, 4], "t": ["$a", name]})
    figure = figure_of(odd, name)
    assert title(figure).count("\n") == 1
    picture = Image.open(BytesIO(picture_of(figure, "png")))
    assert picture.size == (1200, 750)


class TestCommand:
    @pytest.mark.parametrize(("ending", "beginning"), [("png", PNG), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("PNG", PNG)])
    def test_saves_the_type_that_the_name_ends_in(
        self, run: Run, amlstore: Amlstore, workspace: EmbeddedWorkspace, ending: str, beginning: bytes
    ) -> None:
        for value in (4.0, 0.5, 2.25):
            run.log("loss", value)
        result = amlstore("plot", run.id[:8], "loss", "-o", f"chart.{ending}")
        assert (result.exit_code, result.out, result.err) == (0, f"Saved chart.{ending}\n", "")
        content = (workspace.folder / f"chart.{ending}").read_bytes()
        assert content.startswith(beginning)
        assert 5_000 < len(content) < 500_000

    def test_charts_every_kind_that_run_logs(self, run: Run, amlstore: Amlstore, tmp_path: Path) -> None:
        run.log_list("list", [1, 1, 2])
        run.log_row("row", x=1, y=2)
        run.log_table("table", {"x": [1, 2], "y": [3, 4]})
        run.log_confusion_matrix("confusion", CONFUSION)
        run.log_accuracy_table("accuracy", ACCURACY)
        run.log_residuals("residuals", RESIDUALS)
        run.log_predictions("predictions", PREDICTIONS)
        for name in run.get_metrics():
            target = tmp_path / f"{name}.png"
            assert amlstore("plot", run.id, name, "-o", str(target)).err == ""
            with Image.open(target) as picture:
                assert picture.size == (1200, 750)

    def test_of_a_document_logged_again_the_last(
        self, run: Run, amlstore: Amlstore, workspace: EmbeddedWorkspace
    ) -> None:
        for matrix in ([[111, 2], [3, 4]], [[222, 2], [3, 4]]):
            run.log_confusion_matrix("pets", document("confusion_matrix", class_labels=["a", "b"], matrix=matrix))
        assert amlstore("plot", run.id, "pets", "-o", "pets.svg").exit_code == 0
        svg = (workspace.folder / "pets.svg").read_text()
        assert ("<!-- 222 -->" in svg, "<!-- 111 -->" in svg) == (True, False)

    @pytest.mark.parametrize(
        ("arguments", "exit_code", "problem"),
        [
            (["loss", "-o", "chart.xyz"], 2, "'chart.xyz' for FILE: its name must end in .png, .svg, .pdf"),
            (["loss", "-o", "chart"], 2, "'chart' for FILE: its name must end in .png, .svg, .pdf"),
            (["loss", "-o", "no/chart.png"], 2, "'no/chart.png' for FILE: there is no folder no; make it first"),
            (["loss", "-o", "."], 2, "'.' for FILE: is a folder; name a file in it"),
            (["los", "-o", "chart.png"], 1, "Metric 'los' not found. The run has 'loss', 'score', 'broken'"),
            (["score", "-o", "chart.png"], 2, "'score' for METRIC: can't be charted: it is the single value 0.9"),
            (["broken", "-o", "chart.png"], 2, "for metric 'broken': must be JSON"),
        ],
    )
    def test_mistakes_are_one_message(
        self, run: Run, amlstore: Amlstore, workspace: EmbeddedWorkspace, arguments: list[str], exit_code: int,
        problem: str,
    ) -> None:  # fmt: skip
        run.log_list("loss", [2, 1])
        run.log("score", 0.9)
        run.log_confusion_matrix("broken", CONFUSION)
        run.upload_file(run.get_file_names()[0], BytesIO(b"no JSON"))
        before = set(workspace.folder.iterdir())
        result = amlstore("plot", run.id, *arguments)
        assert (result.exit_code, result.out) == (exit_code, "")
        assert problem in result.err
        assert len(result.err.splitlines()) == 1
        assert set(workspace.folder.iterdir()) == before

    def test_of_many_metrics_those_of_like_names_are_told(self, run: Run, amlstore: Amlstore) -> None:
        for name in ["val_loss", *(f"{index:030}" for index in range(20))]:
            run.log(name, 1)
        assert "Names like it: 'val_loss'\n" in amlstore("plot", run.id, "valloss", "-o", "x.png").err
        assert "`amlstore show` lists them\n" in amlstore("plot", run.id, "Ω", "-o", "x.png").err

    def test_a_run_without_metrics_says_so(self, run: Run, amlstore: Amlstore) -> None:
        assert "'loss' not found. The run has none\n" in amlstore("plot", run.id, "loss", "-o", "x.png").err

    def test_the_file_must_be_named(self, run: Run, amlstore: Amlstore) -> None:
        result = amlstore("plot", run.id, "loss")
        assert (result.exit_code, result.out) == (2, "")
        assert "Missing option '-o'" in result.err

    def test_without_matplotlib_the_extra_is_named(
        self, run: Run, workspace: EmbeddedWorkspace, tmp_path: Path
    ) -> None:
        run.log_list("loss", [2, 1])
        code = (
            "import sys, importlib.util as util; real = util.find_spec\n"
            "util.find_spec = lambda name, *more: None if name == 'matplotlib' else real(name, *more)\n"
            "from mlflow_amlstore.cli import main; main()"
        )
        command = [sys.executable, "-c", code, "plot", run.id, "loss", "-o", str(tmp_path / "chart.png")]
        done = subprocess.run(command, cwd=workspace.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr == (
            "amlstore: `amlstore plot` needs the package matplotlib, which is not installed. "
            "Run `pip install 'mlflow-amlstore[plot]'`, or in a clone `pip install '.[plot]'`\n"
        )


class TestImages:
    @pytest.fixture
    def logged(self, run: Run, tmp_path: Path) -> bytes:
        """A PNG with transparency, logged as `sketch`."""
        Image.new("RGBA", (30, 20), (255, 0, 0, 128)).save(tmp_path / "sketch.png")
        run.log_image("sketch", str(tmp_path / "sketch.png"))
        return (tmp_path / "sketch.png").read_bytes()

    def test_are_copied(self, run: Run, amlstore: Amlstore, workspace: EmbeddedWorkspace, logged: bytes) -> None:
        assert amlstore("plot", run.id, "sketch", "-o", "copy.PNG").err == ""
        assert (workspace.folder / "copy.PNG").read_bytes() == logged

    @pytest.mark.usefixtures("logged")
    @pytest.mark.parametrize(("ending", "image_type"), [("jpg", "JPEG"), ("webp", "WEBP"), ("pdf", None)])
    def test_are_converted_where_another_ending_is_asked_for(
        self, run: Run, amlstore: Amlstore, workspace: EmbeddedWorkspace, ending: str, image_type: str | None
    ) -> None:
        assert amlstore("plot", run.id, "sketch", "-o", f"copy.{ending}").err == ""
        target = workspace.folder / f"copy.{ending}"
        if image_type is None:
            assert target.read_bytes().startswith(b"%PDF")
            return
        with Image.open(target) as image:
            assert (image.format, image.size) == (image_type, (30, 20))

    @pytest.mark.usefixtures("logged")
    @pytest.mark.parametrize("name", ["copy.svg", "copy.xyz", "copy"])
    def test_but_not_to_what_is_no_image(self, run: Run, amlstore: Amlstore, name: str) -> None:
        result = amlstore("plot", run.id, "sketch", "-o", name)
        assert result.exit_code == 2
        assert f"'{name}' for FILE: the image sketch_" in result.err
        assert "can't be converted to that; keep its ending" in result.err

    def test_one_that_cannot_be_read_is_copied_but_not_converted(
        self, run: Run, amlstore: Amlstore, workspace: EmbeddedWorkspace, tmp_path: Path
    ) -> None:
        (tmp_path / "odd.png").write_bytes(b"no image")
        run.log_image("odd", str(tmp_path / "odd.png"))
        assert amlstore("plot", run.id, "odd", "-o", "odd.png").exit_code == 0
        result = amlstore("plot", run.id, "odd", "-o", "odd.jpg")
        assert result.exit_code == 2
        assert "'odd' for METRIC: its image odd_" in result.err
        assert "can't be converted: it can't be read as one\n" in result.err
        assert not (workspace.folder / "odd.jpg").exists()


def test_a_single_spike_among_100_000_logged_values_is_in_the_picture(
    run: Run, amlstore: Amlstore, tmp_path: Path
) -> None:
    values = [math.sin(step * step) for step in range(100_000)]
    values[70_001] = 50.0
    run.log_list("noise", values)
    saved = amlstore("plot", run.id, "noise", "-o", str(tmp_path / "noise.png"))
    assert saved.exit_code == 0, saved.err
    pixels = np.asarray(Image.open(tmp_path / "noise.png").convert("RGB")).astype(int)
    blue = (pixels[:, :, 2] - pixels[:, :, 0] > 80).nonzero()  # the line's colour; axes and texts are grey
    rows, columns = blue
    half_way = rows[columns == columns.min()].min() // 2 + rows.min() // 2  # between the spike's end and the noise
    seen = columns[rows < half_way]
    place = (seen.mean() - columns.min()) / (columns.max() - columns.min())
    assert np.ptp(seen) < 6  # the spike alone
    assert place == pytest.approx(0.70001, abs=0.01)
