"""Filters on artifact URIs, which clients have in their own form, put into the form that records keep."""

from collections.abc import Callable

from mlflow_amlstore.errors import NotFound, PathUnsafe
from mlflow_amlstore.records.locations import WORKSPACE_SCHEME, logged_model_container, run_container
from mlflow_amlstore.service.uris import Uris
from mlflow_amlstore.workspace.artifact_uri import stored_filter

_EXPERIMENT, _OWNER = "\1", "\2"


def filter_of_runs(uris: Uris, filter_string: str | None) -> str | None:
    """A filter of runs with `artifact_uri` as records keep it."""
    return _stored(uris, filter_string, "artifact_uri", run_container, "")


def filter_of_logged_models(uris: Uris, filter_string: str | None) -> str | None:
    """A filter of logged models with `artifact_location` as records keep it."""
    return _stored(uris, filter_string, "artifact_location", logged_model_container, "")


def filter_of_versions(uris: Uris, filter_string: str | None) -> str | None:
    """A filter of model versions with `source_path` as records keep it."""
    return _stored(uris, filter_string, "source_path", run_container, WORKSPACE_SCHEME)


def _stored(
    uris: Uris, filter_string: str | None, attribute: str, container: Callable[[str, str], str], stored_root: str
) -> str | None:
    if not filter_string or attribute not in filter_string.lower():
        return filter_string

    def to_stored(text: str) -> str:
        try:
            location = uris.location(text)
        except (PathUnsafe, NotFound):  # no whole URI, but it may be a pattern of one
            location = _pattern(uris, text, container)
        return text if location is None else stored_root + location

    return stored_filter(filter_string, attribute, to_stored)


def _pattern(uris: Uris, text: str, container: Callable[[str, str], str]) -> str | None:
    """The location that the beginning of a URI spells, in which `%` may stand for anything."""
    head, _, rest = uris.artifact_uri(container(_EXPERIMENT, _OWNER)).partition(_EXPERIMENT)
    if not text.startswith(head):
        return None
    before_owner = rest.partition(_OWNER)[0]
    kept_before_owner = container("", _OWNER).partition(_OWNER)[0]
    experiment, found, after = text.removeprefix(head).partition(before_owner)
    return experiment + kept_before_owner + after if found else experiment
