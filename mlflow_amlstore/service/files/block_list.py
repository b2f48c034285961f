"""The storage protocol's block lists in XML: the one a client commits, and the one it is told."""

from collections.abc import Iterable
from xml.parsers import expat
from xml.sax.saxutils import escape

from mlflow_amlstore.errors import BadRequest

MAX_BYTES = 8 * 1024 * 1024  # 50 000 blocks with the longest ids take 6 MB
_DEPTH_OF_IDS = 2


def read_block_list(document: bytes) -> list[str]:
    """Return the block ids of a `<BlockList>`, in its order. Raises BadRequest for anything else."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.refuse_doctype  # without one there are no entities to expand
    try:
        parser.Parse(document, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise BadRequest(f"The block list is not the XML that it should be: {error}") from error
    return reader.block_ids


def block_list(uncommitted: Iterable[tuple[str, int]]) -> bytes:
    """The answer that lists blocks, `(block_id, size_bytes)` each."""
    blocks = "".join(
        f"<Block><Name>{escape(block_id)}</Name><Size>{size}</Size></Block>" for block_id, size in uncommitted
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?><BlockList><CommittedBlocks />'
        f"<UncommittedBlocks>{blocks}</UncommittedBlocks></BlockList>"
    ).encode()


class _Reader:
    def __init__(self) -> None:
        self.block_ids: list[str] = []
        self._open: list[str] = []

    def start(self, name: str, _: dict[str, str]) -> None:
        self._open.append(name)
        is_known = name == "BlockList" if len(self._open) == 1 else name in ("Latest", "Uncommitted", "Committed")
        if not is_known or len(self._open) > _DEPTH_OF_IDS:
            raise ValueError(f"<{name:.50}> stands where it can't")
        if len(self._open) == _DEPTH_OF_IDS:
            self.block_ids.append("")

    def end(self, _: str) -> None:
        self._open.pop()
        if self.block_ids:
            self.block_ids[-1] = self.block_ids[-1].strip()

    def text(self, text: str) -> None:
        if len(self._open) == _DEPTH_OF_IDS:
            self.block_ids[-1] += text

    def refuse_doctype(self, *_: object) -> None:
        raise ValueError("a document type isn't allowed")
