"""What a user keeps in a workspace and reads there, with whichever version of the package is imported.

As a process it answers calls (`CALLS`) that come in on lines. What a version doesn't have yet is neither made nor read.
A workspace is named by its folder or by a service's URL.
"""

import hashlib
import importlib
import inspect
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mlflow_amlstore import core
from mlflow_amlstore.cli import cli

HAS_RUN = hasattr(core, "Run")  # since revision 0003
HAS_DESCRIPTIONS = HAS_RUN and hasattr(core.Run, "get_metric_descriptions")  # since revision 0004
HAS_LOGGED_MODELS = hasattr(MlflowClient, "create_logged_model")  # since MLflow 3
BEGAN_MS = 1_700_000_000_000
POINTS = 2000
PROMPT_TAG = "mlflow.prompt.is_prompt"
IMAGE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c63606060f80f0001040100"
    "5fe5c34b0000000049454e44ae426082"
)
DOCUMENTS = {
    "confusion_matrix": ("1.0.0", {"class_labels": ["cat", "dog"], "matrix": [[8, 2], [1, 9]]}),
    "accuracy_table": (
        "1.0.1",
        {
            "probability_tables": [[[4, 6, 0, 0], [0, 0, 6, 4]]],
            "probability_thresholds": [0.0, 1.0],
            "percentile_tables": [[[4, 6, 0, 0], [1, 0, 6, 3]]],
            "percentile_thresholds": [0.0, 0.9],
            "class_labels": ["cat"],
        },
    ),
    "residuals": ("1.0.0", {"bin_edges": [-1, 0, 1], "bin_counts": [3, 4]}),
    "predictions": (
        "1.0.0",
        {
            "bin_averages": [0.25, 0.75],
            "bin_errors": [0.01, 0.04],
            "bin_counts": [56, 34],
            "bin_edges": [0.0, 0.5, 1.0],
        },
    ),
}


def open_workspace(where: str) -> Any:
    """A `Workspace`: of a service, of a folder that is one, or of a new folder."""
    if where.startswith("http"):
        return core.Workspace.from_url(where)
    if (Path(where) / "config.json").exists():
        return core.Workspace.from_config(where)
    return core.Workspace.create(where)


def client_of(workspace: Any) -> MlflowClient:
    uri = workspace.get_mlflow_tracking_uri()
    return MlflowClient(uri, uri)


def fill(workspace: Any, name: str) -> None:
    """Make what there is to read, by MLflow and, where this version has it, by `Run`."""
    client = client_of(workspace)
    experiment_id = client.create_experiment(f"{name}-training", tags={"team": "ü"})
    run_id = _log_a_run(client, experiment_id, name)
    _log_other_runs(client, experiment_id, run_id)
    _delete_an_experiment(client, name)
    _register_models(client, run_id, name)
    if HAS_LOGGED_MODELS:
        _log_a_model(client, experiment_id, run_id, name)
    if HAS_RUN:
        _log_by_run(workspace, name)


def _log_a_run(client: MlflowClient, experiment_id: str, name: str) -> str:
    run_id = str(client.create_run(experiment_id, BEGAN_MS, {"kind": "first"}, f"{name}-first").info.run_id)
    for start in range(0, POINTS, 500):
        steps = range(start, start + 500)
        client.log_batch(run_id, [Metric("loss", 1 / (step + 1), BEGAN_MS + step, step) for step in steps])
    for step, value in enumerate((float("nan"), float("inf"), float("-inf"), -0.0, 1e308)):
        client.log_metric(run_id, "special", value, BEGAN_MS, step)
    for value in (0.3, 0.2, 0.2):
        client.log_metric(run_id, "same step", value, BEGAN_MS, -7)
    client.log_param(run_id, "alpha", 0.1)
    client.log_batch(run_id, params=[Param("long", "x" * 6000), Param("größe/ü", "ä")], tags=[RunTag("a b", "c")])
    client.set_tag(run_id, "mlflow.note.content", "What was tried")
    client.set_tag(run_id, "gone", "soon")
    client.delete_tag(run_id, "gone")
    _log_files(client, run_id, name)
    dataset = Dataset("irises", "abc123", "local", '{"uri": "irises.csv"}', schema="{}", profile="{}")
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
    client.set_terminated(run_id, "FINISHED", BEGAN_MS + 60_000)
    return run_id


