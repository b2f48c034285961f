"""Each page in a browser: at both widths and in both themes, with a picture, and without a fault that axe finds."""

import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from filled_workspace import EVIL, Filled

from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.studio import words

from .conftest import Person, Studio

pytestmark = pytest.mark.needs("playwright")

WIDE, NARROW = (1440, 900), (360, 740)
LOOKS = [
    pytest.param(WIDE, "light", id="wide light"),
    pytest.param(NARROW, "dark", id="narrow dark"),
    pytest.param(WIDE, "dark", id="wide dark", marks=pytest.mark.full),
    pytest.param(NARROW, "light", id="narrow light", marks=pytest.mark.full),
]
PAGES: dict[str, Callable[[Filled], str]] = {
    "workspace": lambda filled: "/",
    "experiments": lambda filled: "/experiments",
    "deleted experiments": lambda filled: "/experiments?view=deleted",
    "runs": lambda filled: "/runs",
    "runs of an experiment": lambda filled: f"/experiments/{filled.experiment}/runs",
    "charts of runs": lambda filled: "/runs?show=charts",
    "sorted runs": lambda filled: "/runs?columns=metrics.mse%3Amin,params.alpha&sort=metrics.mse:min",
    "filter that can't be read": lambda filled: "/runs?filter=metrics.mse+%3C",
    "no run matches": lambda filled: "/runs?filter=metrics.mse+%3C+0",
    "children open": lambda filled: f"/runs?open={filled.parent}",
    "grouped runs": lambda filled: f"/experiments/{filled.experiment}/runs?group=solver&columns=metrics.mse%3Amin",
    "run beside the table": lambda filled: f"/experiments/{filled.experiment}/runs?beside={filled.failed}",
    "run": lambda filled: f"/runs/{filled.best}",
    "every kind": lambda filled: f"/runs/{filled.kinds}",
    "failed run": lambda filled: f"/runs/{filled.failed}",
    "odd run": lambda filled: f"/runs/{filled.odd}",
    "images": lambda filled: f"/runs/{filled.kinds}/images",
    "children": lambda filled: f"/runs/{filled.parent}/children",
    "outputs": lambda filled: f"/runs/{filled.kinds}/outputs?folder=outputs",
    "log": lambda filled: f"/runs/{filled.kinds}/outputs?path=user_logs/std_log.txt",
    "markdown": lambda filled: f"/runs/{filled.kinds}/outputs?path=outputs/notes.md",
    "csv": lambda filled: f"/runs/{filled.kinds}/outputs?path=outputs/table.csv",
    "notebook": lambda filled: f"/runs/{filled.kinds}/outputs?path=outputs/notebook.ipynb",
    "svg": lambda filled: f"/runs/{filled.kinds}/outputs?path=outputs/picture.svg",
    "compare": lambda filled: f"/compare?runs={','.join(filled.sweep[:4])}",
    "compared by a param": lambda filled: f"/compare?runs={','.join(filled.sweep)}&group=alpha",
    "compute": lambda filled: "/compute",
    "models": lambda filled: "/models",
    "model": lambda filled: "/models/ridge%20model%2Ejson",
    "sign in": lambda filled: "/sign-in",
}


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole(
    visit: Callable[..., Any], filled: Filled, pictures: Path, name: str, size: tuple[int, int], scheme: str
) -> None:
    """It asks no other host, has nothing that sticks out, and axe finds no violation."""
    visiting = visit(size=size, scheme=scheme).open(PAGES[name](filled))
    visiting.keep_picture(pictures, f"{name}, {size[0]} {scheme}")
    assert {request.split("/")[2] for request in visiting.requests if request.startswith("http")} == {
        visiting.url.split("/")[2]
    }
    assert visiting.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert visiting.violations() == []
    assert visiting.page.title() != "taken"
    if name == "svg":  # whose script the browser says that it hasn't run
        visiting.complaints[:] = [said for said in visiting.complaints if "Blocked script execution" not in said]


