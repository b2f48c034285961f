"""docs/integrations.md has a row for each file of tests/integrations, and the versions that tox installs for it."""

import re
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "integrations.md"
ROWS = [
    dict(zip(("integration", "logged", "versions", "on", "test"), line.strip("| ").split(" | "), strict=True))
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if "tests/integrations/" in line
]


def test_each_row_is_tested_and_each_test_has_a_row() -> None:
    linked = [re.findall(r"\]\((.+)\)", row["test"]) for row in ROWS]
    files = sorted((ROOT / "tests" / "integrations").glob("test_*.py"))
    assert sorted((PAGE.parent / path).resolve() for (path,) in linked) == files


def test_the_versions_are_those_of_the_constraints() -> None:
    constraints = (ROOT / "tests" / "constraints" / "newest.txt").read_text(encoding="utf-8").splitlines()
    required = [Requirement(line) for line in constraints if not line.startswith("#")]
    python = {"python_version": "3.11", "python_full_version": "3.11.9"}
    installed = {
        str(one).partition(";")[0].strip() for one in required if not one.marker or one.marker.evaluate(python)
    }
    named = {version.strip().replace(" ", "==") for row in ROWS for version in row["versions"].split(",")}
    assert named - installed == set()
