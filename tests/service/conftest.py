"""A running service for the tests of this folder: one for all of a module, or a test's own with options."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from forked_service import ForkedService

from mlflow_amlstore.service.access import Role


class Service(ForkedService):
    """The fixture's service, and what tests of access need besides."""

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder, *options)
        self.workspace_name = self.folder.name
        self._tokens: dict[Role, str] = {}

    def new_key(self, name: str, role: str) -> str:
        """Make a key and return its text."""
        return str(self.call("POST", "/auth/keys", self.exchange(self.key), {"name": name, "role": role})["key"])

    def revoke(self, name: str) -> None:
        """Revoke the key of that name."""
        owner = self.exchange(self.key)
        keys = self.call("GET", "/auth/keys", owner)["keys"]
        (key_id,) = [key["key_id"] for key in keys if key["name"] == name and "revoked_ms" not in key]
        self.call("DELETE", f"/auth/keys/{key_id}", owner)

    def token_of(self, role: Role) -> str:
        """An access token of a key with that role."""
        if role not in self._tokens:
            name = role.name.lower()
            self._tokens[role] = self.exchange(self.new_key(f"of a {name}", name))
        return self._tokens[role]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that the module's tests share; each makes experiments and runs of its own.

    Its folder lies in one of its own, where a test may look for what was written beside it.
    """
    with Service(tmp_path_factory.mktemp("around") / "service") as running:
        yield running


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start a service of the test's own: `start_service("--token-lifetime", "3")`."""
    with ExitStack() as stop:
        folders = (tmp_path / f"service-{number}" for number in range(100))

        def start(*options: str) -> Service:
            return stop.enter_context(Service(next(folders), *options))

        yield start
