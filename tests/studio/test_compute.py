"""The Compute page: what runs are submitted to, what is queued and running there, and canceling it."""

import importlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from filled_workspace import Filled
from waiting import wait_for

from mlflow_amlstore.core import Experiment, Workspace
from mlflow_amlstore.core.compute import AmlCompute, ComputeTarget
from mlflow_amlstore.core.script_run import ScriptRun
from mlflow_amlstore.core.script_run_config import ScriptRunConfig
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import RunStatus
from mlflow_amlstore.runner.launch import RunFolder
from mlflow_amlstore.runner.processes import of_folder
from mlflow_amlstore.workspace.opening import open_folder

from .conftest import Person, Studio

SLEEPS = "import time\nprint('begun', flush=True)\ntime.sleep(600)\n"
WIDE, NARROW = (1440, 900), (360, 740)
LOOKS = [
    pytest.param(WIDE, "light", id="wide light"),
    pytest.param(NARROW, "dark", id="narrow dark"),
    pytest.param(WIDE, "dark", id="wide dark", marks=pytest.mark.full),
    pytest.param(NARROW, "light", id="narrow light", marks=pytest.mark.full),
]


class Queue(NamedTuple):
    """A workspace with one target of one slot, whose name is this test's own, as this machine's user shares slots."""

    workspace: Workspace
    records: RecordStore
    studio: Studio
    target: str
    source: Path

    def submit(self, name: str, *, under: ScriptRun | None = None) -> ScriptRun:
        config = ScriptRunConfig(str(self.source), "train.py", compute_target=self.target)
        run = under.submit_child(config) if under else Experiment(self.workspace, "queued").submit(config)
        self.records.runs.update(run.id, name=name)
        return run  # type: ignore[return-value]


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    workspace = Workspace.create(tmp_path / "workspace")
    target = f"box-{tmp_path.name[-8:].strip('-_')}-{time.time_ns() % 10**9}"
    ComputeTarget.create(workspace, target, AmlCompute.provisioning_configuration(max_nodes=1))
    source = tmp_path / "source"
    source.mkdir()
    (source / "train.py").write_text(SLEEPS)
    records = open_folder(tmp_path / "workspace").records
    with Studio(Filled(tmp_path / "workspace", "", "", [], "", [], "", "", "", "")) as studio:
        yield Queue(workspace, records, studio, target, source)
        going_on = [entry.info.run_id for entry in records.runs.queue() if entry.target]
        for run_id in going_on:
            records.runs.advance(run_id, RunStatus.CANCEL_REQUESTED)
        wait_for(lambda: not [entry for entry in records.runs.queue() if entry.target])
    records.close()
    workspace.close()


@pytest.fixture
def visit_as(browser: Any) -> Iterator[Callable[..., Any]]:
    """Begin somebody's visit, which must have nothing to complain of."""
    module = importlib.import_module("browser")
    visits = []
    with ExitStack() as open_visits:

        def begin(person: Person, **given: Any) -> Any:
            visits.append(open_visits.enter_context(module.visit(browser, person.url, person.storage_state, **given)))
            return visits[-1]

        yield begin
        assert [complaint for visiting in visits for complaint in visiting.complaints] == []


def status_of(queue: Queue, run: ScriptRun) -> RunStatus:
    return queue.records.runs.get(run.id).info.status


def processes_of(run: ScriptRun) -> list[int]:
    return list(of_folder(RunFolder.of(run.id).path))


