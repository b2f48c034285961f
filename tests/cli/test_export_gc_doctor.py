"""`amlstore export`, `gc` and `doctor`."""

import csv
import hashlib
import json
import math
import shutil
import sqlite3
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest

from mlflow_amlstore.records.locations import logged_model_container, run_container
from mlflow_amlstore.records.types import Dataset, DatasetInput, MetricKind, ModelDirection, RunModel, View
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace

from .conftest import Amlstore


@pytest.fixture
def run_id(workspace: EmbeddedWorkspace) -> str:
    """A run with something of everything."""
    records = workspace.records
    records.runs.create("0", run_id="run1", name="Żółć", start_ms=1)
    records.runs.log("run1", params=[("lr", "0.1")], tags=[("t", "1")])
    records.runs.log(
        "run1", points=[("m", 1.5, 0, 10), ("m", math.nan, 1, 11), ("m", -math.inf, 2, 12), ("n", 0.1, 0, 0)]
    )
    records.metrics.log_values("run1", [("table", MetricKind.TABLE, {"x": [1.0, 2.0], "y": ["a", "b"]}, None, 13)])
    records.runs.log_inputs("run1", datasets=[DatasetInput(Dataset("d", "1", "http", "here", schema="{}"), {"c": "x"})])
    model_id = records.logged_models.create("0", name="model", source_run_id="run1").model_id
    records.runs.log_inputs("run1", models=[RunModel(ModelDirection.OUTPUT, model_id)])
    records.files.write(run_container("0", "run1"), "deep/a.txt", BytesIO(b"hello"))
    records.files.write(logged_model_container("0", model_id), "MLmodel", BytesIO(b"flavors"))
    return "run1"


