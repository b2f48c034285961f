"""Compute targets: names for slots on this machine, made, found, changed and deleted as in the SDK."""

from pathlib import Path

import pytest

from mlflow_amlstore.core import Workspace
from mlflow_amlstore.core.compute import AmlCompute, ComputeTarget
from mlflow_amlstore.errors import AttributeNotSupported, InvalidValue, NotFound, NotSupported


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "ws")


def test_the_flow_of_notebooks(
    ws: Workspace, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    try:
        target = ComputeTarget(workspace=ws, name="cpu-cluster")
    except NotFound:
        configuration = AmlCompute.provisioning_configuration(
            vm_size="STANDARD_D2_V2", max_nodes=4, admin_user_password="secret"
        )
        target = ComputeTarget.create(ws, "cpu-cluster", configuration)
        target.wait_for_completion(show_output=True, min_node_count=None, timeout_in_minutes=20)
    assert capsys.readouterr().out.startswith("Succeeded\nAmlCompute wait for completion finished\n")
    assert "4 slots of this machine" in caplog.text
    assert isinstance(target, AmlCompute)
    assert (target.name, target.type, target.provisioning_state) == ("cpu-cluster", "AmlCompute", "Succeeded")
    status = target.get_status().serialize()
    assert (status["currentNodeCount"], status["vmSize"]) == (4, "STANDARD_D2_V2")
    assert status["scaleSettings"]["maximumNodeCount"] == 4
    assert "secret" not in repr(target.serialize())
    assert ws.compute_targets["cpu-cluster"].name == "cpu-cluster"


def test_one_is_changed_and_deleted(ws: Workspace) -> None:
    target = ComputeTarget.create(ws, "gpu", AmlCompute.provisioning_configuration(max_nodes=1))
    assert isinstance(target, AmlCompute)
    target.update(max_nodes=3)
    assert [found.serialize()["properties"]["maxNodes"] for found in ComputeTarget.list(ws)] == [3]
    target.delete()
    assert ws.compute_targets == {}
    with pytest.raises(NotFound, match="'gpu'"):
        target.delete()
    with pytest.raises(NotFound, match="makes one"):
        ComputeTarget(ws, "gpu")


@pytest.mark.parametrize("name", ["", "x", "1st", "a b", "a/b", "a" * 65, "local"])
def test_a_name_that_is_none_is_refused(ws: Workspace, name: str) -> None:
    with pytest.raises(InvalidValue, match="name of a compute target"):
        ComputeTarget.create(ws, name, AmlCompute.provisioning_configuration())


def test_what_isnt_here_is_named(ws: Workspace) -> None:
    with pytest.raises(InvalidValue, match="slots"):
        ComputeTarget.create(ws, "none", AmlCompute.provisioning_configuration(max_nodes=0))
    with pytest.raises(NotSupported, match="A compute target of str"):
        ComputeTarget.create(ws, "attached", "a configuration")
    with pytest.raises(AttributeNotSupported, match="supported_vmsizes"):
        _ = AmlCompute.supported_vmsizes
