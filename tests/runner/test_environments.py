"""What a submitted script runs in: interpreters that are there, and environments that uv builds from packages."""

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from waiting import is_running

from mlflow_amlstore.core import Environment, Workspace
from mlflow_amlstore.core.environment import environment_definition
from mlflow_amlstore.errors import EnvironmentFailed, ExtraMissing, InvalidValue, LocalFileFailed, NotSupported
from mlflow_amlstore.runner import installed_pythons
from mlflow_amlstore.runner.environments import interpreter_of

ROOT = Path(__file__).parents[2]


def listing(*pip: str, conda: tuple[str, ...] = ()) -> dict[str, Any]:
    """An environment as the SDK sends it."""
    dependencies = {"channels": ["conda-forge"], "dependencies": [*conda, {"pip": list(pip)}]}
    return {"name": "old", "python": {"condaDependencies": dependencies}}


def user_managed(path: str) -> dict[str, Any]:
    return {"name": "mine", "python": {"userManagedDependencies": True, "interpreterPath": path}}


class Log:
    """What a build writes."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def __call__(self, line: bytes) -> None:
        self.lines.append(line)

    @property
    def text(self) -> str:
        return b"".join(self.lines).decode()


def nothing_is_built(line: bytes) -> None:
    pytest.fail(f"something is built: {line!r}")


def answer_of(interpreter: list[str], code: str) -> str:
    # Not here and without PYTHONPATH, where the tests' own copy of the package may be.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [*interpreter, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=variables, cwd="/", stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


class TestThisInterpreter:
    @pytest.mark.parametrize(
        "environment",
        [
            None,
            {"name": "empty"},
            listing(),
            listing("azureml-defaults", "azureml_core==1.60.0", "# a comment", "mlflow-amlstore", conda=("pip",)),
            listing("azureml-sdk", conda=("python=3.8.13", "pip=20.1")),  # the SDK's default, long out of support
            user_managed("python"),
        ],
    )
    def test_runs_a_script_that_asks_for_nothing_else(self, environment: dict[str, Any] | None) -> None:
        assert interpreter_of(environment, output=nothing_is_built) == [sys.executable]

    def test_runs_one_of_a_new_environment_of_the_sdk(self) -> None:
        definition = environment_definition(Environment("new"))
        assert interpreter_of(definition, output=nothing_is_built) == [sys.executable]


class TestUserManaged:
    def test_a_bare_name_is_looked_up_on_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program = tmp_path / "python-of-mine"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        assert interpreter_of(user_managed("python-of-mine"), output=nothing_is_built) == [str(program)]
        assert interpreter_of(user_managed("./python-of-mine"), output=nothing_is_built, folder=tmp_path) == [
            str(tmp_path / "python-of-mine")
        ]

    @pytest.mark.parametrize("path", ["/nowhere/bin/python", "no-such-python", "/tmp"])
    def test_one_that_isnt_there_is_named_with_its_field(self, path: str) -> None:
        with pytest.raises(InvalidValue, match=rf"'{path}' for interpreter_path of environment 'mine': no program"):
            interpreter_of(user_managed(path), output=nothing_is_built)

    @pytest.mark.parametrize("text", ["#!/bin/sh\necho hello\n", "#!/nowhere\n"])
    def test_a_program_that_is_no_python_is_refused(self, tmp_path: Path, text: str) -> None:
        program = tmp_path / "python"
        program.write_text(text)
        program.chmod(0o755)
        with pytest.raises(InvalidValue, match="a Python"):
            interpreter_of(user_managed(str(program)), output=nothing_is_built)

    @pytest.mark.needs("uv")
    def test_one_without_this_package_is_refused_with_the_line_that_installs_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
        folder = tmp_path / "a folder"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        environment = user_managed(str(folder / "bin" / "python"))
        with pytest.raises(EnvironmentFailed, match="doesn't have this package") as raised:
            interpreter_of(environment, output=nothing_is_built, cache=tmp_path / "cache")
        command = shlex.split(raised.value.problem.partition("`")[2].rstrip("`"))
        assert command[:5] == ["uv", "pip", "install", "--python", f"{folder}/bin/python"]  # there is no pip
        monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        subprocess.run(command, check=True, capture_output=True)
        assert interpreter_of(environment, output=nothing_is_built) == [f"{folder}/bin/python"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("environments") / "with a space"


SHARED = listing("azureml-defaults==1.0", "iniconfig", conda=("python=3.8.13", "pip"))


class Built:
    """The environment that most tests share, and what its build wrote."""

    def __init__(self, cache: Path) -> None:
        log = Log()
        self.interpreter = interpreter_of(SHARED, output=log, cache=cache)
        self.log = log.text


@pytest.fixture(scope="module")
def built(cache: Path) -> Built:
    return Built(cache)


@pytest.mark.needs("uv")
class TestBuilt:
    def test_has_the_packages_and_this_one_in_place_of_the_sdk(self, built: Built) -> None:
        answer = answer_of(
            built.interpreter,
            """
            import iniconfig, importlib.metadata as metadata, importlib.util
            assert importlib.util.find_spec("azureml") is None  # the SDK isn't there, nor a shim
            import mlflow_amlstore
            mlflow_amlstore.install_as_azureml()
            from azureml.core.run import Run
            import sqlalchemy
            print(Run.__module__, "amlstore" in str(metadata.entry_points(group="mlflow.tracking_store")))
            """,
        )
        assert answer == "mlflow_amlstore.core.run True"

    def test_an_unsupported_python_becomes_the_nearest_installed_one_and_says_so(self, built: Built) -> None:
        version = answer_of(built.interpreter, "import sys; print('%d.%d' % sys.version_info[:2])")
        assert built.log.startswith("Python 3.8.13 is asked for, which isn't installed here or is older than 3.10.")
        assert f"(Python {version})" in built.log.splitlines()[0]
        assert version == installed_pythons.choose("=3.8.13").version

    def test_is_built_once(self, built: Built, cache: Path) -> None:
        assert interpreter_of(SHARED, output=nothing_is_built, cache=cache) == built.interpreter
        again = listing("iniconfig", conda=("python=3.8.13",))  # which means the same
        assert interpreter_of(again, output=nothing_is_built, cache=cache) == built.interpreter

    def test_a_script_in_it_builds_others_with_the_same_package(
        self, built: Built, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # where uv is
        asking = f"""
            from importlib.metadata import Distribution
            from pathlib import Path
            from mlflow_amlstore.runner import environments, own_wheel
            assert isinstance(own_wheel.origin(), Distribution)  # there is no source folder: a wheel is made again
            environment, log = {SHARED!r}, []
            print(*environments.interpreter_of(environment, output=log.append, cache=Path({str(cache)!r})))
            assert log
            """
        inner = answer_of(built.interpreter, asking)
        files = """
            import hashlib, os
            from importlib.metadata import distribution
            print(os.path.exists(os.path.join(os.path.dirname(__import__("sys").executable), "amlstore")))
            for file in sorted(distribution("mlflow-amlstore").files):
                if "__pycache__" not in file.parts and file.name not in ("RECORD", "direct_url.json", "uv_cache.json"):
                    print(file, hashlib.sha256(file.locate().read_bytes()).hexdigest() if ".." not in str(file) else "")
            """
        assert [inner] != built.interpreter
        assert answer_of([inner], files) == answer_of(built.interpreter, files)
        assert answer_of([inner], files).startswith("True\n")

    def test_is_built_anew_where_its_own_python_is_gone(self, cache: Path) -> None:
        environment = listing("iniconfig!=0.0.1", conda=("python=3.8.13",))
        (first,) = interpreter_of(environment, output=Log(), cache=cache)
        link = Path(first)
        link.unlink()
        link.symlink_to("/nowhere/python")
        log = Log()
        (second,) = interpreter_of(environment, output=log, cache=cache)
        assert second != first
        assert "Installed" in log.text
        assert not link.parent.parent.exists()


BUILD = """
import json, os, signal, sys
from pathlib import Path
from mlflow_amlstore.runner.environments import interpreter_of
environment, cache, does = json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
def output(line):
    if does == "dies" and b"Creating virtual environment" in line:
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stderr.buffer.write(line)
    sys.stderr.buffer.flush()
