"""What goes wrong while a page is open: the run, the session or the workspace goes. The page says what to do."""

import html
import importlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jwt
import pytest
from filled_workspace import Filled
from fork_server import AMLSTORE, run_forked
from machine_speed import at_least

from mlflow_amlstore.workspace.opening import create_workspace

from .conftest import Person, Studio

pytestmark = pytest.mark.needs("playwright")
LONGEST_PAUSE_S = 6.0  # between two looks of a page: what live.js has together


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workspace of the test's own."""
    create_workspace(tmp_path / "workspace")
    return tmp_path / "workspace"


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Studio]]:
    """Start a Studio on the test's own workspace: `start("--token-lifetime", "3")`."""
    with ExitStack() as running:

        def begin(*options: str) -> Studio:
            return running.enter_context(Studio(Filled(folder, "0", "", [], "", [], "", "", "", ""), *options))  # type: ignore[return-value]

        yield begin


@pytest.fixture
def visit_as(browser: Any) -> Iterator[Callable[[Person], Any]]:
    """A visit of somebody's, whose browser may complain of what the server refuses."""
    with ExitStack() as visits:
        yield lambda person: visits.enter_context(
            importlib.import_module("browser").visit(browser, person.url, person.storage_state)
        )


def make_run(studio: Studio, name: str = "watched") -> str:
    body = {"experiment_id": "0", "run_name": name}
    return str(studio.call("POST", "/api/2.0/mlflow/runs/create", studio.token, body)["run"]["info"]["run_id"])


def log(studio: Studio, run_id: str, value: float) -> None:
    body = {"run_id": run_id, "key": "loss", "value": value, "timestamp": 1, "step": 0}
    studio.call("POST", "/api/2.0/mlflow/runs/log-metric", studio.token, body)


def delete(studio: Studio, run_id: str) -> None:
    studio.call("POST", "/api/2.0/mlflow/runs/delete", studio.token, {"run_id": run_id})


def revoke(studio: Studio, person: Person) -> None:
    claims = jwt.decode(person.session.cookies.values()[0], options={"verify_signature": False})
    studio.call("DELETE", f"/auth/keys/{claims['sub']}", studio.exchange(studio.key))


class TestRun:
    def test_one_that_is_deleted_says_so_and_is_restored_from_its_page(
        self, start: Callable[..., Studio], visit_as: Callable[[Person], Any]
    ) -> None:
        studio = start()
        run_id = make_run(studio)
        page = visit_as(studio.person()).open(f"/runs/{run_id}").page
        delete(studio, run_id)
        page.get_by_text("This run is deleted").wait_for()
        page.get_by_role("button", name="Restore").click()
        page.get_by_text("This run is deleted").wait_for(state="detached")
        assert page.get_by_text("restored").first.is_visible()

    def test_a_reader_is_told_and_offered_nothing(
        self, start: Callable[..., Studio], visit_as: Callable[[Person], Any]
    ) -> None:
        studio = start()
        run_id = make_run(studio)
        page = visit_as(studio.person("reader")).open(f"/runs/{run_id}").page
        delete(studio, run_id)
        page.get_by_text("This run is deleted").wait_for()
        assert page.get_by_role("button", name="Restore").count() == 0

    @pytest.mark.parametrize("part", ["", "/outputs", "/children", "/images"])
    def test_one_that_is_deleted_for_good_says_that_it_is_gone(
        self, start: Callable[..., Studio], visit_as: Callable[[Person], Any], folder: Path, part: str
    ) -> None:
        studio = start()
        run_id = make_run(studio)
        page = visit_as(studio.person()).open(f"/runs/{run_id}{part}").page
        delete(studio, run_id)
        page.get_by_text("This run is deleted").wait_for()
        purged = run_forked([*AMLSTORE, "gc", "--yes", "--workspace", str(folder)], timeout=60)
        assert purged.returncode == 0, purged.stderr
        page.get_by_text("This workspace doesn't have that").wait_for()
        assert page.get_by_text(f"'{run_id}' not found").is_visible()
        page.get_by_role("link", name="To the workspace").click()
        page.get_by_role("heading", name="workspace").first.wait_for()

    def test_of_compared_runs_those_that_are_gone_are_named(
        self, start: Callable[..., Studio], visit_as: Callable[[Person], Any], folder: Path
    ) -> None:
        studio = start()
        kept, gone = make_run(studio, "kept"), make_run(studio, "gone")
        page = visit_as(studio.person()).open(f"/compare?runs={kept},{gone}").page
        delete(studio, gone)
        run_forked([*AMLSTORE, "gc", "--yes", "--workspace", str(folder)], timeout=60)
        page.get_by_text("1 of the runs isn't in this workspace").wait_for()
        assert page.get_by_role("heading", name="1 run").is_visible()


