"""What a run is called and what state it is in: its names, number, status, tags and properties."""

from collections.abc import Iterable, Mapping
from functools import partial

from mlflow_amlstore.core.named_texts import delete_tags, texts_of
from mlflow_amlstore.core.open_run import OpenRun
from mlflow_amlstore.records.types import DESCRIPTION_TAG


class RunFacts(OpenRun):
    """A run's names, status, tags and properties."""

    @property
    def name(self) -> str:
        """Its name; `display_name` is the same."""
        return self._info.name

    @property
    def display_name(self) -> str:
        """Its name, which can be set: at most 8000 characters."""
        return self._info.name

    @display_name.setter
    def display_name(self, name: str) -> None:
        self._info = self._records.runs.update(self.id, name=name)

    @property
    def description(self) -> str | None:
        """Its description, which can be set. MLflow's UI shows it."""
        return self._now().tags.get(DESCRIPTION_TAG)

    @description.setter
    def description(self, text: str) -> None:
        self._records.runs.set_tags(self.id, {DESCRIPTION_TAG: text})

    @property
    def number(self) -> int:
        """Its number in its workspace."""
        return self._info.number

    @property
    def type(self) -> str | None:
        """What made it: the property `azureml.runsource`; None if the run was started here."""
        return self._run_type

    @property
    def status(self) -> str:
        """Its status as of now; `get_status()` is the same."""
        return self.get_status()

    @property
    def tags(self) -> dict[str, str]:
        """Its tags as of now; `get_tags()` is the same."""
        return self.get_tags()

    @property
    def properties(self) -> dict[str, str]:
        """Its properties as of now; `get_properties()` is the same."""
        return self.get_properties()

    def get_status(self) -> str:
        """Return its status: NotStarted, Queued, Preparing, Starting, Running, CancelRequested, Finalizing, Completed,
        Failed or Canceled."""
        return self._now().info.status.value

    def tag(self, key: str, value: str | None = None) -> None:
        """Set one tag; without a value it is the empty text.

        >>> run.tag("stage", "candidate")
        >>> run.get_tags()
        {'stage': 'candidate'}
        """
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, str | None]) -> None:
        """Set several tags: names of 1 to 1000 characters, values of at most 8000. Other values become strings."""
        self._records.runs.set_tags(self.id, texts_of("tags", tags))
        if self._offline is not None:
            self._offline.announce(f"tags {dict(tags)}")

    def get_tags(self) -> dict[str, str]:
        """Return the run's tags."""
        return self._now().own_tags

    def remove_tags(self, tags: str | Iterable[str]) -> None:
        """Delete tags. A tag that isn't there is ignored."""
        delete_tags(tags, partial(self._records.runs.delete_tag, self.id))

    def add_properties(self, properties: Mapping[str, str]) -> None:
        """Add properties, which can't be changed later: names of 1 to 1000 characters, values of at most 8000.

        Raises Changed if one has another value already; none is added then.

        >>> run.add_properties({"build": "1234"})
        >>> run.get_properties()["build"]
        '1234'
        """
        self._records.runs.add_properties(self.id, texts_of("properties", properties))

    def get_properties(self) -> dict[str, str]:
        """Return the run's properties."""
        return self._now().properties
