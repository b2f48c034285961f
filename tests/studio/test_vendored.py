"""The files of others that Studio's pages load are the ones that `vendored.json` names, with their licences."""

import hashlib
import re

import pytest

from mlflow_amlstore.studio.vendored import FOLDER, LICENCES, VendoredFile, VendoredPackage, read_list

PACKAGES = read_list()
FILES = [file for package in PACKAGES for file in package.files]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.target)
def test_a_vendored_file_has_the_hash_that_is_listed(file: VendoredFile) -> None:
    assert hashlib.sha256((FOLDER / file.target).read_bytes()).hexdigest() == file.sha256


def test_every_file_in_the_folder_is_listed() -> None:
    present = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    assert present == {file.target for file in FILES} | {LICENCES}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_is_listed_with_a_released_version_within_the_stated_one(package: VendoredPackage) -> None:
    assert re.fullmatch(rf"{re.escape(package.within)}(\.\d+)+", package.version)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_comes_with_its_licence(package: VendoredPackage) -> None:
    licences = (FOLDER / LICENCES).read_text(encoding="utf-8")
    _, _, after = licences.partition(f"{package.name} {package.version} ({package.home})\n")
    assert package.licence
    assert after.startswith(", ".join(file.target for file in package.files))
    assert "THE SOFTWARE IS PROVIDED" in after.partition("-" * 80)[0]


def test_no_file_asks_another_host_for_anything() -> None:
    for path in FOLDER.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert "sourceMappingURL" not in text, path
        assert not re.search(r"(import|fetch)\s*\(?\s*[\"'`]https?://", text), path