class TestSession:
    def test_one_whose_key_is_revoked_says_so_and_asks_for_nothing_more(
        self, start: Callable[..., Studio], visit_as: Callable[[Person], Any]
    ) -> None:
        studio = start()
        run_id = make_run(studio)
        person = studio.person("contributor")
        visiting = visit_as(person).open(f"/runs/{run_id}")
        page = visiting.page
        page.get_by_text("Write the note").click()
        page.get_by_label("Note, in Markdown").fill("half a sent")
        revoke(studio, person)
        page.get_by_text("Your session has ended").wait_for()
        assert page.get_by_label("Note, in Markdown").input_value() == "half a sent"
        page.wait_for_timeout(500)
        before = len(visiting.requests)
        log(studio, run_id, 0.5)
        page.wait_for_timeout(3000)
        assert visiting.requests[before:] == []

    def test_one_that_is_signed_out_of_elsewhere_says_so(
        self, start: Callable[..., Studio], visit_as: Callable[[Person], Any]
    ) -> None:
        studio = start()
        person = studio.person()
        page = visit_as(person).open("/runs").page
        person.change("/sign-out").raise_for_status()
        page.get_by_text("Your session has ended").wait_for()

    def test_a_change_is_refused_clearly_and_what_was_typed_stays(
        self, start: Callable[..., Studio], visit_as: Callable[[Person], Any]
    ) -> None:
        studio = start()
        person = studio.person("contributor")
        page = visit_as(person).open(f"/runs/{make_run(studio)}").page
        page.get_by_text("Write the note").click()
        page.get_by_label("Note, in Markdown").fill("a whole sentence")
        revoke(studio, person)
        page.get_by_text("Your session has ended").wait_for()
        page.get_by_role("button", name="Save").click()
        page.get_by_text("Not sent, as your session has ended").wait_for()
        assert page.get_by_label("Note, in Markdown").input_value() == "a whole sentence"

    def test_signing_in_again_leads_back_to_the_same_page(
        self, start: Callable[..., Studio], visit_as: Callable[[Person], Any]
    ) -> None:
        studio = start()
        person = studio.person("contributor")
        run_id = make_run(studio)
        page = visit_as(person).open(f"/runs/{run_id}/outputs?folder=a%2Fb").page
        revoke(studio, person)
        page.get_by_role("link", name="Sign in again").click()
        page.get_by_label("Workspace key").fill(studio.key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"**/runs/{run_id}/outputs?folder=a%2Fb")
        page.get_by_role("heading", name="watched").wait_for()

    def test_one_that_expires_says_so(self, start: Callable[..., Studio], visit_as: Callable[[Person], Any]) -> None:
        lifetime_s = at_least(2.0, 20)
        studio = start("--token-lifetime", f"{lifetime_s:.0f}")
        run_id = make_run(studio)
        visiting = visit_as(studio.person()).open(f"/runs/{run_id}")
        visiting.page.get_by_text("Your session has ended").wait_for(timeout=lifetime_s * 1000 + 30_000)
        before = len(visiting.requests)
        visiting.page.wait_for_timeout(3000)
        assert visiting.requests[before:] == []

    def test_one_that_is_used_goes_on_and_the_pages_forms_with_it(
        self, start: Callable[..., Studio], visit_as: Callable[[Person], Any]
    ) -> None:
        """A session is prolonged as it is used; a page that was open before sends its changes as before."""
        lifetime_s = max(at_least(3.0, 30), 2.5 * LONGEST_PAUSE_S)  # a page that is slow to refresh asks less often
        studio = start("--token-lifetime", f"{lifetime_s:.0f}")
        run_id = make_run(studio)
        page = visit_as(studio.person()).open(f"/runs/{run_id}").page
        first = page.context.cookies()[0]["value"]
        until = time.monotonic() + 1.5 * lifetime_s
        value = 0
        while time.monotonic() < until:
            value += 1
            log(studio, run_id, value)
            page.get_by_role("cell", name=str(value), exact=True).first.wait_for()
            page.wait_for_timeout(lifetime_s * 100)
        assert page.context.cookies()[0]["value"] != first
        page.get_by_text("Write the note").click()
        page.get_by_label("Note, in Markdown").fill("later")
        page.get_by_role("button", name="Save").click()
        page.locator(".markdown").get_by_text("later").wait_for()
        assert page.locator(".session-ended").count() == 0


