"""Who may open a page and change something: every route of Studio's, tried by everybody who may not."""

import re
import time
from urllib.parse import urlsplit

import jwt
import pytest
import requests
from click.testing import CliRunner

from mlflow_amlstore.cli import cli as amlstore
from mlflow_amlstore.records.acting import this_user
from mlflow_amlstore.service.access import Access, Right, Role
from mlflow_amlstore.service.routing import Route
from mlflow_amlstore.studio import ROUTES

from .conftest import Person, Studio

API = "/api/2.0/mlflow"
PUBLIC = {"/sign-in", "/static/{version}/{path:path}"}
with_role = [route for route in ROUTES if isinstance(route.access, Role)]
changes = [route for route in with_role if route.method == "POST" and route.path != "/sign-in/links"]


def link_of(studio: Studio, to: str = "/") -> str:
    """The path of a new sign-in link."""
    return str(studio.call("POST", "/sign-in/links", studio.exchange(studio.key), {"to": to})["path"])


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


def path_of(route: Route) -> str:
    return re.sub(r"\{[^}]*\}", "x", route.path)


def send(route: Route, url: str, **given: object) -> requests.Response:
    body = {"json": {}} if route.method == "POST" else {}
    return requests.request(route.method, url + path_of(route), allow_redirects=False, stream=True, **body, **given)  # type: ignore[arg-type]


def test_only_signing_in_needs_no_session() -> None:
    open_to_all = {route.path for route in ROUTES if route.access is Access.PUBLIC}
    assert {path for path in open_to_all if not path.startswith("/mlflow/")} == PUBLIC
    assert {route.right for route in with_role} == {Right.LOOK}


def test_every_change_needs_a_contributor_but_signing_out() -> None:
    assert {route.path for route in changes if route.access is Role.READER} == {"/sign-out"}
    assert {route.method for route in with_role} == {"GET", "POST"}


@pytest.mark.parametrize("route", with_role, ids=name_of)
def test_without_a_session_nothing_opens(studio: Studio, route: Route) -> None:
    tracking = studio.call("POST", "/auth/tracking-token", studio.exchange(studio.key))["token"]
    port = urlsplit(studio.url).port
    for headers, status in (
        ({}, 401),
        ({"Cookie": f"amlstore-session-{port}=garbage"}, 401),
        ({"Cookie": f"amlstore-session-{port}={studio.exchange(studio.key)}"}, 401),
        ({"Cookie": f"amlstore-session-{port}={tracking}"}, 401),
        ({"Authorization": f"Bearer {tracking}"}, 403),
    ):
        answer = send(route, studio.url, headers=headers)
        assert answer.status_code == status, (headers, answer.text)


@pytest.mark.parametrize("route", changes, ids=name_of)
def test_a_change_comes_from_a_page_of_the_session_and_from_no_other_origin(
    studio: Studio, owner: Person, reader: Person, route: Route
) -> None:
    for token in ("", "wrong", reader.form_token):
        headers = {"X-Form-Token": token} if token else {}
        answer = owner.session.post(studio.url + path_of(route), json={}, headers=headers)
        assert answer.status_code == 403
        assert "form token" in answer.json()["message"]
    headers = {"X-Form-Token": owner.form_token, "Origin": "http://evil.example"}
    assert owner.session.post(studio.url + path_of(route), json={}, headers=headers).status_code == 403


@pytest.mark.parametrize("route", [route for route in changes if route.access is not Role.READER], ids=name_of)
def test_a_reader_sees_and_changes_nothing(studio: Studio, reader: Person, route: Route) -> None:
    answer = reader.change(path_of(route))
    assert answer.status_code == 403
    assert "needs the role contributor" in answer.json()["message"]


