"""Requests that no page sends: numbers that are too long, answers without a body, changes that a state forbids."""

import re
from urllib.parse import quote

import msgspec
import pytest
import requests
from filled_workspace import Filled

from mlflow_amlstore.service.routing import Route
from mlflow_amlstore.studio import ROUTES

from .conftest import Person, Studio

MOST = 2**63 - 1


def integers_of(route: Route) -> list[str]:
    """The fields of a route's query that are integers."""
    kind = route.body
    if route.method != "GET" or not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return []
    return [field.encode_name for field in msgspec.structs.fields(kind) if field.type in (int, int | None)]


with_integers = [(route, name) for route in ROUTES for name in integers_of(route)]


def address_of(route: Route, filled: Filled, field: str, number: int) -> str:
    has_curves = "metrics/" in route.path or "curves" in route.path
    names = {"run_id": filled.best if has_curves else filled.kinds, "experiment_id": filled.experiment, "metric": "mse"}
    path = re.sub(r"\{(\w+)\}", lambda found: names[found[1]], route.path)
    given = {"path": "outputs/table.csv", "text": "a", "metric": "mse", "runs": filled.best, "metrics": "mse"}
    given |= {"from": str(number), "to": str(number)} if field in ("from", "to") else {field: str(number)}
    return f"{path}?" + "&".join(f"{name}={quote(value)}" for name, value in given.items())


def test_there_are_integers_to_be_tried() -> None:
    assert {name for _, name in with_integers} >= {
        "begin",
        "row",
        "rows",
        "points",
        "from",
        "to",
        "before",
        "after",
        "line",
    }


@pytest.mark.parametrize(
    ("route", "field"), with_integers, ids=[f"{route.path}?{name}" for route, name in with_integers]
)
def test_no_integer_of_a_query_is_too_much(owner: Person, filled: Filled, route: Route, field: str) -> None:
    no_snapshot = 404 if "/snapshot" in route.path else 200  # the run has none
    for number in (-MOST - 1, -1, 0, MOST - 1, MOST):
        answer = owner.get(address_of(route, filled, field, number), "application/json")
        assert answer.status_code in (200, 400, no_snapshot), (number, answer.text)
        if answer.status_code == 400:
            assert f"Invalid value {number} for " in answer.json()["message"]
    for number in (-MOST - 2, MOST + 1, 2**64, 10**40):
        answer = owner.get(address_of(route, filled, field, number), "application/json")
        assert answer.status_code == 400
        assert f"Invalid value {number} for " in answer.json()["message"]
        assert "must be" in answer.json()["message"]
    for text in ("9" * 5000, "x", ""):
        answer = owner.get(
            address_of(route, filled, field, 7).replace(f"{field}=7", f"{field}={text}"), "application/json"
        )
        assert answer.status_code == 400
        assert f"$.{field}" in answer.json()["message"]


def test_a_table_from_far_beyond_its_end_has_no_rows(owner: Person, filled: Filled) -> None:
    shown = owner.data(f"/runs/{filled.kinds}/outputs.json?path=outputs/table.csv&begin={MOST}")["preview"]
    assert (shown["kind"], shown["rows"], shown["next_begin"]) == ("table", [], None)
    assert shown["columns"] != []


@pytest.mark.parametrize("number", ["9" * 30, "9" * 5000])
def test_a_version_of_a_model_that_no_model_has_is_refused(owner: Person, number: str) -> None:
    assert owner.get(f"/models/ridge%20model%2Ejson/{number}.zip").status_code == 400


@pytest.mark.parametrize("since", ["9" * 5000, str(2**63), "-1", "x", ""])
def test_a_part_that_heard_of_no_version_is_the_newest(owner: Person, since: str) -> None:
    headers = {"X-Studio-Part": "main", "X-Studio-Since": since, "Accept": "text/html"}
    answer = owner.session.get(f"{owner.url}/runs", headers=headers)
    assert answer.status_code == 200
    assert "<table" in answer.text


