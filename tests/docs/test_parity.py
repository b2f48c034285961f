"""docs/parity.md: no endpoint of MLflow's is unknown to the service, and the document is what its script makes."""

import re
import runpy
from pathlib import Path

import mlflow
import pytest
from packaging.version import Version

SCRIPT = Path(__file__).parents[2] / "docs" / "parity.py"
PARITY = runpy.run_path(str(SCRIPT))
NEWEST = Version("3.17")


def test_every_endpoint_of_mlflow_is_supported_or_refused_in_words() -> None:
    endpoints = PARITY["mlflow_endpoints"]()
    known = PARITY["known_routes"]()
    assert len(endpoints) > 50
    assert [endpoint for endpoint in endpoints if endpoint.key not in known] == []


def test_what_mlflows_client_calls_has_its_method_in_the_document() -> None:
    methods = PARITY["client_methods"](endpoint.request for endpoint in PARITY["mlflow_endpoints"]())
    assert {"log_batch", "search_runs", "get_metric_history", "create_model_version"} <= set(methods.values())


@pytest.mark.skipif(Version(mlflow.__version__) < NEWEST, reason="the document is made with the newest MLflow")
def test_the_document_is_what_its_script_makes() -> None:
    made, kept = PARITY["document"](), SCRIPT.with_name("parity.md").read_text(encoding="utf-8")
    assert _without_patch(kept) == _without_patch(made)


def _without_patch(document: str) -> str:
    """The document without the number of MLflow's patch release."""
    return re.sub(r"MLflow (\d+\.\d+)\.\w+", r"MLflow \1", document)