def _log_files(client: MlflowClient, run_id: str, name: str) -> None:
    client.log_text(run_id, f"Of {name}.", "outputs/note.txt")
    client.log_text(run_id, "twice the same", "a b/ü.txt")
    client.log_text(run_id, "twice the same", "copy.txt")
    client.log_text(run_id, "", "empty.txt")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "weights.bin").write_bytes(bytes(range(256)) * 1000)
        client.log_artifact(run_id, str(Path(folder) / "weights.bin"), "model")
        (Path(folder) / "weights.bin").write_bytes(bytes(range(256)) * 500)
        client.log_artifact(run_id, str(Path(folder) / "weights.bin"), "model")


def _log_other_runs(client: MlflowClient, experiment_id: str, parent_id: str) -> None:
    child = client.create_run(experiment_id, BEGAN_MS + 1, {"mlflow.parentRunId": parent_id}, "child").info.run_id
    client.log_metric(child, "loss", 0.5, BEGAN_MS, 0)
    client.set_terminated(child, "FAILED", BEGAN_MS + 2)
    running = client.create_run(experiment_id, BEGAN_MS + 3, {"kind": "still running"}).info.run_id
    client.log_metric(running, "loss", 0.25, BEGAN_MS, 0)
    deleted = client.create_run(experiment_id, BEGAN_MS + 4, run_name="deleted").info.run_id
    client.log_param(deleted, "alpha", 9)
    client.log_text(deleted, "still there", "a.txt")
    client.delete_run(deleted)


def _delete_an_experiment(client: MlflowClient, name: str) -> None:
    gone = client.create_experiment(f"{name}-gone")
    client.log_metric(client.create_run(gone, BEGAN_MS).info.run_id, "loss", 0.125, BEGAN_MS, 0)
    client.rename_experiment(gone, f"{name}-renamed and gone")
    client.delete_experiment(gone)


def _register_models(client: MlflowClient, run_id: str, name: str) -> None:
    model, source = f"{name}-net", f"{client.get_run(run_id).info.artifact_uri}/model"
    client.create_registered_model(model, {"task": "irises"}, "Finds irises")
    for number in range(3):
        client.create_model_version(model, source, run_id, {"number": str(number)}, description=f"version {number}")
    client.set_registered_model_alias(model, "champion", "2")
    client.set_registered_model_alias(model, "challenger", "1")
    client.set_model_version_tag(model, "2", "checked", "yes")
    client.transition_model_version_stage(model, "1", "Production")
    client.delete_model_version(model, "3")
    client.create_registered_model(f"{name}-deleted")
    client.delete_registered_model(f"{name}-deleted")


def _log_a_model(client: MlflowClient, experiment_id: str, run_id: str, name: str) -> None:
    model = client.create_logged_model(experiment_id, f"{name}-logged", run_id, {"a": "b"}, {"alpha": "0.1"}, "own")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
        client.log_model_artifacts(model.model_id, folder)
    client.log_metric(run_id, "accuracy", 0.9, BEGAN_MS, 3, model_id=model.model_id)
    client.finalize_logged_model(model.model_id, "READY")
    deleted = client.create_logged_model(experiment_id, f"{name}-deleted")
    client.delete_logged_model(deleted.model_id)
    client.register_prompt(f"{name}-prompt", "Name {{what}}.", "first")
    client.set_prompt_alias(f"{name}-prompt", "production", 1)


def _log_by_run(workspace: Any, name: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "source").mkdir()
        (folder / "source" / "train.py").write_text("print('training')\n", encoding="utf-8")
        (folder / "image.png").write_bytes(IMAGE)
        experiment = core.Experiment(workspace, f"{name}-vocabulary")
        run = experiment.start_logging(
            snapshot_directory=str(folder / "source"), outputs=None, display_name="all kinds"
        )
        _log_values(run, folder)
        run.set_tags({"kind": "vocabulary", "gone": "soon"})
        run.remove_tags("gone")
        run.add_properties({"written": "once"})
        run.upload_file("outputs/model/weights.bin", str(folder / "image.png"))
        run.upload_folder("source", str(folder / "source"))
        _register_by_run(run, name)
        child = run.child_run("child")
        child.log("loss", 0.5)
        child.complete()
        failed = run.child_run("failed")
        failed.fail("no data", "UserError")
        run.complete()
        experiment.start_logging(snapshot_directory=None, outputs=None, display_name="canceled").cancel()


