"""`LiveRun`: what has changed of a run is told, that alone, and no longer than somebody looks."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from forked_service import ForkedService
from waiting import wait_for

from mlflow_amlstore.core import Experiment, Run, Workspace
from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.widgets.live_run import LiveRun
from mlflow_amlstore.widgets.log_tail import PIECES, LogTail
from mlflow_amlstore.widgets.metric_parts import part_of_curve


class Page:
    """What a widget's page has been told by now."""

    def __init__(self, run: Run) -> None:
        self.live = LiveRun(run, self._take)
        self.state: dict[str, Any] = {}
        self.told: list[set[str]] = []
        self._take(self.live.look())

    def _take(self, changes: dict[str, Any]) -> None:
        self.state |= changes
        self.told.append({name for name, value in changes.items() if value is not None})

    @property
    def parts(self) -> dict[str, dict[str, Any]]:
        parts = [part for name, part in self.state.items() if name.startswith("part_") and part is not None]
        return {part["name"]: part for part in parts}

    @property
    def log(self) -> str:
        pieces = [self.state[f"log_{place}"] for place in range(PIECES)]
        used = sorted(filter(None, pieces), key=lambda piece: int(piece["number"]))
        return "".join(piece["text"] for piece in used) + self.state["log"]["rest"]


@contextmanager
def watched(run: Run) -> Iterator[Page]:
    page = Page(run)
    page.live.start()
    try:
        yield page
    finally:
        page.live.stop()


def _threads(run: Run) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"amlstore-watch-{run.id}"]


def test_an_error_is_a_line_and_what_follows_it_in_its_latest_state(run: Run) -> None:
    assert {"error": "", "error_lines": ""}.items() <= Page(run).state["shown"].items()
    run.fail("The script ended with exit code 1. Its last lines:\n10%\r100% of the work\nValueError: no rows")
    shown = Page(run).state["shown"]
    assert shown["error"] == "UserError: The script ended with exit code 1."
    assert shown["error_lines"] == "100% of the work\nValueError: no rows"


def test_each_kind_of_metric_has_what_its_chart_draws(run: Run) -> None:
    run.log("number", 3)
    for value in (1.0, math.nan, math.inf, 0.25):
        run.log("line", value)
    run.log_table("pairs", {"x": [1, 2], "y": [3.0, math.nan]})
    run.log_table("more", {"name": ["a", "b"], "x": [1, 2], "y": [3, 4]})
    run.log_list("texts", ["a", "b"])
    run.flush()
    parts = Page(run).parts
    assert list(parts) == ["number", "line", "pairs", "more", "texts"]
    assert (parts["number"]["kind"], parts["number"]["value"]) == ("number", 3.0)
    [curve] = parts["line"]["curves"]
    assert (parts["line"]["kind"], parts["line"]["x"]) == ("line", "step")
    assert (curve["x"], curve["y"], curve["infinite"]) == ([0, 1, 3], [1.0, None, 0.25], [(2, 1)])
    assert (parts["pairs"]["kind"], parts["pairs"]["data"]) == ("xy", {"x": [1, 2], "y": [3.0, None]})
    assert parts["pairs"]["rows"] == [[1, 3.0], [2, "NaN"]]
    assert (parts["more"]["kind"], list(parts["more"]["data"])) == ("axes", ["x", "y"])
    assert (parts["texts"]["kind"], parts["texts"]["rows"]) == ("table", [["a"], ["b"]])


def test_no_name_turns_the_text_around_it(run: Run) -> None:
    for value in (1.0, 0.5):
        run.log("loss \u202e", value)
    run.display_name = "run \u202e"
    run.flush()
    page = Page(run)
    assert page.state["head"]["name"] == "run \\u202e"
    [part] = page.parts.values()
    assert part["name"] == "loss \\u202e"
    assert part["metric"] == "loss \u202e"  # the kernel is asked by this
    assert part["curves"][0]["run_name"] == "loss \\u202e"


def test_only_what_has_changed_is_told_again(run: Run) -> None:
    for step in range(10):
        run.log("loss", 1 / (step + 1))
        run.log("accuracy", 0.5)
    run.flush()
    page = Page(run)
    assert page.live.look() == {}
    run.log("loss", 0.01)
    run.flush()
    changes = page.live.look()
    assert [part["name"] for part in changes.values()] == ["loss"]
    run.complete()
    assert set(page.live.look()) == {"head", "shown"}


def test_a_long_series_is_told_as_a_short_one_with_its_spike(run: Run) -> None:
    values = [math.sin(place / 1000) for place in range(200_000)]
    values[123_456] = 50.0
    run.log_list("long", values)
    run.flush()
    [curve] = Page(run).parts["long"]["curves"]
    assert curve["points_in_all"] == 200_000
    assert len(curve["x"]) < 2000
    assert curve["maximum"] == (123_456, 50.0)
    assert 50.0 in curve["y"]
    [zoomed] = part_of_curve(run, "long", "step", 100, (123_450, 123_460))["curves"]
    assert (zoomed["points_in_window"], len(zoomed["x"])) == (11, 11)


