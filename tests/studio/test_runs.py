"""The table of runs and its charts: what is found, drawn over runs, grouped, kept and exported."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from filled_workspace import STARTED_MS, Filled

from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import RunStatus

from .conftest import Person

browser_only = pytest.mark.needs("playwright")


_COLOURS_DRAWN = """chart => {
    const plot = chart.querySelector("canvas");
    const { data } = plot.getContext("2d").getImageData(0, 0, plot.width, plot.height);
    const seen = new Set();
    for (let at = 0; at < data.length; at += 4) {
        if (data[at + 3] === 255) seen.add(`${data[at]},${data[at + 1]},${data[at + 2]}`);
    }
    return [...seen];
}"""


class TestFilter:
    def test_a_status_is_clicked(self, owner: Person, filled: Filled) -> None:
        found = owner.data("/runs.json?status=failed")
        assert [row["run_id"] for row in found["rows"]] == [filled.failed]
        assert found["matching"] == 1

    def test_a_filter_counts_what_is_on_all_pages(self, owner: Person, filled: Filled) -> None:
        asked = f"/experiments/{filled.experiment}/runs.json?rows=5&filter={quote('metrics.mse > 0')}"
        first = owner.data(asked)
        assert (len(first["rows"]), first["matching"]) == (5, 12)
        second = owner.data(f"{asked}&page={quote(first['next_page'])}")
        assert (len(second["rows"]), second["matching"]) == (5, 12)
        assert not {row["run_id"] for row in first["rows"]} & {row["run_id"] for row in second["rows"]}

    def test_a_type_is_what_mlflow_says_that_a_run_was_started_from(
        self, owner: Person, filled: Filled, records: RecordStore
    ) -> None:
        run = records.runs.create(filled.experiment, name="in a notebook", start_ms=STARTED_MS)
        records.runs.set_tags(run.info.run_id, {"mlflow.source.type": "NOTEBOOK"})
        try:
            assert [row["name"] for row in owner.data("/runs.json?type=notebook")["rows"]] == ["in a notebook"]
        finally:
            records.runs.delete(run.info.run_id)

    @pytest.mark.parametrize("asked", ["type=cron", "status=lost", "view=none", "over=x", "rows=-1", "show=zzz"])
    def test_a_word_that_isnt_known_is_named(self, owner: Person, asked: str) -> None:
        answer = owner.get(f"/runs.json?{asked}", "application/json")
        assert answer.status_code == 400
        for word in asked.split("="):
            assert word in answer.json()["message"]

    @browser_only
    def test_it_is_clicked_together(self, visit: Callable[..., Any], filled: Filled) -> None:
        page = visit().open(f"/runs?filter={quote('metrics.mse > 0')}").page
        page.locator("summary", has_text="Experiment").click()
        page.locator("details[open]").get_by_role("link", name="ridge sweep").click()
        page.wait_for_url(f"**/experiments/{filled.experiment}/runs?*")
        page.locator("summary", has_text="Status").click()
        page.locator("details[open]").get_by_role("link", name="completed").click()
        page.wait_for_url("**status=completed*")
        assert page.locator("table.runs tbody tr").count() == 12
        page.get_by_role("link", name="Clear").click()
        page.wait_for_url(lambda url: "status" not in url and "filter" not in url)

    def test_a_person_of_any_name_is_clicked(self, owner: Person, filled: Filled, records: RecordStore) -> None:
        name = """it's "both" % and <b>"""
        run_id = records.runs.create(filled.experiment, user_id=name, start_ms=STARTED_MS).info.run_id
        assert [row["run_id"] for row in owner.data(f"/runs.json?who={quote(name)}")["rows"]] == [run_id]
        assert name in owner.data(f"/names.json?experiment={filled.experiment}")["people"]
        records.runs.delete(run_id)

    @browser_only
    def test_a_menu_offers_what_runs_on_other_pages_have(self, visit: Callable[..., Any], filled: Filled) -> None:
        page = visit().open(f"/experiments/{filled.experiment}/runs?rows=1&sort=-name").page
        page.locator("summary", has_text="Group by").click()
        page.get_by_role("link", name="solver", exact=True).click()
        page.wait_for_url("**group=solver*")
        assert "rows=1" in page.url
        page.locator("summary", has_text="Add a chart").click()
        page.locator("select[name=up] option[value='metrics.mse:min']").wait_for(state="attached")

    @pytest.mark.parametrize("word", ["Completed", "completed", "FINISHED"])
    def test_a_status_is_named_as_it_is_shown_or_as_mlflow_does(self, owner: Person, filled: Filled, word: str) -> None:
        path = f"/experiments/{filled.experiment}/runs.json"
        written = quote(f"status = '{word}'")
        by_word = owner.data(f"{path}?filter={written}")
        assert by_word["matching"] == owner.data(f"{path}?status=completed")["matching"] > 0