def test_a_name_is_shown_as_the_text_that_it_is(visit: Callable[..., Any], filled: Filled) -> None:
    visiting = visit().open(f"/runs/{filled.odd}")
    assert visiting.page.text_content("h1") == EVIL.replace("\u202e", "\\u202e")
    assert visiting.page.locator("main script:not([type='application/json'])").count() == 0
    assert visiting.page.locator("main img[src=x]").count() == 0


def test_what_a_browser_sends_first_is_small(visit: Callable[..., Any], filled: Filled) -> None:
    """A first visit's scripts and styles together, as they are sent."""
    visiting = visit()
    sent: list[int] = []
    visiting.page.on(
        "response",
        lambda answer: sent.append(int(answer.headers.get("content-length", 0))) if "/static/" in answer.url else None,
    )
    visiting.open(f"/runs/{filled.best}")
    assert 0 < sum(sent) <= 120_000


class TestRuns:
    def test_the_lowest_minimum_is_found_by_a_click(self, visit: Callable[..., Any], filled: Filled) -> None:
        visiting = visit().open(f"/experiments/{filled.experiment}/runs?columns=metrics.mse%3Amin")
        visiting.page.get_by_role("link", name="mse min").click()
        visiting.settle()
        first = visiting.page.locator("table.runs tbody tr").first
        assert first.get_attribute("data-run") == filled.best
        assert "best" in first.locator("td.number").first.get_attribute("class")

    def test_a_chosen_run_is_drawn_in_its_colour(self, visit: Callable[..., Any], filled: Filled) -> None:
        visiting = visit().open(f"/experiments/{filled.experiment}/runs")
        for run_id in filled.sweep[2:4]:
            visiting.page.locator(f"tr[data-run='{run_id}'] label").click()
        visiting.settle()
        assert f"chosen={filled.sweep[2]},{filled.sweep[3]}" in visiting.page.url.replace("%2C", ",")
        assert visiting.page.locator(".chosen-bar").is_visible()
        chart = visiting.page.locator("metric-chart").first
        assert filled.sweep[2] in chart.get_attribute("src")
        visiting.page.get_by_role("link", name="Compare").click()
        visiting.page.wait_for_url("**/compare?runs=*")
        assert visiting.page.locator("h1").text_content() == "2 runs"

    def test_children_unfold_under_their_parent(self, visit: Callable[..., Any], filled: Filled) -> None:
        visiting = visit().open("/runs")
        rows = visiting.page.locator("table.runs tbody tr")
        assert filled.children[0] not in [row.get_attribute("data-run") for row in rows.all()]
        visiting.page.locator(f"tr[data-run='{filled.parent}'] a.fold").click()
        visiting.settle()
        shown = [row.get_attribute("data-run") for row in rows.all()]
        at = shown.index(filled.parent)
        assert set(shown[at + 1 : at + 4]) == set(filled.children)

    def test_a_filter_that_cant_be_read_marks_the_word(self, visit: Callable[..., Any]) -> None:
        visiting = visit().open("/runs?filter=" + quote("metrics.mse < 3400 and param.x ~ 'y'"))
        assert visiting.page.locator("#filter-problem mark").text_content().strip() == "~"

    def test_a_runs_charts_and_log_are_shown_beside_the_table(self, visit: Callable[..., Any], filled: Filled) -> None:
        visiting = visit().open(f"/experiments/{filled.experiment}/runs")
        visiting.page.get_by_role("link", name="Show failed beside the table").click()
        visiting.page.locator("#beside pre.log").wait_for()
        assert "ill-conditioned matrix" in visiting.page.locator("#beside pre.log").text_content()
        assert visiting.page.locator("table.runs[data-rows]").is_visible()

    def test_keys_lead_to_the_run_before_and_after(self, visit: Callable[..., Any], filled: Filled) -> None:
        visiting = visit().open(f"/runs/{filled.sweep[5]}")
        visiting.page.keyboard.press("]")
        visiting.page.wait_for_url(f"**/runs/{filled.sweep[6]}")
        visiting.page.keyboard.press("[")
        visiting.page.wait_for_url(f"**/runs/{filled.sweep[5]}")

    def test_keys_move_choose_and_compare(self, visit: Callable[..., Any], filled: Filled) -> None:
        visiting = visit().open(f"/experiments/{filled.experiment}/runs")
        for key in ("j", "x", "j", "x", "j", "x", "c"):
            visiting.page.keyboard.press(key)
        visiting.page.wait_for_url("**/compare?runs=*")
        assert visiting.page.locator("h1").text_content() == "3 runs"