def test_what_is_written_is_told_while_it_is_watched(run: Run) -> None:
    with watched(run) as page:
        run.log("loss", 1.0)
        run.log("loss", 0.5)
        wait_for(lambda: "loss" in page.parts)
        child = run.child_run("fold 1")
        wait_for(lambda: page.state["children"] and page.state["children"]["rows"][0]["status"] == "Running")
        child.complete()
        wait_for(lambda: page.state["children"]["rows"][0]["status"] == "Completed")


def test_the_thread_ends_with_the_run(run: Run) -> None:
    with watched(run) as page:
        assert len(_threads(run)) == 1
        run.complete()
        wait_for(lambda: not _threads(run))
        assert page.state["head"]["status"] == "Completed"
        page.live.start()  # a view that comes later, of a run that has ended
        wait_for(lambda: not _threads(run))


def test_it_goes_on_as_long_as_a_child_does(run: Run) -> None:
    child = run.child_run("fold 1")
    with watched(run) as page:
        run.complete()
        wait_for(lambda: page.state["head"]["status"] == "Completed")
        child.log("mse", 1)
        child.complete()
        wait_for(lambda: page.state["children"]["rows"][0]["status"] == "Completed")
        wait_for(lambda: not _threads(run))


def test_the_thread_ends_when_it_is_closed(run: Run) -> None:
    with watched(run) as page:
        assert page.live.is_watched
        page.live.stop()
        wait_for(lambda: not _threads(run))
        assert not page.live.is_watched
        page.live.start()
        run.log("late", 1)
        wait_for(lambda: "late" in page.parts)


def test_a_child_is_shown_in_place_of_its_parent(run: Run) -> None:
    run.log("loss", 1.0)
    run.log("alpha", 1.0)
    with run.child_run("fold 1") as child:
        child.log("mse", 0.5)
    run.complete()
    page = Page(run)
    page.live.show(child.id)
    wait_for(lambda: list(page.parts) == ["mse"])
    assert (page.state["head"]["run_id"], page.state["shown"]["run_id"]) == (run.id, child.id)
    with pytest.raises(NotFound):
        page.live.show("never")
    page.live.show(run.id)
    wait_for(lambda: set(page.parts) == {"loss", "alpha"})


def test_the_best_child_is_marked_as_the_sweep_or_the_metrics_name_says(workspace: Workspace) -> None:
    def best_of(metric: str, **tags: str) -> Any:
        parent = Experiment(workspace, metric).start_logging()
        parent.set_tags(tags)
        for value in (1, 3, 2):
            with parent.child_run(str(value)) as child:
                child.log(metric, value)
        return Page(parent).state["children"]["best"]

    assert best_of("mse") == {"metric": "mse", "goal": "minimize"}
    assert best_of("accuracy") == {"metric": "accuracy", "goal": "maximize"}
    sweep = '{"name": "mse", "goal": "MAXIMIZE"}'
    assert best_of("mse", primary_metric_config=sweep) == {"metric": "mse", "goal": "maximize"}


def test_of_a_log_that_grows_the_last_piece_is_told_again(run: Run, tmp_path: Path) -> None:
    def write(content: bytes) -> None:
        (tmp_path / "log").write_bytes(content)
        run.upload_file("logs/train.txt", tmp_path / "log")

    content = b"".join(b"line %d\n" % number for number in range(2000))
    write(content)
    page = Page(run)
    assert page.log == content.decode()
    write(content + b"\r10%\r20%")
    changes = page.live.look()
    assert set(changes) == {"log"}
    page._take(changes)
    assert page.log == content.decode() + "20%"
    write(content + b"\r10%\r20%\r100%\nlast")
    changes = page.live.look()
    assert len(changes) == 2
    page._take(changes)
    assert page.log == content.decode() + "100%\nlast"


def test_of_a_long_log_the_end_is_told(run: Run, tmp_path: Path) -> None:
    content = b"".join(b"line %d\n" % number for number in range(100_000))
    (tmp_path / "log").write_bytes(content)
    run.upload_file("logs/train.txt", tmp_path / "log")
    page = Page(run)
    assert content.decode().endswith(page.log)
    assert 32_000 < len(page.log) <= 64 * 1024
    assert page.log.startswith("line ")
    assert page.state["log"]["is_cut"]
    assert LogTail(run).last_lines(2) == ["line 99998", "line 99999"]


def test_a_run_over_a_service_is_watched_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ForkedService(tmp_path / "served") as service:
        monkeypatch.setenv("AMLSTORE_KEY", service.key)
        workspace = Workspace.from_url(service.url)
        run = Experiment(workspace, "diabetes").start_logging(snapshot_directory=None)
        with run.child_run("fold 1") as child:
            child.log("mse", 0.5)
        with watched(run) as page:
            run.log("loss", 1.0)
            run.log("loss", 0.5)
            run.flush()
            wait_for(lambda: page.parts.get("loss", {}).get("kind") == "line")
            assert page.state["children"]["rows"][0]["metrics"] == {"mse": 0.5}
            assert page.state["head"]["url"] == f"{service.url}/runs/{run.id}"
            [zoomed] = part_of_curve(run, "loss", "step", 100, (1, 5))["curves"]
            assert (zoomed["x"], zoomed["y"], zoomed["points_in_all"]) == ([1], [0.5], 2)
            run.complete()
            wait_for(lambda: page.state["head"]["status"] == "Completed")
        workspace.close()
