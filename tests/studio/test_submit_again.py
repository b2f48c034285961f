"""*Submit again*: the Studio of one's own folder runs a script once more with other arguments; a service doesn't."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filled_workspace import Filled

from mlflow_amlstore.core import Experiment, Run, ScriptRunConfig, Workspace

from .conftest import Person

COMMAND = [sys.executable, "-c", "from mlflow_amlstore.cli import main; main()", "studio", "--no-open"]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path / "workspace")
    yield ws
    ws.close()


@pytest.fixture
def submitted(workspace: Workspace, tmp_path: Path) -> Run:
    source = tmp_path / "source"
    source.mkdir()
    (source / "train.py").write_text("import sys, helper\nprint(helper.WORD, sys.argv[1:])\n")
    (source / "helper.py").write_text("WORD = 'helped'\n")
    run = Experiment(workspace, "again").submit(
        ScriptRunConfig(str(source), "train.py", ["--alpha", "0.1"]), tags={"kind": "try"}
    )
    run.wait_for_completion()
    return run


@pytest.mark.needs("playwright")
def test_a_run_is_submitted_again_with_other_arguments(browser: Any, workspace: Workspace, submitted: Run) -> None:
    studio = subprocess.Popen([*COMMAND, str(workspace.path)], stdout=subprocess.PIPE, text=True)
    assert studio.stdout is not None
    page = browser.new_page()
    try:
        link = studio.stdout.readline().strip()
        address = link.partition("/sign-in")[0]
        page.goto(link)
        page.wait_for_url(f"{address}/")  # signed in, which a script does
        page.goto(f"{address}/runs/{submitted.id}")
        page.get_by_text("Submit again").click()
        arguments = page.get_by_label("Arguments")
        assert arguments.input_value() == "--alpha 0.1"
        page.set_viewport_size({"width": 360, "height": 740})
        box = page.locator("#submit-again > form").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
        arguments.fill("--alpha 0.2 'a\nb'")
        page.get_by_role("button", name="Submit", exact=True).click()
        page.wait_for_url(lambda url: "/runs/again_" in url and submitted.id not in url)
        again = Run.get(workspace, page.url.rpartition("/")[2])
        details = again.wait_for_completion()
        assert details["status"] == "Completed"
        log = again.get_details_with_logs()["logFiles"]["user_logs/std_log.txt"]
        assert log == "helped ['--alpha', '0.2', 'a\\nb']\n"
        assert again.get_tags() == {"kind": "try"}
        page.goto(f"{address}/runs/{again.id}")
        page.get_by_text("Submit again").click()
        assert page.get_by_label("Arguments").input_value() == "--alpha 0.2 'a\nb'"
        page.get_by_label("Arguments").fill("it's")
        page.get_by_role("button", name="Submit", exact=True).click()
        page.get_by_text("must be as a shell takes them").wait_for()
    finally:
        page.close()
        studio.kill()
        studio.wait()


def test_a_service_runs_nobodys_code(owner: Person, filled: Filled) -> None:
    assert owner.data(f"/runs/{filled.best}.json")["submitted_arguments"] is None
    assert owner.change(f"/runs/{filled.best}/submit-again", arguments="").status_code == 404
