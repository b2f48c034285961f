"""`Experiment`: a named group of runs."""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_amlstore.core.display import facts_table
from mlflow_amlstore.core.local_files import PathText
from mlflow_amlstore.core.named_texts import delete_tags, texts_of, wanted_texts
from mlflow_amlstore.core.not_yet import names_the_missing
from mlflow_amlstore.core.open_run import Offline
from mlflow_amlstore.core.paging import all_items
from mlflow_amlstore.core.run import Run, Runs
from mlflow_amlstore.core.snapshots import SnapshotEmpty, store_snapshot
from mlflow_amlstore.core.submission import submit_script
from mlflow_amlstore.errors import AlreadyExists, AmlStoreError, InvalidValue
from mlflow_amlstore.protocol.times import datetime_or_none
from mlflow_amlstore.protocol.views import view_from_azure
from mlflow_amlstore.records.acting import this_user
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.status import status_from_azure
from mlflow_amlstore.records.types import SNAPSHOT_PROPERTY, ExperimentRecord, RunFilter, RunInfo, RunStatus
from mlflow_amlstore.records.validation import check_experiment_name, is_text_name

if TYPE_CHECKING:
    from mlflow_amlstore.core.workspace import Workspace

_logger = logging.getLogger(__name__)

_PAGE = 1000
_RUNS_PAGE = 500


