"""Everything that is in a workspace as one document to compare, read with plain MLflow REST calls and no client.

    python workspace_document.py URL CA_FILE     with a token in MLFLOW_TRACKING_TOKEN

Ids become the names of what they are of, and times the word "time".
"""

import hashlib
import json
import os
import re
import ssl
import sys
import urllib.request
from typing import Any
from urllib.parse import quote, urlencode

LEFT_OUT = ("mlflow.source.git.",)  # tags that tell of the machine's source folder
_TIME = re.compile(r"(.*_)?(time|timestamp)(_ms)?")
_UPLOAD = re.compile(r"\d{6}T\d{6}-[0-9a-f]{8}")
_PAGE = 1000


class Workspace:
    """A workspace behind a service."""

    def __init__(self, url: str, ca_file: str, token: str) -> None:
        self._url, self._token = url, token
        self._trusting = ssl.create_default_context(cafile=ca_file)
        self._names: dict[str, str] = {}

    def document(self) -> dict[str, Any]:
        """The document."""
        experiments = self._all("GET", "experiments/search", "experiments", view_type="ALL")
        ids = [experiment["experiment_id"] for experiment in experiments]
        runs = self._all("POST", "runs/search", "runs", experiment_ids=ids, run_view_type="ALL")
        models = self._all("POST", "logged-models/search", "models", experiment_ids=ids)
        registered = self._all("GET", "registered-models/search", "registered_models")
        versions = self._all("GET", "model-versions/search", "model_versions")
        self._names |= {run["info"]["run_id"]: f"run {_name_of(run)}" for run in runs}
        self._names |= {model["info"]["model_id"]: f"model {model['info']['name']}" for model in models}
        experiment_names = {one["experiment_id"]: one["name"] for one in experiments}
        return {
            "experiments": {one["name"]: self._same(one) for one in experiments},
            "runs": {
                f"{experiment_names[run['info']['experiment_id']]}/{_name_of(run)}": self._run(run)
                for run in runs
                if run["info"]["run_name"] != "given"
            },
            "logged models": {
                model["info"]["name"]: {
                    **self._same(model),
                    "files": self._files(self._container(model["info"])),
                }
                for model in models
            },
            "models": {model["name"]: self._same(model) for model in registered},
            "versions": {
                f"{version['name']}/{version['version']}": {**self._same(version), "files": self._files_of(version)}
                for version in versions
            },
        }

    def _run(self, run: Any) -> Any:
        run_id = run["info"]["run_id"]
        keys = [metric["key"] for metric in run["data"].get("metrics", ())]
        histories = {
            key: self._all("GET", "metrics/get-history", "metrics", run_id=run_id, metric_key=key) for key in keys
        }
        files = self._files(self._container(run["info"]))
        return {**self._same(run), "histories": self._same(histories), "files": files}

    def _container(self, info: Any) -> str:
        return str(info["artifact_uri"]).removeprefix("mlflow-artifacts:/")

    def _files_of(self, version: Any) -> dict[str, str]:
        query = urlencode({"name": version["name"], "version": version["version"]})
        uri = self._get(f"/api/2.0/mlflow/model-versions/get-download-uri?{query}")["artifact_uri"]
        if uri.startswith("runs:/"):
            run_id, _, path = uri.removeprefix("runs:/").partition("/")
            info = self._get(f"/api/2.0/mlflow/runs/get?run_id={run_id}")["run"]["info"]
            uri = f"{info['artifact_uri']}/{path}"
        return self._files(uri.removeprefix("mlflow-artifacts:/"))

    def _files(self, folder: str, prefix: str = "") -> dict[str, str]:
        """The SHA-256 of each file of a container or a folder in one, downloaded through MLflow's artifact proxy."""
        found: dict[str, str] = {}
        for file in self._get(f"/api/2.0/mlflow-artifacts/artifacts?{urlencode({'path': folder})}")["files"]:
            inside = f"{folder}/{file['path']}"
            if file["is_dir"]:
                found |= self._files(inside, f"{prefix}{file['path']}/")
            else:
                content = self._open(f"/api/2.0/mlflow-artifacts/artifacts/{quote(inside)}")
                assert len(content) == file["file_size"]
                found[prefix + file["path"]] = hashlib.sha256(content).hexdigest()
        return found

    def _same(self, value: Any, key: str = "") -> Any:
        """A value without what is each workspace's own."""
        if isinstance(value, dict):
            return {name: self._same(one, name) for name, one in sorted(value.items())}
        if isinstance(value, list):
            kept = [one for one in value if not str(_key_of(one)).startswith(LEFT_OUT)]
            return (
                sorted((self._same(one) for one in kept), key=_key_of)
                if _is_pairs(kept)
                else list(map(self._same, kept))
            )
        if key == "experiment_id":
            return value
        if isinstance(value, int) and _TIME.fullmatch(key) and value > 1_750_000_000_000:
            return "time"
        if isinstance(value, str):
            for one, name in self._names.items():
                value = value.replace(one, f"<{name}>")
            return _UPLOAD.sub("<upload>", value)
        return value

    def _all(self, method: str, route: str, what: str, **fields: Any) -> list[Any]:
        found: list[Any] = []
        token = ""
        while True:
            page = {**fields, "max_results": _PAGE if "versions" not in what else 200, "page_token": token}
            if what == "models":
                page["max_results"] = 50
            if method == "GET":
                answer = self._get(f"/api/2.0/mlflow/{route}?{urlencode(page)}")
            else:
                answer = json.loads(self._open(f"/api/2.0/mlflow/{route}", page))
            found += answer.get(what, ())
            token = answer.get("next_page_token", "")
            if not token:
                return found

    def _get(self, path: str) -> Any:
        return json.loads(self._open(path))

    def _open(self, path: str, body: Any = None) -> bytes:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, content, headers)
        with urllib.request.urlopen(request, context=self._trusting) as answer:
            return bytes(answer.read())


def _name_of(run: Any) -> str:
    """What a run is called in the document: its tag `case` where it has one, as its name may be anything."""
    tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags", ())}
    return str(tags.get("case") or run["info"]["run_name"])


def _key_of(item: Any) -> str:
    return str(item.get("key") or "") if isinstance(item, dict) else ""


def _is_pairs(items: list[Any]) -> bool:
    """Whether these are tags or params, which have no order."""
    return bool(items) and all(isinstance(item, dict) and item.keys() == {"key", "value"} for item in items)


if __name__ == "__main__":
    url, ca_file = sys.argv[1:]
    print(json.dumps(Workspace(url, ca_file, os.environ["MLFLOW_TRACKING_TOKEN"]).document(), ensure_ascii=False))