def test_the_targets_and_what_goes_on_are_told(queue: Queue) -> None:
    first, second, third = (queue.submit(name) for name in ("first", "second", "third"))
    wait_for(lambda: status_of(queue, first) is RunStatus.RUNNING)
    child = queue.submit("child", under=first)
    wait_for(lambda: status_of(queue, child) is RunStatus.QUEUED)
    experiment = queue.records.experiments.create("logged by itself")
    by_itself = queue.records.runs.create(experiment, name="no script", user_id="ana", start_ms=5).info.run_id

    page = queue.studio.person("reader").data("/compute.json")

    [local, target] = page["targets"]
    assert local["name"] == "local"
    assert local["slots"] == local["free"] >= 1
    assert target == {
        "name": queue.target,
        "kind": "Slots of the machine that submits",
        "slots": 1,
        "used": 1,
        "free": 0,
        "waiting": 3,
    }
    assert (page["running"], page["waiting"]) == (2, 3)
    assert [(row["run_id"], row["status"], row["position"]) for row in page["rows"]] == [
        (first.id, "Running", None),
        (second.id, "Queued", 1),
        (third.id, "Queued", 2),
        (child.id, "Queued", 3),
        (by_itself, "Running", None),
    ]
    assert [row["target"] for row in page["rows"]] == [queue.target] * 4 + [None]
    rows = {row["name"]: row for row in page["rows"]}
    assert (rows["child"]["parent_run_id"], rows["child"]["parent"]) == (first.id, "first")
    assert (rows["no script"]["experiment"], rows["no script"]["who"], rows["no script"]["since_ms"]) == (
        "logged by itself",
        "ana",
        5,
    )
    assert rows["first"]["since_ms"] == queue.records.runs.get(first.id).info.start_ms
    assert rows["second"]["since_ms"] == queue.records.runs.get(second.id).info.created_ms
    of_target = queue.studio.person("reader").data(f"/compute.json?target={queue.target}")
    assert [row["name"] for row in of_target["rows"]] == ["first", "second", "third", "child"]


def test_a_target_that_is_an_address_or_was_deleted_is_told_while_runs_are_there(queue: Queue) -> None:
    for target in ("ray://head:10001", "gone"):
        queue.records.runs.create("0", name=target, status=RunStatus.RUNNING, start_ms=5, definition={"target": target})
    targets = {target["name"]: target for target in queue.studio.person().data("/compute.json")["targets"]}
    assert (targets["ray://head:10001"]["kind"], targets["ray://head:10001"]["free"]) == ("Ray address", None)
    assert (targets["gone"]["kind"], targets["gone"]["used"]) == ("Deleted", 1)
    for entry in queue.records.runs.queue():
        queue.records.runs.update(entry.info.run_id, status=RunStatus.CANCELED, end_ms=6)


def test_a_long_queue_comes_in_pages(queue: Queue) -> None:
    for number in range(205):
        queue.records.runs.create("0", name=str(number), status=RunStatus.QUEUED, definition={"target": queue.target})
    person = queue.studio.person()
    first, second = (person.data(f"/compute.json?page={page}") for page in (1, 2))
    assert [row["position"] for row in first["rows"] + second["rows"]] == list(range(1, 206))
    assert (first["waiting"], first["next_page"], second["next_page"]) == (205, 2, None)
    assert "for page: must be 1 or more" in person.get("/compute.json?page=0", "application/json").text
    for entry in queue.records.runs.queue():
        queue.records.runs.update(entry.info.run_id, status=RunStatus.CANCELED, end_ms=6)


def test_canceling_ends_a_script_and_what_waits_never_starts(queue: Queue) -> None:
    running, waiting, next_one = (queue.submit(name) for name in ("running", "waiting", "next"))
    wait_for(lambda: status_of(queue, running) is RunStatus.RUNNING)
    wait_for(lambda: status_of(queue, next_one) is RunStatus.QUEUED)
    assert processes_of(running)
    person = queue.studio.person("contributor")

    person.change("/runs/cancel", runs=waiting.id).raise_for_status()
    wait_for(lambda: status_of(queue, waiting) is RunStatus.CANCELED)
    assert status_of(queue, running) is RunStatus.RUNNING
    assert queue.records.runs.get(waiting.id).info.start_ms is None

    person.change("/runs/cancel", runs=running.id).raise_for_status()
    wait_for(lambda: status_of(queue, running) is RunStatus.CANCELED)
    wait_for(lambda: not processes_of(running))
    wait_for(lambda: status_of(queue, next_one) is RunStatus.RUNNING)
    act = person.data(f"/runs/{running.id}.json")["acts"][0]
    assert act["act"] == "canceled"


def test_a_run_that_wasnt_submitted_is_marked_and_one_that_has_ended_stays(queue: Queue) -> None:
    by_itself = queue.records.runs.create("0", start_ms=5).info.run_id
    ended = queue.records.runs.create("0", start_ms=5).info.run_id
    queue.records.runs.update(ended, status=RunStatus.FAILED, end_ms=7)
    queue.studio.person().change("/runs/cancel", runs=f"{by_itself},{ended}").raise_for_status()
    info = queue.records.runs.get(by_itself).info
    assert info.status is RunStatus.CANCELED
    assert info.end_ms is not None
    assert queue.records.runs.get(ended).info.status is RunStatus.FAILED


