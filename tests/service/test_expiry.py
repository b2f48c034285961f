"""Tracking URIs expire, and nobody notices: each sentence of that promise, over a real service whose tokens live 3 s,
or twice as long as all clients need for their first calls.

All clients (`expiring_clients`) run at once, each in a process of its own and with a URI of a key of its own, by which
the service's log tells whose request it was.
"""

import json
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fork_server import ForkedProcess
from forked_service import ForkedService

from mlflow_amlstore.client.tokens.credentials import KeyCredential
from mlflow_amlstore.core import Workspace

SHORTEST_LIFE_S, REHEARSALS_A_LIFE = 3, 2
SCRIPT = Path(__file__).with_name("expiring_clients.py")
CLIENTS = [
    "logs_on", "idles", "has_many_threads", "comes_late_with_a_key", "comes_late", "is_revoked", "gets_a_new_uri",
    "forks", "spawns", "hands_its_environment_on", "keeps_files",
]  # fmt: skip
WITH_A_KEY = ["has_many_threads", "comes_late_with_a_key"]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the clients are forked")


class Asked(NamedTuple):
    """A tracking URI that was asked for, and the times between which it was handed out (s, monotonic)."""

    after_s: float
    before_s: float
    uri: str


class Ended:
    """What the clients did, told after all of them have ended."""

    def __init__(
        self, service: ForkedService, folder: Path, keys: dict[str, str], life_s: float, asked: list[Asked]
    ) -> None:
        self.service, self.folder, self.keys, self.life_s, self.asked = service, folder, keys, life_s, asked
        service.restart()  # then all of the log is written
        self.log = [json.loads(line) for line in service.log.read_text().splitlines()]

    def told(self, name: str) -> list[Any]:
        """What a client printed at last. It must have ended well."""
        printed = (self.folder / f"{name}.out").read_text().splitlines()
        assert printed[-1] != "failed", (self.folder / f"{name}.err").read_text()[-3000:]
        return list(json.loads(printed[-1]))

    def calls(self, name: str) -> list[dict[str, Any]]:
        """The requests that the service took from a client."""
        return [line for line in self.log if line.get("caller") == _key_id(self.keys[name])]

    def renewals(self, name: str) -> int:
        """How often a client renewed; the first of its tokens was made for it."""
        return sum(call["path"] == "/auth/tracking-token" for call in self.calls(name)) - 1

    def history(self, run_id: str) -> list[float]:
        path = f"/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key=m"
        return sorted(point["value"] for point in self.service.call("GET", path, self.service.token)["metrics"])


def _new_key(service: ForkedService, name: str) -> str:
    wanted = {"name": name, "role": "contributor"}
    return str(service.call("POST", "/auth/keys", service.exchange(service.key), wanted)["key"])


def _key_id(key: str) -> str:
    return key.split("_")[1]


def tracking_uri(service: ForkedService, key: str) -> str:
    token = service.call("POST", "/auth/tracking-token", service.exchange(key))
    return f"{service.tracking_uri.partition('?')[0]}?expires={token['expires']}&token={token['token']}"


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    folder = tmp_path_factory.mktemp("expiry")
    nowhere = str(folder / "nowhere")
    own = {"HOME": nowhere, "XDG_STATE_HOME": nowhere, "XDG_CONFIG_HOME": nowhere}
    with (
        ForkedProcess([SCRIPT, folder], env={**os.environ, **own}, stdout=subprocess.PIPE, cwd=folder) as all_,
        ExitStack() as undo,
    ):
        undo.callback(all_.kill)
        life_s = max(SHORTEST_LIFE_S, REHEARSALS_A_LIFE * _rehearse(folder, all_))
        service = undo.enter_context(ForkedService(folder / "service", "--token-lifetime", str(life_s)))
        keys = {name: _new_key(service, name) for name in CLIENTS}
        for name in WITH_A_KEY:
            (folder / f"{name}.key").write_text(keys[name])
        _hand(folder, "lifetime", str(life_s))
        asked = _hand_all(service, folder, keys, life_s)
        assert all_.wait() == 0
        _wait_for(folder / "forks.out")
        yield Ended(service, folder, keys, life_s, asked)


def _rehearse(folder: Path, all_: ForkedProcess) -> float:
    """How long all clients take for their first calls, at once (s)."""
    assert all_.stdout is not None
    with ForkedService(folder / "rehearsal") as service:
        assert all_.stdout.readline() == "ready\n"
        began = time.monotonic()
        _hand(folder, "rehearsal.uri", tracking_uri(service, service.key))
        assert all_.stdout.readline() == "rehearsed\n"
        return time.monotonic() - began


def _hand_all(service: ForkedService, folder: Path, keys: dict[str, str], life_s: float) -> list[Asked]:
    """Give each client its URI, some of them too late, and revoke a key; ask for a URI here all along."""
    late = {name: tracking_uri(service, keys[name]) for name in CLIENTS if name.startswith("comes_late")}
    began = time.monotonic()
    known = {"has_many_threads": service.tracking_uri.partition("?")[0]}  # as typed by hand
    for name in CLIENTS:
        if name not in late:
            _hand(folder, f"{name}.uri", known.get(name) or tracking_uri(service, keys[name]))

    def hand_late() -> None:
        for name, uri in late.items():
            _hand(folder, f"{name}.uri", uri)

    def change() -> None:
        _hand(folder, "gets_a_new_uri.second.uri", tracking_uri(service, keys["gets_a_new_uri"]))
        service.call("DELETE", f"/auth/keys/{_key_id(keys['is_revoked'])}", service.exchange(service.key))

    asked, to_do = [], [(life_s + 1, hand_late), (life_s * 1.5, change)]
    to_do.sort(key=itemgetter(0))
    workspace = Workspace.from_url(service.url, KeyCredential(service.url, service.key))
    while to_do or time.monotonic() < began + life_s * 1.2 + 1:
        after_s = time.monotonic()
        uri = workspace.get_mlflow_tracking_uri()
        asked.append(Asked(after_s, time.monotonic(), uri))
        if to_do and time.monotonic() > began + to_do[0][0]:
            to_do.pop(0)[1]()
        time.sleep(0.1)
    return asked


