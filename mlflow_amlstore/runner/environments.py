"""The interpreter that a submitted script runs with: one that is there, or one of an environment that uv builds.

An environment is built once per machine, into a folder named by a hash over what decides it. A build works in a folder
of its own inside, and is named in the file `ready` when it is whole, so one that was killed leaves nothing that counts.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mlflow_amlstore.errors import EnvironmentFailed, ExtraMissing, InvalidValue, LocalFileFailed, NotSupported
from mlflow_amlstore.runner import installed_pythons, own_wheel, pip_settings
from mlflow_amlstore.workspace.redaction import redact

Output = Callable[[bytes], object]

# What these give a script is in this package.
_MEAN_THIS_PACKAGE = {
    own_wheel.NAME,
    "azureml-core",
    "azureml-defaults",
    "azureml-mlflow",
    "azureml-sdk",
    "azureml-widgets",
}
_EXTRA_ALWAYS = "embedded"  # the script's run may be in a folder
_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)\s*(?:\[([^\]]*)\])?")
_REFERRING = re.compile(r"(?:--requirement|--constraint|-r|-c)[\s=]*")
_IS_PATH = re.compile(r"\.|.*/|.*\.(?:whl|zip|tar\.gz)$")
_RAY_SOURCE = "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"  # Ray puts the folder there
_SECONDS_TO_ANSWER = 30
_LINES_KEPT = 20

# Asked of an interpreter: its version, whether it finds this package and what that needs, and pip.
_QUESTION = (
    "import importlib.util as u, sys; "
    "print('python', *sys.version_info[:2], all(map(u.find_spec, ('mlflow_amlstore', 'mlflow'))), u.find_spec('pip'))"
)


def interpreter_of(
    environment: Mapping[str, Any] | None, *, output: Output, cache: Path | None = None, folder: Path | None = None
) -> list[str]:
    """Return the command that starts Python in an environment, built first if need be.

    `environment` is what the SDK sends of an Environment, or None. `output` is given a build's output, line by line,
    and isn't called where nothing is built or waited for. `cache` is where environments are kept, `folder` where the
    list's relative paths lead, the working directory by default.

    - None, or a list without packages besides this one: this process's interpreter, unless the list asks for another
      supported version of Python.
    - User-managed: the interpreter at the path. `python`, the SDK's default, means this process's interpreter, as a
      script means it that was written for a notebook's own environment; another bare name is looked up on PATH.
    - Otherwise: built by uv from the list's pip packages. Where the list has conda packages, too, by one call of
      `micromamba` or `conda`; this is untested with the real programs.

    Raises InvalidValue for a description that can't be had on this machine, EnvironmentFailed for a build that fails
    and for an interpreter without this package, ExtraMissing without uv, InvalidState where this package can't be made
    a wheel, LocalFileFailed for a cache that can't be written.
    """
    if environment is None:
        return [sys.executable]
    folder = Path.cwd() if folder is None else folder
    cache = _cache_folder() if cache is None else cache
    name, python = str(environment.get("name") or ""), _table(environment, "python")
    if python.get("userManagedDependencies"):
        return [_user_managed(name, str(python.get("interpreterPath") or "python"), cache, folder)]
    recipe = _recipe(name, _table(python, "condaDependencies"), folder)
    if recipe is None:
        return [sys.executable]
    return [str(_built(recipe, cache, output))]


def packages_on_ray(environment: Mapping[str, Any] | None, *, is_embedded: bool) -> list[str] | None:
    """What Ray is to install for an environment, as lines of pip's list; None for a user-managed one.

    This package's code is there, what it needs is among the lines. Paths are below the script's folder.
    Raises InvalidValue as `interpreter_of`, NotSupported for conda packages.
    """
    python = _table(environment or {}, "python")
    if python.get("userManagedDependencies"):
        return None
    conda, pip = _packages(_table(python, "condaDependencies"))
    names = {_normal(match[1]) for package in conda if (match := re.match(r"\s*(?:\S+::)?([\w.-]+)", package))}
    others = names - {"python", "pip"} - _MEAN_THIS_PACKAGE
    if others:
        raise NotSupported(
            f"An environment with conda packages ({', '.join(sorted(others))}) on Ray",
            "List pip packages, or install them in the cluster and set user_managed_dependencies = True",
        )
    lines, extras = _without_this_package(pip, {_EXTRA_ALWAYS} if is_embedded else set())
    return [*(_below(_RAY_SOURCE, line) for line in lines), *own_wheel.requirements(extras)]


def _below(folder: str, line: str) -> str:
    """A line whose path, if it is a relative one, begins with a folder."""
    referring = _REFERRING.match(line)
    begin = line[: referring.end()] if referring else ""
    path = line[len(begin) :]
    is_relative = not path.startswith(("/", "$")) and "://" not in path
    return f"{begin}{folder}/{path}" if is_relative and (referring or _IS_PATH.match(path)) else line


def _table(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = of.get(name) or {}
    if not isinstance(found, Mapping):
        raise InvalidValue(f"{name} of an environment", found, "must be a JSON object")
    return found


def _cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / own_wheel.NAME / "environments"


# User-managed


def _user_managed(name: str, path: str, cache: Path, folder: Path) -> str:
    if path == "python":
        return sys.executable
    field = f"interpreter_path of environment {name!r}"
    if os.sep in path or path.startswith("~"):
        found: str | None = str(folder / os.path.expanduser(path))  # noqa: PTH111  # an unknown user stays as text
    else:
        found = shutil.which(path)
    if found is None or not (os.path.isfile(found) and os.access(found, os.X_OK)):  # noqa: PTH113
        raise InvalidValue(
            field, path, "no program is there. Give the path of a Python, or leave `python` for this process's own"
        )
    if found == sys.executable:
        return found
    try:
        asked = subprocess.run(
            [found, "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS_TO_ANSWER,
            cwd="/",  # the working directory is on its sys.path
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InvalidValue(field, path, f"can't be started as a Python: {error}") from None
    answer = re.search(r"^python (\d+) (\d+) (True|False) (.+)$", asked.stdout, re.MULTILINE)
    if answer is None:
        raise InvalidValue(field, path, "isn't a Python: it didn't answer as one")
    if (int(answer[1]), int(answer[2])) < installed_pythons.SUPPORTED[0]:
        raise InvalidValue(field, path, f"is Python {answer[1]}.{answer[2]}; this package needs 3.10 or newer")
    if answer[3] == "False":
        raise EnvironmentFailed(
            name,
            f"{found} doesn't have this package. Run `{shlex.join(_installation(found, answer[4] != 'None', cache))}`",
        )
    return found


def _installation(interpreter: str, has_pip: bool, cache: Path) -> list[str]:
    """The command that installs this package there."""
    origin = own_wheel.origin()
    if isinstance(origin, Distribution):
        with _local_errors(cache):
            origin = own_wheel.put_together(origin, cache.parent / "wheels")
    package = f"{origin}[{_EXTRA_ALWAYS}]"
    if has_pip:
        return [interpreter, "-m", "pip", "install", package]
    return ["uv", "pip", "install", "--python", interpreter, package]


# What decides an environment


@dataclass(frozen=True)
class _Recipe:
    """What an environment is built from. `lines` are of pip's list, without those that mean this package."""

    name: str
    asked_python: str
    python: installed_pythons.Chosen
    lines: tuple[str, ...]
    options: Mapping[str, list[str]]
    extras: tuple[str, ...]
    channels: tuple[str, ...]
    conda_packages: tuple[str, ...]
    folder: Path

    def hashed(self, origin: own_wheel.Origin) -> str:
        decides = [
            sysconfig.get_platform(),
            str(self.python.path.resolve()) if not self.conda_packages else self.asked_python,
            self.python.version,
            self.lines,
            self.options,
            self.extras,
            self.channels,
            self.conda_packages,
            _contents(self.lines, self.folder),
            own_wheel.identity(origin),
        ]
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:32]


