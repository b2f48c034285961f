"""Images that scripts log: a file, a stream, matplotlib's `pyplot` or a figure of it."""

import io
import mimetypes
from os import PathLike, fspath
from pathlib import Path
from typing import Any, BinaryIO

from mlflow_amlstore.errors import InvalidValue

_PNG = ".png"


def image_of(field: str, path: object, plot: object) -> tuple[BinaryIO, str]:
    """An image's content, to be closed by the caller, and the ending of its name. Raises InvalidValue.

    Scripts give `plt` as `path`, too, and a path as `plot`.
    """
    if (path is None) == (plot is None):
        raise InvalidValue(field, path, "give either path (a file or stream) or plot (matplotlib's plt or a figure)")
    image: Any = plot if path is None else path
    if isinstance(image, str | PathLike):
        return _opened(field, Path(fspath(image)))
    if hasattr(image, "savefig"):
        return _drawn(image), _PNG
    if hasattr(image, "read"):
        content = image.read()
        if not isinstance(content, bytes):
            raise InvalidValue(field, image, "must be a stream of bytes: open it with mode 'rb'")
        return io.BytesIO(content), _ending(getattr(image, "name", ""))
    raise InvalidValue(field, image, "must be a path, a stream of bytes, matplotlib's plt or a figure")


def _opened(field: str, path: Path) -> tuple[BinaryIO, str]:
    try:
        return path.open("rb"), _ending(path.name)
    except OSError as error:
        raise InvalidValue(field, str(path), f"can't be read: {error.strerror}") from None


def _ending(name: object) -> str:
    ending = Path(str(name)).suffix.lower()
    kind = mimetypes.types_map.get(ending, "")
    return ending if kind.startswith("image/") else _PNG


def _drawn(plot: Any) -> BinaryIO:
    drawn = io.BytesIO()
    plot.savefig(drawn, format="png")
    drawn.seek(0)
    return drawn
