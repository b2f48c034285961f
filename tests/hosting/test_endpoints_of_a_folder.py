"""An endpoint of a workspace in a folder: from a registered model to answers, updates, keys and its end."""

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from waiting import is_running, wait_for

from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.records.types import EndpointSpec, EndpointState

from .conftest import ROWS, Endpoint, Place, ridge


def test_a_registered_model_answers_whoever_has_a_key(endpoint: Endpoint) -> None:
    primary, secondary = endpoint.records.endpoints.keys(endpoint.name)
    for key in (primary, secondary):
        assert endpoint.ask(key=key).json() == pytest.approx([3.0, 8.0])
    assert endpoint.ask(key="").status_code == endpoint.ask(key="another").status_code == 401
    assert endpoint.record.serving == {1: 100}
    assert {"python", "numpy", "scikit-learn"} <= endpoint.record.newest.versions.keys()
    assert "Healthy" in endpoint.events
    wait_for(lambda: "loaded" in endpoint.log)


def test_it_outlives_who_deployed_it_and_isnt_started_twice(place: Place) -> None:
    model = place.register_pickled("sum", ridge())
    script = f"""
from mlflow_amlstore.hosting.deploying import deployment_of
from mlflow_amlstore.hosting.starting import start
from mlflow_amlstore.records.types import EndpointSpec
from mlflow_amlstore.workspace.opening import open_folder
from pathlib import Path
records = open_folder(Path({str(place.folder)!r})).records
spec = deployment_of(records, [records.models.get_version("sum", {model.rpartition(":")[2]})])
records.endpoints.create(EndpointSpec("outlives", "ACI"), spec)
start(records, "outlives")
start(records, "outlives")
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    endpoint = Endpoint(place.records, "outlives")
    try:
        endpoint.wait_until()
        assert endpoint.ask().json() == pytest.approx([3.0, 8.0])
        processes = endpoint.processes()
        assert len({processes.guardian, processes.host, processes.first, processes.loader}) == 4
    finally:
        endpoint.end()


def test_an_update_switches_and_no_request_fails(place: Place, endpoint: Endpoint) -> None:
    answers: list[tuple[int, float]] = []
    is_over = threading.Event()

    def client() -> None:
        while not is_over.is_set():
            answer = endpoint.ask()
            answers.append((answer.status_code, answer.json()[0]))

    clients = [threading.Thread(target=client) for _ in range(3)]
    for each in clients:
        each.start()
    wait_for(lambda: len(answers) > 10)
    address = endpoint.record.host
    place.deploy(place.register_pickled("sum", ridge(10.0)))
    endpoint.wait_until(number=2)
    wait_for(lambda: endpoint.record.deployment(1).state is EndpointState.STOPPED)
    seen = len(answers)
    wait_for(lambda: len(answers) > seen + 10)
    is_over.set()
    for each in clients:
        each.join()
    assert {status for status, _ in answers} == {200}
    assert {round(value) for _, value in answers} == {3, 30}
    assert round(answers[0][1]) == 3
    assert round(endpoint.ask().json()[0]) == 30
    assert endpoint.record.host == address


def test_an_update_that_fails_leaves_what_answers(place: Place, endpoint: Endpoint) -> None:
    place.deploy(place.register_pickled("sum", {"no": "model"}))
    endpoint_then = endpoint.wait_until(EndpointState.HEALTHY)
    wait_for(lambda: endpoint.record.newest.state is EndpointState.FAILED)
    assert endpoint.ask().json() == pytest.approx([3.0, 8.0])
    now = endpoint.record
    assert (now.state, now.serving, now.wanted) == (EndpointState.HEALTHY, {1: 100}, {1: 100})
    assert now.newest.error is not None
    assert "dict" in now.newest.error.message
    assert endpoint_then.host == now.host


def test_traffic_goes_back_to_a_deployment_that_was_stopped(place: Place, endpoint: Endpoint) -> None:
    place.deploy(place.register_pickled("sum", ridge(10.0)))
    endpoint.wait_until(number=2)
    endpoint.records.endpoints.update(endpoint.name, traffic={1: 100})
    endpoint.wait_until(number=1)
    wait_for(lambda: endpoint.record.deployment(2).state is EndpointState.STOPPED)
    assert endpoint.ask().json() == pytest.approx([3.0, 8.0])


def test_a_new_key_opens_at_once_and_the_old_one_doesnt(endpoint: Endpoint) -> None:
    old, other = endpoint.records.endpoints.keys(endpoint.name)
    endpoint.records.endpoints.set_key(endpoint.name, "primary")
    new = endpoint.records.endpoints.keys(endpoint.name)[0]
    wait_for(lambda: endpoint.ask(key=new).status_code == 200)
    assert endpoint.ask(key=old).status_code == 401
    assert endpoint.ask(key=other).status_code == 200


def test_whether_a_key_is_needed_can_be_changed(endpoint: Endpoint) -> None:
    endpoint.records.endpoints.update(endpoint.name, auth=False)
    wait_for(lambda: endpoint.ask(key="").status_code == 200)
    endpoint.records.endpoints.update(endpoint.name, auth=True)
    wait_for(lambda: endpoint.ask(key="").status_code == 401)
    assert endpoint.ask().status_code == 200


def test_one_that_is_deleted_ends_with_all_its_processes(endpoint: Endpoint) -> None:
    processes = endpoint.processes()
    endpoint.end()
    with pytest.raises(NotFound):
        endpoint.record  # noqa: B018
    assert [path.name for path in endpoint.folder.path.iterdir()] == ["lock"]
    for pid in (processes.guardian, processes.host, processes.first, processes.loader, *processes.workers):
        wait_for(lambda pid=pid: not is_running(pid))


def test_a_port_that_was_asked_for_is_taken(place: Place) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    model = place.register_pickled("sum", ridge())
    endpoint = place.deploy(model, endpoint=EndpointSpec("x", "LOCAL", settings={"port": port}))
    endpoint.wait_until()
    assert endpoint.record.host == replace(endpoint.record.host, address=f"http://127.0.0.1:{port}")
    assert endpoint.ask(ROWS).status_code == 200


class TestABrokenModel:
    """It is Failed with what is wrong, and the whole traceback."""

    def test_one_that_cant_be_loaded(self, place: Place, tmp_path: Path) -> None:
        file = tmp_path / "broken.pkl"
        file.write_bytes(b"no pickle at all")
        endpoint = place.deploy(place.register("broken", file))
        error = endpoint.wait_until(EndpointState.FAILED).error
        assert error is not None
        assert (error.code, "can't be loaded" in error.message) == ("LoadFailed", True)
        assert error.details.startswith("Traceback (most recent call last)")
        assert "Failed" in endpoint.events

    def test_one_whose_package_is_missing(self, place: Place, tmp_path: Path) -> None:
        file = tmp_path / "needs.pkl"
        file.write_bytes(b"cno_such_package\nModel\n.")
        error = place.deploy(place.register("needs", file)).wait_until(EndpointState.FAILED).error
        assert error is not None
        assert (error.code, "no_such_package" in error.message) == ("PackageMissing", True)

    def test_one_that_ends_the_process(self, place: Place, tmp_path: Path) -> None:
        file = tmp_path / "ends.pkl"
        file.write_bytes(b"cos\n_exit\n(I7\ntR.")
        error = place.deploy(place.register("ends", file)).wait_until(EndpointState.FAILED).error
        assert error is not None
        assert (error.code, "exit code 7" in error.message) == ("LoaderDied", True)

    def test_one_that_takes_more_memory_than_it_may(self, place: Place, tmp_path: Path) -> None:
        file = tmp_path / "large.pkl"
        file.write_bytes(b"c__builtin__\nbytearray\n(I3000000000\ntR.")
        error = place.deploy(place.register("large", file), memory_gb=1.0).wait_until(EndpointState.FAILED).error
        assert error is not None
        assert error.code == "OutOfMemory"