class TestWorkspace:
    @pytest.mark.parametrize(
        "path",
        ["/", "/runs", "/experiments", "/compute", "/models", "/runs/{}", "/runs/{}/outputs", "/compare?runs={}"],
    )
    def test_one_that_is_gone_is_a_clear_page_and_is_back_when_it_is_back(
        self, start: Callable[..., Studio], folder: Path, path: str
    ) -> None:
        studio = start()
        where = path.format(make_run(studio))
        person = studio.person()
        elsewhere = folder.rename(folder.parent / "elsewhere")
        for _ in range(2):
            answer = person.get(where)
            assert answer.status_code == 503
            assert "The workspace can't answer" in html.unescape(answer.text)
            assert "workspace is gone" in answer.text
            assert str(folder) not in answer.text
        elsewhere.rename(folder)
        assert person.get(where).status_code == 200

    def test_a_page_that_is_open_says_so_and_goes_on_when_it_is_back(
        self, start: Callable[..., Studio], visit_as: Callable[[Person], Any], folder: Path
    ) -> None:
        studio = start()
        run_id = make_run(studio)
        page = visit_as(studio.person()).open(f"/runs/{run_id}").page
        page.get_by_text("Write the note").click()
        page.get_by_label("Note, in Markdown").fill("half a sent")
        elsewhere = folder.rename(folder.parent / "elsewhere")
        page.get_by_text("workspace is gone").wait_for()
        assert page.get_by_role("heading", name="watched").is_visible()
        page.get_by_role("button", name="Save").click()
        page.locator("form").get_by_text("workspace is gone").wait_for()
        elsewhere.rename(folder)
        log(studio, run_id, 0.25)
        page.get_by_role("cell", name="0.25").first.wait_for(timeout=30_000)
        page.locator("#trouble").wait_for(state="detached")
        assert page.get_by_label("Note, in Markdown").input_value() == "half a sent"

    def test_another_workspace_in_its_place_is_not_shown_as_it(
        self, start: Callable[..., Studio], folder: Path
    ) -> None:
        studio = start()
        run_id = make_run(studio)
        person = studio.person()
        folder.rename(folder.parent / "elsewhere")
        create_workspace(folder)
        answer = person.get(f"/runs/{run_id}")
        assert answer.status_code == 503
        assert "The workspace can't answer" in html.unescape(answer.text)

    def test_a_service_that_stops_is_found_again_when_it_is_back(
        self, start: Callable[..., Studio], visit_as: Callable[[Person], Any]
    ) -> None:
        studio = start()
        run_id = make_run(studio)
        page = visit_as(studio.person()).open(f"/runs/{run_id}").page
        studio.kill()
        page.wait_for_timeout(1500)
        assert page.get_by_role("heading", name="watched").is_visible()
        studio.start()
        log(studio, run_id, 0.75)
        page.get_by_role("cell", name="0.75").first.wait_for(timeout=30_000)

    def test_one_that_is_away_is_told_until_it_is_back(
        self, start: Callable[..., Studio], visit_as: Callable[[Person], Any]
    ) -> None:
        studio = start()
        page = visit_as(studio.person()).open(f"/runs/{make_run(studio)}").page
        told = page.get_by_role("status").get_by_text("Not connected: what is shown may be old. Trying again.")
        page.wait_for_timeout(2500)
        assert told.count() == 0
        studio.kill()
        told.wait_for()
        assert told.count() == 1
        assert page.get_by_role("heading", name="watched").is_visible()
        studio.start()
        told.wait_for(state="detached", timeout=30_000)


def test_what_fails_in_the_page_itself_is_in_the_browsers_console(
    start: Callable[..., Studio], visit_as: Callable[[Person], Any]
) -> None:
    studio = start()
    run_id = make_run(studio)
    visiting = visit_as(studio.person()).open(f"/runs/{run_id}")
    with visiting.page.expect_console_message(lambda said: "TypeError" in said.text):
        visiting.page.evaluate("document.querySelector('main').remove()")
        log(studio, run_id, 0.5)
    assert visiting.page.locator(".not-connected").count() == 0
