"""Single calls of MLflow's, each announced to the recorder, so that what a client sends for it can be looked at.

    python calls.py FOLDER     with SERVICE_URL and REQUESTS_CA_BUNDLE beside what the client needs to be let in

Prints the ids that came up, by what they are of.
"""

import json
import os
import ssl
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric, Param, RunTag

LARGE_BYTES = 70 * 1024 * 1024
MODEL_TEXT = "flavors:\n  python_function:\n    loader_module: none\n"

client = mlflow.MlflowClient()
ids: dict[str, str] = {}
CALLS: list[Callable[[Path], Any]] = []


def recorded(call: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Add a function to the calls."""
    CALLS.append(call)
    return call


@recorded
def create_experiment(_: Path) -> None:
    ids["experiment"] = client.create_experiment("calls", tags={"kind": "calls"})


@recorded
def get_experiment(_: Path) -> None:
    client.get_experiment(ids["experiment"])


@recorded
def get_experiment_by_name(_: Path) -> None:
    client.get_experiment_by_name("calls")
    client.get_experiment_by_name("ü & no such experiment")


@recorded
def set_experiment_tag(_: Path) -> None:
    client.set_experiment_tag(ids["experiment"], "k", "v")


@recorded
def rename_experiment(_: Path) -> None:
    client.rename_experiment(ids["experiment"], "renamed")


@recorded
def search_experiments(_: Path) -> None:
    client.search_experiments(filter_string="name = 'calls'", max_results=10)


@recorded
def create_run(_: Path) -> None:
    run = client.create_run(ids["experiment"], start_time=1_700_000_000_000, tags={"k": "v"}, run_name="a run")
    ids["run"] = run.info.run_id


@recorded
def get_run(_: Path) -> None:
    client.get_run(ids["run"])


@recorded
def log_metric(_: Path) -> None:
    client.log_metric(ids["run"], "loss", 0.5, timestamp=1_700_000_000_001, step=3)


@recorded
def log_metric_that_json_has_no_number_for(_: Path) -> None:
    for value in ("nan", "inf", "-inf"):
        client.log_metric(ids["run"], "odd", float(value), timestamp=1_700_000_000_001, step=0)


@recorded
def log_param(_: Path) -> None:
    client.log_param(ids["run"], "lr", 0.1)


@recorded
def set_tag(_: Path) -> None:
    client.set_tag(ids["run"], "ü", "日本語")


@recorded
def delete_tag(_: Path) -> None:
    client.delete_tag(ids["run"], "ü")


@recorded
def log_batch(_: Path) -> None:
    client.log_batch(ids["run"], *_batch("s"))


@recorded
def log_batch_asynchronously(_: Path) -> None:
    client.log_batch(ids["run"], *_batch("a"), synchronous=False).wait()


def _batch(prefix: str) -> tuple[list[Metric], list[Param], list[RunTag]]:
    metrics = [
        Metric(f"{prefix}m", 1.5, 1_700_000_000_000, 0),
        Metric(f"{prefix}m", float("nan"), 1_700_000_000_000, 1),
    ]
    return metrics, [Param(f"{prefix}p", "1")], [RunTag(f"{prefix}t", "2")]


@recorded
def get_metric_history(_: Path) -> None:
    list(client.get_metric_history(ids["run"], "loss"))


@recorded
def search_runs(_: Path) -> None:
    client.search_runs([ids["experiment"]], "metrics.loss < 1", order_by=["metrics.loss DESC"], max_results=7)


@recorded
def update_run(_: Path) -> None:
    client.update_run(ids["run"], name="another name")


@recorded
def log_artifact(folder: Path) -> None:
    (folder / "small file.txt").write_text("content")
    client.log_artifact(ids["run"], str(folder / "small file.txt"), "sub folder")


@recorded
def log_empty_artifact(folder: Path) -> None:
    (folder / "empty").write_text("")
    client.log_artifact(ids["run"], str(folder / "empty"))


@recorded
def log_large_artifact(folder: Path) -> None:
    with (folder / "large.bin").open("wb") as file:
        file.truncate(LARGE_BYTES)
    client.log_artifact(ids["run"], str(folder / "large.bin"))


@recorded
def log_artifacts(folder: Path) -> None:
    (folder / "many" / "deeper").mkdir(parents=True)
    for name in ("a.txt", "deeper/ü.txt"):
        (folder / "many" / name).write_text(name)
    client.log_artifacts(ids["run"], str(folder / "many"), "many")


@recorded
def list_artifacts(_: Path) -> None:
    client.list_artifacts(ids["run"])


@recorded
def download_artifact(folder: Path) -> None:
    client.download_artifacts(ids["run"], "sub folder/small file.txt", str(folder))


@recorded
def download_empty_artifact(folder: Path) -> None:
    client.download_artifacts(ids["run"], "empty", str(folder))


@recorded
def download_large_artifact(folder: Path) -> None:
    (folder / "down").mkdir()
    client.download_artifacts(ids["run"], "large.bin", str(folder / "down"))


@recorded
def set_terminated(_: Path) -> None:
    client.set_terminated(ids["run"], "FINISHED", end_time=1_700_000_000_002)


@recorded
def delete_and_restore_run(_: Path) -> None:
    client.delete_run(ids["run"])
    client.restore_run(ids["run"])


@recorded
def create_logged_model(_: Path) -> None:
    model = client.create_logged_model(ids["experiment"], name="net", source_run_id=ids["run"], tags={"k": "v"})
    ids["model"] = model.model_id


@recorded
def log_model_artifacts(folder: Path) -> None:
    model = folder / "model"
    model.mkdir()
    (model / "MLmodel").write_text(MODEL_TEXT)
    client.log_model_artifacts(ids["model"], str(model))


@recorded
def finalize_logged_model(_: Path) -> None:
    client.finalize_logged_model(ids["model"], "READY")


@recorded
def get_logged_model(_: Path) -> None:
    client.get_logged_model(ids["model"])


@recorded
def search_logged_models(_: Path) -> None:
    client.search_logged_models([ids["experiment"]], "name = 'net'", max_results=5)


@recorded
def set_and_delete_logged_model_tags(_: Path) -> None:
    client.set_logged_model_tags(ids["model"], {"a": "b"})
    client.delete_logged_model_tag(ids["model"], "a")


@recorded
def create_registered_model(_: Path) -> None:
    client.create_registered_model("net", tags={"k": "v"}, description="words")


@recorded
def get_registered_model(_: Path) -> None:
    client.get_registered_model("net")


@recorded
def search_registered_models(_: Path) -> None:
    client.search_registered_models("name LIKE 'n%'", max_results=5, order_by=["name DESC"])


@recorded
def create_model_version(_: Path) -> None:
    client.create_model_version("net", f"runs:/{ids['run']}/many", ids["run"], tags={"k": "v"}, description="words")


@recorded
def create_model_version_of_a_logged_model(_: Path) -> None:
    client.create_model_version("net", f"models:/{ids['model']}", model_id=ids["model"])


@recorded
def create_model_version_of_a_local_folder(folder: Path) -> None:
    client.create_model_version("net", f"file://{folder / 'model'}")


@recorded
def get_model_version(_: Path) -> None:
    client.get_model_version("net", "1")


@recorded
def get_model_version_download_uri(_: Path) -> None:
    client.get_model_version_download_uri("net", "1")


@recorded
def search_model_versions(_: Path) -> None:
    client.search_model_versions("name = 'net'", max_results=5)


@recorded
def set_and_get_and_delete_alias(_: Path) -> None:
    client.set_registered_model_alias("net", "best", "1")
    client.get_model_version_by_alias("net", "best")
    client.delete_registered_model_alias("net", "best")


@recorded
def set_and_delete_tags_of_models(_: Path) -> None:
    client.set_registered_model_tag("net", "a", "b")
    client.delete_registered_model_tag("net", "a")
    client.set_model_version_tag("net", "1", "a", "b")
    client.delete_model_version_tag("net", "1", "a")


@recorded
def update_models(_: Path) -> None:
    client.update_registered_model("net", "other words")
    client.update_model_version("net", "1", "other words")
    client.transition_model_version_stage("net", "1", "Staging", archive_existing_versions=True)


@recorded
def delete_models(_: Path) -> None:
    client.delete_model_version("net", "1")
    client.rename_registered_model("net", "net 2")
    client.delete_registered_model("net 2")


@recorded
def delete_and_restore_experiment(_: Path) -> None:
    client.delete_experiment(ids["experiment"])
    client.restore_experiment(ids["experiment"])


def main(folder: Path) -> None:
    """Do all calls, one after another; one that is refused is no reason to stop."""
    trusting = ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])
    refused = {}
    client.search_experiments(max_results=1)  # what a client does once, when it begins, belongs to no call
    for call in CALLS:
        urllib.request.urlopen(
            f"{os.environ['SERVICE_URL']}/health/live?call={call.__name__}", context=trusting
        ).close()
        try:
            call(folder)
        except mlflow.exceptions.MlflowException as error:
            refused[call.__name__] = str(error)
    print(json.dumps({"ids": ids, "refused": refused}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
