"""Imports go one way: the arrows of docs/architecture.md, read from the source."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mlflow_amlstore"
NAME = PACKAGE.name

# Which rooms each room may import. `plugin` and `cli` stand on no right-hand side: nobody imports them.
_BASE = {"errors", ""}
_WORKSPACE = {"workspace", "records", *_BASE}
_CLIENT = {"client", "protocol", *_WORKSPACE}
ARROWS = {
    "": {"azureml"},  # when install_as_azureml() is called
    "errors": set(),
    "records": _BASE,
    "scoring": _BASE,
    "workspace": {"records", *_BASE},
    "protocol": {"records", *_BASE},
    "client": {"protocol", *_WORKSPACE},
    "diagnosis": _CLIENT,
    "runner": _CLIENT,
    "core": {"runner", *_CLIENT},
    "widgets": {"core", "protocol", "records", *_BASE},
    "azureml": {"widgets", "core", *_CLIENT},
    "plugin": {"core", "runner", *_CLIENT},
    "service": {"runner", "protocol", *_WORKSPACE},
    "studio": {"service", "runner", "protocol", *_WORKSPACE},
    "cli": {"studio", "service", "core", "runner", "diagnosis", *_CLIENT},
    "pytest_plugin": {"core"},
}
# Inside `client`, from the lowest to the highest: each imports what stands before it.
CLIENT_LAYERS = (
    "at_once",
    "http",
    "tokens",
    "connection",
    "connection_cache",
    "run_calls",
    "files",
    "journal",
    "run_log",
    "logged_models",
    "run_messages",
    "run_history",
    "remote_workspace",
    "azure_workspace",
)
# Inside `core`, from the lowest to the highest; modules of one layer may import each other. Annotations may name what
# stands higher: a run's name its experiment, an experiment's its workspace.
CORE_LAYERS = (
    "sdk_names not_yet strict_attributes display sparkline named_texts paging cells images metric_schemas git",
    "local_files snapshots downloads",
    "sigterm buffered_log",
    "backend",
    "conda_dependencies environment run_configuration script_run_config compute",
    "model",
    "open_run run_facts run_metrics run_files",
    "growing_logs",
    "run",
    "script_run submission",
    "experiment",
    "workspace",
    "run_context",
)
MAY_IMPORT_MLFLOW = {"plugin", "pytest_plugin", "azureml"}
MODULES_THAT_MAY_IMPORT_MLFLOW = {"scoring/flavors/pyfunc.py"}
# Modules that import ours inside functions, and why. Everywhere else our imports stand at the top.
LATE_IMPORTS = {
    "__init__.py": "every import of a module of ours loads it",
    "plugin/__init__.py": "`import mlflow` loads it; the stores are loaded when one is asked for",
    "core/backend.py": "a workspace in a folder needs none of the client, a third of what the SDK would load",
    "core/workspace.py": "as above",
    "core/environment.py": "describing an environment needs none of building",
    "core/submission.py": "a workspace in a folder needs none of the client",
    "runner/deaths.py": "a run's end is recorded here only where its runner was killed",
    "runner/run_records.py": "a workspace in a folder needs none of the client, and the script starts first",
    "runner/main.py": "the script starts first: loading what its record needs takes longer than all else",
    "runner/on_ray.py": "a cluster's Python may lack what is needed, and the script's modules mustn't be taken for it",
    "workspace/opening.py": "the extra `embedded` may be missing, and a service's client needs none of it",
    "diagnosis/examination.py": "as above",
    "cli/agent.py": "`--help` needs none of it",
    "cli/serve.py": "the extra `service` may be missing, and `--help` needs none of it",
    "cli/studio.py": "the extra `studio` may be missing, and `--help` needs none of it",
    "cli/workspace_option.py": "the command that reads a folder needs nothing of `core`",
    "scoring/flavors/__init__.py": "a model's libraries are loaded when it is, and others' may be missing",
    "scoring/main.py": "the first process stays small, whatever the model does to those that load it",
    "widgets/run_details.py": "the extra `notebook` may be missing, and a terminal needs none of it",
    "cli/plot.py": "the extra `plot` may be missing, and `--help` needs none of it",
    "plugin/remote_tracking.py": "reading a filter's grammar is for workspaces whose search is Azure ML's",
    "plugin/remote_registry.py": "as above",
    "pytest_plugin.py": "pytest loads it in every session; the workspace is loaded by the first test that uses it",
}


class Import(NamedTuple):
    file: str
    line: int
    module: str
    is_late: bool
    is_for_types: bool

    @property
    def room(self) -> str:
        return _room(self.file)

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def _room(path: str) -> str:
    """The room of a file of the package: its folder, or for a file at the top its own name."""
    first = path.split("/")[0].removesuffix(".py")
    return "" if first == "__init__" else first


def _imports_of(file: Path) -> Iterator[Import]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    late = {id(node) for function in functions for node in ast.walk(function)}
    type_blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and _is_type_checking(node.test)]
    for_types = {id(node) for block in type_blocks for statement in block.body for node in ast.walk(statement)}
    path = file.relative_to(PACKAGE).as_posix()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            modules = [_imported(str(node.module), alias.name) for alias in node.names]
        else:
            continue
        for module in dict.fromkeys(modules):
            yield Import(path, node.lineno, module, id(node) in late, id(node) in for_types)


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _imported(module: str, name: str) -> str:
    """The module that `from module import name` loads: a submodule of ours, or `module`."""
    target = ROOT.joinpath(*module.split("."), name)
    return f"{module}.{name}" if target.is_dir() or target.with_suffix(".py").exists() else module


@cache
def _imports() -> list[Import]:
    """What the package imports. A worker of pytest's that runs none of these tests doesn't read it."""
    return [found for file in sorted(PACKAGE.rglob("*.py")) for found in _imports_of(file)]


def _ours() -> list[Import]:
    return [found for found in _imports() if found.module.split(".")[0] == NAME]


def test_every_room_is_in_the_table_and_in_the_document() -> None:
    rooms = {_room(file.relative_to(PACKAGE).as_posix()) for file in PACKAGE.rglob("*.py")}
    assert rooms <= set(ARROWS)
    document = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [room for room in rooms if room != "__init__" and f"`{room}" not in document] == []


def test_rooms_import_only_along_the_arrows() -> None:
    wrong = []
    for found in _ours():
        target = _room("/".join(found.module.split(".")[1:]) or "__init__")
        if target != found.room and target not in ARROWS[found.room]:
            wrong.append(str(found))
    assert wrong == []


@pytest.mark.parametrize(("room", "layers"), [("client", CLIENT_LAYERS), ("core", CORE_LAYERS)])
def test_inside_a_room_each_layer_imports_those_below_it(room: str, layers: tuple[str, ...]) -> None:
    floors = {name: floor for floor, names in enumerate(layers) for name in names.split()}
    assert {path.stem for path in (PACKAGE / room).iterdir() if not path.name.startswith("__")} == set(floors)
    wrong = []
    for found in _ours():
        importer, target = found.file.removesuffix(".py").split("/"), found.module.split(".")[1:]
        if importer[0] != room or target[:1] != [room] or len(target) == 1 or importer[1] == "__init__":
            continue
        is_annotation = room == "core" and found.is_for_types
        if floors[target[1]] > floors[importer[1]] and not is_annotation:
            wrong.append(str(found))
    assert wrong == []


def test_only_the_rooms_that_are_mlflows_import_it() -> None:
    found = [found for found in _imports() if found.module.split(".")[0] == "mlflow"]
    may = [f for f in found if f.room in MAY_IMPORT_MLFLOW or f.file in MODULES_THAT_MAY_IMPORT_MLFLOW]
    assert [str(f) for f in found if f not in may] == []


def test_our_modules_are_imported_at_the_top_but_where_listed() -> None:
    wrong = [str(found) for found in _ours() if found.is_late and found.file not in LATE_IMPORTS]
    assert wrong == []


def test_no_module_imports_itself_through_others() -> None:
    graph = defaultdict(set)
    for found in _ours():
        importer = ".".join((NAME, *Path(found.file).with_suffix("").parts)).removesuffix(".__init__")
        if not found.is_for_types and found.module != importer:
            graph[importer].add(found.module)
    TopologicalSorter(graph).prepare()  # raises CycleError, naming the modules
