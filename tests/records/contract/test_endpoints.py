"""Endpoints of any record store, and of one behind a service: what is deployed, who runs it, what serves, and who may
ask it."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from forked_service import ForkedService

from mlflow_amlstore.client.connection import connection_of
from mlflow_amlstore.client.run_history.remote_records import records_of
from mlflow_amlstore.errors import AlreadyExists, InvalidState, InvalidValue, NotFound
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import DeploymentError, DeploymentSpec, EndpointSpec, EndpointState
from mlflow_amlstore.workspace.opening import open_folder

RIDGE = DeploymentSpec(("ridge:1",), "ScikitLearn")
SECOND = DeploymentSpec(("ridge:2",), "ScikitLearn", workers=3, memory_gb=0.5, variables={"A": "é"})


def spec(name: str = "diabetes", **given: Any) -> EndpointSpec:
    return EndpointSpec(name, "ACI", **{"target": "", **given})


class Workspace:
    """A workspace as its users have it, and as the hosts of its endpoints: behind a service that is its folder."""

    def __init__(self, records: CommonStore, kept: RecordStore) -> None:
        self.records, self.kept = records, kept


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    with ForkedService(tmp_path) as service:
        monkeypatch.setenv("AMLSTORE_KEY", service.key)
        records = records_of(connection_of(service.tracking_uri))
        kept = open_folder(service.folder).records
        yield Workspace(records, kept)
        kept.close()
        records.close()


@pytest.fixture(params=["sqlite", "postgresql", "service"])
def workspace(request: pytest.FixtureRequest) -> Workspace:
    if request.param == "service":
        served: Workspace = request.getfixturevalue("served")
        return served
    records: RecordStore = request.getfixturevalue(f"{request.param}_records")
    return Workspace(records, records)


@pytest.fixture
def common(workspace: Workspace) -> CommonStore:
    """What everybody asks for, of any workspace, with two versions of a model."""
    register_twice(workspace.records)
    return workspace.records


def register_twice(records: CommonStore) -> None:
    records.runs.create("0", run_id="run")
    records.files.write(run_container("0", "run"), "model", BytesIO(b"a model"))
    for _ in range(2):
        records.models.register("ridge", "workspace:/0/run/artifacts/model", run_id="run")


@pytest.fixture
def records(records: RecordStore) -> RecordStore:
    """What those who run endpoints ask for besides, which is a folder's alone."""
    register_twice(records)
    return records


def healthy(workspace: Workspace, name: str, number: int) -> None:
    """What a host does once a deployment answers."""
    records = workspace.kept
    records.endpoints.hold(name, "host", "http://127.0.0.1:80", has_lease=False)
    records.endpoints.set_state(name, number, EndpointState.HEALTHY, versions={"scikit-learn": "1.5.2"})
    records.endpoints.set_serving(name, records.endpoints.get(name).wanted)


