"""Deploying from Models, and the pages of endpoints: real endpoints, looked at and asked in a browser."""

import importlib
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from filled_workspace import Filled
from waiting import wait_for

from mlflow_amlstore.core import Experiment, Workspace
from mlflow_amlstore.hosting.endpoint_folder import EndpointFolder
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import EndpointRecord, EndpointState
from mlflow_amlstore.studio.endpoint_metrics import quantile_ms, read_prometheus
from mlflow_amlstore.studio.endpoint_requests import Described
from mlflow_amlstore.studio.snippets import snippets
from mlflow_amlstore.studio.trial_form import form_of
from mlflow_amlstore.workspace.opening import create_workspace, open_folder

from .conftest import Studio

COMMAND = [sys.executable, "-c", "from mlflow_amlstore.cli import main; main()", "studio", "--no-open"]
WIDE, NARROW = (1440, 900), (360, 740)
LOOKS = [
    pytest.param(WIDE, "light", id="wide light"),
    pytest.param(NARROW, "dark", id="narrow dark"),
    pytest.param(WIDE, "dark", id="wide dark", marks=pytest.mark.full),
    pytest.param(NARROW, "light", id="narrow light", marks=pytest.mark.full),
]
LONG = "a model whose name is so long that no column of a table can take it, with a version of 2026"


class Unloadable:
    """What raises as soon as it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("1 / 0",)


class Endless:
    """What is never loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("__import__('time').sleep(3600)",)


def twice_the_sum() -> Any:
    """A model of two numbers."""
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0.0, 2.0, 2.0])


class Own(NamedTuple):
    """The Studio of a folder, run by its user; `state` has the cookie of whoever followed its link."""

    records: RecordStore
    url: str
    state: dict[str, object]

    def ended(self, name: str) -> bool:
        return not EndpointFolder.of(str(self.records.folder), name).is_looked_after()

    def deployed(self, name: str) -> EndpointRecord | None:
        """The endpoint once its newest deployment serves."""
        record = self.records.endpoints.get(name)
        return record if record.newest.number in record.serving else None


def register(folder: Path, models: dict[str, object]) -> None:
    """Register pickled models as a run's."""
    workspace = Workspace.from_config(str(folder))
    run = Experiment(workspace, "training").start_logging()
    for number, (name, model) in enumerate(models.items()):
        file = folder.parent / "model.pkl"
        file.write_bytes(pickle.dumps(model))
        run.upload_file(f"outputs/{number}/model.pkl", str(file))
        run.register_model(name, f"outputs/{number}/model.pkl", model_framework="ScikitLearn")
    text = folder.parent / "notes.txt"
    text.write_text("no model")
    run.upload_file("outputs/notes.txt", str(text))
    run.register_model("notes", "outputs/notes.txt", model_framework="Custom")
    run.complete()
    workspace.close()


