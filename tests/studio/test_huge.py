"""Too much of everything: a page of it is whole, says how much there is, and costs its server little more than a plain
one of its kind."""

import importlib
import io
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from filled_workspace import Filled
from huge_workspace import CSV_ROWS, FILES, LOG, LOG_BYTES, LOG_LINES, NAMES, Huge, fill, log_line

from .conftest import Person, Studio

_TURNS = 7
_FLAT_BYTES = 100_000_000  # by which the server may grow, of which a copy of the log would be twenty times as much


class HugeStudio(Studio):
    """A Studio over the huge workspace."""

    def __init__(self, huge: Huge) -> None:
        super().__init__(Filled(huge.folder, huge.experiment, "", [], "", [], "", "", "", ""))


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Huge:
    return fill(tmp_path_factory.mktemp("huge") / "workspace")


@pytest.fixture(scope="module")
def huge_studio(huge: Huge) -> Iterator[Studio]:
    with HugeStudio(huge) as running:
        yield running


@pytest.fixture(scope="module")
def person(huge_studio: Studio) -> Person:
    return huge_studio.person()


@pytest.fixture
def page(browser: Any, huge_studio: Studio, person: Person) -> Iterator[Callable[[str], Any]]:
    """Open a page of the huge workspace in a browser, which must have nothing to complain of."""
    with ExitStack() as visits:
        visiting = visits.enter_context(
            importlib.import_module("browser").visit(browser, huge_studio.url, person.storage_state)
        )
        yield lambda path: visiting.open(path).page
        assert visiting.complaints == []


def times_as_long(person: Person, path: str, plain: str) -> float:
    """How many times longer a page takes than a plain one: of several turns, in which each has its turn, the best."""
    best = {path: float("inf"), plain: float("inf")}
    for _ in range(_TURNS):
        for each in best:
            began = time.perf_counter()
            assert person.get(each).status_code == 200
            best[each] = min(best[each], time.perf_counter() - began)
    return best[path] / best[plain]


