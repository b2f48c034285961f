"""The README and the pages of docs/ as a user follows them: every block is run, and its output compared."""

import ast
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import metadata
from pathlib import Path

import pytest
from azure_cloud import Cloud
from followed_pages import PAGES, README, ROOT, Page, User, follow_quickstart, is_as_shown, user_in

from mlflow_amlstore.cli import cli

AZURE_NAMES = ("SUBSCRIPTION", "RESOURCE-GROUP", "WORKSPACE")  # what a page's program has in place of such names
KINDS = {"console", "python", "sh", "text", ""}  # of blocks: tests type or read the first four; "" draws something
OURS = {"azureml", "mlflow_amlstore"}
EXTRAS = set(metadata("mlflow-amlstore").get_all("Provides-Extra") or [])


def _page(name: str) -> Page:
    return Page(ROOT / "docs" / f"{name}.md")


def _imported_by(page: Page) -> set[str]:
    nodes = [node for program in page.programs.values() for node in ast.walk(ast.parse(program))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names} - OURS


def _followed() -> list[object]:
    """The pages with commands; those whose programs need libraries are run where these are installed."""
    return [
        pytest.param(page, marks=pytest.mark.needs(*_imported_by(page)), id=str(page))
        for page in PAGES
        if page.dialogue
    ]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> User:
    """Who has followed the README's quickstart."""
    with user_in(tmp_path_factory.mktemp("quickstart")) as user:
        follow_quickstart(user)
        return user


@pytest.fixture
def user(tmp_path: Path, page: Page, request: pytest.FixtureRequest) -> Iterator[User]:
    """Somebody at the beginning of a page: an empty folder for the README, else that of its quickstart."""
    with ExitStack() as stack:
        somebody = stack.enter_context(user_in(tmp_path))
        if page != README:
            before: User = request.getfixturevalue("quickstart")
            shutil.copytree(before.folder, somebody.folder, dirs_exist_ok=True)
            somebody.runs |= before.runs
        programs = page.programs
        if any(name in program for program in programs.values() for name in AZURE_NAMES):
            cloud = stack.enter_context(Cloud(tmp_path / "cloud"))
            signed_in = cloud.signed_in
            az, _, _ = signed_in["PATH"].partition(os.pathsep)
            somebody.environment |= {**signed_in, "PATH": f"{az}{os.pathsep}{somebody.environment['PATH']}"}
            for in_page, here in zip(AZURE_NAMES, cloud.names, strict=True):
                programs = {name: program.replace(f'"{in_page}"', f'"{here}"') for name, program in programs.items()}
        somebody.saves(programs)
        yield somebody


@pytest.mark.parametrize("page", _followed())
def test_the_dialogue_goes_as_shown(user: User, page: Page) -> None:
    for command, shown in page.dialogue:
        printed = user.types(command, shown)
        assert is_as_shown(shown, printed), f"$ {command}\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_block_is_one_that_is_checked(page: Page) -> None:
    assert {kind for kind, _ in page.blocks} <= KINDS
    commands = [command for command, _ in page.dialogue]
    assert [name for name in page.programs if not any(name in command for command in commands)] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_dialogue_ends_with_something_to_see(page: Page) -> None:
    ends = [block.rpartition("\n$ ")[2] for kind, block in page.blocks if kind == "console"]
    assert [end for end in ends if len(end.splitlines()) < 2] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Page) -> None:
    for link in re.findall(r"\]\(([^):]+)\)", page.text):
        name, _, anchor = link.partition("#")
        target = page.path.parent / name if name else page.path
        assert target.exists(), link
        assert not anchor or anchor in Page(target.resolve()).anchors, link


def test_every_page_is_linked_from_the_readme_or_from_one_that_is() -> None:
    reached, ahead = {README.path}, [README]
    while ahead:
        page = ahead.pop()
        linked = {(page.path.parent / link).resolve() for link in re.findall(r"\]\(([^):#]+\.md)", page.text)}
        ahead += [Page(path) for path in linked - reached if path.exists()]
        reached |= linked
    assert [str(page) for page in PAGES if page.path not in reached and page.path.name != "parity_end.md"] == []


@pytest.mark.parametrize("path", [*(page.path for page in PAGES), *sorted((ROOT / "examples").glob("*.py"))], ids=str)
def test_what_is_installed_is_this_clone_and_its_extras(path: Path) -> None:
    """There is no release: `pip install mlflow-amlstore` would find nothing, or somebody else's."""
    for line in re.findall(r"pip install ([^`\n]*)", path.read_text(encoding="utf-8")):
        assert "amlstore" not in line
        assert "-q" not in line.split()
        named = {extra for extras in re.findall(r"\.\[(.*?)\]", line) for extra in extras.split(",")}
        assert named <= EXTRAS


def test_every_extra_is_on_the_page_of_extras() -> None:
    assert set(re.findall(r"^\| `'\.\[(\w+)\]'`", _page("install").text, re.MULTILINE)) == EXTRAS


@pytest.mark.parametrize("page", [README, _page("command-line")], ids=str)
def test_every_command_is_named_and_every_command_named_exists(page: Page) -> None:
    commands = set(cli.list_commands(None))  # type: ignore[arg-type]
    inline = re.findall(r"`(amlstore [^`]+)`", page.text)
    shown = [command for command, _ in page.dialogue]
    named = {match for text in [*inline, *shown] for match in re.findall(r"\bamlstore ([a-z]+)", text)}
    assert named <= commands
    if page != README:
        assert named == commands
    else:
        assert [name for name in commands if f"`{name}`" not in page.text] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(shell: str, tmp_path: Path) -> None:
    (line,) = re.findall(rf"`([^`]*=({shell})_source amlstore[^`]*)`", _page("command-line").text)
    variable = re.findall(r"\w+=\w+_source", line[0])[0]
    with user_in(tmp_path) as user:
        script = user.types(f"{variable} amlstore", "")
        assert "complete" in script
        if shell == "bash":
            words = "COMP_WORDS=(amlstore ru); COMP_CWORD=1; _amlstore_completion amlstore; echo ${COMPREPLY[@]}"
            user.saves({"completion.sh": f"{line[0]}\n{words}\n"})
            assert user.types("bash completion.sh", "") == "runs\n"


def test_every_variable_of_ours_is_on_the_page_of_variables() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "mlflow_amlstore").rglob("*.py")]
    used = {name for source in sources for name in re.findall(r"\bAMLSTORE_[A-Z_]*[A-Z]\b", source)}
    assert used == set(re.findall(r"`(AMLSTORE_\w+)`", _page("environment").text))
