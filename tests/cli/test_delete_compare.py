"""`amlstore delete`, `restore` and `compare`, and commands that are misspelt."""

import json
import math
from collections.abc import Callable

import pytest

from mlflow_amlstore.records.acting import this_user
from mlflow_amlstore.records.types import View
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace

from .conftest import Amlstore


@pytest.fixture
def runs(workspace: EmbeddedWorkspace) -> list[str]:
    """Three runs whose ids begin aaa1, aaa2 and bbb."""
    records = workspace.records.runs
    for run_id, rate, loss in (("aaa1", "0.1", 0.5), ("aaa2", "0.2", 0.25), ("bbb", "0.2", math.nan)):
        records.create("0", run_id=run_id, name=f"of {run_id}")
        records.log(run_id, params=[("rate", rate), ("seed", "1")], points=[("loss", loss, 0, 1), ("n", 3.0, 0, 1)])
    records.log("bbb", params=[("depth", "7")])
    return ["aaa1", "aaa2", "bbb"]


def active(workspace: EmbeddedWorkspace) -> list[str]:
    return sorted(run.info.run_id for run in workspace.records.runs.search(["0"], view=View.ACTIVE).items)


@pytest.mark.usefixtures("runs")
class TestDelete:
    def test_deleted_runs_come_back(self, amlstore: Amlstore, workspace: EmbeddedWorkspace) -> None:
        assert amlstore("delete", "aaa1", "b").out == "Deleted run aaa1 (of aaa1)\nDeleted run bbb (of bbb)\n"
        assert active(workspace) == ["aaa2"]
        assert amlstore("delete", "b").out == "Was deleted already: run bbb (of bbb)\n"

        assert amlstore("restore", "aaa1", "aaa2").out == (
            "Restored run aaa1 (of aaa1)\nWas not deleted: run aaa2 (of aaa2)\n"
        )
        assert active(workspace) == ["aaa1", "aaa2"]

    def test_who_deleted_and_restored_one_is_kept(self, amlstore: Amlstore, workspace: EmbeddedWorkspace) -> None:
        for command in ("delete", "delete", "restore", "restore"):
            amlstore(command, "bbb")
        kept = workspace.records.acts.of("run", "bbb")
        assert [(act.act, act.who) for act in kept] == [("restored", this_user()), ("deleted", this_user())]

    @pytest.mark.parametrize(
        ("given", "problem"),
        [(["bbb", "never"], "Run 'never' not found"), (["bbb", "aaa"], "several runs' ids begin so"), ([], "RUN...")],
    )
    def test_a_slip_in_one_of_them_deletes_none(
        self, amlstore: Amlstore, workspace: EmbeddedWorkspace, given: list[str], problem: str
    ) -> None:
        result = amlstore("delete", *given)
        assert result.exit_code in (1, 2)
        assert problem in result.err
        assert active(workspace) == ["aaa1", "aaa2", "bbb"]


@pytest.mark.usefixtures("runs")
class TestCompare:
    def test_what_differs_stands_side_by_side(self, amlstore: Amlstore) -> None:
        assert amlstore("compare", "aaa1", "aaa2", "bbb").rows == [
            ["", "aaa1", "aaa2", "bbb"],
            ["name", "of aaa1", "of aaa2", "of bbb"],
            ["status", "Running", "Running", "Running"],
            ["params.rate", "0.1", "0.2", "0.2"],
            ["params.depth", "", "", "7"],
            ["metrics.loss", "0.5", "0.25", "nan"],
        ]

    def test_json_has_the_values(self, amlstore: Amlstore) -> None:
        assert json.loads(amlstore("compare", "aaa1", "b", "--json").out) == {
            "run_id": ["aaa1", "bbb"],
            "params.rate": ["0.1", "0.2"],
            "params.depth": [None, "7"],
            "metrics.loss": [0.5, "NaN"],
        }

    def test_a_table_on_a_terminal(self, amlstore_on_terminal: Callable[..., str]) -> None:
        shown = amlstore_on_terminal("compare", "aaa1", "bbb")
        assert "metrics.loss  0.5" in shown

    def test_the_same_run_differs_in_nothing(self, amlstore: Amlstore) -> None:
        result = amlstore("compare", "bbb", "bbb")
        assert (result.exit_code, result.err) == (0, "No param and no metric differs.\n")

    def test_it_takes_two(self, amlstore: Amlstore) -> None:
        assert "give at least two runs" in amlstore("compare", "aaa1").err


@pytest.mark.parametrize(("typed", "meant"), [("run", "runs"), ("sho", "show"), ("experiment", "experiments")])
def test_a_misspelt_command_is_told_what_may_be_meant(amlstore: Amlstore, typed: str, meant: str) -> None:
    result = amlstore(typed)
    assert result.exit_code == 2
    assert f"No such command '{typed}'. Did you mean `amlstore {meant}`?" in result.err