class TestLog:
    def test_its_end_is_shown_at_once(self, person: Person, huge: Huge) -> None:
        shown = person.data(f"/runs/{huge.contents}/outputs.json?path={LOG}")["log"]
        assert shown["text"].endswith(log_line(LOG_LINES - 1))
        assert (shown["end"], shown["size_bytes"], shown["rest"]) == (LOG_BYTES, LOG_BYTES, "")
        paths = [f"/runs/{run}/outputs?path={LOG}" for run in (huge.contents, huge.plain)]
        assert times_as_long(person, *paths) < 4

    def test_any_part_of_it_is_given_in_whole_lines(self, person: Person, huge: Huge) -> None:
        where = f"/runs/{huge.contents}/log.json?path={LOG}"
        last = person.data(where)
        before = person.data(f"{where}&before={last['begin']}")
        assert before["end"] == last["begin"]
        assert (before["text"] + last["text"]).count("\n") == (before["text"] + last["text"]).count(" done\n")
        assert person.data(f"{where}&after={before['begin']}")["text"] == before["text"]
        first = person.data(f"{where}&after=0")
        assert first["text"].startswith(log_line(0))
        assert person.data(f"{where}&before=0")["text"] == ""
        assert person.data(f"{where}&after={LOG_BYTES + 10}")["end"] == LOG_BYTES

    def test_a_text_is_found_wherever_it_is(self, person: Person, huge: Huge) -> None:
        where = f"/runs/{huge.contents}/log/matches.json?path={LOG}&text=EPOCH+{LOG_LINES - 1}+done"
        found, searched, begin, line = [], 0, 0, 1
        longest = 0
        while begin is not None:
            answer = person.data(f"{where}&begin={begin}&line={line}")
            found += answer["matches"]
            searched += answer["searched_bytes"]
            longest = max(longest, answer["searched_bytes"])
            begin, line = answer["next_from"], answer["next_line"]
        assert [match["text"] for match in found] == [log_line(LOG_LINES - 1).rstrip()]
        assert found[0]["line"] == LOG_LINES
        assert (searched, longest < LOG_BYTES / 50) == (LOG_BYTES, True)

    def test_many_lines_are_given_some_at_a_time_and_each_once(self, person: Person, huge: Huge) -> None:
        where = f"/runs/{huge.plain}/log/matches.json?path={LOG}&text=epoch"
        found, begin, line = [], 0, 1
        while begin is not None:
            answer = person.data(f"{where}&begin={begin}&line={line}")
            assert len(answer["matches"]) <= 100
            found += answer["matches"]
            begin, line = answer["next_from"], answer["next_line"]
        assert [match["line"] for match in found] == list(range(1, 2001))
        assert [match["text"] for match in found] == [log_line(number).rstrip() for number in range(2000)]

    def test_the_servers_memory_stays_as_it_is(self, person: Person, huge: Huge, huge_studio: Studio) -> None:
        assert huge_studio.process is not None
        status = Path(f"/proc/{huge_studio.process.pid}/status")
        if not status.exists():
            pytest.skip("no /proc")

        def resident_bytes() -> int:
            match = re.search(r"VmRSS:\s+(\d+) kB", status.read_text())
            assert match is not None
            return int(match[1]) * 1024

        person.get(f"/runs/{huge.plain}/outputs?path={LOG}")
        before = resident_bytes()
        for begin in range(0, LOG_BYTES, LOG_BYTES // 20):
            person.data(f"/runs/{huge.contents}/log.json?path={LOG}&after={begin}")
            person.data(f"/runs/{huge.contents}/log/matches.json?path={LOG}&text=nowhere&begin={begin}")
        assert resident_bytes() - before < _FLAT_BYTES

    def test_lines_before_are_brought_and_a_line_that_is_found_is_shown(
        self, page: Callable[[str], Any], huge: Huge
    ) -> None:
        opened = page(f"/runs/{huge.contents}/outputs?path={LOG}")
        log = opened.locator("#log")
        last = log_line(LOG_LINES - 1).rstrip()
        assert last in log.text_content()
        assert log.locator(".time").first.is_visible()
        assert log.locator(".warning").count() > 0
        lines = log.text_content().count("\n")
        opened.get_by_role("button", name="Earlier lines").click()
        opened.wait_for_function("count => log.textContent.split('\\n').length - 1 > count * 1.5", arg=lines)
        assert last in log.text_content()
        opened.get_by_label("Find in the log").fill("epoch 4321 done")
        opened.get_by_role("button", name="4 322").click()
        opened.wait_for_function(
            "() => log.textContent.includes('epoch 4320 done') && log.textContent.includes('epoch 4322 done')"
        )
        assert last not in log.text_content()
        opened.get_by_role("button", name="Later lines").click()
        opened.get_by_role("button", name="To the end").click()
        opened.wait_for_function("line => log.textContent.includes(line)", arg=last)

    def test_a_search_that_finds_too_much_says_that_it_shows_the_first(
        self, page: Callable[[str], Any], huge: Huge
    ) -> None:
        opened = page(f"/runs/{huge.contents}/outputs?path={LOG}")
        opened.get_by_label("Find in the log").fill("epoch")
        opened.get_by_text("The first 500 lines are shown; there may be more").wait_for()
        assert opened.locator(".log-matches button").count() == 500


class TestFiles:
    def test_a_long_folder_comes_in_pages_that_say_how_many_there_are(self, person: Person, huge: Huge) -> None:
        where = f"/runs/{huge.files}/outputs"
        seen, after = 0, ""
        for _ in range(3):
            listed = person.data(f"{where}.json?folder=flat&after={quote(after)}")
            assert listed["files_in_all"] == FILES
            names = [entry["name"] for entry in listed["entries"]]
            assert len(names) == 500
            seen += len(set(names))
            after = listed["next_after"]
        assert seen == 1500
        assert "100 000 files" in person.get(f"{where}?folder=flat").text.replace("\u00a0", " ").replace("\u202f", " ")
        assert times_as_long(person, f"{where}?folder=flat", f"/runs/{huge.plain}/outputs?folder=outputs") < 30

    def test_the_last_of_them_opens(self, person: Person, huge: Huge) -> None:
        path = f"flat/file {FILES - 2:06}.txt"
        shown = person.data(f"/runs/{huge.files}/outputs.json?folder=flat&path={quote(path)}")
        assert shown["preview"]["text"] == "x"

    def test_a_deep_tree_is_walked_to_its_bottom(self, page: Callable[[str], Any], huge: Huge) -> None:
        opened = page(f"/runs/{huge.files}/outputs")
        for depth in range(60):
            opened.get_by_role("link", name=f"level {depth}/", exact=True).click()
        opened.get_by_role("link", name="bottom.txt").click()
        opened.get_by_role("heading", name="bottom.txt").wait_for()

    def test_all_of_them_come_as_one_zip_while_it_is_made(self, person: Person, huge: Huge) -> None:
        with person.session.get(f"{person.url}/runs/{huge.files}/outputs.zip", stream=True) as answer:
            whole = io.BytesIO()
            pieces = 0
            for piece in answer.iter_content(None):
                whole.write(piece)
                pieces += 1
        assert pieces > 10
        with zipfile.ZipFile(whole) as archive:
            assert len(archive.namelist()) == FILES + 2
            assert archive.read("flat/file 000007.txt") == b"x"


class TestNames:
    def test_the_page_shows_the_first_and_says_how_many_there_are(self, person: Person, huge: Huge) -> None:
        shown = person.data(f"/runs/{huge.names}.json")
        assert shown["in_all"] == {"charts": NAMES, "metrics": NAMES, "params": NAMES, "tags": NAMES, "properties": 0}
        assert all(0 < len(shown[each]) <= 500 for each in ("charts", "metrics", "params", "tags"))
        assert "of 5 000" in person.get(f"/runs/{huge.names}").text.replace("\u00a0", " ").replace("\u202f", " ")
        assert times_as_long(person, f"/runs/{huge.names}", f"/runs/{huge.plain}") < 30

    def test_any_of_them_is_found_by_its_name(self, page: Callable[[str], Any], huge: Huge) -> None:
        opened = page(f"/runs/{huge.names}")
        field = opened.get_by_label("Find metrics, params and tags by name")
        field.fill("4321")
        field.press("Enter")
        opened.get_by_role("rowheader", name="layer 4321/loss").wait_for()
        assert opened.locator("metric-chart").count() == 1
        assert opened.get_by_text("param 4321").is_visible()
        assert opened.get_by_text("tag 4321: 4321").is_visible()
        opened.get_by_label("Find metrics, params and tags by name").fill("no such name")
        opened.get_by_role("button", name="Find").click()
        opened.get_by_text("Nothing has such a name").wait_for()

    def test_a_chart_is_made_when_it_is_seen(
        self, browser: Any, huge_studio: Studio, person: Person, huge: Huge
    ) -> None:
        with importlib.import_module("browser").visit(browser, huge_studio.url, person.storage_state) as visiting:
            visiting.open(f"/runs/{huge.names}")
            asked = [url for url in visiting.requests if "/curves.json" in url]
            assert 0 < len(asked) < 60
            last = visiting.page.locator("metric-chart").last
            last.scroll_into_view_if_needed()
            visiting.page.wait_for_function("() => [...document.querySelectorAll('metric-chart')].at(-1).isDrawn")
            assert len([url for url in visiting.requests if "/curves.json" in url]) > len(asked)

    def test_a_comparison_shows_the_first_that_differ(self, person: Person, huge: Huge) -> None:
        compared = person.data(f"/compare.json?runs={huge.names},{huge.plain}")
        assert (len(compared["params"]), len(compared["metrics"])) == (500, 500)
        assert compared["lines_in_all"] == 2 * (NAMES - 12)
        assert len(compared["charts"]) <= 24
        paths = [f"/compare?runs={runs}" for runs in (f"{huge.names},{huge.plain}", f"{huge.plain},{huge.contents}")]
        assert times_as_long(person, *paths) < 60


class TestPreviews:
    @pytest.mark.parametrize("name", ["table.csv", "data.json", "notebook.ipynb", "picture.png"])
    def test_a_large_file_costs_about_what_a_small_one_does(self, person: Person, huge: Huge, name: str) -> None:
        paths = [f"/runs/{run}/outputs?path=outputs/{name}" for run in (huge.contents, huge.plain)]
        assert times_as_long(person, *paths) < 15
        assert len(person.get(paths[0]).content) < 1_000_000

    def test_a_long_table_is_read_page_by_page(self, page: Callable[[str], Any], person: Person, huge: Huge) -> None:
        where = f"/runs/{huge.contents}/outputs"
        begin, row = 0, 1
        for _ in range(4):
            table = person.data(f"{where}.json?path=outputs/table.csv&begin={begin}&row={row}")["preview"]
            assert table["columns"] == ["name", "value"]
            assert table["first_row"] == row
            assert [cells[1] for cells in table["rows"]] == [str(number) for number in range(row - 1, row + 199)]
            begin, row = table["next_begin"], row + 200
        size = person.data(f"{where}.json?path=outputs/table.csv")["size_bytes"]
        last = person.data(f"{where}.json?path=outputs/table.csv&begin={size - 22}&row={CSV_ROWS}")["preview"]
        assert (last["rows"][-1][1], last["next_begin"]) == (str(CSV_ROWS - 1), None)
        opened = page(f"{where}?path=outputs/table.csv")
        opened.get_by_role("link", name="Next rows").click()
        opened.get_by_role("cell", name="row 399", exact=True).wait_for()
        assert opened.get_by_text("Rows 201 to 400").is_visible()

    def test_of_a_large_notebook_the_first_cells_are_shown(self, person: Person, huge: Huge) -> None:
        shown = person.data(f"/runs/{huge.contents}/outputs.json?path=outputs/notebook.ipynb")["preview"]
        assert (shown["kind"], shown["is_cut"]) == ("notebook", True)
        assert [cell["text"] for cell in shown["cells"]] == [f"print({number})" for number in range(200)]

    def test_of_a_large_json_the_beginning_is_shown_and_a_large_picture_is_not_loaded(
        self, page: Callable[[str], Any], person: Person, huge: Huge
    ) -> None:
        opened = page(f"/runs/{huge.contents}/outputs?path=outputs/data.json")
        assert opened.get_by_text("Only the beginning is shown").is_visible()
        opened = page(f"/runs/{huge.contents}/outputs?path=outputs/picture.png")
        assert opened.get_by_text("too large to be shown").is_visible()
        assert opened.locator(".preview img").count() == 0
