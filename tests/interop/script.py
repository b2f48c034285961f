"""What a user of MLflow does in a workspace, for whichever client the environment has: nothing is imported but MLflow.

    python script.py write FOLDER   make experiments, runs, files and models; local files go to FOLDER
    python script.py read FOLDER    tell what is there as JSON, under names instead of ids, with downloaded files' sums
    python script.py hold SECONDS   log a point each second into the run that MLFLOW_RUN_ID names

MLFLOW_TRACKING_URI and what it takes to be let in come from the environment. Each command prints one JSON document.
"""

import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

EXPERIMENT, OTHER_EXPERIMENT = "interop", "interop, by name: ü & more"
LARGE_BYTES, SMALL_FILES = 70 * 1024 * 1024, 500
ODD_NAMES = ["with space.txt", "ünïcödé/日本語.txt", "a#b?c&d=e+f.txt", "100%.txt", "deep/er/and deeper/x"]
# Client and server each say something of their own in these.
OWN_TAGS = ("mlflow.source.git.", "mlflow.modelVersions")

# Registered by `log_model`, which writes ids, times and MLflow's own release into the model's files.
BY_LOG_MODEL = "by log_model"
PYTHON_MODEL = """
import mlflow


class AddsTwo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: list[int], params=None) -> list[int]:
        return [number + 2 for number in model_input]


mlflow.models.set_model(AddsTwo())
"""
MODEL_NAME = "name" if hasattr(mlflow, "initialize_logged_model") else "artifact_path"

client = mlflow.MlflowClient()


def write(folder: Path) -> dict[str, Any]:
    """Make all there is to read. Returns what a client tells of it besides: what was refused, and in what words."""
    told: dict[str, Any] = {}
    folder.mkdir(parents=True, exist_ok=True)
    if "MLFLOW_RUN_ID" in os.environ:
        go_on_with_the_given_run()
    experiment_id = client.create_experiment(EXPERIMENT, tags={"kind": "interop"})
    client.set_experiment_tag(experiment_id, "note", "set later")
    other_id = client.create_experiment(OTHER_EXPERIMENT)
    told["experiment by name"] = client.get_experiment_by_name(OTHER_EXPERIMENT).experiment_id == other_id
    told["no experiment by name"] = client.get_experiment_by_name("no such experiment") is None
    mlflow.set_experiment(EXPERIMENT)
    log_values()
    log_in_batches(told)
    run_id = log_files(folder)
    end_in_every_way(told)
    nest()
    delete_and_restore(told)
    client.log_metric(client.create_run(other_id, run_name="in the other experiment").info.run_id, "m", 1)
    register(folder, run_id, told)
    told["found"] = search(experiment_id)
    return told


def go_on_with_the_given_run() -> None:
    with mlflow.start_run():
        mlflow.log_param("resumed", "yes")
        mlflow.log_metric("resumed", 1, step=1)


def log_values() -> None:
    with mlflow.start_run(run_name="values", description="every kind of value"):
        for step, value in enumerate((1.5, -2, 0, 1e308, 5e-324, float("nan"), float("inf"), float("-inf"))):
            mlflow.log_metric("odd", value, step=step)
        mlflow.log_metric("same step", 1, step=3)
        mlflow.log_metric("same step", 2, step=3)
        mlflow.log_metric("name / with.all-the_rest 1", 1)
        mlflow.log_params(
            {"lr": 0.1, "layers": [1, 2], "none": None, "text": "ü 日本語 'quoted' \"twice\"", "x": "y" * 500}
        )
        mlflow.set_tags({"kind": "values", "empty": "", "long": "z" * 5000})
        mlflow.set_tag("gone", "soon")
        mlflow.delete_tag("gone")


def log_in_batches(told: dict[str, Any]) -> None:
    with mlflow.start_run(run_name="batches") as run:
        metrics = [Metric(f"m{number % 10}", number / 7, 1_700_000_000_000 + number, number) for number in range(900)]
        params = [Param(f"p{number}", str(number)) for number in range(90)]
        client.log_batch(run.info.run_id, metrics, params, [RunTag("t", "synchronous")])
        for step in range(20):
            mlflow.log_metrics({"later": step / 3, "nan": float("nan")}, step=step, synchronous=False)
        operations = [
            mlflow.log_params({"async": "yes"}, synchronous=False),
            mlflow.set_tags({"async": "yes"}, synchronous=False),
        ]
        for operation in operations:
            operation.wait()
        mlflow.flush_async_logging()
        told["refused param"] = refused(lambda: mlflow.log_param("p1", "another value"))


