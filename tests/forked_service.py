"""The service of the fixture `amlstore_service`, started from the fork server."""

import subprocess
from collections.abc import Mapping, Sequence
from typing import IO, Any

from fork_server import AMLSTORE, ForkedProcess

from mlflow_amlstore.pytest_plugin import AmlstoreService


class ForkedService(AmlstoreService):
    """`amlstore serve` in a process of its own that starts in a tenth of the time."""

    command = AMLSTORE
    """What runs `amlstore`: arguments of Python, as `ForkedProcess` takes them."""

    def _launch(self, arguments: Sequence[str], environment: Mapping[str, str], log: IO[str]) -> Any:
        return ForkedProcess([*self.command, *arguments], env=environment, stdout=subprocess.PIPE, stderr=log)