class TestCharts:
    def test_arrow_keys_read_a_chart_out(self, visit: Callable[..., Any], filled: Filled) -> None:
        visiting = visit().open(f"/runs/{filled.best}")
        visiting.page.locator("metric-chart").first.evaluate(
            "chart => (chart.shadowRoot ?? chart).querySelector('[tabindex]').focus()"
        )
        for _ in range(3):
            visiting.page.keyboard.press("ArrowRight")
        spoken = visiting.page.locator("metric-chart").first.evaluate(
            "chart => (chart.shadowRoot ?? chart).querySelector('[aria-live]').textContent"
        )
        assert re.search(r"\d", spoken)

    def test_a_list_is_a_line_a_table_an_xy_line_and_words_are_a_table(self, owner: Person, filled: Filled) -> None:
        charts = {chart["name"]: chart["kind"] for chart in owner.data(f"/runs/{filled.kinds}.json")["charts"]}
        assert charts == {
            "list": "line",
            "words": "table",
            "cosine": "xy",
            "three columns": "axes",
            "first image": "image",
            "second image": "image",
            "matrix": "matrix",
            "accuracy": "document",
            "residuals": "document",
            "predictions": "document",
        }


class TestNumbers:
    def test_a_number_that_was_logged_once_is_a_number_and_no_chart(self, owner: Person, filled: Filled) -> None:
        page = owner.data(f"/runs/{filled.children[1]}.json")
        assert [(each["name"], each["last_text"]) for each in page["numbers"]] == [("fold mse", words.number(4001.0))]
        assert page["charts"] == []

    def test_many_metrics_are_drawn_on_one_y_axis(self, visit: Callable[..., Any], filled: Filled) -> None:
        visiting = visit().open(f"/runs/{filled.best}")
        page = visiting.page
        page.locator("summary", has_text="Draw together").click()
        for name in ("mse", "r2"):
            page.get_by_role("checkbox", name=name).check()
        page.get_by_role("button", name="Draw", exact=True).click()
        page.wait_for_url("**together=mse%2Cr2")
        visiting.settle()
        chart = page.locator("#charts-together metric-chart")
        assert chart.locator(".chart-legend button").all_text_contents() == ["mse", "r2"]
        assert chart.locator(".chart-value").text_content() == "2 metrics"
        assert chart.evaluate("chart => chart.ranges.y[0] < 0.4 && chart.ranges.y[1] > 5000")


class TestGroups:
    def test_runs_of_one_value_are_one_row_with_mean_and_deviation(self, owner: Person, filled: Filled) -> None:
        path = f"/experiments/{filled.experiment}/runs.json?group=solver&columns=metrics.mse%3Amin"
        path += "&filter=" + quote("tags.stage = 'candidate'")  # no run that another test made
        groups = {group["value"]: group for group in owner.data(path)["groups"]}
        lowest = [3000.0 if number == 7 else 3100.0 + number * 10 for number in range(12)]
        assert groups["auto"]["runs"] == 12
        assert groups["auto"]["cells"][0]["number"] == pytest.approx(statistics.mean(lowest))
        assert groups["auto"]["deviations"][0]["number"] == pytest.approx(statistics.stdev(lowest))
        assert groups[""]["runs"] == 4 + 3  # and the children
        assert groups[""]["cells"][0]["text"] == ""

    def test_their_curves_are_one_with_a_band(self, owner: Person, filled: Filled) -> None:
        runs = ",".join(filled.sweep)
        [mean] = owner.data(f"/curves.json?metric=mse&runs={runs}&group=solver&points=500")["curves"]
        curves = owner.data(f"/curves.json?metric=mse&runs={runs}&points=500")["curves"]
        at_step = [curve["y"][100] for curve in curves]
        assert mean["run_name"] == "solver = auto, 12 runs"
        assert mean["y"][100] == pytest.approx(statistics.mean(at_step))
        assert mean["high"][100] - mean["y"][100] == pytest.approx(statistics.stdev(at_step))
        by_alpha = owner.data(f"/curves.json?metric=mse&runs={runs}&group=alpha&points=500")["curves"]
        assert [curve["y"] for curve in by_alpha] == [curve["y"] for curve in curves]

    def test_a_metric_is_drawn_over_another(self, owner: Person, filled: Filled) -> None:
        [by_step] = owner.data(f"/runs/{filled.best}/metrics/mse.json?points=500")["curves"]
        [x] = owner.data(f"/runs/{filled.best}/metrics/r2.json?points=500")["curves"]
        [over] = owner.data(f"/runs/{filled.best}/metrics/mse.json?points=500&x=metric:r2")["curves"]
        assert (over["x"], over["y"]) == (x["y"], by_step["y"])


