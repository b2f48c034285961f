"""What a model version is made from: where its files are, and the run and logged model behind its source."""

import re
from typing import TYPE_CHECKING, NamedTuple

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.locations import WORKSPACE_SCHEME, logged_model_container

if TYPE_CHECKING:
    from mlflow_amlstore.records.store import RecordStore


_LOGGED_MODEL_URI = re.compile(r"models:/(?://)?(?P<model_id>m-[\w\-]+)")
_VERSION_URI = re.compile(r"models:/(?://)?(?P<name>[^/:]+)/(?P<version>\d+)")


class VersionOrigin(NamedTuple):
    """Where the files of a version to be made are, if not at its source, and what it was made from."""

    storage_location: str | None
    run_id: str | None
    model_id: str | None


def origin_of_version(records: "RecordStore", source: str, run_id: str | None, model_id: str | None) -> VersionOrigin:
    """Look up what a stored source stands for, `models:/…` in this workspace whatever MLflow's tracking URI is.

    Raises NotFound, and InvalidValue for a `models:/` source that names no version and no logged model.
    """
    if match := _LOGGED_MODEL_URI.fullmatch(source):
        model = records.logged_models.get(match["model_id"])
        container = logged_model_container(model.experiment_id, model.model_id)
        location = model.artifact_location or WORKSPACE_SCHEME + container
        return VersionOrigin(location, run_id or model.source_run_id, model_id or model.model_id)
    if match := _VERSION_URI.fullmatch(source):
        version = records.models.get_version(match["name"], int(match["version"]))
        return VersionOrigin(version.storage_location, run_id, model_id)
    if source.startswith("models:"):
        rule = "must name a version, as in models:/NAME/1, or a logged model, as in models:/m-…"
        raise InvalidValue("model source", source, rule)
    if model_id and not run_id:
        run_id = records.logged_models.get(model_id, allow_deleted=True).source_run_id
    return VersionOrigin(None, run_id, model_id)