print(*interpreter_of(environment, output=output, cache=cache))
"""


def start_build(environment: dict[str, Any], cache: Path, does: str = "builds") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, json.dumps(environment), str(cache), does],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def project_whose_backend(folder: Path, does: str) -> Path:
    """A source folder whose build runs this code."""
    project = folder / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "odd"\nversion = "1"\n'
    )
    (project / "backend.py").write_text(does)
    return project


@pytest.mark.needs("uv")
class TestFaults:
    def test_two_that_need_the_same_at_once_build_it_once(self, built: Built, cache: Path) -> None:
        environment = listing("iniconfig!=0.0.2", conda=("python=3.8.13",))
        both = [start_build(environment, cache) for _ in range(2)]
        ends = [process.communicate() for process in both]
        assert [process.returncode for process in both] == [0, 0], ends
        assert ends[0][0] == ends[1][0]
        assert sorted("Installed" in written for _, written in ends) == [False, True]

    def test_one_whose_build_was_killed_is_built_anew(self, built: Built, cache: Path) -> None:
        environment = listing("iniconfig!=0.0.3", conda=("python=3.8.13",))
        known = set(cache.iterdir())
        killed = start_build(environment, cache, "dies")
        killed.communicate()
        assert killed.returncode == -signal.SIGKILL
        (place,) = set(cache.iterdir()) - known
        log = Log()
        (interpreter,) = interpreter_of(environment, output=log, cache=cache)
        assert "Installed" in log.text
        assert answer_of([interpreter], "import iniconfig, mlflow_amlstore; print('whole')") == "whole"
        assert {path for path in place.iterdir() if path.is_dir()} == {Path(interpreter).parent.parent}

    def test_a_requirement_that_doesnt_exist_fails_with_the_builds_last_lines_and_nothing_is_kept(
        self, cache: Path
    ) -> None:
        environment = listing("no-such-package-of-anybody==1")
        for _ in range(2):
            log = Log()
            with pytest.raises(EnvironmentFailed, match="no-such-package-of-anybody") as raised:
                interpreter_of(environment, output=log, cache=cache)
            assert raised.value.name == "old"
            assert raised.value.lines[-1] in log.text
        assert [path for path in cache.glob("*/*/pyvenv.cfg") if not (path.parent.parent / "ready").exists()] == []

    def test_a_password_in_an_index_url_is_shown_nowhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        environment = listing("--index-url http://me:s3cret@127.0.0.1:9/simple", "no-such-package-of-anybody")
        log = Log()
        with pytest.raises(EnvironmentFailed) as raised:
            interpreter_of(environment, output=log, cache=tmp_path / "cache")
        assert "127.0.0.1:9" in str(raised.value)
        assert "s3cret" not in f"{raised.value} {vars(raised.value)} {log.text}"
        kept = [path for path in tmp_path.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
        assert kept == []

    def test_a_password_that_a_build_prints_is_taken_out(self, tmp_path: Path) -> None:
        project = project_whose_backend(tmp_path, "raise SystemExit('no answer from https://me:s3cret@x.example/')")
        log = Log()
        with pytest.raises(EnvironmentFailed, match=r"https://REDACTED@x\.example") as raised:
            interpreter_of(listing(f"odd @ {project.as_uri()}"), output=log, cache=tmp_path / "cache")
        assert "REDACTED@x.example" in log.text
        assert "s3cret" not in f"{raised.value} {vars(raised.value)} {log.text}"

    def test_a_cache_that_cant_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "cache").write_text("no folder")
        with pytest.raises(LocalFileFailed, match=f"{tmp_path}/cache"):
            interpreter_of(listing("iniconfig"), output=nothing_is_built, cache=tmp_path / "cache")

    def test_sigterm_to_the_group_of_a_build_ends_all_of_it(self, tmp_path: Path) -> None:
        started = tmp_path / "started"
        os.mkfifo(started)
        project = project_whose_backend(
            tmp_path,
            "import os, signal\n"
            f"with open({str(started)!r}, 'w') as told:\n    told.write(f'{{os.getpid()}} {{os.getppid()}}')\n"
            "signal.pause()\n",
        )
        build = start_build(listing(f"odd @ {project.as_uri()}"), tmp_path / "cache")
        assert build.stderr is not None
        assert "Python" in build.stderr.readline()  # what is written arrives while the build goes on
        pids = [int(pid) for pid in started.read_text().split()]  # waits until the backend runs
        assert {os.getpgid(pid) for pid in pids} == {build.pid}
        os.killpg(build.pid, signal.SIGTERM)
        build.communicate()
        assert build.returncode == -signal.SIGTERM
        for pid in pids:
            while is_running(pid):  # until the test's time is up
                time.sleep(0.01)
        (cache_of_it,) = (tmp_path / "cache").iterdir()
        assert not (cache_of_it / "ready").exists()

    def test_without_uv_the_line_that_installs_it_is_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "uv", None)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(ExtraMissing, match=r"pip install 'mlflow-amlstore\[submit\]'"):
            interpreter_of(listing("iniconfig"), output=nothing_is_built, cache=tmp_path / "cache")


@pytest.mark.needs("uv")
class TestLists:
    @pytest.fixture
    def wheel_of(self, tmp_path: Path) -> Callable[..., Path]:
        """Make a wheel `tiny` whose only module says a word."""

        def make(word: str, version: str = "1.0") -> Path:
            folder = tmp_path / "wheels here"
            folder.mkdir(exist_ok=True)
            wheel = folder / f"tiny_of_tests-{version}-py3-none-any.whl"
            with zipfile.ZipFile(wheel, "w") as archive:
                archive.writestr("tiny_of_tests.py", f"word = {word!r}\n")
                about = f"tiny_of_tests-{version}.dist-info/"
                metadata = f"Metadata-Version: 2.1\nName: tiny-of-tests\nVersion: {version}\n"
                archive.writestr(f"{about}METADATA", metadata)
                archive.writestr(f"{about}WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
                archive.writestr(f"{about}RECORD", "")
            return wheel

        return make

    def test_a_lists_own_options_say_where_packages_come_from(
        self, built: Built, cache: Path, tmp_path: Path, wheel_of: Callable[[str], Path]
    ) -> None:
        folder = wheel_of("found").parent
        environment = listing(f"--find-links '{folder}' --pre", "--prefer-binary", "tiny-of-tests")
        interpreter = interpreter_of(environment, output=Log(), cache=cache)
        assert answer_of(interpreter, "import tiny_of_tests; print(tiny_of_tests.word)") == "found"

    def test_files_that_a_list_refers_to_decide_by_their_contents(
        self, built: Built, cache: Path, tmp_path: Path, wheel_of: Callable[[str], Path]
    ) -> None:
        (tmp_path / "requirements.txt").write_text("-r more.txt\n-r requirements.txt\n")  # itself, too: read once
        environment = listing("-r requirements.txt")
        answers = []
        for word in ("first", "second"):
            wheel = wheel_of(word)
            (tmp_path / "more.txt").write_text(f"tiny-of-tests @ {wheel.as_uri()}\n")
            interpreter = interpreter_of(environment, output=Log(), cache=cache, folder=tmp_path)
            answers.append(answer_of(interpreter, "import tiny_of_tests; print(tiny_of_tests.word)"))
            assert interpreter_of(environment, output=nothing_is_built, cache=cache, folder=tmp_path) == interpreter
        assert answers == ["first", "second"]

    @pytest.mark.parametrize(
        ("line", "variable"),
        [("-c constraints.txt", ""), ("--constraint=${PLACE}/constraints.txt", ""), ("--pre", "PIP_CONSTRAINT")],
    )
    def test_constraints_hold_and_decide_by_their_contents(
        self,
        built: Built,
        cache: Path,
        tmp_path: Path,
        wheel_of: Callable[..., Path],
        monkeypatch: pytest.MonkeyPatch,
        line: str,
        variable: str,
    ) -> None:
        wheel_of("old", "1.0")
        found_in = f"--find-links '{wheel_of('new', '2.0').parent}'"
        monkeypatch.setenv("PLACE", str(tmp_path))
        monkeypatch.delenv("UV_CONSTRAINT", raising=False)  # which would beat pip's
        if variable:
            monkeypatch.setenv(variable, "constraints.txt")
        answers = []
        for constraint in ("tiny-of-tests<2", "tiny-of-tests>1"):
            (tmp_path / "constraints.txt").write_text(constraint)
            build = partial(interpreter_of, listing(found_in, line, "tiny-of-tests"), cache=cache, folder=tmp_path)
            interpreter = build(output=Log())
            answers.append(answer_of(interpreter, "import tiny_of_tests; print(tiny_of_tests.word)"))
            assert build(output=nothing_is_built) == interpreter
        assert answers == ["old", "new"]

    @pytest.mark.parametrize(
        ("environment", "rule"),
        [
            (listing("-e ."), "can't be editable"),
            (listing("--index-url"), "must have a value"),
            (listing("--index-url 'x"), "can't be read"),
            (listing("iniconfig", conda=("python=three",)), "must be such as =3.11"),
            ({"python": "3.11"}, "must be a JSON object"),
            ({"python": {"condaDependencies": {"dependencies": "numpy"}}}, "must be a list"),
            ({"python": {"condaDependencies": {"dependencies": [5]}}}, "must be a list of texts"),
            ({"python": {"condaDependencies": {"dependencies": [{"pip": "numpy"}]}}}, "must be a list of texts"),
            ({"python": {"condaDependencies": {"dependencies": [{"npm": ["left-pad"]}]}}}, "under 'pip', no other"),
        ],
    )
    def test_what_cant_be_understood_is_refused_before_anything_is_built(
        self, environment: dict[str, Any], rule: str, tmp_path: Path
    ) -> None:
        with pytest.raises(InvalidValue, match=rule):
            interpreter_of(environment, output=nothing_is_built, cache=tmp_path)


class TestCondaPackages:
    def test_without_conda_they_are_named_with_the_way_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        environment = listing("iniconfig", conda=("python=3.11", "numpy=2.1", "conda-forge::cudatoolkit", "pip"))
        with pytest.raises(InvalidValue, match=r"numpy=2\.1, conda-forge::cudatoolkit.*List them as pip packages"):
            interpreter_of(environment, output=nothing_is_built, cache=tmp_path / "cache")

    def test_micromamba_is_called_once_with_an_environment_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Not the real program: what is tested is how it is called.
        program = tmp_path / "micromamba"
        program.write_text(
            f"#!{sys.executable}\n"
            "import json, os, sys\n"
            "words = dict(zip(sys.argv[2:], sys.argv[3:]))\n"
            "os.makedirs(words['-p'] + '/bin')\n"
            "os.symlink(sys.executable, words['-p'] + '/bin/python')\n"
            "print(json.dumps([sys.argv[1:3], json.load(open(words['-f']))]))\n"
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # whose constraints would be in the file, too
        monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
        monkeypatch.delenv("UV_CONSTRAINT", raising=False)
        environment = listing("azureml-defaults", "-c c.txt", "iniconfig", conda=("python=3.11", "numpy=2.1"))
        log = Log()
        interpreter = interpreter_of(environment, output=log, cache=tmp_path / "cache", folder=tmp_path)
        assert Path(interpreter[0]).exists()
        arguments, content = json.loads(log.text)
        assert arguments == ["create", "--yes"]
        assert content["channels"] == ["conda-forge"]
        *conda, pip = content["dependencies"]
        assert conda == ["python=3.11", "pip", "numpy=2.1"]
        assert pip["pip"][:2] == [f"-c {tmp_path}/c.txt", "iniconfig"]  # pip is called in another folder
        assert pip["pip"][2].startswith("mlflow-amlstore[embedded] @ file:///")
        again = interpreter_of(environment, output=nothing_is_built, cache=tmp_path / "cache", folder=tmp_path)
        assert again == interpreter


@pytest.mark.needs("uv")
class TestFromTheSdk:
    def test_build_local_prints_the_build_and_build_returns_it(
        self,
        built: Built,
        cache: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "xdg"))
        environment = Environment("small")
        environment.python.conda_dependencies.add_pip_package("iniconfig")
        workspace = Workspace.create(tmp_path / "workspace")
        environment.build_local(workspace, useDocker=False)
        assert " + iniconfig==" in capsys.readouterr().out
        environment.build(workspace).wait_for_completion(show_output=True)
        assert capsys.readouterr().out == ""  # it was there
        assert list(workspace.environments) == ["small"]
        assert (cache / "xdg" / "mlflow-amlstore" / "environments").is_dir()

    def test_what_needs_docker_is_not_supported(self) -> None:
        workspace: Any = None
        with pytest.raises(NotSupported, match=r"Environment\.build_local with useDocker"):
            Environment("x").build_local(workspace, useDocker=True)
