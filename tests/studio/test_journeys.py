"""What people come for, done with the keyboard alone, at both widths. Each journey is recorded key by key."""

import io
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filled_workspace import STARTED_MS, Filled

from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import RunStatus
from mlflow_amlstore.workspace.opening import create_workspace, open_folder

from .conftest import Person, Studio

pytestmark = pytest.mark.needs("playwright")
SIZES = [pytest.param((1440, 900), id="1440"), pytest.param((360, 740), id="360")]
_MANY = 1000
_MOST_TABS = 150
_FOCUS = """() => {
    const element = document.activeElement;
    const label = element.labels?.[0]?.textContent || element.getAttribute("aria-label") || element.textContent;
    return `${element.localName} ${(label || element.value || "").replace(/\\s+/g, " ").trim().slice(0, 60)}`;
}"""


class Journey:
    """Keys that are pressed, and what has the focus after each."""

    def __init__(self, visiting: Any, folder: Path, name: str) -> None:
        self.page = visiting.page
        self._visiting = visiting
        self._record = folder / f"{name}.txt"
        self._picture = folder / f"{name}.png"
        self._lines: list[str] = []

    def press(self, *keys: str, to: str = "") -> None:
        """Press keys; the last one leads to another page where there is one `to` come to."""
        for number, key in enumerate(keys, 1):
            self.page.keyboard.press(key)
            if to and number == len(keys):
                self._lines.append(key)
                self.arrive(to)
            else:
                self._note(key)

    def write(self, text: str) -> None:
        self.page.keyboard.type(text)
        self._note(f'writes "{text}"')

    def tab_to(self, words: str) -> None:
        """Press Tab until what has the focus says so."""
        for number in range(1, _MOST_TABS):
            self.page.keyboard.press("Tab")
            if words in self.page.evaluate(_FOCUS):
                self._note(f"Tab × {number}")
                return
        raise AssertionError(f"no Tab leads to {words!r}")

    def arrive(self, path: str) -> None:
        """Wait for a page."""
        self.page.wait_for_url(path)
        self._visiting.settle()
        self._lines.append(f"→ {self.page.title()}")

    def end(self) -> None:
        """Keep the record, and a picture of where the journey ended."""
        self._record.parent.mkdir(parents=True, exist_ok=True)
        self._record.write_text("\n".join(self._lines) + "\n", encoding="utf-8")
        self.page.screenshot(path=self._picture)

    def _note(self, key: str) -> None:
        self._lines.append(f"{key:24} {self.page.evaluate(_FOCUS)}")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Studio, Person, str]]:
    """A Studio with a thousand runs, its owner, and the run whose loss was the lowest of all on its way."""
    folder = tmp_path_factory.mktemp("many") / "workspace"
    create_workspace(folder)
    records = open_folder(folder).records
    rng = random.Random(5)
    best = ""
    for number in range(_MANY):
        run = records.runs.create("0", name=f"run {number}", start_ms=STARTED_MS + number, user_id="ana")
        run_id = run.info.run_id
        lowest = 0.001 if number == 137 else 0.1 + rng.random()
        points = [("loss", value, step, STARTED_MS) for step, value in enumerate((2.0, lowest, 1.0))]
        records.runs.log(run_id, points=points, params=[("lr", str(number / 10))])
        records.runs.update(run_id, status=RunStatus.COMPLETED, end_ms=STARTED_MS + number + 1000)
        best = run_id if number == 137 else best
    records.close()
    with Studio(Filled(folder, "0", best, [], "", [], "", "", "", "")) as running:
        yield running, running.person("owner"), best


