"""A running log: it is seen as it is printed, filtered by level, and downloaded while it grows."""

import importlib
import logging
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO, StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from filled_workspace import Filled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_amlstore.core import Experiment, Workspace
from mlflow_amlstore.core.script_run import ScriptRun
from mlflow_amlstore.core.script_run_config import ScriptRunConfig
from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.studio.log_levels import LEVELS, LeveledLines
from mlflow_amlstore.studio.run_tail import LogPart, part_of, search
from mlflow_amlstore.workspace.opening import create_workspace, open_folder

from .conftest import Person, Studio

LOG = "user_logs/std_log.txt"
TALKS = """
import logging, sys, time
logging.basicConfig(level="DEBUG", format="%(asctime)s - %(name)s - %(levelname)s - %(message)s", stream=sys.stdout)
for number in range(100_000):
    print(f"printed at {time.time():.3f}")
    if number % 10 == 3:
        logging.warning("number %s\\nis a long story", number)
    time.sleep(0.15)
"""
FORMATS = [
    logging.BASIC_FORMAT,
    "%(asctime)s - %(name)s - %(levelname)s - %(message)s",
    "[%(levelname)s] %(message)s",
    "%(levelname)s %(message)s",
    "%(levelname)-8s| %(message)s",
    "%(asctime)s %(levelname)s %(name)s: %(message)s",
    "%(asctime)s [%(process)d] [%(threadName)s] %(levelname)s %(message)s",
    "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s",
    "[%(asctime)s] {%(filename)s:%(lineno)d} %(levelname)s - %(message)s",
    "%(asctime)s | %(levelname)-8s | %(name)s:%(lineno)d - %(message)s",
    "%(asctime)s:%(levelname)s:%(name)s:%(message)s",
    "%(name)s - %(levelname)s - %(message)s",
]


def level_of(text: str) -> int | None:
    """The level of the last line of a text."""
    content = text.encode()
    return LeveledLines(BytesIO(content), 0, len(content)).level_at(len(content) - 1)


class TestLevels:
    @pytest.mark.parametrize("level", LEVELS)
    @pytest.mark.parametrize("format", FORMATS)
    def test_what_logging_writes_has_its_level(self, format: str, level: str) -> None:
        written = StringIO()
        handler = logging.StreamHandler(written)
        handler.setFormatter(logging.Formatter(format))
        handler.emit(logging.LogRecord("my.module", LEVELS[level], "/src/my.py", 7, "ended, no error", None, None))
        assert level_of(written.getvalue()) == LEVELS[level]

    @pytest.mark.parametrize(
        ("line", "level"),
        [
            ("2026/01/01 12:00:00 INFO mlflow.tracking: started", "INFO"),
            ("\x1b[33mWARNING\x1b[0m: in colour", "WARNING"),
            ("10%\r20%\rERROR:root:after a progress bar", "ERROR"),
            ("2026-01-01T12:00:00Z FATAL ended", "CRITICAL"),
            ("Traceback (most recent call last):", "ERROR"),
            ("/src/my file.py:12: UserWarning: look out", "WARNING"),
            ("no ERROR here", None),
            ("WARNINGS: 3", None),
            ("INFORMATION", None),
            ("  ERROR in a table", None),
            ("12:00:00 epoch 3, loss 0.1", None),
        ],
    )
    def test_other_lines(self, line: str, level: str | None) -> None:
        assert level_of(line) == (None if level is None else LEVELS[level])

    def test_lines_without_a_level_belong_to_the_line_before(self) -> None:
        text = "printed first\nINFO:a:b\nits second line\nERROR:a:b\nTraceback\n  File\nINFO:a:b\nmore\n"
        content = text.encode()
        lines = LeveledLines(BytesIO(content), 0, len(content))
        kept = lines.kept(0, len(content), LEVELS["WARNING"]).decode()
        assert kept == "printed first\nERROR:a:b\nTraceback\n  File\n"


