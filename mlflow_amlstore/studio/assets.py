"""Studio's own files: style sheets, modules and what is vendored. They are read and compressed once, at the start.

Their path has a digest of them all in it, so a browser keeps them for good and never has an older one.
"""

import gzip
import hashlib
import mimetypes
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.service.routing import Access, Area, Call, Content, Routes

ROUTES = Routes(Area.STUDIO)
_FOLDER = Path(__file__).with_name("static")
_IMPORT = re.compile(r'^import [^"]*"\./([^"]+)"', re.MULTILINE)
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


class _Asset(NamedTuple):
    content: bytes
    compressed: bytes
    media_type: str


@cache
def _assets() -> dict[str, _Asset]:
    files = sorted(path for path in _FOLDER.rglob("*") if path.is_file())
    return {file.relative_to(_FOLDER).as_posix(): _read(file) for file in files}


def _read(file: Path) -> _Asset:
    content = file.read_bytes()
    guessed = _TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "text/plain; charset=utf-8"
    return _Asset(content, gzip.compress(content, 9, mtime=0), guessed)


@cache
def version() -> str:
    """The digest in the paths of all files."""
    digest = hashlib.sha256()
    for name, asset in _assets().items():
        digest.update(f"{name}\0{len(asset.content)}\0".encode())
        digest.update(asset.content)
    return digest.hexdigest()[:12]


@cache
def loaded_with(*modules: str) -> list[str]:
    """These modules and all that they import, so that a browser can ask for them at once."""
    found: dict[str, None] = {}
    open_ones = list(modules)
    while open_ones:
        name = open_ones.pop(0)
        if name not in found:
            found[name] = None
            open_ones += _IMPORT.findall(_assets()[name].content.decode())
    return list(found)


@ROUTES.get("/static/{version}/{path:path}", Access.PUBLIC)
def static(call: Call) -> Content:
    """Give one of Studio's own files."""
    found = _assets().get(call.path["path"])
    if found is None or call.path["version"] != version():
        raise NotFound("file of Studio's", call.path["path"])
    headers = (("cache-control", "public, max-age=31536000, immutable"), ("x-content-type-options", "nosniff"))
    if b"gzip" in call.headers.get(b"accept-encoding", b""):
        return Content(found.compressed, found.media_type, (*headers, ("content-encoding", "gzip")))
    return Content(found.content, found.media_type, headers)