class TestPaths:
    def test_every_page_answers_json_beside_it(self, owner: Person, filled: Filled) -> None:
        for name, path_of in PAGES.items():
            path, _, query = path_of(filled).partition("?")
            if name == "sign in":
                continue
            twin = f"{path}.json" if path != "/" else "/workspace.json"
            answer = owner.get(f"{twin}?{query}", "application/json")
            assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json"), name

    def test_a_metric_may_have_any_name(self, owner: Person, filled: Filled) -> None:
        name = quote("a/b.json", safe="")
        [curve] = owner.data(f"/runs/{filled.odd}/metrics/{name}.json")["curves"]
        assert curve["y"] == [float(step) for step in range(9)]

    def test_a_link_that_mlflow_prints_leads_to_the_run(
        self, visit: Callable[..., Any], studio: Studio, filled: Filled
    ) -> None:
        tracking = studio.call("GET", "/discovery", None)["trackingRoot"]
        path = "/" + tracking.split("/", 3)[3]
        visiting = visit()
        for slash in ("", "/"):
            visiting.page.goto(f"{studio.url}{path}{slash}#/experiments/{filled.experiment}/runs/{filled.best}")
            visiting.page.wait_for_url(f"**/runs/{filled.best}")

    def test_a_run_that_isnt_there_is_a_clear_page(self, owner: Person) -> None:
        answer = owner.get("/runs/nothing")
        assert answer.status_code == 404
        assert "not found" in answer.text


class TestLive:
    def test_a_logged_value_is_seen_without_a_reload(
        self, visit: Callable[..., Any], studio: Studio, filled: Filled
    ) -> None:
        """By whichever process it was logged: here by a call of MLflow's."""
        created = studio.call("POST", "/api/2.0/mlflow/runs/create", studio.token, {"experiment_id": "0"})
        run_id = created["run"]["info"]["run_id"]
        visiting = visit().open(f"/runs/{run_id}")
        log = {"run_id": run_id, "key": "loss", "value": 0.125, "timestamp": 1, "step": 0}
        studio.call("POST", "/api/2.0/mlflow/runs/log-metric", studio.token, log)
        visiting.page.get_by_role("cell", name="0.125").first.wait_for()

    def test_nothing_is_asked_while_nothing_happens(self, visit: Callable[..., Any], filled: Filled) -> None:
        visiting = visit().open(f"/runs/{filled.best}")
        visiting.page.wait_for_timeout(1500)
        before = len(visiting.requests)
        visiting.page.wait_for_timeout(3000)
        assert visiting.requests[before:] == []

    def test_text_that_is_being_typed_stays(self, visit: Callable[..., Any], studio: Studio, filled: Filled) -> None:
        visiting = visit().open(f"/runs/{filled.running}")
        visiting.page.get_by_text("Write the note").click()
        visiting.page.get_by_label("Note, in Markdown").fill("half a sent")
        studio.call(
            "POST", "/api/2.0/mlflow/runs/log-metric", studio.token,
            {"run_id": filled.running, "key": "new one", "value": 7.5, "timestamp": 1, "step": 0},
        )  # fmt: skip
        visiting.page.get_by_role("cell", name="7.5").first.wait_for()
        assert visiting.page.get_by_label("Note, in Markdown").input_value() == "half a sent"


