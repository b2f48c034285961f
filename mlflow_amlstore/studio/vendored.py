"""The files of others that Studio's pages load: which they are, and how they are refreshed from npm.

`vendored.json` names every package, its version and licence, and each file's source inside of the package, its target
below `static/vendored/` and its SHA-256. `python -m mlflow_amlstore.studio.vendored` takes the newest version within
what `within` states (`4` takes 4.1.0, `1.6` takes 1.6.33, neither takes a pre-release), writes the files, their
licences and `vendored.json` again. Running and editing Studio needs none of this: the files are part of the source.
"""

import base64
import hashlib
import io
import json
import sys
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

__all__ = ["FOLDER", "LICENCES", "LIST", "VendoredFile", "VendoredPackage", "read_list", "refresh"]

LIST = Path(__file__).with_name("vendored.json")
FOLDER = Path(__file__).with_name("static") / "vendored"
LICENCES = "LICENSES.txt"
_REGISTRY = "https://registry.npmjs.org"
_TIMEOUT_S = 60


@dataclass(frozen=True)
class VendoredFile:
    """One file: `source` inside of the package, `target` below `FOLDER`, and the SHA-256 of its bytes in hex."""

    source: str
    target: str
    sha256: str


@dataclass(frozen=True)
class VendoredPackage:
    """A package of npm, and what Studio takes of it. `licence` is as the package states it."""

    name: str
    within: str
    version: str
    licence: str
    licence_file: str
    home: str
    files: tuple[VendoredFile, ...]


def read_list() -> list[VendoredPackage]:
    """The packages of `vendored.json`, in its order."""
    packages = json.loads(LIST.read_text(encoding="utf-8"))["packages"]
    return [
        VendoredPackage(**{**package, "files": tuple(VendoredFile(**file) for file in package["files"])})
        for package in packages
    ]


def refresh() -> list[VendoredPackage]:
    """Takes the newest version of each package, and returns what `vendored.json` says afterwards.

    Everything is downloaded and checked before the first file is written. Raises `requests.RequestException` if the
    registry doesn't answer, `ValueError` if it has no version within the stated one, if a package isn't what the
    registry's hash says, or if it lacks a file.
    """
    refreshed, contents, licences = [], {}, []
    for package in read_list():
        newest = _newest(package)
        members = _download(newest["dist"]["tarball"], newest["dist"]["integrity"])
        files = []
        for file in package.files:
            content = _member(members, package, file.source)
            contents[file.target] = content
            files.append(VendoredFile(file.source, file.target, hashlib.sha256(content).hexdigest()))
        fields = {"version": newest["version"], "licence": newest["license"], "files": tuple(files)}
        package = VendoredPackage(**{**asdict(package), **fields})
        refreshed.append(package)
        text = _member(members, package, package.licence_file).decode("utf-8").strip()
        heading = f"{package.name} {package.version} ({package.home})"
        licences.append(f"{heading}\n{', '.join(file.target for file in files)}\n\n{text}\n")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for target, content in contents.items():
        (FOLDER / target).write_bytes(content)
    rule = "\n" + "-" * 80 + "\n\n"
    (FOLDER / LICENCES).write_text(rule.join(licences), encoding="utf-8")
    listed = {"packages": [asdict(package) for package in refreshed]}
    LIST.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
    return refreshed


def _newest(package: VendoredPackage) -> dict[str, Any]:
    """The registry's entry of the newest version that starts with `package.within`."""
    response = requests.get(f"{_REGISTRY}/{package.name}", timeout=_TIMEOUT_S)
    response.raise_for_status()
    versions: dict[str, dict[str, Any]] = response.json()["versions"]
    stated = package.within.split(".")
    fitting = [
        version
        for version in versions
        if all(part.isdecimal() for part in version.split(".")) and version.split(".")[: len(stated)] == stated
    ]
    if not fitting:
        raise ValueError(f"npm has no version of {package.name} within {package.within}; change `within` in {LIST}")
    return versions[max(fitting, key=lambda version: [int(part) for part in version.split(".")])]


def _download(url: str, integrity: str) -> dict[str, bytes]:
    """The files of a package by their paths in it. `integrity` is the registry's, such as `sha512-…`."""
    response = requests.get(url, timeout=_TIMEOUT_S)
    response.raise_for_status()
    algorithm, _, expected = integrity.partition("-")
    if base64.b64encode(hashlib.new(algorithm, response.content).digest()).decode() != expected:
        raise ValueError(f"{url} is not what the registry's integrity {integrity} says; nothing was written")
    members = {}
    with tarfile.open(fileobj=io.BytesIO(response.content), mode="r:gz") as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                members[member.name.partition("/")[2]] = content.read()
    return members


def _member(members: dict[str, bytes], package: VendoredPackage, path: str) -> bytes:
    if path not in members:
        raise ValueError(f"{package.name} has no file {path}; change it in {LIST}")
    return members[path]


if __name__ == "__main__":
    for taken in refresh():
        sys.stdout.write(f"{taken.name} {taken.version} ({taken.licence})\n")
