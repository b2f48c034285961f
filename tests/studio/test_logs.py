"""The log viewer: nothing of a log is left out, what is found is where it is, and a damaged one is said to be so."""

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from filled_workspace import Filled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.protocol.log_text import plain_text
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.studio.run_tail import LogPart, Match, part_of, search, tail_of
from mlflow_amlstore.workspace.opening import create_workspace, open_folder

from .conftest import Person, Studio

WIDE = "first\n" + 50_000 * "ä" + "\nlast\n"
MANY = "".join(f"{number}: {'WARN retrying' if number % 50 == 0 else 'all is well'}\n" for number in range(1, 20_001))
LOGS = {
    "logs/wide.log": WIDE,
    "logs/many.log": MANY,
    "logs/dotted.log": "İİİİİİ and an error\n12:00:00 a.b\nÄ 12:00:00 AXB\n",
    "logs/growing.log": "one error\n",
}

pieces = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.text(max_size=30).map(str.encode),
        st.sampled_from(
            [b"\n", b"\r", b"\r\n", b"\x1b[1mloud\x1b[0m", b"10%\r20%\r", "ä€😀".encode() * 30, b"\x80" * 50]
        ),
    ),
    max_size=12,
).map(b"".join)


class Logs(NamedTuple):
    """The folder of a workspace, and the container of the run with the logs."""

    folder: Path
    records: RecordStore
    run_id: str
    container: str

    def write(self, path: str, content: bytes) -> None:
        self.records.files.write(self.container, path, BytesIO(content))

    def damage(self, path: str, *, how: Callable[[bytes], bytes]) -> None:
        record = self.records.files.find(self.container, path)
        assert record is not None
        (stored,) = [each for each in (self.folder / "files").rglob("*") if each.name.endswith(record.sha256[2:])]
        content = how(stored.read_bytes())
        stored.chmod(0o600)
        stored.write_bytes(content)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logs]:
    folder = tmp_path_factory.mktemp("logs") / "workspace"
    create_workspace(folder)
    records = open_folder(folder).records
    experiment = records.experiments.create("logs")
    run_id = records.runs.create(experiment, name="logs", user_id="ana", start_ms=1).info.run_id
    logs = Logs(folder, records, run_id, run_container(experiment, run_id))
    for path, content in LOGS.items():
        logs.write(path, content.encode())
    yield logs
    records.close()


@pytest.fixture(scope="module")
def logs_studio(logs: Logs) -> Iterator[Studio]:
    with Studio(Filled(logs.folder, "", "", [], "", [], "", "", "", "")) as running:
        yield running  # type: ignore[misc]


@pytest.fixture(scope="module")
def person(logs_studio: Studio) -> Person:
    return logs_studio.person()


@pytest.fixture
def page(browser: Any, logs: Logs, logs_studio: Studio, person: Person) -> Iterator[Callable[[str], Any]]:
    """Open a log in a browser, which must have nothing to complain of."""
    with ExitStack() as visits:
        visit = importlib.import_module("browser").visit
        visiting = visits.enter_context(visit(browser, logs_studio.url, person.storage_state))
        yield lambda path: visiting.open(f"/runs/{logs.run_id}/outputs?path={path}").page
        assert visiting.complaints == []


def forwards(logs: Logs, path: str, most_bytes: int) -> list[LogPart]:
    parts = [part_of(logs.records, logs.container, path, after=0, most_bytes=most_bytes)]
    while not parts[-1].reaches_end:
        parts.append(part_of(logs.records, logs.container, path, after=parts[-1].end, most_bytes=most_bytes))
    return parts


def backwards(logs: Logs, path: str, most_bytes: int) -> list[LogPart]:
    parts = [part_of(logs.records, logs.container, path, most_bytes=most_bytes)]
    while parts[0].begin:
        parts.insert(0, part_of(logs.records, logs.container, path, before=parts[0].begin, most_bytes=most_bytes))
    return parts


def search_all(logs: Logs, path: str, text: str) -> list[Match]:
    found: list[Match] = []
    begin: int | None = 0
    line = 1
    while begin is not None:
        answer = search(logs.records, logs.container, path, text, begin=begin, line=line)
        found += answer.matches
        begin, line = answer.next_from, answer.next_line
    return found


