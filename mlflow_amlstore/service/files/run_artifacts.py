"""Azure ML's routes to the files of a run, as azureml-mlflow calls them. A logged model may stand in a run's place."""

from mlflow_amlstore.service.files import azure_artifacts
from mlflow_amlstore.service.files.azure_artifacts import (
    Artifact,
    ArtifactContainer,
    ArtifactPage,
    ContentInformation,
    ContentPage,
    CreatedArtifacts,
    NewArtifacts,
    PageQuery,
    PathQuery,
)
from mlflow_amlstore.service.files.containers import container_in_experiment
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes

ROUTES = Routes(Area.HISTORY)

_SERVICE = "history/v1.0"
_BY_NAME = "/experiments/{experiment}/runs/{run}/artifacts"
_BY_ID = "/experimentids/{experiment}/runs/{run}/artifacts"


@ROUTES.post(f"{_BY_NAME}/batch/metadata", Role.CONTRIBUTOR, Right.TRACK, is_long=True)
@ROUTES.post(f"{_BY_ID}/batch/metadata", Role.CONTRIBUTOR, Right.TRACK, is_long=True)
def create(call: Call, body: NewArtifacts) -> CreatedArtifacts:
    """Give URLs to write files of a run to."""
    return azure_artifacts.create(call, _container(call), body)


@ROUTES.get(_BY_NAME, Role.READER, Right.TRACK, is_long=True)
@ROUTES.get(_BY_ID, Role.READER, Right.TRACK, is_long=True)
@ROUTES.get(f"{_BY_NAME}/path", Role.READER, Right.TRACK)
@ROUTES.get(f"{_BY_ID}/path", Role.READER, Right.TRACK)
def list_artifacts(call: Call, body: PageQuery) -> ArtifactPage:
    """List the files of a run, or those at or under a path."""
    return azure_artifacts.list_page(call, _container(call), body)


@ROUTES.get(f"{_BY_NAME}/contentinfo", Role.READER, Right.TRACK)
@ROUTES.get(f"{_BY_ID}/contentinfo", Role.READER, Right.TRACK)
def content_information(call: Call, body: PathQuery) -> ContentInformation:
    """Give a URL to read a file of a run from."""
    return azure_artifacts.content_information(call, _container(call), body.path)


@ROUTES.get(f"{_BY_NAME}/prefix/contentinfo", Role.READER, Right.TRACK, is_long=True)
@ROUTES.get(f"{_BY_ID}/prefix/contentinfo", Role.READER, Right.TRACK, is_long=True)
def list_contents(call: Call, body: PageQuery) -> ContentPage:
    """Give URLs to read the files at or under a path from."""
    container = _container(call)
    return azure_artifacts.list_contents(call, container, body, f"{container.address}/prefix/contentinfo")


@ROUTES.get(f"{_BY_NAME}/metadata", Role.READER, Right.TRACK)
@ROUTES.get(f"{_BY_ID}/metadata", Role.READER, Right.TRACK)
def metadata(call: Call, body: PathQuery) -> Artifact:
    """Tell what is known of a file of a run."""
    return azure_artifacts.metadata(call, _container(call), body.path)


def _container(call: Call) -> ArtifactContainer:
    experiment, run = call.path["experiment"], call.path["run"]
    location = container_in_experiment(call.records, experiment, run)
    # By the id, which is good in both forms; a name may have what a path can't.
    address = _BY_ID.format(experiment=location.partition("/")[0], run=run)
    return azure_artifacts.container_of_run(run, location, azure_artifacts.address_of(call, _SERVICE, address))
