"""`InferenceConfig`: a scoring script, its folder and its environment."""

from os import PathLike
from pathlib import Path

from mlflow_amlstore.core.environment import Environment
from mlflow_amlstore.core.not_yet import refuse_given
from mlflow_amlstore.core.strict_attributes import StrictAttributes
from mlflow_amlstore.errors import InvalidValue


class InferenceConfig(StrictAttributes):
    """A script with `init` and `run` that answers requests, in a copy of its folder.

    Without an environment it runs with the Python of whoever deploys.
    """

    entry_script: str
    source_directory: str | None
    environment: Environment | None
    description: str | None

    def __init__(
        self,
        entry_script: str | PathLike[str],
        runtime: str | None = None,
        conda_file: str | PathLike[str] | None = None,
        extra_docker_file_steps: str | None = None,
        source_directory: str | PathLike[str] | None = None,
        enable_gpu: bool | None = None,
        description: str | None = None,
        base_image: str | None = None,
        base_image_registry: object = None,
        cuda_version: str | None = None,
        environment: Environment | None = None,
    ) -> None:
        """`entry_script` is below `source_directory`, or alone where there is none.

        Raises InvalidValue where the script isn't there; NotSupported for what only a Docker image has.
        """
        refuse_given(
            "InferenceConfig",
            extra_docker_file_steps=extra_docker_file_steps,
            base_image=base_image,
            base_image_registry=base_image_registry,
            cuda_version=cuda_version,
        )
        self.entry_script = str(entry_script)
        self.source_directory = None if source_directory is None else str(source_directory)
        self.description = description
        if environment is None and conda_file is not None:
            path = Path(self.source_directory or ".") / conda_file
            environment = Environment.from_conda_specification("inference", path)
        self.environment = environment
        if not self.script.is_file():
            where = self.source_directory or "the current folder"
            raise InvalidValue("entry_script", self.entry_script, f"is no file of {where}")

    @property
    def script(self) -> Path:
        """Where the script is."""
        return Path(self.source_directory or ".") / self.entry_script

    @property
    def source(self) -> Path:
        """What is copied: the folder, or the script alone."""
        return self.script if self.source_directory is None else Path(self.source_directory)

    @property
    def script_in_source(self) -> str:
        """The script's path in what is copied."""
        return self.script.name if self.source_directory is None else Path(self.entry_script).as_posix()
