"""The README's two commands. What else it shows is followed as every page is (`test_pages.py`)."""

import re
from pathlib import Path

import mlflow
import pytest
from followed_pages import README, ROOT, is_as_shown
from fork_server import run_forked


def _rows(table: str) -> str:
    """A table's cells without what draws it, and the lines "…" of a page."""
    lines = re.findall(r"^(?:│ (.*?) │ (.*?) │ (.*?) │|(…))$", table, re.MULTILINE)
    return "".join("|".join(cell.strip() for cell in row[:3]) + "\n" if not row[3] else "…\n" for row in lines)


@pytest.mark.needs("sklearn")
@pytest.mark.skipif(int(mlflow.__version__.split(".")[0]) < 3, reason="MLflow 2 names a model's files otherwise")
def test_the_first_table_lists_what_the_example_records(tmp_path: Path) -> None:
    done = run_forked([ROOT / "examples" / "track_diabetes.py"], cwd=tmp_path, check=True)
    shown = next(block for kind, block in README.blocks if kind == "text")
    assert is_as_shown(_rows(shown), _rows(done.stdout)), done.stdout


def test_what_ci_runs_is_the_line_that_the_readme_gives() -> None:
    line = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    assert "tox" in line
    assert f"```sh\n{line}\n```" in README.text
