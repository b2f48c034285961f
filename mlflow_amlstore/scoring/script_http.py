"""A request as a scoring script's `run` sees it, and the answers that it may give: what scripts use of Flask's."""

import io
import json
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from mlflow_amlstore.errors import AttributeNotSupported, BadRequest
from mlflow_amlstore.scoring.payloads import encode

_JSON = "application/json"
# What the server says itself of every answer.
_OURS = {"content-length", "transfer-encoding", "connection", "date", "server", "keep-alive", "upgrade"}
_wants_raw: list[str] = []


def rawhttp(run: Any) -> Any:
    """Mark a script's `run` as one that is given the request itself, an `AMLRequest`."""
    _wants_raw.append(getattr(run, "__name__", "run"))
    return run


def raw_is_wanted() -> bool:
    """Whether a script of this process has used `rawhttp`."""
    return bool(_wants_raw)


class Headers(dict[str, str]):
    """Headers by name, in any case."""

    def __init__(self, pairs: Any = ()) -> None:
        super().__init__()
        for name, value in dict(pairs).items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(_titled(name), str(value))

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(_titled(name))

    def __delitem__(self, name: str) -> None:
        super().__delitem__(_titled(name))

    def __contains__(self, name: object) -> bool:
        return super().__contains__(_titled(str(name)))

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(_titled(name), default)

    def add_header(self, name: str, value: Any) -> None:
        """Add a value to those that a header has."""
        self[name] = f"{self[name]}, {value}" if name in self else value


def _titled(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))


class Several(dict[str, Any]):
    """Values by name; a name that was sent more than once has the first of its values, and `getlist` has all."""

    def __init__(self, pairs: Any) -> None:
        super().__init__()
        self._all: dict[str, list[Any]] = {}
        for name, value in pairs:
            self.setdefault(name, value)
            self._all.setdefault(name, []).append(value)

    def getlist(self, name: str) -> list[Any]:
        return list(self._all.get(name, ()))


class UploadedFile(io.BytesIO):
    """A file of a multipart body."""

    def __init__(self, name: str, filename: str, content_type: str, content: bytes) -> None:
        super().__init__(content)
        self.name, self.filename, self.content_type = name, filename, content_type

    def save(self, destination: Any) -> None:
        Path(destination).write_bytes(self.getvalue())


