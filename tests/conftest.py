import os

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def _no_mlflow_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever MLflow settings the developer's shell has, the tests don't see them."""
    for name in os.environ:
        if name.startswith(("MLFLOW_", "_MLFLOW_")) and name != "MLFLOW_DISABLE_TELEMETRY":
            monkeypatch.delenv(name)
