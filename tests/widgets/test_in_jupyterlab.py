"""`RunDetails(run).show()` in a real JupyterLab: what the run does is seen as it does it, without a server to ask."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.needs("anywidget", "jupyterlab", "ipykernel", "playwright", "axe_playwright_python")

TRAIN = """
import math, sys, time
from pathlib import Path
from azureml.core import Run

go_on, end = map(Path, sys.argv[1:])

def wait_for(file):
    while not file.exists():
        time.sleep(0.02)

run = Run.get_context()
run.log("batch size", 32)
for step in range(60):
    run.log("loss", math.exp(-step / 15))
    run.log("accuracy", 1 - math.exp(-step / 20))
for angle in range(0, 360, 10):
    run.log_row("Cosine wave", angle=angle, cos=math.cos(math.radians(angle)))
run.log_table("three", {"a": [1, 2, 3], "b": [1, 4, 9], "c": [1, 8, 27]})
run.log_list("stages", ["warm-up", "training"])
run.log_confusion_matrix("confusion", {
    "schema_type": "confusion_matrix", "schema_version": "1.0.0",
    "data": {"class_labels": ["cat", "dog", "bird"], "matrix": [[80, 12, 3], [10, 90, 1], [2, 3, 40]]},
})
run.log_image("picture", path="picture.png")
for number, offset in enumerate((0.3, 0.1, 0.2), 1):
    with run.child_run(f"fold {number}") as child:
        for step in range(20):
            child.log("mse", 1 / (step + 1) + offset)
print("2026-11-30 14:02:31 loading", flush=True)
print("WARNING ill-conditioned matrix")
sys.stdout.write("\\r10% of the work\\r50% of the work")
sys.stdout.flush()
wait_for(go_on)
run.log("loss", 0.75)
run.log("late", 1)
run.log("late", 2)
sys.stdout.write("\\r100% of the work\\n")
wait_for(end)
print("done")
"""
SHOW = """
from mlflow_amlstore import install_as_azureml
install_as_azureml()
from azureml.core import Experiment, ScriptRunConfig, Workspace
from azureml.core.compute import AmlCompute, ComputeTarget
from azureml.widgets import RunDetails
ws = Workspace.create({folder!r} + "/workspace")
target = ComputeTarget.create(ws, "widget-tests", AmlCompute.provisioning_configuration(max_nodes=8))
files = [{folder!r} + "/go", {folder!r} + "/end"]
config = ScriptRunConfig({folder!r} + "/source", script="train.py", arguments=files, compute_target=target)
run = Experiment(ws, "ridge sweep").submit(config)
details = RunDetails(run)
details.show()
"""
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080600000"
    "01f15c4890000000d49444154789c63f8cfc0f01f0005000201ff1c9bd8d00000000049454e44ae426082"
)
_INK = """canvas => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let ink = 0;
    for (let at = 3; at < data.length; at += 4) ink += data[at] > 0;
    return ink;
}"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the notebook's source folder and workspace are, and the files that let its script go on."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "train.py").write_text(TRAIN, encoding="utf-8")
    (source / "picture.png").write_bytes(PNG)
    yield tmp_path
    for name in ("go", "end"):  # whatever happened, the script ends
        (tmp_path / name).touch()


def _widget(page: Any, selector: str, **given: Any) -> Any:
    return page.locator(f".run-widget {selector}", **given)


def _lines(page: Any) -> list[str]:
    return str(_widget(page, "pre.log").text_content()).splitlines()


def _wait_for_ink(chart: Any) -> None:
    """Wait until something is drawn in a chart."""
    chart.locator("canvas").wait_for()
    handle = chart.locator("canvas").element_handle()
    chart.page.wait_for_function(f"canvas => ({_INK})(canvas) > 200", arg=handle)


def _violations(page: Any) -> list[str]:
    """What axe finds in the widget against WCAG 2.2, levels A and AA."""
    from axe_playwright_python.sync_playwright import Axe

    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    within = {"include": [{"fromShadowDom": ["[data-lm-suppress-shortcuts][data-theme]", ".run-widget"]}]}
    results = Axe().run(page, context=within, options={"runOnly": {"type": "tag", "values": tags}})
    assert results.response["passes"]  # it has looked at something
    return [
        f"{found['id']}: {node['target']} {node['failureSummary']}"
        for found in results.response["violations"]
        for node in found["nodes"]
    ]


