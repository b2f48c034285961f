"""What a user of Azure ML's SDK logs into a workspace and reads there, with the SDK itself or with this package.

    python sdk_script.py azureml|mlflow_amlstore write FOLDER     make runs, children, files and models
    python sdk_script.py azureml|mlflow_amlstore read FOLDER      tell as JSON what is there, by names and not ids

SERVICE_URL says where, as `https://LABEL.blob.SUFFIX[:PORT]`: the SDK takes a storage address apart in this way. Names
that end with `.localhost` are this machine here, as a name server would have it. TOKEN lets the SDK in, AMLSTORE_KEY
this package. Both commands print one JSON document, last.
"""

import hashlib
import importlib
import json
import math
import os
import re
import socket
import sys
import zipfile
from collections import namedtuple
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

OWN = sys.argv[1] != "azureml"
core = importlib.import_module(f"{sys.argv[1]}.core")
Experiment, Model, Run, Workspace = core.Experiment, core.Model, core.Run, core.Workspace

EXPERIMENT, OTHER_EXPERIMENT = "sdk", "another-experiment"
FILES = ["plain.txt", "a b/ü%41.txt", "a b/100%.txt", "deep/er/x#y&z=1+2.txt", "outputs/empty.txt"]
NOT_IN_A_PATH = re.compile("[#?]|%[0-9a-fA-F]{2}")  # the SDK puts a name into download_file's URL as it is
CONFUSION = {
    "schema_type": "confusion_matrix",
    "schema_version": "1.0.0",
    "data": {"class_labels": ["cat", "dog"], "matrix": [[8, 2], [1, 9]]},
}
ACCURACY = {
    "schema_type": "accuracy_table",
    "schema_version": "1.0.1",
    "data": {
        "probability_tables": [[[4, 6, 0, 0], [0, 0, 6, 4]]],
        "probability_thresholds": [0.0, 1.0],
        "percentile_tables": [[[4, 6, 0, 0], [1, 0, 6, 3]]],
        "percentile_thresholds": [0.0, 0.9],
        "class_labels": ["cat"],
    },
}
RESIDUALS = {
    "schema_type": "residuals",
    "schema_version": "1.0.0",
    "data": {"bin_edges": [-1, 0, 1], "bin_counts": [3, 4]},
}
PREDICTIONS = {
    "schema_type": "predictions",
    "schema_version": "1.0.0",
    "data": {
        "bin_averages": [0.25, 0.75],
        "bin_errors": [0.01, 0.04],
        "bin_counts": [56, 34],
        "bin_edges": [0.0, 0.5, 1.0],
    },
}


def find_this_machine() -> None:
    """Resolve `*.localhost`, which not every system does."""
    resolve = socket.getaddrinfo

    def resolved(host: Any, *arguments: Any, **more: Any) -> Any:
        return resolve("127.0.0.1" if str(host).endswith(".localhost") else host, *arguments, **more)

    socket.getaddrinfo = resolved


def open_workspace() -> Any:
    """The workspace of the service, by its address, or by what it says of itself."""
    url = os.environ["SERVICE_URL"]
    if OWN:
        return Workspace.from_url(url)
    with urlopen(Request(f"{url}/discovery")) as answer:
        facts = json.load(answer)
    names = [facts[name] for name in ("subscriptionId", "resourceGroup", "workspaceName")]
    return Workspace(*names, auth=token_authentication())


def token_authentication() -> Any:
    """The token, as an authentication object of the SDK's."""
    authentication = importlib.import_module("azureml.core.authentication")
    token = os.environ["TOKEN"]
    Subscription = namedtuple("Subscription", "subscription_name subscription_id")

    class TokenOfService(authentication.AbstractAuthentication):  # type: ignore[name-defined,misc]
        def _get_arm_token(self) -> str:
            return token

        _get_graph_token = _get_azureml_client_token = _get_arm_token

        def _get_all_subscription_ids(self) -> Any:
            subscription = "00000000-0000-0000-0000-000000000000"
            return [Subscription("local", subscription)], subscription

        def _get_workspace(self, *_: object) -> None:
            return None

    return TokenOfService()