def _log_values(run: Any, folder: Path) -> None:
    run.log("alpha", 0.03)
    run.log("int", 2**40, "of 41 bits")
    run.log("bool", True)
    run.log("string", "warm-up")
    run.log("NaN text", "NaN")
    for loss in (0.5, float("nan"), 0.125):
        run.log("loss", loss)
    run.log("with step", 0.5, step=10)
    run.log_list("list", [n * n for n in range(1000)])
    run.log_list("mixed list", [1, "two", 3.0, float("inf")])
    run.log_row("row", train=0.8, test=0.2, note="shuffled")
    for angle in range(0, 360, 90):
        run.log_row("rows", angle=angle, sine=angle / 360)
    run.log_table("table", {"x": [1, 2, 3], "y": [0.1, 0.2, 0.3]})
    run.log_image("image", str(folder / "image.png"))
    for kind, (version, data) in DOCUMENTS.items():
        log = getattr(run, f"log_{kind}")
        log(kind, {"schema_type": kind, "schema_version": version, "data": data})


def _register_by_run(run: Any, name: str) -> None:
    for number in range(2):
        run.register_model(
            f"{name}-registered",
            "outputs/model",
            tags={"number": str(number)},
            properties={"kept": "for good"},
            model_framework="ScikitLearn",
            model_framework_version="1.5",
            description="of a run",
        )


def read(where: str) -> dict[str, Any]:
    """All that is in a workspace, by each way of reading it that this version has. Numbers are texts: NaN isn't NaN."""
    workspace = open_workspace(where)
    found = {"mlflow": read_by_mlflow(client_of(workspace))}
    if HAS_RUN:
        found["run"] = read_by_run(workspace)
    if not where.startswith("http"):
        found["command line"] = read_by_command_line(where)
    named = "SERVICE" if where.startswith("http") else "FOLDER"
    return dict(_plain(found, where if named == "SERVICE" else str(Path(where).resolve()), named))


