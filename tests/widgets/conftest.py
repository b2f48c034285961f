"""Workspaces, runs that tests write into, and a JupyterLab that a module's tests share."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_amlstore.core import Experiment, Run, Workspace


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    workspace = Workspace.create(tmp_path / "workspace")
    yield workspace
    workspace.close()


@pytest.fixture
def run(workspace: Workspace) -> Run:
    """A run that was just started."""
    return Experiment(workspace, "diabetes").start_logging()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A JupyterLab."""
    pytest.importorskip("jupyterlab", reason="JupyterLab isn't installed")
    with importlib.import_module("jupyter_lab").jupyter_lab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of a browser that must have nothing to complain of."""
    context = browser.new_context(viewport={"width": 1280, "height": 1800}, locale="en-GB")
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures of pages are kept: a folder of the test run."""
    folder = tmp_path_factory.getbasetemp() / "pictures"
    folder.mkdir(exist_ok=True)
    return folder
