"""Comparing what two clients did: documents that should be equal but for the differences that are known."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Difference(NamedTuple):
    """Where two documents differ, and what each has there."""

    path: str
    real: Any
    own: Any


MISSING = "nothing"


def differences(real: Any, own: Any, path: str) -> Iterator[Difference]:
    """Where two documents differ."""
    if isinstance(real, dict) and isinstance(own, dict):
        for key in sorted({*real, *own}):
            yield from differences(real.get(key, MISSING), own.get(key, MISSING), f"{path}/{key}")
    elif isinstance(real, list) and isinstance(own, list) and len(real) == len(own):
        for number, (one, other) in enumerate(zip(real, own, strict=True)):
            yield from differences(one, other, f"{path}/{number}")
    elif real != own:
        yield Difference(path, real, own)


def items(document: Any) -> int:
    """How many values a document has."""
    if isinstance(document, dict | list):
        return sum(map(items, document.values() if isinstance(document, dict) else document))
    return 1


def check(found: list[Difference], part: str, known: Mapping[str, str]) -> None:
    """Fail for a difference that isn't known, and for a known one of the part that is none any more."""
    unknown = [one for one in found if not any(re.fullmatch(pattern, one.path) for pattern in known)]
    of_part = [pattern for pattern in known if pattern.startswith(f"{part}/")]
    unused = [pattern for pattern in of_part if not any(re.fullmatch(pattern, one.path) for one in found)]
    assert (unknown, unused) == ([], [])