class TestCreating:
    def test_an_endpoint_begins_with_one_deployment_that_is_to_get_all_traffic(self, common: CommonStore) -> None:
        given = spec(description="d", tags={"team": "a b"}, properties={"p": "1"}, settings={"location": "westeurope"})
        created = common.endpoints.create(given, RIDGE)
        assert created == common.endpoints.get("diabetes")
        assert created.spec == given
        assert [(each.number, each.spec) for each in created.deployments] == [(1, RIDGE)]
        assert (created.wanted, created.serving, created.host) == ({1: 100}, {}, None)
        assert created.state is EndpointState.TRANSITIONING

    def test_a_name_is_given_once_unless_it_is_overwritten(self, common: CommonStore) -> None:
        common.endpoints.create(spec(), RIDGE)
        keys = common.endpoints.keys("diabetes")
        with pytest.raises(AlreadyExists, match="overwrite"):
            common.endpoints.create(spec(), RIDGE)
        replaced = common.endpoints.create(spec(description="new"), SECOND, overwrite=True)
        assert [each.spec for each in replaced.deployments] == [RIDGE, SECOND]
        assert (replaced.spec.description, replaced.wanted) == ("new", {2: 100})
        assert common.endpoints.keys("diabetes") == keys

    @pytest.mark.parametrize("name", ["", "ab", "Abc", "1abc", "abc-", "a_c", "a" * 33, "abc\n", "äbc"])
    def test_a_name_follows_azures_rule(self, common: CommonStore, name: str) -> None:
        with pytest.raises(InvalidValue, match="3 to 32 small letters"):
            common.endpoints.create(spec(name), RIDGE)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("workers", 0),
            ("concurrency", True),
            ("queue_length", -1),
            ("predict_limit_s", 0),
            ("load_limit_s", float("nan")),
            ("cpu", "1"),
            ("memory_gb", float("inf")),
            ("max_batch_size", 0),
            ("max_latency_ms", -1),
        ],
    )
    def test_a_number_that_cant_be_is_named(self, common: CommonStore, field: str, value: Any) -> None:
        with pytest.raises(InvalidValue, match=field):
            common.endpoints.create(spec(), replace(RIDGE, **{field: value}))
        with pytest.raises(NotFound):
            common.endpoints.get("diabetes")

    @pytest.mark.parametrize("model", ["ridge:3", "other:1", "ridge", "ridge:", "ridge:x"])
    def test_a_model_must_be_there(self, common: CommonStore, model: str) -> None:
        with pytest.raises(NotFound, match=r"amlstore models"):
            common.endpoints.create(spec(), replace(RIDGE, models=(model,)))

    def test_a_compute_target_must_be_there(self, common: CommonStore) -> None:
        with pytest.raises(NotFound, match="no such target"):
            common.endpoints.create(spec(target="cluster"), RIDGE)
        common.compute_targets.put("cluster", "AKS", 2, {})
        assert common.endpoints.create(spec(target="cluster"), RIDGE).spec.target == "cluster"


class TestTraffic:
    def test_an_update_serves_as_soon_as_it_is_healthy(self, workspace: Workspace, common: CommonStore) -> None:
        common.endpoints.create(spec(), RIDGE)
        healthy(workspace, "diabetes", 1)
        updated = common.endpoints.deploy("diabetes", SECOND)
        assert (updated.wanted, updated.serving, updated.state) == ({2: 100}, {1: 100}, EndpointState.TRANSITIONING)
        assert updated.newest.spec == SECOND
        healthy(workspace, "diabetes", 2)
        now = common.endpoints.get("diabetes")
        assert (now.serving, now.state) == ({2: 100}, EndpointState.HEALTHY)
        assert now.newest.versions == {"scikit-learn": "1.5.2"}

    def test_an_update_that_fails_leaves_what_is_served(self, workspace: Workspace, common: CommonStore) -> None:
        common.endpoints.create(spec(), RIDGE)
        healthy(workspace, "diabetes", 1)
        common.endpoints.deploy("diabetes", SECOND)
        error = DeploymentError("PackageMissing", "it needs lightgbm", "Traceback …")
        workspace.kept.endpoints.set_state("diabetes", 2, EndpointState.FAILED, error=error)
        now = common.endpoints.get("diabetes")
        assert (now.wanted, now.serving, now.state) == ({1: 100}, {1: 100}, EndpointState.HEALTHY)
        assert now.newest.error == now.error == error

    def test_one_that_gets_no_traffic_is_stopped_until_it_does(self, workspace: Workspace, common: CommonStore) -> None:
        common.endpoints.create(spec(), RIDGE)
        healthy(workspace, "diabetes", 1)
        added = common.endpoints.deploy("diabetes", SECOND, traffic={1: 100})
        assert (added.wanted, added.newest.state) == ({1: 100}, EndpointState.STOPPED)
        started = common.endpoints.update("diabetes", traffic={2: 100})
        assert started.newest.state is EndpointState.TRANSITIONING

    def test_the_first_that_fails_is_what_the_endpoint_is(self, workspace: Workspace, common: CommonStore) -> None:
        common.endpoints.create(spec(), RIDGE)
        error = DeploymentError("LoadFailed", "no")
        workspace.kept.endpoints.set_state("diabetes", 1, EndpointState.FAILED, error=error)
        now = common.endpoints.get("diabetes")
        assert (now.state, now.error) == (EndpointState.FAILED, error)

    def test_it_is_split_and_moved_back(self, workspace: Workspace, common: CommonStore) -> None:
        common.endpoints.create(spec(), RIDGE)
        healthy(workspace, "diabetes", 1)
        common.endpoints.deploy("diabetes", SECOND, traffic={1: 90, 2: 10})
        healthy(workspace, "diabetes", 2)
        assert common.endpoints.get("diabetes").serving == {1: 90, 2: 10}
        common.endpoints.update("diabetes", traffic={2: 100, 1: 0})
        workspace.kept.endpoints.set_serving("diabetes", {2: 100})
        workspace.kept.endpoints.set_state("diabetes", 1, EndpointState.STOPPED)
        again = common.endpoints.update("diabetes", traffic={1: 100})
        assert (again.wanted, again.serving) == ({1: 100}, {2: 100})
        assert again.deployment(1).state is EndpointState.TRANSITIONING

    @pytest.mark.parametrize("traffic", [{1: 90}, {1: 50, 2: 50}, {0: 100}, {1: 101}, {1: 150, 2: -50}, {}])
    def test_what_cant_be_is_refused(self, common: CommonStore, traffic: dict[int, int]) -> None:
        common.endpoints.create(spec(), RIDGE)
        with pytest.raises(InvalidValue, match="traffic"):
            common.endpoints.update("diabetes", traffic=traffic)

    def test_the_endpoint_is_as_the_worst_that_serves(self, workspace: Workspace, common: CommonStore) -> None:
        common.endpoints.create(spec(), RIDGE)
        healthy(workspace, "diabetes", 1)
        common.endpoints.deploy("diabetes", SECOND, traffic={1: 90, 2: 10})
        healthy(workspace, "diabetes", 2)
        gone = DeploymentError("Crashed", "its workers end")
        workspace.kept.endpoints.set_state("diabetes", 1, EndpointState.UNHEALTHY, error=gone)
        now = common.endpoints.get("diabetes")
        assert (now.state, now.error) == (EndpointState.UNHEALTHY, gone)


