"""The Pythons installed on this machine that this package supports, and the one among them that a list asks for."""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlflow_amlstore.errors import InvalidValue

Minor = tuple[int, int]

SUPPORTED: tuple[Minor, ...] = ((3, 10), (3, 11), (3, 12), (3, 13))  # pyproject.toml's requires-python
_CLAUSE = re.compile(r"(===?|~=|!=|>=|<=|=|>|<|)\s*(\d+(?:\.\d+)*)")


@dataclass(frozen=True)
class Chosen:
    """An installed Python. `is_as_asked` is False for the nearest one to what isn't here."""

    path: Path
    minor: Minor
    is_as_asked: bool

    @property
    def version(self) -> str:
        return f"{self.minor[0]}.{self.minor[1]}"


def choose(asked: str) -> Chosen:
    """The Python for what conda writes after the name, such as `=3.8.13`, `>=3.9,<3.12` or nothing.

    Of several that fit it is this process's version, else the newest. Where none fits it is the nearest to the first
    version named. Raises InvalidValue for what is no version.
    """
    installed = _installed()
    clauses = list(_clauses(asked))
    this = sys.version_info[:2]
    fitting = [minor for minor in installed if all(_fits(minor, *clause) for clause in clauses)]
    if fitting:
        minor = this if this in fitting else max(fitting)
        return Chosen(installed[minor], minor, True)
    major, its_minor = (*clauses[0][1], 0)[:2]
    nearest = min(installed, key=lambda known: abs(100 * (known[0] - major) + known[1] - its_minor))
    return Chosen(installed[nearest], nearest, False)


def _clauses(asked: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    for text in filter(None, (part.strip(" =") and part.strip() for part in asked.split(","))):
        clause = _CLAUSE.match(text)  # what follows it names a build of conda's
        if clause is not None:
            yield clause[1], tuple(map(int, clause[2].split(".")))
        elif text.strip("=") != "*":
            raise InvalidValue("python version", asked, "must be such as =3.11 or >=3.10,<3.13")


def _fits(minor: Minor, operator: str, version: tuple[int, ...]) -> bool:
    """Whether some release of a minor version fits; `version` has one to three parts."""
    bound = version[:2]
    is_release = len(version) > 2
    if operator == "~=":
        return minor == bound if is_release else minor[:1] == bound[:1] and minor >= bound
    if operator == "!=":
        return is_release or minor[: len(bound)] != bound
    if operator in (">=", ">"):
        return minor >= bound if operator == ">=" or is_release else minor > bound
    if operator in ("<=", "<"):
        return minor <= bound if operator == "<=" or is_release else minor < bound
    return minor[: len(bound)] == bound


def _installed() -> dict[Minor, Path]:
    """One interpreter per supported version: this one, then those on PATH, then pyenv's and uv's.

    uv lists them, too, but runs each, which takes seconds, and passes over pyenv's where that version isn't active.
    """
    found = {sys.version_info[:2]: Path(sys.executable)}
    for folder in map(Path, os.get_exec_path()):
        for major, minor in SUPPORTED:
            _add(found, (major, minor), folder / f"python{major}.{minor}")
    for folder in _versions_of_tools():
        for major, minor in SUPPORTED:
            _add(found, (major, minor), folder / "bin" / f"python{major}.{minor}")
    return found


def _add(found: dict[Minor, Path], minor: Minor, file: Path) -> None:
    if minor not in found and os.access(file, os.X_OK) and _is_binary(file):
        found[minor] = file


def _is_binary(file: Path) -> bool:
    """Scripts of this name are a version manager's, and start whichever version is active, or none."""
    try:
        with file.open("rb") as content:
            return content.read(2) not in (b"#!", b"")
    except OSError:
        return False


def _versions_of_tools() -> Iterator[Path]:
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    for folder in (
        Path(os.environ.get("PYENV_ROOT") or home / ".pyenv") / "versions",
        Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python"),
    ):
        try:
            yield from sorted(folder.iterdir(), reverse=True)
        except OSError:
            continue