def test_a_reader_sees_the_queue_and_cancels_nothing(queue: Queue) -> None:
    run = queue.submit("kept")
    wait_for(lambda: status_of(queue, run) is RunStatus.RUNNING)
    reader = queue.studio.person("reader")
    page = reader.get("/compute").text
    assert ">kept</a>" in page
    assert "/cancel" not in page
    assert reader.change("/runs/cancel", runs=run.id).status_code == 403
    assert status_of(queue, run) is RunStatus.RUNNING


@pytest.mark.needs("playwright")
class TestPage:
    @pytest.mark.parametrize(("size", "scheme"), LOOKS)
    def test_it_is_whole_while_runs_come_and_go(
        self, queue: Queue, visit_as: Callable[..., Any], pictures: Path, size: tuple[int, int], scheme: str
    ) -> None:
        """Empty, it says how to submit; what is submitted appears; nothing but the rows themselves moves."""
        visiting = visit_as(queue.studio.person(), size=size, scheme=scheme).open("/compute")
        page = visiting.page
        visiting.keep_picture(pictures, f"compute, nothing goes on, {size[0]} {scheme}")
        assert "Experiment(workspace" in page.locator("#queue pre").text_content()
        assert visiting.violations() == []

        first, second = queue.submit("first"), queue.submit("second")
        queue.submit("a child with a name that goes on and on and is longer than its column", under=first)
        page.locator("table.queue tbody tr:nth-child(3) .muted", has_text="position 2").wait_for()
        page.wait_for_function("() => /0:0[1-9]/.test(document.querySelector('tbody td.for').textContent)")
        visiting.keep_picture(pictures, f"compute, {size[0]} {scheme}")
        assert visiting.violations() == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        widths = "() => [...document.querySelectorAll('table.queue thead th')].map(cell => cell.offsetWidth)"
        before = page.evaluate(widths)
        queue.records.runs.advance(second.id, RunStatus.CANCEL_REQUESTED)
        page.locator(f"tr[data-run='{second.id}']").wait_for(state="detached")
        page.locator("table.queue .muted", has_text="position 1").wait_for()
        assert page.evaluate(widths) == before

    @pytest.mark.parametrize("size", [pytest.param(WIDE, id="1440"), pytest.param(NARROW, id="360")])
    def test_runs_are_canceled_by_keyboard(
        self, queue: Queue, visit_as: Callable[..., Any], size: tuple[int, int]
    ) -> None:
        """One by its row's button, the others chosen; the page shows their ends by itself."""
        runs = [queue.submit(name) for name in ("first", "second", "third")]
        wait_for(lambda: status_of(queue, runs[0]) is RunStatus.RUNNING)
        wait_for(lambda: status_of(queue, runs[2]) is RunStatus.QUEUED)
        visiting = visit_as(queue.studio.person("contributor"), size=size).open("/runs")
        page = visiting.page
        for key in ("g", "c"):
            page.keyboard.press(key)
        page.wait_for_url("**/compute")
        visiting.settle()
        assert page.locator("nav [aria-current=page]").text_content().strip().startswith("Compute")
        page.keyboard.press("j")
        tab_to(page, "Cancel first")
        page.keyboard.press("Enter")
        assert page.get_by_role("dialog", name="Cancel first?").is_visible()
        page.keyboard.press("Enter")
        wait_for(lambda: status_of(queue, runs[0]) is RunStatus.CANCELED)
        page.locator(f"tr[data-run='{runs[0].id}']").wait_for(state="detached")
        for key in ("j", "x", "j", "x"):
            page.keyboard.press(key)
        page.locator("[data-chosen-count]", has_text="2").wait_for()
        tab_to(page, "Cancel runs")
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        page.get_by_text("Nothing is queued or running").wait_for()
        assert [status_of(queue, run) for run in runs] == [RunStatus.CANCELED] * 3
        assert page.locator(".chosen-bar").is_hidden()


def tab_to(page: Any, name: str) -> None:
    """Press Tab until what has this name has the focus."""
    focused = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(focused) == name:
            return
    raise AssertionError(f"Tab doesn't lead to {name}")
