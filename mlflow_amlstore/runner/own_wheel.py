"""The running version of this package as a wheel, which every environment that is built gets.

It comes from the files that run: from their source folder where they lie in one (an editable installation, or a
checkout on PYTHONPATH), else from the files that its wheel installed, put together again.
"""

import base64
import hashlib
import re
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from mlflow_amlstore.errors import InvalidState

Origin = Path | Distribution

NAME = "mlflow-amlstore"
_PACKAGE = Path(__file__).resolve().parent.parent
# What an installer adds to what the wheel had.
_INSTALLERS_OWN = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"}

_FOUND_BY = ("METADATA", "entry_points.txt")


def origin() -> Origin:
    """The source folder that the running package lies in, else its distribution.

    Raises InvalidState where it has neither: its files were copied, or lie in an archive.
    """
    project = _PACKAGE.parent / "pyproject.toml"
    if project.is_file() and re.search(rf'^name = "{NAME}"$', project.read_text(encoding="utf-8"), re.MULTILINE):
        return _PACKAGE.parent
    for distribution in distributions(name=NAME):
        is_this = Path(str(distribution.locate_file(""))).resolve() == _PACKAGE.parent
        if is_this and any(file.match(f"{_PACKAGE.name}/__init__.py") for file in distribution.files or ()):
            return distribution
    raise InvalidState(
        f"No wheel of {NAME} can be made for an environment: {_PACKAGE} is neither installed nor in its source folder. "
        "Install it with pip"
    )


def identity(of: Origin) -> str:
    """A hash that changes with the package."""
    if isinstance(of, Distribution):
        return hashlib.sha256((of.read_text("RECORD") or "").encode()).hexdigest()
    hashed = hashlib.sha256((of / "pyproject.toml").read_bytes())
    for file in sorted(_PACKAGE.rglob("*")):
        if "__pycache__" not in file.parts and file.is_file():
            hashed.update(f"{file.relative_to(_PACKAGE)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return hashed.hexdigest()


def as_module() -> list[tuple[str, bytes]]:
    """The running package as files for a folder of `sys.path`, by their paths: its code, what MLflow finds it by, and
    what a script's Python runs first and finds as `azureml`.

    Raises InvalidState where it isn't installed.
    """
    metadata = _installed()
    information = f"{NAME.replace('-', '_')}-{metadata.version}.dist-info"
    files = {f"{information}/{name}": (metadata.read_text(name) or "").encode() for name in _FOUND_BY}
    for file in sorted(_PACKAGE.rglob("*")):
        if "__pycache__" not in file.parts and file.is_file():
            files[file.relative_to(_PACKAGE.parent).as_posix()] = file.read_bytes()
    for folder in ("shim", "startup"):
        within = f"{_PACKAGE.name}/runner/{folder}/"
        files |= {path.removeprefix(within): content for path, content in files.items() if path.startswith(within)}
    return sorted(files.items())


def requirements(extras: set[str]) -> list[str]:
    """What the running package needs, with these extras, as lines of pip's. Raises InvalidState as `as_module`."""
    lines = [line.partition(";") for line in _installed().requires or ()]
    found, known = [], set[str]()
    while missing := {"", *extras} - known:
        extra = missing.pop()
        known.add(extra)
        for requirement, _, marker in lines:
            of = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
            inner = re.match(rf"{NAME}\[([^\]]*)\]", requirement)
            if (of[1] if of else "") == extra and inner:
                extras = {*extras, *inner[1].split(",")}
            elif of is None and extra == "":
                found.append(f"{requirement.strip()};{marker}" if marker else requirement.strip())
            elif of is not None and of[1] == extra:
                found.append(requirement.strip())
    return found


def _installed() -> Distribution:
    for distribution in distributions(name=NAME):
        return distribution
    raise InvalidState(f"{NAME} isn't installed, so nobody knows what it needs elsewhere. Install it with pip")


def put_together(distribution: Distribution, folder: Path) -> Path:
    """Write the wheel that a distribution was installed from into a folder, and return its path."""
    root = Path(str(distribution.locate_file("")))
    files = {file.relative_to(root).as_posix(): file.read_bytes() for file in sorted(_files_of(distribution))}
    record = "".join(f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items())
    record_name = next(name for name in files if name.endswith(".dist-info/METADATA")).replace("METADATA", "RECORD")
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{NAME.replace('-', '_')}-{distribution.version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(record_name, f"{record}{record_name},,\n")
    return wheel


def _files_of(distribution: Distribution) -> Iterator[Path]:
    """The files that lay in the wheel: not the commands and compiled modules that an installer made of it."""
    for file in distribution.files or ():
        is_made = file.parts[0] == ".." or "__pycache__" in file.parts or file.name in _INSTALLERS_OWN
        if not is_made and not file.is_absolute():
            yield Path(str(distribution.locate_file(file)))


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
