"""docs/compatibility.md names what is public, all of it, and what is there."""

import importlib
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mlflow_amlstore"
PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("## What is public")[2].partition("## What a change")[0]
GROUPS = ["mlflow.tracking_store", "mlflow.model_registry_store", "mlflow.artifact_repository", "pytest11"]


@pytest.mark.parametrize("group", GROUPS)
def test_every_entry_point_is_there_and_loads(group: str) -> None:
    ours = {point.name: point for point in entry_points(group=group) if point.value.startswith("mlflow_amlstore")}
    named = {"amlstore"} if group == "pytest11" else {"amlstore", "azureml", "azureml+http"}
    assert set(ours) == named
    assert f"`{group}`" in TABLE
    assert [name for name in named if f"`{name}`" not in TABLE] == []
    assert all(point.load() for point in ours.values())


def test_the_command_is_there() -> None:
    (point,) = [point for point in entry_points(group="console_scripts") if point.name == "amlstore"]
    assert point.value == "mlflow_amlstore.cli:main"
    assert f"`{point.value}`" in TABLE
    assert callable(point.load())


def test_every_module_is_there() -> None:
    named = re.findall(r"`(mlflow_amlstore[\w.]*)`", TABLE)
    of_azureml = [f"mlflow_amlstore.azureml{name}" for name in re.findall(r"`(\.\w+)`", TABLE)]
    assert len(named) + len(of_azureml) >= 8
    for module in [*named, *of_azureml]:
        importlib.import_module(module)


def test_every_variable_is_named() -> None:
    sources = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    used = {name for source in sources for name in re.findall(r"\bAMLSTORE_[A-Z_]*[A-Z]\b", source)}
    assert used == set(re.findall(r"`(AMLSTORE_\w+)`", TABLE))


def test_every_migration_is_named_by_a_number_in_order() -> None:
    versions = PACKAGE / "records" / "migrations" / "versions"
    ids = sorted(
        re.findall(r'^revision = "(.*)"$', path.read_text("utf-8"), re.MULTILINE)[0] for path in versions.glob("*.py")
    )
    assert ids == [f"{number:04}" for number in range(1, len(ids) + 1)]
    assert ids[:3] == re.findall(r"`(\d{4})`", TABLE)
