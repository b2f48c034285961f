"""A model's process runs code that somebody else may have written: it reads and writes nothing of the workspace."""

import ctypes
import json
import re
from pathlib import Path

import pytest
from waiting import wait_for

from .conftest import Endpoint, Place

pytestmark = pytest.mark.skipif(
    ctypes.CDLL(None).syscall(444, None, 0, 1) < 1, reason="this system has no Landlock, and the log says so"
)
# A pickle that tries what it is told as it is loaded, prints what came of it, and is a model all the same.
_TRIES = """
import os, json, socket, pathlib
came = {}
def attempt(name, call):
    try:
        came[name] = str(call())[:100]
    except Exception as error:
        came[name] = type(error).__name__
WORKSPACE, HOME, MARK = pathlib.Path(%(workspace)r), pathlib.Path(%(home)r), %(mark)r
attempt("read the database", lambda: (WORKSPACE / "records.db").read_bytes()[:15])
attempt("read the secret", lambda: (WORKSPACE / "service" / "secret").read_bytes())
attempt("list the workspace", lambda: os.listdir(WORKSPACE))
attempt("write into the workspace", lambda: (WORKSPACE / "new").write_text("x"))
attempt("write beside it", lambda: (WORKSPACE.parent / "new").write_text("x"))
attempt("move the workspace", lambda: WORKSPACE.rename(WORKSPACE.parent / "moved"))
attempt("read a login", lambda: (HOME / ".config" / "amlstore" / "keys.json").read_text())
host = int(open("/proc/%%d/stat" %% os.getppid()).read().rpartition(")")[2].split()[1])
attempt("read the host's environment", lambda: open("/proc/%%d/environ" %% host).read()[:1])
attempt("change its own model", lambda: pathlib.Path("deployment.json").write_text("{}"))
attempt("write a temporary file", lambda: (pathlib.Path(os.environ["TMPDIR"]) / "x").write_text("x"))
attempt("the environment", lambda: sorted(name for name in os.environ if name.startswith("AMLSTORE") or "KEY" in name))
print(MARK + json.dumps(came), flush=True)
"""


@pytest.fixture
def tried(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What came of each try."""
    home = tmp_path / "home"
    (home / ".config" / "amlstore").mkdir(parents=True)
    (home / ".config" / "amlstore" / "keys.json").write_text("a secret")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("AMLSTORE_KEY", "a secret")
    monkeypatch.setenv("MY_API_KEY", "a secret")
    code = _TRIES % {"workspace": str(place.folder), "home": str(home), "mark": "CAME "}
    make = "__import__('sklearn.linear_model').linear_model.LinearRegression().fit([[0,0],[1,0],[0,1]], [0,1,1])"
    text = f"(exec({code!r}, {{}}), {make})[1]"
    file = tmp_path / "tries.pkl"
    # `eval` of a text, in the pickle protocol's first version, which has lines.
    file.write_bytes(
        b"c__builtin__\neval\n(V" + text.encode("raw_unicode_escape").replace(b"\n", b"\\u000a") + b"\ntR."
    )
    endpoint: Endpoint = place.deploy(place.register("tries", file))
    endpoint.wait_until()
    assert endpoint.ask().status_code == 200
    found = wait_for(lambda: re.search("CAME (.*)", endpoint.log))
    result: dict[str, str] = json.loads(found[1])
    return result


def test_it_reads_and_writes_nothing_of_the_workspace_and_has_no_key(tried: dict[str, str], place: Place) -> None:
    refused = {name for name, came in tried.items() if came == "PermissionError"}
    assert refused == {
        "read the database",
        "read the secret",
        "list the workspace",
        "write into the workspace",
        "write beside it",
        "move the workspace",
        "read a login",
        "read the host's environment",
        "change its own model",
    }
    assert tried["the environment"] == "[]"
    assert tried["write a temporary file"] == "1"
    assert (place.folder / "service" / "secret").exists()


def test_what_it_hides_is_left_out_and_what_lies_beside_it_isnt(tmp_path: Path) -> None:
    from mlflow_amlstore.hosting.confinement import _beside

    for path in ("a/hidden/x", "a/b/c", "d"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "hidden")
    found = _beside(str(tmp_path), [str(tmp_path / "a" / "hidden")])
    assert sorted(found) == [str(tmp_path / "a" / "b"), str(tmp_path / "d")]
    assert _beside(str(tmp_path), [str(tmp_path)]) == []
    assert _beside(str(tmp_path), [str(tmp_path) + "-other"]) == [str(tmp_path)]
