"""The examples in the SDK's docstrings do what they say."""

import doctest
import importlib
from pathlib import Path
from typing import Any

import pytest

from mlflow_amlstore import core
from mlflow_amlstore.core import Experiment, ScriptRunConfig, Workspace

MODULES = sorted(path.stem for path in Path(core.__file__).parent.glob("*.py") if path.stem != "__init__")


def _examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for name in MODULES for test in finder.find(importlib.import_module(f"mlflow_amlstore.core.{name}"))]
    return [test for test in found if test.examples]


def test_the_calls_that_scripts_make_most_have_examples() -> None:
    names = {test.name.rpartition(".")[2] for test in _examples()}
    assert names >= {"log", "log_list", "log_row", "log_table", "child_run", "tag"}


@pytest.mark.parametrize("example", _examples(), ids=lambda test: test.name)
def test_an_example_does_what_it_says(
    example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.txt").write_text("weights", encoding="utf-8")
    Path("src").mkdir()
    Path("src/train.py").write_text("print('trained')", encoding="utf-8")
    ws = Workspace.create(tmp_path / "workspace")
    experiment = Experiment(ws, "diabetes")
    names: dict[str, Any] = {"ws": ws, "experiment": experiment, "run": experiment.start_logging()}
    names["ScriptRunConfig"] = ScriptRunConfig
    example.globs.update(names)
    failures = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example).failed
    ws.close()
    assert failures == 0
