"""`mlflow run --backend amlstore` (or `azureml`): MLflow fetches and reads a project, and its entry point is submitted.

As `mlflow run` has it for every backend but its own, the command returns when the run has been submitted;
`mlflow.projects.run` waits.
"""

import logging
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow.entities import Param, SourceType
from mlflow.exceptions import ExecutionException, MlflowException
from mlflow.projects import env_type
from mlflow.projects import utils as projects
from mlflow.projects._project_spec import Project
from mlflow.projects.backend.abstract_backend import AbstractBackend
from mlflow.projects.submitted_run import SubmittedRun
from mlflow.protos import databricks_pb2
from mlflow.tracking import MlflowClient, fluent
from mlflow.tracking._tracking_service.utils import _get_git_url_if_present
from mlflow.tracking.context.default_context import _get_user
from mlflow.utils import env_manager as managers
from mlflow.utils import mlflow_tags as names
from mlflow.utils.environment import _PythonEnv
from mlflow.utils.git_utils import get_git_commit, get_git_repo_url

from mlflow_amlstore.core.conda_dependencies import CondaDependencies
from mlflow_amlstore.core.environment import Environment
from mlflow_amlstore.core.script_run import ScriptRun
from mlflow_amlstore.core.script_run_config import ScriptRunConfig
from mlflow_amlstore.core.submission import submit_script
from mlflow_amlstore.core.workspace import Workspace
from mlflow_amlstore.errors import ActivityFailed, InvalidValue, NotSupported, TrackingUriInvalid
from mlflow_amlstore.plugin.as_errors import as_mlflow_errors, raises_mlflow_errors
from mlflow_amlstore.plugin.convert import to_params
from mlflow_amlstore.records.status import MLFLOW_STATUS, status_from_azure
from mlflow_amlstore.records.types import RunStatus
from mlflow_amlstore.records.validation import check_params
from mlflow_amlstore.workspace.redaction import redact
from mlflow_amlstore.workspace.tracking_uri import EMBEDDED, REMOTE, REMOTE_PLAIN

_logger = logging.getLogger("mlflow.projects")  # whose lines MLflow shows, and no plugin's

# What `backend_config` may have. The names in capitals are those of azureml-mlflow's backend.
_COMPUTE = ("COMPUTE", "compute", "target")
_USE_CONDA, _STREAM_OUTPUT = "USE_CONDA", "STREAM_OUTPUT"
_OF_MLFLOW = {  # which it adds itself, from the arguments of `mlflow.projects.run`
    projects.PROJECT_ENV_MANAGER,
    projects.PROJECT_SYNCHRONOUS,
    projects.PROJECT_DOCKER_ARGS,
    projects.PROJECT_STORAGE_DIR,
    projects.PROJECT_BUILD_IMAGE,
    projects.PROJECT_DOCKER_AUTH,
}


class ProjectBackend(AbstractBackend):
    """Submits a project's entry point to the workspace that MLflow tracks into."""

    def run(
        self,
        project_uri: str,
        entry_point: str,
        params: Mapping[str, Any] | None,
        version: str | None,
        backend_config: Mapping[str, Any],
        tracking_uri: str,
        experiment_id: str,
    ) -> "ProjectRun":
        """Submit the entry point, and return when its run has been started.

        `backend_config` may have `COMPUTE`, the name of a compute target (also `compute` or `target`), `USE_CONDA`,
        where False means `--env-manager local`, and `STREAM_OUTPUT`, whether `wait` prints the run's logs (its
        default). Raises ExecutionException, which `mlflow run` shows in one line.
        """
        with _as_execution_errors():
            _refuse_unknown(backend_config)
            workspace = _workspace_of(tracking_uri)
            experiment = workspace._experiment(experiment_id)
            folder = projects.fetch_and_validate_project(project_uri, version, entry_point, params)
            project = projects.load_project(folder)
            _refuse_other_kinds(project)
            config = ScriptRunConfig(
                folder,
                command=_command(project, entry_point, params, backend_config.get(projects.PROJECT_STORAGE_DIR)),
                compute_target=_compute_of(backend_config),
                environment=_environment(project, Path(folder).name, _env_manager_of(backend_config)),
            )
            given = _params(project, entry_point, params)
            run = submit_script(
                experiment,
                config,
                tags=_tags(project_uri, folder, version, entry_point),
                before_start=lambda run_id: MlflowClient(tracking_uri).log_batch(run_id, params=given),
            )
        _logger.info("=== Run (ID '%s') submitted: %s ===", run.id, run.get_portal_url())
        return ProjectRun(run, shows_output=bool(backend_config.get(_STREAM_OUTPUT, True)))


@raises_mlflow_errors
class ProjectRun(SubmittedRun):
    """The run of a submitted entry point. It goes on when this process ends."""

    def __init__(self, run: ScriptRun, *, shows_output: bool) -> None:
        super().__init__()
        self._run = run
        self._shows_output = shows_output

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._run.id

    def wait(self) -> bool:
        """Wait for the run's end, printing its logs as they grow; return whether it succeeded."""
        try:
            details = self._run.wait_for_completion(show_output=self._shows_output)
        except ActivityFailed as error:
            _logger.error("%s", error)
            return False
        return bool(details["status"] == RunStatus.COMPLETED.value)

    def get_status(self) -> str:
        """The run's status in MLflow's words: SCHEDULED, RUNNING, FINISHED, FAILED or KILLED."""
        return MLFLOW_STATUS[status_from_azure(self._run.get_status())]

    def cancel(self) -> None:
        """End the script and all that it started, and wait for it."""
        self._run.cancel()
        self._run.wait_for_completion(raise_on_error=False)


