"""Taking keys, tokens and signatures out of text before anybody reads it: log lines and error messages."""

import logging
import re

# Beginnings too: an error message may have cut what it quotes.
_SECRETS = re.compile(
    r"amlk_[\w-]+"
    r"|eyJ[\w-]{5,}(?:\.[\w-]*)*"
    r"|(?P<name>\b(?:sig|signature|token|\w+_token|client_secret|password)(?:=|%3D|[\"']\s*:\s*[\"'])"
    r"|\b(?:bearer|basic)\s+|://(?=[^\s/@]*@))[^\s&\"'<>,;\\@]+",
    re.IGNORECASE,
)
_SIGNS = ("amlk_", "eyJ", "sig=", "token=")


def redact(text: str) -> str:
    """Return the text with REDACTED in the place of every key, JWT, signature and Authorization value."""
    return _SECRETS.sub(_replacement, text)


def redact_path(path: str) -> str:
    """As `redact`, for the path of a request, where next to never is anything to redact."""
    for sign in _SIGNS:
        if sign in path:
            return redact(path)
    return path


def _replacement(match: "re.Match[str]") -> str:
    return f"{match['name'] or ''}REDACTED"


class _RedactUrls(logging.Filter):
    """urllib3 logs the path and query of each request at DEBUG, and the query of a content URL is its signature.

    The signature can't travel in another way than in the query: that is the storage protocol. So the line is changed.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(redact(value) if isinstance(value, str) else value for value in record.args)
        record.msg = redact(record.msg) if isinstance(record.msg, str) else record.msg
        return True


_filter = _RedactUrls()


def redact_log_of_urllib3() -> None:
    """Take secrets out of what urllib3 logs of requests. Calling it again does nothing."""
    for name in ("urllib3.connectionpool", "urllib3.util.retry"):
        logging.getLogger(name).addFilter(_filter)  # adding one that is there does nothing
