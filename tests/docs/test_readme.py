"""The README as a user follows it: every block is run, and its output compared."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from fork_server import run_forked

from mlflow_amlstore.cli import cli
from mlflow_amlstore.core import Workspace

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
DEMO = "/home/you/demo"  # the workspace's folder in the README
RUN_ID = re.findall(r"\b[0-9a-f]{32}\b", README.partition("## Use")[2])[0]
SERVICE = "127.0.0.1:5480"  # the service's address in the README
CHANGING = (
    ("TIME", re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")),
    ("KEY", re.compile(r"amlk_[0-9a-f]{12}_[\w-]{43}")),
    ("KEY_ID", re.compile(r"\b[0-9a-f]{12}\b")),
)


def _programs() -> dict[str, str]:
    """The README's Python blocks by the file name in their first line."""
    return {block.split("\n", 1)[0].removeprefix("# "): block for kind, block in BLOCKS if kind == "python"}


def _dialogue() -> Iterator[tuple[str, str]]:
    """The README's commands, each with the output it shows."""
    for kind, block in BLOCKS:
        if kind == "console":
            for turn in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = turn.partition("\n")
                yield command, output


class _User:
    """Somebody who follows the README in a folder: a shell's environment, and the service started on the way."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {**os.environ, "TERM": "dumb", "COLUMNS": "100", "LOGNAME": "you"}
        self._environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
            self._environment[variable] = str(folder.parent / variable)
        self._service: subprocess.Popen[str] | None = None
        self._address = SERVICE

    def types(self, command: str) -> str:
        """Run a command, and return what it prints, as the README has it."""
        command = command.replace(SERVICE, self._address)
        if command == "amlstore serve":
            printed = self._serves()
        elif " && export " in command:
            printed = self._exports(command)
        else:
            printed = _on_a_terminal(command, self._folder, self._environment)
        return printed.replace(str(self._folder), DEMO).replace(self._address, SERVICE)

    def _serves(self) -> str:
        command = ["amlstore", "serve", "--port", "0", "--log-level", "warning"]
        ours, its = os.openpty()
        self._service = subprocess.Popen(command, cwd=self._folder, env=self._environment, stdout=its)
        os.close(its)
        with os.fdopen(ours, "rb") as terminal:
            told = [terminal.readline().decode().replace("\r\n", "\n") for _ in range(3)]
        self._address = told[1].strip().removeprefix("Service: http://")
        return "".join(told)

    def _exports(self, command: str) -> str:
        name = command.partition("=")[0]
        shown = f'{command} && printf "%s" "${name}"'
        done = subprocess.run(
            shown, shell=True, cwd=self._folder, env=self._environment, capture_output=True, text=True, check=True
        )
        self._environment[name] = done.stdout
        return ""

    def leaves(self) -> None:
        """Stop the service."""
        if self._service is not None:
            self._service.terminate()
            self._service.wait()


@pytest.fixture
def user(tmp_path: Path) -> Iterator[_User]:
    folder = tmp_path.resolve() / "demo"
    folder.mkdir()
    for name, program in _programs().items():
        (folder / name).write_text(program, encoding="utf-8")
    somebody = _User(folder)
    yield somebody
    somebody.leaves()


def _on_a_terminal(command: str, folder: Path, environment: dict[str, str]) -> str:
    """Run a command in the shell with its output on a terminal, as a user sees it."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, shell=True, cwd=folder, env=environment, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    output = b""
    try:
        while chunk := os.read(ours, 4096):
            output += chunk
    except OSError:  # Linux's way to say that the other side has closed
        pass
    finally:
        os.close(ours)
    _, errors = process.communicate()
    assert process.returncode == 0, f"{command}: {errors.decode()}"
    return output.decode().replace("\r\n", "\n")


def _same(shown: str, printed: str) -> bool:
    """Whether the output is the README's, where a line "…" stands for any lines, one within a line for any of it, and
    times and keys are any."""
    parts = [re.escape(part.strip("\n")).replace("…", "[^\n]*") for part in _unchanging(shown).split("\n…\n")]
    lines = [line.rstrip() for line in _unchanging(printed).strip("\n").split("\n")]
    return re.fullmatch(".*".join(parts), "\n".join(lines), re.DOTALL) is not None


def _unchanging(text: str) -> str:
    for name, pattern in CHANGING:
        text = pattern.sub(name, text)
    return text


def _first_run_id(folder: Path) -> str:
    uri = Workspace.from_config(folder).get_mlflow_tracking_uri()
    client = mlflow.MlflowClient(uri, uri)
    (run,) = client.search_runs([client.get_experiment_by_name("quickstart").experiment_id])
    return str(run.info.run_id)


def _naming_the_run(command: str, run_id: str) -> str:
    """The README's command with the beginning of its run's id replaced by that of the run here."""
    words = [run_id[: len(word)] if len(word) >= 6 and RUN_ID.startswith(word) else word for word in command.split(" ")]
    return " ".join(words)


def test_the_dialogue_goes_as_shown(user: _User, tmp_path: Path) -> None:
    run_id = ""
    for shown_command, shown in _dialogue():
        printed = user.types(_naming_the_run(shown_command, run_id))
        if "train.py" in shown_command:
            run_id = _first_run_id(tmp_path / "demo")
        as_shown = printed.replace(run_id, RUN_ID) if run_id else printed
        assert _same(shown, as_shown), f"$ {shown_command}\n{as_shown}"


def test_the_test_shown_passes(tmp_path: Path) -> None:
    (tmp_path / "test_loss.py").write_text(_programs()["test_loss.py"], encoding="utf-8")
    done = run_forked(["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_loss.py"], cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.needs("pytorch_lightning")
def test_the_lightning_program_keeps_its_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "lightning_run.py").write_text(_programs()["lightning_run.py"], encoding="utf-8")
    uri = Workspace.create(tmp_path).get_mlflow_tracking_uri()

    run_forked(["lightning_run.py"], cwd=tmp_path, check=True)

    client = mlflow.MlflowClient(uri, uri)
    (run,) = client.search_runs([client.get_experiment_by_name("boring").experiment_id])
    assert [entry.path for entry in client.list_artifacts(run.info.run_id)] == ["epoch=0-step=10", "epoch=1-step=20"]


@pytest.mark.skipif(int(mlflow.__version__.split(".")[0]) < 3, reason="MLflow 2 names a model's files otherwise")
def test_the_first_table_lists_what_the_example_records(tmp_path: Path) -> None:
    example = ROOT / "examples" / "track_diabetes.py"
    done = run_forked([example], cwd=tmp_path, check=True)
    rows = re.compile(r"^│ (.*?) │ (.*?) │", re.MULTILINE)
    shown = next(block for kind, block in BLOCKS if kind == "text")
    assert [[cell.strip() for cell in row] for row in rows.findall(shown)] == [
        [cell.strip() for cell in row] for row in rows.findall(done.stdout)
    ]


def test_what_ci_runs_is_the_line_that_the_readme_gives() -> None:
    line = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    assert "tox" in line
    assert f"```sh\n{line}\n```" in README


def test_every_command_is_in_the_readme_and_every_command_there_exists() -> None:
    commands = set(cli.list_commands(None))  # type: ignore[arg-type]
    shown = [block for kind, block in BLOCKS if kind == "console"]
    inline = re.findall(r"`(amlstore [^`]+)`", README)
    named = {match for text in [*shown, *inline] for match in re.findall(r"\bamlstore ([a-z]+)", text)}
    assert named == commands


def test_every_file_linked_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