class TestSort:
    @pytest.mark.parametrize(
        "column", ["name", "status", "started", "ended", "duration", "user", "experiment", "id", "note", "tags.stage"]
    )
    def test_any_column_sorts_both_ways(self, owner: Person, column: str) -> None:
        up = owner.data(f"/runs.json?sort={column}&rows=1000")["rows"]
        down = owner.data(f"/runs.json?sort=-{column}&rows=1000")["rows"]
        assert len(up) == len(down) > 10
        assert {row["run_id"] for row in up} == {row["run_id"] for row in down}
        assert owner.data(f"/runs.json?sort={column}&rows=1000")["rows"] == up


class TestChartsOverRuns:
    def scatter(self, owner: Person, filled: Filled, up: str, across: str, **more: str) -> Any:
        asked = {"experiment": filled.experiment, "up": up, "across": across, **more}
        return owner.data("/scatter.json?" + "&".join(f"{name}={quote(value)}" for name, value in asked.items()))

    def test_a_minimum_over_a_param(self, owner: Person, filled: Filled) -> None:
        answer = self.scatter(owner, filled, "metrics.mse:min", "params.alpha")
        assert (answer["x_name"], answer["y_name"]) == ("alpha", "mse, min")
        assert len(answer["series"]) == 12
        (best,) = [each for each in answer["series"] if each["run_id"] == filled.best]
        assert best["x"] == [0.24]
        assert best["y"] == [3000.0]

    def test_words_have_places_in_their_order(self, owner: Person, filled: Filled) -> None:
        answer = self.scatter(owner, filled, "status", "params.solver")
        assert (answer["x_kind"], answer["x_words"]) == ("words", ["auto"])
        assert (answer["y_kind"], answer["y_words"]) == ("words", ["FINISHED"])

    def test_times_and_durations(self, owner: Person, filled: Filled) -> None:
        answer = self.scatter(owner, filled, "duration", "started", runs=filled.best)
        assert (answer["x_kind"], answer["y_kind"]) == ("time", "duration")
        assert [(each["x"], each["y"]) for each in answer["series"]] == [([STARTED_MS], [252_000])]

    def test_it_is_of_the_runs_that_a_filter_finds(self, owner: Person, filled: Filled) -> None:
        answer = self.scatter(owner, filled, "metrics.mse", "params.alpha", filter="params.alpha = '0.24'")
        assert [each["run_id"] for each in answer["series"]] == [filled.best]

    def test_a_metric_that_each_run_has_once_is_drawn_over_what_differs(
        self, owner: Person, filled: Filled, records: RecordStore
    ) -> None:
        experiment = records.experiments.create("alphas")
        for number in range(3):
            run = records.runs.create(experiment, start_ms=STARTED_MS + number)
            records.runs.log(
                run.info.run_id, points=[("mse", 9.0 - number, 0, STARTED_MS)], params=[("alpha", f"0.{number}")]
            )
        page = owner.data(f"/experiments/{experiment}/runs.json")
        records.experiments.delete(experiment)
        (chart,) = page["drawn"]
        assert (chart["up"], chart["across"]) == ("metrics.mse", "params.alpha")

    @browser_only
    def test_one_is_added_and_removed(self, visit: Callable[..., Any], filled: Filled) -> None:
        visiting = visit().open(f"/experiments/{filled.experiment}/runs?status=completed")
        page = visiting.page
        page.get_by_text("Add a chart").click()
        page.locator("select[name=up]").select_option("metrics.mse:min")
        page.locator("select[name=across]").select_option("duration")
        page.get_by_role("button", name="Add", exact=True).click()
        page.wait_for_url("**over=*")
        visiting.settle()
        assert "status=completed" in page.url
        first = page.locator("metric-chart").first
        assert first.get_attribute("heading") == "mse, min over duration"
        assert "12 points" in first.locator(".chart-note").text_content()
        page.get_by_role("link", name="Remove mse, min over duration").click()
        page.wait_for_url(lambda url: "over=" not in url)

    @browser_only
    def test_one_that_leaves_runs_out_says_so(self, visit: Callable[..., Any], filled: Filled) -> None:
        visiting = visit()

        def as_if_there_were_more(route: Any) -> None:
            answer = route.fetch()
            route.fulfill(response=answer, json={**answer.json(), "is_cut": True})

        visiting.page.route("**/scatter.json*", as_if_there_were_more)
        visiting.open(f"/experiments/{filled.experiment}/runs?over={quote('metrics.mse|params.alpha')}")
        note = visiting.page.locator("metric-chart[kind=scatter] .chart-note").first.text_content()
        assert note.startswith("The 12 latest started; others aren't drawn")

    @browser_only
    def test_a_chosen_run_has_its_colour_there(self, visit: Callable[..., Any], filled: Filled) -> None:
        over = quote("metrics.mse%3Amin|params.alpha")
        visiting = visit().open(f"/experiments/{filled.experiment}/runs?over={over}&chosen={filled.best}")
        page = visiting.page
        chart = page.locator("metric-chart[kind=scatter]").first
        hex_colour = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--curve-0').trim()")
        wanted = ",".join(str(int(hex_colour[at : at + 2], 16)) for at in (1, 3, 5))
        assert wanted in chart.evaluate(_COLOURS_DRAWN)


