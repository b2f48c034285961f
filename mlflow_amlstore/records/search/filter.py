"""A filter as it was read: a flat tree of comparisons, all of which must hold."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

Value = str | int | float | tuple[str | int | float, ...] | None


class Entity(str, Enum):
    """What a name in a filter belongs to."""

    ATTRIBUTE = "attribute"
    METRIC = "metric"
    PARAM = "param"
    TAG = "tag"
    DATASET = "dataset"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`metrics.loss < 0.5`: `comparator` is in upper case, `value` a tuple after IN and None after IS (NOT) NULL.

    `is_quoted` says that the name was written in quotes or backticks.
    """

    entity: Entity
    name: str
    comparator: str
    value: Value
    is_quoted: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """What a search takes. `text` is what was read, by which page tokens know the filter again."""

    text: str = ""
    comparisons: tuple[Comparison, ...] = ()

    def with_values(self, attribute: str, change: Callable[[str], str]) -> "Filter":
        """The filter with each text changed that it compares an attribute with."""
        comparisons = [
            replace(comparison, value=_changed(comparison.value, change))
            if (comparison.entity, comparison.name) == (Entity.ATTRIBUTE, attribute)
            else comparison
            for comparison in self.comparisons
        ]
        return replace(self, comparisons=tuple(comparisons))


NO_FILTER = Filter()


def _changed(value: Value, change: Callable[[str], str]) -> Value:
    if isinstance(value, tuple):
        return tuple(change(str(item)) for item in value)
    return value if value is None else change(str(value))
