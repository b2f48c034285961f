"""Workspaces of each earlier schema, made by the code of their time, open unharmed: all that was in them is there."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import workspace_script
from make_workspace import WORKSPACES

from mlflow_amlstore.cli import cli
from mlflow_amlstore.core import Run, Workspace
from mlflow_amlstore.pytest_plugin import AmlstoreService
from mlflow_amlstore.records import schema

from .conftest import Kept

VERSIONS = Path(schema.__file__).parent / "migrations" / "versions"
REVISIONS = sorted(path.name.partition("_")[0] for path in VERSIONS.glob("[0-9]*.py"))
NOT_IN_MLFLOW_2 = set() if workspace_script.HAS_LOGGED_MODELS else {"/mlflow/logged models", "/mlflow/prompts"}


@pytest.fixture(scope="module", params=REVISIONS)
def kept(
    request: pytest.FixtureRequest, unpack: Callable[[str, Path], Kept], tmp_path_factory: pytest.TempPathFactory
) -> Kept:
    return unpack(request.param, tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="module")
def found(kept: Kept) -> dict[str, Any]:
    """What is in the workspace, read by today's code."""
    return workspace_script.read(str(kept.folder))


def lost(recorded: Any, found: Any, path: str = "") -> Iterator[str]:
    """What was recorded and isn't there now, or is otherwise. A newer version may give more."""
    if path in NOT_IN_MLFLOW_2:
        return
    if isinstance(recorded, dict) and isinstance(found, dict):
        for key in recorded:
            if key in found:
                yield from lost(recorded[key], found[key], f"{path}/{key}")
            elif f"{path}/{key}" not in NOT_IN_MLFLOW_2:
                yield f"{path}/{key}: nothing instead of {recorded[key]!r}"
    elif isinstance(recorded, list) and isinstance(found, list) and len(recorded) == len(found):
        for number, (one, other) in enumerate(zip(recorded, found, strict=True)):
            yield from lost(one, other, f"{path}/{number}")
    elif recorded != found:
        yield f"{path}: {found!r} instead of {recorded!r}"


def test_there_is_a_workspace_of_each_migration() -> None:
    """Where one is missing, `python tests/compatibility/make_workspace.py` makes it."""
    assert sorted(path.stem for path in WORKSPACES.iterdir()) == REVISIONS


def test_what_was_read_at_the_time_is_read_now(kept: Kept, found: dict[str, Any]) -> None:
    """By MLflow, by the command line and, where the code of the time had it, by `Run`."""
    recorded = {way: kept.recorded[way] for way in ("mlflow", "run", "command line") if way in kept.recorded}
    assert list(lost(recorded, found)) == []


def test_run_reads_what_was_logged_by_mlflow(kept: Kept, found: dict[str, Any]) -> None:
    recorded = {
        run_id: run for run_id, run in kept.recorded["mlflow"]["runs"].items() if run_id in found["run"]["runs"]
    }
    assert {run["run_name"] for run in recorded.values()} >= {"fixture-first", "child"}
    for run_id, logged in recorded.items():
        run = found["run"]["runs"][run_id]
        assert run["name"] == logged["run_name"]
        assert run["files"] == logged["files"]
        assert logged["tags"].items() >= run["tags"].items()
        for name, points in logged["history"].items():
            metric, _, column = name.rpartition(".")
            value = run["metrics"][name] if name in run["metrics"] else run["metrics"][metric][column]
            if run["name"] == "fixture-first":
                values = [value for value, _, _ in points]
                assert value == (values if len(values) > 1 else values[0])


def test_the_keys_of_the_time_open_its_service(unpack: Callable[[str, Path], Kept], tmp_path: Path) -> None:
    revision = REVISIONS[1]  # the first that had keys
    kept = unpack(revision, tmp_path)
    service = AmlstoreService(tmp_path)
    assert service.folder == kept.folder
    with service:
        names = {key["name"] for key in service.call("GET", "/auth/keys", service.exchange(service.key))["keys"]}
        assert names >= {"ana", "revoked"}
        assert service.exchange(kept.recorded["key texts"]["ana"])
        with pytest.raises(OSError, match="401"):
            service.exchange(kept.recorded["key texts"]["revoked"])


def test_it_goes_on(kept: Kept, found: dict[str, Any]) -> None:
    """Written to by today's code, in series, experiments and models of the time; nothing that was there is harmed."""
    workspace = Workspace.from_config(kept.folder)
    client = workspace_script.client_of(workspace)
    workspace_script.fill(workspace, "later")
    runs = kept.recorded["mlflow"]["runs"]
    (run_id,) = [run_id for run_id, run in runs.items() if run["tags"].get("kind") == "still running"]
    client.log_metric(run_id, "loss", 0.125, workspace_script.BEGAN_MS + 60_000, step=1)
    Run.get(workspace, run_id).log("loss", 0.0625)
    Run.get(workspace, run_id).flush()
    source = client.get_model_version("fixture-net", "1").source
    version = client.create_model_version("fixture-net", source, run_id)

    assert [point.value for point in client.get_metric_history(run_id, "loss")] == [0.25, 0.125, 0.0625]  # by time
    assert str(version.version) == "4"  # a number is never given again
    cli.main(["doctor", "-w", str(kept.folder)], standalone_mode=False)
    now = workspace_script.read(str(kept.folder))
    harmed = [path for way in ("mlflow", "run") for path in lost(found[way], now[way]) if run_id not in path]
    assert harmed == []
