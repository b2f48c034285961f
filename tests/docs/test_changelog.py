import re
from pathlib import Path

from mlflow_amlstore import __version__

CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"


def test_its_newest_release_is_the_package_version() -> None:
    releases = re.findall(r"^## \[(\S+)\] - (Unreleased|\d{4}-\d\d-\d\d)$", CHANGELOG.read_text("utf-8"), re.MULTILINE)
    assert releases[0][0] == __version__
