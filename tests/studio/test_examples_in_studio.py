"""Studio over what the examples log: each page shows it, at both widths and in both themes, with a picture."""

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fork_server import run_forked

from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import RunRecord
from mlflow_amlstore.studio import words
from mlflow_amlstore.workspace.opening import open_folder

from .conftest import Person, Studio
from .test_pages import LOOKS

pytestmark = pytest.mark.needs("playwright", "sklearn", "matplotlib")

EXAMPLES = Path(__file__).parents[2] / "examples"
LIGHTNING = "pytorch_lightning"
_CARDS_TOO_NARROW = """() => [...document.querySelectorAll(".card")]
    .filter((card) => card.scrollWidth > card.clientWidth)
    .map((card) => `${card.innerText.slice(0, 40)}: ${card.scrollWidth} px in ${card.clientWidth}`)"""
_IS_SEEN = """(element) => {
    const { x, y, width, height } = element.getBoundingClientRect();
    return [0.1, 0.9].every((at) => element.contains(document.elementFromPoint(x + at * width, y + at * height)));
}"""
COMMANDS = [
    ("track_diabetes.py", "--alpha", "0.1"),
    ("track_diabetes.py", "--alpha", "0.5"),
    ("track_diabetes.py", "--alpha", "1.0"),
    ("autolog_sweep.py",),
    ("child_runs.py",),
    ("every_metric.py",),
    ("notebook_run.py",),
    ("old_azureml_script.py",),
    ("service_quickstart.py",),
    ("lightning_in_a_run.py", "--epochs", "2"),
]


class Logged(NamedTuple):
    """The workspace's folder, its records, and what each example printed."""

    folder: Path
    records: RecordStore
    printed: dict[str, str]

    def experiment(self, name: str) -> str:
        """An experiment's id."""
        found = self.records.experiments.find_by_name(name)
        assert found is not None
        return found.experiment_id

    def runs(self, experiment: str) -> list[RunRecord]:
        """An experiment's runs, the first started first."""
        return list(self.records.runs.search([self.experiment(experiment)], max_results=100).items)[::-1]

    def run(self, experiment: str, name: str = "") -> RunRecord:
        """An experiment's run of that name, or else its first."""
        return next(run for run in self.runs(experiment) if name in ("", run.info.name))

    def children(self, parent: RunRecord) -> list[RunRecord]:
        """The runs directly below a run."""
        runs = self.records.runs.search([parent.info.experiment_id], max_results=100).items
        return [run for run in runs if run.tags.get("mlflow.parentRunId") == parent.info.run_id]

    def file(self, run: RunRecord, path: str) -> bytes:
        with self.records.files.open(run_container(run.info.experiment_id, run.info.run_id), path) as source:
            return source.read()


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    """One workspace that the examples logged into, one after the other, each as a user runs it."""
    folder = tmp_path_factory.mktemp("examples")
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    printed: dict[str, str] = {}
    for name, *options in COMMANDS:
        if "lightning" in name and find_spec(LIGHTNING) is None:
            continue  # the tests of its pages say so
        launcher = ["-m", "mlflow_amlstore.azureml"] if "azureml" in name else []
        command = [*launcher, EXAMPLES / name, "--workspace", "workspace", *options]
        done = run_forked(command, cwd=folder, env=environment)
        assert done.returncode == 0, done.stderr
        printed[name] = printed.get(name, "") + done.stdout
    records = open_folder(folder / "workspace").records
    yield Logged(folder / "workspace", records, printed)
    records.close()


@pytest.fixture(scope="module")
def studio(logged: Logged) -> Iterator[Studio]:
    """A Studio over that workspace; `visit` visits this one."""
    with Studio(logged) as running:  # type: ignore[arg-type]
        yield running  # type: ignore[misc]


@pytest.fixture(scope="module")
def owner(studio: Studio) -> Person:
    return studio.person("owner")


class Shown(NamedTuple):
    """A page's path, and what is to be read on it."""

    path: str
    texts: list[str]


def of_runs(path: str, runs: list[RunRecord], *metrics: str) -> Shown:
    """A page that shows these runs by name, with the last values of these metrics."""
    values = [words.number(last(run, name)) for run in runs for name in metrics]
    return Shown(path, [*(run.info.name for run in runs), *values])


def last(run: RunRecord, metric: str) -> float:
    return next(point.value for point in run.metrics if point.name == metric)


def runs_path(logged: Logged, experiment: str, query: str = "") -> str:
    return f"/experiments/{logged.experiment(experiment)}/runs{query}"


def run_path(run: RunRecord, rest: str = "") -> str:
    return f"/runs/{run.info.run_id}{rest}"


def workspace(logged: Logged) -> Shown:
    latest = list(logged.records.runs.search(None, max_results=10).items)
    return Shown("/", ["Latest runs", *(run.info.name for run in latest)])


def experiments(logged: Logged) -> Shown:
    names = ["diabetes", "diabetes-sweep", "diabetes-children", "every-metric", "diabetes-notebook", "old-diabetes"]
    return Shown("/experiments", [*names, "quickstart"])


def all_runs(logged: Logged) -> Shown:
    return of_runs("/runs", [*logged.runs("quickstart"), *logged.runs("diabetes"), logged.run("old-diabetes")])


def runs_of_diabetes(logged: Logged) -> Shown:
    return of_runs(runs_path(logged, "diabetes", "?sort=metrics.mse"), logged.runs("diabetes"), "mse")


def runs_with_curves(logged: Logged) -> Shown:
    return of_runs(runs_path(logged, "quickstart"), logged.runs("quickstart"), "loss")