@pytest.mark.parametrize("since", ["9" * 5000, "x"])
def test_a_page_that_heard_of_no_version_listens_from_now_on(studio: Studio, owner: Person, since: str) -> None:
    with owner.session.get(f"{owner.url}/live?since={since}", stream=True) as answer:
        assert answer.status_code == 200
        lines = answer.iter_lines(decode_unicode=True)
        assert next(lines) == "retry: 1000"
        body = {"experiment_id": "0", "run_name": "heard of"}
        studio.call("POST", "/api/2.0/mlflow/runs/create", studio.token, body)
        assert next(line for line in lines if line.startswith("event")) == "event: changed"


def test_head_of_what_is_streamed_gives_the_headers_and_ends(owner: Person, filled: Filled) -> None:
    run = f"/runs/{filled.kinds}"
    for path, media_type in (
        ("/live", "text/event-stream"),
        (f"{run}/outputs.zip", "application/zip"),
        (f"{run}/files/outputs/bytes.bin", "text/plain"),
        ("/runs", "text/html"),
    ):
        answer = owner.session.head(owner.url + path, timeout=60)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith(media_type)
        assert answer.content == b""
    whole = owner.get(f"{run}/files/outputs/table.csv")
    head = owner.session.head(f"{owner.url}{run}/files/outputs/table.csv")
    assert head.headers["Content-Length"] == str(len(whole.content))
    assert owner.session.head(f"{owner.url}{run}/files/none").status_code == 404
    assert owner.get("/").status_code == 200  # on the same connection


def test_a_wrong_port_in_the_header_host_is_a_wrong_host(studio: Studio, owner: Person) -> None:
    for path in ("/", "/runs", "/sign-in"):
        for accept in ("text/html", "application/json"):
            answer = owner.session.get(studio.url + path, headers={"Host": "127.0.0.1:99999", "Accept": accept})
            assert answer.status_code == 403
            assert "is not a name of this service" in answer.text


def test_a_change_that_a_state_forbids_is_a_conflict_and_no_error_of_the_service(studio: Studio, owner: Person) -> None:
    created = owner.change("/experiments", name="to be deleted")
    created.raise_for_status()
    [experiment_id] = [
        each["experiment_id"] for each in owner.data("/experiments.json")["rows"] if each["name"] == "to be deleted"
    ]
    owner.change(f"/experiments/{experiment_id}/delete", runs="").raise_for_status()
    for path, fields, told in (
        (
            "/runs/cancel",
            {"runs": studio.filled.best},
            "The chosen runs have ended; only a run that goes on can be canceled",
        ),
        (f"/experiments/{experiment_id}/name", {"name": "new"}, "is deleted and can't be renamed; restore it first"),
    ):
        answer = owner.change(path, **fields)
        assert (answer.status_code, answer.json()["error_code"]) == (409, "INVALID_STATE")
        assert told in answer.json()["message"]
        request_id = answer.headers["X-Request-Id"]
        assert not [line for line in studio.log.read_text().splitlines() if request_id in line and '"error"' in line]


def test_a_change_of_numbers_that_are_too_long_is_refused(owner: Person) -> None:
    for version in (2**63, 10**40, -1):
        answer = owner.change("/models/ridge%20model%2Ejson/aliases", alias="far", version=version)
        assert answer.status_code in (400, 404), answer.text


def test_mlflows_own_routes_answer_as_mlflow_does(studio: Studio) -> None:
    """Its clients know INVALID_STATE by the status 500."""
    token = {"Authorization": f"Bearer {studio.token}"}
    api = f"{studio.url}/api/2.0/mlflow/experiments"
    experiment_id = requests.post(f"{api}/create", json={"name": "by api"}, headers=token).json()["experiment_id"]
    requests.post(f"{api}/delete", json={"experiment_id": experiment_id}, headers=token).raise_for_status()
    answer = requests.post(f"{api}/update", json={"experiment_id": experiment_id, "new_name": "n"}, headers=token)
    assert (answer.status_code, answer.json()["error_code"]) == (500, "INVALID_STATE")
