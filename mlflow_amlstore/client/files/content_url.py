"""Content URLs: the signed addresses that a service hands out for a file's content, and calls of the storage protocol
on them. They need no token, so none is sent.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import formatdate
from typing import NamedTuple
from urllib.parse import urlsplit
from xml.etree import ElementTree

from mlflow_amlstore.client.http.backoff import RETRIED_STATUSES, THROTTLED, Backoff, retry_after_s
from mlflow_amlstore.client.http.service_call import CODES_BY_STATUS, ERROR_CODE_HEADER
from mlflow_amlstore.client.http.transport import USER_AGENT, Answer, NoAnswer, send
from mlflow_amlstore.errors import NotFound, ServiceError, ServiceUnreachable
from mlflow_amlstore.workspace.redaction import redact

VERSION = "2025-11-05"  # of the storage protocol
MAX_NEW_URLS = 3
EXPIRED_STATUSES = (401, 403)


class Content(NamedTuple):
    """What a service says of a file's content; the last two only where there is one, and where it knows them."""

    url: str
    size_bytes: int | None = None
    etag: str | None = None


class ContentUrl:
    """One file's content URL, and where to ask for another when it has expired. Safe across threads."""

    def __init__(self, name: str, content: Content, ask: Callable[[], Content], *, is_services_own: bool) -> None:
        """`name` is what errors call the file. A service that keeps content itself goes by SHA-256: it takes a file's
        in `x-amlstore-sha256`, and a content's ETag is that in quotes. Elsewhere it is MD5.
        """
        self.name, self.is_services_own = name, is_services_own
        self._content, self._ask = content, ask
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"ContentUrl({self.name!r})"

    def current(self) -> Content:
        """The URL, and what is known of the content."""
        return self._content

    def another(self, old: Content) -> Content:
        """What the service says now: asked for once, however many threads find that the old is no good any more."""
        with self._lock:
            if self._content is old:
                self._content = self._ask()
            return self._content


def call(
    content: ContentUrl,
    method: str,
    query: str = "",
    headers: dict[str, str] | None = None,
    body: bytes | memoryview | None = None,
    accepted: tuple[int, ...] = (200, 201, 206),
) -> Answer:
    """Call the storage protocol on a content URL, again where that makes sense, and return an accepted answer.

    `query` comes before what the URL has. Raises NotFound, ServiceError, ServiceUnreachable.
    """
    backoff = Backoff(f"The transfer of {content.name}")
    known, new_urls = content.current(), 0
    while True:
        origin, target = split_url(known.url, query)
        try:
            answer = send(method, origin, target, {**base_headers(), **(headers or {})}, body)
        except NoAnswer as error:
            if error.is_lasting or not backoff.pause(error.problem):
                raise ServiceUnreachable(origin, error.problem) from None
            continue
        if answer.status in accepted:
            return answer
        if answer.status in EXPIRED_STATUSES and new_urls < MAX_NEW_URLS:
            new_urls += 1
            known = content.another(known)
        elif answer.status not in RETRIED_STATUSES or not backoff.pause(
            f"it answered {answer.status}", retry_after_s(answer.headers), is_throttled=answer.status == THROTTLED
        ):
            raise error_of(content, answer.status, answer.headers, answer.body)


def base_headers() -> dict[str, str]:
    """What every request of the storage protocol has."""
    return {
        "User-Agent": USER_AGENT,
        "Accept-Encoding": "identity",
        "x-ms-version": VERSION,
        "x-ms-date": formatdate(usegmt=True),
    }


def split_url(url: str, query: str = "") -> tuple[str, str]:
    """A content URL as origin and target, with more fields at the beginning of its query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}", f"{parts.path}?{'&'.join(part for part in (query, parts.query) if part)}"


def error_of(content: ContentUrl, status: int, headers: Mapping[str, str], body: bytes) -> Exception:
    """The error that a refusal means, with the sentence that storage gives in XML."""
    if status == 404:
        return NotFound("file", content.name)
    sentence = ""
    with suppress(ElementTree.ParseError, ValueError):
        sentence = ElementTree.fromstring(body.lstrip(b"\xef\xbb\xbf")).findtext("Message") or ""
    problem = redact(sentence.strip()) or f"storage answered {status}"
    code = headers.get(ERROR_CODE_HEADER) or CODES_BY_STATUS.get(status, "INTERNAL_ERROR")
    return ServiceError(code, problem, status)
