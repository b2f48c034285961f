"""A Studio over a workspace that has one of everything, people with keys, and a browser."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from filled_workspace import Filled, fill
from forked_service import ForkedService

from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.workspace.opening import open_folder


class Person:
    """Somebody with a key, signed in by it; `session` has their cookie."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.session = requests.Session()
        answer = self.session.post(f"{url}/sign-in", json={"key": key})
        answer.raise_for_status()
        page = self.get("/").text
        self.form_token = page.partition('name="form-token" content="')[2].partition('"')[0]

    def get(self, path: str, accept: str = "text/html") -> requests.Response:
        asked = self.session.prepare_request(requests.Request("GET", self.url, headers={"Accept": accept}))
        asked.url = self.url + path  # as it is written: requests would make `.` of `%2E`
        return self.session.send(asked, allow_redirects=False)

    def data(self, path: str) -> Any:
        """What a page's `.json` gives."""
        answer = self.get(path, "application/json")
        answer.raise_for_status()
        return answer.json()

    def change(self, path: str, **fields: object) -> requests.Response:
        """Send what a page's form sends."""
        return self.session.post(self.url + path, json=fields, headers={"X-Form-Token": self.form_token})

    @property
    def storage_state(self) -> dict[str, object]:
        """The cookies as Playwright takes them."""
        host = urlsplit(self.url).hostname
        cookies = [
            {
                "name": cookie.name,
                "value": cookie.value,
                "domain": host,
                "path": "/",
                "expires": -1,
                "httpOnly": True,
                "secure": False,
                "sameSite": "Strict",
            }
            for cookie in self.session.cookies
        ]
        return {"cookies": cookies, "origins": []}


class Studio(ForkedService):
    """`amlstore serve`, which carries Studio."""

    def __init__(self, filled: Filled, *options: str) -> None:
        super().__init__(filled.folder.parent, *options)  # in which it has its workspace
        self.filled = filled

    def person(self, role: str = "owner") -> Person:
        """Somebody new with a key of that role, by whose role it is called."""
        name = f"{role} {len(self.call('GET', '/auth/keys', self.exchange(self.key))['keys'])}"
        key = self.call("POST", "/auth/keys", self.exchange(self.key), {"name": name, "role": role})["key"]
        return Person(self.url, key)


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A Studio that a process's tests share: they change no run but their own."""
    with Studio(fill(tmp_path_factory.mktemp("studio") / "workspace")) as running:
        yield running


@pytest.fixture(scope="session")
def filled(studio: Studio) -> Filled:
    return studio.filled


@pytest.fixture(scope="session")
def owner(studio: Studio) -> Person:
    return studio.person("owner")


@pytest.fixture(scope="session")
def reader(studio: Studio) -> Person:
    return studio.person("reader")


@pytest.fixture
def visit(browser: Any, studio: Studio, owner: Person) -> Iterator[Callable[..., Any]]:
    """Begin a visit of the owner's: `visit(size=NARROW, scheme="dark")`. It must have nothing to complain of."""
    module = importlib.import_module("browser")
    open_visits: list[tuple[AbstractContextManager[Any], Any]] = []

    def begin(person: Person = owner, **given: Any) -> Any:
        begun = module.visit(browser, person.url, person.storage_state, **given)
        visiting = begun.__enter__()
        open_visits.append((begun, visiting))
        return visiting

    yield begin
    complaints = [complaint for _, visiting in open_visits for complaint in visiting.complaints]
    for begun, _ in open_visits:
        begun.__exit__(None, None, None)
    assert complaints == []


@pytest.fixture
def records(filled: Filled) -> Iterator[RecordStore]:
    """The workspace's records, written by another process than the service."""
    opened = open_folder(filled.folder).records
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Where the pictures of pages are kept: a folder of the test run."""
    return tmp_path_factory.getbasetemp() / "pictures"
