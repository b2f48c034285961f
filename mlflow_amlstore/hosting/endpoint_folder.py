"""An endpoint's folder on this machine: whoever holds its lock runs the endpoint here.

launch.json    a `Launch`: what the processes are told
traffic.json   which deployments take requests from the public socket (`scoring.traffic`)
N/             the served folder of deployment N (`scoring.deployment`)
N.tmp/         what its processes may write, and their own socket
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mlflow_amlstore.runner.locked_folder import LockedFolder, folder_of_user

_LAUNCH, _TRAFFIC = "launch.json", "traffic.json"


@dataclass(frozen=True)
class Launch:
    """Which endpoint is run. `workspace` is the folder of an embedded workspace, or a service's tracking URI: then
    `token` is the endpoint's own. `port` is the one that it answers on, 0 before it has one; `host` the address of this
    machine that it listens on."""

    workspace: str
    name: str
    host: str = "127.0.0.1"
    port: int = 0
    token: str = ""


class EndpointFolder(LockedFolder):
    """The folder of one endpoint. Its name is short, as the paths of sockets must be."""

    @classmethod
    def of(cls, workspace: str, name: str) -> "EndpointFolder":
        """The folder of an endpoint, whether it is there or not."""
        digest = hashlib.sha256(f"{workspace}\0{name}".encode()).hexdigest()[:16]
        return cls(folder_of_user("amlstore_endpoints") / digest)

    def served(self, number: int) -> Path:
        """The served folder of a deployment."""
        return self.path / str(number)

    def scratch(self, number: int) -> Path:
        """What the processes of a deployment may write."""
        return self.path / f"{number}.tmp"

    def socket(self, number: int) -> Path:
        """The own socket of a deployment, which its process makes."""
        return self.scratch(number) / "own.sock"

    def others(self) -> list[Path]:
        """The folders of this user's other endpoints."""
        return [path for path in self.path.parent.iterdir() if path != self.path]

    @property
    def traffic(self) -> Path:
        """Which deployments take requests from the public socket."""
        return self.path / _TRAFFIC

    def write(self, launch: Launch) -> None:
        """Write what the processes are told."""
        write_whole(self.path / _LAUNCH, asdict(launch))

    def read(self) -> Launch:
        """Read it again; what another version of this package wrote besides is left out. Raises OSError, ValueError."""
        told = json.loads((self.path / _LAUNCH).read_text(encoding="utf-8"))
        return Launch(**{each.name: told[each.name] for each in fields(Launch) if each.name in told})


def write_whole(file: Path, content: dict[str, Any]) -> None:
    """Write JSON that this user alone may read; whoever reads it meanwhile sees the old content or the new."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as sink:
        json.dump(content, sink)
    partial.replace(file)
