"""A notification of the browser's when a run ends that somebody watches."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from filled_workspace import STARTED_MS, Filled

from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import RunStatus

from .conftest import Person

BELL = "Tell me when it ends"
# What pages tell is kept in the browser's storage, so that a test sees it whichever page told.
_NOTES_DOWN = """
    const Original = window.Notification;
    window.Notification = class extends Original {
        constructor(title, options) {
            super(title, options);
            const told = JSON.parse(localStorage.getItem('told') ?? '[]');
            localStorage.setItem('told', JSON.stringify([...told, [title, options.body, options.tag]]));
        }
    };
"""
_IN_BACKGROUND = """() => {
    Object.defineProperty(document, 'hidden', { get: () => true });
    Object.defineProperty(document, 'visibilityState', { get: () => 'hidden' });
    document.dispatchEvent(new Event('visibilitychange'));
}"""


def start_run(records: RecordStore, name: str) -> str:
    return records.runs.create("0", name=name, start_ms=STARTED_MS).info.run_id


def end_run(records: RecordStore, run_id: str, status: RunStatus = RunStatus.COMPLETED) -> None:
    records.runs.update(run_id, status=status, end_ms=STARTED_MS + 252_000)


def test_statuses_are_told_of_the_runs_that_there_are(owner: Person, filled: Filled) -> None:
    answer = owner.data(f"/statuses.json?runs={filled.best},none,{filled.running},{filled.best}")
    assert [(run["run_id"], run["status"], run["has_ended"]) for run in answer["runs"]] == [
        (filled.best, "Completed", True),
        (filled.running, "Running", False),
    ]
    refused = owner.get(f"/statuses.json?runs={','.join(map(str, range(51)))}", "application/json")
    assert "must be at most 50 ids" in refused.text


@pytest.mark.needs("playwright")
class TestPage:
    @pytest.fixture
    def visit_with(self, browser: Any, owner: Person) -> Iterator[Callable[..., Any]]:
        """Begin a visit in a browser that lets pages show notifications, or doesn't."""
        module = importlib.import_module("browser")
        visits = []
        with ExitStack() as open_visits:

            def begin(*permissions: str) -> Any:
                visiting = open_visits.enter_context(module.visit(browser, owner.url, owner.storage_state))
                visiting.page.context.grant_permissions(list(permissions), origin=owner.url)
                visiting.page.context.add_init_script(_NOTES_DOWN)
                visits.append(visiting)
                return visiting

            yield begin
            assert [complaint for visiting in visits for complaint in visiting.complaints] == []

    def told(self, page: Any, count: int) -> Any:
        page.wait_for_function(f"() => JSON.parse(localStorage.getItem('told') ?? '[]').length >= {count}")
        return page.evaluate("JSON.parse(localStorage.getItem('told'))")

    def test_it_comes_while_the_page_is_in_the_background(
        self, visit_with: Callable[..., Any], records: RecordStore
    ) -> None:
        run_id = start_run(records, "in the background")
        visiting = visit_with("notifications").open(f"/runs/{run_id}")
        page = visiting.page
        bell = page.get_by_role("button", name=BELL)
        assert bell.get_attribute("aria-pressed") == "false"
        bell.click()
        page.locator("button[data-watches][aria-pressed=true]").wait_for()
        records.runs.set_tags(run_id, {"changed": "once"})
        page.locator("#tags", has_text="changed: once").wait_for()
        assert bell.get_attribute("aria-pressed") == "true"  # a page that is brought up to date keeps it
        assert visiting.violations() == []
        page.evaluate(_IN_BACKGROUND)
        end_run(records, run_id, RunStatus.FAILED)
        assert self.told(page, 1) == [["in the background: Failed", "Default · 4:12", run_id]]

    def test_another_page_tells_once_where_its_own_was_left(
        self, visit_with: Callable[..., Any], records: RecordStore
    ) -> None:
        runs = [start_run(records, name) for name in ("one", "two")]
        visiting = visit_with("notifications")
        page = visiting.page
        for run_id in runs:
            visiting.open(f"/runs/{run_id}").page.get_by_role("button", name=BELL).click()
            page.locator("button[data-watches][aria-pressed=true]").wait_for()
        other = page.context.new_page()
        other.goto(f"{visiting.url}/models")
        visiting.open("/experiments")
        end_run(records, runs[0])
        assert self.told(page, 1) == [["one: Completed", "Default · 4:12", runs[0]]]
        page.close()
        end_run(records, runs[1])
        assert self.told(other, 2)[1:] == [["two: Completed", "Default · 4:12", runs[1]]]
        assert other.evaluate("Object.keys(localStorage)") == ["told"]

    def test_a_run_that_ended_while_no_page_was_open_is_told_by_the_next(
        self, visit_with: Callable[..., Any], records: RecordStore
    ) -> None:
        run_id = start_run(records, "alone")
        visiting = visit_with("notifications").open(f"/runs/{run_id}")
        visiting.page.get_by_role("button", name=BELL).click()
        visiting.page.locator("button[data-watches][aria-pressed=true]").wait_for()
        visiting.page.goto("about:blank")
        end_run(records, run_id)
        visiting.open("/models")
        assert self.told(visiting.page, 1)[0][0] == "alone: Completed"

    def test_nothing_is_asked_before_the_click_and_a_second_click_takes_it_back(
        self, visit_with: Callable[..., Any], records: RecordStore
    ) -> None:
        run_id = start_run(records, "taken back")
        visiting = visit_with("notifications").open(f"/runs/{run_id}")
        page = visiting.page
        assert not [address for address in visiting.requests if "statuses.json" in address]
        page.get_by_role("button", name=BELL).click()
        page.locator("button[data-watches][aria-pressed=true]").wait_for()
        page.get_by_role("button", name=BELL).click()
        page.locator("button[data-watches][aria-pressed=false]").wait_for()
        end_run(records, run_id)
        page.get_by_role("button", name=BELL).wait_for(state="detached")
        assert page.evaluate("Object.keys(localStorage)") == []

    def test_a_browser_that_refuses_is_said_to(self, visit_with: Callable[..., Any], records: RecordStore) -> None:
        visiting = visit_with().open(f"/runs/{start_run(records, 'refused')}")
        page = visiting.page
        assert page.evaluate("Notification.permission") == "denied"
        page.get_by_role("button", name=BELL).click()
        dialog = page.get_by_role("dialog")
        assert "The browser refuses notifications of this page" in dialog.text_content()
        assert visiting.violations() == []
        page.keyboard.press("Escape")
        assert page.get_by_role("button", name=BELL).get_attribute("aria-pressed") == "false"