@pytest.fixture(scope="module")
def own(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    folder = tmp_path_factory.mktemp("own") / "workspace"
    create_workspace(folder)
    register(folder, {"ridge": twice_the_sum(), "broken": Unloadable(), LONG: Endless()})
    records = open_folder(folder).records
    studio = subprocess.Popen([*COMMAND, str(folder)], stdout=subprocess.PIPE, text=True)
    assert studio.stdout is not None
    try:
        link = studio.stdout.readline().strip()
        url = link.partition("/sign-in")[0]
        context = browser.new_context()
        page = context.new_page()
        page.goto(link)
        page.wait_for_url(f"{url}/")  # signed in, which a script does
        state = context.storage_state()
        context.close()
        yield Own(records, url, state)
    finally:
        names = [each.name for each in records.endpoints.list()]
        for name in names:
            records.endpoints.delete(name)
        studio.terminate()
        studio.wait()
        wait_for(lambda: all(not EndpointFolder.of(str(folder), name).is_looked_after() for name in names))
        records.close()


@pytest.fixture
def visit(browser: Any, own: Own) -> Iterator[Callable[..., Any]]:
    """Begin a visit; what it complains of is the test's to look at."""
    module = importlib.import_module("browser")
    with ExitStack() as open_visits:
        yield lambda **given: open_visits.enter_context(module.visit(browser, own.url, own.state, **given))


def deploy(page: Any, url: str, model: str, name: str) -> None:
    """Deploy a model by the button in Models."""
    page.goto(f"{url}/models")
    page.get_by_role("link", name=f"Deploy {model}").click()
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Deploy", exact=True).click()
    page.wait_for_url(f"**/endpoints/{name}")


@pytest.fixture
def ridge(own: Own, visit: Callable[..., Any]) -> EndpointRecord:
    """An endpoint that is Healthy, which the module's tests share."""
    if not any(each.name == "shared-ridge" for each in own.records.endpoints.list()):
        deploy(visit().page, own.url, "ridge", "shared-ridge")
    record = wait_for(lambda: own.deployed("shared-ridge"))
    assert record is not None
    return record


@pytest.mark.needs("playwright", "sklearn")
class TestDeploying:
    def test_what_is_wrong_is_said_at_the_form_before_anything_is_made(
        self, own: Own, visit: Callable[..., Any], ridge: EndpointRecord
    ) -> None:
        page = visit().open("/models/ridge/deploy").page
        known = {each.name for each in own.records.endpoints.list()}
        page.get_by_text("Advanced").click()
        page.get_by_label("Memory, GB").fill("2")
        for name, said in (("Not_A_Name", "small letters"), (ridge.name, "Choose another name")):
            page.get_by_label("Name").fill(name)
            page.get_by_role("button", name="Deploy", exact=True).click()
            page.locator(".refusal", has_text=said).wait_for()
            assert page.get_by_label("Name").input_value() == name
            assert page.get_by_label("Memory, GB").input_value() == "2"
        assert {each.name for each in own.records.endpoints.list()} == known

    def test_a_model_that_nothing_loads_has_no_form_but_the_way_out(self, visit: Callable[..., Any]) -> None:
        page = visit().open("/models/notes/deploy").page
        assert "Register it with model_framework" in page.inner_text(".error-banner")
        assert page.get_by_role("button", name="Deploy", exact=True).count() == 0

    def test_a_model_is_deployed_with_what_was_chosen(self, own: Own, visit: Callable[..., Any]) -> None:
        page = visit().open("/models/ridge/deploy").page
        page.get_by_label("Name").fill("chosen")
        page.get_by_text("Advanced").click()
        page.get_by_label("CPU, cores").fill("0.5")
        page.get_by_label("Workers").fill("2")
        page.locator("[name=key_needed]").select_option("no")
        page.get_by_role("button", name="Deploy", exact=True).click()
        page.wait_for_url("**/endpoints/chosen")
        record = wait_for(lambda: own.deployed("chosen"))
        assert record is not None
        assert record.host is not None
        spec = record.newest.spec
        assert (spec.models, spec.cpu, spec.memory_gb, spec.workers) == (("ridge:1",), 0.5, None, 2)
        assert requests.post(f"{record.host.address}/score", json={"data": [[1.0, 2.0]]}).ok  # without a key

    def test_its_state_changes_while_one_looks_and_a_failure_has_its_traceback_folded(
        self, own: Own, visit: Callable[..., Any]
    ) -> None:
        page = visit().page
        deploy(page, own.url, "broken", "failing")
        page.locator(".head .status", has_text="Failed").wait_for()
        assert "ZeroDivisionError" in page.inner_text("#failure .error-banner")
        details = page.get_by_label("Details of the error")
        assert not details.is_visible()
        page.get_by_text("Traceback and last lines").click()
        assert "trusted.py" in details.inner_text()
        page.locator("#log", has_text="ZeroDivisionError: division by zero").wait_for()
        assert page.locator("#try").count() == page.locator("#speed").count() == 0

    def test_versions_share_the_traffic_and_an_endpoint_is_deleted(self, own: Own, visit: Callable[..., Any]) -> None:
        page = visit().page
        deploy(page, own.url, "ridge", "split")
        page.locator(".head .status", has_text="Healthy").wait_for()
        page.get_by_role("link", name="Deploy a version").click()
        page.get_by_role("button", name="Deploy", exact=True).click()
        page.wait_for_url("**/endpoints/split")
        page.locator("#deployment-2", has_text="100 %").wait_for()
        for number, percent in ((1, "30"), (2, "60")):
            page.get_by_label(f"Percent of the requests for deployment {number}").fill(percent)
        page.get_by_role("button", name="Set the traffic").click()
        page.locator("#deployments .refusal", has_text="add up to 100").wait_for()
        page.get_by_label("Percent of the requests for deployment 2").fill("70")
        page.get_by_role("button", name="Set the traffic").click()
        page.locator("#deployment-1", has_text="30 %").wait_for()
        assert own.records.endpoints.get("split").serving == {1: 30, 2: 70}

        page.get_by_role("button", name="Delete").click()
        page.locator("dialog").get_by_role("button", name="Delete").click()
        page.wait_for_url("**/endpoints")
        assert "split" not in {each.name for each in own.records.endpoints.list()}
        wait_for(lambda: own.ended("split"))


@pytest.mark.needs("playwright", "sklearn")
class TestAnEndpoint:
    def test_it_is_tried_with_its_example_and_other_values(
        self, visit: Callable[..., Any], ridge: EndpointRecord
    ) -> None:
        visiting = visit().open(f"/endpoints/{ridge.name}")
        page = visiting.page
        body = page.get_by_label("The request, as JSON")
        assert json.loads(body.input_value()) == {"data": [[0.0, 0.0]]}
        page.get_by_label("x2").fill("3.5")
        assert json.loads(body.input_value()) == {"data": [[0, 3.5]]}
        page.get_by_role("button", name="Send").click()
        answer = page.locator(".trial-answer")
        answer.locator(".status", has_text="200").wait_for()
        assert json.loads(answer.locator("pre").inner_text()) == pytest.approx([7.0])

        body.fill('{"data": [[1, 2, 3]]}')
        page.get_by_role("button", name="Send").click()
        answer.locator(".status", has_text="400").wait_for()
        assert page.get_by_label("x2").input_value() == "2"
        assert ridge.host is not None
        assert not [asked for asked in visiting.requests if asked.startswith(ridge.host.address)]

    def test_what_it_has_answered_is_counted_while_one_looks(
        self, own: Own, visit: Callable[..., Any], ridge: EndpointRecord
    ) -> None:
        page = visit().open(f"/endpoints/{ridge.name}").page
        counted = int(own_data(page, own, f"/endpoints/{ridge.name}.json")["speed"]["requests"])
        key, _ = own.records.endpoints.keys(ridge.name)
        assert ridge.host is not None
        for rows in ([[1, 2]], [[3]]):
            requests.post(
                f"{ridge.host.address}/score", json={"data": rows}, headers={"Authorization": f"Bearer {key}"}
            )
        page.wait_for_function(
            "wanted => [...document.querySelectorAll('#speed dd')].some(each => each.textContent === wanted)",
            arg=str(counted + 2),
        )
        speed = own_data(page, own, f"/endpoints/{ridge.name}.json")["speed"]
        assert 0 < speed["p50_ms"] <= speed["p95_ms"] <= speed["p99_ms"]
        assert speed["errors"]["400"] >= 1

    def test_keys_are_in_no_page_until_they_are_asked_for_and_are_made_anew(
        self, own: Own, visit: Callable[..., Any], ridge: EndpointRecord
    ) -> None:
        visiting = visit().open(f"/endpoints/{ridge.name}")
        page = visiting.page
        before = own.records.endpoints.keys(ridge.name)
        text = page.content() + json.dumps(own_data(page, own, f"/endpoints/{ridge.name}.json"))
        assert not [key for key in before if key in text]
        page.get_by_role("button", name="Show the keys").click()
        assert page.locator("#key-primary").inner_text() == before[0]
        page.get_by_role("button", name="Make the secondary key anew").click()
        page.locator("dialog").get_by_role("button", name="Make anew").click()
        page.wait_for_function("old => document.querySelector('#key-secondary').textContent !== old", arg=before[1])
        after = own.records.endpoints.keys(ridge.name)
        assert (after[0], page.locator("#key-secondary").inner_text()) == (before[0], after[1])
        page.get_by_role("button", name="Hide the keys").click()
        assert after[0] not in page.content()

    def test_a_snippet_of_it_runs(self, own: Own, visit: Callable[..., Any], ridge: EndpointRecord) -> None:
        page = visit().open(f"/endpoints/{ridge.name}").page
        page.locator("#snippets").get_by_text("Python", exact=True).click()
        text = page.locator("#snippets pre:visible").inner_text()
        key, _ = own.records.endpoints.keys(ridge.name)
        done = subprocess.run(
            [sys.executable, "-c", text], env={"ENDPOINT_KEY": key}, capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout) == pytest.approx([0.0])

    @pytest.mark.parametrize(("size", "scheme"), LOOKS)
    def test_its_pages_are_whole(
        self,
        own: Own,
        visit: Callable[..., Any],
        ridge: EndpointRecord,
        pictures: Path,
        size: tuple[int, int],
        scheme: str,
    ) -> None:
        if not any(each.name == "slow" for each in own.records.endpoints.list()):
            deploy(visit().page, own.url, LONG, "slow")
        paths = {
            "models to deploy": "/models",
            "deploy": "/models/ridge/deploy",
            "endpoints": "/endpoints",
            "healthy endpoint": f"/endpoints/{ridge.name}",
            "endpoint that starts": "/endpoints/slow",
        }
        for name, path in paths.items():
            visiting = visit(size=size, scheme=scheme).open(path)
            visiting.keep_picture(pictures, f"{name}, {size[0]} {scheme}")
            assert visiting.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, name
            assert visiting.violations() == [], name
            assert visiting.complaints == [], name
        assert own.records.endpoints.get("slow").state is EndpointState.TRANSITIONING


def own_data(page: Any, own: Own, path: str) -> Any:
    """The data of a page, asked for with the browser's session."""
    return page.context.request.get(own.url + path).json()


class TestOverAService:
    """A service's Studio only says what is wanted: agents run it."""

    @pytest.fixture
    def studio(self, tmp_path: Path) -> Iterator[Studio]:
        create_workspace(tmp_path / "workspace")
        register(tmp_path / "workspace", {"ridge": [1.0]})
        records = open_folder(tmp_path / "workspace").records
        records.compute_targets.put("pool", "Agents", 1, {})
        records.close()
        with Studio(Filled(tmp_path / "workspace", "", "", [], "", [], "", "", "", "")) as running:
            yield running

    def test_an_endpoint_waits_for_an_agent_of_its_pool(self, studio: Studio) -> None:
        person = studio.person("contributor")
        offered = person.data("/models/ridge/deploy.json")
        assert [each["value"] for each in offered["targets"]] == ["", "pool"]
        answer = person.change("/models/ridge/deploy", version=1, name="of-pool", target="pool")
        assert answer.json() == {"name": "of-pool"}
        [row] = person.data("/endpoints.json")["rows"]
        assert (row["name"], row["state"], row["where"], row["scoring_uri"]) == ("of-pool", "Transitioning", "pool", "")
        assert "waits for a machine" in row["reason"]
        page = person.data("/endpoints/of-pool.json")
        assert page["speed"] is page["trial"] is page["log"] is None

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"target": "local"}, "must be one of '', 'pool'"),
            ({"target": "nowhere"}, "must be one of '', 'pool'"),
            ({"target": "pool", "key_needed": "no"}, "key_needed"),
            ({"target": "pool", "environment": "none:1"}, "environment"),
            ({"target": "pool", "workers": 0}, "workers"),
            ({"target": "pool", "memory_gb": -1}, "memory_gb"),
            ({"target": "pool", "name": "No"}, "name of an endpoint"),
            ({"target": "pool", "version": 7}, "7"),
            ({"target": "pool", "endpoint": "nobody"}, "endpoint"),
        ],
    )
    def test_what_is_wrong_makes_no_endpoint(self, studio: Studio, given: dict[str, object], said: str) -> None:
        person = studio.person("contributor")
        answer = person.change("/models/ridge/deploy", **{"version": 1, "name": "of-pool", **given})
        assert answer.status_code in (400, 404)
        assert said in answer.json()["message"]
        assert person.data("/endpoints.json")["rows"] == []

    def test_a_reader_sees_endpoints_and_can_do_nothing_with_them(self, studio: Studio) -> None:
        contributor, reader = studio.person("contributor"), studio.person("reader")
        contributor.change("/models/ridge/deploy", version=1, name="of-pool", target="pool").raise_for_status()
        for path in ("/endpoints", "/endpoints/of-pool", "/models/ridge/deploy", "/models", "/models/ridge"):
            page = reader.get(path)
            assert page.status_code == 200
            assert page.text.count("data-change=") == 1, path  # signing out
            assert "data-keys=" not in page.text
        for path in ("keys", "keys/new", "test", "traffic", "delete"):
            assert reader.change(f"/endpoints/of-pool/{path}").status_code == 403

    def test_who_looked_at_the_keys_is_kept(self, studio: Studio) -> None:
        person = studio.person("contributor")
        person.change("/models/ridge/deploy", version=1, name="of-pool", target="pool").raise_for_status()
        keys = person.change("/endpoints/of-pool/keys").json()
        assert len({keys["primary"], keys["secondary"]}) == 2
        acts = person.data("/endpoints/of-pool.json")["acts"]
        assert [act["act"] for act in acts] == ["looked at the keys", "create"]

    def test_a_trial_before_it_serves_is_refused_with_its_state(self, studio: Studio) -> None:
        person = studio.person("contributor")
        person.change("/models/ridge/deploy", version=1, name="of-pool", target="pool").raise_for_status()
        answer = person.change("/endpoints/of-pool/test", body="{}")
        assert answer.status_code == 409
        assert "Transitioning" in answer.json()["message"]