class TestChanges:
    def test_a_run_is_renamed_tagged_and_noted_and_who_did_it_is_shown(
        self, visit: Callable[..., Any], studio: Studio
    ) -> None:
        created = studio.call("POST", "/api/2.0/mlflow/runs/create", studio.token, {"experiment_id": "0"})
        visiting = visit().open(f"/runs/{created['run']['info']['run_id']}")
        page = visiting.page
        page.get_by_text("Rename", exact=True).first.click()
        rename = page.locator("form[data-change$='/name']")
        rename.get_by_label("Name").fill("a better name")
        rename.get_by_role("button").click()
        page.get_by_role("heading", name="a better name").wait_for()
        page.get_by_text("Add a tag").click()
        tag = page.locator("form[data-change$='/tags']")
        tag.get_by_label("Name").fill("stage")
        tag.get_by_label("Value").fill("candidate")
        tag.get_by_role("button").click()
        page.get_by_text("stage: candidate").first.wait_for()
        page.get_by_text("Changed by hand").wait_for()
        assert page.get_by_text("renamed").first.is_visible()

    @pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
    def test_an_experiment_is_renamed_deleted_and_restored_by_mouse(
        self, visit: Callable[..., Any], records: RecordStore, size: tuple[int, int]
    ) -> None:
        name = f"short-lived {size[0]}"
        experiment = records.experiments.create(name)
        page = visit(size=size).open("/experiments").page
        page.get_by_label(f"Change {name}").click()
        page.locator(f"form[data-change$='/{experiment}/name']").get_by_label("New name").fill(f"{name} b")
        page.locator(f"form[data-change$='/{experiment}/name']").get_by_role("button").click()
        page.get_by_label(f"Change {name} b").click()
        page.locator(f"form[data-change$='/{experiment}/delete']").get_by_role("button").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        page.get_by_role("link", name=f"{name} b").wait_for(state="detached")
        page.goto(page.url + "?view=deleted")
        page.get_by_label(f"Change {name} b").click()
        page.locator(f"form[data-change$='/{experiment}/restore']").get_by_role("button").click()
        page.get_by_role("link", name=f"{name} b").wait_for(state="detached")
        assert records.experiments.get(experiment).deleted_ms is None
        records.experiments.delete(experiment)

    def test_a_note_is_written_and_cleared(
        self, visit: Callable[..., Any], filled: Filled, records: RecordStore
    ) -> None:
        run_id = records.runs.create(filled.experiment).info.run_id
        page = visit().open(f"/runs/{run_id}").page
        for text in ("first thought", ""):
            page.get_by_text("Write the note" if text else "Edit the note").click()
            page.get_by_label("Note, in Markdown").fill(text)
            page.locator("form[data-change$='/note']").get_by_role("button").click()
            page.get_by_text("Edit the note" if text else "Write the note").wait_for()
            assert records.runs.get(run_id).tags.get("mlflow.note.content", "") == text
        records.runs.delete(run_id)

    def test_why_a_change_in_a_menu_failed_is_seen_after_a_question(
        self, visit: Callable[..., Any], records: RecordStore
    ) -> None:
        experiment = records.experiments.create("stays")
        visiting = visit().open("/experiments")
        page = visiting.page
        page.get_by_label("Change stays").click()
        page.context.set_offline(True)
        page.locator(f"form[data-change$='/{experiment}/delete']").get_by_role("button").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        page.locator(".error-banner", has_text="Not sent").wait_for()
        page.context.set_offline(False)
        visiting.complaints.clear()  # the browser's own word on the network
        records.experiments.delete(experiment)

    def test_a_refused_change_says_why_in_its_form_whatever_is_written_meanwhile(
        self, visit: Callable[..., Any], filled: Filled, records: RecordStore
    ) -> None:
        visiting = visit().open("/experiments")
        page = visiting.page
        page.get_by_text("New experiment").click()
        page.get_by_label("Name", exact=True).first.fill("ridge sweep")
        page.get_by_role("button", name="Create").click()
        refused = page.get_by_text("already exists").first
        refused.wait_for()
        visiting.complaints.clear()  # the browser's own word on the 400
        other = records.experiments.create("written meanwhile")
        page.get_by_role("link", name="written meanwhile").wait_for()
        assert refused.is_visible()
        records.experiments.delete(other)