def write(ws: Any, folder: Path) -> dict[str, Any]:
    """Make all there is to read. Returns what is told of it besides."""
    experiment = Experiment(ws, EXPERIMENT)
    experiment.set_tags({"kind": "interop", "gone": "soon"})
    experiment.remove_tags(["gone"])
    told: dict[str, Any] = {}
    log_values(experiment)
    log_charts(experiment)
    keep_facts(experiment, told)
    move_files(experiment, folder, told)
    nest(experiment, told)
    end_in_every_way(experiment)
    take_snapshot(experiment, folder, told)
    register(ws, experiment, folder, told)
    begin(Experiment(ws, OTHER_EXPERIMENT), "elsewhere").complete()
    return told


def begin(experiment: Any, case: str) -> Any:
    run = experiment.start_logging(snapshot_directory=None, outputs=None, display_name=case)
    run.tag("case", case)
    return run


def log_values(experiment: Any) -> None:
    import numpy

    run = begin(experiment, "values")
    run.log("float", 0.1)
    run.log("int", 3)
    run.log("large int", 2**40)
    run.log("bool", True)
    run.log("string", "warm-up")
    run.log("numpy float", numpy.float32(0.5))
    run.log("numpy int", numpy.int64(7))
    run.log("numpy bool", numpy.bool_(False))
    run.log("odd name / ü & more", 1.5)
    for value in (0.5, 0.25, 0.125):
        run.log("vector", value)
    for value in ("a", "b"):
        run.log("strings", value)
    for step, value in ((10, 1.0), (20, 0.5)):
        run.log("by step", value, step=step)
    for value in (1.0, math.nan, math.inf, -math.inf):
        run.log("not finite", value)
    run.log_list("list", [1, 1, 2, 3])
    run.log_list("list of floats", [0.5, 1.5])
    run.log_list("list of strings", ["x", "y"])
    run.log_list("numpy list", numpy.array([0.25, 0.75]).tolist())
    run.log_list("list of several types", [0.5, "text", 2])
    run.log_row("one row", x=1, y=0.5, label="a")
    for angle in (0, 90, 180):
        run.log_row("rows", angle=angle, error=angle / 360, label=str(angle))
    run.log_table("table", {"x": [1, 2, 3], "y": [1.5, 4.5, 9.5], "name": ["a", "b", "c"]})

    run.flush()
    run.complete()


def log_charts(experiment: Any) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    pyplot.plot([1, 2, 3])
    pyplot.savefig("picture.png")
    run = begin(experiment, "charts")
    run.log_image("picture", path="picture.png")  # relative: the SDK names the run's file as the path is given
    run.log_image("plot", plot=pyplot)
    run.log_confusion_matrix("confusion", CONFUSION)
    run.log_accuracy_table("accuracy", json.dumps(ACCURACY))
    run.log_residuals("residuals", RESIDUALS)
    run.log_predictions("predictions", PREDICTIONS)
    run.complete()
    pyplot.close()


def keep_facts(experiment: Any, told: dict[str, Any]) -> None:
    run = begin(experiment, "facts")
    run.tag("t", "1")
    run.set_tags({"t": "2", "odd / ü": "text with 'quotes' & \"more\""})
    run.tag("gone", "soon")
    run.remove_tags(["gone"])
    run.add_properties({"p": "1", "q": "a b"})
    run.display_name = "facts, renamed"
    run.description = "what it is about"
    told["changed property"] = is_refused(lambda: run.add_properties({"p": "2"}))
    run.complete()


