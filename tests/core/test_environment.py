"""`Environment` and `CondaDependencies`: described in a script, read from files, written to files."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from mlflow_amlstore.core import Environment, Experiment, ScriptRunConfig, Workspace
from mlflow_amlstore.core.conda_dependencies import CondaDependencies
from mlflow_amlstore.core.script_run import ScriptRun
from mlflow_amlstore.errors import AlreadyExists, InvalidValue, NotFound, NotSupported


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class TestCondaDependencies:
    def test_a_new_one_has_the_python_that_it_is_made_with(self) -> None:
        dependencies = CondaDependencies()
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        assert dependencies.get_python_version() == version
        assert (dependencies.conda_packages, dependencies.pip_packages) == ([f"python={version}"], [])

    def test_packages_channels_and_options_are_added_replaced_and_removed(self) -> None:
        dependencies = CondaDependencies.create(
            conda_packages=["numpy", "scikit-learn=1.5"],
            pip_packages=["pandas", "azureml-defaults"],
            python_version="3.11",
        )
        dependencies.add_channel("pytorch")
        dependencies.add_channel("pytorch")
        dependencies.add_conda_package("numpy=2.1")
        dependencies.remove_conda_package("scikit-learn")
        dependencies.add_pip_package("Pandas>=2")
        dependencies.remove_pip_package("azureml_defaults==1.0")
        dependencies.set_pip_index_url("https://first/simple")
        dependencies.set_pip_index_url("https://packages.example/simple")
        dependencies.set_pip_option("--pre")
        assert dependencies.conda_channels == ["conda-forge", "pytorch"]
        assert dependencies.conda_packages == ["python=3.11", "numpy=2.1", "pip"]
        assert dependencies.pip_packages == ["Pandas>=2"]
        assert dependencies.pip_options == ["--index-url https://packages.example/simple", "--pre"]

        dependencies.remove_channel("pytorch")
        dependencies.remove_pip_option("--index-url")
        dependencies.remove_pip_package("never")
        dependencies.set_python_version("3.12")
        assert yaml.safe_load(dependencies.serialize_to_string()) == {
            "name": "project_environment",
            "channels": ["conda-forge"],
            "dependencies": ["python=3.12", "numpy=2.1", "pip", {"pip": ["--pre", "Pandas>=2"]}],
        }

    def test_written_and_read_again_it_is_the_same(self) -> None:
        dependencies = CondaDependencies.create(pip_packages=["pandas"])
        assert dependencies.save_to_file(".", "env.yml") == "env.yml"
        assert CondaDependencies("env.yml") == dependencies
        assert CondaDependencies(dependencies.save()) == CondaDependencies(conda_dependencies_file_path="env.yml")
        copied = dependencies.as_dict()
        copied["dependencies"].clear()
        assert dependencies.conda_packages

    def test_what_else_a_conda_file_says_is_kept(self) -> None:
        Path("env.yml").write_text("name: mine\ndependencies:\nvariables: {A: b}\n")
        dependencies = CondaDependencies("env.yml")
        dependencies.add_pip_package("pandas")
        assert (dependencies.get_python_version(), dependencies.conda_channels) == (None, [])
        assert yaml.safe_load(dependencies.serialize_to_string()) == {
            "name": "mine",
            "variables": {"A": "b"},
            "dependencies": ["pip", {"pip": ["pandas"]}],
        }

    @pytest.mark.parametrize(
        ("text", "rule"),
        [("[1, 2", "is not YAML"), ("- a", "must have the lists"), ("dependencies: 5", "must have the lists")],
    )
    def test_a_file_that_is_none_is_refused(self, text: str, rule: str) -> None:
        Path("env.yml").write_text(text)
        with pytest.raises(InvalidValue, match=f"'env.yml' for conda file: {rule}"):
            CondaDependencies("env.yml")

    def test_so_are_a_file_that_isnt_there_a_folder_to_write_to_and_what_is_no_package(self) -> None:
        with pytest.raises(InvalidValue, match=r"'never.yml' for conda file: can't be read: No such file"):
            CondaDependencies("never.yml")
        with pytest.raises(InvalidValue, match=r"must be a file in a folder that is there"):
            CondaDependencies().save(Path.cwd())
        with pytest.raises(InvalidValue, match="Invalid value 5 for package"):
            CondaDependencies.create(pip_packages=[5])  # type: ignore[list-item]


class TestEnvironment:
    def test_it_takes_what_old_scripts_set(self) -> None:
        environment = Environment(name="diabetes")
        environment.python.user_managed_dependencies = True
        environment.python.interpreter_path = sys.executable
        environment.python.conda_dependencies = CondaDependencies.create(conda_packages=["numpy"])
        environment.docker.enabled = True
        environment.docker.base_image = "ubuntu:24.04"
        environment.environment_variables["SEED"] = "1"
        other = environment.clone("other")
        other.environment_variables["SEED"] = "2"
        assert (environment.environment_variables, other.docker.base_image) == ({"SEED": "1"}, "ubuntu:24.04")
        assert (repr(environment), other.name) == ("Environment(Name: diabetes, Version: None)", "other")

    def test_it_comes_from_a_conda_file_or_a_requirements_file(self) -> None:
        CondaDependencies.create(conda_packages=["numpy"], python_version="3.11").save("env.yml")
        by_conda = Environment.from_conda_specification("a", "env.yml")
        assert by_conda.python.conda_dependencies.conda_packages == ["python=3.11", "numpy"]

        Path("requirements.txt").write_text("# what it needs\n--pre\npandas>=2  # frames\n\nnumpy \\\n  ==2.1\n")
        by_pip = Environment.from_pip_requirements("b", "requirements.txt", pip_version="25.0")
        dependencies = by_pip.python.conda_dependencies
        assert dependencies.pip_packages == ["pandas>=2", "numpy    ==2.1"]
        assert (dependencies.pip_options, "pip=25.0" in dependencies.conda_packages) == (["--pre"], True)

        with pytest.raises(InvalidValue, match="for requirements file: can't be read"):
            Environment.from_pip_requirements("b", "never.txt")

    def test_a_requirements_file_takes_the_lines_of_others_and_names_its_constraints(self) -> None:
        Path("src/base").mkdir(parents=True)
        Path("src/requirements.txt").write_text(
            "-r base/base.txt\n--constraint=https://a.example/c.txt\n-c 'constraints.txt'  # ours\nscipy\n"
        )
        Path("src/base/base.txt").write_text(
            "numpy\n-c ../constraints.txt\n--requirement ../requirements.txt\n-c own.txt\n"
        )
        Path("src/base/own.txt").touch()
        with pytest.raises(
            InvalidValue, match=r"'src/base/../constraints.txt' for constraints file: there is no such file"
        ):
            Environment.from_pip_requirements("b", "src/requirements.txt")
        Path("src/constraints.txt").write_text("numpy<3\n")
        dependencies = Environment.from_pip_requirements("b", "src/requirements.txt").python.conda_dependencies
        assert dependencies.pip_packages == ["numpy", "scipy"]
        assert dependencies.pip_options == [
            "-c constraints.txt",
            "-c base/own.txt",
            "--constraint=https://a.example/c.txt",
            "-c constraints.txt",
        ]
        Path("constraints.txt").touch()
        Path("src/requirements.txt").write_text("-c ../constraints.txt")
        with pytest.raises(InvalidValue, match="must lie in the list's folder, src"):
            Environment.from_pip_requirements("b", "src/requirements.txt")
        Path("src/requirements.txt").write_text("-r never.txt")
        with pytest.raises(InvalidValue, match=r"'src/never.txt' for requirements file: can't be read"):
            Environment.from_pip_requirements("b", "src/requirements.txt")

    def test_saved_and_loaded_it_is_the_same_but_for_the_registry_s_password(self) -> None:
        environment = Environment("a")
        environment.python.conda_dependencies.add_pip_package("pandas")
        environment.environment_variables = {"SEED": "1"}
        environment.docker.base_dockerfile = "FROM ubuntu:24.04\n"
        environment.docker.base_image_registry.address = "registry.example"
        environment.docker.base_image_registry.password = "hunter2"
        environment.save_to_directory("saved")
        loaded = Environment.load_from_directory("saved")
        assert "hunter2" not in repr(environment.docker) + "".join(file.read_text() for file in Path("saved").iterdir())
        environment.docker.base_image_registry.password = None
        assert vars(loaded) == vars(environment)

        with pytest.raises(AlreadyExists, match=r"Folder 'saved' already exists. Give overwrite=True"):
            environment.save_to_directory("saved")
        environment.docker.base_dockerfile = None
        environment.save_to_directory("saved", overwrite=True)
        assert vars(Environment.load_from_directory("saved")) == vars(environment)

    def test_what_the_sdk_has_saved_is_loaded(self) -> None:
        Path("saved").mkdir()
        python = {"baseCondaEnvironment": None, "interpreterPath": "python3", "userManagedDependencies": True}
        definition = {"name": "a", "version": "3", "python": python, "docker": None, "spark": {"packages": []}}
        Path("saved/azureml_environment.json").write_text(json.dumps(definition))
        loaded = Environment.load_from_directory("saved")
        assert (loaded.name, loaded.version, loaded.python.interpreter_path) == ("a", "3", "python3")
        assert loaded.docker.base_image is None

    @pytest.mark.parametrize(("text", "rule"), [("{", "is not JSON"), ("[]", "must be a JSON object with a name")])
    def test_a_definition_that_is_none_is_refused(self, text: str, rule: str) -> None:
        Path("azureml_environment.json").write_text(text)
        with pytest.raises(InvalidValue, match=f"'azureml_environment.json' for environment file: {rule}"):
            Environment.load_from_directory(".")
        with pytest.raises(InvalidValue, match="can't be read: No such file"):
            Environment.load_from_directory("never")


@pytest.mark.alone
@pytest.mark.parametrize("ws", ["embedded", "served"], indirect=True)
class TestRegistered:
    def environment(self, *packages: str) -> Environment:
        environment = Environment("diabetes")
        environment.python.conda_dependencies = CondaDependencies.create(
            pip_packages=list(packages), python_version="3.11"
        )
        return environment

    def test_the_same_again_is_the_same_version_and_another_is_the_next(self, ws: Workspace) -> None:
        first = self.environment("pandas").register(ws)
        assert (first.name, first.version) == ("diabetes", "1")
        assert self.environment("pandas").register(ws).version == "1"
        assert self.environment("pandas", "numpy").register(ws).version == "2"
        assert self.environment("pandas").register(ws).version == "1"

    def test_one_that_was_read_and_changed_is_the_next(self, ws: Workspace) -> None:
        self.environment("pandas").register(ws)
        changed = Environment.get(ws, "diabetes")
        assert changed.register(ws).version == "1"
        changed.environment_variables["OMP_NUM_THREADS"] = "2"
        assert changed.register(ws).version == "2"

    def test_a_version_of_ones_own_is_kept(self, ws: Workspace) -> None:
        environment = self.environment("pandas")
        environment.version = "2"
        assert environment.register(ws).version == "2"
        assert [self.environment(name).register(ws).version for name in ("numpy", "scipy")] == ["3", "4"]

    def test_it_is_got_by_name_version_and_label(self, ws: Workspace) -> None:
        for packages in (["pandas"], ["pandas", "numpy"]):
            self.environment(*packages).register(ws)
        latest = Environment.get(ws, "diabetes")
        assert latest.python.conda_dependencies.pip_packages == ["pandas", "numpy"]
        assert Environment.get(ws, "diabetes", label="latest").version == latest.version == "2"
        for version in ("1", 1):  # the SDK takes numbers, too
            first = Environment.get(ws, name="diabetes", version=version)  # type: ignore[arg-type]
            assert first.python.conda_dependencies.pip_packages == ["pandas"]

    def test_the_workspace_lists_the_latest_of_each_name(self, ws: Workspace) -> None:
        for packages in (["pandas"], ["numpy"]):
            self.environment(*packages).register(ws)
        self.environment("scipy").clone("iris").register(ws)
        versions = {"diabetes": "2", "iris": "1"}
        assert {name: each.version for name, each in Environment.list(ws).items()} == versions
        assert {name: each.version for name, each in ws.environments.items()} == versions

    def test_what_isnt_there_is_said_with_what_there_is(self, ws: Workspace) -> None:
        with pytest.raises(NotFound, match=r"'diabetes' not found.*no registered environments"):
            Environment.get(ws, "diabetes")
        self.environment("pandas").register(ws)
        with pytest.raises(NotFound, match=r"'iris' not found.*these environments: diabetes"):
            Environment.get(ws, "iris")
        with pytest.raises(NotFound, match=r"'diabetes:7' not found.*these versions: 1"):
            Environment.get(ws, "diabetes", "7")

    def test_a_curated_one_is_azures_alone(self, ws: Workspace) -> None:
        with pytest.raises(NotFound, match=r"curated environments.*from_pip_requirements"):
            Environment.get(ws, "AzureML-sklearn-1.0-ubuntu20.04-py38-cpu")
        with pytest.raises(InvalidValue, match="must not begin with AzureML"):
            Environment("AzureML-mine").register(ws)

    def test_what_cant_be_asked_for_is_refused(self, ws: Workspace) -> None:
        with pytest.raises(InvalidValue, match=r"'stable'.*must be 'latest'"):
            Environment.get(ws, "diabetes", label="stable")
        with pytest.raises(InvalidValue, match="give one of them"):
            Environment.get(ws, "diabetes", version="1", label="latest")
        with pytest.raises(NotSupported, match="build_on_register"):
            self.environment().register(ws, build_on_register=True)
        for name in ("x" * 300, "a/b"):
            with pytest.raises(InvalidValue, match="environment name"):
                Environment(name).register(ws)

    def test_many_who_register_at_once_get_a_version_each(self, ws: Workspace) -> None:
        def register(number: int) -> str | None:
            return self.environment(f"package-{number}").register(ws).version

        with ThreadPoolExecutor(8) as pool:
            versions = list(pool.map(register, range(24)))
        assert sorted(map(int, filter(None, versions))) == list(range(1, 25))

    def test_a_run_is_submitted_with_one(self, ws: Workspace, tmp_path: Path) -> None:
        environment = Environment("mine")
        environment.python.user_managed_dependencies = True
        environment.python.interpreter_path = sys.executable
        environment.register(ws)
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "train.py").write_text("print('done')")
        config = ScriptRunConfig(str(tmp_path / "source"), "train.py", environment=Environment.get(ws, "mine"))
        run = Experiment(ws, "iris").submit(config)
        run.wait_for_completion()
        assert isinstance(run, ScriptRun)
        assert repr(run.get_environment()) == "Environment(Name: mine, Version: 1)"


class TestFromAProject:
    def test_its_dependencies_and_its_python_are_taken(self) -> None:
        Path("pyproject.toml").write_text(
            '[project]\nname = "mine"\nversion = "1"\nrequires-python = ">=3.10, <3.13"\n'
            "dependencies = ['numpy>=2', 'pandas[excel]; python_version > \"3\"']\n"
        )
        dependencies = Environment.from_pip_requirements("mine", "pyproject.toml").python.conda_dependencies
        assert dependencies.get_python_version() == ">=3.10,<3.13"
        assert dependencies.pip_packages == ["numpy>=2", 'pandas[excel]; python_version > "3"']

    @pytest.mark.parametrize(
        ("text", "rule"),
        [
            ("[project", "is not TOML"),
            ("[tool.x]", "must list `dependencies`"),
            ('[project]\ndynamic = ["dependencies"]', "must list `dependencies`"),
            (None, "can't be read"),
        ],
    )
    def test_a_file_without_them_is_refused(self, text: str | None, rule: str) -> None:
        if text is not None:
            Path("pyproject.toml").write_text(text)
        with pytest.raises(InvalidValue, match=rule):
            Environment.from_pip_requirements("mine", "pyproject.toml")
