import importlib
import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

pytest_plugins = ["pytester"]
collect_ignore = ["integrations"]  # wants large libraries: collected only where it is named, as in tox.ini


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs a library that isn't installed, without importing it as tests are collected."""
    for marker in item.iter_markers("needs"):
        for module in marker.args:
            if find_spec(module) is None:
                pytest.skip(f"{module} isn't installed")


@pytest.fixture(scope="session", autouse=True)
def _sigint_is_heard() -> None:
    """Processes that a shell starts in the background ignore SIGINT, and so would those that the tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_mlflow_settings() -> Iterator[None]:
    """Whatever MLflow settings the developer's shell has, the tests and their shared servers don't see them."""
    with pytest.MonkeyPatch.context() as environment:
        for name in list(os.environ):
            if name.startswith(("MLFLOW_", "_MLFLOW_")) and name != "MLFLOW_DISABLE_TELEMETRY":
                environment.delenv(name)
        yield


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, as Debian has it: one for a process, as Playwright starts once in it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright isn't installed")
    chromium = importlib.import_module("chromium")
    path = chromium.find()
    if path is None:
        pytest.skip("there is no Chromium: python tests/studio/chromium.py")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=path, args=list(chromium.ARGUMENTS))
        yield running
        running.close()
