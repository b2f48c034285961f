"""What all examples have in common."""

import ast
import re
from importlib.metadata import metadata
from pathlib import Path

import pytest
from fork_server import run_forked

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
EXTRAS = set(metadata("mlflow-amlstore").get_all("Provides-Extra") or [])


@pytest.mark.needs("sklearn", "matplotlib", "pytorch_lightning")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_it_takes_a_workspace(example: Path, tmp_path: Path) -> None:
    launcher = ["-m", "mlflow_amlstore.azureml"] if "azureml" in example.stem else []
    done = run_forked([*launcher, example, "--help"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "[--workspace DIR]" in done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_its_first_lines_say_how_it_is_run_and_what_it_needs(example: Path) -> None:
    text = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8"))) or ""
    assert f"examples/{example.name} [--workspace DIR]" in text
    (needed,) = re.findall(r"Needs the extras? ([^:.;]*)", text.replace("\n", " "))
    named = set(re.findall(r"`(\w+)`", needed))
    assert named
    assert named <= EXTRAS