class TestParts:
    @pytest.mark.parametrize("read", [forwards, backwards])
    def test_a_line_longer_than_a_part_is_given_in_pieces_that_cut_no_character(
        self, logs: Logs, read: Callable[[Logs, str, int], list[LogPart]]
    ) -> None:
        assert "".join(part.text + part.rest for part in read(logs, "logs/wide.log", 64 * 1024)) == WIDE

    def test_a_part_ends_just_where_it_is_asked_to(self, logs: Logs, person: Person) -> None:
        part = person.data(f"/runs/{logs.run_id}/log.json?path=logs/wide.log&before=34472")
        assert (part["begin"], part["end"]) == (0, 34472)
        assert part["text"] == WIDE.encode()[:34472].decode()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(content=pieces, most_bytes=st.integers(5, 80))
    @pytest.mark.parametrize("read", [forwards, backwards])
    def test_parts_adjoin_and_leave_nothing_out(
        self, logs: Logs, read: Callable[[Logs, str, int], list[LogPart]], content: bytes, most_bytes: int
    ) -> None:
        logs.write("logs/random.log", content)
        parts = read(logs, "logs/random.log", most_bytes)
        assert parts[0].begin == 0
        assert [part.end for part in parts[:-1]] == [part.begin for part in parts[1:]]
        assert all(part.text == plain_text(content[part.begin : part.end]) for part in parts)
        assert parts[-1].rest == plain_text(content[parts[-1].end :])
        assert [part.reaches_end for part in parts] == [False] * (len(parts) - 1) + [True]
        if b"\r" not in content and b"\x1b" not in content:  # of a line these leave out what isn't seen
            assert "".join(part.text + part.rest for part in parts) == plain_text(content)

    def test_a_progress_bar_is_shown_as_it_stands(self, logs: Logs) -> None:
        logs.write("logs/bar.log", b"begun\n10%\r20%\r")
        assert part_of(logs.records, logs.container, "logs/bar.log").rest == "20%"


class TestSearch:
    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(lines=st.lists(st.text("aAbÄ ", max_size=8), max_size=150), text=st.text("aAbÄ", min_size=1, max_size=3))
    def test_each_line_that_has_the_text_is_found_once(self, logs: Logs, lines: list[str], text: str) -> None:
        logs.write("logs/random.log", "\n".join(lines).encode())
        found = search_all(logs, "logs/random.log", text)

        def has_text(line: str) -> bool:
            return text.encode().lower() in line.encode().lower()

        assert [match.line for match in found] == [number for number, line in enumerate(lines, 1) if has_text(line)]
        assert [match.text for match in found] == [line for line in lines if has_text(line)]

    def test_a_text_across_two_chunks_is_found(self, logs: Logs) -> None:
        logs.write("logs/chunks.log", b"x\n" * (512 * 1024 - 2) + b"\nfound here\nfound\n")
        assert [match.line for match in search_all(logs, "logs/chunks.log", "found")] == [512 * 1024, 512 * 1024 + 1]

    def test_what_is_near_in_a_long_line_cuts_no_character(self, logs: Logs) -> None:
        logs.write("logs/long.log", ("ä" * 1000 + "xx here" + "ä" * 1000).encode())
        (match,) = search_all(logs, "logs/long.log", "here")
        assert set(match.text) == set("ä x here")

    def test_the_end_of_a_line_can_be_sought(self, logs: Logs) -> None:
        assert [match.line for match in search_all(logs, "logs/dotted.log", "\n")] == [1, 2, 3]

    def test_a_search_goes_on_where_there_is_something(self, logs: Logs, person: Person) -> None:
        where = f"/runs/{logs.run_id}/log/matches.json?path=logs/many.log&text=WARN"
        answer = person.data(f"{where}&begin=9999999999&line=20001")
        assert (answer["matches"], answer["searched_bytes"], answer["next_from"]) == ([], 0, None)
        for wrong in ("line=-4", "line=0", "begin=-1"):
            refused = person.get(f"{where}&{wrong}", "application/json")
            assert refused.status_code == 400
            assert f"for {wrong.partition('=')[0]}: must be" in refused.text
        with pytest.raises(InvalidValue, match="next_line"):
            search(logs.records, logs.container, "logs/many.log", "WARN", line=-4)


