"""Pages of documentation, and somebody who follows one: types its commands in a folder and compares what is printed."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEMO = "/home/you/demo"  # the folder of the workspace in all pages
SERVICE = "127.0.0.1:5480"  # the service's address in all pages
_RUN_ID = re.compile(r"\b[0-9a-f]{32}\b")
_CHANGING = (
    ("TIME", re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")),
    ("KEY", re.compile(r"amlk_[0-9a-f]{12}_[\w-]{43}")),
    ("KEY_ID", re.compile(r"\b[0-9a-f]{12}\b")),
)


@dataclass(frozen=True)
class Page:
    """A Markdown file, and what its blocks are."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def blocks(self) -> list[tuple[str, str]]:
        """Each block with the word behind its fence."""
        return re.findall(r"^```(\w*)\n(.*?)^```$", self.text, re.DOTALL | re.MULTILINE)

    @property
    def programs(self) -> dict[str, str]:
        """The Python blocks by the file name in their first line."""
        python = [block for kind, block in self.blocks if kind == "python"]
        return {block.partition("\n")[0].removeprefix("# "): block for block in python}

    @property
    def dialogue(self) -> list[tuple[str, str]]:
        """The commands of the blocks `console`, each with the output that it is shown with."""
        turns = []
        for kind, block in self.blocks:
            if kind == "console":
                parts = (turn.partition("\n") for turn in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:])
                turns += [(command, output) for command, _, output in parts]
        return turns

    @property
    def anchors(self) -> set[str]:
        """What a link to a heading has behind `#`, as GitHub makes it."""
        prose = re.sub(r"^```.*?^```$", "", self.text, flags=re.DOTALL | re.MULTILINE)
        headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


README = Page(ROOT / "README.md")
PAGES = [README, *(Page(path) for path in sorted((ROOT / "docs").glob("*.md")))]


@dataclass
class User:
    """Somebody who follows pages in a folder: a shell's environment, and the runs and the service made on the way."""

    folder: Path
    environment: dict[str, str] = field(init=False)
    runs: dict[str, str] = field(default_factory=dict)
    """The ids of the pages' runs, and of those that were made in their place."""

    def __post_init__(self) -> None:
        self.environment = {**os.environ, "TERM": "dumb", "COLUMNS": "80", "LOGNAME": "you"}
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment["HOME"] = str(self.folder.parent)  # so that ~/demo is the folder
        for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
            self.environment[variable] = str(self.folder.parent / variable)
        self._service: subprocess.Popen[str] | None = None
        self._address = SERVICE

    def saves(self, programs: Mapping[str, str]) -> None:
        """Put a page's programs into the folder."""
        for name, program in programs.items():
            (self.folder / name).write_text(program, encoding="utf-8")

    def types(self, command: str, shown: str) -> str:
        """Run a page's command; return what it prints, with the folder, the address and the runs' ids of the page."""
        words = [self._made(word) for word in command.replace(SERVICE, self._address).split(" ")]
        printed = self._carries_out(" ".join(words)).replace(str(self.folder), DEMO).replace(self._address, SERVICE)
        ids = [list(dict.fromkeys(_RUN_ID.findall(text))) for text in (shown, printed)]
        if len(ids[0]) == len(ids[1]):
            self.runs |= dict(zip(*ids, strict=True))
        for in_page, made in self.runs.items():
            printed = printed.replace(made, in_page)
        return printed

    def _made(self, word: str) -> str:
        """A word of a command; where it is the beginning of an id in the page, that of the run here."""
        if len(word) < 6:
            return word
        return next((made[: len(word)] for in_page, made in self.runs.items() if in_page.startswith(word)), word)

    def _carries_out(self, command: str) -> str:
        if command == "amlstore serve":
            return self._serves()
        if " && export " in command:
            return self._exports(command)
        return self._on_a_terminal(command)

    def _on_a_terminal(self, command: str) -> str:
        """Run a command in the shell with its output on a terminal, as a user sees it."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            command, shell=True, cwd=self.folder, env=self.environment, stdout=theirs, stderr=subprocess.PIPE
        )
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
        assert process.returncode == 0, f"{command}: {output.decode()}{errors.decode()}"
        return output.decode().replace("\r\n", "\n")

    def _serves(self) -> str:
        command = ["amlstore", "serve", "--port", "0", "--log-level", "warning"]
        ours, its = os.openpty()
        self._service = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=its)
        os.close(its)
        with os.fdopen(ours, "rb") as terminal:
            told = [terminal.readline().decode().replace("\r\n", "\n") for _ in range(3)]
        self._address = told[1].strip().removeprefix("Service: http://")
        return "".join(told)

    def _exports(self, command: str) -> str:
        name = command.partition("=")[0]
        shown = f'{command} && printf "%s" "${name}"'
        done = subprocess.run(
            shown, shell=True, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=True
        )
        self.environment[name] = done.stdout
        return ""

    def leaves(self) -> None:
        """Stop the service."""
        if self._service is not None:
            self._service.terminate()
            self._service.wait()


@contextmanager
def user_in(folder: Path) -> Iterator[User]:
    """Somebody with an empty folder for a workspace, below another one for what else they keep."""
    workspace = folder.resolve() / "demo"
    workspace.mkdir()
    user = User(workspace)
    try:
        yield user
    finally:
        user.leaves()


def follow_quickstart(user: User) -> None:
    """Do what the README's quickstart does, up to its list of runs: that is where other pages begin."""
    user.saves(README.programs)
    for command, shown in README.dialogue:
        user.types(command, shown)
        if command.startswith("amlstore runs"):
            return


def is_as_shown(shown: str, printed: str) -> bool:
    """Whether the output is the page's, where a line "…" stands for any lines, one within a line for any of it, and
    times and keys are any."""
    parts = [re.escape(part).replace("…", "[^\n]*") for part in re.split(r"(?m)^…\n", _unchanging(shown))]
    lines = [line.rstrip() + "\n" for line in _unchanging(printed).strip("\n").splitlines()]
    return re.fullmatch("(?:.*\n)?".join(parts), "".join(lines), re.DOTALL) is not None


def _unchanging(text: str) -> str:
    for name, pattern in _CHANGING:
        text = pattern.sub(name, text)
    return text
