"""How Azure ML names the files of a workspace: `ORIGIN/CONTAINER/PATH`, of a run or of an upload."""

from mlflow_amlstore.records.locations import split_location, upload_of

RUN_ORIGIN = "ExperimentRun"
RUN_CONTAINER_PREFIX = "dcid."
"""A run's container is this and the run's id; a logged model may stand in the run's place."""
UPLOAD_ORIGIN = "LocalUpload"
"""What is uploaded to be registered as a model."""


def artifact_id(location: str) -> str:
    """Azure ML's name of `CONTAINER[/PATH]`. Raises PathUnsafe as `split_location`."""
    container, path = split_location(location)
    upload = upload_of(container)
    owner = container.split("/")[-2]
    named = f"{RUN_ORIGIN}/{RUN_CONTAINER_PREFIX}{owner}" if upload is None else f"{UPLOAD_ORIGIN}/{upload}"
    return f"{named}/{path}" if path else named
