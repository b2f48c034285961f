"""What pip's settings and a list's options become for uv."""

import os
from pathlib import Path

import pytest

from mlflow_amlstore.runner.pip_settings import constraints, for_uv, listed_options

SETTINGS = "index-url extra-index-url find-links trusted-host cert no-index pre constraint".split()


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without settings, but for the file of pip's that is returned."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")) or name == "SSL_CERT_FILE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / ".config"))
    (tmp_path / "pip.conf").write_text("[global]\n" + "".join(f"{name} =\n" for name in SETTINGS))
    return tmp_path / "pip.conf"


def variables(*lines: str, folder: Path = Path("/")) -> dict[str, str]:
    return for_uv(listed_options(lines)[0], folder)[0]


def test_without_settings_uv_has_its_own_and_pips_choice_among_indexes() -> None:
    assert variables() == {"UV_INDEX_STRATEGY": "unsafe-best-match"}


def test_pips_variables_reach_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:word@first.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://b.example/simple https://c.example/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", f"{tmp_path} {tmp_path}/not-there https://d.example/wheels")
    monkeypatch.setenv("PIP_TRUSTED_HOST", "b.example c.example")
    monkeypatch.setenv("PIP_CERT", "/here/ca.pem")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    found, everywhere, installing = for_uv({}, Path("/"))
    del found["UV_INDEX_STRATEGY"]
    assert found == {
        "UV_DEFAULT_INDEX": "https://me:word@first.example/simple",
        "UV_INDEX": "https://b.example/simple https://c.example/simple",
        "UV_FIND_LINKS": f"{tmp_path},https://d.example/wheels",
        "UV_INSECURE_HOST": "b.example c.example",
        "SSL_CERT_FILE": "/here/ca.pem",
    }
    assert (everywhere, installing) == (["--no-index"], [])


def test_pips_files_reach_uv_and_variables_beat_them(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(
        "[global]\nindex_url = https://a.example/simple\npre = yes\nno-index = false\n"
        "[install]\nindex-url = https://b.example/simple\nextra-index-url =\n  https://c.example/%7E\n  https://d.example\n"
    )
    found, everywhere, installing = for_uv({}, Path("/"))
    assert found["UV_DEFAULT_INDEX"] == "https://b.example/simple"
    assert found["UV_INDEX"] == "https://c.example/%7E https://d.example"
    assert (everywhere, installing) == ([], ["--prerelease=allow"])
    monkeypatch.setenv("PIP_INDEX_URL", "https://e.example/simple")
    assert variables()["UV_DEFAULT_INDEX"] == "https://e.example/simple"
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert "UV_INDEX" not in variables()


def test_uvs_own_variables_beat_pips_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://pips.example/simple")
    monkeypatch.setenv("UV_INDEX_URL", "https://uvs.example/simple")  # the older name
    monkeypatch.setenv("UV_INDEX_STRATEGY", "first-index")
    assert variables() == {"UV_DEFAULT_INDEX": "https://uvs.example/simple", "UV_INDEX_STRATEGY": "first-index"}


def test_a_lists_options_beat_the_index_and_add_to_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://a.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://b.example/simple")
    monkeypatch.setenv("WORD", "s3cret")
    (tmp_path / "wheels").mkdir()
    found = variables(
        "-i https://me:${WORD}@c.example/simple --extra-index-url=https://d.example/simple",
        "-f ./wheels",
        "--find-links ./not-there",
        folder=tmp_path,
    )
    assert found["UV_DEFAULT_INDEX"] == "https://me:s3cret@c.example/simple"
    assert found["UV_INDEX"] == "https://b.example/simple https://d.example/simple"
    assert found["UV_FIND_LINKS"] == "./wheels"


def test_other_lines_stay_in_the_list() -> None:
    options, lines = listed_options(["--pre", "numpy>=2", "--no-binary :all:", "-r more.txt"])
    assert (options, lines) == ({"pre": ["1"]}, ["numpy>=2", "--no-binary :all:", "-r more.txt"])


def test_constraints_are_lines_by_uvs_variable_pips_or_its_files(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert constraints() == []
    file.write_text("[install]\nconstraint =\n  /all.txt\n  https://a.example/c.txt\n")
    assert constraints() == ["--constraint /all.txt", "--constraint https://a.example/c.txt"]
    monkeypatch.setenv("PIP_CONSTRAINT", "/pips.txt")
    assert constraints() == ["--constraint /pips.txt"]
    monkeypatch.setenv("UV_CONSTRAINT", "/uvs.txt more.txt")
    assert constraints() == ["--constraint /uvs.txt", "--constraint more.txt"]
