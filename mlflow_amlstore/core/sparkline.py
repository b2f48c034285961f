"""Series as one line of characters."""

import math
from collections.abc import Sequence
from statistics import median_low

from mlflow_amlstore.records.curves import curve_of_cells
from mlflow_amlstore.records.types import Cell, Curve

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.:-=+*#"  # as high as a line of ASCII gets
_INFINITE = {BLOCKS: "↑↓", ASCII: "^v"}


def levels_for(encoding: str | None) -> str:
    """The characters, from low to high, that an output of this encoding can show."""
    try:
        BLOCKS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def sparkline(values: Sequence[Cell], width: int, levels: str = BLOCKS) -> str:
    """Draw values over their positions in at most `width` characters.

    A character stands for as many neighbours, at the height of the one that is furthest from what is usual there, the
    median with the characters beside it: so the spike of a single point is seen. ↑ and ↓ (^ and v in ASCII) are ±Inf,
    which other values don't hide; what is no number leaves a blank. Values that are all the same lie in the middle.
    """
    count = min(len(values), width)
    if count <= 0:
        return ""
    return _drawn(curve_of_cells(values, columns=count), (0, len(values) - 1), count, levels)


def sparkline_of(curve: Curve, width: int, levels: str = BLOCKS) -> str:
    """Draw a curve as `sparkline` does, over its x: at most `width` characters, and no more than it has points."""
    xs = [*curve.xs, *(x for x, _ in curve.infinities)]
    if not xs:
        return ""
    shown = min(xs), max(xs)
    count = min(width, len(xs), shown[1] - shown[0] + 1)
    return _drawn(curve, shown, count, levels)


def numbers_of(values: Sequence[Cell]) -> list[float]:
    """The values that have an order: numbers, booleans and ±Inf, but not NaN or text."""
    return [value for value in values if isinstance(value, float | int) and value == value]


def _drawn(curve: Curve, shown: tuple[int, int], count: int, levels: str) -> str:
    first, last = shown

    def place(x: int) -> int:
        return (x - first) * count // (last - first + 1)

    of_place: list[list[float]] = [[] for _ in range(count)]
    for x, y in zip(curve.xs, curve.ys, strict=True):
        if y is not None:
            of_place[place(x)].append(y)
    heights = [_height(of_place, index) for index in range(count)]
    known = [height for height in heights if height is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    line = [" " if height is None else levels[_level(height, low, high, len(levels))] for height in heights]
    for x, sign in curve.infinities:
        line[place(x)] = _INFINITE[levels][0 if sign > 0 else 1]
    return "".join(line)


def _height(of_place: Sequence[Sequence[float]], index: int) -> float | None:
    here = of_place[index]
    if not here:
        return None
    usual = median_low([value for near in of_place[max(0, index - 1) : index + 2] for value in near])
    return max(here, key=lambda value: (abs(value / 2 - usual / 2), value))  # halves, because the range may overflow


def _level(value: float, low: float, high: float, count: int) -> int:
    if math.isclose(low, high, rel_tol=1e-12, abs_tol=1e-300):
        return count // 2
    share = (value / 2 - low / 2) / (high / 2 - low / 2)  # halves, because the range may overflow
    return round(share * (count - 1))