def _recipe(name: str, listed: Mapping[str, Any], folder: Path) -> _Recipe | None:
    """None where this process's interpreter has all that is listed."""
    conda, pip = _packages(listed)
    asked_python, conda_packages = "", []
    for package in conda:
        match = re.match(r"\s*(?:\S+::)?([\w.-]+)\s*(.*)", package)
        package_name = _normal(match[1]) if match else ""
        if package_name == "python" and match:
            asked_python = match[2].strip()
        elif package_name != "pip" and package_name not in _MEAN_THIS_PACKAGE:
            conda_packages.append(package)
    options, pip = pip_settings.listed_options(pip)
    lines, extras = _without_this_package(pip, {_EXTRA_ALWAYS})
    python = installed_pythons.choose(asked_python)
    has_packages = bool(lines or conda_packages or extras != {_EXTRA_ALWAYS})
    if not has_packages and (not python.is_as_asked or python.minor == sys.version_info[:2]):
        return None
    lines += pip_settings.constraints()
    channels = tuple(_texts("channels", listed.get("channels")))
    return _Recipe(
        name,
        asked_python,
        python,
        tuple(lines),
        options,
        tuple(sorted(extras)),
        channels,
        tuple(conda_packages),
        folder,
    )


def _without_this_package(pip: Sequence[str], extras: set[str]) -> tuple[list[str], set[str]]:
    """The lines of a list that don't mean this package, and the extras of it that are asked for, or given here."""
    lines, asked = [], set(extras)
    for line in pip:
        match = _REQUIREMENT.match(line)
        if match and _normal(match[1]) in _MEAN_THIS_PACKAGE:
            if _normal(match[1]) == own_wheel.NAME:
                asked.update(filter(None, map(str.strip, (match[2] or "").split(","))))
            continue
        if re.match(r"(-e|--editable)\b", line):
            raise InvalidValue(
                "pip package",
                redact(line),
                "can't be editable: runs share an environment. The source folder is on sys.path anyway",
            )
        lines.append(line)
    return lines, asked


