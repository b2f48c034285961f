"""Azure ML's SDK submits a script to its own machine through our service: `exp.submit`, unchanged."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from clients import HERE, Client, SdkPlace


@pytest.fixture(scope="module")
def submitted(sdk_client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("submitted")
    with SdkPlace(tmp_path_factory.mktemp("place")) as place:
        environment = {**place.for_sdk(), "PYTHONPATH": str(HERE / "resolving")}
        yield sdk_client.run("sdk_submit.py", "azureml", str(folder), **environment)


def test_it_runs_to_its_end_with_its_helper_module_and_arguments(submitted: dict[str, Any]) -> None:
    assert submitted["status"] == "Completed"
    assert submitted["metrics"] == {"loss": [0.0, 0.5, 1.0]}
    assert submitted["tags"] == {"kind": "train.py"}


def test_the_sdk_prints_its_log(submitted: dict[str, Any]) -> None:
    printed = submitted["printed"].splitlines()
    assert [line for line in printed if line.startswith(("step", "the end"))] == [
        "step 0",
        "step 1",
        "step 2",
        "the end",
    ]


def test_its_outputs_and_logs_are_files_of_the_run(submitted: dict[str, Any]) -> None:
    assert {"outputs/model.txt", "user_logs/std_log.txt", "azureml-logs/70_driver_log.txt"} <= set(submitted["files"])


def test_a_failure_says_why(submitted: dict[str, Any]) -> None:
    assert submitted["failed"] == "Failed"
    assert "exit code 3" in submitted["error"]
    assert "why" in submitted["error"]


def test_a_canceled_script_ends(submitted: dict[str, Any]) -> None:
    assert submitted["canceled"] == "Canceled"
    while _commands_with(submitted["canceled run"]):  # the suite's own time limit ends a test whose script doesn't
        time.sleep(0.05)


def _commands_with(text: str) -> list[bytes]:
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            command = (process / "cmdline").read_bytes()
            if text.encode() in command:
                found.append(command)
    return found
