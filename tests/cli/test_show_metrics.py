"""`amlstore show RUN` draws the run's metrics: series on a line, tables, small confusion matrices."""

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlflow_amlstore.core import Experiment, Run, Workspace
from mlflow_amlstore.core.sparkline import ASCII, BLOCKS, levels_for, sparkline
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace

from .conftest import ENVIRONMENT, Amlstore

OnTerminal = Callable[..., str]


@pytest.fixture
def run(workspace: EmbeddedWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A run in the workspace that the commands look into; what it logs is written at once."""
    monkeypatch.chdir(tmp_path)
    opened = Workspace.from_config(workspace.folder)
    yield Experiment(opened, "drawn").start_logging(snapshot_directory=None, synchronous=True)
    opened.close()


def confusion(labels: list[object], matrix: list[list[float]]) -> dict[str, object]:
    data = {"class_labels": labels, "matrix": matrix}
    return {"schema_type": "confusion_matrix", "schema_version": "1.0.0", "data": data}


def sections(shown: str) -> dict[str, list[str]]:
    """The lines under each title, without the blanks that fill a table's lines."""
    parts = [part.splitlines() for part in shown.strip().split("\n\n")]
    return {part[0]: [line.rstrip() for line in part[1:]] for part in parts}


class TestSparkline:
    def test_rises_with_the_values(self) -> None:
        assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 20) == "▁▂▃▄▅▆▇█"
        assert sparkline([3, -3], 20) == "█▁"

    def test_is_as_wide_as_asked_and_each_character_stands_for_its_neighbours(self) -> None:
        assert sparkline([0, 2, 9, 9, 3, 15], 3) == "▁▅█"
        assert len(sparkline(list(range(1000)), 37)) == 37

    def test_keeps_to_ascii_where_asked(self) -> None:
        assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 20, ASCII) == "_.:-=+*#"
        assert (levels_for("utf-8"), levels_for("ascii"), levels_for(None)) == (BLOCKS, ASCII, ASCII)

    def test_what_is_no_number_leaves_a_blank_and_infinity_has_an_arrow(self) -> None:
        assert sparkline([0, math.nan, 7, math.inf, "7", None, -math.inf, 0], 20) == "▁ █↑  ↓▁"
        assert sparkline(["a", None], 20) == "  "
        assert sparkline([], 20) == ""

    @pytest.mark.parametrize(("spike", "seen"), [(50.0, "█"), (-50.0, "▁"), (math.inf, "↑"), (-math.inf, "↓")])
    @pytest.mark.parametrize("step", [0, 1, 33_333, 99_999])
    def test_a_single_spike_in_a_noise_of_100_000_points_is_seen(self, spike: float, seen: str, step: int) -> None:
        values = [math.sin(step * step) for step in range(100_000)]
        values[step] = spike
        line = sparkline(values, 40)
        assert [place for place, character in enumerate(line) if character == seen] == [step * 40 // 100_000]

    def test_a_dip_to_what_is_usual_elsewhere_is_seen(self) -> None:
        assert sparkline([10.0] * 50 + [0.0] + [10.0] * 49 + [0.0] * 100, 10) == "██▁██▁▁▁▁▁"

    def test_booleans_are_high_and_low(self) -> None:
        assert sparkline([False, True], 20) == "▁█"

    @pytest.mark.parametrize("value", [0, 0.9, -1e308, 2**1023 - 1, 5e-324])
    def test_values_that_are_all_the_same_lie_in_the_middle(self, value: float) -> None:
        assert sparkline([value] * 1000, 3) == "▅▅▅"

    def test_the_largest_numbers_do_not_overflow(self) -> None:
        assert sparkline([1.7e308, -1.7e308, 2**1023 - 1], 20) == "█▁▆"
        assert len(sparkline([1.7e308, -1.7e308] * 100, 10)) == 10


class TestSeries:
    def test_are_drawn_on_a_terminal_with_what_tells_most(self, run: Run, amlstore_on_terminal: OnTerminal) -> None:
        for value in (4.0, 0.5, 2.25):
            run.log("loss", value)
        run.log_list("fibonacci", [1, 1, 2, 3, 5])
        assert sections(amlstore_on_terminal("show", run.id))["Series"] == [
            "name       drawn  count  first  min  max  last",
            "loss       █▁▅    3      4      0.5  4    2.25",
            "fibonacci  ▁▁▃▅█  5      1      1    5    5",
        ]

    def test_are_numbers_between_tabs_in_a_pipe(self, run: Run, amlstore: Amlstore) -> None:
        for value in (4.0, 0.5):
            run.log("loss", value)
        assert sections(amlstore("show", run.id).out)["Series"] == [
            "name\tcount\tfirst\tmin\tmax\tlast",
            "loss\t2\t4\t0.5\t4\t0.5",
        ]

    def test_one_number_is_among_the_latest_and_one_text_here(self, run: Run, amlstore: Amlstore) -> None:
        run.log("score", 0.5)
        run.log("stage", "warm-up")
        shown = sections(amlstore("show", run.id).out)
        assert [line.split("\t")[0] for line in shown["Metrics (latest)"][1:]] == ["score"]
        assert shown["Series"][1:] == ["stage\t1\twarm-up\t\t\twarm-up"]

    def test_may_have_text_booleans_nan_and_infinities(self, run: Run, amlstore_on_terminal: OnTerminal) -> None:
        for value in (1.0, math.nan, 2.0, -math.inf, "broken", None, True):
            run.log("odd", value)
        assert sections(amlstore_on_terminal("show", run.id))["Series"][1:] == [
            "odd   ▁ █↓  ▁  7      1      -inf  2    True",
        ]

    def test_a_single_spike_among_100_000_logged_values_is_shown(
        self, run: Run, amlstore_on_terminal: OnTerminal
    ) -> None:
        values = [math.sin(step * step) for step in range(100_000)]
        values[70_001] = 50.0
        run.log_list("noise", values)
        [line] = sections(amlstore_on_terminal("show", run.id))["Series"][1:]
        drawn = re.search(r"[▁▂▃▄▅▆▇█]{20,}", line)
        assert drawn is not None
        assert [place for place, seen in enumerate(drawn[0]) if seen == "█"] == [70_001 * len(drawn[0]) // 100_000]

    @pytest.mark.parametrize("length", [1, 20, 400])
    def test_fit_the_terminal(self, run: Run, amlstore_on_terminal: OnTerminal, length: int) -> None:
        run.log_list("n" * length, ["x" * length, *range(1000)])
        shown = amlstore_on_terminal("show", run.id)
        assert max(map(len, shown.splitlines())) <= 80
        assert "▁" in shown

    def test_are_drawn_in_ascii_where_the_terminal_has_no_more(
        self, run: Run, amlstore_on_terminal: OnTerminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(ENVIRONMENT, "PYTHONIOENCODING", "ascii")
        run.log_list("Żółć", [0, 7, 3])
        shown = amlstore_on_terminal("show", run.id)
        assert "_#-" in shown
        assert "\\u017b" in shown

    @pytest.mark.parametrize("points", [200_000, pytest.param(1_000_000, marks=pytest.mark.full)])
    def test_many_points_are_drawn_at_once(self, run: Run, amlstore_on_terminal: OnTerminal, points: int) -> None:
        runs = {count: run.experiment.start_logging(snapshot_directory=None) for count in (points // 10, points)}
        for count, its_run in runs.items():
            its_run.log_list("wave", [math.sin(index / 50_000) for index in range(count)])
            its_run.flush()
        seconds: dict[int, list[float]] = {count: [] for count in runs}
        for _ in range(3):
            for count, its_run in runs.items():
                start = time.perf_counter()
                shown = amlstore_on_terminal("show", its_run.id)
                seconds[count].append(time.perf_counter() - start)
                assert str(count) in shown
        tenth, whole = (min(took) for took in seconds.values())  # the least is what other work adds nothing to
        assert whole < 10 * tenth  # it takes as many times longer as there are more points, or less

    def test_control_characters_do_not_reach_the_terminal(
        self, run: Run, amlstore: Amlstore, amlstore_on_terminal: OnTerminal
    ) -> None:
        run.log_list("list", ["\x1b[2Jx", "a\nb"])
        run.log_table("table", {"column": ["\x9b1m", "\x07"]})
        run.log_confusion_matrix("matrix", confusion(["\x1b]0;t\x07", "b"], [[1, 2], [3, 4]]))
        for shown in (amlstore("show", run.id).out, amlstore_on_terminal("show", run.id)):
            assert not {"\x1b", "\x07", "\x9b"} & set(shown)
            for harmless in ("\\x1b[2Jx", "a b", "\\x9b1m", "\\x07", "\\x1b]0;t"):
                assert harmless in shown


class TestTables:
    def test_a_short_one_is_shown_whole(self, run: Run, amlstore: Amlstore) -> None:
        for angle in (0, 90):
            run.log_row("rotation", angle=angle, error=angle / 200, note="fine")
        assert sections(amlstore("show", run.id).out)["Table rotation: 2 rows"] == [
            "angle\terror\tnote",
            "0\t0\tfine",
            "90\t0.45\tfine",
        ]

    def test_of_a_long_one_both_ends(self, run: Run, amlstore: Amlstore, amlstore_on_terminal: OnTerminal) -> None:
        run.log_table("squares", {"x": range(1000), "y": [x * x for x in range(1000)]})
        title = "Table squares: 1000 rows, the first and last 5"
        kept = [0, 1, 2, 3, 4, 995, 996, 997, 998, 999]
        in_pipe = sections(amlstore("show", run.id).out)[title]
        assert in_pipe == ["x\ty", *[f"{x}\t{x * x}" for x in kept]]
        on_terminal = sections(amlstore_on_terminal("show", run.id))[title]
        assert [line.split() for line in on_terminal[5:8]] == [["4", "16"], ["...", "..."], ["995", "990025"]]

    def test_of_a_wide_one_the_columns_that_the_terminal_has_room_for(
        self, run: Run, amlstore: Amlstore, amlstore_on_terminal: OnTerminal
    ) -> None:
        run.log_table("wide", {f"column {index}": [1 / 7] for index in range(30)})
        shown = amlstore_on_terminal("show", run.id)
        assert "Table wide: 1 row; 30 columns, the first 10\n" in shown
        assert max(map(len, shown.splitlines())) <= 80
        assert len(sections(amlstore("show", run.id).out)["Table wide: 1 row"][0].split("\t")) == 30


class TestFiles:
    def test_images_and_documents_are_named(self, run: Run, amlstore: Amlstore, tmp_path: Path) -> None:
        (tmp_path / "picture.gif").write_bytes(b"GIF89a")
        run.log_image("picture", str(tmp_path / "picture.gif"))
        run.log_residuals(
            "residuals",
            {
                "schema_type": "residuals",
                "schema_version": "1.0.0",
                "data": {"bin_edges": [0, 1, 2], "bin_counts": [3, 4]},
            },
        )
        header, image, residuals = sections(amlstore("show", run.id).out)["Images and documents"]
        assert header == "name\tkind\tfile"
        assert image.startswith("picture\timage\tpicture_")
        assert residuals.startswith("residuals\tresiduals\tresiduals_")
        assert {image.split("\t")[2], residuals.split("\t")[2]} == set(run.get_file_names())

    def test_a_small_confusion_matrix_is_a_grid(
        self, run: Run, amlstore: Amlstore, amlstore_on_terminal: OnTerminal
    ) -> None:
        run.log_confusion_matrix("pets", confusion(["cat", "dog", 3], [[8, 2, 0], [1, 9, 0], [0, 0, 1.5]]))
        title = "Confusion matrix pets: a row for each true class"
        assert sections(amlstore("show", run.id).out)[title] == [
            "\tcat\tdog\t3", "cat\t8\t2\t0", "dog\t1\t9\t0", "3\t0\t0\t1.5",
        ]  # fmt: skip
        assert sections(amlstore_on_terminal("show", run.id))[title] == [
            "     cat  dog  3", "cat  8    2    0", "dog  1    9    0", "3    0    0    1.5",
        ]  # fmt: skip

    def test_classes_may_have_one_name(self, run: Run, amlstore_on_terminal: OnTerminal) -> None:
        run.log_confusion_matrix("same", confusion(["a", "a", ""], [[1, 2, 3], [4, 5, 6], [7, 8, 9]]))
        shown = sections(amlstore_on_terminal("show", run.id))["Confusion matrix same: a row for each true class"]
        assert [line.split() for line in shown] == [["a", "a"], ["a", "1", "2", "3"], ["a", "4", "5", "6"], list("789")]

    @pytest.mark.parametrize("classes", [0, 11, 300])
    def test_a_large_or_empty_one_is_only_named(self, run: Run, amlstore: Amlstore, classes: int) -> None:
        matrix = [[1.0] * classes for _ in range(classes)]
        run.log_confusion_matrix("many", confusion([str(index) for index in range(classes)], matrix))
        shown = amlstore("show", run.id)
        assert shown.exit_code == 0
        assert "many\tconfusion matrix\tmany_" in shown.out
        assert "Confusion matrix many" not in shown.out

    def test_a_file_that_was_replaced_by_another_is_only_named(
        self, run: Run, amlstore: Amlstore, tmp_path: Path
    ) -> None:
        run.log_confusion_matrix("pets", confusion(["cat"], [[8]]))
        [name] = run.get_file_names()
        (tmp_path / "other").write_bytes(b"\xff not JSON")
        run.upload_files([name], [str(tmp_path / "other")])
        shown = amlstore("show", run.id)
        assert (shown.exit_code, shown.err) == (0, "")
        assert f"pets\tconfusion matrix\t{name}" in shown.out
        assert "Confusion matrix pets" not in shown.out


def test_json_has_what_it_had(run: Run, amlstore: Amlstore) -> None:
    run.log_list("fibonacci", [1, 1, 2])
    found = json.loads(amlstore("show", run.id, "--json").out)
    assert found["metrics"]["fibonacci"]["value"] == 2
    assert "series" not in found


def test_a_run_without_metrics_has_no_section_of_them(run: Run, amlstore: Amlstore) -> None:
    assert not {"Series", "Images and documents"} & set(sections(amlstore("show", run.id).out))
