"""A cloud of this machine's: a service over TLS that Azure's clients, and ours, take for Azure."""

import json
import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fork_server import run_forked
from forked_service import ForkedService
from packaging.version import Version

from mlflow_amlstore.service.addresses import RESOURCE_GROUP, SUBSCRIPTION_ID

# Somebody who ran `az login`: azure-identity asks this program for a token.
_AZURE_CLI = """#!{python}
import json, os, time
print(json.dumps({{"accessToken": os.environ["TOKEN_OF_AZURE_CLI"], "expires_on": int(time.time()) + 3000,
                  "tokenType": "Bearer", "subscription": "s", "tenant": "common"}}))
"""


class Token(NamedTuple):
    token: str
    expires_on: int


class Credential:
    """A credential as azure-identity's are, for a key of the service."""

    def __init__(self, cloud: "Cloud", key: str) -> None:
        self._cloud, self._key = cloud, key
        self.scopes: list[tuple[str, ...]] = []

    def get_token(self, *scopes: str, **_: Any) -> Token:
        self.scopes.append(scopes)
        return Token(self._cloud.exchange(self._key), int(time.time()) + 3600)


class Cloud(ForkedService):
    """The service, with what its clients are told and how it is made to misbehave."""

    command = (str(Path(__file__).with_name("misbehaving.py")),)

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder, "--tls", "self-signed", *options)
        self._faults = folder / "faults.json"
        self._home = folder / "home"
        self._home.mkdir(parents=True)

    def start(self) -> None:
        os.environ["FAULTS"] = str(self._faults)
        try:
            super().start()
        finally:
            del os.environ["FAULTS"]

    def misbehave(self, *rules: dict[str, Any]) -> None:
        """Answer by these rules from now on; none to behave."""
        fresh = self._faults.with_suffix(".new")
        fresh.write_text(json.dumps(rules))
        fresh.replace(self._faults)

    @property
    def names(self) -> tuple[str, str, str]:
        """What a user of Azure ML knows of the workspace."""
        return SUBSCRIPTION_ID, RESOURCE_GROUP, self.folder.name

    @property
    def root(self) -> str:
        return self.tracking_uri.partition("?")[0]

    def credential(self, role: str | None = None) -> Credential:
        """A credential of whoever runs the service, or of a new key's with a role."""
        if role is None:
            return Credential(self, self.key)
        given = {"name": f"{role} {time.monotonic_ns()}", "role": role}
        return Credential(self, str(self.call("POST", "/auth/keys", self.exchange(self.key), given)["key"]))

    @property
    def client_environment(self) -> dict[str, str]:
        """What tells a client that this is the cloud; no key, no token, no sign-in."""
        ours = ("MLFLOW_", "_MLFLOW_", "AMLSTORE_", "AZURE", "ARM_", "PYTHON")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {
            **kept,
            "HOME": str(self._home),
            "XDG_STATE_HOME": str(self._home / "state"),
            "XDG_CONFIG_HOME": str(self._home / "config"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "REQUESTS_CA_BUNDLE": str(self.ca),
            "ARM_CLOUD_METADATA_URL": f"{self.url}/metadata/endpoints?api-version=2019-05-01",
            "AZUREML_CURRENT_CLOUD": "AmlStore",
        }

    @property
    def signed_in(self) -> dict[str, str]:
        """The environment of somebody who ran `az login`.

        Older releases of azure-identity ask an address of the network first, which may be anybody's.
        """
        if Version(metadata.version("azure-identity")) < Version("1.23"):
            pytest.skip("this release of azure-identity can't be told which credential to use")
        program = self._home / "bin" / "az"
        program.parent.mkdir(exist_ok=True)
        program.write_text(_AZURE_CLI.format(python=sys.executable), encoding="utf-8")
        program.chmod(0o700)
        path = f"{program.parent}{os.pathsep}{os.environ.get('PATH', '')}"
        sign_in = {"AZURE_TOKEN_CREDENTIALS": "AzureCliCredential", "TOKEN_OF_AZURE_CLI": self.exchange(self.key)}
        return {**self.client_environment, "PATH": path, **sign_in}

    def run(self, script: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a Python script in a process of its own that takes this for the cloud."""
        variables = {**self.client_environment, **environment}
        return run_forked(["-c", script, *arguments], env=variables, cwd=self._home)