@browser_only
def test_a_column_that_has_the_focus_keeps_it_when_the_names_of_all_runs_arrive(
    visit: Callable[..., Any], filled: Filled
) -> None:
    visiting = visit()
    held: list[Any] = []
    visiting.page.route("**/names.json*", lambda route: held.append(route))
    page = visiting.open(f"/experiments/{filled.experiment}/runs").page
    page.get_by_role("button", name="Columns", exact=True).click()
    box = page.get_by_label("Other columns").get_by_role("checkbox").nth(1)
    box.focus()
    words = box.locator("..").text_content()
    first = box.element_handle()
    while not held:
        page.wait_for_timeout(20)
    held[0].continue_()
    page.wait_for_function("box => !box.isConnected", arg=first)
    page.keyboard.press("Space")
    assert words in page.get_by_label("Columns that are shown").text_content()


@browser_only
def test_chosen_runs_are_tagged_noted_canceled_deleted_and_restored_together(
    visit: Callable[..., Any], records: RecordStore
) -> None:
    experiment = records.experiments.create("chosen")
    ids = [records.runs.create(experiment, start_ms=STARTED_MS + number).info.run_id for number in range(3)]
    records.runs.update(ids[2], status=RunStatus.COMPLETED, end_ms=STARTED_MS)
    page = visit().open(f"/experiments/{experiment}/runs?chosen={','.join(ids)}").page
    running = page.locator("[data-count=running]")
    before = int(running.text_content())
    bar = page.locator(".chosen-bar")
    bar.get_by_text("Tag", exact=True).first.click()
    bar.get_by_label("Name").fill("team")
    bar.get_by_label("Value").fill("vision")
    bar.get_by_role("button", name="Tag", exact=True).click()
    page.locator(".chosen-bar details[open]").wait_for(state="detached")
    bar.get_by_text("Note", exact=True).first.click()
    bar.get_by_label("Note, in Markdown").fill("**look again**")
    bar.get_by_role("button", name="Save").click()
    page.locator(".chosen-bar details[open]").wait_for(state="detached")
    for run_id in ids:
        tags = records.runs.get(run_id).tags
        assert (tags["team"], tags["mlflow.note.content"]) == ("vision", "**look again**")
    bar.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.wait_for_function("() => document.querySelectorAll('[data-status=canceled]').length === 2")
    assert int(running.text_content()) == before - 2
    assert records.runs.get(ids[2]).info.status is RunStatus.COMPLETED
    bar.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_text("No runs yet").wait_for()
    assert "chosen=" not in page.url
    page.goto(page.url.partition("?")[0] + f"?view=deleted&chosen={','.join(ids[:2])}")
    page.get_by_role("button", name="Restore").click()
    page.wait_for_function("() => document.querySelectorAll('table.runs tbody tr').length === 1")
    assert [run.info.deleted_ms is None for run in map(records.runs.get, ids)] == [True, True, False]
    assert "canceled" in [act.act for act in records.acts.of("run", ids[0])]