class Logs(NamedTuple):
    """A run in a workspace of its own, whose logs a test writes."""

    folder: Path
    records: RecordStore
    run_id: str
    container: str

    def write(self, path: str, content: bytes) -> None:
        self.records.files.write(self.container, path, BytesIO(content))


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logs]:
    folder = tmp_path_factory.mktemp("leveled") / "workspace"
    create_workspace(folder)
    records = open_folder(folder).records
    run_id = records.runs.create("0", name="logs", user_id="ana", start_ms=1).info.run_id
    yield Logs(folder, records, run_id, run_container("0", run_id))
    records.close()


def kept_of(content: bytes, least: str) -> bytes:
    """The lines of at least a level, found line by line."""
    kept, level = [], None
    for line in content.splitlines(keepends=True):
        own = level_of(line.decode())
        level = level if own is None else own
        if level is None or level >= LEVELS[least]:
            kept.append(line)
    return b"".join(kept)


log_lines = st.lists(
    st.one_of(
        st.sampled_from([f"{level}:name:text\n" for level in LEVELS] + [f"[{level}] text\n" for level in LEVELS]),
        st.sampled_from(["printed\n", "  more\n", "\n", "ä" * 20 + "\n"]),
    ),
    max_size=40,
).map("".join)


class TestParts:
    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(text=log_lines, level=st.sampled_from(list(LEVELS)), most_bytes=st.integers(30, 200))
    def test_parts_of_a_level_adjoin_and_leave_out_lower_lines_alone(
        self, logs: Logs, text: str, level: str, most_bytes: int
    ) -> None:
        content = text.encode()
        logs.write("logs/random.log", content)

        def part(**given: int) -> LogPart:
            return part_of(logs.records, logs.container, "logs/random.log", level=level, most_bytes=most_bytes, **given)

        forwards = [part(after=0)]
        while not forwards[-1].reaches_end:
            forwards.append(part(after=forwards[-1].end))
        backwards = [part()]
        while backwards[0].begin:
            backwards.insert(0, part(before=backwards[0].begin))
        for parts in (forwards, backwards):
            assert parts[0].begin == 0
            assert [each.end for each in parts[:-1]] == [each.begin for each in parts[1:]]
            assert "".join(each.text + each.rest for each in parts).encode() == kept_of(content, level)

    def test_a_rare_line_is_found_in_a_long_log(self, logs: Logs) -> None:
        filler = b"INFO:name:all is well\nprinted beside it\n" * 60_000
        logs.write("logs/long.log", b"ERROR:name:early\nits second line\n" + filler)
        part = part_of(logs.records, logs.container, "logs/long.log", level="ERROR")
        assert part.text == "ERROR:name:early\nits second line\n"
        assert (part.begin, part.reaches_end) == (0, True)

    def test_a_search_finds_in_the_lines_of_the_level(self, logs: Logs) -> None:
        logs.write("logs/sought.log", b"INFO:a:loss\nERROR:a:loss\nloss again\nDEBUG:a:loss\nloss\n")
        found = search(logs.records, logs.container, "logs/sought.log", "loss", level="WARNING")
        assert [match.line for match in found.matches] == [2, 3]

    def test_a_level_that_is_none_is_refused(self, logs: Logs) -> None:
        logs.write("logs/some.log", b"x\n")
        with pytest.raises(InvalidValue, match="for level: must be one of DEBUG, INFO"):
            part_of(logs.records, logs.container, "logs/some.log", level="LOUD")


class Running(NamedTuple):
    """A submitted run whose script prints, and a Studio that shows it."""

    run: ScriptRun
    records: RecordStore
    person: Person

    @property
    def page(self) -> str:
        return f"/runs/{self.run.id}/outputs?path={LOG}"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("live")
    workspace = Workspace.create(folder / "workspace")
    source = folder / "source"
    source.mkdir()
    (source / "train.py").write_text(TALKS)
    run = Experiment(workspace, "live").submit(ScriptRunConfig(str(source), "train.py"))
    records = open_folder(folder / "workspace").records
    container = run_container(records.runs.get(run.id).info.experiment_id, run.id)
    with Studio(Filled(folder / "workspace", "", "", [], "", [], "", "", "", "")) as studio:
        while (file := records.files.find(container, LOG)) is None or not file.size_bytes:
            time.sleep(0.05)
        yield Running(run, records, studio.person())
        run.cancel()
        run.wait_for_completion()
    records.close()
    workspace.close()