@contextmanager
def _as_execution_errors() -> Iterator[None]:
    """Raise ExecutionException for any error of MLflow's or ours: of others `mlflow run` shows a traceback."""
    try:
        with as_mlflow_errors():
            yield
    except ExecutionException:
        raise
    except MlflowException as error:
        code = databricks_pb2.ErrorCode.Value(error.error_code)
        raise ExecutionException(error.message, error_code=code) from None


def _workspace_of(tracking_uri: str) -> Workspace:
    if tracking_uri.partition(":")[0] not in (EMBEDDED, REMOTE, REMOTE_PLAIN):
        raise TrackingUriInvalid(
            redact(tracking_uri.partition("?")[0]),
            "must be a workspace's, as this backend submits to where MLflow tracks. "
            "Set MLFLOW_TRACKING_URI to what `amlstore uri` prints, or choose --backend local",
        )
    return Workspace.from_tracking_uri(tracking_uri)


def _refuse_unknown(backend_config: Mapping[str, Any]) -> None:
    unknown = sorted(set(backend_config) - {*_COMPUTE, _USE_CONDA, _STREAM_OUTPUT, *_OF_MLFLOW})
    if unknown:
        raise NotSupported(
            f"{', '.join(unknown)} in backend_config",
            f"It may have {_COMPUTE[0]}, {_USE_CONDA} and {_STREAM_OUTPUT}",
        )


def _refuse_other_kinds(project: Project) -> None:
    if project.docker_env:
        raise NotSupported("A project with docker_env", "Give it a python_env or conda_env, or choose --backend local")
    if project.databricks_spark_job_spec:
        raise NotSupported("A project with databricks_spark_job", "Choose --backend databricks")


def _compute_of(backend_config: Mapping[str, Any]) -> object:
    given = {name: backend_config[name] for name in _COMPUTE if backend_config.get(name)}
    if len(given) > 1:
        raise InvalidValue("backend_config", given, "must name one compute target")
    return next(iter(given.values()), None)


def _env_manager_of(backend_config: Mapping[str, Any]) -> str | None:
    """What the user chose; None if that is left to the project's files."""
    chosen: str | None = backend_config.get(projects.PROJECT_ENV_MANAGER)
    if chosen is None and backend_config.get(_USE_CONDA) is False:
        return managers.LOCAL
    return chosen


def _command(project: Project, entry_point: str, params: Mapping[str, Any] | None, storage_dir: str | None) -> str:
    """The entry point's command with its parameters, for bash, as MLflow has it."""
    (command,) = projects.get_entry_point_command(project, entry_point, params, storage_dir)
    return f"bash -c {shlex.quote(command)}"


def _environment(project: Project, folder_name: str, env_manager: str | None) -> Environment:
    """The environment that the project's python_env.yaml or conda.yaml describes; without one, or with the environment
    manager `local`, this process's interpreter."""
    environment = Environment(project.name or folder_name)
    file = project.env_config_path
    if file is None or env_manager == managers.LOCAL:
        environment.python.user_managed_dependencies = True
        return environment
    is_conda = project.env_type == env_type.CONDA
    if env_manager == managers.CONDA and not is_conda:
        raise InvalidValue("env_manager", env_manager, "needs a conda.yaml, and the project has a python_env")
    if is_conda and env_manager in (None, managers.CONDA):
        environment.python.conda_dependencies = CondaDependencies(file)
        return environment
    listed = _PythonEnv.from_conda_yaml(file) if is_conda else _PythonEnv.from_yaml(file)
    dependencies = CondaDependencies.create(python_version=listed.python)
    dependencies.set_pip_requirements([*listed.build_dependencies, *listed.dependencies])
    environment.python.conda_dependencies = dependencies
    return environment


def _tags(project_uri: str, folder: str, version: str | None, entry_point: str) -> dict[str, str]:
    """What MLflow sets for a project's run (`mlflow.projects.utils._create_run`), but for passwords in addresses. It
    sets `mlflow.project.backend` and the run's name itself, afterwards."""
    source = projects._expand_uri(project_uri)
    if projects._is_local_uri(project_uri):
        source = _get_git_url_if_present(source)
    parent = fluent.active_run()
    tags = {
        names.MLFLOW_USER: _get_user(),
        names.MLFLOW_SOURCE_NAME: redact(source),
        names.MLFLOW_SOURCE_TYPE: SourceType.to_string(SourceType.PROJECT),
        names.MLFLOW_PROJECT_ENTRY_POINT: entry_point,
        names.MLFLOW_GIT_COMMIT: get_git_commit(folder),
        names.MLFLOW_GIT_REPO_URL: redact(get_git_repo_url(folder) or ""),
        names.MLFLOW_GIT_BRANCH: version if projects._is_valid_branch_name(folder, version) else None,
        names.MLFLOW_PARENT_RUN_ID: parent.info.run_id if parent else None,
    }
    return {name: value for name, value in tags.items() if value}


def _params(project: Project, entry_point: str, params: Mapping[str, Any] | None) -> list[Param]:
    """The parameters as MLflow logs them: those of the entry point with their defaults, then others; quoted for a
    shell where need be."""
    known, others = project.get_entry_point(entry_point).compute_parameters(params, storage_dir=None)
    found = [Param(name, value) for name, value in {**known, **others}.items()]
    check_params(to_params(found))  # before there is a run
    return found
