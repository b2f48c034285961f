"""Artifact URIs, and model sources as records keep them."""

from pathlib import Path

import pytest

from mlflow_amlstore.errors import TrackingUriInvalid, WorkspaceNotFound
from mlflow_amlstore.workspace.artifact_uri import (
    artifact_uri,
    from_stored_source,
    split_artifact_uri,
    to_stored_source,
)
from mlflow_amlstore.workspace.opening import create_workspace


@pytest.mark.parametrize("name", ["ws", "with space", "100%", "a#b?c", "ünï"])
def test_an_artifact_uri_leads_to_its_workspace_and_location(tmp_path: Path, name: str) -> None:
    root_uri = create_workspace(tmp_path / name).root_uri

    uri = artifact_uri(root_uri, "0/abc/artifacts")

    assert split_artifact_uri(uri) == (tmp_path / name, "0/abc/artifacts")
    assert split_artifact_uri(f"{uri}/a b#c%41") == (tmp_path / name, "0/abc/artifacts/a b#c%41")
    assert split_artifact_uri(root_uri) == (tmp_path / name, "")
    assert split_artifact_uri(uri.replace(":///", ":/")) == (tmp_path / name, "0/abc/artifacts")


def test_a_uri_that_leads_through_no_workspace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceNotFound, match=f"No workspace in {tmp_path}/0/abc"):
        split_artifact_uri(f"amlstore://{tmp_path}/0/abc")
    for uri in ("", "/etc", "file:///etc", "amlstore://host/x", "amlstore:x", "s3://bucket"):
        with pytest.raises(TrackingUriInvalid, match="must start with amlstore:///"):
            split_artifact_uri(uri)
    with pytest.raises(WorkspaceNotFound):
        split_artifact_uri(f"amlstore://{tmp_path}/%00/x")


def test_a_source_in_the_workspace_is_kept_without_the_workspaces_path() -> None:
    root = "amlstore:///home/me/my%20ws"

    for uri in (f"{root}/0/abc/artifacts/model", "amlstore:/home/me/my%20ws/0/abc/artifacts/model"):
        assert to_stored_source(root, uri) == "workspace:/0/abc/artifacts/model"
    assert from_stored_source(root, "workspace:/0/abc/artifacts/model") == f"{root}/0/abc/artifacts/model"


@pytest.mark.parametrize(
    "source",
    ["s3://bucket/x", "runs:/abc/model", "/home/me/my%20ws/0/abc", "amlstore:///home/me/my%20ws2/0/abc/artifacts",
     "amlstore:///home/me"],
)  # fmt: skip
def test_another_source_is_kept_as_it_is(source: str) -> None:
    root = "amlstore:///home/me/my%20ws"

    assert to_stored_source(root, source) == from_stored_source(root, source) == source