@pytest.fixture
def visiting(browser: Any, running: Running) -> Iterator[Any]:
    """A visit that must have nothing to complain of."""
    with ExitStack() as visits:
        visit = importlib.import_module("browser").visit
        visiting = visits.enter_context(visit(browser, running.person.url, running.person.storage_state))
        yield visiting
        assert visiting.complaints == []


def test_what_is_downloaded_of_a_growing_log_is_its_beginning(running: Running) -> None:
    path = f"/runs/{running.run.id}/files/{LOG}?download=1"
    answers = []
    while len(answers) < 3 or len(answers[-1].content) <= len(answers[0].content):
        answers.append(running.person.get(path))
        time.sleep(0.1)
    for earlier, later in pairwise(answers):
        assert int(earlier.headers["Content-Length"]) == len(earlier.content) > 0
        assert later.content.startswith(earlier.content)


@pytest.mark.needs("playwright")
class TestPage:
    def test_lines_come_by_themselves_and_wait_for_nothing_else(self, visiting: Any, running: Running) -> None:
        """They do while the rest of the page is being brought up to date, which may take long."""
        page = visiting.open(running.page).page
        held: list[Any] = []
        page.route(re.compile(r"/outputs\?"), lambda route: held.append(route))
        count = "log.textContent.match(/printed at/g).length"
        while not held:
            page.wait_for_timeout(50)
        before = page.evaluate(count)
        page.wait_for_function(f"before => {count} >= before + 20", arg=before)
        assert page.evaluate("log.scrollHeight - log.scrollTop - log.clientHeight < 24")
        assert page.locator(".log-state").text_content() == "Live: follows the end"
        page.unroute_all(behavior="ignoreErrors")

    def test_who_reads_earlier_lines_stays_there_and_jumps_to_the_end(self, visiting: Any, running: Running) -> None:
        page = visiting.open(running.page).page
        page.wait_for_function("() => log.scrollHeight > log.clientHeight + 100")
        page.evaluate("log.scrollTop = 0")
        page.locator(".log-state", has_text="Live: go to the end to follow").wait_for()
        before = page.evaluate("log.textContent.length")
        page.wait_for_function("before => log.textContent.length > before", arg=before)
        assert page.evaluate("log.scrollTop") == 0
        page.get_by_role("button", name="To the end").click()
        page.locator(".log-state", has_text="Live: follows the end").wait_for()
        assert page.evaluate("document.activeElement.id") == "log"

    def test_lower_lines_are_left_out_and_what_comes_is_filtered_too(self, visiting: Any, running: Running) -> None:
        page = visiting.open(running.page).page
        page.get_by_label("At least").select_option("WARNING")
        page.wait_for_url("**level=WARNING")
        page.wait_for_function("() => log.textContent.match(/is a long story/g)?.length >= 3")
        text = page.evaluate("log.textContent")
        [first, *others] = re.split(r"(?=20\d\d-.* - root - WARNING - number)", text)
        assert re.fullmatch(r"(printed at .*\n)*", first)  # before any line with a level
        assert all(re.match(r".* - WARNING - number \d+\nis a long story\n", other) for other in others)
        shown = page.evaluate("log.textContent.length")
        page.wait_for_function("shown => log.textContent.length > shown", arg=shown)
        visiting.open(f"{running.page}&level=ERROR")  # the address has it
        page.locator(".log-view").wait_for()
        assert page.get_by_label("At least").input_value() == "ERROR"
        assert "WARNING" not in page.evaluate("log.textContent")
        assert visiting.violations() == []