def test_a_reader_is_shown_no_form_that_changes_anything(reader: Person, studio: Studio) -> None:
    filled = studio.filled
    for path in ("/", "/runs", "/experiments", f"/runs/{filled.kinds}", "/compute", "/models/ridge%20model%2Ejson"):
        page = reader.get(path)
        assert page.status_code == 200
        assert re.findall(r'data-change="([^"]*)"', page.text) in (["./sign-out"], ["../sign-out"])


def test_an_access_token_reads_the_data_of_pages(studio: Studio) -> None:
    headers = {"Authorization": f"Bearer {studio.exchange(studio.key)}"}
    assert requests.get(f"{studio.url}/runs.json", headers=headers).json()["matching"] > 0


class TestSession:
    def test_it_is_a_cookie_that_no_script_and_no_other_site_has(self, studio: Studio) -> None:
        key = studio.call("POST", "/auth/keys", studio.exchange(studio.key), {"name": "cookie", "role": "reader"})
        answer = requests.post(f"{studio.url}/sign-in", json={"key": key["key"]})
        cookie = answer.headers["Set-Cookie"]
        name, _, rest = cookie.partition("=")
        assert name == f"amlstore-session-{urlsplit(studio.url).port}"
        assert set(rest.split("; ")[1:]) == {"Max-Age=43200", "Path=/", "HttpOnly", "SameSite=Strict"}
        claims = jwt.decode(rest.split(";")[0], options={"verify_signature": False})
        assert (claims["use"], claims["role"]) == ("session", "reader")
        assert claims["exp"] - claims["iat"] <= 3601

    def test_it_opens_no_route_but_studios(self, studio: Studio) -> None:
        person = studio.person("owner")
        token = person.session.cookies.values()[0]
        for path in ("/auth/keys", "/api/2.0/mlflow/experiments/get?experiment_id=0", "/openapi.json"):
            answer = requests.get(studio.url + path, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 403, path

    def test_it_ends_with_its_key(self, studio: Studio) -> None:
        person = studio.person("contributor")
        owner_token = studio.exchange(studio.key)
        newest = studio.call("GET", "/auth/keys", owner_token)["keys"][-1]["key_id"]
        keys = [key["key_id"] for key in studio.call("GET", "/auth/keys", owner_token)["keys"]]
        claims = jwt.decode(person.session.cookies.values()[0], options={"verify_signature": False})
        assert claims["sub"] in keys
        assert newest in keys
        assert person.get("/runs").status_code == 200
        studio.call("DELETE", f"/auth/keys/{claims['sub']}", owner_token)
        time.sleep(1)  # within which the service notices
        answer = person.get("/runs")
        assert answer.status_code == 401
        assert "revoked" in answer.text

    def test_signing_out_ends_it_in_the_browser_and_for_a_copy_of_its_cookie(self, studio: Studio) -> None:
        person, other = studio.person("reader"), studio.person("reader")
        copied = {"Cookie": "; ".join(f"{cookie.name}={cookie.value}" for cookie in person.session.cookies)}
        assert requests.get(f"{studio.url}/runs", headers=copied).status_code == 200
        assert person.change("/sign-out").status_code == 200
        assert person.get("/").status_code == 401
        refused = requests.get(f"{studio.url}/runs.json", headers=copied)
        assert refused.status_code == 401
        assert "ended by signing out" in refused.json()["message"]
        assert other.get("/").status_code == 200

    def test_signing_out_with_an_access_token_ends_nobodys_session(self, studio: Studio, reader: Person) -> None:
        headers = {"Authorization": f"Bearer {studio.exchange(studio.key)}"}
        assert requests.post(f"{studio.url}/sign-out", json={}, headers=headers).status_code == 200
        assert requests.get(f"{studio.url}/runs.json", headers=headers).status_code == 200
        assert reader.get("/").status_code == 200

    def test_a_refusal_names_the_ways_to_sign_in_and_no_tracking_uri(self, studio: Studio) -> None:
        used = link_of(studio)
        requests.get(studio.url + used)
        for method, path, body in (
            ("GET", "/runs", None),
            ("GET", used, None),
            ("POST", "/sign-in", {"key": "amlk_x"}),
        ):
            for accept in ("text/html", "application/json"):
                answer = requests.request(method, studio.url + path, json=body, headers={"Accept": accept})
                assert answer.status_code == 401
                assert "tracking URI" not in answer.text
                assert "get_mlflow_tracking_uri" not in answer.text
                assert "amlstore open" in answer.text


class TestSigningIn:
    def test_a_link_works_once(self, studio: Studio) -> None:
        path = studio.call("POST", "/sign-in/links", studio.exchange(studio.key), {"to": "/runs?sort=-started"})["path"]
        first = requests.get(studio.url + path)
        assert first.status_code == 200
        assert "amlstore-session" in first.headers["Set-Cookie"]
        assert "./runs?sort=-started" in first.text
        second = requests.get(studio.url + path, headers={"Accept": "text/html"})
        assert second.status_code == 401
        assert "used already" in second.text

    def test_a_key_on_the_page_of_a_used_link_leads_on_and_not_back_to_it(self, studio: Studio) -> None:
        link = link_of(studio)
        requests.get(studio.url + link)
        page = requests.get(studio.url + link, headers={"Accept": "text/html"})
        assert page.status_code == 401
        [to] = re.findall(r'name="to" value="([^"]*)"', page.text)
        assert to == "/"

    def test_a_browser_with_a_session_gets_the_page_of_a_used_link(self, studio: Studio, reader: Person) -> None:
        link = link_of(studio, "/runs?sort=-started")
        requests.get(studio.url + link)
        answer = reader.get(link)
        assert answer.status_code == 303
        assert answer.headers["Location"] == "./runs?sort=-started"
        assert "Set-Cookie" not in answer.headers  # it goes on as who it was
        assert reader.get("/sign-in?token=garbage").headers["Location"] == "./"

    @pytest.mark.parametrize(
        "to",
        [
            "http://evil.example",
            "//evil.example",
            "/\\evil.example",
            "javascript:alert(1)",
            "evil",
            "/sign-in?token=used",
            "/sign%2Din?token=used",
        ],
    )
    def test_it_leads_to_a_page_of_this_service(self, studio: Studio, to: str) -> None:
        answer = requests.post(f"{studio.url}/sign-in", json={"key": studio.key, "to": to})
        assert answer.json() == {"to": "./"}

    def test_a_session_makes_no_links(self, owner: Person) -> None:
        assert owner.change("/sign-in/links", to="/").status_code == 403

    def test_a_page_without_a_session_is_the_page_to_sign_in(self, studio: Studio) -> None:
        answer = requests.get(f"{studio.url}/runs?filter=x", headers={"Accept": "text/html"})
        assert answer.status_code == 401
        assert 'name="to" value="/runs?filter=x"' in answer.text

    def test_failed_attempts_are_limited(self, tmp_path_factory: pytest.TempPathFactory, filled: object) -> None:
        folder = tmp_path_factory.mktemp("limited") / "workspace"
        from forked_service import ForkedService

        with ForkedService(folder) as service:
            statuses = [requests.post(f"{service.url}/sign-in", json={"key": "amlk_x"}).status_code for _ in range(12)]
            assert statuses == [401] * 10 + [503] * 2
            locked = requests.post(f"{service.url}/sign-in", json={"key": service.key})
            assert locked.status_code == 503
            wait_s = int(locked.headers["Retry-After"])
            assert 1 <= wait_s <= 60
            told = "10 attempts to sign in failed within a minute; send it again"
            assert f"{told} after {wait_s} s" in locked.json()["message"] or wait_s == 1
            link = service.call("POST", "/sign-in/links", service.exchange(service.key), {"to": "/"})["path"]
            assert requests.get(service.url + link).status_code == 200  # it needs no key


def test_pages_have_a_strict_policy_and_take_nothing_from_another_host(owner: Person, studio: Studio) -> None:
    filled = studio.filled
    for path in ("/", "/runs", f"/runs/{filled.kinds}", "/experiments", "/compute", "/models", "/sign-in", "/nothing"):
        answer = owner.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for address in re.findall(r'(?:src|href|action)="([^"]*)"', answer.text):
            assert not urlsplit(address).netloc, address
        assert " style=" not in answer.text
        assert not re.search(r"<script(?![^>]*(src=|application/json))", answer.text)
        assert not re.search(r"\son\w+=", re.sub(r"&lt;.*?&gt;", "", answer.text))


class TestWhoChangedWhat:
    """Whoever deletes, restores, renames or registers is shown with the record, by whatever way they did it."""

    def test_the_page_of_a_run_shows_who_deleted_it_by_the_api_and_by_the_command(self, studio: Studio) -> None:
        owner = studio.person("owner")
        key = studio.call("POST", "/auth/keys", studio.exchange(studio.key), {"name": "script of ana", "role": "owner"})
        token = studio.exchange(key["key"])
        created = studio.call("POST", f"{API}/runs/create", token, {"experiment_id": "0", "start_time": 1})
        run_id = created["run"]["info"]["run_id"]
        studio.call("POST", f"{API}/runs/delete", token, {"run_id": run_id})
        called = CliRunner().invoke(amlstore, ["restore", "-w", str(studio.folder), run_id])
        assert called.exit_code == 0, called.output
        owner.change("/runs/delete", runs=run_id).raise_for_status()

        [by_page, by_command, by_api] = owner.data(f"/runs/{run_id}.json")["acts"]
        assert (by_api["act"], by_api["who"]) == ("deleted", "script of ana")
        assert (by_command["act"], by_command["who"]) == ("restored", this_user())
        assert by_page["act"] == "deleted"  # kept once
        assert by_page["who"].startswith("owner ")
        assert "script of ana deleted" in re.sub(r"<[^>]*>", "", owner.get(f"/runs/{run_id}").text)

    def test_the_page_of_a_model_shows_who_registered_its_versions(self, studio: Studio, owner: Person) -> None:
        token = studio.exchange(studio.key)
        studio.call("POST", f"{API}/registered-models/create", token, {"name": "kept"})
        version = {"name": "kept", "source": "mlflow-artifacts:/0/none/artifacts/model"}
        studio.call("POST", f"{API}/model-versions/create", token, version)
        [act] = owner.data("/models/kept.json")["acts"]
        assert (act["act"], act["detail"]) == ("registered", "version 1")
        assert f"{act['who']} registered" in re.sub(r"<[^>]*>", "", owner.get("/models/kept").text)


class TestWhatIsSent:
    """A change that makes no sense is refused, and names its field."""

    def test_a_run_keeps_its_name_where_none_is_given(self, studio: Studio, owner: Person) -> None:
        for name in ("", "  "):
            answer = owner.change(f"/runs/{studio.filled.kinds}/name", name=name)
            assert answer.status_code == 400
            assert "for name" in answer.json()["message"]

    @pytest.mark.parametrize("page", ["", "../../etc", "models", "experiments/x/runs", "/runs", "runs\n"])
    def test_a_view_is_of_a_page_that_has_views(self, owner: Person, page: str) -> None:
        answer = owner.change("/views", page=page, name="best", query="")
        assert answer.status_code == 400
        assert "for page" in answer.json()["message"]

    def test_a_views_name_is_as_long_as_its_form_allows(self, owner: Person) -> None:
        assert owner.change("/views", page="experiments/0/runs", name="n" * 100, query="").status_code == 200
        answer = owner.change("/views", page="experiments/0/runs", name="n" * 101, query="")
        assert answer.status_code == 400
        assert "name of a view" in answer.json()["message"]
        owner.change("/views/delete", page="experiments/0/runs", name="n" * 100).raise_for_status()
