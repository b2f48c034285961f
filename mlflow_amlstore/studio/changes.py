"""What Studio's pages change. Each change is a POST with JSON, and who made it is kept beside the record.

What the records keep by themselves, for every way to them (`records.sql.acts`), needs no word here. A route here needs
a contributor; the service runs it in a transaction, so a change and its act are kept together.
"""

import msgspec

from mlflow_amlstore.errors import InvalidState, InvalidValue
from mlflow_amlstore.records.canceling import cancel
from mlflow_amlstore.records.locations import WORKSPACE_SCHEME, run_container
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.types import DESCRIPTION_TAG
from mlflow_amlstore.service.acting import who
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes

ROUTES = Routes(Area.STUDIO)
_MOST_RUNS = 1000


class Name(msgspec.Struct, frozen=True):
    """A new name."""

    name: str


class Note(msgspec.Struct, frozen=True):
    """A note, in Markdown."""

    note: str


class Tag(msgspec.Struct, frozen=True):
    """A tag."""

    name: str
    value: str = ""


class Chosen(msgspec.Struct, frozen=True):
    """Runs, by their ids with commas between."""

    runs: str


class TagOfRuns(msgspec.Struct, frozen=True):
    """A tag for many runs."""

    runs: str
    name: str
    value: str = ""


class NoteOfRuns(msgspec.Struct, frozen=True):
    """A note, in Markdown, for many runs."""

    runs: str
    note: str


class Register(msgspec.Struct, frozen=True):
    """A folder or file of a run, and the model that it is to be a version of."""

    name: str
    path: str = ""


class Alias(msgspec.Struct, frozen=True):
    """An alias of a model, and the version that it is to name."""

    alias: str
    version: int


class SavedView(msgspec.Struct, frozen=True):
    """A view of a page: its address' query, under a name."""

    page: str
    name: str
    query: str = ""


@ROUTES.post("/runs/{run_id}/name", Role.CONTRIBUTOR, Right.LOOK)
def rename_run(call: Call, body: Name) -> None:
    """Rename a run."""
    if not body.name.strip():
        raise InvalidValue("name", body.name, "a run's name has at least one character that is seen")
    call.records.runs.update(call.path["run_id"], name=body.name)


@ROUTES.post("/runs/{run_id}/note", Role.CONTRIBUTOR, Right.LOOK)
def note_on_run(call: Call, body: Note) -> None:
    """Set a run's note."""
    call.records.runs.set_tags(call.path["run_id"], {DESCRIPTION_TAG: body.note})
    _keep(call, "run", call.path["run_id"], "changed the note")


@ROUTES.post("/runs/{run_id}/tags", Role.CONTRIBUTOR, Right.LOOK)
def tag_run(call: Call, body: Tag) -> None:
    """Set a tag of a run."""
    call.records.runs.set_tags(call.path["run_id"], {body.name: body.value})
    _keep(call, "run", call.path["run_id"], "tagged", f"{body.name}: {body.value}")


@ROUTES.post("/runs/{run_id}/tags/delete", Role.CONTRIBUTOR, Right.LOOK)
def untag_run(call: Call, body: Tag) -> None:
    """Delete a tag of a run."""
    call.records.runs.delete_tag(call.path["run_id"], body.name)
    _keep(call, "run", call.path["run_id"], "deleted the tag", body.name)


@ROUTES.post("/runs/{run_id}/register", Role.CONTRIBUTOR, Right.LOOK)
def register_model(call: Call, body: Register) -> None:
    """Register a folder or file of a run as the next version of a model."""
    info = call.records.runs.get(call.path["run_id"]).info
    container = run_container(info.experiment_id, info.run_id)
    source = f"{WORKSPACE_SCHEME}{container}" + (f"/{body.path}" if body.path else "")
    call.records.models.register(body.name, source, run_id=info.run_id)


@ROUTES.post("/runs/delete", Role.CONTRIBUTOR, Right.LOOK)
def delete_runs(call: Call, body: Chosen) -> None:
    """Delete runs; they can be restored."""
    for run_id in _chosen(body.runs):
        call.records.runs.delete(run_id)


@ROUTES.post("/runs/restore", Role.CONTRIBUTOR, Right.LOOK)
def restore_runs(call: Call, body: Chosen) -> None:
    """Bring deleted runs back."""
    for run_id in _chosen(body.runs):
        call.records.runs.restore(run_id)