class TestGroups:
    def test_the_charts_are_of_all_runs_that_the_table_has(
        self, visit: Callable[..., Any], owner: Person, records: RecordStore
    ) -> None:
        """The latest runs alone would have told another story: a metric's mean turns round in the older ones."""
        experiment = records.experiments.create("in two groups")
        for number in range(40):
            group = "even" if number % 2 == 0 else "odd"
            run_id = records.runs.create(experiment, start_ms=STARTED_MS + number).info.run_id
            value = float((number < 30) == (group == "even"))
            points = [("acc", value, step, STARTED_MS) for step in range(3)]
            records.runs.log(run_id, points=points, params=[("group", group)])
        path = f"/experiments/{experiment}/runs"
        shown = owner.data(f"{path}.json?group=group&columns=metrics.acc")
        means = {row["value"]: row["cells"][0]["number"] for row in shown["groups"]}
        curves = owner.data(f"/curves.json?metric=acc&group=group&points=9&runs={','.join(shown['first'])}")["curves"]
        assert {curve["run_name"].split(",")[0]: curve["y"][0] for curve in curves} == {
            f"group = {value}": pytest.approx(mean) for value, mean in means.items()
        }
        assert means == {"even": 0.75, "odd": 0.25}
        assert shown["left_out"] == 0
        page = visit().open(f"{path}?group=group&columns=metrics.acc").page
        chart = page.locator("metric-chart").first
        chart.get_by_text("Mean ± deviation of 40 runs").wait_for()
        assert chart.locator(".chart-value").text_content() == "2 groups"
        assert "group = even" in chart.locator(".chart-legend").text_content()
        records.experiments.delete(experiment)


