"""The folder of the workspace that examples log into."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forked_service import ForkedService


@contextmanager
def folder_of_workspace(kind: str, folder: Path) -> Iterator[Path]:
    """Where examples that run in `folder` keep their records: "embedded" in the workspace that they make there, or
    "served" by a service, which the config.json where they would make one names."""
    if kind == "embedded":
        yield folder / "amlstore-workspace"
        return
    with ForkedService(folder) as service:
        (folder / "amlstore-workspace").mkdir()
        (folder / "amlstore-workspace" / "config.json").write_text(json.dumps({"service_url": service.url}))
        yield service.folder
