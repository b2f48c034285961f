"""What is looked at in an ONNX file before it is opened: whether it is whole, and where its weights lie.

An ONNX file may name other files for its weights. ONNX Runtime would read them wherever they are, so they must lie in
the model's own folder. The file is protobuf; only the parts that lead to a tensor are read, without the package `onnx`.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from mlflow_amlstore.errors import ModelNotLoaded

# The parts of a message that can have a tensor in them, by their numbers in onnx.proto.
_PARTS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {13: "place"},
}
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5  # protobuf's kinds of fields
_KEY, _VALUE, _GRAPH = 1, 2, 7


def check(file: Path, folder: Path | None) -> None:
    """Refuse a file that isn't ONNX, or whose weights lie outside of `folder`; None: in any other file.

    Raises ModelNotLoaded.
    """
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            places = list(_places(content))
    except ValueError as error:  # an empty file, too
        raise ModelNotLoaded("FileDamaged", f"{file.name} isn't an ONNX model, or isn't whole ({error})") from error
    for place in dict.fromkeys(places):
        if folder is None:
            rule = f"{file.name} has weights in {place!r}, which a file alone can't have; register the folder with both"
            raise ModelNotLoaded("FileMissing", rule)
        found = (folder / place).resolve()
        # ONNX Runtime takes a place with stars for an address in its memory.
        if "*" in place or Path(place).is_absolute() or not found.is_relative_to(folder.resolve()):
            raise ModelNotLoaded("FileOutside", f"{file.name} has weights in {place!r}, outside of the model's folder")
        if not found.is_file():
            raise ModelNotLoaded("FileMissing", f"{file.name} has weights in {place!r}, which isn't there")


def _places(content: mmap.mmap) -> Iterator[str]:
    """Where a model says that its weights lie. Raises ValueError."""
    has_graph = False
    ahead = [("model", 0, len(content))]
    while ahead:
        kind, begin, end = ahead.pop()
        if kind == "place":
            entry = {number: content[first:last] for number, first, last in _fields(content, begin, end)}
            if entry.get(_KEY) == b"location":
                yield entry.get(_VALUE, b"").decode()
            continue
        parts = _PARTS[kind]
        for number, first, last in _fields(content, begin, end):
            if part := parts.get(number):
                ahead.append((part, first, last))
                has_graph |= kind == "model" and number == _GRAPH
    if not has_graph:
        raise ValueError("it has no graph")


def _fields(content: mmap.mmap, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a message that have bytes: number, begin and end."""
    at = begin
    while at < end:
        key, at = _varint(content, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _varint(content, at)
        elif kind == _BYTES:
            size, at = _varint(content, at)
            if at + size > end:
                raise ValueError(f"a part of {size} bytes ends after it does")
            yield key >> 3, at, at + size
            at += size
        elif kind in (_EIGHT, _FOUR):
            at += 8 if kind == _EIGHT else 4
        else:
            raise ValueError(f"there is no field of the kind {kind}")
    if at > end:
        raise ValueError("its last field isn't whole")


def _varint(content: mmap.mmap, at: int) -> tuple[int, int]:
    """A number in protobuf's form, and where it ends."""
    number = shift = 0
    while True:
        if at >= len(content) or shift > 63:
            raise ValueError("a number isn't whole")
        byte = content[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return number, at
