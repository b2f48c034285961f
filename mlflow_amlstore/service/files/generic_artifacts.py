"""Azure ML's routes to files by origin and container, in azureml-mlflow's layout of paths and in azureml-core's.

In the origin ExperimentRun a container is called `dcid.RUN_ID`. The origin LocalUpload has files that are uploaded to
be registered as a model: the client chooses the container's name, and its first file makes it.
"""

from mlflow_amlstore.errors import NotFound, NotSupported
from mlflow_amlstore.protocol.artifact_origins import RUN_CONTAINER_PREFIX, RUN_ORIGIN, UPLOAD_ORIGIN
from mlflow_amlstore.records.locations import upload_container
from mlflow_amlstore.service.files import azure_artifacts
from mlflow_amlstore.service.files.azure_artifacts import (
    ArtifactContainer,
    ArtifactPage,
    ContentInformation,
    ContentPage,
    CreatedArtifacts,
    NewArtifacts,
    PageQuery,
    PathQuery,
)
from mlflow_amlstore.service.files.containers import container_of_owner
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes

ROUTES = Routes(Area.ARTIFACT)

_SERVICE = "artifact/v2.0"


@ROUTES.post("/artifacts/{origin}/{container}/batch/metadata", Role.CONTRIBUTOR, Right.TRACK, is_long=True)
@ROUTES.post("/artifacts/batch/metadata/{origin}/{container}", Role.CONTRIBUTOR, Right.TRACK, is_long=True)
def create(call: Call, body: NewArtifacts) -> CreatedArtifacts:
    """Give URLs to write files of a container to."""
    return azure_artifacts.create(call, _container(call), body)


@ROUTES.get("/artifacts/{origin}/{container}/contentinfo", Role.READER, Right.TRACK)
def content_information(call: Call, body: PathQuery) -> ContentInformation:
    """Give a URL to read a file from."""
    return azure_artifacts.content_information(call, _container(call), body.path)


@ROUTES.get("/artifacts/contentinfo/{origin}/{container}/{path:path}", Role.READER, Right.TRACK)
def content_information_of_path(call: Call) -> ContentInformation:
    """Give a URL to read a file from, named in the address."""
    return azure_artifacts.content_information(call, _container(call), call.path["path"])


@ROUTES.get("/artifacts/prefix/contentinfo/{origin}/{container}/{prefix:path}", Role.READER, Right.TRACK, is_long=True)
def list_contents(call: Call, body: PageQuery) -> ContentPage:
    """Give URLs to read the files at or under a path from."""
    container, prefix = _container(call), call.path["prefix"]
    query = PageQuery(prefix, body.continuation_token, body.page_size)
    where = f"/artifacts/prefix/contentinfo/{call.path['origin']}/{call.path['container']}/{prefix}"
    return azure_artifacts.list_contents(call, container, query, azure_artifacts.address_of(call, _SERVICE, where))


@ROUTES.get("/artifacts/{origin}/{container}", Role.READER, Right.TRACK, is_long=True)
def list_artifacts(call: Call, body: PageQuery) -> ArtifactPage:
    """List the files of a container, or those at or under a path."""
    return azure_artifacts.list_page(call, _container(call), body)


def _container(call: Call) -> ArtifactContainer:
    origin, name = call.path["origin"], call.path["container"]
    address = azure_artifacts.address_of(call, _SERVICE, f"/artifacts/{origin}/{name}")
    if origin == UPLOAD_ORIGIN:
        return ArtifactContainer(origin, name, upload_container(name), address)
    if origin != RUN_ORIGIN:
        raise NotSupported(f"The artifact origin {origin!r:.50}", f"There are {RUN_ORIGIN!r} and {UPLOAD_ORIGIN!r}")
    if not name.startswith(RUN_CONTAINER_PREFIX):
        raise NotFound("artifact container", name, f"A run's is {RUN_CONTAINER_PREFIX}RUN_ID")
    run = name.removeprefix(RUN_CONTAINER_PREFIX)
    return azure_artifacts.container_of_run(run, container_of_owner(call.records, run), address)