def _plain(value: Any, place: str, named: str) -> Any:
    """A value as JSON has it, and with no place in it: of whichever folder or service it was read."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part, place, named) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part, place, named) for part in value]
    if isinstance(value, float):
        return repr(value)
    return value.replace(place, named) if isinstance(value, str) else value


def read_by_mlflow(client: MlflowClient) -> dict[str, Any]:
    """Experiments, runs, models and, with MLflow 3, logged models and prompts."""
    experiments = client.search_experiments(ViewType.ALL)
    ids = [experiment.experiment_id for experiment in experiments]
    models = [model for model in client.search_registered_models() if PROMPT_TAG not in model.tags]
    found = {
        "experiments": {one.name: _facts(one, "tags lifecycle_stage artifact_location") for one in experiments},
        "runs": {run.info.run_id: _run(client, run) for run in client.search_runs(ids, run_view_type=ViewType.ALL)},
        "models": {model.name: _model(client, model) for model in models},
    }
    if HAS_LOGGED_MODELS:
        logged = client.search_logged_models(ids)
        found["logged models"] = {model.model_id: _logged_model(client, model) for model in logged}
        names = [prompt.name for prompt in client.search_prompts()]
        found["prompts"] = {name: _prompt(client, name) for name in names}
    return found


def _facts(entity: Any, names: str) -> dict[str, Any]:
    return {name: getattr(entity, name) for name in names.split()}


def _run(client: MlflowClient, run: Any) -> dict[str, Any]:
    run_id = run.info.run_id
    history = {name: client.get_metric_history(run_id, name) for name in run.data.metrics}
    return {
        **_facts(run.info, "run_name experiment_id status start_time end_time lifecycle_stage user_id artifact_uri"),
        **_facts(run.data, "metrics params tags"),
        "history": {name: [(p.value, p.step, p.timestamp) for p in points] for name, points in history.items()},
        "datasets": [
            {**_facts(given.dataset, "name digest source_type source schema profile"), "tags": _pairs(given.tags)}
            for given in run.inputs.dataset_inputs
        ],
        "files": dict(_files(client, run_id)) if run.info.lifecycle_stage == "active" else {},
    }


def _pairs(tags: Any) -> dict[str, str]:
    return {tag.key: tag.value for tag in tags}


def _files(client: MlflowClient, run_id: str, folder: str | None = None) -> Iterator[tuple[str, str]]:
    for entry in client.list_artifacts(run_id, folder):
        if entry.is_dir:
            yield from _files(client, run_id, entry.path)
        else:
            with tempfile.TemporaryDirectory() as temporary:
                yield entry.path, _sha256(Path(client.download_artifacts(run_id, entry.path, temporary)))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sha256_of_all(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in files}


def _model(client: MlflowClient, model: Any) -> dict[str, Any]:
    versions = client.search_model_versions(f"name = '{model.name}'")
    names = "description tags source run_id current_stage status"
    return {
        **_facts(model, "description tags"),
        "aliases": {alias: str(version) for alias, version in client.get_registered_model(model.name).aliases.items()},
        "versions": {str(version.version): _facts(version, names) for version in versions},
        "files": {str(version.version): _downloaded(client, version) for version in versions},
    }


def _downloaded(client: MlflowClient, version: Any) -> dict[str, str]:
    uri = client.get_model_version_download_uri(version.name, version.version)
    with tempfile.TemporaryDirectory() as temporary:
        return _sha256_of_all(Path(mlflow.artifacts.download_artifacts(uri, dst_path=temporary)))


def _logged_model(client: MlflowClient, model: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        files = Path(get_artifact_repository(model.artifact_location).download_artifacts("", temporary))
        sha256 = _sha256_of_all(files)
    return {
        **_facts(model, "name experiment_id source_run_id model_type params tags artifact_location"),
        "status": str(model.status),
        "metrics": [(metric.key, metric.value, metric.step, metric.run_id) for metric in model.metrics],
        "files": sha256,
    }


def _prompt(client: MlflowClient, name: str) -> dict[str, Any]:
    return _facts(client.get_prompt_version_by_alias(name, "production"), "name version template aliases")


def read_by_run(workspace: Any) -> dict[str, Any]:
    """Runs as `Run` has them, and models as `Model` does."""
    experiments = workspace.experiments.values()
    runs = [run for experiment in experiments for run in experiment.get_runs(include_children=True)]
    return {
        "runs": {run.id: _run_of_vocabulary(run) for run in runs},
        "models": {model.id: _model_of_vocabulary(model) for model in core.Model.list(workspace)},
    }


def _run_of_vocabulary(run: Any) -> dict[str, Any]:
    details = run.get_details()
    with tempfile.TemporaryDirectory() as temporary:
        if run.get_file_names():  # where there are none, it is an error to download them
            run.download_files(output_directory=temporary)
        files = _sha256_of_all(Path(temporary))
    return {
        "name": run.display_name,
        "experiment": run.experiment.name,
        "status": run.get_status(),
        "number": run.number,
        "parent": run.parent and run.parent.id,
        "tags": run.get_tags(),
        "properties": run.get_properties(),
        "metrics": run.get_metrics(),
        **({"descriptions": run.get_metric_descriptions()} if HAS_DESCRIPTIONS else {}),
        "files": files,
        "snapshot": _snapshot(run),
        "details": {name: details[name] for name in ("startTimeUtc", "endTimeUtc", "error") if name in details},
    }


def _snapshot(run: Any) -> dict[str, str]:
    if run.get_snapshot_id() is None:
        return {}
    with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(run.restore_snapshot(path=temporary)) as zipped:
        return {name: hashlib.sha256(zipped.read(name)).hexdigest() for name in zipped.namelist()}


def _model_of_vocabulary(model: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        files = _sha256_of_all(Path(model.download(target_dir=temporary)).parent)
    names = "name version description tags properties model_framework model_framework_version run_id"
    return {**_facts(model, names), "files": files}


def read_by_command_line(folder: str) -> dict[str, Any]:
    """What the commands that read print with --json."""
    listed = {f"{name}{flag}": _amlstore(name, *flag.split(), "--json", "-w", folder) for name, flag in LISTS}
    run_ids = [run["run_id"] for name in ("runs", "runs --deleted") for run in listed[name]]
    shown = {run_id: _amlstore("show", run_id, "--json", "-w", folder) for run_id in run_ids}
    keys = {"keys": _amlstore("keys", "list", "--json", "-w", folder)} if HAS_KEYS else {}
    return {**listed, "show": shown, **keys}


LISTS = [("experiments", ""), ("experiments", " --deleted"), ("runs", ""), ("runs", " --deleted")]
HAS_KEYS = cli.get_command(None, "keys") is not None  # since revision 0002


def _amlstore(*arguments: str) -> Any:
    return json.loads(_printed_by_amlstore(*arguments))


def _printed_by_amlstore(*arguments: str) -> str:
    printed = io.StringIO()
    with redirect_stdout(printed):
        cli.main(list(arguments), standalone_mode=False)
    return printed.getvalue()


def login(url: str, key: str) -> None:
    """Keep a key for a service, as `amlstore login` does where there is no keyring."""
    command = [sys.executable, "-c", "from mlflow_amlstore.cli import main; main()", "login", url]
    environment = {**os.environ, "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    subprocess.run(command, env=environment, input=f"{key}\n", text=True, capture_output=True, check=True)


def outlive_token(uri: str, lifetime_s: str) -> str:
    """Log into a new run for longer than the token of a tracking URI lives, with nothing else to renew it by."""
    client = MlflowClient(uri, uri)
    run_id = str(client.create_run("0").info.run_id)
    until, step, is_over = time.monotonic() + float(lifetime_s) + 1, 0, False
    while not is_over:
        is_over = time.monotonic() > until
        client.log_metric(run_id, "m", step, step=step)
        step += 1
        time.sleep(0.2)
    client.set_terminated(run_id)
    return run_id


def log_until_told(where: str, told: str) -> list[Any]:
    """Log into a new run until the file `told` is there and ten times more; return the run's id and the number."""
    client, number, more = client_of(open_workspace(where)), 0, 10
    run_id = str(client.create_run("0", run_name="goes on").info.run_id)
    while more:
        client.log_batch(run_id, [Metric("m", number, BEGAN_MS, number)], [Param(f"p{number}", str(number))])
        if number == 0:
            Path(told).with_suffix(".begun").touch()
        number += 1
        more -= Path(told).exists()
    client.log_text(run_id, "at the end", "end.txt")
    return [run_id, number]


