"""`/models/NAME/deploy`: the form that has a registered model answer over HTTP."""

import msgspec

from mlflow_amlstore.errors import AmlStoreError, NotFound
from mlflow_amlstore.hosting.deploying import endpoint_name_for, framework_of
from mlflow_amlstore.records.types import LOCAL_TARGET, ModelFilter
from mlflow_amlstore.service.routing import Call
from mlflow_amlstore.studio.deploying import Choice, targets
from mlflow_amlstore.studio.page import Pages
from mlflow_amlstore.studio.submitting_again import is_own

PAGES = Pages()
_MOST_VERSIONS = 200


class DeployQuery(msgspec.Struct, frozen=True):
    """Which version, the newest without; `endpoint` is one that it is to be the next deployment of."""

    version: int = 0
    endpoint: str = ""


class DeployPage(msgspec.Struct, frozen=True):
    """What a model can be deployed with.

    `framework` is what loads it; where nothing can, `refusal` says why. `name` is what the endpoint may be called.
    `targets` and `environments` are to choose from; no key needed is possible where only this machine asks (`is_own`).
    """

    query: DeployQuery
    model: str
    version: int
    versions: list[int]
    framework: str
    refusal: str
    name: str
    targets: list[Choice]
    target: str
    environments: list[str]
    is_own: bool


@PAGES.page("/models/{name}/deploy", "deploy.html", is_long=True)
def deploy(call: Call, query: DeployQuery) -> DeployPage:
    """Show the form that deploys a model."""
    records = call.records
    model = records.models.get(call.path["name"])
    listed = records.models.find_versions(ModelFilter(name=model.name), max_results=_MOST_VERSIONS).items
    versions = sorted((each.version for each in listed), reverse=True)
    if not versions:
        raise NotFound("version of model", model.name, "Register one first")
    version = query.version or versions[0]
    framework, refusal = "", ""
    try:
        framework = framework_of(records, records.models.get_version(model.name, version))
    except NotFound:
        raise
    except AmlStoreError as error:
        refusal = str(error)
    known = records.endpoints.get(query.endpoint) if query.endpoint else None
    return DeployPage(
        query=query,
        model=model.name,
        version=version,
        versions=versions,
        framework=framework,
        refusal=refusal,
        name=known.name if known else _free_name(call, model.name),
        targets=targets(call),
        target=known.spec.target if known else LOCAL_TARGET if is_own(call) else "",
        environments=[f"{each.name}:{each.version}" for each in records.environments.list()],
        is_own=is_own(call),
    )


def _free_name(call: Call, model: str) -> str:
    """A name from the model's that no endpoint has yet."""
    taken = {each.name for each in call.records.endpoints.list()}
    name = first = endpoint_name_for(model)
    number = 1
    while name in taken:
        number += 1
        name = f"{first[: 31 - len(str(number))]}-{number}"
    return name