@names_the_missing
class Experiment:
    """A named group of runs of a workspace.

    >>> experiment = Experiment(ws, "iris")
    >>> with experiment.start_logging() as run:
    ...     run.log("mse", 0.25)
    >>> [found.get_metrics() for found in experiment.get_runs()]
    [{'mse': 0.25}]
    """

    def __init__(self, workspace: "Workspace", name: str) -> None:
        """Open the experiment of this name, or create it. An archived one is opened as it is.

        Raises InvalidValue for a name that is empty or over 500 characters, or has control characters.
        """
        check_experiment_name(name)
        if not is_text_name(name):
            raise InvalidValue(
                "experiment name", name, "must not contain control characters, nor half a surrogate pair"
            )
        records = workspace.records
        found = records.experiments.find_by_name(name)
        if found is None:
            try:
                found = records.experiments.get(records.experiments.create(name))
            except AlreadyExists:  # by another process, since it was looked for
                found = records.experiments.find_by_name(name)
                if found is None:
                    raise
        self._workspace, self._record = workspace, found

    @classmethod
    def _of(cls, workspace: "Workspace", record: ExperimentRecord) -> "Experiment":
        self = cls.__new__(cls)
        self._workspace, self._record = workspace, record
        return self

    @property
    def workspace(self) -> "Workspace":
        """The workspace that it is in."""
        return self._workspace

    @property
    def name(self) -> str:
        """Its name."""
        return self._record.name

    @property
    def id(self) -> str:
        """Its id, the one that MLflow knows it by."""
        return self._record.experiment_id

    @property
    def tags(self) -> dict[str, str]:
        """Its tags, as of when it was opened, tagged or refreshed."""
        return dict(self._record.tags)

    @property
    def archived_time(self) -> datetime | None:
        """When it was archived (UTC); None for an active one."""
        return datetime_or_none(self._record.deleted_ms)

    @property
    def _records(self) -> CommonStore:
        return self._workspace.records

    def start_logging(
        self,
        name: str | None = None,
        run_id: str | None = None,
        outputs: str | PathLike[str] | bool | None = None,
        snapshot_directory: str | PathLike[str] | None = ".",
        *,
        display_name: str | None = None,
        synchronous: bool = False,
    ) -> Run:
        """Start a run, as notebooks do; use it in a `with` block, or `complete` it.

        When the run completes, the files written meanwhile into the folder `outputs` (by default `./outputs`, False for
        none) become files of the run. `snapshot_directory` is snapshotted, without what `.amlignore` (or else
        `.gitignore`) lists; None takes no snapshot. With `synchronous`, every value is durable when its call returns.

        >>> run = experiment.start_logging(snapshot_directory=None, display_name="first try")
        >>> run.log("alpha", 0.03)
        >>> run.complete()
        """
        return self._start_run(
            run_id=run_id,
            name=display_name or name,
            outputs="outputs" if outputs is None or outputs is True else outputs or None,
            snapshot_directory=snapshot_directory,
            synchronous=synchronous,
        )

    def _start_run(
        self,
        *,
        run_id: str | None = None,
        name: str | None = None,
        outputs: PathText | None = None,
        snapshot_directory: PathText | None = None,
        parent_run_id: str | None = None,
        synchronous: bool = False,
        offline: Offline | None = None,
    ) -> Run:
        """Make a run that starts now."""
        properties = {} if snapshot_directory is None else self._snapshot_property(Path(snapshot_directory))
        record = self._records.runs.create(
            self.id,
            run_id=run_id,
            name=name,
            user_id=this_user(),
            status=RunStatus.RUNNING,
            start_ms=time.time_ns() // 1_000_000,
            parent_run_id=parent_run_id,
            properties=properties,
            in_this_process=True,
        )
        return Run._of(self, record, outputs=outputs, synchronous=synchronous, offline=offline)

    def _snapshot_property(self, folder: Path) -> dict[str, str]:
        """Snapshot a folder, which may hold anything: a run starts also where that can't be done."""
        if not folder.exists():
            raise InvalidValue("snapshot_directory", str(folder), "is neither a file nor a folder")
        try:
            return {SNAPSHOT_PROPERTY: store_snapshot(self._records, folder)}
        except SnapshotEmpty:
            return {}
        except (AmlStoreError, OSError) as error:
            _logger.warning("The run starts without a snapshot. %s", error)
            return {}

    def _start_children(
        self, parent: RunInfo, tags: Sequence[Mapping[str, str]], synchronous: bool, offline: Offline | None
    ) -> Runs:
        """Make children of a run that start now, one for each of the tags."""
        records = self._records.runs.create_children(
            parent, tags, user_id=this_user(), start_ms=time.time_ns() // 1_000_000, in_this_process=True
        )
        return [Run._of(self, record, synchronous=synchronous, offline=offline) for record in records]

    def submit(
        self,
        config: object,
        tags: Mapping[str, str] | None = None,
        *,
        show_output: bool = False,
        run_id: str | None = None,
        azureml: str = "amlstore",
        _parent_run_id: str | None = None,
        **arguments: object,
    ) -> Run:
        """Submit a script as a run, and return at once: it runs in a copy of its folder, on its own.

        With `show_output`, print its logs as they grow and return when it has ended. `import azureml` means this
        package in the script; with `azureml="sdk"` it means Azure ML's own, where the script's Python has it, which
        tracks in the workspace of a service and no other. Of the SDK's other arguments
        `credential_passthrough` is accepted, and has no effect here.

        >>> run = experiment.submit(ScriptRunConfig("src", script="train.py", arguments=["--alpha", 0.1]))
        >>> run.wait_for_completion()["status"]
        'Completed'
        """
        for name in arguments:
            if name != "credential_passthrough":
                raise TypeError(f"submit() got an unexpected keyword argument {name!r}")
        run = submit_script(self, config, tags=tags, run_id=run_id, parent_run_id=_parent_run_id, azureml=azureml)
        if show_output:
            run.wait_for_completion(show_output=True)
        return run

    def get_runs(
        self,
        type: str | None = None,
        tags: str | Mapping[str, str | None] | None = None,
        properties: str | Mapping[str, str | None] | None = None,
        include_children: bool = False,
    ) -> Iterator[Run]:
        """Yield the experiment's runs that match all arguments, the latest started first.

        `tags` and `properties` are a name that must be set, or a dict of names and values.

        >>> [run.id for run in experiment.get_runs(tags={"stage": "candidate"})]
        []
        """
        return self._find_runs(run_type=type, tags=tags, properties=properties, include_children=include_children)

    def _find_runs(
        self,
        *,
        parent_run_id: str | None = None,
        recursive: bool = False,
        include_children: bool = False,
        run_type: str | None = None,
        tags: str | Mapping[str, str | None] | None = None,
        properties: str | Mapping[str, str | None] | None = None,
        status: str | None = None,
    ) -> Iterator[Run]:
        """Yield the experiment's runs that match all arguments; with `parent_run_id`, that run's children instead,
        whatever experiment they are in.

        Raises InvalidValue at the call.
        """
        filter = RunFilter(
            parent_run_id=parent_run_id,
            recursive=recursive,
            include_children=include_children,
            run_type=run_type,
            tags=wanted_texts("tags", tags),
            properties=wanted_texts("properties", properties),
            status=None if status is None else status_from_azure(status),
        )
        return self._runs_of(filter, self.id if parent_run_id is None else None)

    def _runs_of(self, filter: RunFilter, experiment_id: str | None) -> Iterator[Run]:
        """Yield what is found, opening each experiment once."""
        self._workspace._look_for_dead()
        experiments = {self.id: self}
        find = partial(self._records.runs.find, filter, experiment_id=experiment_id, max_results=_RUNS_PAGE)
        for record in all_items(find):
            where = record.info.experiment_id
            if where not in experiments:
                experiments[where] = self._workspace._experiment(where)
            yield Run._of(experiments[where], record)

    @staticmethod
    def list(
        workspace: "Workspace",
        experiment_name: str | None = None,
        view_type: str = "ActiveOnly",
        tags: str | Mapping[str, str] | None = None,
    ) -> "list[Experiment]":
        """Return the workspace's experiments: `view_type` is ActiveOnly, ArchivedOnly or All.

        >>> [found.name for found in Experiment.list(ws, "diabetes")]
        ['diabetes']
        """
        view = view_from_azure("view_type", view_type)
        wanted = wanted_texts("tags", tags)
        search = partial(workspace.records.experiments.search, view=view, max_results=_PAGE)
        return [
            Experiment._of(workspace, record)
            for record in all_items(search)
            if experiment_name in (None, record.name)
            and all(name in record.tags and value in (None, record.tags[name]) for name, value in wanted.items())
        ]

    @staticmethod
    def delete(workspace: "Workspace", experiment_id: str) -> None:
        """Delete an experiment that has no runs. Raises InvalidValue if it has runs, NotFound."""
        if workspace.records.runs.find(
            RunFilter(include_children=True), experiment_id=experiment_id, max_results=1
        ).items:
            raise InvalidValue("experiment", experiment_id, "has runs; archive it instead")
        workspace.records.experiments.delete(experiment_id)

    def archive(self) -> None:
        """Archive it with its runs: it isn't listed and takes no writes until it is reactivated."""
        self._records.experiments.delete(self.id)
        self.refresh()

    def reactivate(self, new_name: str | None = None) -> None:
        """Make an archived experiment active again. `new_name` is refused, as Azure ML refuses it."""
        if new_name is not None:
            raise InvalidValue("new_name", new_name, "an experiment can't be renamed while it is reactivated")
        self._records.experiments.restore(self.id)
        self.refresh()

    def refresh(self) -> None:
        """Read its name, tags and whether it is archived again."""
        self._record = self._records.experiments.get(self.id)

    def tag(self, key: str, value: str | None = None) -> None:
        """Set one tag; without a value it is the empty text."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, str | None]) -> None:
        """Set several tags."""
        for key, value in texts_of("tags", tags).items():
            self._records.experiments.set_tag(self.id, key, value)
        self.refresh()

    def remove_tags(self, tags: str | Iterable[str]) -> None:
        """Delete tags. A tag that isn't there is ignored."""
        delete_tags(tags, partial(self._records.experiments.delete_tag, self.id))
        self.refresh()

    def get_portal_url(self) -> str:
        """The experiment's address."""
        return self._workspace.portal_url(f"experiments/{self.id}")

    def __repr__(self) -> str:
        return f"Experiment(Name: {self.name},\nWorkspace: {self._workspace.name})"

    def _repr_html_(self) -> str:
        return facts_table({"Name": self.name, "Workspace": self._workspace.name, "Id": self.id})
