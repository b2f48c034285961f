"""Which of the installed Pythons is taken for what a list asks for."""

import re
import sys
from pathlib import Path

import pytest

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.runner.installed_pythons import SUPPORTED, choose

THIS = "{}.{}".format(*sys.version_info[:2])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing but this interpreter, until a test puts others into the folder on its PATH."""
    for name in ("HOME", "PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def install(folder: Path, version: str) -> Path:
    """What has the name and the form of an interpreter; it isn't started."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"python{version}"
    file.symlink_to(Path(sys.executable).resolve())
    return file


def test_the_supported_ones_are_those_of_the_package() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.findall(r"Python :: (\d+)\.(\d+)", text)
    assert [(int(major), int(minor)) for major, minor in listed] == list(SUPPORTED)


@pytest.mark.parametrize(
    "asked", ["", "*", ">=3.8", f"={THIS}", f"=={THIS}.2", f"{THIS}.*", f"~={THIS}", "=3", ">3.6,<4"]
)
def test_this_one_is_taken_where_it_fits(asked: str) -> None:
    chosen = choose(asked)
    assert (str(chosen.path), chosen.version, chosen.is_as_asked) == (sys.executable, THIS, True)


@pytest.mark.parametrize(
    "asked", ["=3.8.13", "==2.7", "=3.99", ">=3.99", f"!={THIS}.*", f"<{THIS}", "=3.8.13=h12debd9_0"]
)
def test_where_none_fits_it_is_the_nearest(asked: str) -> None:
    chosen = choose(asked)
    assert (chosen.version, chosen.is_as_asked) == (THIS, False)


def test_others_are_found_on_path_in_pyenv_and_among_uvs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    others = [f"{major}.{minor}" for major, minor in SUPPORTED if f"{major}.{minor}" != THIS]
    places = [folder, tmp_path / "pyenv" / "versions" / "3.x.1" / "bin", tmp_path / "uv" / "cpython-3.x" / "bin"]
    for version, place in zip(others, places, strict=True):
        file = install(place, version)
        chosen = choose(f"={version}.1")
        assert (chosen.path, chosen.version, chosen.is_as_asked) == (file, version, True)


def test_the_oldest_is_the_nearest_to_what_is_too_old_and_the_newest_to_what_is_too_new(folder: Path) -> None:
    for major, minor in SUPPORTED:
        install(folder, f"{major}.{minor}")
    assert [choose(asked).version for asked in ("=2.7", "=3.8.13", "=3.99")] == ["3.10", "3.10", "3.13"]
    assert choose(">=3.10,<3.12,!=3.11.*").version == "3.10"


def test_a_version_managers_script_is_no_interpreter(folder: Path) -> None:
    version = next(f"{major}.{minor}" for major, minor in SUPPORTED if f"{major}.{minor}" != THIS)
    (folder / f"python{version}").write_text("#!/bin/sh\nexit 127\n")
    (folder / f"python{version}").chmod(0o755)
    assert not choose(f"={version}").is_as_asked


@pytest.mark.parametrize("asked", ["=three", "abc", "=3.11,x"])
def test_what_is_no_version_is_refused(asked: str) -> None:
    with pytest.raises(InvalidValue, match=r"must be such as =3\.11"):
        choose(asked)