@ROUTES.post("/runs/cancel", Role.CONTRIBUTOR, Right.LOOK)
def cancel_runs(call: Call, body: Chosen) -> None:
    """Cancel those of these runs that go on."""
    going_on = [run_id for run_id in _chosen(body.runs) if call.records.runs.get(run_id).info.status not in ENDED]
    if not going_on:
        raise InvalidState("The chosen runs have ended; only a run that goes on can be canceled")
    for run_id in going_on:
        cancel(call.records.runs, run_id)
        _keep(call, "run", run_id, "canceled")


@ROUTES.post("/runs/note", Role.CONTRIBUTOR, Right.LOOK)
def note_on_runs(call: Call, body: NoteOfRuns) -> None:
    """Set the note of many runs."""
    for run_id in _chosen(body.runs):
        call.records.runs.set_tags(run_id, {DESCRIPTION_TAG: body.note})
        _keep(call, "run", run_id, "changed the note")


@ROUTES.post("/runs/tag", Role.CONTRIBUTOR, Right.LOOK)
def tag_runs(call: Call, body: TagOfRuns) -> None:
    """Set a tag of many runs."""
    for run_id in _chosen(body.runs):
        call.records.runs.set_tags(run_id, {body.name: body.value})
        _keep(call, "run", run_id, "tagged", f"{body.name}: {body.value}")


@ROUTES.post("/experiments", Role.CONTRIBUTOR, Right.LOOK)
def create_experiment(call: Call, body: Name) -> None:
    """Create an experiment."""
    experiment_id = call.records.experiments.create(body.name)
    _keep(call, "experiment", experiment_id, "created")


@ROUTES.post("/experiments/{experiment_id}/name", Role.CONTRIBUTOR, Right.LOOK)
def rename_experiment(call: Call, body: Name) -> None:
    """Rename an experiment."""
    call.records.experiments.rename(call.path["experiment_id"], body.name)


@ROUTES.post("/experiments/{experiment_id}/note", Role.CONTRIBUTOR, Right.LOOK)
def note_on_experiment(call: Call, body: Note) -> None:
    """Set an experiment's note."""
    call.records.experiments.set_tag(call.path["experiment_id"], DESCRIPTION_TAG, body.note)
    _keep(call, "experiment", call.path["experiment_id"], "changed the note")


@ROUTES.post("/experiments/{experiment_id}/delete", Role.CONTRIBUTOR, Right.LOOK)
def delete_experiment(call: Call, body: Chosen) -> None:
    """Delete an experiment and its runs; they can be restored."""
    call.records.experiments.delete(call.path["experiment_id"])


@ROUTES.post("/experiments/{experiment_id}/restore", Role.CONTRIBUTOR, Right.LOOK)
def restore_experiment(call: Call, body: Chosen) -> None:
    """Bring a deleted experiment and its runs back."""
    call.records.experiments.restore(call.path["experiment_id"])


@ROUTES.post("/models/{name}/aliases", Role.CONTRIBUTOR, Right.LOOK)
def set_alias(call: Call, body: Alias) -> None:
    """Let an alias name a version of a model."""
    call.records.models.set_alias(call.path["name"], body.alias, body.version)


@ROUTES.post("/views", Role.CONTRIBUTOR, Right.LOOK)
def save_view(call: Call, body: SavedView) -> None:
    """Keep a view of a page for everybody, in place of one that has its name."""
    call.records.saved_views.save(body.page, body.name, body.query, who(call))


@ROUTES.post("/views/delete", Role.CONTRIBUTOR, Right.LOOK)
def delete_view(call: Call, body: SavedView) -> None:
    """Delete a view."""
    call.records.saved_views.delete(body.page, body.name)


def _chosen(runs: str) -> list[str]:
    found = list(dict.fromkeys(each for each in runs.split(",") if each))
    if not 1 <= len(found) <= _MOST_RUNS:
        raise InvalidValue("runs", f"{len(found)} of them", f"must be 1 to {_MOST_RUNS} ids with commas between")
    return found


def _keep(call: Call, kind: str, subject: str, act: str, detail: str = "") -> None:
    call.records.acts.add(kind, subject, act, who(call), detail[:500])