def move_files(experiment: Any, folder: Path, told: dict[str, Any]) -> None:
    run = begin(experiment, "files")
    local = folder / "local" / "sub"
    local.mkdir(parents=True)
    for number in range(3):
        (local / f"{number} ü.txt").write_text(f"file {number}", encoding="utf-8")
    (folder / "one.txt").write_text("one", encoding="utf-8")
    (folder / "empty.txt").write_text("")
    for name in FILES:
        run.upload_file(name, str(folder / ("empty.txt" if "empty" in name else "one.txt")))
    run.upload_files(["many/0", "many/1 %20"], [str(local / "0 ü.txt"), str(local / "1 ü.txt")])
    run.upload_folder("folder", str(folder / "local"))
    large = folder / "large.bin"
    large.write_bytes(bytes(range(256)) * 4096 * 70)
    run.upload_file("large.bin", str(large))
    told["names"] = sorted(run.get_file_names())
    run.complete()


def nest(experiment: Any, told: dict[str, Any]) -> None:
    run = begin(experiment, "parent")
    for number in range(2):
        child = run.child_run(f"child {number}")
        child.tag("case", f"child {number}")
        child.log("m", number)
        for below in range(2):
            grandchild = child.child_run(f"grandchild {number}.{below}")
            grandchild.tag("case", f"grandchild {number}.{below}")
            grandchild.log("m", 10 * number + below)
            grandchild.complete()
        child.complete()
    for number, child in enumerate(run.create_children(2)):
        child.tag("case", f"batch {number}")
    for child in run.create_children(tag_key="fold", tag_values=["a", "b"]):
        fold = child.get_tags()["fold"]
        child.tag("case", f"fold {fold}")
        child.log("of fold", fold)
        child.complete()
    told["children"] = cases(run.get_children())
    told["descendants"] = cases(run.get_children(recursive=True))
    told["descendants that completed"] = cases(run.get_children(recursive=True, status="Completed"))
    run.complete()


def end_in_every_way(experiment: Any) -> None:
    begin(experiment, "completed").complete()
    begin(experiment, "failed").fail(error_details="it broke", error_code="Broken")
    begin(experiment, "failed without a word").fail()
    begin(experiment, "cancelled").cancel()
    begin(experiment, "going on")
    with experiment.start_logging(snapshot_directory=None, outputs=None, display_name="in a block") as run:
        run.tag("case", "in a block")
    try:
        with experiment.start_logging(snapshot_directory=None, outputs=None, display_name="raised") as run:
            run.tag("case", "raised")
            raise ValueError("no such thing")
    except ValueError:
        pass


def take_snapshot(experiment: Any, folder: Path, told: dict[str, Any]) -> None:
    source = folder / "source"
    (source / "package").mkdir(parents=True)
    (source / "train.py").write_text("print('training')")
    (source / "package" / "module ü.py").write_text("x = 1")
    (source / "data.bin").write_bytes(b"not of it")
    (source / ".amlignore").write_text("*.bin\n")
    run = begin(experiment, "snapshot")
    run.take_snapshot(str(source))
    run.complete()
    told["snapshot"] = contents_of(run.restore_snapshot(path=str(folder / "restored")))


def register(ws: Any, experiment: Any, folder: Path, told: dict[str, Any]) -> None:
    run = begin(experiment, "models")
    (folder / "model").mkdir()
    for name in ("MLmodel", "weights ü"):
        (folder / "model" / name).write_text(name, encoding="utf-8")
    run.upload_folder("outputs/model", str(folder / "model"))
    run.complete()
    for number in range(2):
        run.register_model(
            "of-a-run",
            "outputs/model",
            tags={"n": str(number), "kind": "interop"},
            properties={"p": str(number)},
            model_framework=Model.Framework.SCIKITLEARN,
            model_framework_version="1.9",
            description="a folder",
        )
    run.register_model("one-file", "outputs/model/MLmodel")
    Model.register(ws, "model", "of-a-local-folder", tags={"kind": "interop"})
    Model.register(ws, "one.txt", "of-a-local-file")
    Model.register(ws, "one.txt", "deleted").delete()
    changed = Model(ws, "of-a-run", version=1)
    changed.add_tags({"added": "1", "gone": "soon"})
    changed.remove_tags(["gone"])
    changed.add_properties({"q": "2"})
    told["changed property of a model"] = is_refused(lambda: changed.add_properties({"p": "9"}))


