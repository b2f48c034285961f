"""`amlstore init`, `--help`, and commands outside any workspace."""

import json
from pathlib import Path

import pytest

from mlflow_amlstore import __version__
from mlflow_amlstore.cli import cli

from .conftest import Amlstore

COMMANDS = (
    "init doctor submit queue agent watch logs cancel experiments runs show compare plot export delete restore gc "
    "studio open serve keys login logout uri"
).split()


def test_init_makes_a_workspace_and_says_where(amlstore: Amlstore, tmp_path: Path) -> None:
    result = amlstore("init", "new", "--name", "mine", folder=tmp_path)
    assert result.exit_code == 0
    assert result.out == f"Made a workspace in {tmp_path}/new\nTracking URI: amlstore://{tmp_path}/new\n"
    assert json.loads((tmp_path / "new" / "config.json").read_text()) == {"workspace_name": "mine", "path": "."}


def test_init_again_finds_what_is_there_and_changes_nothing(amlstore: Amlstore, tmp_path: Path) -> None:
    amlstore("init", "new", folder=tmp_path)
    before = (tmp_path / "new" / "config.json").read_bytes()
    result = amlstore("init", "new", "--name", "other", folder=tmp_path)
    assert (result.exit_code, result.out.splitlines()[0]) == (0, f"Found a workspace in {tmp_path}/new")
    assert (tmp_path / "new" / "config.json").read_bytes() == before
    assert json.loads(before)["workspace_name"] == "new"


def test_init_without_a_folder_takes_the_current_one(amlstore: Amlstore, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    assert amlstore("init", folder=tmp_path / "here").exit_code == 0
    assert (tmp_path / "here" / "records.db").exists()


def test_init_over_another_programs_config_is_refused(amlstore: Amlstore, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a": 1}')
    result = amlstore("init", folder=tmp_path)
    assert (result.exit_code, result.out) == (2, "")
    assert result.err.startswith(f"amlstore: {tmp_path}/config.json can't be used: it names no workspace")
    assert not (tmp_path / "records.db").exists()


def test_init_on_a_file_is_refused(amlstore: Amlstore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = amlstore("init", "file", folder=tmp_path)
    assert result.exit_code == 2
    assert "is a file" in result.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(amlstore: Amlstore, command: str) -> None:
    result = amlstore(command, "--help")
    assert (result.exit_code, result.err) == (0, "")
    assert result.out.startswith(f"Usage: amlstore {command} ")
    assert max(map(len, result.out.splitlines())) <= 80


def test_help_lists_every_command_and_version_says_which_this_is(amlstore: Amlstore) -> None:
    listed = amlstore("--help").out
    assert [command for command in COMMANDS if f"\n  {command} " in listed] == COMMANDS == cli.list_commands(None)
    assert amlstore("--version").out == f"amlstore, version {__version__}\n"
    unknown = amlstore("fly")
    assert (unknown.exit_code, "No such command 'fly'" in unknown.err) == (2, True)


@pytest.mark.parametrize("arguments", [["experiments"], ["runs"], ["show", "x"], ["export", "x", "y"], ["gc"]])
def test_outside_any_workspace_the_folders_searched_are_listed(
    amlstore: Amlstore, tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    result = amlstore(*arguments, folder=tmp_path / "empty")
    assert (result.exit_code, result.out) == (2, "")
    lines = result.err.splitlines()
    assert lines[0] == "amlstore: No config.json found. Searched:"
    searched = [line.strip() for line in lines[1:-1]]
    assert searched[:4] == [f"{tmp_path}/empty{sub}" for sub in ("", "/.azureml", "/aml_config")] + [str(tmp_path)]
    assert searched[-3:] == ["/", "/.azureml", "/aml_config"]
    assert "run `amlstore init`" in lines[-1]


def test_a_workspace_is_found_from_a_folder_inside_it_and_by_option(amlstore: Amlstore, tmp_path: Path) -> None:
    (tmp_path / "ws" / "deep" / "deeper").mkdir(parents=True)
    assert amlstore("experiments", folder=tmp_path / "ws" / "deep" / "deeper").rows[1][1] == "Default"
    assert amlstore("experiments", "-w", "ws", folder=tmp_path).rows[1][1] == "Default"
    assert amlstore("experiments", "-w", "ws/config.json", folder=tmp_path).rows[1][1] == "Default"