def _hand(folder: Path, name: str, text: str) -> None:
    (folder / "new").write_text(text)
    (folder / "new").rename(folder / name)


def _wait_for(file: Path) -> None:
    while not file.read_text().endswith("\n"):
        time.sleep(0.05)


@pytest.mark.parametrize(
    "name",
    [
        "logs_on",
        "idles",
        "has_many_threads",
        "gets_a_new_uri",
        "forks",
        "spawns",
        "hands_its_environment_on",
        "keeps_files",
    ],
)
def test_a_client_outlives_its_token_and_loses_nothing(ended: Ended, name: str) -> None:
    run_id, count, *_ = ended.told(name)
    assert count >= 0
    if count:
        assert ended.history(run_id) == list(range(count))
    assert ended.renewals(name) >= 2
    assert [call for call in ended.calls(name) if call["status"] != 200] == []


def test_one_renewal_serves_all_threads(ended: Ended) -> None:
    _, _, seconds = ended.told("has_many_threads")
    soonest_s = ended.life_s * 0.6  # it is renewed when a third of its life is left, or little more
    assert 3 <= ended.renewals("has_many_threads") <= 1 + seconds / soonest_s


def test_nobody_else_was_refused_a_call(ended: Ended) -> None:
    refused = Counter(line["path"].rpartition("/mlflow/")[2] for line in ended.log if line.get("status") == 401)
    del refused["/auth/tracking-token"]  # attempts to renew in vain, by those whose key was revoked or who came late
    assert refused == {"runs/create": 1, "runs/log-metric": 1, "registered-models/search": 1}


def test_a_client_that_can_renew_is_refused_once_and_goes_on(ended: Ended) -> None:
    assert ended.told("comes_late_with_a_key") == [0]
    calls = [line["status"] for line in ended.log if line.get("path", "").endswith("/registered-models/search")]
    assert calls == [401, 200]
    assert ended.renewals("comes_late_with_a_key") == 1


def test_one_that_can_not_hears_once_and_soon_when_it_expired_and_what_to_call(ended: Ended) -> None:
    code, message, seconds = ended.told("comes_late")
    assert code == "UNAUTHENTICATED"
    assert seconds < ended.life_s
    assert re.search(r"expired at 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", message)
    assert "get_mlflow_tracking_uri" in message
    assert ended.renewals("comes_late") == 0


def test_a_revoked_key_ends_it(ended: Ended) -> None:
    code, message = ended.told("is_revoked")
    assert code == "UNAUTHENTICATED"
    assert "revoked" in message


def test_no_token_key_or_signature_is_in_any_record_log_or_output(ended: Ended) -> None:
    """With all of the clients' logging at DEBUG."""
    places = {path.name: path.read_bytes() for path in ended.service.folder.rglob("*") if path.is_file()}
    places |= {path.name: path.read_bytes() for kind in ("*.out", "*.err") for path in ended.folder.glob(kind)}
    places["service's log"] = ended.service.log.read_bytes()
    assert b"/auth/tracking-token" in places["service's log"]
    assert b"/auth/tracking-token" in places["logs_on.err"]  # urllib3 tells of each request
    for name, content in places.items():
        assert re.findall(rb"eyJ[\w-]{10,}|sig=[\w%-]{10,}|amlk_\w+_[\w-]{4,}", content) == [], name


def test_a_uri_is_handed_out_again_while_enough_of_its_life_is_left_then_a_fresh_one(ended: Ended) -> None:
    first = ended.asked[0]
    with_much_left = [one.uri for one in ended.asked if one.before_s - first.after_s < ended.life_s * 11 / 12]
    ended_since = [one.uri for one in ended.asked if one.after_s - first.before_s > ended.life_s + 1]
    assert len(with_much_left) > 3
    assert set(with_much_left) == {first.uri}
    assert ended_since
    for second in set(ended_since):
        assert second != first.uri
        assert second.partition("?")[0] == first.uri.partition("?")[0]
        assert re.fullmatch(
            r"azureml\+http://127\.0\.0\.1:\d+/mlflow/v2\.0/[^?]+\?expires=[^&]+Z&token=[\w.-]+", second
        )


def test_its_token_is_good_for_tracking_and_nothing_else(ended: Ended) -> None:
    workspace = Workspace.from_url(ended.service.url, KeyCredential(ended.service.url, ended.service.key))
    token = workspace.get_mlflow_tracking_uri().partition("&token=")[2]
    service = ended.service
    assert service.call("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", token)["experiment"]
    for method, path, status in (("GET", "/auth/keys", "403"), ("POST", "/auth/token", "401")):
        with pytest.raises(OSError, match=status):
            service.call(method, path, token)