PUBLIC = [
    "mlflow_amlstore",
    "mlflow_amlstore.core",
    "mlflow_amlstore.errors",
    "mlflow_amlstore.pytest_plugin",
    "mlflow_amlstore.azureml",
    *(f"mlflow_amlstore.azureml.{name}" for name in ("core", "exceptions", "mlflow", "widgets")),
]


def public_names() -> dict[str, Any]:
    """What the public modules have, and the commands: each function's, class's and command's parameters."""
    found: dict[str, Any] = {}
    for name in PUBLIC:
        module = importlib.import_module(name)
        for attribute in getattr(module, "__all__", dir(module)):
            value = getattr(module, attribute)
            is_ours = not inspect.ismodule(value) and getattr(value, "__module__", name).startswith(PUBLIC[0])
            if is_ours and not attribute.startswith("_"):
                found |= _parameters(f"{name}.{attribute}", value)
    for command in cli.list_commands(click.Context(cli)):
        found |= _options(f"amlstore {command}", cli.get_command(click.Context(cli), command))
    return found


def _parameters(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, type) and issubclass(value, Exception):
        return {name: []}  # users catch them, and don't make them
    if isinstance(value, type):
        members = {member: inspect.getattr_static(value, member) for member in dir(value) if member[0] != "_"}
        made_by = {name: signature_of(value)}
        return {**made_by, **{f"{name}.{member}": signature_of(part) for member, part in members.items()}}
    return {name: signature_of(value)}


def signature_of(value: Any) -> list[list[Any]]:
    """Each parameter's name and kind, and whether it may be left out; none for what isn't called."""
    try:
        parameters = inspect.signature(getattr(value, "__func__", value)).parameters.values()
    except (TypeError, ValueError):
        return []
    return [[one.name, one.kind.name, one.default is not one.empty] for one in parameters]


def _options(name: str, command: Any) -> dict[str, Any]:
    given = [option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)]
    needed = [option for parameter in command.params if parameter.required for option in parameter.opts]
    found = {name: {"options": sorted(given), "needed": sorted(needed)}}
    for part in getattr(command, "commands", {}):
        found |= _options(f"{name} {part}", command.commands[part])
    return found


CALLS = {
    "open": lambda where: open_workspace(where) and None,
    "fill": lambda where, name: fill(open_workspace(where), name),
    "read": read,
    "login": login,
    "outlive_token": outlive_token,
    "log_until_told": log_until_told,
    "amlstore": _printed_by_amlstore,
    "public_names": public_names,
    "package": lambda: core.__file__,
}


def main() -> None:
    """Answer calls: each is a line of JSON, with a name, arguments and settings of the environment."""
    answers, sys.stdout = sys.stdout, sys.stderr  # MLflow prints where its runs can be seen
    for line in sys.stdin:
        name, arguments, environment = json.loads(line)
        os.environ.update(environment)
        print(json.dumps(CALLS[name](*arguments)), file=answers, flush=True)


if __name__ == "__main__":
    main()
