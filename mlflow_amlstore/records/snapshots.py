"""Snapshots kept as files: implements `records.common_store.CommonSnapshots` over a store of files.

A file that is the same in many snapshots is stored once, as every content in a workspace is.
"""

import shutil
import uuid
import zipfile
from collections.abc import Sequence
from pathlib import Path

from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.records.common_store import CommonFiles
from mlflow_amlstore.records.local_place import arriving
from mlflow_amlstore.records.locations import snapshot_container


class FileSnapshots:
    """The snapshots of one workspace."""

    def __init__(self, files: CommonFiles) -> None:
        self._files = files

    def store(self, items: Sequence[tuple[str, Path]]) -> str:
        snapshot_id = str(uuid.uuid4())
        self._files.write_local(snapshot_container(snapshot_id), items)
        return snapshot_id

    def write_zip(self, snapshot_id: str, target: Path) -> None:
        container = snapshot_container(snapshot_id)
        files = self._files.list_all(container)
        if not files:
            raise NotFound("snapshot", snapshot_id)
        with arriving(target) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                entry = zipfile.ZipInfo(file.path)  # with one time for all: the same snapshot is the same content
                entry.compress_type = zipfile.ZIP_DEFLATED
                with self._files.open(container, file.path) as source, archive.open(entry, "w") as sink:
                    shutil.copyfileobj(source, sink)