def is_refused(call: Any) -> bool:
    try:
        call()
    except Exception:
        return True
    return False


def print_errors(ws: Any, folder: Path) -> dict[str, str | None]:
    """What each refusal says when it is printed."""
    run = begin(Experiment(ws, OTHER_EXPERIMENT), "refused")
    run.add_properties({"kept": "1"})
    calls = {
        "no such run": lambda: Run.get(ws, "never"),
        "no such model": lambda: Model(ws, "never"),
        "no such file": lambda: run.download_file("never.txt", "never.txt"),
        "no such snapshot": lambda: run.restore_snapshot("never"),
        "no such file for a model": lambda: run.register_model("never", "never"),
        "property of another value": lambda: run.add_properties({"kept": "2"}),
        "tag too long": lambda: run.set_tags({"long": "x" * 9000}),
        "name too long": lambda: setattr(run, "display_name", "x" * 9000),
    }
    return {case: text_of_refusal(call) for case, call in calls.items()}


def text_of_refusal(call: Any) -> str | None:
    try:
        call()
    except Exception as error:
        return str(error)
    return None


def read(ws: Any, folder: Path) -> dict[str, Any]:
    """All that is in the workspace, as it is told here."""
    experiment = Experiment(ws, EXPERIMENT)
    runs = {tags["case"]: run for run in experiment.get_runs(include_children=True) if (tags := run.get_tags())}
    names = {run.id: f"<{case}>" for case, run in runs.items()}
    document = {
        "experiments": {name: dict(found.tags or {}) for name, found in sorted(ws.experiments.items())},
        "runs": {case: read_run(run, folder / case) for case, run in sorted(runs.items())},
        "found": {
            "all": cases(experiment.get_runs()),
            "by tag": cases(experiment.get_runs(tags="t")),
            "by tag's value": cases(experiment.get_runs(tags={"t": "2"})),
            "by property": cases(experiment.get_runs(properties={"q": "a b"})),
            "by two": cases(experiment.get_runs(tags={"t": "2"}, properties={"p": "1"})),
            "none": cases(experiment.get_runs(tags={"t": "3"})),
            "by status": cases(Run.list(experiment, status="Failed")),
            "elsewhere": cases(Experiment(ws, OTHER_EXPERIMENT).get_runs()),
            "by id": cases([Run.get(ws, runs["facts"].id), Run(experiment, runs["values"].id)]),
        },
        "children": {
            "of parent": cases(runs["parent"].get_children()),
            "of child": cases(runs["child 0"].get_children()),
            "below parent": cases(runs["parent"].get_children(recursive=True)),
            "below child": cases(runs["child 1"].get_children(recursive=True)),
            "by tag": cases(runs["parent"].get_children(tags={"fold": "a"})),
            "completed": cases(runs["parent"].get_children(recursive=True, status="Completed")),
            "above": cases([runs["grandchild 0.1"].parent, runs["child 0"].parent]),
        },
        "metrics of all": runs["parent"].get_metrics(recursive=True),
        "metric of all": runs["parent"].get_metrics(name="of fold", recursive=True),
        "one metric": runs["values"].get_metrics(name="vector"),
        "no metric": runs["values"].get_metrics(name="never"),
        "snapshot": contents_of(runs["snapshot"].restore_snapshot(path=str(folder / "restored"))),
        "models": read_models(ws, folder / "models"),
    }
    return same(document, names)


