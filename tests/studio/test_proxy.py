"""Studio behind a proxy that puts a prefix before every path, and through a forwarded port: all of it works there."""

import importlib
import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from filled_workspace import PNG, Filled
from prefix_proxy import PrefixProxy

from .conftest import Person, Studio

pytestmark = pytest.mark.needs("playwright")


@pytest.fixture(scope="module", params=["/team/a", "/x", ""], ids=["two names", "one name", "another port"])
def proxied(request: pytest.FixtureRequest, studio: Studio) -> Iterator[str]:
    """The address of a Studio as its users have it."""
    with PrefixProxy(studio.url, request.param) as proxy:
        yield proxy.url


@pytest.fixture
def visiting(browser: Any, proxied: str) -> Iterator[Any]:
    """A browser that hasn't signed in, and in which nothing is asked of anything but the proxy."""
    with importlib.import_module("browser").visit(browser, proxied, {"cookies": [], "origins": []}) as begun:
        yield begun
        assert all(url.startswith((f"{proxied}/", "data:", "blob:")) for url in begun.requests)


@pytest.fixture
def signed_in(visiting: Any, studio: Studio) -> Any:
    """The same, signed in by a key."""
    visiting.page.goto(f"{visiting.url}/sign-in")
    visiting.page.get_by_label("Workspace key").fill(studio.key)
    visiting.page.get_by_role("button", name="Sign in").click()
    visiting.page.wait_for_url(f"{visiting.url}/")
    visiting.open("/")
    visiting.complaints.clear()
    return visiting


def test_a_key_signs_in_and_leads_to_the_page_that_was_asked_for(visiting: Any, studio: Studio, filled: Filled) -> None:
    visiting.page.goto(f"{visiting.url}/runs/{filled.best}?find=mse")
    visiting.page.get_by_label("Workspace key").fill(studio.key)
    visiting.page.get_by_role("button", name="Sign in").click()
    visiting.page.wait_for_url(f"{visiting.url}/runs/{filled.best}?find=mse")
    visiting.page.get_by_role("heading", name="ridge 7").wait_for()


def test_a_link_signs_in(visiting: Any, studio: Studio, filled: Filled) -> None:
    made = studio.call("POST", "/sign-in/links", studio.exchange(studio.key), {"to": f"/runs/{filled.best}"})
    visiting.page.goto(visiting.url + made["path"])
    visiting.page.wait_for_url(f"{visiting.url}/runs/{filled.best}")
    visiting.page.get_by_role("heading", name="ridge 7").wait_for()


def test_every_link_of_every_page_stays_below_the_prefix(signed_in: Any, filled: Filled) -> None:
    for path in (
        "/", "/runs", "/experiments", f"/experiments/{filled.experiment}/runs", f"/runs/{filled.kinds}",
        f"/runs/{filled.kinds}/outputs?folder=outputs", f"/runs/{filled.kinds}/outputs?path=user_logs/std_log.txt",
        f"/compare?runs={','.join(filled.sweep[:3])}", "/compute", "/models", "/models/ridge%20model%2Ejson",
    ):  # fmt: skip
        signed_in.open(path)
        links = signed_in.page.evaluate("[...document.querySelectorAll('a[href]')].map(each => each.href)")
        assert links
        assert {link for link in links if not link.startswith(f"{signed_in.url}/")} <= {f"{signed_in.url}/"}
    assert signed_in.complaints == []


def test_pages_are_walked_through_by_clicks(signed_in: Any) -> None:
    page = signed_in.page
    page.get_by_role("link", name="Experiments").first.click()
    page.get_by_role("link", name="ridge sweep").first.click()
    page.get_by_role("link", name="every kind").first.click()
    page.get_by_role("link", name="Outputs + logs").click()
    page.get_by_role("link", name="outputs/").click()
    page.get_by_role("link", name="picture.png", exact=True).click()
    page.locator(".preview img").wait_for()
    assert page.evaluate("document.querySelector('.preview img').decode().then(() => true)")
    assert signed_in.complaints == []


def test_charts_are_drawn_and_what_is_logged_is_seen(signed_in: Any, studio: Studio, filled: Filled) -> None:
    created = studio.call("POST", "/api/2.0/mlflow/runs/create", studio.token, {"experiment_id": "0"})
    run_id = created["run"]["info"]["run_id"]
    signed_in.open(f"/runs/{filled.best}")
    assert signed_in.page.locator("metric-chart").count() >= 2
    signed_in.open(f"/runs/{run_id}")
    log = {"run_id": run_id, "key": "loss", "value": 0.625, "timestamp": 1, "step": 0}
    studio.call("POST", "/api/2.0/mlflow/runs/log-metric", studio.token, log)
    signed_in.page.get_by_role("cell", name="0.625").first.wait_for()
    signed_in.settle()
    assert signed_in.complaints == []


def test_a_change_is_made_and_one_from_another_place_is_not(signed_in: Any, studio: Studio) -> None:
    created = studio.call("POST", "/api/2.0/mlflow/runs/create", studio.token, {"experiment_id": "0"})
    page = signed_in.open(f"/runs/{created['run']['info']['run_id']}").page
    page.get_by_text("Write the note").click()
    page.get_by_label("Note, in Markdown").fill("by way of a proxy")
    page.get_by_role("button", name="Save").click()
    page.locator(".markdown").get_by_text("by way of a proxy").wait_for()
    cookies = {each["name"]: each["value"] for each in page.context.cookies()}
    token = page.locator("meta[name=form-token]").get_attribute("content")
    address = f"{signed_in.url}/runs/{created['run']['info']['run_id']}/note"
    for origin in (studio.url, "http://evil.example", "null"):
        headers = {"X-Form-Token": str(token), "Origin": origin}
        assert requests.post(address, json={"note": "x"}, headers=headers, cookies=cookies).status_code == 403


def test_files_come_whole_and_as_one_zip(signed_in: Any, filled: Filled) -> None:
    page = signed_in.open(f"/runs/{filled.kinds}/outputs").page
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download all").click()
    content = downloading.value.path().read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.read("outputs/picture.png") == PNG
    page = signed_in.open(f"/runs/{filled.kinds}/outputs?path=outputs/picture.png").page
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download", exact=True).click()
    assert downloading.value.path().read_bytes() == PNG


def test_signing_out_leads_to_the_page_to_sign_in(signed_in: Any) -> None:
    signed_in.page.get_by_role("button", name="Sign out").click()
    signed_in.page.wait_for_url(f"{signed_in.url}/sign-in*")
    signed_in.page.goto(f"{signed_in.url}/runs")
    signed_in.page.get_by_label("Workspace key").wait_for()


def test_two_studios_on_one_host_have_a_session_each(proxied: str, studio: Studio) -> None:
    """Cookies know no port, so its name has the one that the browser sees."""
    direct, by_proxy = Person(studio.url, studio.key), Person(proxied, studio.key)
    [names] = [[re.sub(r"\D", "", cookie.name) for cookie in each.session.cookies] for each in (by_proxy,)]
    assert names == [str(urlsplit(proxied).port)]
    assert direct.session.cookies.keys() != by_proxy.session.cookies.keys()
