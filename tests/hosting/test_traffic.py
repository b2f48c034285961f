"""Which deployments answer: a split of the requests, and none while nobody asks."""

from collections import Counter

import pytest
import requests
from waiting import is_running, wait_for

from mlflow_amlstore.records.types import EndpointSpec, EndpointState

from .conftest import ROWS, Endpoint, Place, ridge


def test_requests_are_split_and_one_can_be_addressed(place: Place, endpoint: Endpoint) -> None:
    place.deploy(place.register_pickled("sum", ridge(10.0)))
    endpoint.wait_until(number=2)
    endpoint.records.endpoints.update(endpoint.name, traffic={1: 50, 2: 50})
    wait_for(lambda: endpoint.record.serving == {1: 50, 2: 50})

    def both() -> bool:
        return len(Counter(round(endpoint.ask().json()[0]) for _ in range(20))) == 2

    wait_for(both)
    host = endpoint.record.host
    assert host is not None
    key = endpoint.records.endpoints.keys(endpoint.name)[0]
    for number, expected in (("1", 3.0), ("2", 30.0)):
        headers = {"Authorization": f"Bearer {key}", "azureml-model-deployment": number}
        answer = requests.post(f"{host.address}/score", json={"data": ROWS}, headers=headers, timeout=60)
        assert answer.json()[0] == pytest.approx(expected)


def test_one_that_nobody_asks_stops_and_the_next_request_starts_it(place: Place) -> None:
    model = place.register_pickled("sum", ridge())
    endpoint = place.deploy(model, endpoint=EndpointSpec("x", "ACI", idle_after_s=1.0))
    endpoint.wait_until()
    first = endpoint.processes().first
    endpoint.wait_until(EndpointState.IDLE)
    wait_for(lambda: not is_running(first))
    assert endpoint.ask().json() == pytest.approx([3.0, 8.0])
    assert endpoint.record.state in (EndpointState.HEALTHY, EndpointState.IDLE)
    assert "started again" in endpoint.events
    endpoint.wait_until(EndpointState.IDLE)
    endpoint.records.endpoints.update(endpoint.name, traffic={1: 100})
    assert endpoint.ask().status_code == 200