@pytest.mark.parametrize("how", [lambda content: content[:-3], lambda content: content[::-1]], ids=["cut", "changed"])
def test_a_damaged_log_is_said_to_be_damaged(logs: Logs, person: Person, how: Callable[[bytes], bytes]) -> None:
    path = "user_logs/damaged.log"
    logs.write(path, f"a log of {how(b'its own')!r}\n".encode())
    logs.damage(path, how=how)
    run = f"/runs/{logs.run_id}"
    assert person.data(f"{run}/outputs.json?path={path}")["preview"]["kind"] == "damaged"
    shown = person.get(f"{run}/outputs?path={path}")
    assert (shown.status_code, "This file can&#39;t be shown" in shown.text) == (200, True)
    for where in ("log.json?", "log/matches.json?text=log&"):
        answer = person.data(f"{run}/{where}path={path}")
        assert answer["damage"].startswith("This file can't be shown: the content of")
        assert answer["damage"].endswith("lists what else is wrong.")
        assert str(logs.folder) not in answer["damage"]
    assert person.get(f"{run}/tail?path={path}").text == tail_of(logs.records, logs.container, path) != ""
    beside = person.get(f"/runs?open={logs.run_id}&beside={logs.run_id}")
    assert beside.status_code == 200


@pytest.mark.needs("playwright")
class TestPage:
    def test_a_line_that_is_found_is_gone_to_by_its_place(self, page: Callable[[str], Any]) -> None:
        opened = page("logs/many.log")
        opened.get_by_label("Find in the log").fill("warn retrying")
        for line in (10_000, 10_050, 50, 20_000):
            opened.get_by_role("button", name=f"{line:,} ".replace(",", " "), exact=False).first.wait_for()
            opened.locator(".log-matches button").nth(line // 50 - 1).click()
            opened.wait_for_function(
                """line => {
                    const [range] = CSS.highlights.get('found-now') ?? [];
                    if (range?.toString() !== 'WARN retrying') return false;
                    const before = new Range();
                    before.setStart(log, 0);
                    before.setEnd(range.startContainer, range.startOffset);
                    const place = range.getBoundingClientRect(), frame = log.getBoundingClientRect();
                    const isSeen = frame.top <= place.top && place.bottom <= frame.bottom;
                    return isSeen && before.toString().split('\\n').at(-1) === `${line}: `;
                }""",
                arg=line,
            )

    @pytest.mark.parametrize(
        ("sought", "found"),
        [("error", "error"), ("ERROR", "error"), ("a.b", "a.b"), ("ä", None), ("00 a.b", "00 a.b"), ("[", None)],
    )
    def test_the_page_finds_what_the_server_finds(
        self, page: Callable[[str], Any], logs: Logs, sought: str, found: str | None
    ) -> None:
        opened = page("logs/dotted.log")
        opened.get_by_label("Find in the log").fill(sought)
        opened.get_by_text("Not found" if found is None else "1 of 1", exact=True).wait_for()
        shown = opened.evaluate("[...(CSS.highlights.get('found') ?? [])].map(String)")
        assert shown == ([] if found is None else [found])
        assert len(search_all(logs, "logs/dotted.log", sought)) == len(shown)

    def test_all_of_a_line_longer_than_a_part_is_brought(self, page: Callable[[str], Any]) -> None:
        opened = page("logs/wide.log")
        for _ in range(2):
            opened.get_by_role("button", name="Earlier lines").click()
        opened.wait_for_function("text => log.textContent === text", arg=WIDE)

    def test_a_change_while_another_is_brought_is_brought_too(self, page: Callable[[str], Any], logs: Logs) -> None:
        logs.write("logs/growing.log", b"one error\n")
        opened = page("logs/growing.log")
        opened.get_by_label("Find in the log").fill("error")
        opened.get_by_text("1 of 1", exact=True).wait_for()
        asked = threading.Event()

        def answer_late(route: Any) -> None:
            answer = route.fetch()
            if not asked.is_set():
                asked.set()
                logs.write("logs/growing.log", b"one error\ntwo errors\nthree err")
                opened.evaluate("document.dispatchEvent(new Event('studio:changed'))")
            route.fulfill(response=answer)

        opened.route(f"**/runs/{logs.run_id}/log.json?*", answer_late)
        opened.evaluate("document.dispatchEvent(new Event('studio:changed'))")
        opened.wait_for_function("() => log.textContent === 'one error\\ntwo errors\\nthree err'")
        opened.get_by_text("1 of 2", exact=True).wait_for()
        assert asked.is_set()
        opened.unroute_all(behavior="ignoreErrors")  # the page may be asking again
