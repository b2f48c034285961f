"""`python -m mlflow_amlstore.azureml script.py`: an unedited script, run as `python` itself would."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Python = Callable[..., "subprocess.CompletedProcess[str]"]

AS_AZUREML = ("-m", "mlflow_amlstore.azureml")
ABOUT_ITSELF = """
import atexit, sys
import __main__
import beside
kind = type(__loader__).__name__
print(sys.argv, sys.path[0], __file__, __name__, __package__, __spec__, __cached__, kind, __main__.__file__)
class Thing: pass
print(Thing.__module__, __main__.Thing is Thing, [name for name in sorted(globals()) if name.startswith("__")])
atexit.register(lambda: print("at the end", __main__.Thing is Thing, Thing.__name__))
"""


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Write a script into a folder of its own, with a module beside it, and return its path from the current one."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "beside.py").touch()

    def write(code: str) -> str:
        (tmp_path / "work" / "script.py").write_text(code, encoding="utf-8")
        return "work/script.py"

    return write


def test_a_script_sees_what_it_sees_of_python_itself(python: Python, script: Callable[[str], str]) -> None:
    path = script(ABOUT_ITSELF)
    arguments = (path, "--rate", "0.1", "-m")
    ours, pythons = python(*AS_AZUREML, *arguments), python(*arguments)
    assert pythons.stdout
    assert (ours.stdout, ours.stderr, ours.returncode) == (pythons.stdout, pythons.stderr, 0)


def test_azureml_is_ours_in_it(python: Python, script: Callable[[str], str]) -> None:
    path = script('from azureml.core import Run\nRun.get_context().log("m", 1)')
    assert python(*AS_AZUREML, path).stdout == "[offline run] m = 1\n"


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.exit(3)",
        "import sys; sys.exit('a reason')",
        "raise SystemExit",
        "def f():\n  1/0\nf()",
        "x = (",
    ],
)
def test_it_ends_as_with_python_itself(python: Python, script: Callable[[str], str], code: str) -> None:
    path = script(code)
    ours, pythons = python(*AS_AZUREML, path), python(path)
    assert (ours.stderr, ours.returncode) == (pythons.stderr, pythons.returncode)


def test_an_interrupted_script_ends_by_the_signal(python: Python, script: Callable[[str], str]) -> None:
    path = script("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)")
    ours = python(*AS_AZUREML, path)
    assert ours.returncode == python(path).returncode < 0
    assert ours.stderr.splitlines()[-1].startswith("KeyboardInterrupt")
    assert "mlflow_amlstore" not in ours.stderr


def test_a_script_that_isnt_there_is_one_sentence_and_2(python: Python, tmp_path: Path) -> None:
    ours, pythons = python(*AS_AZUREML, "never.py"), python("never.py")
    assert (ours.stderr, ours.returncode) == (pythons.stderr, 2)
    assert ours.stderr.endswith(f"can't open file '{tmp_path}/never.py': [Errno 2] No such file or directory\n")


@pytest.mark.parametrize("arguments", [(), ("-m",), ("--help",)])
def test_without_a_script_it_says_what_to_give(python: Python, arguments: tuple[str, ...]) -> None:
    done = python(*AS_AZUREML, *arguments)
    usage = "usage: python -m mlflow_amlstore.azureml [-m module | script.py] [args]\n"
    assert (done.stderr, done.returncode) == (usage, 2)


def test_a_module_can_be_run_too(python: Python, script: Callable[[str], str]) -> None:
    script("import sys\nfrom azureml.core import Run\nprint(__name__, sys.argv[1:], Run.__name__)\n1/0")
    done = python(*AS_AZUREML, "-m", "work.script", "a")
    assert (done.stdout, done.returncode) == ("__main__ ['a'] Run\n", 1)
    assert re.match(r'Traceback .*\n  File ".*/work/script.py", line 4, in <module>\n', done.stderr)