class TestKept:
    """A page is made once for all who look at it, and anew as soon as anything is written."""

    def test_what_was_written_is_there_at_once(self, owner: Person, filled: Filled, records: RecordStore) -> None:
        path = f"/experiments/{filled.experiment}/runs.json?status=running"
        for number in range(20):
            owner.data(path)
            name = f"just begun {number}"
            run = records.runs.create(filled.experiment, name=name, start_ms=STARTED_MS + 1_000_000 + number)
            assert owner.data(path)["rows"][0]["name"] == name
            records.runs.update(run.info.run_id, status=RunStatus.CANCELED, end_ms=STARTED_MS)
            records.runs.delete(run.info.run_id)

    def test_pages_that_heard_of_a_change_share_an_answer_that_is_as_new(
        self, owner: Person, filled: Filled, records: RecordStore
    ) -> None:
        def asked(since: str | None = None) -> str:
            headers = {"X-Studio-Part": "main"} | ({} if since is None else {"X-Studio-Since": since})
            return owner.session.get(f"{owner.url}/experiments/{filled.experiment}/runs", headers=headers).text

        run = records.runs.create(filled.experiment, name="first name", start_ms=STARTED_MS + 2_000_000).info.run_id
        with owner.session.get(f"{owner.url}/live?since=0", stream=True) as events:
            heard = next(line for line in events.iter_lines() if line.startswith(b"data: "))
        version = str(json.loads(heard.removeprefix(b"data: "))["version"])
        first = asked(version)
        assert "first name" in first
        records.runs.update(run, name="second name")
        assert asked(version) == first  # as new as the change that this page heard of
        assert "second name" in asked(str(int(version) + 1))
        records.runs.update(run, name="third name")
        assert "third name" in asked()
        records.runs.update(run, name="fourth name")
        assert "fourth name" in asked("999999999")  # of a server that ran before
        assert "fourth name" in asked("x")
        records.runs.delete(run)

    def test_a_reader_isnt_given_an_owners_page(self, owner: Person, reader: Person) -> None:
        part = {"X-Studio-Part": "main"}
        path = f"{owner.url}/runs"
        of_owner = owner.session.get(path, headers=part).text
        of_reader = reader.session.get(path, headers=part).text
        assert "data-change" in of_owner
        assert "data-change" not in of_reader


class TestCsv:
    def test_it_has_all_digits_and_no_formula(self, owner: Person, filled: Filled, records: RecordStore) -> None:
        run = records.runs.create(filled.experiment, name="=cmd()", start_ms=STARTED_MS)
        seed = "1234567890123456789"
        logged = [("a", "-1e5"), ("seed", seed), ("id", "007"), ("sha", "12e4567")]
        records.runs.log(run.info.run_id, points=[("mse", 1 / 3, 0, STARTED_MS)], params=logged)
        columns = "metrics.mse%3Amin,params.a,params.seed,params.id,params.sha,started"
        path = f"/experiments/{filled.experiment}/runs.csv?columns={columns}"
        rows = list(csv.reader(io.StringIO(owner.get(path).content.decode())))
        records.runs.delete(run.info.run_id)
        assert rows[0] == ["Run", "Run id", "Status", "mse (min)", "a", "seed", "id", "sha", "Started"]
        began = "2026-09-21T14:13:20Z"
        assert ["'=cmd()", run.info.run_id, "Running", repr(1 / 3), "-1e5", seed, "007", "12e4567", began] in rows

    def test_groups_have_their_means_and_deviations(self, owner: Person, filled: Filled) -> None:
        path = f"/experiments/{filled.experiment}/runs.csv?group=solver&columns=metrics.mse%3Amin"
        rows = list(csv.reader(io.StringIO(owner.get(path).content.decode())))
        assert rows[0] == ["solver", "Runs", "mse (min), mean", "mse (min), deviation"]
        [auto] = [row for row in rows if row[0] == "auto"]
        assert auto[1] == "12"
        assert 3000 < float(auto[2]) < 3400


@browser_only
def test_a_compared_run_has_one_colour_in_all_charts(visit: Callable[..., Any], filled: Filled) -> None:
    """The scatter comes in another order than the runs were chosen in."""
    page = visit().open(f"/compare?runs={filled.sweep[0]},{filled.sweep[9]},{filled.sweep[4]}").page
    colours = """chart => Object.fromEntries([...chart.querySelectorAll(".chart-legend button")].map(
        button => [button.textContent.trim(), button.firstElementChild.dataset.colour]))"""
    page.locator("metric-chart[kind=scatter]").scroll_into_view_if_needed()
    page.wait_for_function(
        "() => [...document.querySelectorAll('metric-chart')].some(c => c.isDrawn && c.matches('[kind=scatter]'))"
    )
    of_lines = page.locator("metric-chart").first.evaluate(colours)
    assert of_lines == page.locator("metric-chart[kind=scatter]").evaluate(colours)
    assert of_lines == {"ridge 0": "0", "ridge 9": "1", "ridge 4": "2"}
