"""The code of the version before, a process that runs it, and workspaces that earlier versions made."""

import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from earlier_code import Code, CodeProcess, EarlierService, NoHistory, previous_commit
from make_workspace import WORKSPACES

from mlflow_amlstore.pytest_plugin import AmlstoreService


class Kept(NamedTuple):
    """A workspace that an earlier version made, and what that version read in it."""

    folder: Path
    recorded: dict[str, Any]


@pytest.fixture(scope="session")
def unpack() -> Callable[[str, Path], Kept]:
    """Unpack the workspace of a database's revision into an empty folder."""

    def unpacked(revision: str, folder: Path) -> Kept:
        with zipfile.ZipFile(WORKSPACES / f"{revision}.zip") as zipped:
            zipped.extractall(folder)
        return Kept(folder / "workspace", json.loads((folder / "recorded.json").read_text(encoding="utf-8")))

    return unpacked


@pytest.fixture(scope="session")
def code_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Code]:
    """The package of an earlier commit."""

    def code(commit: str) -> Code:
        try:
            return Code.of_commit(commit, tmp_path_factory.mktemp("code"))
        except NoHistory as reason:
            pytest.skip(str(reason))

    return code


@pytest.fixture(scope="session")
def previous(code_of: Callable[[str], Code]) -> Code:
    """The package of the version before this one."""
    return code_of(previous_commit())


@pytest.fixture(scope="session")
def earlier(previous: Code, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeProcess]:
    """A process of the version before this one."""
    with CodeProcess(previous, tmp_path_factory.mktemp("earlier")) as process:
        yield process


@pytest.fixture(scope="session")
def lifetime_s(earlier: CodeProcess) -> int:
    """How long tokens live: the longer, the slower this machine is."""
    return max(5, round(earlier.start_s))


@pytest.fixture(scope="session")
def services(
    previous: Code, lifetime_s: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, AmlstoreService]]:
    options = ("--token-lifetime", str(lifetime_s))
    folder = tmp_path_factory.mktemp("services")
    with (
        AmlstoreService(folder / "today", *options) as today,
        EarlierService(previous, folder / "earlier", *options) as earlier,
    ):
        yield {"today": today, "earlier": earlier}


@pytest.fixture(scope="module", autouse=True)
def _no_keys_of_this_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever keys this user has, the tests don't find them."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
            environment.setenv(name, str(tmp_path_factory.mktemp("nobody")))
        for name in os.environ:
            if name.startswith("AMLSTORE_"):
                environment.delenv(name)
        yield