def test_a_submitted_run_is_seen_from_its_start_to_its_end(lab: Any, page: Any, folder: Path, pictures: Path) -> None:
    lab.write("live.ipynb", [SHOW.format(folder=str(folder))])
    notebook = lab.open(page, "live.ipynb")
    notebook.run()

    # Each kind of metric has its chart; a progress bar's line has its latest state.
    loss = _widget(page, "metric-chart[heading=loss]")
    _wait_for_ink(loss)
    loss.get_by_text("All 60 points").wait_for()
    _widget(page, "pre.log", has_text="50% of the work").wait_for()
    assert _lines(page) == ["2026-11-30 14:02:31 loading", "WARNING ill-conditioned matrix", "50% of the work"]
    _widget(page, ".run-head > .status", has_text="Running").wait_for()
    _wait_for_ink(_widget(page, 'metric-chart[heading="Cosine wave"]'))
    _wait_for_ink(_widget(page, "[data-metric=three] metric-chart"))
    assert _widget(page, "[data-metric=confusion] td.right").all_text_contents() == ["80", "90", "40"]
    assert _widget(page, "[data-metric=stages] td").all_text_contents() == ["warm-up", "training"]
    assert _widget(page, '[data-metric="batch size"] dd').text_content() == "32"
    assert _widget(page, "[data-metric=picture] img").get_attribute("src").startswith("data:image/png;base64,")

    # What is logged later comes by itself. JupyterLab's own questions go on; the widget asks nothing.
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    (folder / "go").touch()
    loss.get_by_text("All 61 points").wait_for()
    assert loss.locator(".chart-value").text_content() == "0.75"
    _wait_for_ink(_widget(page, "metric-chart[heading=late]"))
    _widget(page, "pre.log", has_text="100% of the work").wait_for()
    assert [url for url in asked if not url.startswith(f"{lab.url}api/") and "/lab/api/" not in url] == []

    # A child run shows its own chart, and the way back.
    assert _widget(page, ".child-runs tr:has(.best) button").all_text_contents() == ["fold 2"]
    _widget(page, ".child-runs button", has_text="fold 1").click()
    _widget(page, ".shown-head h2", has_text="fold 1").wait_for()
    _wait_for_ink(_widget(page, "metric-chart[heading=mse]"))
    assert _widget(page, "metric-chart[heading=loss]").count() == 0
    page.screenshot(path=pictures / "widget-child.png")
    page.get_by_role("button", name="Back to the parent").click()
    _wait_for_ink(_widget(page, "metric-chart[heading=loss]"))

    # A zoom asks the kernel for the points in between.
    loss.evaluate("chart => chart.zoom(0, 10)")
    loss.get_by_text("11 of 61 points").wait_for()
    loss.get_by_role("button", name="Show all of loss").click()

    (folder / "end").touch()
    _widget(page, ".run-head > .status", has_text="Completed").wait_for()
    assert _lines(page)[-2:] == ["100% of the work", "done"]

    for theme in ("Light", "Dark"):
        notebook.command("apputils:change-theme", theme=f"JupyterLab {theme}")
        page.locator(f"[data-theme={theme.lower()}] .run-widget").wait_for()
        for width in (1280, 560):
            page.set_viewport_size({"width": width, "height": 1800 if width > 1000 else 2600})
            _wait_for_ink(_widget(page, "metric-chart[heading=loss]"))
            page.screenshot(path=pictures / f"widget-{theme.lower()}-{width}.png")
        assert _violations(page) == []


def test_a_run_is_watched_while_the_kernel_works_on_a_cell(lab: Any, page: Any, folder: Path) -> None:
    lab.write("busy.ipynb", [SHOW.format(folder=str(folder)), "details_of_run = run.wait_for_completion()"])
    notebook = lab.open(page, "busy.ipynb")
    notebook.run()
    _widget(page, "metric-chart[heading=loss]").get_by_text("All 60 points").wait_for()
    assert notebook.is_busy
    (folder / "go").touch()
    _widget(page, "metric-chart[heading=loss]").get_by_text("All 61 points").wait_for()
    assert notebook.is_busy
    (folder / "end").touch()
    _widget(page, ".run-head > .status", has_text="Completed").wait_for()