@pytest.mark.parametrize("size", SIZES)
def test_the_best_of_a_thousand_runs_by_a_metrics_minimum(
    visit: Callable[..., Any], many: tuple[Studio, Person, str], pictures: Path, size: tuple[int, int]
) -> None:
    _, person, best = many
    visiting = visit(person, size=size).open("/")
    journey = Journey(visiting, pictures, f"journey, the best of a thousand, {size[0]}")
    journey.press("g", "r", to="**/runs")
    journey.tab_to("Columns")
    journey.press("Enter")
    journey.write("loss")
    journey.tab_to("loss, min")
    journey.press("Space")
    journey.tab_to("Show")
    journey.press("Enter", to="**/runs?columns=*")
    journey.tab_to("loss min")
    journey.press("Enter", to="**sort=metrics.loss%3Amin*")
    journey.press("j", "Enter", to=f"**/runs/{best}")
    assert journey.page.locator("h1").text_content() == "run 137"
    assert "0.001" in journey.page.locator("#metrics").text_content()
    journey.end()


@pytest.mark.parametrize("size", SIZES)
def test_three_runs_are_compared(
    visit: Callable[..., Any], filled: Filled, pictures: Path, size: tuple[int, int]
) -> None:
    visiting = visit(size=size).open(f"/experiments/{filled.experiment}/runs?filter=metrics.mse+%3E+0")
    journey = Journey(visiting, pictures, f"journey, three runs compared, {size[0]}")
    journey.press("j", "x", "j", "x", "j", "x", "c", to="**/compare?runs=*")
    assert journey.page.locator("h1").text_content() == "3 runs"
    journey.tab_to("mse, chart")
    journey.press("End", "ArrowDown", "Enter")
    assert journey.page.get_by_role("dialog").is_visible()
    journey.press("Escape")
    journey.end()


@pytest.mark.parametrize("size", SIZES)
def test_a_log_is_found_and_searched_and_all_outputs_are_zipped(
    visit: Callable[..., Any], filled: Filled, pictures: Path, size: tuple[int, int]
) -> None:
    visiting = visit(size=size).open(f"/runs/{filled.kinds}")
    journey = Journey(visiting, pictures, f"journey, a log and all outputs, {size[0]}")
    journey.tab_to("Outputs + logs")
    journey.press("Enter", to="**/outputs")
    journey.tab_to("user_logs/")
    journey.press("Enter", to="**folder=user_logs*")
    journey.tab_to("std_log.txt")
    journey.press("Enter", to="**path=user_logs*")
    journey.press("/")
    journey.write("epoch 42 ")
    journey.page.locator(".log-view [role=status]", has_text="1").wait_for()
    journey.press("Enter")
    journey.page.go_back()
    journey.page.go_back()
    journey.arrive("**/outputs")
    journey.tab_to("Download all")
    with journey.page.expect_download() as download:
        journey.press("Enter")
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as zipped:
        assert zipped.testzip() is None
        assert b"epoch 42 " in zipped.read("user_logs/std_log.txt")
    journey.end()


@pytest.mark.parametrize("size", SIZES)
def test_why_a_run_failed(
    visit: Callable[..., Any], filled: Filled, records: RecordStore, pictures: Path, size: tuple[int, int]
) -> None:
    visiting = visit(size=size).open("/")
    journey = Journey(visiting, pictures, f"journey, why a run failed, {size[0]}")
    journey.press("g", "r", to="**/runs")
    journey.press("/")
    journey.write("status = 'FAILED'")
    journey.press("Enter", to="**filter=*")
    journey.press("j", "Enter", to=f"**/runs/{filled.failed}")
    failure = journey.page.locator("#failure")
    assert failure.bounding_box()["y"] < size[1]
    assert "ValueError: ill-conditioned matrix" in failure.get_by_role("alert").text_content()
    log = failure.locator("pre.log")
    assert log.text_content().endswith("ValueError: ill-conditioned matrix\n")
    assert log.evaluate("log => log.scrollTop > 0 && log.scrollHeight - log.scrollTop - log.clientHeight < 2")
    coloured = log.locator(".error").count()
    assert coloured > 0
    journey.page.evaluate("() => document.addEventListener('studio:changed', () => (window.changed = true))")
    records.runs.log(filled.failed, tags=[("seen", str(size[0]))])
    journey.page.wait_for_function("() => window.changed")  # the page was brought up to date
    assert log.locator(".error").count() == coloured
    journey.end()
