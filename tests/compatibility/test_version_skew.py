"""The version before this one beside this one: in one folder, and at the two ends of a connection, both ways."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import workspace_script
from earlier_code import CodeProcess

from mlflow_amlstore.pytest_plugin import AmlstoreService

from .conftest import Kept
from .test_kept_workspaces import REVISIONS

WHO = {"today": "earlier", "earlier": "today"}  # each version, and the other one


class Today:
    """This process, with today's code; it answers the calls that a process of the version before does."""

    def call(self, name: str, *arguments: object, environment: Mapping[str, str] = {}) -> Any:
        with pytest.MonkeyPatch.context() as settings:
            for variable, value in environment.items():
                settings.setenv(variable, value)
            return workspace_script.CALLS[name](*map(str, arguments))


@pytest.fixture(scope="session")
def clients(earlier: CodeProcess) -> dict[str, Any]:
    return {"today": Today(), "earlier": earlier}


@pytest.fixture(scope="session")
def expected(unpack: Callable[[str, Path], Kept], tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What `fill` makes, as a workspace has it that was kept."""
    return logged_by("fixture", unpack(REVISIONS[-1], tmp_path_factory.mktemp("kept")).recorded)


def logged_by(author: str, found: Mapping[str, Any]) -> list[Any]:
    """What a version logged, without its name, ids, times and URIs: the same whichever version it was.

    MLflow 2 logs no models, so the metric of one, which the kept workspace has, is left out there.
    """
    of_a_model = set() if workspace_script.HAS_LOGGED_MODELS else {"accuracy"}
    runs = [run for run in found["run"]["runs"].values() if run["experiment"].startswith(author)]
    models = [model for model in found["run"]["models"].values() if model["name"].startswith(author)]
    logged = [
        [
            run["experiment"].removeprefix(author),
            run["status"],
            {
                name: value
                for name, value in run["metrics"].items()
                if name not in of_a_model and not str(value).startswith("aml://")
            },
            sorted(re.sub(r"_\d+\.", ".", name) for name in run["files"]),
            list(run["snapshot"].values()),
            {name: value for name, value in run["tags"].items() if not name.startswith("mlflow.")},
        ]
        for run in runs
    ]
    named = [[model["name"].removeprefix(author), model["version"], model["tags"], model["files"]] for model in models]
    return sorted([*logged, *named], key=repr)


def new_key(service: AmlstoreService, name: str) -> str:
    wanted = {"name": name, "role": "contributor"}
    return str(service.call("POST", "/auth/keys", service.exchange(service.key), wanted)["key"])


def as_far_as(earlier: Any, today: Any) -> Any:
    """What today's version says, without what it says besides: a later version may say more."""
    if isinstance(earlier, dict) and isinstance(today, dict):
        return {name: as_far_as(value, today[name]) for name, value in earlier.items() if name in today}
    if isinstance(earlier, list) and isinstance(today, list) and len(earlier) == len(today):
        return [as_far_as(one, other) for one, other in zip(earlier, today, strict=True)]
    return today


def test_both_log_into_one_folder_at_once_and_read_the_same(
    clients: dict[str, Any], expected: list[Any], tmp_path: Path
) -> None:
    today, earlier = clients["today"], clients["earlier"]
    earlier.call("open", tmp_path / "workspace")  # an older version opens no folder that has a newer schema already
    earlier.begin("fill", tmp_path / "workspace", "earlier")
    today.call("fill", tmp_path / "workspace", "today")
    earlier.answer()

    found = today.call("read", tmp_path / "workspace")
    read_earlier = earlier.call("read", tmp_path / "workspace")
    assert as_far_as(read_earlier, found) == read_earlier
    assert logged_by("today", found) == logged_by("earlier", found) == expected


@pytest.mark.parametrize(("client", "service"), WHO.items(), ids=lambda who: who)
def test_a_client_and_a_service_log_search_and_keep_files_and_models(
    client: str, service: str, clients: dict[str, Any], services: dict[str, AmlstoreService],
    expected: list[Any], tmp_path: Path,
) -> None:  # fmt: skip
    """The client finds its key where the other version's `amlstore login` left it."""
    url, logged_in = services[service].url, {"XDG_CONFIG_HOME": str(tmp_path)}
    clients[service].call("login", url, new_key(services[service], client), environment=logged_in)
    clients[client].call("fill", url, client, environment=logged_in)

    found = clients[client].call("read", url, environment=logged_in)
    assert found == clients[service].call("read", url, environment=logged_in)
    assert logged_by(client, found) == expected


def test_a_client_outlives_its_token_at_a_service_of_the_other_version(
    clients: dict[str, Any], services: dict[str, AmlstoreService], lifetime_s: int, tmp_path: Path
) -> None:
    """It has a tracking URI and nothing else."""
    without_key = {"XDG_CONFIG_HOME": str(tmp_path)}
    first = {name: first_token(service) for name, service in services.items()}
    uris = {name: f"{services[name].tracking_uri.partition('?')[0]}?{query}" for name, (query, _) in first.items()}
    clients["earlier"].begin("outlive_token", uris["today"], lifetime_s, environment=without_key)
    runs = {"earlier": clients["today"].call("outlive_token", uris["earlier"], lifetime_s, environment=without_key)}
    runs["today"] = clients["earlier"].answer()

    for name, run_id in runs.items():
        points = history(services[name], run_id)
        assert [point["step"] for point in points] == list(range(len(points)))
        assert points[-1]["timestamp"] > first[name][1]


def first_token(service: AmlstoreService) -> tuple[str, int]:
    """The query of a tracking URI with a fresh token, and when that ends, in ms."""
    token = service.call("POST", "/auth/tracking-token", service.exchange(new_key(service, "job")))
    ends = datetime.fromisoformat(token["expires"].replace("Z", "+00:00"))
    return f"expires={token['expires']}&token={token['token']}", round(ends.timestamp() * 1000)


def history(service: AmlstoreService, run_id: str) -> list[dict[str, Any]]:
    path = f"/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key=m"
    return sorted(service.call("GET", path, service.token)["metrics"], key=lambda point: point["step"])