class TestKeys:
    def test_there_are_always_two_and_each_is_replaced_by_itself(self, common: CommonStore) -> None:
        common.endpoints.create(spec(), RIDGE)
        primary, secondary = common.endpoints.keys("diabetes")
        assert primary != secondary
        common.endpoints.set_key("diabetes", "primary")
        new, same = common.endpoints.keys("diabetes")
        assert (new not in (primary, secondary), same) == (True, secondary)
        common.endpoints.set_key("diabetes", "secondary", "my-own-key-of-24-letters")
        assert common.endpoints.keys("diabetes") == (new, "my-own-key-of-24-letters")

    def test_they_can_be_given(self, common: CommonStore) -> None:
        common.endpoints.create(spec(), RIDGE, keys=("a" * 32, "b" * 32))
        assert common.endpoints.keys("diabetes") == ("a" * 32, "b" * 32)

    @pytest.mark.parametrize(
        "key", ["short", "with a space in the middle", "é" * 20, "x" * 513, "line\nline-line-line-li"]
    )
    def test_one_that_cant_be_sent_or_guessed_is_refused_and_not_shown(self, common: CommonStore, key: str) -> None:
        common.endpoints.create(spec(), RIDGE)
        with pytest.raises(InvalidValue, match="the primary key") as refused:
            common.endpoints.set_key("diabetes", "primary", key)
        assert key not in str(refused.value)

    def test_the_database_alone_doesnt_give_them_away(self, records: RecordStore) -> None:
        records.endpoints.create(spec(), RIDGE, keys=("a" * 32, "b" * 32))
        for file in records.folder.glob("records.db*"):
            assert b"a" * 32 not in file.read_bytes()
        shutil.rmtree(records.folder / "service")
        fresh = type(records.endpoints)(records._database, records.files)
        with pytest.raises(InvalidState, match="Put the former file back"):
            fresh.keys("diabetes")
        fresh.set_key("diabetes", "primary", "c" * 32)
        assert fresh.keys("diabetes")[0] == "c" * 32