def read_run(run: Any, folder: Path) -> dict[str, Any]:
    """What is told of a run, with the SHA-256 of each of its files."""
    folder.mkdir(parents=True)
    names = sorted(run.get_file_names())
    if names:
        run.download_files(output_directory=str(folder / "all"))
    for number, name in enumerate(names):
        if not NOT_IN_A_PATH.search(name):
            run.download_file(name, str(folder / str(number)))
            assert sha256(folder / str(number)) == sha256(folder / "all" / name), name
    details = run.get_details()
    document = {
        "status": run.get_status(),
        "display name": run.display_name,
        "description": run.description,
        "type": run.type,
        "tags": run.get_tags(),
        "properties": run.get_properties(),
        "metrics": run.get_metrics(),
        "files": {name: sha256(folder / "all" / name) for name in names},
        "details": {name: details.get(name) for name in ("status", "properties", "error", "target")},
        "has begun": bool(details.get("startTimeUtc")),
        "has ended": bool(details.get("endTimeUtc")),
    }
    if "folder/sub/0 ü.txt" in names:
        for keep in (True, False):
            target = folder / f"prefix {keep}"
            run.download_files(prefix="folder", output_directory=str(target), append_prefix=keep)
            document[f"files of a folder, with its name: {keep}"] = contents_of(target)
    return document


def read_models(ws: Any, folder: Path) -> dict[str, Any]:
    """Models as they are listed, found and downloaded."""
    lists = {
        "all": {},
        "latest": {"latest": True},
        "by name": {"name": "of-a-run"},
        "by tag": {"tags": ["kind"]},
        "by tags": {"tags": ["kind", ["n", "1"]]},
        "by property": {"properties": [["p", "0"]]},
    }
    found = {name: sorted(model.id for model in Model.list(ws, **asked)) for name, asked in lists.items()}
    models = {}
    for model in Model.list(ws):
        target = folder / model.name / str(model.version)
        path = model.download(str(target))
        models[model.id] = {
            "tags": model.tags,
            "properties": model.properties,
            "description": model.description,
            "framework": [model.model_framework, model.model_framework_version],
            "run": model.run_id,
            "top": Path(path).name,
            "files": contents_of(target),
        }
    return {
        "lists": found,
        "models": models,
        "newest": {name: model.id for name, model in sorted(ws.models.items())},
        "by id": Model(ws, id="of-a-run:1").id,
        "by version": Model(ws, "of-a-run", version=1).id,
        "by name": Model(ws, "of-a-run").id,
        "missing": is_refused(lambda: Model(ws, "never")),
    }


def find_models(ws: Any, folder: Path) -> dict[str, Any]:
    """Where models of whole containers, and a file, are on this machine after they were asked for."""
    found: dict[str, Any] = {}
    for name in ("whole run", "folder of a run", "file of a run"):
        model = Model(ws, name)
        path = model.download(str(folder / name))
        found[name] = {
            "downloaded": os.path.relpath(path, folder),
            "files": contents_of(folder / name),
            "newest": Model.get_model_path(name, _workspace=ws),
            # Asked for by its version, the SDK wants one file or folder in the model's place.
            "version": None if name == "whole run" else Model.get_model_path(name, version=1, _workspace=ws),
            "again": contents_of(folder / "azureml-models" / name),
            "missing": is_refused(lambda: Model.get_model_path("never", version=1)),  # in no workspace
        }
    return found


def cases(runs: Any) -> list[str]:
    return sorted(run.get_tags()["case"] for run in runs)


def contents_of(path: Any) -> dict[str, str]:
    """The files in a folder or a zip file with the SHA-256 of each."""
    if Path(path).is_dir():
        files = [file for file in Path(path).rglob("*") if file.is_file()]
        return {file.relative_to(path).as_posix(): sha256(file) for file in files}
    with zipfile.ZipFile(path) as archive:
        return {
            name: hashlib.sha256(archive.read(name)).hexdigest()
            for name in archive.namelist()
            if not name.endswith("/")
        }


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def same(value: Any, names: dict[str, str]) -> Any:
    """A value as JSON has it, with names in place of ids and words for what is no number; an integer stays one."""
    if isinstance(value, dict):
        return {same(str(name), names): same(each, names) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [same(each, names) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        for run_id, name in names.items():
            value = value.replace(run_id, name)
        return value
    return value


if __name__ == "__main__":
    find_this_machine()
    command, folder = sys.argv[2], Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    workspace = open_workspace()
    commands = {"write": write, "read": read, "find models": find_models, "print errors": print_errors}
    print(json.dumps(commands[command](workspace, folder), ensure_ascii=False))