class AMLRequest:
    """One request. It is Flask's, as far as scripts use it; what isn't there is named by the error."""

    def __init__(self, method: str, path: str, query: bytes, headers: Mapping[str, str], body: bytes) -> None:
        self.method, self.path, self.query_string, self.data = method, path, query, body
        self.headers = Headers(headers)
        self.args = Several(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
        self.content_type: str | None = self.headers.get("Content-Type")
        self.mimetype = (self.content_type or "").partition(";")[0].strip().lower()
        self.content_length = len(body)
        self._parts: tuple[Several, Several] | None = None

    def __getattr__(self, name: str) -> Any:
        raise AttributeNotSupported(f"request.{name}", "request.get_data(), .headers, .args and .json have all of it")

    @property
    def full_path(self) -> str:
        return f"{self.path}?{self.query_string.decode('latin-1')}"

    @property
    def host(self) -> str:
        return str(self.headers.get("Host", ""))

    @property
    def url(self) -> str:
        return f"http://{self.host}{self.full_path.removesuffix('?')}"

    @property
    def stream(self) -> io.BytesIO:
        return io.BytesIO(self.data)

    @property
    def is_json(self) -> bool:
        return self.mimetype == _JSON or self.mimetype.endswith("+json")

    @property
    def json(self) -> Any:
        return self.get_json()

    @property
    def files(self) -> Several:
        """The files of a multipart body."""
        return self._read_parts()[1]

    @property
    def form(self) -> Several:
        """The fields of a form."""
        return self._read_parts()[0]

    def get_data(self, cache: bool = True, as_text: bool = False, parse_form_data: bool = False) -> Any:
        return self.data.decode(errors="replace") if as_text else self.data

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """The body as JSON; None where it isn't or, without `silent`, BadRequest."""
        try:
            if not force and not self.is_json:
                raise ValueError("Expects Content-Type to be application/json")
            return json.loads(self.data)
        except ValueError as error:
            if silent:
                return None
            raise BadRequest(f"The request's body could not be decoded as JSON: {error}") from error

    def _read_parts(self) -> tuple[Several, Several]:
        if self._parts is None:
            if self.mimetype == "application/x-www-form-urlencoded":
                pairs = parse_qsl(self.data.decode("latin-1"), keep_blank_values=True)
                self._parts = Several(pairs), Several(())
            else:
                found = list(_parts(self.content_type or "", self.data)) if "multipart" in self.mimetype else []
                fields = [(name, part) for name, part in found if isinstance(part, str)]
                files = [(name, part) for name, part in found if not isinstance(part, str)]
                self._parts = Several(fields), Several(files)
        return self._parts


def _parts(content_type: str, body: bytes) -> Iterator[tuple[str, str | UploadedFile]]:
    """The fields and files of a multipart body. Raises BadRequest."""
    boundary = _parameter(content_type, "boundary")
    if not boundary:
        raise BadRequest("The request's Content-Type has no boundary, which a multipart body needs")
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:]:
        if part.startswith(b"--"):
            return
        head, _, content = part.partition(b"\r\n\r\n")
        headers = {}
        for line in head.decode(errors="replace").strip().split("\r\n"):
            header, _, value = line.partition(":")
            headers[header.strip().lower()] = value.strip()
        about = headers.get("content-disposition", "")
        name, filename = _parameter(about, "name"), _parameter(about, "filename")
        if filename is None:
            yield name or "", content.decode(errors="replace")
        else:
            kind = headers.get("content-type", "application/octet-stream")
            yield name or "", UploadedFile(name or "", filename, kind, content)
    raise BadRequest("The request's multipart body isn't whole: its last boundary is missing")


def _parameter(header: str, name: str) -> str | None:
    message = Message()
    message["Content-Type"] = header
    found = message.get_param(name)
    return found if isinstance(found, str) else None


class AMLResponse:
    """An answer with a status and headers of the script's own. `json_str`: the message is written as JSON."""

    def __init__(
        self,
        message: Any,
        status_code: int,
        response_headers: Mapping[str, str] | None = None,
        json_str: bool = False,
        run_function_failed: bool = False,
    ) -> None:
        self.status_code, self.run_function_failed = status_code, run_function_failed
        self.headers = Headers({"Content-Type": "text/html; charset=utf-8"})
        if message is None or json_str or not isinstance(message, str | bytes):
            self.headers["Content-Type"] = _JSON
            self.data = encode({} if message is None else message)
        else:
            self.data = message.encode() if isinstance(message, str) else message
        for name, value in (response_headers or {}).items():
            self.headers[name] = value

    def get_data(self, as_text: bool = False) -> Any:
        return self.data.decode() if as_text else self.data


class Written(msgspec.Struct, frozen=True):
    """An answer as it is sent."""

    status: int
    content_type: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


def written(result: Any) -> Written:
    """What a script's `run` gave, as an answer: a response (Flask's, too), or a value as JSON.

    Raises ValueError or TypeError where it is neither.
    """
    if not (hasattr(result, "status_code") and hasattr(result, "get_data") and hasattr(result, "headers")):
        return Written(200, _JSON.encode(), [], encode({} if result is None else result))
    status = int(result.status_code)
    if not 200 <= status <= 599:
        raise ValueError(f"the response's status is {status}; it must be one from 200 to 599")
    headers = []
    kind = b"text/html; charset=utf-8"
    for name, value in result.headers.items():
        if any(ord(sign) < 32 for sign in f"{name}{value}"):
            raise ValueError(f"the response's header {name!r} has a sign that no header can have")
        if name.lower() == "content-type":
            kind = str(value).encode("latin-1", "replace")
        elif name.lower() not in _OURS and not name.lower().startswith("x-ms-run-"):
            headers.append((name.lower().encode("latin-1"), str(value).encode("latin-1", "replace")))
    return Written(status, kind, headers, bytes(result.get_data()))