def log_files(folder: Path) -> str:
    small, large, many = folder / "small.bin", folder / "large.bin", folder / "many"
    small.write_bytes(random.Random(1).randbytes(1024))
    pieces = random.Random(2)
    with large.open("wb") as file:
        for _ in range(LARGE_BYTES // 2**20):
            file.write(pieces.randbytes(2**20))
    for number in range(SMALL_FILES):
        file_of_many = many / f"{number % 10}" / f"{number:03d}.txt"
        file_of_many.parent.mkdir(parents=True, exist_ok=True)
        file_of_many.write_text(f"number {number}\n" * number)
    with mlflow.start_run(run_name="files") as run:
        mlflow.log_artifact(str(small))
        mlflow.log_artifact(str(large), "sub folder")
        mlflow.log_artifacts(str(many), "many")
        mlflow.log_artifacts(str(many / "0"))
        for name in ODD_NAMES:
            mlflow.log_text(f"content of {name}", f"odd/{name}")
        mlflow.log_text("", "empty.txt")
        mlflow.log_dict({"a": [1, None]}, "dict.json")
        mlflow.log_artifacts(str(model_folder(folder)), "model")
    return run.info.run_id


def end_in_every_way(told: dict[str, Any]) -> None:
    for status in ("FINISHED", "FAILED", "KILLED"):
        run = client.create_run(experiment(), run_name=f"ended {status}")
        client.set_terminated(run.info.run_id, status)
    try:
        with mlflow.start_run(run_name="broken off"):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        told["a run that was broken off"] = mlflow.last_active_run().info.status
    client.create_run(experiment(), run_name="still running")


def nest() -> None:
    with mlflow.start_run(run_name="parent"):
        for number in range(2):
            with mlflow.start_run(run_name=f"child {number}", nested=True):
                mlflow.log_metric("number", number)


def delete_and_restore(told: dict[str, Any]) -> None:
    run_id = client.create_run(experiment(), run_name="deleted").info.run_id
    client.delete_run(run_id)
    told["write into a deleted run"] = refused(lambda: client.log_metric(run_id, "m", 1))
    again = client.create_run(experiment(), run_name="deleted and restored").info.run_id
    client.delete_run(again)
    client.restore_run(again)
    client.log_metric(again, "m", 1)
    client.update_run(again, name="restored")


def model_folder(folder: Path) -> Path:
    """A model in MLflow's format that needs nothing but the standard library: it adds one to each number."""
    model = folder / "model"
    (model / "code").mkdir(parents=True, exist_ok=True)
    (model / "code" / "adds_one.py").write_text(
        "class AddsOne:\n"
        "    def predict(self, numbers, params=None):\n"
        "        return [number + 1 for number in numbers]\n\n\n"
        "def _load_pyfunc(path):\n"
        "    return AddsOne()\n"
    )
    (model / "MLmodel").write_text(
        "flavors:\n  python_function:\n    code: code\n    loader_module: adds_one\n    python_version: 3.11.0\n"
        "model_uuid: 0123456789abcdef0123456789abcdef\nutc_time_created: '2026-01-01 00:00:00.000000'\n"
    )
    return model


def register(folder: Path, run_id: str, told: dict[str, Any]) -> None:
    """Register a model from a run's files, as a logged model, and from a local folder; aliases, tags and stages."""
    client.create_registered_model("from a run", tags={"kind": "interop"}, description="of a run's files")
    uri = client.get_run(run_id).info.artifact_uri
    version = client.create_model_version("from a run", f"{uri}/model", run_id, tags={"t": "1"}, description="first")
    client.create_model_version("from a run", f"runs:/{run_id}/model", run_id)
    client.set_registered_model_alias("from a run", "best", "1")
    client.set_model_version_tag("from a run", "2", "note", "second")
    client.transition_model_version_stage("from a run", "2", "Production")
    told["status of a version"] = version.status

    if hasattr(client, "create_logged_model"):
        with mlflow.start_run(run_name="logs a model"):
            model = mlflow.initialize_logged_model("adds one", tags={"kind": "interop"}, params={"lr": "0.1"})
            client.log_model_artifacts(model.model_id, str(model_folder(folder)))
            mlflow.finalize_logged_model(model.model_id, "READY")
            mlflow.log_metric("of the model", 0.5, model_id=model.model_id)
        mlflow.register_model(f"models:/{model.model_id}", "from a logged model")

    python_model = folder / "adds_two.py"
    python_model.write_text(PYTHON_MODEL)
    with mlflow.start_run(run_name="calls log_model"):
        mlflow.pyfunc.log_model(
            python_model=str(python_model),
            registered_model_name=BY_LOG_MODEL,
            pip_requirements=[],
            **{MODEL_NAME: "net"},
        )

    client.create_registered_model("from a folder")
    told["from a folder"] = refused(
        # The URI as azureml-mlflow reads it: nothing in it is percent-decoded.
        lambda: client.create_model_version("from a folder", f"file://{model_folder(folder)}")
    )


def search(experiment_id: str) -> dict[str, list[str]]:
    """The names of the runs that each search finds, in order."""
    searches = {
        "all": {"order_by": ["attributes.run_name ASC"]},
        "a metric": {"filter_string": "metrics.`of the model` > 0.4"},
        "a param and a tag": {"filter_string": "params.lr = '0.1' AND tags.kind = 'values'"},
        "a status": {"filter_string": "attributes.status = 'FAILED'"},
        "a name": {"filter_string": "attributes.run_name LIKE 'child%'", "order_by": ["metrics.number DESC"]},
        "few": {"max_results": 3, "order_by": ["attributes.run_name DESC"]},
    }
    found = {}
    for name, given in searches.items():
        runs = client.search_runs([experiment_id], **{"order_by": ["attributes.run_name ASC"], **given})
        found[name] = [run.info.run_name for run in runs]
    return found


def read(folder: Path) -> dict[str, Any]:
    """All that is in the workspace but ids and times, which are each client's own."""
    experiments = {}
    names: dict[str, str] = {}
    for one in sorted(client.search_experiments(), key=lambda experiment: experiment.name):
        runs = client.search_runs([one.experiment_id], order_by=["attributes.start_time ASC"], run_view_type=3)
        names.update({run.info.run_id: run.info.run_name for run in runs})
        read_runs = {run.info.run_name: read_run(run, names) for run in runs if run.info.run_name != "given"}
        experiments[one.name] = {"tags": dict(one.tags), "runs": read_runs}
    (run_id,) = (run_id for run_id, name in names.items() if name == "files")
    files = read_files(folder / "files", run_id=run_id, artifact_path="")
    return {"experiments": experiments, "files": files, "models": read_models(folder, names)}


def read_run(run: Any, names: dict[str, str]) -> dict[str, Any]:
    run = client.get_run(run.info.run_id)
    histories = {
        key: [(point.step, repr(point.value)) for point in client.get_metric_history(run.info.run_id, key)]
        for key in sorted(run.data.metrics)
    }
    tags = {key: names.get(value, value) for key, value in run.data.tags.items() if not key.startswith(OWN_TAGS)}
    return {
        "status": run.info.status,
        "stage": run.info.lifecycle_stage,
        "ended": bool(run.info.end_time),
        "params": dict(sorted(run.data.params.items())),
        "tags": dict(sorted(tags.items())),
        "latest": {key: repr(value) for key, value in sorted(run.data.metrics.items())},
        "histories": histories,
    }


def read_files(target: Path, **source: str) -> dict[str, str]:
    """Every file of a run or a model, downloaded, with its SHA-256."""
    target.mkdir(parents=True, exist_ok=True)
    local = Path(mlflow.artifacts.download_artifacts(**source, dst_path=str(target)))
    return {
        path.relative_to(local).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(local.rglob("*"))
        if path.is_file()
    }


def read_models(folder: Path, names: dict[str, str]) -> dict[str, Any]:
    models = {}
    for model in sorted(client.search_registered_models(), key=lambda one: one.name):
        versions = {}
        for version in sorted(client.search_model_versions(f"name = '{model.name}'"), key=lambda one: int(one.version)):
            uri = f"models:/{model.name}/{version.version}"
            versions[version.version] = {
                "description": version.description or "",
                "status": version.status,
                "stage": version.current_stage,
                "tags": dict(version.tags),
                "aliases": list(client.get_model_version(model.name, version.version).aliases),
                "run": names.get(version.run_id or "", ""),
                **read_version(uri, folder / f"{model.name} {version.version}"),
            }
        models[model.name] = {
            "description": model.description or "",
            "tags": dict(model.tags),
            "aliases": dict(model.aliases),
            "versions": versions,
        }
    return models


def read_version(uri: str, target: Path) -> dict[str, Any]:
    """A version's files, and what the model says; or why there are none."""
    try:
        files = read_files(target, artifact_uri=uri)
        return {
            "files": {} if BY_LOG_MODEL in uri else files,
            "predicted": list(mlflow.pyfunc.load_model(uri).predict([1, 2, 3])),
        }
    except MlflowException as error:
        return {"refused": error.error_code}


def hold(seconds: float) -> dict[str, Any]:
    """Log on and on, and list files now and then, whatever becomes of the token meanwhile."""
    run_id = os.environ["MLFLOW_RUN_ID"]
    began, logged = time.monotonic(), 0
    with mlflow.start_run(run_id=run_id):
        while time.monotonic() - began < seconds:
            mlflow.log_metric("held", logged, step=logged)
            logged += 1
            if logged % 10 == 0:
                mlflow.log_text(f"{logged}", f"held/{logged}.txt")
            time.sleep(1)
    return {"logged": logged, "files": len(client.list_artifacts(run_id, "held"))}


def experiment() -> str:
    return client.get_experiment_by_name(EXPERIMENT).experiment_id


def refused(call: Any) -> str:
    """The code of the error that a call ends with, "" where it doesn't."""
    try:
        call()
    except MlflowException as error:
        return error.error_code
    return ""


if __name__ == "__main__":
    command, argument = sys.argv[1:]
    done = hold(float(argument)) if command == "hold" else {"write": write, "read": read}[command](Path(argument))
    print(json.dumps(done, ensure_ascii=False))