def children_unfolded(logged: Logged) -> Shown:
    parent = logged.run("diabetes-sweep", "sweep")
    path = runs_path(logged, "diabetes-sweep", f"?open={parent.info.run_id}")
    return of_runs(path, [parent, *logged.children(parent)])


def run_with_a_curve(logged: Logged) -> Shown:
    run = logged.run("quickstart", "rate 0.02")
    return Shown(run_path(run), ["Completed", "rate", run.params["rate"], "loss", words.number(last(run, "loss"))])


def run_of_lightning(logged: Logged) -> Shown:
    run = logged.run("digits-submitted", "lightning")
    stages = ["training", "done"]
    values = [words.number(last(run, name)) for name in ("train_loss", "val_accuracy")]
    return Shown(run_path(run), ["stage", *stages, "train_loss", "val_accuracy", *values, "hidden", "64"])


def run_with_a_model(logged: Logged) -> Shown:
    run = logged.runs("diabetes")[-1]
    return Shown(run_path(run), ["alpha", run.params["alpha"], "mse", words.number(last(run, "mse")), "diabetes_model"])


def run_with_every_metric(logged: Logged) -> Shown:
    irises = ["setosa", "versicolor", "virginica"]
    kinds = ["boolean", "string", "vector", "list", "rows", "table", "confusion matrix", "accuracy table", "residuals"]
    return Shown(run_path(logged.run("every-metric")), ["number", "0.5", "warm-up", *kinds, "predictions", *irises])


def images(logged: Logged) -> Shown:
    return Shown(run_path(logged.run("old-diabetes"), "/images"), ["predicted"])


def outputs(logged: Logged) -> Shown:
    run = logged.run("old-diabetes")
    size = len(logged.file(run, "outputs/model.pkl"))
    return Shown(run_path(run, "/outputs?folder=outputs"), ["model.pkl", words.size(size)])


def text_file(logged: Logged) -> Shown:
    run = logged.run("quickstart", "rate 0.1")
    text = logged.file(run, "note.txt").decode()
    assert text in logged.printed["service_quickstart.py"]
    return Shown(run_path(run, "/outputs?path=note.txt"), ["note.txt", text])


def snapshot(logged: Logged) -> Shown:
    lines = (EXAMPLES / "notebook_run.py").read_text(encoding="utf-8").splitlines()
    path = run_path(logged.run("diabetes-notebook"), "/snapshot?path=notebook_run.py")
    return Shown(path, [*(example.name for example in EXAMPLES.glob("*.py")), lines[0]])


def snapshots_compared(logged: Logged) -> Shown:
    first, second = logged.runs("diabetes-notebook")[:2]
    path = run_path(first, f"/snapshot/difference?against={second.info.run_id}")
    return Shown(path, [second.info.name, "The snapshots are the same."])


def child_runs(logged: Logged) -> Shown:
    parent = logged.run("diabetes-children", "sweep")
    children = logged.children(parent)
    for child in children:
        assert (
            f"depth {child.tags['depth']}: Completed, mse {last(child, 'mse'):.0f}" in logged.printed["child_runs.py"]
        )
    return of_runs(run_path(parent, "/children"), children, "mse")


def three_compared(logged: Logged) -> Shown:
    runs = logged.runs("diabetes")
    shown = of_runs(f"/compare?runs={','.join(run.info.run_id for run in runs)}", runs, "mse")
    return Shown(shown.path, ["3 runs", "alpha", *(run.params["alpha"] for run in runs), *shown.texts])


def curves_compared(logged: Logged) -> Shown:
    runs = logged.runs("quickstart")
    return of_runs(f"/compare?runs={','.join(run.info.run_id for run in runs)}", runs, "loss")


def models(logged: Logged) -> Shown:
    return Shown("/models", ["diabetes_model", "champion: 3", "diabetes_ridge", "old_diabetes"])


def model(logged: Logged) -> Shown:
    runs = logged.runs("diabetes")
    return Shown("/models/diabetes_model", ["champion", *(run.info.name for run in runs)])


PAGES: list[Any] = [
    workspace,
    experiments,
    all_runs,
    runs_of_diabetes,
    runs_with_curves,
    children_unfolded,
    run_with_a_curve,
    pytest.param(run_of_lightning, marks=pytest.mark.needs(LIGHTNING)),
    run_with_a_model,
    run_with_every_metric,
    images,
    outputs,
    text_file,
    snapshot,
    snapshots_compared,
    child_runs,
    three_compared,
    curves_compared,
    models,
    model,
]


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.__name__)
def test_a_page_shows_what_an_example_logged(
    visit: Callable[..., Any],
    logged: Logged,
    pictures: Path,
    page: Callable[[Logged], Shown],
    size: tuple[int, int],
    scheme: str,
) -> None:
    """Nothing sticks out of the page or of a card, axe finds no violation, and the browser has no complaint.

    The last is what `visit` sees to."""
    path, texts = page(logged)
    visiting = visit(size=size, scheme=scheme).open(path)
    visiting.keep_picture(pictures, f"examples, {page.__name__.replace('_', ' ')}, {size[0]} {scheme}")
    seen = visiting.page.locator("main").inner_text()
    assert [text for text in texts if text not in seen] == []
    assert visiting.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert visiting.page.evaluate(_CARDS_TOO_NARROW) == []
    assert visiting.violations() == []


def test_what_the_menu_of_a_row_opens_is_seen_whole(visit: Callable[..., Any], logged: Logged) -> None:
    """Also that of the last row: nothing of it is cut off by the table."""
    page = visit().open("/experiments").page
    page.locator("tbody tr summary").last.click()
    for button in ("Rename", "Delete"):
        found = page.locator("tbody tr").last.get_by_role("button", name=button)
        assert found.evaluate(_IS_SEEN), button