class TestNumbers:
    def test_a_percentile_lies_within_its_bucket(self) -> None:
        at_most = {0.001: 0.0, 0.01: 90.0, 0.1: 100.0, float("inf"): 100.0}
        assert quantile_ms(at_most, 0.5) == pytest.approx(1 + 9 * 50 / 90)
        assert quantile_ms(at_most, 0.95) == pytest.approx(10 + 90 * 0.5)

    def test_beyond_the_last_bound_is_that_bound(self) -> None:
        assert quantile_ms({0.1: 1.0, float("inf"): 10.0}, 0.99) == pytest.approx(100)

    def test_without_an_answer_there_is_no_percentile(self) -> None:
        assert quantile_ms({0.1: 0.0, float("inf"): 0.0}, 0.5) is None

    def test_what_is_of_another_deployment_is_left_out(self) -> None:
        text = 'amlstore_endpoint_request_seconds_bucket{endpoint="e",deployment="1",le="+Inf"} 3\n'
        found = read_prometheus(text, 1)
        assert found is not None
        assert found.at_most == {float("inf"): 3.0}
        assert read_prometheus(text, 2) is None


class TestTheFormOfAnExample:
    def test_columns_have_their_names_and_places(self) -> None:
        example = {"input_data": {"columns": ["age", "is_new", "city"], "data": [[7, True, "Ulm"]]}}
        fields = form_of(Described(example, [])).fields
        assert [(each.name, each.kind, each.value) for each in fields] == [
            ("age", "number", "7"),
            ("is_new", "choice", "true"),
            ("city", "text", "Ulm"),
        ]
        assert fields[1].path == ["input_data", "data", 0, 1]

    def test_records_have_their_keys(self) -> None:
        [field] = form_of(Described({"dataframe_records": [{"age": 1.5}]}, [])).fields
        assert (field.name, field.path, field.value) == ("age", ["dataframe_records", 0, "age"], "1.5")

    @pytest.mark.parametrize("example", [{"data": [[[0.0]]]}, {"data": []}, {"inputs": {"a": 1}}, {}])
    def test_what_has_no_row_has_no_fields(self, example: dict[str, Any]) -> None:
        assert form_of(Described(example, [])).fields == []


def test_snippets_hold_an_example_with_quotes_as_it_is() -> None:
    example = {"data": [["it's", 'a "b"']]}
    curl, python, sdk = snippets("e", "http://host/score", example, auth=False)
    sent = curl.text.partition("-d ")[2]
    assert (
        json.loads(subprocess.run(["sh", "-c", f"printf %s {sent}"], capture_output=True, check=True).stdout) == example
    )
    assert "Authorization" not in curl.text + python.text
    for text in (python.text, sdk.text):
        compile(text, "snippet", "exec")