def _packages(listed: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The names of conda packages, and the lines of pip's list."""
    dependencies = listed.get("dependencies") or []
    if not isinstance(dependencies, list):
        raise InvalidValue("dependencies of an environment", dependencies, "must be a list")
    conda = [item for item in dependencies if not isinstance(item, Mapping)]
    pip: list[str] = []
    for item in dependencies:
        if isinstance(item, Mapping):
            if set(item) != {"pip"}:
                raise InvalidValue("dependencies of an environment", item, "may have a list under 'pip', no other")
            pip.extend(line.strip() for line in _texts("pip", item["pip"]))
    return _texts("dependencies", conda), [line for line in pip if line and not line.startswith("#")]


def _texts(name: str, given: object) -> list[str]:
    given = given or []
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        raise InvalidValue(f"{name} of an environment", given, "must be a list of texts")
    return given


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _contents(lines: Sequence[str], folder: Path) -> list[tuple[str, str]]:
    """The files that a list refers to and hashes over them. uv names the problem of one that can't be read."""
    found = []
    with contextlib.suppress(OSError):
        for file in _files_named(lines, folder, folder, set()):
            name = file.relative_to(folder) if file.is_relative_to(folder) else file
            found.append((str(name), hashlib.sha256(file.read_bytes()).hexdigest()))
    return found


def _files_named(lines: Sequence[str], folder: Path, beside: Path, seen: set[Path]) -> Iterator[Path]:
    """Other lists, which lie `beside` this one, wheels, and all files of source folders; each once."""
    for line in lines:
        text = re.split(r" #| ;", line)[0].strip()
        is_list = _REFERRING.match(text)
        if "file:" in text:
            path = Path(unquote(text.partition("file:")[2].partition("#")[0].removeprefix("//")))
        elif is_list:
            path = beside / pip_settings.expanded(text[is_list.end() :].strip("\"'"))
        elif "://" not in text and _IS_PATH.match(text):  # as in pip, a package's name alone is none
            path = folder / text.partition("[")[0].strip("\"'")
        else:
            continue
        if path in seen:
            continue
        seen.add(path)
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.is_file() and "__pycache__" not in each.parts)
        elif path.is_file():
            yield path
            if is_list:
                inner = path.read_text(encoding="utf-8", errors="replace").splitlines()
                yield from _files_named(inner, folder, path.parent, seen)


# The cache


def _built(recipe: _Recipe, cache: Path, output: Output) -> Path:
    origin = own_wheel.origin()
    place = cache / recipe.hashed(origin)
    interpreter = _ready(place)
    if interpreter is not None:
        return interpreter
    build = _build_by_conda if recipe.conda_packages else _build_by_uv
    with _local_errors(place):
        place.mkdir(parents=True, exist_ok=True)
        lock = (place / "lock").open("wb")
    with lock:  # the kernel releases it when this process ends, however it does
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            output(b"Another run builds this environment: waiting for it\n")
            fcntl.flock(lock, fcntl.LOCK_EX)
        interpreter = _ready(place)
        if interpreter is not None:
            return interpreter
        for left in place.iterdir():  # what was killed, or what has lost its Python
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
        target = place / uuid.uuid4().hex[:8]
        try:
            build(recipe, origin, target, output)
            with _local_errors(place):
                (place / "ready.new").write_text(target.name, encoding="utf-8")
                (place / "ready.new").replace(place / "ready")
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
    return target / "bin" / "python"


def _ready(place: Path) -> Path | None:
    """The interpreter of an environment that is whole, and whose own Python is still installed."""
    try:
        interpreter = place / (place / "ready").read_text(encoding="utf-8") / "bin" / "python"
    except OSError:
        return None
    return interpreter if interpreter.exists() else None


@contextlib.contextmanager
def _local_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problem = error.strerror or type(error).__name__
        raise LocalFileFailed(str(error.filename or path), problem) from None


# Building