def test_runs_of_the_past_are_shown_by_their_ids_and_one_that_failed_says_why_first(
    lab: Any, page: Any, folder: Path
) -> None:
    past = f"""
from mlflow_amlstore.core import Experiment, Run, Workspace
from mlflow_amlstore.widgets import RunDetails
ws = Workspace.create({str(folder)!r} + "/workspace")
with Experiment(ws, "past").start_logging(snapshot_directory=None) as run:
    for step in range(10):
        run.log("loss", 1 / (step + 1))
RunDetails(Run.get(ws, run.id)).show()
"""
    failed = """
from pathlib import Path
run = Experiment(ws, "past").start_logging(snapshot_directory=None)
run.log("loss", 1)
Path("train.txt").write_text("Traceback: no rows left")
run.upload_file("logs/train.txt", "train.txt")
run.fail("no rows left")
RunDetails(run).show()
"""
    lab.write("past.ipynb", [past, "RunDetails(Run.get(ws, run.id)).show()", failed])
    lab.open(page, "past.ipynb").run()
    charts = _widget(page, "metric-chart[heading=loss]")
    for place in range(2):
        _wait_for_ink(charts.nth(place))
    _widget(page, ".error-banner", has_text="UserError: no rows left").wait_for()
    assert _widget(page, ".run-head > .status").all_text_contents() == ["Completed", "Completed", "Failed"]
    shown = "widget => [...widget.children].filter(part => part.checkVisibility()).map(part => part.className)"
    parts = page.locator(".run-widget").nth(2).evaluate(shown)
    assert parts == ["head run-head", "error-banner", "log-pane", "metrics"]


FAILS = """
for number in range(40):
    print("line", number, "of a log that is longer than the widget, and breaks into more where that is narrow")
raise ValueError("no rows left")
"""


def test_a_failed_script_shows_the_end_of_its_log_once_and_stays_there_in_a_narrow_window(
    lab: Any, page: Any, folder: Path, pictures: Path
) -> None:
    (folder / "source" / "train.py").write_text(FAILS, encoding="utf-8")
    waited = "_ = run.wait_for_completion(raise_on_error=False)"
    lab.write("failed.ipynb", [SHOW.format(folder=str(folder)), waited])
    notebook = lab.open(page, "failed.ipynb")
    notebook.run()
    banner = _widget(page, ".error-banner")
    banner.get_by_text("UserError: The script ended with exit code 1.", exact=True).wait_for()
    end = "log => log.clientHeight > 0 && log.scrollHeight - log.scrollTop - log.clientHeight < 2"
    log = _widget(page, "pre.log", has_text="ValueError: no rows left").element_handle()
    page.wait_for_function(end, arg=log)

    # Its last lines are in the error, too: at a click, as they are in the log below.
    details = banner.get_by_label("Details of the error")
    assert not details.is_visible()
    banner.get_by_text("Details", exact=True).click()
    assert "ValueError: no rows left" in details.text_content()
    assert _violations(page) == []

    page.set_viewport_size({"width": 560, "height": 1800})
    page.wait_for_function("log => log.clientWidth < 500", arg=log)
    page.wait_for_function(end, arg=log)
    page.screenshot(path=pictures / "widget-failed-560.png")


SWEEP = """
from azureml.core import Run
run = Run.get_context()
for name, mse in (("ridge", 3312.25), ("a gradient-boosted ensemble with a name that is long", 2987.5)):
    with run.child_run(name) as child:
        child.log("mse", mse)
"""


def test_the_best_child_is_in_view_in_a_narrow_window(lab: Any, page: Any, folder: Path, pictures: Path) -> None:
    (folder / "source" / "train.py").write_text(SWEEP, encoding="utf-8")
    lab.write("sweep.ipynb", [SHOW.format(folder=str(folder))])
    page.set_viewport_size({"width": 560, "height": 1200})
    lab.open(page, "sweep.ipynb").run()
    _widget(page, ".run-head > .status", has_text="Completed").wait_for()
    best = _widget(page, ".child-runs .best")
    assert best.text_content() == "best2\u202f987.5"  # numbers stand below each other
    edges = "cell => [cell, cell.closest('.scroll')].map(element => element.getBoundingClientRect().right)"
    right, edge = best.evaluate(edges)
    assert right <= edge
    assert "ensemble" in _widget(page, ".child-runs tr:has(.best) button").text_content()
    assert _widget(page, ".child-runs td > .status").all_text_contents() == ["Completed"] * 2
    assert _violations(page) == []
    page.screenshot(path=pictures / "widget-sweep-560.png")