class TestExport:
    def test_an_export_has_all_of_the_run(self, amlstore: Amlstore, run_id: str, tmp_path: Path) -> None:
        target = tmp_path / "out" / "exported"
        result = amlstore("export", run_id, str(target))

        assert result.out == f"Exported run run1 to {target}: 6 metric points, 2 files\n"
        run = json.loads((target / "run.json").read_text("utf-8"))
        assert (run["name"], run["experiment"], run["params"]) == ("Żółć", "Default", {"lr": "0.1"})
        assert run["metrics"]["m"]["value"] == "-Infinity"
        [dataset] = run["datasets"]
        assert (dataset["source"], dataset["schema"], dataset["tags"]) == ("here", "{}", {"c": "x"})
        with (target / "metrics.csv").open(newline="") as source:
            points = list(csv.reader(source))
        assert points[0] == ["name", "step", "timestamp_ms", "value"]
        assert sorted(points[1:]) == [
            ["m", "0", "10", "1.5"], ["m", "1", "11", "nan"], ["m", "2", "12", "-inf"], ["n", "0", "0", "0.1"],
            ["table.x", "0", "13", "1.0"], ["table.x", "1", "13", "2.0"],
        ]  # fmt: skip
        assert json.loads((target / "tables.json").read_text()) == [
            {"name": "table", "kind": "table", "columns": {"x": [1.0, 2.0], "y": ["a", "b"]}}
        ]
        assert (target / "files" / "deep" / "a.txt").read_text() == "hello"
        [model] = (target / "models").iterdir()
        assert (model / "MLmodel").read_text() == "flavors"
        assert [path.name for path in target.parent.iterdir()] == ["exported"]

    def test_a_run_with_scalars_alone_needs_no_tables(
        self, amlstore: Amlstore, workspace: EmbeddedWorkspace, tmp_path: Path
    ) -> None:
        workspace.records.runs.create("0", run_id="plain")
        amlstore("export", "plain", str(tmp_path / "out"))
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["metrics.csv", "run.json"]

    @pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
    def test_a_folder_that_exists_is_left_alone(
        self, amlstore: Amlstore, run_id: str, tmp_path: Path, make: object
    ) -> None:
        target = tmp_path / "out"
        make(target)
        result = amlstore("export", run_id, str(target))
        assert (result.exit_code, result.out) == (2, "")
        assert result.err == (
            f"amlstore: Invalid value '{target}' for DIR: must not exist yet, so that nothing is overwritten\n"
        )

    def test_an_export_that_fails_leaves_nothing(
        self, amlstore: Amlstore, run_id: str, workspace: EmbeddedWorkspace, tmp_path: Path
    ) -> None:
        for content in (workspace.folder / "files").glob("??/*"):
            content.write_bytes(b"damaged")
        result = amlstore("export", run_id, str(tmp_path / "out" / "x"))
        assert (result.exit_code, result.out) == (1, "")
        assert "is not what was stored (SHA-256 differs)" in result.err
        assert list((tmp_path / "out").iterdir()) == []

    def test_a_folder_that_cannot_be_made_is_one_message(self, amlstore: Amlstore, run_id: str, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        result = amlstore("export", run_id, str(tmp_path / "file" / "out"))
        assert result.exit_code == 1
        assert result.err.startswith("amlstore: ")
        assert "Traceback" not in result.err

    @pytest.mark.parametrize("name", ["=HYPERLINK(0)", "+1", "-1", "@SUM(1)"])
    def test_no_name_is_a_formula_in_a_spreadsheet(
        self, amlstore: Amlstore, workspace: EmbeddedWorkspace, run_id: str, tmp_path: Path, name: str
    ) -> None:
        workspace.records.metrics.log_values(run_id, [(name, MetricKind.SCALAR, 1.0, None, 13)])
        amlstore("export", run_id, str(tmp_path / "out"))
        with (tmp_path / "out" / "metrics.csv").open(newline="") as source:
            assert f"'{name}" in {row[0] for row in csv.reader(source)}


class TestGc:
    @pytest.fixture
    def deleted(self, workspace: EmbeddedWorkspace, run_id: str) -> str:
        workspace.records.runs.delete(run_id)
        return run_id

    def remaining(self, workspace: EmbeddedWorkspace) -> list[str]:
        return [run.info.run_id for run in workspace.records.runs.search(["0"], view=View.ALL).items]

    def test_it_lists_what_is_deleted_and_asks(
        self, amlstore: Amlstore, workspace: EmbeddedWorkspace, deleted: str
    ) -> None:
        result = amlstore("gc", typed="y\n")
        assert result.exit_code == 0
        assert result.out == (
            "run run1 (Żółć)\nDelete these for good? It can't be undone. [y/N]: "
            "Deleted 0 experiments, 1 runs and 0 logged models; 5 B of files given back\n"
        )
        assert self.remaining(workspace) == []

    @pytest.mark.parametrize("typed", ["n\n", "\n", ""])
    def test_without_a_yes_nothing_is_deleted(
        self, amlstore: Amlstore, workspace: EmbeddedWorkspace, deleted: str, typed: str
    ) -> None:
        result = amlstore("gc", typed=typed)
        assert result.exit_code == 1
        assert result.err.strip() == "Aborted!"
        assert self.remaining(workspace) == ["run1"]

    def test_a_dry_run_names_what_would_go_and_deletes_nothing(
        self, amlstore: Amlstore, workspace: EmbeddedWorkspace, deleted: str
    ) -> None:
        records = workspace.records
        gone = records.experiments.create("gone")
        model = records.logged_models.create(gone, name="tree").model_id
        records.experiments.delete(gone)
        records.logged_models.delete(model)
        assert amlstore("gc", "--dry-run").out == (
            f"experiment {gone} (gone)\nrun run1 (Żółć)\nlogged model {model} (tree)\n"
            "1 experiments, 1 runs and 1 logged models would be deleted\n"
        )
        assert self.remaining(workspace) == ["run1"]

    def test_yes_can_be_said_beforehand(self, amlstore: Amlstore, workspace: EmbeddedWorkspace, deleted: str) -> None:
        assert "Delete these" not in amlstore("gc", "--yes").out
        assert self.remaining(workspace) == []

    def test_only_what_was_deleted_long_enough_ago_goes(
        self, amlstore: Amlstore, workspace: EmbeddedWorkspace, deleted: str
    ) -> None:
        result = amlstore("gc", "--yes", "--older-than", "1h")
        assert result.out == "Deleted 0 experiments, 0 runs and 0 logged models; 0 B of files given back\n"
        assert self.remaining(workspace) == ["run1"]

    @pytest.mark.parametrize("age", ["1", "1w", "-1d", "soon", "1.5h"])
    def test_a_bad_age_is_refused(self, amlstore: Amlstore, age: str) -> None:
        result = amlstore("gc", "--yes", f"--older-than={age}")
        assert result.exit_code == 2
        assert f"'{age}' is not a time such as 30d, 12h, 5m or 0s" in result.err

    def test_with_nothing_deleted_nothing_is_asked(self, amlstore: Amlstore) -> None:
        assert amlstore("gc").out == "Deleted 0 experiments, 0 runs and 0 logged models; 0 B of files given back\n"


class TestDoctor:
    def test_all_is_well(self, amlstore: Amlstore, workspace: EmbeddedWorkspace) -> None:
        result = amlstore("doctor")
        assert (result.exit_code, result.err) == (0, "")
        found = {row[1]: row for row in result.rows[1:]}
        assert {row[0] for row in found.values()} == {"ok"}
        assert found["readable"][2] == f"{workspace.folder}, 1 active experiments"
        assert found["amlstore:// in mlflow.tracking_store"][2] == "mlflow-amlstore"
        assert {"Python", "MLflow", "SQLite", "schema", "database", "writable", "disk", "space"} <= set(found)

    @pytest.mark.parametrize(
        ("damage", "found"),
        [
            ("DROP TABLE points", "the table points is missing"),
            ("DROP INDEX ix_runs_parent_run_id", "the index ix_runs_parent_run_id is missing"),
            ("ALTER TABLE runs DROP COLUMN error", "the column runs.error is missing"),
        ],
    )
    def test_a_part_of_the_database_that_is_missing_is_named(
        self, amlstore: Amlstore, workspace: EmbeddedWorkspace, damage: str, found: str
    ) -> None:
        workspace.close()
        with closing(sqlite3.connect(workspace.folder / "records.db")) as database:
            database.execute(damage)
        result = amlstore("doctor")
        assert result.exit_code == 1
        assert {row[1]: row[:3] for row in result.rows[1:]}["database"] == ["!!", "database", found]

    def test_deep_finds_what_a_glance_does_not(
        self, amlstore: Amlstore, workspace: EmbeddedWorkspace, run_id: str
    ) -> None:
        workspace.close()
        assert amlstore("doctor", "--deep").exit_code == 0
        with closing(sqlite3.connect(workspace.folder / "records.db")) as database:
            database.execute("UPDATE series SET run_pk = 4711")
            database.commit()
        sha256 = hashlib.sha256(b"hello").hexdigest()
        (workspace.folder / "files" / sha256[:2] / sha256).write_bytes(b"hallo")

        assert amlstore("doctor").exit_code == 0
        result = amlstore("doctor", "--deep")
        assert result.exit_code == 1
        found = {row[1]: row for row in result.rows[1:]}
        assert found["database"][2] == "a row of series belongs to one of runs that isn't there"
        assert found["files"][2] == f"1 of 2 contents are not what was stored; the first is deep/a.txt ({sha256[:12]}…)"

    def test_json_has_every_finding(self, amlstore: Amlstore) -> None:
        findings = json.loads(amlstore("doctor", "--json").out)
        assert all(finding["is_ok"] and finding["remedy"] == "" for finding in findings)
        assert [finding["detail"] for finding in findings if finding["check"] == "writable"] == ["yes"]

    def test_without_a_workspace_it_says_what_to_do(self, amlstore: Amlstore, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        result = amlstore("doctor", "--json", folder=tmp_path / "empty")
        assert result.exit_code == 1
        [finding] = [finding for finding in json.loads(result.out) if not finding["is_ok"]]
        assert finding["check"] == "config.json"
        assert finding["remedy"] == "Run `amlstore init`, or give --workspace DIR"

    def test_a_database_that_is_none_is_found_and_named(self, amlstore: Amlstore, tmp_path: Path) -> None:
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "config.json").write_text('{"path": "."}')
        (tmp_path / "bad" / "records.db").write_bytes(b"not a database at all" * 100)
        result = amlstore("doctor", folder=tmp_path / "bad")
        assert result.exit_code == 1
        assert "can't be read" in result.out
        assert "Restore records.db from a copy" in result.out

    @pytest.mark.parametrize(
        ("script", "remedy"),
        [
            ("PRAGMA journal_mode = WAL", "run `amlstore init` again"),
            ("CREATE TABLE cookies (name)", "Choose another folder for a new workspace, or restore records.db"),
        ],
    )
    def test_one_that_was_left_unmade_or_is_another_programs_is_too(
        self, amlstore: Amlstore, tmp_path: Path, script: str, remedy: str
    ) -> None:
        (tmp_path / "config.json").write_text('{"path": "."}')
        with closing(sqlite3.connect(tmp_path / "records.db")) as connection:
            connection.execute(script)
        result = amlstore("doctor", "--json", folder=tmp_path)
        assert result.exit_code == 1
        [finding] = [finding for finding in json.loads(result.out) if not finding["is_ok"]]
        assert (finding["check"], finding["detail"]) == ("readable", "it can't be opened")
        assert remedy in finding["remedy"]

    def test_a_folder_that_is_gone_is_named(self, amlstore: Amlstore, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"path": "gone"}')
        result = amlstore("doctor", folder=tmp_path)
        assert result.exit_code == 1
        assert f"No workspace in {tmp_path}/gone" in result.out


def test_gc_leaves_a_strangers_file_alone_and_goes_on(
    workspace: EmbeddedWorkspace, amlstore: Amlstore, run_id: str
) -> None:
    workspace.records.runs.delete(run_id)
    for folder in (workspace.folder / "files").glob("[0-9a-f][0-9a-f]"):
        (folder / ".DS_Store").touch()

    assert amlstore("gc", "-y").exit_code == 0

    left = {file.name for file in (workspace.folder / "files").rglob("*") if file.is_file()}
    assert ".DS_Store" in left
    assert amlstore("runs", "--deleted").rows[1:] == []


def test_a_workspace_named_by_option_is_that_one_or_none(workspace: EmbeddedWorkspace, amlstore: Amlstore) -> None:
    below = workspace.folder / "below"
    below.mkdir()

    result = amlstore("gc", "-y", "-w", str(below))

    assert result.exit_code == 2
    assert f"No config.json found. Searched:\n  {below}" in result.err


def test_doctor_says_that_no_plugin_has_the_name_that_was_chosen(amlstore: Amlstore) -> None:
    result = amlstore("doctor", environment={"AMLSTORE_AZUREML_PLUGIN": "nonsense"})

    assert result.exit_code == 1
    assert "'nonsense' for AMLSTORE_AZUREML_PLUGIN: must be mlflow-amlstore or azureml-mlflow" in result.out


def test_doctor_misses_contents_that_are_gone(workspace: EmbeddedWorkspace, amlstore: Amlstore, run_id: str) -> None:
    shutil.rmtree(workspace.folder / "files")

    result = amlstore("doctor")

    assert result.exit_code == 1
    assert "2 of 2 contents are missing" in result.out