def _build_by_uv(recipe: _Recipe, origin: own_wheel.Origin, target: Path, output: Output) -> None:
    uv = _find_uv()
    variables, everywhere, installing = pip_settings.for_uv(recipe.options, recipe.folder)
    if not recipe.python.is_as_asked:
        _say_what_python(recipe, f"The nearest one that is installed: {recipe.python.path}", output)

    def run(*arguments: str, folder: Path, lines: Sequence[str] = ()) -> None:
        _run(recipe.name, [uv, *arguments], output, variables, folder, lines)

    with tempfile.TemporaryDirectory(prefix="amlstore-wheel-") as made:
        scratch = Path(made)
        run("venv", "--python", str(recipe.python.path), str(target), folder=scratch)
        if isinstance(origin, Distribution):
            with _local_errors(scratch):
                wheel = own_wheel.put_together(origin, scratch)
        else:
            run("build", "--wheel", *everywhere, "--out-dir", str(scratch), str(origin), folder=scratch)
            (wheel,) = scratch.glob("*.whl")
        interpreter = str(target / "bin" / "python")
        options = ["--python", interpreter, *everywhere, *installing]
        run(
            "pip",
            "install",
            *options,
            "-r",
            "-",
            folder=recipe.folder,
            lines=[*recipe.lines, _requirement(recipe, wheel)],
        )


def _requirement(recipe: _Recipe, package: Path) -> str:
    """The line for this package: a wheel, or a source folder."""
    return f"{own_wheel.NAME}[{','.join(recipe.extras)}] @ {package.resolve().as_uri()}"


def _find_uv() -> str:
    with contextlib.suppress(ImportError, AttributeError, FileNotFoundError):
        return str(import_module("uv").find_uv_bin())
    found = shutil.which("uv")
    if found is None:
        raise ExtraMissing("Building an environment", "uv", "submit")
    return found


def _build_by_conda(recipe: _Recipe, origin: own_wheel.Origin, target: Path, output: Output) -> None:
    program = shutil.which("micromamba") or shutil.which("conda")
    if program is None:
        raise InvalidValue(
            f"conda packages of environment {recipe.name!r}",
            ", ".join(recipe.conda_packages),
            "need micromamba or conda, and neither is on PATH. List them as pip packages, or install one of the two",
        )
    python = f"python{recipe.asked_python or '=' + recipe.python.version}"
    if not recipe.python.is_as_asked:
        python = f"python={recipe.python.version}"
        _say_what_python(recipe, "Taken instead", output)
    with tempfile.TemporaryDirectory(prefix="amlstore-conda-") as made:
        scratch = Path(made)
        with _local_errors(scratch):
            package = own_wheel.put_together(origin, scratch) if isinstance(origin, Distribution) else origin
        lines = [_below(str(recipe.folder), line) for line in recipe.lines]
        pip = [*pip_settings.as_lines(recipe.options), *lines, _requirement(recipe, package)]
        content = {
            "channels": recipe.channels or ["conda-forge"],
            "dependencies": [python, "pip", *recipe.conda_packages, {"pip": pip}],
        }
        file = scratch / "environment.yml"
        file.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
        creation = ["create"] if Path(program).name == "micromamba" else ["env", "create"]
        _run(recipe.name, [program, *creation, "--yes", "-p", str(target), "-f", str(file)], output, {}, recipe.folder)


def _say_what_python(recipe: _Recipe, what: str, output: Output) -> None:
    asked = recipe.asked_python.lstrip("=")
    output(
        f"Python {asked} is asked for, which isn't installed here or is older than 3.10. "
        f"{what} (Python {recipe.python.version})\n".encode()
    )


def _run(
    name: str, command: list[str], output: Output, variables: Mapping[str, str], folder: Path, lines: Sequence[str] = ()
) -> None:
    """Run a program in this process group, `lines` as its input. Raises EnvironmentFailed with its last lines."""
    environment = {**os.environ, "UV_NO_PROGRESS": "1", "NO_COLOR": "1", **variables}
    for ours in ("PYTHONPATH", "PYTHONHOME"):  # a script's modules mustn't stand in the way of a build's
        environment.pop(ours, None)
    last: deque[str] = deque(maxlen=_LINES_KEPT)
    # A file without a name: a requirement's URL may have a password.
    with tempfile.TemporaryFile() as given:
        given.write("".join(f"{line}\n" for line in lines).encode())
        given.seek(0)
        process = subprocess.Popen(
            command, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd=folder
        )
    with process:
        assert process.stdout is not None
        try:
            for raw in process.stdout:
                line = redact(raw.decode("utf-8", "replace"))
                output(line.encode())
                last.append(line.rstrip())
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        what = " ".join([Path(command[0]).name, *command[1:3]])
        raise EnvironmentFailed(name, f"`{what} …` ended with {process.returncode}", last)
