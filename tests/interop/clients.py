"""A client in an environment of its own, and services over TLS that it can reach."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from forked_service import ForkedService

HERE = Path(__file__).parent
# An Azure CLI that has somebody logged in: azureml-mlflow asks it for a token as for a user who ran `az login`.
AZURE_CLI = """#!{python}
import json, os, time
print(json.dumps({{
    "accessToken": os.environ["TOKEN_OF_AZURE_CLI"], "expires_on": int(time.time()) + 3000, "tokenType": "Bearer",
    "subscription": "00000000-0000-0000-0000-000000000000", "tenant": "common",
}}))
"""


class Client:
    """A Python with MLflow and one of the two plugins; it runs the scripts of this folder."""

    def __init__(self, name: str, python: str, home: Path) -> None:
        self.name, self.python, self._home = name, python, home
        home.mkdir(parents=True)
        self._bin = home / "bin"
        self._bin.mkdir()
        azure_cli = self._bin / "az"
        azure_cli.write_text(AZURE_CLI.format(python=sys.executable), encoding="utf-8")
        azure_cli.chmod(0o700)

    def __repr__(self) -> str:
        return self.name

    def run(self, script: str, *arguments: str, **environment: str) -> Any:
        """Run a script of this folder, and return the JSON that it printed last."""
        return self.result(self.start(script, *arguments, **environment))

    def start(self, script: str, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        """Start a script of this folder, where there is no MLflow setting and no key but what `environment` has."""
        ours = ("MLFLOW_", "_MLFLOW_", "AMLSTORE_", "AZURE", "PYTHON", "COVERAGE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return subprocess.Popen(
            [self.python, str(HERE / script), *arguments],
            env={
                **kept,
                "HOME": str(self._home),
                "XDG_STATE_HOME": str(self._home / "state"),
                "XDG_CONFIG_HOME": str(self._home / "config"),
                "PATH": f"{self._bin}{os.pathsep}{kept.get('PATH', '')}",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                **environment,
            },
            cwd=self._home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def result(self, process: "subprocess.Popen[str]") -> Any:
        """Wait for a script that was started, and return the JSON that it printed last."""
        printed, errors = process.communicate()
        assert process.returncode == 0, f"{self.name}: {errors[-4000:]}"
        return json.loads(printed.splitlines()[-1])


class Place(ForkedService):
    """A service over TLS with an empty workspace, and ways for a client to be let in."""

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder, "--tls", "self-signed", *options)

    @property
    def root(self) -> str:
        """The tracking URI without its token."""
        return self.tracking_uri.partition("?")[0]

    def with_token(self) -> dict[str, str]:
        """The environment of a run's process in Azure ML: a run that is there already, and its token."""
        given = {"experiment_id": "0", "run_name": "given"}
        run = self.call("POST", "/api/2.0/mlflow/runs/create", self.token, given)["run"]["info"]
        return {
            **self._cloud(),
            "MLFLOW_TRACKING_TOKEN": self.token,
            "MLFLOW_RUN_ID": run["run_id"],
            "MLFLOW_EXPERIMENT_ID": run["experiment_id"],
        }

    def with_azure_login(self) -> dict[str, str]:
        """The environment of a user who is logged in with the Azure CLI, in a cloud that is this service."""
        token = self.exchange(self.key)
        return {**self._cloud(), "TOKEN_OF_AZURE_CLI": token, "AZURE_TOKEN_CREDENTIALS": "AzureCliCredential"}

    def with_key(self) -> dict[str, str]:
        """The environment of a user of ours who has a key. No cloud has the host: an Azure login would go before."""
        return {**self._trusted(), "AMLSTORE_KEY": self.key}

    def _trusted(self) -> dict[str, str]:
        return {"MLFLOW_TRACKING_URI": self.root, "REQUESTS_CA_BUNDLE": str(self.ca)}

    def _cloud(self) -> dict[str, str]:
        return {
            **self._trusted(),
            "ARM_CLOUD_METADATA_URL": f"{self.url}/metadata/endpoints?api-version=2019-05-01",
            "AZUREML_CURRENT_CLOUD": "AmlStore",
        }


class SdkPlace(Place):
    """A service over TLS under a name of the form `LABEL.blob.SUFFIX`, as azureml-core makes of a storage host."""

    host = "amlstore.blob.localhost"

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder, "--allowed-host", self.host, *options)

    def for_sdk(self) -> dict[str, str]:
        """The environment of `sdk_script.py`: where the service is, a token for the SDK, and a key for this package."""
        url = f"https://{self.host}:{self.url.rpartition(':')[2]}"
        return {
            "SERVICE_URL": url,
            "TOKEN": self.exchange(self.key),
            "AMLSTORE_KEY": self.key,
            "REQUESTS_CA_BUNDLE": str(self.ca),
            "SSL_CERT_FILE": str(self.ca),
            "ARM_CLOUD_METADATA_URL": f"{url}/metadata/endpoints?api-version=2019-05-01",
            "AZUREML_CURRENT_CLOUD": "AmlStore",
        }


class RecordedService(Place):
    """A service over TLS, what arrives at which is in `recording`."""

    command = (str(HERE / "recorder.py"),)

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder, *options)
        self.recording = folder / "recording"

    def start(self) -> None:
        """Start it; the file's name goes by the environment, as `amlstore serve` has no option for it."""
        os.environ["RECORDING"] = str(self.recording)
        try:
            super().start()
        finally:
            del os.environ["RECORDING"]

    def requests_of_calls(self) -> dict[str, list[Any]]:
        """What arrived for each call that was announced, in the order of arrival."""
        calls: dict[str, list[Any]] = {}
        current: list[Any] = []
        for line in self.recording.read_text(encoding="utf-8").splitlines():
            request = json.loads(line)
            if request["path"] == "/health/live":
                (name,) = parse_qs(request["query"])["call"]
                current = calls.setdefault(name, [])
            else:
                current.append(request)
        return calls