class TestRunning:
    def test_one_agent_takes_an_endpoint_and_renews_its_lease(self, records: RecordStore, clock: Any) -> None:
        records.compute_targets.put("cluster", "AKS", 1, {})
        records.endpoints.create(spec("first", target="cluster"), RIDGE)
        records.endpoints.create(spec("second", target=""), RIDGE)
        records.endpoints.create(spec("third", target="local"), RIDGE)
        assert records.endpoints.take("cluster", "one") == "first"
        assert records.endpoints.take("cluster", "two") == "second"
        assert records.endpoints.take("cluster", "three") is None
        clock.advance(20_000)
        assert records.endpoints.hold("first", "one", "http://10.0.0.1:80", has_lease=True)
        assert not records.endpoints.hold("first", "two", "http://10.0.0.2:80", has_lease=True)
        clock.advance(20_000)
        assert records.endpoints.take("cluster", "three") == "second"
        assert not records.endpoints.hold("second", "two", "http://10.0.0.2:80", has_lease=True)
        host = records.endpoints.get("first").host
        assert host is not None
        assert (host.holder, host.address) == ("one", "http://10.0.0.1:80")
        records.endpoints.leave("first", "two")
        assert records.endpoints.get("first").host == host
        records.endpoints.leave("first", "one")
        assert records.endpoints.get("first").host is None

    def test_one_of_this_machine_is_held_without_a_lease(self, records: RecordStore, clock: Any) -> None:
        records.endpoints.create(spec(), RIDGE)
        assert records.endpoints.hold("diabetes", "me", "http://127.0.0.1:80", has_lease=False)
        clock.advance(10_000_000)
        host = records.endpoints.get("diabetes").host
        assert host is not None
        assert host.ends_ms is None
        assert not records.endpoints.hold("other", "me", "http://127.0.0.1:80", has_lease=False)


class TestLooking:
    def test_all_are_listed_by_name_and_deleted_with_all_they_had(
        self, workspace: Workspace, common: CommonStore
    ) -> None:
        for name in ("zebra", "apple"):
            common.endpoints.create(spec(name), RIDGE)
            workspace.kept.endpoints.say(name, 1, f"{name} is being started")
            log = workspace.kept.files.grow(f"endpoints/{name}/artifacts", "logs/1.txt")
            log.write(b"a line\n")
            log.end()
        assert [each.name for each in common.endpoints.list()] == ["apple", "zebra"]
        with common.files.open("endpoints/zebra/artifacts", "logs/1.txt") as content:
            assert content.read() == b"a line\n"
        common.endpoints.delete("zebra")
        assert [each.name for each in common.endpoints.list()] == ["apple"]
        assert list(common.files.list_all("endpoints/zebra/artifacts")) == []
        for ask in (common.endpoints.get, common.endpoints.keys, common.endpoints.events, common.endpoints.delete):
            with pytest.raises(NotFound, match="zebra"):
                ask("zebra")
        assert common.endpoints.create(spec("zebra"), RIDGE).newest.number == 1
        assert common.endpoints.events("zebra") == []

    def test_events_are_told_in_their_order_and_the_newest_are_kept(
        self, workspace: Workspace, common: CommonStore
    ) -> None:
        common.endpoints.create(spec(), RIDGE)
        for number in range(510):
            workspace.kept.endpoints.say("diabetes", 1, f"event {number}")
        events = common.endpoints.events("diabetes")
        assert [each.text for each in events] == [f"event {number}" for number in range(10, 510)]
        assert [each.text for each in common.endpoints.events("diabetes", after=events[-3].event_id)] == [
            "event 508",
            "event 509",
        ]

    def test_what_is_changed_by_hand_is_kept_with_who_did_it(self, workspace: Workspace, common: CommonStore) -> None:
        common.endpoints.create(spec(), RIDGE)
        common.endpoints.deploy("diabetes", SECOND)
        common.endpoints.update("diabetes", description="text", tags={"a": "b"}, auth=False)
        common.endpoints.set_key("diabetes", "primary")
        changed = common.endpoints.get("diabetes").spec
        assert (changed.description, changed.tags, changed.auth) == ("text", {"a": "b"}, False)
        acts = [act.act for act in workspace.kept.acts.of("endpoint", "diabetes")]
        assert acts == ["key", "update", "deploy", "create"]
