"""Microsoft's clients find the workspace in a cloud that is this service, and outlive their tokens."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from clients import Client, Place

from mlflow_amlstore.client.tokens.tracking_token import expiry_of
from mlflow_amlstore.service.addresses import RESOURCE_GROUP, SUBSCRIPTION_ID, workspace_path

# azureml-mlflow looks after its token every 30 s, and renews one that has less than 95 s left.
LOOKED_AFTER_EVERY_S = 30


def test_a_workspace_is_found_by_its_name(real_client: Client, start_place: Callable[..., Place]) -> None:
    """By azure-ai-ml's `MLClient`, whose credential azureml-mlflow then uses."""
    place: Place = start_place()
    name = place.folder.name
    login = {**place.with_azure_login(), "MLFLOW_TRACKING_URI": ""}

    told = real_client.run("find_workspace.py", SUBSCRIPTION_ID, RESOURCE_GROUP, name, **login)

    discovery = place.call("GET", "/discovery", place.token)
    assert told["tracking URI"] == discovery["trackingRoot"] == place.root
    assert told["discovery URL"] == f"{place.url}/discovery"
    assert told["id"] == workspace_path(name)
    assert (told["metric"], told["text"]) == (1, "content")


def hold(
    clients: Sequence[Client], place: Place, seconds: float
) -> tuple[dict[Client, dict[str, str]], dict[Client, Any]]:
    """Let clients log at once for a while; return the environment that each was given, and what it told."""
    environments = {client: place.with_token() for client in clients}
    holding = {
        client: client.start("script.py", "hold", str(seconds), **environment)
        for client, environment in environments.items()
    }
    return environments, {client: client.result(process) for client, process in holding.items()}


def test_a_run_goes_on_when_its_first_token_has_expired(
    real_client: Client, own_client: Client, start_place: Callable[..., Place]
) -> None:
    clients = (real_client, own_client)
    began = time.monotonic()
    hold(clients, start_place(), 0)
    life_s = LOOKED_AFTER_EVERY_S + max(6, 1.5 * (time.monotonic() - began))  # they need so long to start
    held_s = life_s + 8
    place: Place = start_place("--token-lifetime", str(life_s))

    environments, told = hold(clients, place, held_s)

    token = place.exchange(place.key)
    for client, environment in environments.items():
        query = f"run_id={environment['MLFLOW_RUN_ID']}&metric_key=held&max_results=1000"
        history = place.call("GET", f"/api/2.0/mlflow/metrics/get-history?{query}", token)["metrics"]
        print(f"\n{client}: {len(history)} points and {told[client]['files']} files over {held_s:.0f} s")
        assert [point["step"] for point in history] == list(range(told[client]["logged"]))
        ended_s = expiry_of(environment["MLFLOW_TRACKING_TOKEN"]) or math.inf
        assert sum(point["timestamp"] > ended_s * 1000 for point in history) > 1
        assert told[client]["files"] == told[client]["logged"] // 10
    log = place.log.read_text(encoding="utf-8")
    assert f"/runs/{environments[real_client]['MLFLOW_RUN_ID']}/token" in log
    assert '"status":401' not in log
