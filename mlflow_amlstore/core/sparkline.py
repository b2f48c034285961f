"""Series as one line of characters."""

import math
from collections.abc import Sequence

from mlflow_amlstore.records.types import Cell

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.:-=+*#"  # as high as a line of ASCII gets


def levels_for(encoding: str | None) -> str:
    """The characters, from low to high, that an output of this encoding can show."""
    try:
        BLOCKS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def sparkline(values: Sequence[Cell], width: int, levels: str = BLOCKS) -> str:
    """Draw values in at most `width` characters: each stands for as many neighbours, at the height of their mean.

    What is no finite number leaves a blank; values that are all the same lie in the middle.
    """
    count = min(len(values), width)
    parts = [(index * len(values) // count, (index + 1) * len(values) // count) for index in range(count)]
    means = [_mean(values[start:end]) for start, end in parts]
    known = [mean for mean in means if mean is not None]
    if not known:
        return " " * count
    low, high = min(known), max(known)
    return "".join(" " if mean is None else levels[_level(mean, low, high, len(levels))] for mean in means)


def numbers_of(values: Sequence[Cell]) -> list[float]:
    """The values that have an order: numbers, booleans and ±Inf, but not NaN or text."""
    return [value for value in values if isinstance(value, float | int) and value == value]


def _mean(values: Sequence[Cell]) -> float | None:
    finite = [value for value in values if isinstance(value, float | int) and math.isfinite(value)]
    return sum([value / len(finite) for value in finite]) if finite else None  # divided first: a sum may overflow


def _level(value: float, low: float, high: float, count: int) -> int:
    if math.isclose(low, high, rel_tol=1e-12, abs_tol=1e-300):  # apart by no more than taking means does
        return count // 2
    share = (value / 2 - low / 2) / (high / 2 - low / 2)  # halves, because the range may overflow
    return round(share * (count - 1))
